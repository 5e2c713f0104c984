"""HTTP/1.1 as bytes, written and read without the gateway's parser, so that both cannot share a mistake."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

Headers = tuple[tuple[bytes, bytes], ...]
_BODILESS = frozenset((204, 304))
_FIRST_FINAL = 200


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


def read_request(data: bytes) -> tuple[Request, bytes] | None:
    """The first request in these bytes and what follows it; None while it is not whole."""
    head = _head(data)
    if head is None:
        return None
    start, headers, rest = head
    method, target, version = start.split(b" ")
    if version != b"HTTP/1.1":
        raise Malformed(f"an upstream is spoken to in {version!r}")
    body = _sized_body(headers, rest)
    return None if body is None else (Request(method, target, headers, body[0]), body[1])


def request_head(data: bytes) -> Request | None:
    """The head of the first request, as soon as it is there."""
    head = _head(data)
    if head is None:
        return None
    method, target, _ = head[0].split(b" ")
    return Request(method, target, head[1], b"")


def read_answer(data: bytes, *, method: bytes = b"POST", ended: bool = False) -> tuple[Answer, bytes] | None:
    """The first answer in these bytes and what follows it; None while it is not whole.

    Args:
        data: what came.
        method: of the request; an answer to HEAD has no body.
        ended: whether the connection has ended, which completes a body without a length.
    """
    head = _head(data)
    if head is None:
        return None
    start, headers, rest = head
    version, code, phrase = (*start.split(b" ", 2), b"")[:3]
    if version != b"HTTP/1.1":
        raise Malformed(f"the gateway speaks HTTP/1.1, not {version!r}")
    number = int(code)
    chunked = _value(headers, b"transfer-encoding") == b"chunked"
    if number < _FIRST_FINAL or number in _BODILESS or method == b"HEAD":
        return Answer(number, phrase, headers, b"", chunked), rest
    if not chunked and _value(headers, b"content-length") is None:
        return (Answer(number, phrase, headers, rest, chunked), b"") if ended else None
    body = _sized_body(headers, rest)
    return None if body is None else (Answer(number, phrase, headers, body[0], chunked), body[1])


def dechunk(data: bytes) -> tuple[bytes, bytes] | None:
    """A chunked body and what follows it; None while it is not whole."""
    body = b""
    while True:
        line, mark, data = data.partition(b"\r\n")
        if not mark:
            return None
        size = int(line.partition(b";")[0], 16)
        if size == 0:
            return _after_trailers(body, data)
        if len(data) < size + 2:
            return None
        if data[size : size + 2] != b"\r\n":
            raise Malformed("a chunk is longer than it says")
        body, data = body + data[:size], data[size + 2 :]


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


def _head(data: bytes) -> tuple[bytes, Headers, bytes] | None:
    block, mark, rest = data.partition(b"\r\n\r\n")
    if not mark:
        return None
    start, *lines = block.split(b"\r\n")
    return start, tuple(map(_header, lines)), rest


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


def _sized_body(headers: Headers, rest: bytes) -> tuple[bytes, bytes] | None:
    length, encoding = _value(headers, b"content-length"), _value(headers, b"transfer-encoding")
    if length is not None and encoding is not None:
        raise Malformed("a length and chunks at once")
    if encoding is not None:
        if encoding != b"chunked":
            raise Malformed(f"{encoding!r} is no framing")
        return dechunk(rest)
    size = int(length or b"0")
    return (rest[:size], rest[size:]) if len(rest) >= size else None


def _after_trailers(body: bytes, data: bytes) -> tuple[bytes, bytes] | None:
    while True:
        line, mark, data = data.partition(b"\r\n")
        if not mark:
            return None
        if not line:
            return body, data
