"""A second opinion on what a client's bytes say: RFC 9112 read strictly, from all of them at once.

Shares no code and no parser with the gateway. Where the RFC leaves a choice, what could be read in two ways is taken
for the end of what can be read at all; the gateway may refuse more than this reader, and must never read more.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple
from urllib.parse import unquote

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(%s) ([!-~\x80-\xff]+) +HTTP/1\.([01])" % _TOKEN)
_FIELD = re.compile(rb"(%s):[ \t]*([\t -~\x80-\xff]*?)[ \t]*" % _TOKEN)
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)[ \t]*(?:;[\t -~\x80-\xff]*)?")
_NUMBER = re.compile(rb"[0-9]+")
_EMPTY = re.compile(rb"[\r\n]*")
_ENDS_HERE = frozenset(
    b"authorization connection content-length cookie expect host http2-settings keep-alive proxy-authorization "
    b"proxy-connection te trailer transfer-encoding upgrade".split()
)
_OF_A_VERSION = re.compile(
    r"/v2/models/(?P<model>[^/?]+)(?:/versions/(?P<version>[^/?]*))?"
    r"(?P<tail>(?:/(?:ready|config|stats|infer|generate|generate_stream))?(?:\?.*)?)",
    re.DOTALL,
)


class Ending(Enum):
    """Where reading stopped."""

    WHOLE = auto()
    """After the last byte."""
    PARTIAL = auto()
    """Within a request: more bytes could make it whole."""
    LOST = auto()
    """At something that is no request."""
    CLOSED = auto()
    """After a request that was to be the last; bytes may follow it."""


class Told(NamedTuple):
    """One request."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    http_1_1: bool
    closes: bool

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def relayed(self) -> tuple[bytes, bytes, tuple[tuple[bytes, bytes], ...], bytes] | None:
        """What the upstream of version 1 of model `m` should see of it; None where that is none of its business."""
        target = re.sub(r"(?i)^https?://[^/]*", "", self.target.decode("latin-1"))
        found = _OF_A_VERSION.fullmatch(target)
        if found is None or unquote(found["model"]) != "m" or (found["version"] or "1").lstrip("0") != "1":
            return None
        passing = tuple(
            (name, value)
            for name, value in self.headers
            if name.lower() not in _ENDS_HERE and not name.lower().startswith(b"sluice-")
        )
        return self.method, b"/v2/models/m/versions/1" + found["tail"].encode("latin-1"), passing, self.body


class Reading(NamedTuple):
    """What a client's bytes say.

    Attributes:
        requests: the whole ones, in order.
        ending: where reading stopped.
        drags_on: whether there are more bytes of empty lines in a row than a head may have: whether somebody who reads
            piece by piece ends there depends on the pieces.
    """

    requests: list[Told]
    ending: Ending
    drags_on: bool = False


class _Lost(Exception):  # noqa: N818 (how reading stops, not a mistake)
    """It can be read in no way, or in two."""


class _Partial(Exception):  # noqa: N818
    """It is not all there."""


def read_stream(data: bytes, max_header: int = 4096) -> Reading:
    """All requests that these bytes hold.

    Args:
        data: what a client sends.
        max_header: bytes that a head may have.
    """
    cursor = _Cursor(data)
    requests: list[Told] = []
    ending = Ending.WHOLE
    while ending is Ending.WHOLE and cursor.skip_empty():
        try:
            requests.append(_request(cursor))
        except _Lost:
            ending = Ending.LOST
        except _Partial:
            ending = Ending.PARTIAL
        else:
            ending = Ending.CLOSED if requests[-1].closes else Ending.WHOLE
    return Reading(requests, ending, cursor.most_skipped > max_header)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self.most_skipped = 0

    def skip_empty(self) -> bool:
        """Passes over empty lines between requests; whether anything follows."""
        found = _EMPTY.match(self._data, self._at)
        end = found.end() if found else self._at
        self.most_skipped, self._at = max(self.most_skipped, end - self._at), end
        return self._at < len(self._data)

    def line(self) -> bytes:
        end = self._data.find(b"\n", self._at)
        if end < 0:
            raise _Partial
        line, self._at = self._data[self._at : end + 1], end + 1
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            raise _Lost
        return line[:-2]

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise _Partial
        piece, self._at = self._data[self._at : self._at + count], self._at + count
        return piece


def _request(cursor: _Cursor) -> Told:
    start = _REQUEST_LINE.fullmatch(cursor.line())
    if start is None or start[1] == b"CONNECT":
        raise _Lost
    headers = _fields(cursor)
    http_1_1 = start[3] == b"1"
    told = Told(start[1], start[2], headers, b"", http_1_1, closes=False)
    hosts, lengths, encodings = told.all(b"host"), told.all(b"content-length"), told.all(b"transfer-encoding")
    if len(hosts) > 1 or (http_1_1 and not hosts) or len(lengths) + len(encodings) > 1:
        raise _Lost
    body = b""
    if encodings:
        if encodings[0].lower() != b"chunked" or not http_1_1:
            raise _Lost
        body = _chunks(cursor)
    elif lengths:
        if not _NUMBER.fullmatch(lengths[0]):
            raise _Lost
        body = cursor.take(int(lengths[0]))
    options = {option.strip().lower() for value in told.all(b"connection") for option in value.split(b",")}
    return told._replace(body=body, closes=b"close" in options or not (http_1_1 or b"keep-alive" in options))


def _fields(cursor: _Cursor) -> tuple[tuple[bytes, bytes], ...]:
    found: list[tuple[bytes, bytes]] = []
    while line := cursor.line():
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _Lost
        found.append((field[1], field[2]))
    return tuple(found)


def _chunks(cursor: _Cursor) -> bytes:
    body = b""
    while True:
        size = _CHUNK.fullmatch(cursor.line())
        if size is None:
            raise _Lost
        count = int(size[1], 16)
        if count == 0:
            _fields(cursor)  # trailers
            return body
        body += cursor.take(count)
        if cursor.take(2) != b"\r\n":
            raise _Lost
