"""Requests with their answers, put together for the keeper: the client's, and those of the copies that were made.

A pair holds what the worker had in its hands anyway: the pieces of a request and of an answer as they came, not copies
of them. It is written once, when all copies have ended, and then it is gone. What a pair and its copies hold counts
against one shelf; a body that does not fit on it, or is longer than may be captured, is told by its size alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from serving.captured import LONGEST_VALUE, Answered, Captured, PlainAnswer, written
from serving.gateway.counters import Outcome
from serving.gateway.grpc.framing import PREFIX, Sent, inflated

if TYPE_CHECKING:
    from serving.gateway.dispatch import Way
    from serving.gateway.request import Asked
    from serving.gateway.served import Signature

READ_BY: Final = (b"content-type", b"content-encoding", b"inference-header-content-length")
"""Headers that it takes to read a body."""
_NAMES: Final = {outcome: outcome.name.lower() for outcome in Outcome}
_MOST_REMEMBERED: Final = 1024
_REMEMBERED: Final = 256
_Asked = tuple[str, str, int, int, float, str, int, int, str, dict[str, str], bytes, bytes | None]


class Came(NamedTuple):
    """One version's answer as it came.

    Attributes:
        version: that answered.
        outcome: how the attempt ended.
        code: HTTP's status, or the one that stands for gRPC's; 0 where none came.
        took_s: seconds until its last byte.
        headers: of HTTP's answer, all lines.
        pieces: of the body; None where not all of it is there.
        size: of the body in bytes, as far as it came.
        coding: of gRPC's message (`grpc-encoding`); None over HTTP.
    """

    version: int
    outcome: Outcome
    code: int
    took_s: float
    headers: bytes = b""
    pieces: list[bytes] | None = None
    size: int = 0
    coding: bytes | None = None

    def answered(self, most: int) -> Answered:
        """The same, ready to be written; a body of more than `most` bytes is left out."""
        return Answered(*self.plain(most))

    def plain(self, most: int) -> PlainAnswer:
        """What `answered` has, unchecked."""
        body = None if self.pieces is None or self.size > most + PREFIX else b"".join(self.pieces)
        size = self.size
        if self.coding is not None and body is not None:
            body = message_in(body, self.coding, most)
            size = size if body is None else len(body)
        elif body is not None and size > most:
            body = None
        return self.version, _NAMES[self.outcome], self.code, self.took_s, lines_read_by(self.headers), body, size


class First:
    """The answer that a client has just got, and what it was the answer to.

    Args:
        way: of the request.
        head: of the request.
        came: the answer.
        request: pieces of its body, over gRPC the message with its five bytes; None where it is not whole any more.
        sign: mints the request id that the client was told; called only if anything is captured.
        at_s: seconds since 1970.
    """

    __slots__ = ("at_s", "came", "head", "pairs", "request", "sign", "way")

    def __init__(
        self,
        way: Way,
        head: Asked,
        came: Came,
        request: list[bytes] | None,
        *,
        sign: Callable[[], Signature | None],
        at_s: float,
    ) -> None:
        self.way = way
        self.head = head
        self.came = came
        self.request = request
        self.sign = sign
        self.at_s = at_s
        self.pairs: dict[str, Pair] = {}
        """Those that were begun, by the salt of their shadow."""

    @property
    def may_be_copied(self) -> bool:
        """Whether it is there for its copies' sake: where there are none after all, it may still be handed over."""
        return bool(self.way.model.policy.shadows)


class Pair:
    """One request, its first answer, and those of its copies as they come.

    Args:
        first: the answer that the client got.
        salt: of the shadow.
        most: bytes of a body that may be captured.
        send: takes what was captured.
    """

    __slots__ = ("_copies", "_first", "_most", "_open", "_request_id", "_salt", "_send")

    def __init__(self, first: First, salt: str, most: int, send: Callable[[Captured], None]) -> None:
        signature = first.sign()
        self._request_id = "" if signature is None else signature.request_id.decode()
        self._first: First | None = first
        self._salt = salt
        self._most = most
        self._send = send
        self._open = 1  # until all copies have gone out
        self._copies: list[Answered] = []

    def expect(self) -> None:
        """One more copy is on its way."""
        self._open += 1

    def ended(self, came: Came | None = None) -> None:
        """One copy is over, or there are no more of them.

        Args:
            came: its answer; None where it is not to be held against the client's.
        """
        if came is not None:
            self._copies.append(came.answered(self._most))
        self._open -= 1
        first = self._first
        if self._open or first is None:
            return
        self._first = None
        if self._copies and self._request_id:
            self._send(captured(first, self._request_id, self._most, self._salt, tuple(self._copies)))


def captured(first: First, request_id: str, most: int, salt: str, copies: tuple[Answered, ...]) -> Captured:
    """What is written of a request, its answer and those of its copies."""
    return Captured(*_asked(first, request_id, most, salt), first.came.answered(most), copies)


def alone(first: First, request_id: str, most: int) -> list[bytes]:
    """The same of a request that was not copied, as pieces of a frame's payload: most that are sampled are of these."""
    return written(*_asked(first, request_id, most, ""), first.came.plain(most))


def _asked(first: First, request_id: str, most: int, salt: str) -> _Asked:
    """The attributes of a `Captured`, in their order, but for the answers."""
    way, head = first.way, first.head
    return (
        way.model.name, request_id, way.nonce, way.epoch, first.at_s, "grpc" if head.grpc else "http",
        way.choice.version, way.model.policy.stable, salt, segment_of(way, head.fields),
        b"" if head.grpc else b"".join([b"%s: %s\r\n" % (n, head.fields[n]) for n in READ_BY if n in head.fields]),
        _request(first, most),
    )  # fmt: skip


def segment_of(way: Way, fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """What the request says in the headers that the rules of comparison name."""
    comparison = way.model.policy.comparison
    if comparison is None:
        return {}
    values = {name: fields.get(name.encode()) for name in comparison.segments}
    return {name: value.decode("utf-8", "replace")[:LONGEST_VALUE] for name, value in values.items() if value}


def lines_read_by(headers: bytes) -> bytes:
    """Of these header lines, those that it takes to read the body; one replica's are much the same each time."""
    return _remembered(headers) if len(headers) <= _MOST_REMEMBERED else _lines_read_by(headers)


def _lines_read_by(headers: bytes) -> bytes:
    return b"".join(
        line + b"\r\n" for line in headers.split(b"\r\n") if line.partition(b":")[0].strip().lower() in READ_BY
    )


_remembered: Final = lru_cache(_REMEMBERED)(_lines_read_by)


def message_in(data: bytes, coding: bytes, most: int) -> bytes | None:
    """The one message in an answer of gRPC's, in the clear and without its five bytes; None where there is no such."""
    if len(data) < PREFIX or len(data) != PREFIX + int.from_bytes(data[1:PREFIX], "big"):
        return None
    message = inflated(Sent(bool(data[0]), data[PREFIX:]), coding, most)
    return message if isinstance(message, bytes) and len(message) <= most else None


def _request(first: First, most: int) -> bytes | None:
    pieces = first.request
    prefix = PREFIX if first.head.grpc else 0
    if pieces is None or sum(map(len, pieces)) - prefix > most:
        return None
    return b"".join(pieces)[prefix:]
