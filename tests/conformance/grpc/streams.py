"""Streams: one answer each, many answers for one request, errors on the way, sequences, and clients that leave."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from tests.conformance.differences import Why
from tests.conformance.grpc.calls import Own, Request, Vector
from tests.conformance.grpc.inference import FINE, MALFORMED, UNKNOWN_MODEL, UNKNOWN_VERSION, step
from tests.conformance.grpc.messages import STREAM, Tensor, infer
from tests.conformance.http.requests import strings

_CHOSEN = Own("OK", Why.CHOSEN, version="1")
_BY_STATUS = (("triton_grpc_error", "true"),)
_FINAL = {"triton_enable_empty_final_response": True}


def stream(name: str, *requests: Request, gateway: Own | None = None) -> Vector:
    """A call that sends these and then no more."""
    return Vector(name, STREAM, requests, gateway)


def _within(own: Own) -> Own:
    """The same, told in an answer of the stream, which goes on."""
    return replace(own, code="OK")


def single() -> Iterator[Vector]:
    """A model that gives one answer for each request."""
    yield stream("stream of one", infer("echo", FINE))
    yield stream("stream of eight", *(infer("echo", FINE, id=str(number)) for number in range(8)))
    yield stream("stream with a version", infer("echo", FINE, model_version="1"))
    yield stream("stream of nothing")
    yield stream("stream with a final answer", infer("echo", FINE, parameters=_FINAL))
    bad = infer("echo", Tensor("FP32", (3,), FINE.raw), id="bad")
    yield stream("stream with a bad one in the middle", infer("echo", FINE), bad, infer("echo", FINE, id="good"))
    yield stream("stream of an unknown model", infer("nope", FINE), gateway=_within(UNKNOWN_MODEL))
    yield stream(
        "stream of an unknown version", infer("echo", FINE, model_version="9"), gateway=_within(UNKNOWN_VERSION)
    )
    yield stream("stream, malformed", b"\xff\xff\xff", gateway=MALFORMED)
    yield Vector("stream with a bad one, by status", STREAM, (infer("echo", FINE), bad), metadata=_BY_STATUS)
    nowhere = (infer("nope", FINE),)
    yield Vector("stream of an unknown model, by status", STREAM, nowhere, UNKNOWN_MODEL, _BY_STATUS)


def decoupled() -> Iterator[Vector]:
    """A model that gives as many answers as it likes."""
    yield stream("stream of no answers", infer("repeat", _times(0)))
    yield stream("stream of a hundred answers", infer("repeat", _times(100)))
    yield stream("stream of answers to two requests", *(infer("repeat", _times(3), id=name) for name in "ab"))
    yield stream(
        "stream of answers and an empty last one",
        infer("repeat", _times(2), id="7", parameters=_FINAL),
        gateway=_CHOSEN,
    )
    yield stream("stream with an error midway", infer("repeat", _times(3), _failing(1), id="7"), gateway=_CHOSEN)
    yield stream("stream with an error at once", infer("repeat", _times(3), _failing(0)), gateway=_CHOSEN)
    after = (infer("repeat", _times(3), _failing(1), id="bad"), infer("repeat", _times(1), id="good"))
    yield stream("stream that goes on after an error", *after, gateway=_CHOSEN)
    text = Tensor("BYTES", (1,), strings("one grün three".encode()), name="text")
    yield stream("stream of words", infer("words", text))
    slow = counting(200, 20)
    yield Vector("stream that is given up", STREAM, (slow,), given_up_after=3)
    yield Vector("stream past its deadline", STREAM, (slow,), deadline_s=0.5, is_timed=True, compared=2)


def sequences() -> Iterator[Vector]:
    """A sequence keeps its order and its sum."""
    marks: tuple[dict[str, object], ...] = ({"sequence_start": True}, {}, {"sequence_end": True})
    steps = [infer("sums", step(value), parameters={"sequence_id": 61, **mark}) for value, mark in enumerate(marks, 3)]
    yield stream("sequence", *steps)
    yield stream("sequence that begins in the middle", infer("sums", step(1), parameters={"sequence_id": 62}))


def counting(times: int, wait_ms: int) -> bytes:
    """A request to `repeat`, which waits so long after each answer."""
    return infer("repeat", _times(times), _number("wait_ms", wait_ms))


def failing(times: int, at: int) -> bytes:
    """A request to `repeat`, which fails at that step."""
    return infer("repeat", _times(times), _failing(at))


def _number(name: str, value: int) -> Tensor:
    return Tensor("INT32", (1,), struct.pack("<i", value), name=name)


def _times(value: int) -> Tensor:
    return _number("times", value)


def _failing(at: int) -> Tensor:
    return _number("fail_at", at)
