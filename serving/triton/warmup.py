"""The first requests of a server, which nobody waits for: they make what is made once, and show how it answers.

The request is the example that came with the pool, else the artifact's `example.json`: the body of a v2 inference
request in JSON; without one, zeros (empty strings) of one row, made from the model's metadata. What the model answers
is not judged here, only that it does.

It is sent one at a time until the latency has settled: until the median of the last five is not below that of the five
before by more than a twentieth; 100 requests or 5 s are enough in any case. Then a burst of half a second measures
what the server carries. Where the burst gets no answer in time, the server carries what it did one at a time.
"""

import asyncio
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
from tritonclient.http import InferenceServerClient, aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from serving.errors import StartFailed
from serving.triton.burst import MOST_AT_ONCE, Request, burst
from serving.triton.layout import ArtifactRefused

_WINDOW = 5
_STILL_FALLING = 0.95
_MOST_REQUESTS = 100
_LONGEST_S = 5.0
_LENGTH_HEADER = "Inference-Header-Content-Length"


class Server(Protocol):
    """What is warmed up; a `TritonProcess` is one."""

    model: str
    version: int
    http_port: int

    @property
    def near_host(self) -> str:
        """Where this machine reaches it."""

    async def metadata(self) -> dict[str, Any]:
        """The model's metadata, as the v2 protocol gives it."""

    async def infer(self, inputs: Sequence[aio.InferInput]) -> aio.InferResult:
        """One inference."""


@dataclass(frozen=True, slots=True)
class Warmth:
    """How a server answers once it is warm.

    Attributes:
        latency_ms: of one request at a time, the median of the last window.
        throughput: requests a second in the burst; None where none was measured.
        requests: how many it took to get warm.
    """

    latency_ms: float
    throughput: float | None
    requests: int


async def warm_up(
    server: Server, example: bytes | None, *, timeout_s: float = 120.0, at_once: int | None = None
) -> Warmth:
    """Sends the example, or zeros where there is none, until the latency has settled; then a burst.

    Args:
        server: whom to.
        example: the JSON body of a v2 inference request; None for zeros.
        timeout_s: how long the model may take to get warm.
        at_once: how many requests the burst has under way, at most 64; None for no burst.

    Raises:
        ArtifactRefused: the example is no request for this model.
        StartFailed: the model does not answer it, or not in time.
    """
    inputs = from_example(example) if example else zeros(await server.metadata())
    what = "its example" if example else "a request of zeros"
    try:
        async with asyncio.timeout(timeout_s):
            latencies_ms = await _until_settled(server, inputs)
    except InferenceServerException as error:
        raise _silent(server, what, error.message()) from error
    except TimeoutError as error:
        raise _silent(server, what, f"no answer came within {timeout_s:g} s") from error
    except Exception as error:  # tritonclient passes on whatever its transport raises
        raise _silent(server, what, str(error) or type(error).__name__) from error
    latency_ms = median(latencies_ms[-_WINDOW:])
    throughput = None if at_once is None else await _carries(server, inputs, at_once, latency_ms)
    return Warmth(latency_ms, throughput, len(latencies_ms))


def has_settled(latencies_ms: Sequence[float]) -> bool:
    """Whether the latency falls no longer."""
    last, before = latencies_ms[-_WINDOW:], latencies_ms[-2 * _WINDOW : -_WINDOW]
    return len(before) == _WINDOW and median(last) >= _STILL_FALLING * median(before)


async def _until_settled(server: Server, inputs: Sequence[aio.InferInput]) -> list[float]:
    latencies_ms: list[float] = []
    deadline = time.monotonic() + _LONGEST_S
    while not has_settled(latencies_ms) and len(latencies_ms) < _MOST_REQUESTS:
        began = time.monotonic()
        if latencies_ms and began > deadline:
            break
        await server.infer(inputs)
        latencies_ms.append(1_000 * (time.monotonic() - began))
    return latencies_ms


async def _carries(server: Server, inputs: Sequence[aio.InferInput], at_once: int, latency_ms: float) -> float:
    body, length = InferenceServerClient.generate_request_body(list(inputs))
    path = f"/v2/models/{quote(server.model, safe='')}/versions/{server.version}/infer"
    headers = {"Content-Type": "application/json"} if length is None else {_LENGTH_HEADER: str(length)}
    request = Request(server.near_host, server.http_port, path, bytes(body), headers)
    one_by_one = 1_000 / latency_ms if latency_ms else 0.0
    return max(await burst(request, max(1, min(at_once, MOST_AT_ONCE))), one_by_one)


def _silent(server: Server, what: str, why: str) -> StartFailed:
    return StartFailed(
        f"{server.model} version {server.version} is loaded, but does not answer {what}: {_one_line(why)}.",
        "Correct the model, or give an example.json that it does answer.",
    )


def _one_line(text: str) -> str:
    """A Python model's error comes with its stack; the first line says what."""
    return next(iter(text.strip().splitlines()), "").rstrip(". ")


def from_example(body: bytes) -> list[aio.InferInput]:
    """The inputs of a v2 inference request in JSON.

    Raises:
        ArtifactRefused: it is not one.
    """
    try:
        return [_from_json(tensor) for tensor in json.loads(body)["inputs"]]
    except (ValueError, KeyError, TypeError, InferenceServerException) as error:
        raise ArtifactRefused(f"example.json is not the body of a v2 inference request: {error!r}.") from error


def zeros(metadata: Mapping[str, Any]) -> list[aio.InferInput]:
    """One row of nothing for each input; a dimension that varies is 1."""
    inputs = []
    for tensor in metadata["inputs"]:
        shape = [max(1, int(size)) for size in tensor["shape"]]
        empty = b"" if tensor["datatype"] == "BYTES" else 0
        inputs.append(_input(tensor["name"], tensor["datatype"], shape, [empty] * math.prod(shape)))
    return inputs


def _from_json(tensor: Mapping[str, Any]) -> aio.InferInput:
    return _input(tensor["name"], tensor["datatype"], tensor["shape"], tensor["data"])


def _input(name: str, datatype: str, shape: Sequence[int], data: Any) -> aio.InferInput:  # noqa: ANN401 - JSON
    values = np.array(data, dtype=triton_to_np_dtype(datatype)).reshape(shape)
    tensor = aio.InferInput(name, list(shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor
