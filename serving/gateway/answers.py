"""What the gateway says by itself: heads and bodies as bytes, none of them a model's.

Errors come from the one table in `serving.errors`; framing is always a length, so an answer is one write.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from serving.errors import STATUS, Refusal

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
END_OF_HEAD = b"\r\n\r\n"
_STATUS_LINES = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
_JSON = b"Content-Type: application/json\r\n"


def status_line(code: int, phrase: bytes) -> bytes:
    """`HTTP/1.1 200 OK`, in the upstream's words."""
    return b"HTTP/1.1 %d %s\r\n" % (code, phrase)


def refusal(kind: Refusal, sentence: str, allow: bytes = b"", retry_after_s: int | None = None) -> bytes:
    """A complete error answer: `{"error": "<sentence>"}` with the status that the table gives.

    Args:
        kind: why.
        sentence: for the client.
        allow: the methods that a path answers to, for a wrong one.
        retry_after_s: when to try again, where the table's own figure is not the right one.
    """
    status = STATUS[kind]
    headers = _JSON
    if allow:
        headers += b"Allow: %s\r\n" % allow
    if kind is Refusal.UNAUTHENTICATED:
        headers += b"WWW-Authenticate: Bearer\r\n"
    if retry_after_s is None:
        retry_after_s = status.retry_after_s
    if retry_after_s is not None:
        headers += b"Retry-After: %d\r\n" % retry_after_s
    return _whole(status.http, headers, json.dumps({"error": sentence}).encode())


def document(value: object) -> bytes:
    """A complete JSON answer."""
    return _whole(HTTPStatus.OK, _JSON, json.dumps(value, separators=(",", ":")).encode())


def empty() -> bytes:
    """A complete 200 without a body, as Triton answers health questions."""
    return _whole(HTTPStatus.OK, b"Content-Type: text/plain\r\n", b"")


def with_header(whole: bytes, line: bytes) -> bytes:
    """The same answer with one more header line."""
    return whole.replace(END_OF_HEAD, b"\r\n" + line + b"\r\n", 1)


def without_body(whole: bytes) -> bytes:
    """The same answer as HEAD gets it."""
    return whole[: whole.index(END_OF_HEAD) + len(END_OF_HEAD)]


def _whole(code: int, headers: bytes, body: bytes) -> bytes:
    return b"%s%sContent-Length: %d\r\n\r\n%s" % (_STATUS_LINES[code], headers, len(body), body)
