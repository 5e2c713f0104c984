"""What has come of a request's body, and whether a model may be shown it.

Pieces are held as long as they may have to be sent, or sent again; a body that outgrows what may be sent twice is let
go of as soon as it is on its way. Depth is measured in `nesting`; what a body says is read by `router.unit` alone.
"""

from __future__ import annotations

from serving.errors import Refusal
from serving.gateway.nesting import Gauge, gauge_for, surely_shallow
from serving.gateway.paths import Operation
from serving.gateway.request import Bad, RequestHead, is_compressed

_WITH_JSON = frozenset((Operation.INFER, Operation.GENERATE, Operation.GENERATE_STREAM))
_PLAIN = frozenset((b"", b"identity"))


class Body:
    """One request's body.

    Args:
        head: of the request.
        most: the largest one that is taken, in bytes.
    """

    __slots__ = ("_gauge", "_head", "_most", "ended", "held", "pieces", "received")

    def __init__(self, head: RequestHead, most: int) -> None:
        self._head = head
        self._most = most
        self._gauge: Gauge | None = None
        self.received = 0
        """Bytes so far."""
        self.ended = False
        """Whether it is complete."""
        self.pieces: list[bytes] = []
        """All that came, while `held`."""
        self.held = True

    def limit(self, most: int) -> None:
        """Takes no more than this, where that is less."""
        self._most = min(self._most, most)

    def take(self, piece: bytes) -> Bad | None:
        """The next piece; why the request may go no further."""
        self.received += len(piece)
        if self.received > self._most:
            return Bad(Refusal.TOO_LARGE, f"The body is larger than {self._most} bytes: send less.")
        if self._gauge is not None:
            bad = self._gauge.fault(piece)
            if bad is not None:
                return bad
        if self.held:
            self.pieces.append(piece)
        return None

    def fault(self) -> Bad | None:
        """Why what came so far may not be shown to a model; what comes later is looked at as it comes."""
        head = self._head
        if head.target.operation not in _WITH_JSON:
            return None
        bad = self._too_short()
        if bad is None and not (self.ended and head.json_length is None and self._is_plain_and_shallow()):
            bad = self._measure()
        return bad

    def json(self, most: int) -> bytes | None:
        """Its JSON: all of it, or what stands before the binary extension.

        None where it is not whole, has more bytes than this, is compressed, or where none is asked for.
        """
        size = self._json_size if self._has_plain_json else None
        if size is None or size > min(most, self.received):
            return None
        return b"".join(self.pieces)[:size]

    def awaits_json(self, most: int) -> bool:
        """Whether more has to come before there is any telling what `json` will be."""
        if self.ended or not self._has_plain_json:
            return False
        size = self._json_size
        return self.received <= most if size is None else self.received < size <= most

    @property
    def _has_plain_json(self) -> bool:
        head = self._head
        return head.target.operation in _WITH_JSON and head.coding.strip().lower() in _PLAIN

    @property
    def _json_size(self) -> int | None:
        """In bytes; None while nobody knows."""
        head = self._head
        if head.json_length is not None:
            return head.json_length
        return self.received if self.ended else head.length

    def framed(self) -> list[bytes]:
        """What is held, as it is to be sent: in chunks where there is no telling how long it will be."""
        if self._head.length is None and not self.ended:
            return [chunk(piece) for piece in self.pieces]
        return self.pieces

    def framing(self) -> bytes:
        """The header that says how long it is."""
        head = self._head
        if self.ended:
            return b"Content-Length: %d\r\n" % self.received if self.received or head.method == b"POST" else b""
        return b"Transfer-Encoding: chunked\r\n" if head.length is None else b"Content-Length: %d\r\n" % head.length

    def let_go(self) -> None:
        """It cannot be sent again from here on."""
        self.held = False
        self.pieces = []

    def _is_plain_and_shallow(self) -> bool:
        return not self._head.coding and surely_shallow(self.pieces)

    def _too_short(self) -> Bad | None:
        """For chunks only: where a length was given, the head was refused already."""
        asked = self._head.json_length
        if asked is None or not self.ended or asked <= self.received or is_compressed(self._head.coding):
            return None
        longer = f"Inference-Header-Content-Length is {asked}, more than the body's {self.received} bytes."
        return Bad(Refusal.MALFORMED, longer)

    def _measure(self) -> Bad | None:
        gauge = self._gauge = gauge_for(self._head.coding, self._head.json_length, self._most)
        for piece in self.pieces:
            bad = gauge.fault(piece)
            if bad is not None:
                return bad
        return None


def chunk(piece: bytes) -> bytes:
    """One chunk of a body in chunks."""
    return b"%x\r\n%s\r\n" % (len(piece), piece)
