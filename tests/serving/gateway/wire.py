"""HTTP/1.1 as bytes, written and read without the gateway's parser, so that both cannot share a mistake."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
"""The head of an answer in chunks."""
UNTIL_END = b"HTTP/1.1 200 OK\r\n\r\n"
"""The head of an answer that ends with its connection."""
_BODILESS = frozenset((204, 304))
_FIRST_FINAL = 200
_LONGEST_CHUNK_LINE = 1000


class Malformed(AssertionError):  # noqa: N818 (named after what happened)
    """Bytes that no strict reader would take."""


class Request(NamedTuple):
    """A request as an upstream reads it."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes

    def all(self, name: str) -> list[bytes]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]


class Answer(NamedTuple):
    """An answer as a client reads it."""

    code: int
    phrase: bytes
    headers: Headers
    body: bytes
    chunked: bool

    def all(self, name: str) -> list[bytes]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]

    def one(self, name: str) -> bytes | None:
        """The value of a header that comes once at most."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} comes {len(values)} times"
        return values[0] if values else None

    @property
    def json(self) -> Any:  # noqa: ANN401 (a document)
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an error of the gateway's own."""
        assert self.one("content-type") == b"application/json"
        said = self.json
        assert set(said) == {"error"}
        return str(said["error"])


class Body:
    """A body that comes in pieces. Each byte is looked at once, however many pieces it comes in.

    Args:
        length: in bytes; None for chunks, -1 for until the connection ends.
    """

    def __init__(self, length: int | None) -> None:
        self._length = length
        self._data = bytearray()
        self._trailing = False

    @property
    def whole(self) -> bytes:
        """What came so far, chunk framing removed."""
        return bytes(self._data)

    def take(self, data: bytearray, *, ended: bool = False) -> bool:
        """Takes from the front of `data` what belongs to it; whether it is complete."""
        if self._length is None:
            while self._take_chunk(data):
                pass
            return self._trailing and self._take_trailers(data)
        missing = len(data) if self._length < 0 else self._length - len(self._data)
        self._data += data[:missing]
        del data[:missing]
        return ended if self._length < 0 else len(self._data) == self._length

    def _take_chunk(self, data: bytearray) -> bool:
        end = data.find(b"\r\n", 0, _LONGEST_CHUNK_LINE)
        if self._trailing or end < 0:
            return False
        size, start = int(data[:end].partition(b";")[0], 16), end + 2
        if size == 0:
            self._trailing = True
            del data[:start]
            return False
        if len(data) < start + size + 2:
            return False
        if data[start + size : start + size + 2] != b"\r\n":
            raise Malformed("a chunk is longer than it says")
        self._data += data[start : start + size]
        del data[: start + size + 2]
        return True

    @staticmethod
    def _take_trailers(data: bytearray) -> bool:
        while (end := data.find(b"\r\n")) >= 0:
            del data[: end + 2]
            if end == 0:
                return True
        return False


class Requests:
    """Requests that come in pieces.

    Attributes:
        head: of the request that is coming, without its body, as soon as it is there.
        data: what came and belongs to nothing yet.
    """

    def __init__(self) -> None:
        self.head: Request | None = None
        self.data = bytearray()
        self._body = Body(0)

    def begins(self) -> bool:
        """Whether the head of a request has become whole by what came last."""
        found = None if self.head else _take_head(self.data)
        if found is None:
            return False
        method, target, version = found[0].split(b" ")
        if version != b"HTTP/1.1":
            raise Malformed(f"an upstream is spoken to in {version!r}")
        self.head = Request(method, target, found[1], b"")
        self._body = _body_of(found[1], otherwise=0)
        return True

    def next(self) -> Request | None:
        """The request that has become whole by what came last."""
        if self.head is None or not self._body.take(self.data):
            return None
        request, self.head = self.head._replace(body=self._body.whole), None
        return request


class Answers:
    """Answers that come in pieces.

    Args:
        data: what came already.
        method: of the request; an answer to HEAD has no body.

    Attributes:
        data: what came and belongs to nothing yet.
        method: of the request whose answer begins next.
    """

    def __init__(self, data: bytes = b"", method: bytes = b"POST") -> None:
        self.data = bytearray(data)
        self.method = method
        self._head: Answer | None = None
        self._body = Body(0)

    def next(self, *, ended: bool = False) -> Answer | None:
        """The answer that has become whole by what came last.

        Args:
            ended: whether the connection has ended, which completes a body without a length.
        """
        if self._head is None:
            self._begin()
        if self._head is None or not self._body.take(self.data, ended=ended):
            return None
        answer, self._head = self._head._replace(body=self._body.whole), None
        return answer

    def _begin(self) -> None:
        found = _take_head(self.data)
        if found is None:
            return
        version, code, phrase = (*found[0].split(b" ", 2), b"")[:3]
        if version != b"HTTP/1.1":
            raise Malformed(f"the gateway speaks HTTP/1.1, not {version!r}")
        number, headers = int(code), found[1]
        chunked = _value(headers, b"transfer-encoding") == b"chunked"
        self._head = Answer(number, phrase, headers, b"", chunked)
        bodiless = number < _FIRST_FINAL or number in _BODILESS or self.method == b"HEAD"
        self._body = Body(0) if bodiless else _body_of(headers, otherwise=-1)


def read_answer(data: bytes, *, method: bytes = b"POST", ended: bool = False) -> tuple[Answer, bytes] | None:
    """The first answer in these bytes and what follows it; None while it is not whole."""
    answers = Answers(data, method)
    answer = answers.next(ended=ended)
    return None if answer is None else (answer, bytes(answers.data))


def chunks(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A chunked body."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


def post(
    path: str = "/v2/models/m/infer",
    body: bytes = b"{}",
    headers: Iterable[str] = (),
    *,
    chunked: Iterable[bytes] | None = None,
) -> bytes:
    """A POST, framed by a length, or by chunks where they are given."""
    framing = f"Content-Length: {len(body)}" if chunked is None else "Transfer-Encoding: chunked"
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", *headers, framing, "", ""]
    return "\r\n".join(lines).encode("latin-1") + (body if chunked is None else chunks(*chunked))


def get(path: str, headers: Iterable[str] = (), *, method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway", *headers, "", ""]).encode("latin-1")


def ok(body: bytes = b"{}", headers: Iterable[str] = (), *, code: str = "200 OK") -> bytes:
    """An upstream's answer with a length."""
    lines = [f"HTTP/1.1 {code}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def _take_head(data: bytearray) -> tuple[bytes, Headers] | None:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    start, *lines = bytes(data[:end]).split(b"\r\n")
    del data[: end + 4]
    return start, tuple(map(_header, lines))


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, mark, value = line.partition(b":")
    if not mark or not name or name.strip() != name or b"\n" in line or b"\r" in line:
        raise Malformed(f"{line!r} is no header")
    return name, value.strip(b" \t")


def _value(headers: Headers, name: bytes) -> bytes | None:
    values = [value for key, value in headers if key.lower() == name]
    if len(values) > 1:
        raise Malformed(f"{name!r} comes {len(values)} times")
    return values[0] if values else None


def _body_of(headers: Headers, *, otherwise: int) -> Body:
    length, encoding = _value(headers, b"content-length"), _value(headers, b"transfer-encoding")
    if length is not None and encoding is not None:
        raise Malformed("a length and chunks at once")
    if encoding is None:
        return Body(otherwise if length is None else int(length))
    if encoding != b"chunked":
        raise Malformed(f"{encoding!r} is no framing")
    return Body(None)
