"""Triton's own Python clients for HTTP, synchronous and asynchronous, at the server under test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from tritonclient import http
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

from tests.conformance.clients import BEST, BINARY_ONLY, SCORES, VALUES, Client, named, same
from tests.conformance.models.repository import MODELS
from tests.conformance.targets import Column, Place, Profile

pytestmark = pytest.mark.e2e
_core, _binary, _triton = (pytest.mark.profile(name) for name in (Profile.CORE, Profile.BINARY, Profile.TRITON))

CASES = [(datatype, binary) for datatype in VALUES for binary in (True, False) if binary or datatype not in BINARY_ONLY]
_ASKS = 32
_LONG_MS = 1_000


@pytest.fixture
def client(http_place: Place) -> Iterator[Any]:
    """The synchronous client."""
    with http.InferenceServerClient(http_place.authority, ssl=http_place.tls, concurrency=8) as client:
        yield client


@pytest_asyncio.fixture
async def waiting(http_place: Place) -> AsyncIterator[Any]:
    """The asynchronous client."""
    async with aio.InferenceServerClient(http_place.authority, ssl=http_place.tls) as client:
        yield client


def echo(client: Client, datatype: str, *, binary: bool, **more: Any) -> Any:  # noqa: ANN401 (as tritonclient has them)
    """An inference of `echo`, or with the asynchronous client the promise of one."""
    values = VALUES[datatype]
    given = http.InferInput(datatype.lower(), list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    asked = http.InferRequestedOutput(datatype.lower(), binary_data=binary)
    return client.infer("echo", [given], outputs=[asked], **more)


@pytest.mark.parametrize(
    ("datatype", "binary"), [pytest.param(*case, marks=_binary if case[1] else _core) for case in CASES]
)
def test_every_datatype_comes_back(client: Client, datatype: str, *, binary: bool) -> None:
    """The synchronous client, JSON and binary, with the request's id."""
    answer = echo(client, datatype, binary=binary, request_id="7")
    assert same(answer.as_numpy(datatype.lower()), VALUES[datatype])
    assert answer.get_response()["id"] == "7"


@_binary
async def test_every_datatype_comes_back_asynchronously(waiting: Client) -> None:
    """The asynchronous client, all of them at once over its connections."""
    answers = await asyncio.gather(*(echo(waiting, datatype, binary=binary) for datatype, binary in CASES))
    for (datatype, _), answer in zip(CASES, answers, strict=True):
        assert same(answer.as_numpy(datatype.lower()), VALUES[datatype]), datatype


@_triton
@pytest.mark.parametrize("answer", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
def test_compression_both_ways(client: Client, request_: str | None, answer: str | None) -> None:
    """Each of the client's compressions, of requests and of answers, in JSON and binary."""
    how = {"request_compression_algorithm": request_, "response_compression_algorithm": answer}
    for binary in (True, False):
        got = echo(client, "FP32", binary=binary, **how)
        assert same(got.as_numpy("fp32"), VALUES["FP32"])


@_triton
async def test_compression_both_ways_asynchronously(waiting: Client) -> None:
    """The same with the asynchronous client."""
    how = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "deflate"}
    answer = await echo(waiting, "BYTES", binary=True, **how)
    assert same(answer.as_numpy("bytes"), VALUES["BYTES"])


def classes(client: Client, *, binary: bool) -> Any:  # noqa: ANN401 (as above)
    """The best two classes of two rows."""
    given = http.InferInput("fp32", [2, 4], "FP32")
    given.set_data_from_numpy(SCORES)
    return client.infer("compass", [given], outputs=[http.InferRequestedOutput("fp32", binary, 2)])


@_triton
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_classes_have_names(client: Client, *, binary: bool) -> None:
    """`class_count` gives the best classes with their labels, for each row."""
    assert named(classes(client, binary=binary).as_numpy("fp32")) == BEST


@_triton
async def test_classes_have_names_asynchronously(waiting: Client) -> None:
    """The same with the asynchronous client."""
    assert named((await classes(waiting, binary=True)).as_numpy("fp32")) == BEST


QUESTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], object]] = {
    "live": (lambda client: client.is_server_live(), bool, True),
    "ready": (lambda client: client.is_server_ready(), bool, True),
    "model ready": (lambda client: client.is_model_ready("echo"), bool, True),
    "version ready": (lambda client: client.is_model_ready("echo", "1"), bool, True),
    "unknown model ready": (lambda client: client.is_model_ready("nope"), bool, False),
    "unknown version ready": (lambda client: client.is_model_ready("echo", "9"), bool, False),
    "metadata": (lambda client: client.get_model_metadata("compass"), lambda said: said["inputs"][0]["name"], "fp32"),
    "metadata of a version": (lambda client: client.get_model_metadata("echo", "1"), lambda said: said["name"], "echo"),
}
"""What is asked, what of the answer is looked at, and what it has to be."""
EXTENSIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], object]] = {
    "config": (lambda client: client.get_model_config("compass"), lambda said: said["max_batch_size"], 8),
    "config of a version": (
        lambda client: client.get_model_config("compass", "1"),
        lambda said: said["name"],
        "compass",
    ),
    "statistics": (
        lambda client: client.get_inference_statistics("idle", "1"),
        lambda said: said["model_stats"][0]["inference_count"],
        0,
    ),
    "statistics of all": (
        lambda client: client.get_inference_statistics(),
        lambda said: {one["name"] for one in said["model_stats"]},
        set(MODELS),
    ),
    "index": (
        lambda client: client.get_model_repository_index(),
        lambda said: {(one["name"], one["state"]) for one in said},
        {(name, "READY") for name in MODELS},
    ),
}


ASKED = [pytest.param(*asked, id=name, marks=_core) for name, asked in QUESTIONS.items()] + [
    pytest.param(*asked, id=name, marks=_triton) for name, asked in EXTENSIONS.items()
]


@pytest.mark.parametrize(("ask", "look", "expected"), ASKED)
def test_questions_are_answered(
    client: Client, ask: Callable[[Any], Any], look: Callable[[Any], Any], expected: object
) -> None:
    """Every asking call of the synchronous client."""
    assert look(ask(client)) == expected


@pytest.mark.parametrize(("ask", "look", "expected"), ASKED)
async def test_questions_are_answered_asynchronously(
    waiting: Client, ask: Callable[[Any], Any], look: Callable[[Any], Any], expected: object
) -> None:
    """Every asking call of the asynchronous one."""
    assert look(await ask(waiting)) == expected


REFUSED: dict[str, Callable[[Any], Any]] = {
    "an unknown output": lambda client: client.infer("echo", [], outputs=[http.InferRequestedOutput("nope")]),
    "no inputs": lambda client: client.infer("compass", []),
    "a decoupled model": lambda client: client.infer("words", []),
    "an unknown model": lambda client: client.infer("nope", []),
    "metadata of an unknown model": lambda client: client.get_model_metadata("nope"),
}


@_core
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_raises_with_a_sentence(over_http: tuple[tuple[Column, Place], ...], name: str) -> None:
    """The client finds status and message, of two servers the same, save for an unknown model."""
    raised = []
    for _, place in over_http:
        with http.InferenceServerClient(place.authority, ssl=place.tls) as client:
            with pytest.raises(InferenceServerException) as caught:
                REFUSED[name](client)
            raised.append((caught.value.status(), caught.value.message()))
    assert all(message for _, message in raised)
    assert "unknown model" in name or len(set(raised)) == 1


@_triton
def test_what_the_gateway_keeps_to_operators_raises_with_a_sentence(client: Client) -> None:
    """Loading and shared memory are refused at the gateway, and at any Triton that is not in explicit mode."""
    with pytest.raises(InferenceServerException):
        client.load_model("echo")


@_binary
def test_many_at_once(client: Client) -> None:
    """Concurrent `async_infer` calls get each their own answer."""
    asked = []
    for number in range(_ASKS):
        given = http.InferInput("int64", [1], "INT64")
        given.set_data_from_numpy(np.array([number]), binary_data=bool(number % 2))
        asked.append(client.async_infer("echo", [given], request_id=str(number)))
    answers = [one.get_result() for one in asked]
    assert [int(answer.as_numpy("int64")[0]) for answer in answers] == list(range(_ASKS))
    assert [answer.get_response()["id"] for answer in answers] == [str(number) for number in range(_ASKS)]


@_triton
async def test_a_client_that_gives_up_harms_nobody(waiting: Client) -> None:
    """An inference that is cancelled by its client is no obstacle to the next on its connections."""
    given = http.InferInput("wait_ms", [1], "INT64")
    given.set_data_from_numpy(np.array([_LONG_MS]))
    asked = asyncio.create_task(waiting.infer("counter", [given]))
    await asyncio.sleep(_LONG_MS / 5000)
    asked.cancel()
    answer = await echo(waiting, "FP32", binary=True)
    assert asked.cancelled()
    assert same(answer.as_numpy("fp32"), VALUES["FP32"])
