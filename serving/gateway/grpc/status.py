"""gRPC's status codes: how a refusal of ours is told, and what a model's answer says about the attempt.

Which code a refusal has is the last word of `serving.errors.STATUS`. What follows an answer is decided for both doors
by HTTP's codes, so a model's gRPC code is read as the one that the same answer has over HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from serving.errors import STATUS
from serving.gateway.h2.stream import Fields
from serving.gateway.request import Bad


class Code(IntEnum):
    """As gRPC numbers them."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_AS_HTTP: Mapping[Code, int] = MappingProxyType(
    {
        Code.OK: 200, Code.CANCELLED: 499, Code.INVALID_ARGUMENT: 400, Code.DEADLINE_EXCEEDED: 504,
        Code.NOT_FOUND: 404, Code.ALREADY_EXISTS: 409, Code.PERMISSION_DENIED: 403, Code.RESOURCE_EXHAUSTED: 429,
        Code.FAILED_PRECONDITION: 400, Code.ABORTED: 409, Code.OUT_OF_RANGE: 400, Code.UNIMPLEMENTED: 501,
        Code.UNAVAILABLE: 503, Code.UNAUTHENTICATED: 401,
    }
)  # fmt: skip
_SERVER_ERROR = 500
_FROM_HTTP: Mapping[bytes, Code] = MappingProxyType(
    {
        b"400": Code.INTERNAL, b"401": Code.UNAUTHENTICATED, b"403": Code.PERMISSION_DENIED,
        b"404": Code.UNIMPLEMENTED, b"429": Code.UNAVAILABLE, b"502": Code.UNAVAILABLE, b"503": Code.UNAVAILABLE,
        b"504": Code.UNAVAILABLE,
    }
)  # fmt: skip
"""What an answer of HTTP's own stands for (gRPC's `http-grpc-status-mapping.md`)."""

_UNSAFE = frozenset(range(256)) - frozenset(range(0x20, 0x7F)) | {ord("%")}
_ESCAPED = tuple(b"%%%02X" % byte if byte in _UNSAFE else bytes((byte,)) for byte in range(256))
_LONGEST_SENTENCE = 2_000
_HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))


def as_http(code: int) -> int:
    """The HTTP code that an answer with this gRPC code is judged by; one that nobody knows is the server's fault."""
    try:
        return _AS_HTTP.get(Code(code), _SERVER_ERROR)
    except ValueError:
        return _SERVER_ERROR


def code_in(trailers: Fields) -> int:
    """The gRPC code of an answer's end; UNKNOWN where it says none that is a number."""
    for name, value in trailers:
        if name == b"grpc-status":
            return int(value) if value.isdigit() and len(value) <= 4 else Code.UNKNOWN  # noqa: PLR2004 (no code is longer)
    return Code.UNKNOWN


def code_of_http(status: bytes) -> Code:
    """What an answer that is none of gRPC's stands for, by its HTTP status."""
    return _FROM_HTTP.get(status, Code.UNKNOWN)


def escaped(sentence: str) -> bytes:
    """A sentence as `grpc-message` holds it: UTF-8, percent-encoded where it is not printable ASCII."""
    return b"".join(map(_ESCAPED.__getitem__, sentence[:_LONGEST_SENTENCE].encode("utf-8", "replace")))


def code_of(bad: Bad) -> Code:
    """The code that the table gives this refusal; INTERNAL for one that cannot arise over gRPC."""
    name = STATUS[bad.kind].grpc
    return Code.INTERNAL if name is None else Code[name]


def refusal(bad: Bad, *, is_grpc: bool = True) -> Fields:
    """A complete answer without a message: why not.

    Args:
        bad: why.
        is_grpc: whether the client is known to speak gRPC; to any other, HTTP's status says it as well.
    """
    after_s = STATUS[bad.kind].retry_after_s if bad.retry_after_s is None else bad.retry_after_s
    head = _HEAD if is_grpc else ((b":status", b"415"), _HEAD[1])
    pushback = () if after_s is None else ((b"retry-after", b"%d" % after_s),)
    return (*head, *trailers(code_of(bad), bad.sentence), *pushback)


def trailers(code: int, sentence: str = "") -> Fields:
    """How an answer ends."""
    status = (b"grpc-status", b"%d" % code)
    return (status, (b"grpc-message", escaped(sentence))) if sentence else (status,)
