"""The beginning of a call: its head says who takes it, and that one gets all the rest."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from serving.gateway.h2.stream import Fields, ServerStream, StreamHandler

if TYPE_CHECKING:
    from serving.gateway.grpc.port import Line


class Taker(Protocol):
    """Who takes a call: told what the client's stream tells."""

    __slots__ = ()

    @abstractmethod
    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """The head; `end` where nothing follows it."""

    @abstractmethod
    def on_data(self, data: bytes) -> None:
        """More of what the client asks."""

    @abstractmethod
    def on_end(self) -> None:
        """That was all."""

    @abstractmethod
    def on_trailers(self, fields: Fields) -> None:
        """That was all; a client has nothing to say there."""

    @abstractmethod
    def on_reset(self, code: int) -> None:
        """The client has given up, or is gone."""

    @abstractmethod
    def on_writable(self) -> None:
        """The client reads again."""


class Opening(StreamHandler):
    """A call that has just begun."""

    __slots__ = ("_line", "_stream", "_to")

    def __init__(self, line: Line, stream: ServerStream) -> None:
        self._line = line
        self._stream = stream
        self._to: Taker

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Part of `StreamHandler`."""
        self._to = self._line.taker(self._stream, fields)
        self._to.on_headers(fields, end=end)

    def on_data(self, data: bytes) -> None:
        """Part of `StreamHandler`."""
        self._to.on_data(data)

    def on_end(self) -> None:
        """Part of `StreamHandler`."""
        self._to.on_end()

    def on_trailers(self, fields: Fields) -> None:
        """Part of `StreamHandler`."""
        self._to.on_trailers(fields)

    def on_reset(self, code: int) -> None:
        """Part of `StreamHandler`."""
        self._to.on_reset(code)

    def on_writable(self) -> None:
        """Part of `StreamHandler`."""
        self._to.on_writable()
