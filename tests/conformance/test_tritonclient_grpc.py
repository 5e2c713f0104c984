"""Triton's own Python clients for gRPC, synchronous and asynchronous, at the server under test."""

from __future__ import annotations

import asyncio
import queue
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from tritonclient import grpc
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from tests.conformance.clients import BEST, SCORES, VALUES, Client, named, same
from tests.conformance.models.repository import MODELS
from tests.conformance.targets import Column, Profile

pytestmark = pytest.mark.e2e
_core, _generate, _triton = (pytest.mark.profile(name) for name in (Profile.CORE, Profile.GENERATE, Profile.TRITON))

_ASKS = 32
_LONG_MS = 2_000
_PATIENCE_S = 15.0
_TIMES = 20
Answers = queue.Queue[tuple[Any, Any]]


@pytest.fixture
def client(grpc_address: str) -> Iterator[Client]:
    """The synchronous client."""
    with grpc.InferenceServerClient(grpc_address) as client:
        yield client


@pytest_asyncio.fixture
async def waiting(grpc_address: str) -> AsyncIterator[Client]:
    """The asynchronous client."""
    async with aio.InferenceServerClient(grpc_address) as client:
        yield client


def given(name: str, datatype: str, values: Any) -> grpc.InferInput:  # noqa: ANN401 (an array)
    """An input."""
    tensor = grpc.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor


def number(name: str, value: int, datatype: str = "INT32") -> grpc.InferInput:
    """An input of one number."""
    return given(name, datatype, np.array([value], datatype.lower()))


def echo(client: Client, datatype: str, **more: Any) -> Any:  # noqa: ANN401 (as tritonclient has them)
    """An inference of `echo`, or with the asynchronous client the promise of one."""
    name = datatype.lower()
    asked = [grpc.InferRequestedOutput(name)]
    return client.infer("echo", [given(name, datatype, VALUES[datatype])], outputs=asked, **more)


@_core
@pytest.mark.parametrize("datatype", VALUES)
def test_every_datatype_comes_back(client: Client, datatype: str) -> None:
    """The synchronous client, with the request's id."""
    answer = echo(client, datatype, request_id="7")
    assert same(answer.as_numpy(datatype.lower()), VALUES[datatype])
    assert answer.get_response().id == "7"


@_core
async def test_every_datatype_comes_back_asynchronously(waiting: Client) -> None:
    """The asynchronous client, all of them at once over its connection."""
    answers = await asyncio.gather(*(echo(waiting, datatype) for datatype in VALUES))
    for datatype, answer in zip(VALUES, answers, strict=True):
        assert same(answer.as_numpy(datatype.lower()), VALUES[datatype]), datatype


@_core
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client: Client, algorithm: str) -> None:
    """Each of the client's compressions."""
    answer = echo(client, "BYTES", compression_algorithm=algorithm)
    assert same(answer.as_numpy("bytes"), VALUES["BYTES"])


@_core
@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
async def test_compressed_requests_asynchronously(waiting: Client, algorithm: str) -> None:
    """The same with the asynchronous client."""
    answer = await echo(waiting, "FP64", compression_algorithm=algorithm)
    assert same(answer.as_numpy("fp64"), VALUES["FP64"])


def classes(client: Client) -> Any:  # noqa: ANN401 (as above)
    """The best two classes of two rows."""
    return client.infer(
        "compass", [given("fp32", "FP32", SCORES)], outputs=[grpc.InferRequestedOutput("fp32", class_count=2)]
    )


@_triton
def test_classes_have_names(client: Client) -> None:
    """`class_count` gives the best classes with their labels, for each row."""
    assert named(classes(client).as_numpy("fp32")) == BEST


@_triton
async def test_classes_have_names_asynchronously(waiting: Client) -> None:
    """The same with the asynchronous client."""
    assert named((await classes(waiting)).as_numpy("fp32")) == BEST


