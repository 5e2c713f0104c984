"""What a peer says about a connection and its streams beside heads and bodies (RFC 9113, section 6).

Whatever it gets wrong ends the stream or the connection, as the RFC says which; what leads to nothing is counted.
"""

from __future__ import annotations

from abc import abstractmethod

from serving.gateway.h2 import frames
from serving.gateway.h2.connection import ASKED, Connection
from serving.gateway.h2.frames import ACK, LAST_STREAM, MOST_WINDOW, ConnectionBroken, ErrorCode
from serving.gateway.h2.settings import SETTINGS_ACK
from serving.gateway.h2.stream import Stream

_FRUGAL = 1024  # bytes: a window that is opened by less leads to next to nothing
_PING_SIZE = 8
_NUMBER_SIZE = 4
_PRIORITY_SIZE = 5


class Controlled(Connection):
    """A connection that does as the peer's control frames say."""

    # What is different at the two ends.

    @abstractmethod
    def is_idle(self, number: int) -> bool:
        """Whether nobody has opened this stream so far."""

    @abstractmethod
    def was_reset(self, stream: Stream) -> None:
        """The peer gives a stream up."""

    @abstractmethod
    def sent_away(self, last: int) -> None:
        """The peer wants no more streams; of ours, it has looked at none above this one."""

    @abstractmethod
    def answered(self, payload: bytes) -> None:
        """The peer answers a PING that was no question whether it is there."""

    # One kind of frames each.

    def _on_priority(self, payload: bytes, _flags: int, number: int) -> None:
        if not number:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PRIORITY on no stream")
        self.idle()
        if len(payload) != _PRIORITY_SIZE:
            stream = self.streams.get(number)
            if stream is None:
                self.put(frames.rst_stream(number, ErrorCode.FRAME_SIZE_ERROR))
            else:
                self._break(stream, ErrorCode.FRAME_SIZE_ERROR)

    def _on_rst(self, payload: bytes, _flags: int, number: int) -> None:
        if len(payload) != _NUMBER_SIZE:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "an RST_STREAM frame is not of four bytes")
        stream = self.streams.get(number)
        if stream is None:
            if not number or self.is_idle(number):
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "RST_STREAM on a stream that nobody has opened")
            self.idle()
            return
        self.was_reset(stream)
        code = frames.number(payload)
        self.drop(stream)
        if code == ErrorCode.REFUSED_STREAM:
            self._call(stream, stream.handler.on_unseen)
        else:
            self._call(stream, stream.handler.on_reset, code)

    def _on_settings(self, payload: bytes, flags: int, number: int) -> None:
        if number:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if flags & ACK:
            if payload:
                raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS is not empty")
            self.idle()
            return
        self.idle()
        self.told = True
        by = self.peer.take(payload, from_server=not self.by_server)
        self.put(SETTINGS_ACK)  # before what goes by it: gRPC's own libraries count from here on
        self._widen(by)
        self.moved()

    def _widen(self, by: int) -> None:
        """The peer has changed the window of every stream."""
        for stream in list(self.streams.values()):
            stream.window += by
            if stream.window > MOST_WINDOW:
                raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window overflows")
            if by > 0:
                self._pump(stream)

    def _on_push(self, _payload: bytes, _flags: int, _number: int) -> None:
        raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE, which nobody has allowed")

    def _on_ping(self, payload: bytes, flags: int, number: int) -> None:
        if number:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != _PING_SIZE:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "a PING is not of eight bytes")
        self.idle()
        if not flags & ACK:
            self.put(frames.ping(payload, ack=True))
        elif payload == ASKED:
            self.asked_at = None
        else:
            self.answered(payload)

    def _on_goaway(self, payload: bytes, _flags: int, number: int) -> None:
        if number:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < _PING_SIZE:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY is shorter than eight bytes")
        self.idle()
        self.sent_away(frames.number(payload) & LAST_STREAM)

    def _on_window(self, payload: bytes, _flags: int, number: int) -> None:
        if len(payload) != _NUMBER_SIZE:
            raise ConnectionBroken(ErrorCode.FRAME_SIZE_ERROR, "a WINDOW_UPDATE is not of four bytes")
        by = int.from_bytes(payload, "big") & MOST_WINDOW
        if by < _FRUGAL:
            self.idle()
        if not number:
            self._open_all(by)
            return
        stream = self.streams.get(number)
        if stream is None:
            if self.is_idle(number):
                raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE on a stream that nobody has opened")
        elif not by:
            self._break(stream, ErrorCode.PROTOCOL_ERROR)
        else:
            stream.window += by
            if stream.window > MOST_WINDOW:
                self._break(stream, ErrorCode.FLOW_CONTROL_ERROR)
            else:
                self._pump(stream)

    def _open_all(self, by: int) -> None:
        """The connection's window opens: those that wait for it take turns."""
        if not by:
            raise ConnectionBroken(ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        self.window += by
        if self.window > MOST_WINDOW:
            raise ConnectionBroken(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window overflows")
        blocked = self.blocked
        while blocked and self.window > 0:
            number = next(iter(blocked))
            stream = blocked.pop(number)
            if stream.pending and stream.pump_once() and stream.pending:
                blocked[number] = stream
            self._writable(stream)

    # Its own steps.

    def idle(self, units: float = 1.0) -> None:
        """The peer sent something that leads to nothing."""
        if not self.calm.take(self.heard_at, units):
            raise ConnectionBroken(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that lead to nothing")

    def _break(self, stream: Stream, code: ErrorCode) -> None:
        """The peer broke a rule on this stream: as good as if it had given it up."""
        self.give_up(stream, code)
        self._call(stream, stream.handler.on_reset, code)
        self.was_reset(stream)

    def _pump(self, stream: Stream) -> None:
        if stream.pending:
            stream.pump()
            self._writable(stream)

    def _on_unknown(self, _payload: bytes, _flags: int, _number: int) -> None:
        """Frames of other kinds mean nothing."""
        self.idle()
