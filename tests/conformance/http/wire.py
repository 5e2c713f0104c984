"""HTTP/1.1 by hand: exact bytes out, answers read back without anybody's client in between."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from tests.conformance.targets import Place

PATIENCE_S = 15.0
_HOP_BY_HOP = frozenset(("connection", "content-length", "keep-alive", "transfer-encoding"))
_BODILESS = frozenset((204, 304))
_FIRST_FINAL = 200
_READ = 1 << 16


class Hung(AssertionError):  # noqa: N818 (named after what happened)
    """A server that neither answers nor closes."""


class Answer(NamedTuple):
    """An answer as a client sees it.

    Attributes:
        code: the status.
        phrase: the words beside it.
        headers: name in lower case and value of each end-to-end header, sorted; framing is each hop's own.
        body: without chunks.
        interim: the codes of the 1xx answers before it.
    """

    code: int
    phrase: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    interim: tuple[int, ...] = ()

    def without(self, prefix: str) -> Answer:
        """The same without headers whose names begin so."""
        return self._replace(headers=tuple(one for one in self.headers if not one[0].startswith(prefix)))

    def header(self, name: str) -> str | None:
        """The header's value; None where it is missing."""
        return dict(self.headers).get(name)


class Connection:
    """A client's connection.

    Args:
        place: of the server.
        patience_s: how long it waits for bytes, in seconds.
    """

    def __init__(self, place: Place, patience_s: float = PATIENCE_S) -> None:
        plain = socket.create_connection((place.host, place.port), timeout=patience_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = (
            ssl.create_default_context().wrap_socket(plain, server_hostname=place.host) if place.tls else plain
        )
        self._came = b""
        self._ended = False

    def __enter__(self) -> Self:
        """Part of the context manager."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes."""
        self.close()

    def close(self) -> None:
        """Ends it, whatever is under way."""
        self._socket.close()

    def send(self, data: bytes) -> None:
        """These bytes; a server that does not want them any more may have said why, so that is no error."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def interim(self) -> bool:
        """Waits for the head of an answer; whether it is a 1xx, which is left where it is."""
        self._until(lambda: b"\r\n\r\n" in self._came)
        return self._came.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1"))

    def answer(self, method: str = "POST") -> Answer | None:
        """The next answer; None where the connection ends without one.

        Raises:
            Hung: neither came in time.
        """
        interim = []
        while self._until(lambda: b"\r\n\r\n" in self._came):
            head, _, self._came = self._came.partition(b"\r\n\r\n")
            start, *lines = head.decode("latin-1").split("\r\n")
            _, code, phrase = (*start.split(" ", 2), "")[:3]
            if int(code) < _FIRST_FINAL:
                interim.append(int(code))
                continue
            headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            bodiless = method == "HEAD" or int(code) in _BODILESS
            body = b"" if bodiless else self._body(dict(headers))
            kept = tuple(sorted(header for header in headers if header[0] not in _HOP_BY_HOP))
            return Answer(int(code), phrase, kept, body, tuple(interim))
        return None

    def until_it_says(self, words: bytes) -> bytes:
        """All that came when these bytes had come."""
        assert self._until(lambda: words in self._came), f"the connection ended after {self._came!r}"
        return self._came

    def ends(self) -> bool:
        """Whether the server closes, with nothing more to say."""
        return not self._until(lambda: bool(self._came))

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        if (length := headers.get("content-length")) is not None:
            return self._take(int(length))
        self._until(lambda: False)
        body, self._came = self._came, b""
        return body

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self._line().partition(b";")[0], 16):
            body += self._take(size)
            self._take(2)
        while self._line():
            pass
        return body

    def _line(self) -> bytes:
        if not self._until(lambda: b"\r\n" in self._came):
            raise AssertionError(f"the answer breaks off after {self._came!r}")
        line, _, self._came = self._came.partition(b"\r\n")
        return line

    def _take(self, size: int) -> bytes:
        if not self._until(lambda: len(self._came) >= size):
            raise AssertionError(f"of a body of {size} bytes only {len(self._came)} came")
        taken, self._came = self._came[:size], self._came[size:]
        return taken

    def _until(self, enough: Callable[[], bool]) -> bool:
        """Reads until there is enough; whether there is, for the connection may end first."""
        while not enough():
            if self._ended:
                return False
            try:
                piece = self._socket.recv(_READ)
            except TimeoutError:
                raise Hung(f"nothing came for {self._socket.gettimeout():g} s after {self._came[:200]!r}") from None
            except ConnectionResetError:
                piece = b""
            self._ended = not piece
            self._came += piece
        return True
