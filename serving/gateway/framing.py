"""From a client's bytes to its requests: heads, bodies and their ends, in the order in which they come.

The parser does not know all that may go wrong, so this keeps the rest of the protocol's rules: a limit to heads, an
`Upgrade` that is ignored (every stock Java client offers h2c; Triton answers it 200), nothing after the last request.
A body whose length is known goes past the parser, and a request whose head was seen before, whole in one read, does
without it. Whose turn it is, and what is written to the client, is `http`'s business.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from serving.errors import STATUS, Refusal
from serving.gateway.request import Bad, HeadBuilder, RequestHead, broken

if TYPE_CHECKING:
    from serving.gateway.exchange import Exchange
    from serving.gateway.worker import Worker


class RequestReader(asyncio.Protocol):
    """The half of a client's connection that reads."""

    __slots__ = (
        "_builder", "_deaf", "_draws_head", "_fed", "_left", "_moved", "_parsed", "_parser", "_passes", "_receiving",
        "_resuming", "_upgrading", "_worker",
    )  # fmt: skip

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._parser = HttpRequestParser(self)
        self._receiving: Exchange | None = None  # the exchange whose body is coming
        self._builder = HeadBuilder()
        self._draws_head = False
        self._moved = False  # a head, a body or a part of one was completed by the read under way
        self._fed = 0  # bytes since then: the parser itself sets no limit to heads, chunk extensions and trailers
        self._left = 0  # bytes of the body still to come, where its length is known
        self._passes = False  # they go past the parser, which would copy each
        self._upgrading: RequestHead | None = None
        self._resuming = False  # the next head is our own synthetic one
        self._parsed: RequestHead | None = None  # what the read under way is the head of, if of one only
        self._deaf = False  # framing is lost, or the last request is in: nothing more is parsed

    # What becomes of a request.

    @abstractmethod
    def _begin(self, head: RequestHead) -> Exchange:
        """A request's head is there."""

    @abstractmethod
    def _end_with(self, head: RequestHead) -> None:
        """The last request of this connection: refused when its turn comes, and nothing after it is read."""

    # What the parser tells it.

    def on_message_begin(self) -> None:
        """A head begins."""
        self._draws_head = True
        if not self._resuming:
            self._builder = HeadBuilder()

    def on_url(self, url: bytes) -> None:
        """May come in pieces."""
        self._builder.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the head; those after the body (trailers) end here."""
        if self._draws_head and not self._resuming:
            self._builder.add(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete: an exchange begins."""
        self._draws_head = False
        self._moved = True
        if self._deaf or self._resuming:
            self._resuming = False
            return
        parser, builder = self._parser, self._builder
        self._parsed = None
        if not self._check_head_size(builder.size + len(builder.url), parser.get_method()):
            return
        head = builder.build(
            parser.get_method(), parser.get_http_version(), self._worker.config.max_body,
            keep_alive=parser.should_keep_alive(),
        )  # fmt: skip
        if head.bad is not None and STATUS[head.bad.kind].closes:
            self._end_with(head)
            return
        if parser.should_upgrade():
            self._upgrading = head
        else:
            self._parsed = head
        self._left = head.length or 0
        self._begin(head)

    def on_body(self, piece: bytes) -> None:
        """A piece of the body, chunk framing removed."""
        self._moved = True
        self._left -= len(piece)
        if self._receiving is not None:
            self._receiving.receive(piece)

    def on_message_complete(self) -> None:
        """The body is complete, unless this is an upgrade's empty message."""
        self._moved = True
        if self._upgrading is not None and self._parser.should_upgrade():
            return
        exchange, self._receiving = self._receiving, None
        if exchange is not None:
            exchange.receive_end()

    # What came.

    def _take(self, data: bytes) -> None:
        """What came, whatever it is."""
        self._moved = False
        self._parsed = None
        self._parse(data)
        if self._moved:
            self._fed = 0
            self._passes = self._left > 0 and self._receiving is not None
        else:
            self._fed += len(data)
            self._check_head_size(self._fed)

    def _take_body(self, data: bytes) -> bytes:
        """More of a body that has nothing to parse; what came after it, if this was its end."""
        exchange = self._receiving
        if exchange is None:
            return b""
        piece, data = data[: self._left], data[self._left :]
        self._left -= len(piece)
        exchange.receive(piece)
        if self._left or self._receiving is None:
            return b""
        self._passes = False
        self._parser = HttpRequestParser(self)  # the old one waits for the body
        self._receiving = None
        exchange.receive_end()
        self._deaf |= bool(data) and not exchange.keep_alive
        return b"" if self._deaf else data

    def _take_whole(self, head: RequestHead, body: bytes) -> None:
        """A whole request whose head is known: what the parser would have made of it, without the parser."""
        exchange = self._begin(head)
        if body:
            exchange.receive(body)
        self._receiving = None
        exchange.receive_end()

    def _remember(self, data: bytes) -> None:
        """Keeps the head of what was one plain request, whole in one read."""
        head, self._parsed = self._parsed, None
        if head is not None and head.plain:
            self._worker.heads.put(data, head)

    def _parse(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if not self._ignores_upgrade():
                    return
                data = memoryview(data)[upgrade.args[0] :]
            except HttpParserCallbackError:  # a mistake of ours: the loop reports it and closes the connection
                raise
            except HttpParserError:
                if not self._deaf:
                    self._end_with(broken(Bad(Refusal.BROKEN_FRAMING, "This is no well-formed HTTP/1.1 request.")))
                return
            else:
                return

    def _ignores_upgrade(self) -> bool:
        """Goes on as if `Upgrade` had not been there: a fresh parser gets a head with the same framing."""
        head, self._upgrading = self._upgrading, None
        if self._deaf or head is None:
            return False
        framing = b"Transfer-Encoding: chunked" if head.length is None else b"Content-Length: %d" % head.length
        ending = b"" if head.keep_alive else b"Connection: close\r\n"
        self._parser = HttpRequestParser(self)
        self._resuming = True
        self._parser.feed_data(b"POST / HTTP/1.1\r\nHost: -\r\n%s%s\r\n\r\n" % (ending, framing))
        return True

    def _check_head_size(self, size: int, method: bytes = b"") -> bool:
        limit = self._worker.config.max_header
        if size > limit and not self._deaf:
            large = f"The request's head is larger than {limit} bytes: send fewer or shorter headers."
            self._end_with(broken(Bad(Refusal.BROKEN_FRAMING, large), method))
        return size <= limit
