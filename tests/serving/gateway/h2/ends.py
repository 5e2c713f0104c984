"""Both ends of a connection without a transport, and handlers that keep what they are told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from serving.gateway.h2.client_end import ClientEnd
from serving.gateway.h2.server_end import TOO_LARGE, ServerEnd
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import ClientHandler, Fields, ServerStream, Stream
from tests.serving.gateway.h2.wire import ANSWER, PREFACE, REQUEST, TRAILERS, Frame, read, settings


class Told(ClientHandler):
    """Keeps what it is told, and lets the peer go on.

    Args:
        greedy: whether what comes is consumed at once.
    """

    def __init__(self, *, greedy: bool = True) -> None:
        self.stream: Stream
        self.head: Fields = ()
        self.body = b""
        self.trailers: Fields = ()
        self.last_words: list[object] = []
        self.writable = 0
        self._greedy = greedy

    @property
    def last_word(self) -> object:
        """The one and only, None while there is none."""
        assert len(self.last_words) <= 1
        return self.last_words[0] if self.last_words else None

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Part of `StreamHandler`."""
        self.head = fields
        if end:
            self.last_words.append("head")

    def on_data(self, data: bytes) -> None:
        """Part of `StreamHandler`."""
        assert data
        self.body += data
        if self._greedy:
            self.stream.consume(len(data))

    def on_end(self) -> None:
        """Part of `StreamHandler`."""
        self.last_words.append("end")

    def on_trailers(self, fields: Fields) -> None:
        """Part of `StreamHandler`."""
        self.trailers = fields
        self.last_words.append("trailers")

    def on_reset(self, code: int) -> None:
        """Part of `StreamHandler`."""
        self.last_words.append(code)

    def on_writable(self) -> None:
        """Part of `StreamHandler`."""
        self.writable += 1

    def on_unseen(self) -> None:
        """Part of `ClientHandler`."""
        self.last_words.append("refused")

    def on_lost(self) -> None:
        """Part of `ClientHandler`."""
        self.last_words.append("lost")


class Echo(Told):
    """Sends back what it got, once that is whole."""

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Part of `StreamHandler`."""
        super().on_headers(fields, end=end)
        if end:
            self._answer()

    def on_end(self) -> None:
        """Part of `StreamHandler`."""
        super().on_end()
        self._answer()

    def on_trailers(self, fields: Fields) -> None:
        """Part of `StreamHandler`."""
        super().on_trailers(fields)
        self._answer()

    def _answer(self) -> None:
        stream = self.stream
        assert isinstance(stream, ServerStream)
        stream.write_whole(ANSWER, [self.body], TRAILERS)


class Server:
    """A server's end, what its handlers were told, and what it says.

    Args:
        make: a handler.
        limits: of the connection.
        greeted: whether the client has said the first words.
        peer: the settings that it said then.
        too_large: the answer to a head that is too large.
    """

    def __init__(
        self,
        make: Callable[[], Told] = Told,
        limits: Limits | None = None,
        *,
        greeted: bool = True,
        peer: tuple[tuple[int, int], ...] = (),
        too_large: Fields = TOO_LARGE,
    ) -> None:
        self.handlers: list[Told] = []
        self.now = 100.0
        self.outputs = 0
        self._make = make
        self.end = ServerEnd(self._begin, limits or Limits(), self._on_output, too_large)
        if greeted:
            self.says(PREFACE + settings(*peer))

    def _begin(self, stream: ServerStream, fields: Fields) -> Told:
        del fields
        handler = self._make()
        handler.stream = stream
        self.handlers.append(handler)
        return handler

    def _on_output(self) -> None:
        self.outputs += 1

    def says(self, raw: bytes) -> list[Frame]:
        """What it says to these bytes."""
        self.end.receive(raw, self.now)
        return self.said()

    def said(self) -> list[Frame]:
        """What it has said since it was last asked."""
        return read(taken(self.end))

    @property
    def stream(self) -> ServerStream:
        """The latest."""
        stream = self.handlers[-1].stream
        assert isinstance(stream, ServerStream)
        return stream


class Client:
    """The same of a client, whose server has said its first words.

    Args:
        limits: of the connection.
        peer: the settings that the server said.
    """

    def __init__(self, limits: Limits | None = None, *, peer: tuple[tuple[int, int], ...] = ()) -> None:
        self.spent = 0
        self.end = ClientEnd(limits or Limits(), lambda: None, self._on_spent)
        self.end.greet()
        self.greeting = taken(self.end)
        self.says(settings(*peer))

    def _on_spent(self) -> None:
        self.spent += 1

    def says(self, raw: bytes) -> list[Frame]:
        """What it says to these bytes."""
        self.end.receive(raw, 100.0)
        return self.said()

    def said(self) -> list[Frame]:
        """What it has said since it was last asked."""
        return read(taken(self.end))

    def open(
        self, fields: Fields = REQUEST, pieces: Sequence[bytes] = (), *, end: bool = False, handler: Told | None = None
    ) -> Told:
        """A new stream's handler."""
        handler = handler or Told()
        handler.stream = self.end.open(fields, handler, pieces, end=end)
        return handler


def taken(end: ClientEnd | ServerEnd) -> bytes:
    """What it has to say, which is then said."""
    out, end.out, end.awake = end.out, [], False
    return b"".join(out)