Question = tuple[Callable[[Client], Any], Callable[[Any], Any], object]
QUESTIONS: dict[str, Question] = {
    "live": (lambda client: client.is_server_live(), bool, True),
    "ready": (lambda client: client.is_server_ready(), bool, True),
    "model ready": (lambda client: client.is_model_ready("echo"), bool, True),
    "version ready": (lambda client: client.is_model_ready("echo", "1"), bool, True),
    "unknown model ready": (lambda client: client.is_model_ready("nope"), bool, False),
    "unknown version ready": (lambda client: client.is_model_ready("echo", "9"), bool, False),
    "metadata": (lambda client: client.get_model_metadata("compass"), lambda said: said.inputs[0].name, "fp32"),
    "metadata of a version": (lambda client: client.get_model_metadata("echo", "1"), lambda said: said.name, "echo"),
    "server metadata": (lambda client: client.get_server_metadata(), lambda said: bool(said.name), True),
}
"""What is asked, what of the answer is looked at, and what it has to be."""
EXTENSIONS: dict[str, Question] = {
    "config": (lambda client: client.get_model_config("compass"), lambda said: said.config.max_batch_size, 8),
    "config of a version": (lambda client: client.get_model_config("echo", "1"), lambda said: said.config.name, "echo"),
    "statistics": (
        lambda client: client.get_inference_statistics("idle", "1"),
        lambda said: [(one.name, one.inference_count) for one in said.model_stats],
        [("idle", 0)],
    ),
    "statistics of all": (
        lambda client: client.get_inference_statistics(),
        lambda said: {one.name for one in said.model_stats},
        set(MODELS),
    ),
    "index": (
        lambda client: client.get_model_repository_index(),
        lambda said: {(one.name, one.state) for one in said.models},
        {(name, "READY") for name in MODELS},
    ),
}


ASKED = [pytest.param(*asked, id=name, marks=_core) for name, asked in QUESTIONS.items()] + [
    pytest.param(*asked, id=name, marks=_triton) for name, asked in EXTENSIONS.items()
]


@pytest.mark.parametrize(("ask", "look", "expected"), ASKED)
def test_questions_are_answered(
    client: Client, ask: Callable[[Client], Any], look: Callable[[Any], Any], expected: object
) -> None:
    """Every asking call of the synchronous client."""
    assert look(ask(client)) == expected


@pytest.mark.parametrize(("ask", "look", "expected"), ASKED)
async def test_questions_are_answered_asynchronously(
    waiting: Client, ask: Callable[[Client], Any], look: Callable[[Any], Any], expected: object
) -> None:
    """Every asking call of the asynchronous one."""
    assert look(await ask(waiting)) == expected


REFUSED: dict[str, Callable[[Client], Any]] = {
    "an unknown output": lambda client: client.infer("echo", [], outputs=[grpc.InferRequestedOutput("nope")]),
    "no inputs": lambda client: client.infer("compass", []),
    "a decoupled model": lambda client: client.infer("words", []),
    "an unknown model": lambda client: client.infer("nope", []),
    "metadata of an unknown model": lambda client: client.get_model_metadata("nope"),
}


@_core
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_raises_with_a_sentence(over_grpc: tuple[tuple[Column, str], ...], name: str) -> None:
    """The client finds status and message, of two servers the same, save for an unknown model."""
    raised = []
    for _, address in over_grpc:
        with grpc.InferenceServerClient(address) as client:
            with pytest.raises(InferenceServerException) as caught:
                REFUSED[name](client)
            raised.append((caught.value.status(), caught.value.message()))
    assert all(message for _, message in raised)
    assert "unknown model" in name or len(set(raised)) == 1


@_core
def test_many_at_once(client: Client) -> None:
    """Concurrent `async_infer` calls get each their own answer."""
    answers: Answers = queue.Queue()
    for each in range(_ASKS):
        asked = [number("int64", each, "INT64")]
        client.async_infer("echo", asked, lambda result, error: answers.put((result, error)), request_id=str(each))
    came = [answers.get(timeout=_PATIENCE_S) for _ in range(_ASKS)]
    assert [error for _, error in came if error] == []
    said = {result.get_response().id: int(result.as_numpy("int64")[0]) for result, _ in came}
    assert said == {str(each): each for each in range(_ASKS)}


@_triton
def test_a_stream_answers_each_request(client: Client) -> None:
    """One answer for each request, in order, and the answers to a sequence among them."""
    answers: Answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for each in range(_TIMES):
        client.async_stream_infer("echo", [number("int32", each)], request_id=str(each))
    came = [answers.get(timeout=_PATIENCE_S) for _ in range(_TIMES)]
    for each in range(3):
        value = given("value", "INT32", np.array([[each + 1]], np.int32))
        client.async_stream_infer("sums", [value], sequence_id=81, sequence_start=each == 0, sequence_end=each == 2)
    sums = [answers.get(timeout=_PATIENCE_S) for _ in range(3)]
    client.stop_stream()
    assert [error for _, error in (*came, *sums) if error] == []
    assert [int(result.as_numpy("int32")[0]) for result, _ in came] == list(range(_TIMES))
    assert [int(result.as_numpy("sum")[0][0]) for result, _ in sums] == [1, 3, 6]


