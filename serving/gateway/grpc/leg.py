"""One attempt's stream to a Triton: what it carries back, told to the call that asked."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from serving.gateway.grpc.answers import Answer, answer_of
from serving.gateway.h2.frames import ErrorCode
from serving.gateway.h2.stream import ClientHandler, ClientStream, Fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.gateway.h2.client import ClientConnection
    from serving.gateway.h2.stream import Piece


class Asker(Protocol):
    """Who sent an attempt: told of everything that comes of it."""

    __slots__ = ()

    @abstractmethod
    def on_piece(self, leg: Leg, data: bytes) -> None:
        """A part of the answer's messages; the leg's `take` says that it has gone on."""

    @abstractmethod
    def on_answered(self, leg: Leg, answer: Answer) -> None:
        """The answer is complete."""

    @abstractmethod
    def on_upstream_lost(self, leg: Leg) -> None:
        """It broke before the answer was complete."""

    @abstractmethod
    def on_not_taken(self, leg: Leg) -> None:
        """The server has certainly done nothing with it."""

    @abstractmethod
    def on_room(self, leg: Leg) -> None:
        """More may be sent."""


class Leg(ClientHandler):
    """A stream to a Triton."""

    __slots__ = ("_asker", "head", "stream")

    def __init__(self, asker: Asker) -> None:
        self._asker: Asker | None = asker
        self.head: Fields | None = None
        """The answer's, as soon as it is there."""
        self.stream: ClientStream

    def open(self, line: ClientConnection, block: bytes, pieces: Sequence[Piece], *, end: bool) -> None:
        """Sends the attempt on this connection."""
        self.stream = line.open(block, self, pieces, end=end)

    def close(self) -> None:
        """Gives the attempt up: its model's server is told so."""
        self._asker = None
        self.stream.reset(ErrorCode.CANCEL)

    def take(self, size: int) -> None:
        """So many bytes of the answer have gone on."""
        self.stream.consume(size)

    # What the stream tells it.

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Part of `StreamHandler`."""
        if end:
            self._ended(fields)
        else:
            self.head = fields

    def on_data(self, data: bytes) -> None:
        """Part of `StreamHandler`."""
        if self._asker is not None:
            self._asker.on_piece(self, data)

    def on_end(self) -> None:
        """An end without trailers: no answer of gRPC's."""
        self._ended(())

    def on_trailers(self, fields: Fields) -> None:
        """Part of `StreamHandler`."""
        self._ended(fields)

    def on_reset(self, code: int) -> None:
        """Part of `StreamHandler`."""
        del code
        self._lost()

    def on_lost(self) -> None:
        """Part of `ClientHandler`."""
        self._lost()

    def on_unseen(self) -> None:
        """Part of `ClientHandler`."""
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.on_not_taken(self)

    def on_writable(self) -> None:
        """Part of `StreamHandler`."""
        if self._asker is not None:
            self._asker.on_room(self)

    def _ended(self, end: Fields) -> None:
        answer = answer_of(self.head, end)
        asker, self._asker = self._asker, None
        if asker is None:
            return
        if answer is None:
            asker.on_upstream_lost(self)
        else:
            asker.on_answered(self, answer)

    def _lost(self) -> None:
        asker, self._asker = self._asker, None
        if asker is not None:
            asker.on_upstream_lost(self)
