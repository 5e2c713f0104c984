"""Triton's own Python clients, synchronous and asynchronous: what they get from Triton they get through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient import http
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

from tests.e2e.fidelity.repository import CLASSES, MODELS
from tests.e2e.fidelity.servers import Pair

pytestmark = pytest.mark.e2e

Array = NDArray[Any]
_LARGEST = {
    name: np.iinfo(name.lower()) for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
}
VALUES: dict[str, Array] = {
    **{name: np.array([info.min, 0, info.max], info.dtype) for name, info in _LARGEST.items()},
    "BOOL": np.array([True, False, True]),
    "FP16": np.array([1.5, -2.0, 65504.0], np.float16),
    "FP32": np.array([1.5, -3.25, 3.4e38], np.float32),
    "FP64": np.array([0.1, -1.7e308, 5e-324]),
    "BYTES": np.array(["grün", "", "a b"], np.object_),
}
"""Every datatype that numpy has; BF16, which it has not, is a test of its own."""
_BINARY_ONLY = {"FP16"}
_TEXT = VALUES["BYTES"]
_ASKS = 32


def echo(client: Any, datatype: str, *, binary: bool, **more: Any) -> Any:  # noqa: ANN401 (tritonclient has no types)
    """An inference of `echo`, or with the asynchronous client the promise of one."""
    values = VALUES[datatype]
    given = http.InferInput(datatype.lower(), list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    asked = http.InferRequestedOutput(datatype.lower(), binary_data=binary)
    return client.infer("echo", [given], outputs=[asked], **more)


def ways(datatype: str) -> list[bool]:
    """Whether binary: what JSON cannot hold goes in binary only."""
    return [True] if datatype in _BINARY_ONLY else [True, False]


CASES = [(datatype, binary) for datatype in VALUES for binary in ways(datatype)]


def same(got: Array, sent: Array) -> bool:
    """Whether an answer holds what was sent; strings come back as bytes in binary, as text in JSON."""
    if sent.dtype == np.object_:
        return [one if isinstance(one, str) else one.decode() for one in got] == list(sent)
    return got.dtype == sent.dtype and bool((got == sent).all())


@pytest.mark.parametrize(("datatype", "binary"), CASES)
def test_every_datatype_comes_back(pair: Pair, datatype: str, *, binary: bool) -> None:
    """The synchronous client, JSON and binary."""
    with http.InferenceServerClient(f"127.0.0.1:{pair.gateway}") as client:
        answer = echo(client, datatype, binary=binary, request_id="7")
    assert same(answer.as_numpy(datatype.lower()), VALUES[datatype])
    assert answer.get_response()["id"] == "7"


async def test_every_datatype_comes_back_asynchronously(pair: Pair) -> None:
    """The asynchronous client, all of them at once over its connections."""
    async with aio.InferenceServerClient(f"127.0.0.1:{pair.gateway}") as client:
        answers = await asyncio.gather(*(echo(client, datatype, binary=binary) for datatype, binary in CASES))
    for (datatype, _), answer in zip(CASES, answers, strict=True):
        assert same(answer.as_numpy(datatype.lower()), VALUES[datatype]), datatype


def test_bf16_travels_in_binary(pair: Pair) -> None:
    """The type that numpy lacks comes back as it went."""
    values = np.array([1.0, -2.5, 3.0], ml_dtypes.bfloat16)
    given = http.InferInput("bf16", [3], "BF16")
    given.set_data_from_numpy(values)
    with http.InferenceServerClient(f"127.0.0.1:{pair.gateway}") as client:
        answer = client.infer("echo", [given], outputs=[http.InferRequestedOutput("bf16")])
    assert answer.as_numpy("bf16").astype(np.float32).tolist() == [1.0, -2.5, 3.0]


@pytest.mark.parametrize("answer", [None, "gzip", "deflate"])
@pytest.mark.parametrize("request_", [None, "gzip", "deflate"])
def test_compression_both_ways(pair: Pair, request_: str | None, answer: str | None) -> None:
    """Each of the client's compressions, of requests and of answers, in JSON and binary."""
    how = {"request_compression_algorithm": request_, "response_compression_algorithm": answer}
    with http.InferenceServerClient(f"127.0.0.1:{pair.gateway}") as client:
        for binary in (True, False):
            got = echo(client, "FP32", binary=binary, **how)
            assert same(got.as_numpy("fp32"), VALUES["FP32"])


async def test_compression_both_ways_asynchronously(pair: Pair) -> None:
    """The same with the asynchronous client."""
    how = {"request_compression_algorithm": "gzip", "response_compression_algorithm": "deflate"}
    async with aio.InferenceServerClient(f"127.0.0.1:{pair.gateway}") as client:
        answer = await echo(client, "BYTES", binary=True, **how)
    assert same(answer.as_numpy("bytes"), _TEXT)


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_classes_have_names(pair: Pair, *, binary: bool) -> None:
    """`class_count` gives the best classes with their labels, for each row."""
    scores = np.array([[1.0, 4.0, 3.0, 2.0], [9.0, 0.0, 0.0, 8.0]], np.float32)
    given = http.InferInput("fp32", [2, 4], "FP32")
    given.set_data_from_numpy(scores)
    asked = http.InferRequestedOutput("fp32", binary_data=binary, class_count=2)
    with http.InferenceServerClient(f"127.0.0.1:{pair.gateway}") as client:
        best = client.infer("compass", [given], outputs=[asked]).as_numpy("fp32")
    named = [[str(np.char.decode(one) if isinstance(one, bytes) else one).split(":")[2] for one in row] for row in best]
    assert named == [[CLASSES[1], CLASSES[2]], [CLASSES[0], CLASSES[3]]]


QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "live": lambda client: client.is_server_live(),
    "ready": lambda client: client.is_server_ready(),
    "model ready": lambda client: client.is_model_ready("echo"),
    "version ready": lambda client: client.is_model_ready("echo", "1"),
    "unknown model ready": lambda client: client.is_model_ready("nope"),
    "unknown version ready": lambda client: client.is_model_ready("echo", "9"),
    "metadata": lambda client: client.get_model_metadata("echo"),
    "metadata of a version": lambda client: client.get_model_metadata("echo", "1"),
    "config": lambda client: client.get_model_config("compass"),
    "config of a version": lambda client: client.get_model_config("compass", "1"),
    "statistics": lambda client: client.get_inference_statistics("idle"),
    "statistics of a version": lambda client: client.get_inference_statistics("idle", "1"),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_have_tritons_answers(pair: Pair, name: str) -> None:
    """Every asking call of the client returns what it returns with Triton alone."""
    answers = []
    for port in (pair.triton, pair.gateway):
        with http.InferenceServerClient(f"127.0.0.1:{port}") as client:
            answers.append(QUESTIONS[name](client))
    assert answers[1] == answers[0]


async def test_questions_have_tritons_answers_asynchronously(pair: Pair) -> None:
    """The same with the asynchronous client."""
    answers = []
    for port in (pair.triton, pair.gateway):
        async with aio.InferenceServerClient(f"127.0.0.1:{port}") as client:
            answers.append({name: await ask(client) for name, ask in QUESTIONS.items()})
    assert answers[1] == answers[0]


def test_the_index_and_the_statistics_name_every_model(pair: Pair) -> None:
    """The calls that name no model work as well."""
    with http.InferenceServerClient(f"127.0.0.1:{pair.gateway}") as client:
        index = client.get_model_repository_index()
        counted = client.get_inference_statistics()
        server = client.get_server_metadata()
    assert {one["name"] for one in index} == set(MODELS)
    assert {one["state"] for one in index} == {"READY"}
    assert {one["name"] for one in counted["model_stats"]} == set(MODELS)
    assert server["name"] == "sluice"
    assert "binary_tensor_data" in server["extensions"]


REFUSED: dict[str, Callable[[Any], Any]] = {
    "an unknown output": lambda client: client.infer("echo", [], outputs=[http.InferRequestedOutput("nope")]),
    "no inputs": lambda client: client.infer("compass", []),
    "a stream": lambda client: client.infer("words", []),
}


@pytest.mark.parametrize("name", REFUSED)
def test_errors_of_the_model_are_tritons(pair: Pair, name: str) -> None:
    """Status and message of the client's exception are the same."""
    raised = []
    for port in (pair.triton, pair.gateway):
        with http.InferenceServerClient(f"127.0.0.1:{port}") as client:
            with pytest.raises(InferenceServerException) as caught:
                REFUSED[name](client)
            raised.append((caught.value.status(), caught.value.message()))
    assert raised[1] == raised[0]


def test_an_unknown_model_is_told_in_a_sentence(pair: Pair) -> None:
    """The exception has the status and the sentence of the gateway."""
    with http.InferenceServerClient(f"127.0.0.1:{pair.gateway}") as client:
        with pytest.raises(InferenceServerException, match="There is no model 'nope' here") as caught:
            client.infer("nope", [])
        assert caught.value.status() == "404"
        with pytest.raises(InferenceServerException, match="There is no model 'nope' here"):
            client.get_model_metadata("nope")
        with pytest.raises(InferenceServerException, match="not loaded or unloaded on the prediction port"):
            client.load_model("echo")
        with pytest.raises(InferenceServerException, match="Shared memory"):
            client.get_system_shared_memory_status()


def test_many_at_once(pair: Pair) -> None:
    """Concurrent `async_infer` calls get each their own answer."""
    with http.InferenceServerClient(f"127.0.0.1:{pair.gateway}", concurrency=8) as client:
        asked = []
        for number in range(_ASKS):
            given = http.InferInput("int64", [1], "INT64")
            given.set_data_from_numpy(np.array([number]), binary_data=bool(number % 2))
            asked.append(client.async_infer("echo", [given], request_id=str(number)))
        answers = [one.get_result() for one in asked]
    assert [int(answer.as_numpy("int64")[0]) for answer in answers] == list(range(_ASKS))
    assert [answer.get_response()["id"] for answer in answers] == [str(number) for number in range(_ASKS)]
