"""Answers as the two legs have them: what a model said, what goes on of it to the client, and what the gateway adds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from serving.gateway.grpc.status import Code, as_http, code_in, code_of, code_of_http, refusal, trailers
from serving.gateway.h2.fields import encode, encode_field
from serving.gateway.h2.frames import ErrorCode
from serving.gateway.h2.stream import Fields

if TYPE_CHECKING:
    from serving.gateway.h2.stream import ServerStream
    from serving.gateway.request import Bad
    from serving.gateway.served import Signature

HEAD: Final = encode(((b":status", b"200"), (b"content-type", b"application/grpc")))
"""The head of an answer of the gateway's own."""
_WELL: Final = ((b"grpc-status", b"0"),)
WELL: Final = encode(_WELL)
_OK: Final = 200
_ENDS_HERE = frozenset((b"content-length", b"date", b"server", b"trailer"))
_OURS = b"sluice-"
_MOST_KEPT = 256
_LONGEST_KEPT = 4096
_ID = encode_field(b"sluice-request-id", b"")[:-1]  # but for its length, which one byte holds


class Answer(NamedTuple):
    """A model's answer, but for its messages.

    Attributes:
        code: the HTTP code that it is judged by.
        head: its head; None where it had nothing but an end.
        trailers: its end.
    """

    code: int
    head: Fields | None
    trailers: Fields


def answer_of(head: Fields | None, end: Fields) -> Answer | None:
    """What these make; None where they are no complete answer of gRPC's, nor one of HTTP's own.

    Args:
        head: None where all of it is the end.
        end: the trailers, or the one block of an answer that has no message; empty where there were none.
    """
    if end == _WELL:
        return Answer(_OK, head, end)
    if any(name == b"grpc-status" for name, _ in end):
        return Answer(as_http(code_in(end)), head, end)
    status = next((value for name, value in head or end if name == b":status"), b"200")
    if status == b"200":
        return None
    code = code_of_http(status)
    said = trailers(code, f"The model's server answered HTTP {status.decode()}, which is no answer of gRPC's.")
    return Answer(as_http(code), None, tuple(said))


def coding_of(head: Fields | None) -> bytes:
    """How the messages after this head are compressed; empty where they are not."""
    return next((value for name, value in head or () if name == b"grpc-encoding"), b"")


class Blocks:
    """What goes on of a model's heads and ends, by the peer's own object for a block: most are the same each time."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[int, tuple[Fields, bytes]] = {}

    def of(self, fields: Fields) -> bytes:
        """The block for the client."""
        known = self._known.get(id(fields))
        if known is not None and known[0] is fields:
            return known[1]
        block = b"".join([encode_field(*field) for field in fields if _goes_on(field[0])])
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        if len(block) <= _LONGEST_KEPT:
            self._known[id(fields)] = fields, block
        return block


def signed(signature: Signature | None) -> bytes:
    """The block with what the gateway adds."""
    if signature is None:
        return b""
    version, request_id, reason, epoch = signature
    said = _said_before(version, reason, epoch)
    return b"%b%b%c%b" % (said, _ID, len(request_id), request_id)


@lru_cache(_MOST_KEPT)
def _said_before(version: int, reason: bytes, epoch: int) -> bytes:
    """What is the same in many answers."""
    said = (b"sluice-version", b"%d" % version), (b"sluice-reason", reason), (b"sluice-epoch", b"%d" % epoch)
    return encode(said)


def refuse_on(stream: ServerStream, bad: Bad, *, begun: bool, is_grpc: bool = True) -> None:
    """Ends a call with a refusal.

    Args:
        stream: of the call.
        bad: why.
        begun: whether the head of an answer is out.
        is_grpc: whether the client is known to speak gRPC.
    """
    if not begun:
        stream.write_headers(refusal(bad, is_grpc=is_grpc), end=True)
    elif stream.full:  # a client that does not read would not read the end either
        stream.reset(ErrorCode.CANCEL)
    else:
        stream.write_trailers(failed(code_of(bad), bad.sentence))


def failed(code: Code, sentence: str) -> bytes:
    """The end of an answer that went wrong."""
    return encode(tuple(trailers(code, sentence)))


def _goes_on(name: bytes) -> bool:
    return name not in _ENDS_HERE and not name.startswith(_OURS)
