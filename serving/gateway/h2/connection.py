"""What a connection (RFC 9113) holds, and what its streams and its owner ask of it. No I/O, no clock.

What is written while bytes are read is collected in `out`, and goes out in one piece. What the peer's frames do to it
is in `reader`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from serving.gateway.h2 import frames
from serving.gateway.h2.allowance import Allowance
from serving.gateway.h2.fields import FORGET_TABLE, encode
from serving.gateway.h2.frames import FIRST_WINDOW, ErrorCode
from serving.gateway.h2.settings import Limits, PeerSettings
from serving.gateway.h2.stream import NOBODY, Fields, Stream

ASKED = b"\0there?\0"
"""In a PING that asks whether the peer is there."""
_log = logging.getLogger(__name__)
_REMEMBERED = 1000
_PER_S = 100.0
_LONGEST_WHY = 200


class Connection(ABC):
    """One end of one connection.

    Args:
        limits: what the peer may do.
        on_output: told that there is something in `out`, unless bytes are being read: who feeds them looks then.

    Attributes:
        streams: those that are open, by number.
        out: what is to be sent.
        awake: whether somebody is going to look at `out` anyway.
        paused: whether the transport takes no more for now.
        ended: whether nothing more is read: what is in `out` is the last.
        window: how many bytes the peer takes on all streams.
        blocked: streams that have room, where the connection has none, in the order of their turns.
        calm: how many frames that lead to nothing the peer may send.
        heard_at: when the peer last sent anything, by the owner's clock.
        asked_at: when it was sent a PING that it has not answered, if so.
        told: whether the peer's settings are in.
    """

    by_server = False

    def __init__(self, limits: Limits, on_output: Callable[[], None]) -> None:
        self.limits = limits
        self.peer = PeerSettings()
        self.streams: dict[int, Stream] = {}
        self.out: list[bytes | memoryview] = []
        self.awake = False
        self.paused = False
        self.ended = False
        self.window = FIRST_WINDOW
        self.blocked: dict[int, Stream] = {}
        self.calm = Allowance(limits.idle_frames, _PER_S)
        self.heard_at = 0.0
        self.asked_at: float | None = None
        self.told = False
        self._on_output = on_output
        self._half = limits.connection_window >> 1
        self._allowed = FIRST_WINDOW
        self._unconsumed = 0
        self._given_up: dict[int, int] = {}  # by us, and how many bytes may be on their way for them
        self._clean = True  # no block of ours is out

    # What its streams ask of it.

    def put(self, frame: bytes) -> None:
        """To be sent."""
        self.out.append(frame)
        if not self.awake:
            self.wake()

    def wake(self) -> None:
        """Somebody has to look at `out`."""
        self.awake = True
        self._on_output()

    def block(self, fields: Fields | bytes) -> bytes:
        """The block to send for these fields."""
        block = fields if isinstance(fields, bytes) else encode(fields)
        if self._clean:
            self._clean = False
            return FORGET_TABLE + block
        return block

    def takes(self, size: int, window: int) -> bool:
        """Whether so many bytes fit into one frame, and through a stream's window and ours."""
        return not size or (size <= window and size <= self.window and size <= self.peer.frame)

    def released(self, size: int) -> None:
        """So many bytes that came on some stream have gone on."""
        self._unconsumed -= size
        if self._allowed < self._half:
            self._top_up()

    def give_up(self, stream: Stream, code: int) -> None:
        """RST_STREAM for one of ours; what is still on its way for it is dropped."""
        self.put(frames.rst_stream(stream.number, code))
        if not stream.told_end:
            self.ignore(stream.number, stream.allowed)
        self.drop(stream)

    def ignore(self, number: int, size: int) -> None:
        """What still comes for this stream, so many bytes at most, was on its way before the peer knew."""
        self._given_up[number] = size
        if len(self._given_up) > _REMEMBERED:
            del self._given_up[next(iter(self._given_up))]

    def drop(self, stream: Stream) -> None:
        """Nothing more is said on it, by either side."""
        if stream.closed:
            return
        stream.clear()
        self.streams.pop(stream.number, None)
        if self.blocked:
            self.blocked.pop(stream.number, None)
        self._unconsumed -= stream.unconsumed
        if self._allowed < self._half:
            self._top_up()
        if not self.ended:
            self.moved()

    def part(self, stream: Stream) -> None:
        """Both sides have said all: it and its handler, which know each other, are freed at once, by no collector."""
        self.drop(stream)
        stream.handler = NOBODY

    def forget(self, stream: Stream) -> None:
        """One that waits to be opened will not be."""
        stream.clear()

    @abstractmethod
    def said_end(self, stream: Stream) -> None:
        """We have said all on this stream."""

    @abstractmethod
    def moved(self) -> None:
        """There is a stream less, or room for one more."""

    # What its owner asks of it.

    def greet(self) -> None:
        """Our settings, and a window for all streams."""
        self.put(self.limits.announced(by_server=self.by_server))
        self._top_up()

    def ask(self, now: float) -> None:
        """A PING, unless there is one on its way."""
        if self.asked_at is None and not self.ended:
            self.asked_at = now
            self.put(frames.ping(ASKED))

    def end(self, code: int, why: str = "") -> None:
        """GOAWAY, and nothing more; every handler is told."""
        if not self.ended:
            self.put(frames.goaway(self.last_taken, code, why.encode()[:_LONGEST_WHY]))
            self.lose()

    def finish(self) -> None:
        """Nothing more: everything is said."""
        self.ended = True
        if not self.awake:
            self.wake()

    def lose(self) -> None:
        """Nothing more: every handler is told."""
        self.ended = True
        for stream in list(self.streams.values()):
            self.drop(stream)
            self._call(stream, stream.handler.on_lost)

    def pause(self) -> None:
        """The transport takes no more for now."""
        self.paused = True

    def resume(self) -> None:
        """It does again."""
        self.paused = False
        for stream in list(self.streams.values()):
            self._writable(stream)

    @property
    @abstractmethod
    def last_taken(self) -> int:
        """The peer's last stream that was looked at."""

    # Its own steps.

    def _call(self, stream: Stream, tell: Callable[..., None], *told: Any, **how: Any) -> None:  # noqa: ANN401 (passed on)
        """Tells a handler; what it gets wrong is its stream's end, and nobody else's."""
        try:
            tell(*told, **how)
        except Exception:  # noqa: BLE001 (it is logged)
            self._failed(stream)

    def _failed(self, stream: Stream) -> None:
        """A handler raised: its stream ends, and it gets one more chance to tidy up."""
        _log.exception("a stream's handler failed")
        if stream.closed:
            return
        self.give_up(stream, ErrorCode.INTERNAL_ERROR)
        try:
            stream.handler.on_reset(ErrorCode.INTERNAL_ERROR)
        except Exception:  # noqa: BLE001 (whatever it is)
            _log.exception("a stream's handler failed to give up")

    def _writable(self, stream: Stream) -> None:
        if not stream.closed and not stream.full:
            self._call(stream, stream.handler.on_writable)

    def _top_up(self) -> None:
        """All streams together may send as much as at first, unless too much of what came has not gone on."""
        if self._unconsumed <= self.limits.unconsumed and not self.ended:
            due = self.limits.connection_window - self._allowed
            if due:
                self._allowed += due
                self.put(frames.window_update(0, due))
