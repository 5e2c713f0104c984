"""The first requests of a server, which nobody waits for: they make what is made once, and show how it answers.

The request is `samples.py`'s. What the model answers is not judged here, only that it does.

It is sent one at a time until the latency has settled: until the median of the last five is not below that of the five
before by more than a twentieth; 100 requests or 5 s are enough in any case. Then a burst of half a second measures
what the server carries. Where the burst gets no answer in time, the server carries what it did one at a time.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol
from urllib.parse import quote

from tritonclient.http import InferenceServerClient, aio
from tritonclient.utils import InferenceServerException

from serving.errors import StartFailed
from serving.triton import samples
from serving.triton.burst import MOST_AT_ONCE, Request, burst
from serving.triton.samples import sample_of

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
    inputs = samples.inputs(sample_of(await server.metadata(), example))
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
        f"{server.model} version {server.version} is loaded, but does not answer {what}: {one_line(why)}.",
        "Correct the model, or give an example.json that it does answer.",
    )


def one_line(text: str) -> str:
    """A Python model's error comes with its stack; the first line says what."""
    return next(iter(text.strip().splitlines()), "").rstrip(". ")
