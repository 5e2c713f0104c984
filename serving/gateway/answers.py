"""What the gateway says by itself: heads and bodies as bytes, none of them a model's.

Errors come from the one table in `serving.errors`; framing is always a length, so an answer is one write.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from serving.errors import STATUS, Refusal

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus}
_JSON = b"Content-Type: application/json\r\n"


def status_line(code: int, phrase: bytes = b"") -> bytes:
    """`HTTP/1.1 200 OK`, with the upstream's phrase where the code is not a registered one."""
    return _STATUS_LINES.get(code) or b"HTTP/1.1 %d %s\r\n" % (code, phrase)


def refusal(kind: Refusal, sentence: str, *, allow: bytes = b"", close: bool = False) -> bytes:
    """A complete error answer: `{"error": "<sentence>"}` with the status that the table gives."""
    status = STATUS[kind]
    headers = _JSON
    if allow:
        headers += b"Allow: %s\r\n" % allow
    if status.retry_after_s is not None:
        headers += b"Retry-After: %d\r\n" % status.retry_after_s
    return whole(status.http, headers, json.dumps({"error": sentence}).encode(), close=close or status.closes)


def document(value: object, *, close: bool = False) -> bytes:
    """A complete JSON answer."""
    return whole(HTTPStatus.OK, _JSON, json.dumps(value, separators=(",", ":")).encode(), close=close)


def empty(*, close: bool = False) -> bytes:
    """A complete 200 without a body, as Triton answers health questions."""
    return whole(HTTPStatus.OK, b"Content-Type: text/plain\r\n", b"", close=close)


def whole(code: int, headers: bytes, body: bytes, *, close: bool) -> bytes:
    """Head and body in one piece."""
    ending = b"Connection: close\r\n" if close else b""
    return b"%s%sContent-Length: %d\r\n%s\r\n%s" % (status_line(code), headers, len(body), ending, body)