@_generate
def test_a_decoupled_model_answers_as_often_as_it_likes(client: Client) -> None:
    """A hundred answers to one request, an error in mid-stream, and a request after it on the same stream."""
    answers: Answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("repeat", [number("times", _TIMES)])
    client.async_stream_infer("repeat", [number("times", 5), number("fail_at", 2)])
    client.async_stream_infer("repeat", [number("times", 1)])
    came = [answers.get(timeout=_PATIENCE_S) for _ in range(_TIMES + 4)]
    client.stop_stream()
    steps = [int(result.as_numpy("step")[0]) if error is None else error.message() for result, error in came]
    assert steps == [*range(_TIMES), 0, 1, "failed at step 2, as asked", 0]


@_generate
async def test_a_decoupled_model_answers_asynchronously(waiting: Client) -> None:
    """The same with the asynchronous client."""

    async def asked() -> AsyncIterator[dict[str, Any]]:
        yield {"model_name": "repeat", "inputs": [number("times", 3)]}
        yield {"model_name": "repeat", "inputs": [number("times", 3), number("fail_at", 0)]}

    came = [(result, error) async for result, error in waiting.stream_infer(asked())]
    steps = [int(result.as_numpy("step")[0]) if error is None else error.message() for result, error in came]
    assert steps == [0, 1, 2, "failed at step 0, as asked"]


def counts(client: Client) -> dict[str, int]:
    """What `counter` says of itself: how many executions were begun, and how many given up."""
    answer = client.infer("counter", [number("wait_ms", 0, "INT64")])
    return {name: int(answer.as_numpy(name)[0]) for name in ("begun", "cancelled")}


@_triton
def test_an_inference_that_is_given_up_ends_at_the_model(client: Client) -> None:
    """A cancelled call reaches the model, which stops its work, once."""
    before = counts(client)
    answers: Answers = queue.Queue()
    asked = [number("wait_ms", _LONG_MS, "INT64")]
    call = client.async_infer("counter", asked, lambda result, error: answers.put((result, error)))
    time.sleep(_LONG_MS / 10_000)
    call.cancel()
    _, error = answers.get(timeout=_PATIENCE_S)
    after = counts(client)
    assert "CANCELLED" in str(error.status())
    assert {name: after[name] - before[name] for name in after} == {"begun": 2, "cancelled": 1}


@_triton
async def test_an_inference_that_is_given_up_asynchronously_ends_at_the_model(waiting: Client) -> None:
    """The same where a task is cancelled."""

    async def cancelled() -> int:
        answer = await waiting.infer("counter", [number("wait_ms", 0, "INT64")])
        return int(answer.as_numpy("cancelled")[0])

    before = await cancelled()
    asked = asyncio.create_task(waiting.infer("counter", [number("wait_ms", _LONG_MS, "INT64")]))
    await asyncio.sleep(_LONG_MS / 10_000)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert await cancelled() == before + 1


@_triton
def test_a_deadline_ends_an_inference_at_the_model(client: Client) -> None:
    """A call whose time is over ends for client and model alike."""
    before = counts(client)
    with pytest.raises(InferenceServerException) as caught:
        client.infer("counter", [number("wait_ms", _LONG_MS, "INT64")], client_timeout=_LONG_MS / 10_000)
    after = counts(client)
    assert "DEADLINE_EXCEEDED" in str(caught.value.status())
    assert after["cancelled"] - before["cancelled"] == 1


@_generate
def test_a_stream_that_is_given_up_makes_room(client: Client) -> None:
    """A decoupled model stops where its client leaves: the next request does not wait for the rest."""
    answers: Answers = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    client.async_stream_infer("repeat", [number("times", 1_000), number("wait_ms", 20)])
    for _ in range(3):
        result, error = answers.get(timeout=_PATIENCE_S)
        assert error is None, error
        assert result.as_numpy("step") is not None
    client.stop_stream(cancel_requests=True)
    again: Answers = queue.Queue()
    client.start_stream(lambda result, error: again.put((result, error)))
    client.async_stream_infer("repeat", [number("times", 1)])
    result, error = again.get(timeout=_PATIENCE_S)
    client.stop_stream()
    assert error is None
    assert int(result.as_numpy("step")[0]) == 0
