"""Byte streams that a client might send: well-formed ones, and what becomes of them when they lie or are damaged."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from serving.access.keys import Shown
from tests.serving.gateway.wire import post

KEY = Shown("0123456789ab", "fuzz-" * 8 + "key")
"""The one that opens the door of a gateway that asks for one."""
_GOOD = f"Authorization: Bearer {KEY.text}"
INNER = post("/v2/models/m/infer?smuggled", b"evil", ["X-Inner: yes", _GOOD])
"""A request that no upstream may ever see, for it only ever stands inside of another."""
_SHOWN = 300


class Stream:
    """One client's bytes.

    Args:
        pieces: as they are sent.
        sound: whether they are well-formed, as far as framing goes.
        waits: whether the client takes all of its answers before it closes its side.
        resets: whether it goes away without a word instead.
        style: how the upstream frames its answers: by a length, in chunks, until the end, after an interim answer.
    """

    def __init__(self, pieces: Sequence[bytes], *, sound: bool, waits: bool, resets: bool, style: int) -> None:
        self.pieces = pieces
        self.sound = sound
        self.waits = waits
        self.resets = resets
        self.style = style

    def __repr__(self) -> str:
        """Of a size that can be shown."""
        pieces = [
            piece if len(piece) < _SHOWN else (piece[:_SHOWN], len(piece), piece[-_SHOWN:]) for piece in self.pieces
        ]
        return f"Stream({pieces}, {self.sound=}, {self.waits=}, {self.resets=}, {self.style=})"

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


_METHODS = ["POST"] * 6 + ["GET"] * 4 + ["HEAD", "PUT", "OPTIONS", "DELETE"]
_TARGETS = [
    "/v2/models/m/infer", "/v2/models/m/infer", "/v2/models/m/infer", "/v2/models/m/versions/1/infer",
    "/v2/models/m/versions/9/infer", "/v2/models/n/infer", "/v2/models/m/generate", "/v2/models/m/config",
    "/v2/models/m/stats?a=b", "/v2/models/m", "/v2/models/m/ready", "/v2/models/%6D/infer", "/v2/health/live", "/v2",
    "/v2/repository/index", "/v2/repository/models/m/load", "http://h:1/v2/models/m/infer", "/nothing", "*",
    "/v2/models/m/versions/01/config", "/v2/models/m/generate_stream?x=/v2/models/n",
]  # fmt: skip
_HEADERS = [
    "X-A: b", "x-empty:", "X-Obs: \u00e9\u00ff", "X-Spaced: \t a  b \t", "Content-Type: application/json",
    "authorization: bearer  " + KEY.text, "Authorization: Bearer x", "Cookie: a=b", "sluice-synthetic: 1",
    "TE: trailers", "Trailer: X-Late", "Keep-Alive: timeout=5", "sluice-unit: u",
    "sluice-version: 1", "sluice-timeout-ms: 60000", "sluice-request-id: forged", "sluice-anything: x",
    "Inference-Header-Content-Length: 0", "Inference-Header-Content-Length: 2", "inference-header-content-length: 999",
    "Content-Encoding: gzip", "Expect: 100-continue", "expect: 100-Continue", "Upgrade: h2c", "Upgrade: websocket",
    "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABk", "Connection: keep-alive", "connection: TE",
    "Proxy-Connection: keep-alive", "Connection: close", "Connection: upgrade\r\nUpgrade: h2c",
    "Connection: upgrade\r\nUpgrade: h2c\r\nExpect: 100-continue",
]  # fmt: skip
_LIES = [
    "Content-Length: 5", "Content-Length: 0", "Content-Length: +5", "Content-Length: -5", "Content-Length: 0x5",
    "Content-Length: 5, 5", "Content-Length: 5 5", "Content-Length : 5", "Content-Length:\t5 ", "Content-Length:",
    "Content-Length: 18446744073709551621", "Content-Length: 99999999", "Content-Length: 5\r\nContent-Length: 5",
    "Content-Length: \u00b2", "Content_Length: 5", "Transfer-Encoding: chunked", "transfer-encoding: Chunked",
    "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity",
    "Transfer-Encoding:\x0bchunked", "Transfer-Encoding : chunked", "Transfer-Encoding:", "Transfer-Encoding: xchunked",
    "Transfer-Encoding:\r\n chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "X: a\r\n b",
    "X: a\0b", "X: a\nTransfer-Encoding: chunked", "X: a\rContent-Length: 5", "X: a\n\nb", "Host: other", ": nameless",
    "nonsense", " Content-Length: 5", "Connection: content-length", "Connection: X-A", "Connection: close, keep-alive",
    "Connection: keep-alive\r\nConnection: close", "Connection: transfer-encoding", "A: " + "b" * 5000, "Upgrade: ",
    "Expect: 200-ok", "X:" + " " * 3000, "(): x", "X\u00e9: y",
]  # fmt: skip
_VERSIONS = ["HTTP/1.1"] * 12 + ["HTTP/1.0"]
_WRONG_VERSIONS = ["HTTP/0.9", "HTTP/2.0", "HTTP/1.2", "http/1.1", "HTTP/1.1 ", "HTTP/11", "", "HTTP/1.", "ICE/1.0"]
_BODIES = [
    b"", b"{}", b"{}", b'{"inputs":[]}', INNER, b"0\r\n\r\n" + INNER, b"\r\n" + INNER, b"[" * 600, bytes(range(256)),
    b"5\r\nhello\r\n0\r\n\r\n",
]  # fmt: skip
_LARGE = [INNER * 2200, b"\r\n" * 150_000, b" " * 270_000 + b"[" * 600]  # these are streamed
_EXTENSIONS = [b""] * 6 + [b";a=b", b";a", b';q="x;y"']
_LYING_EXTENSIONS = [b" ", b" ; a", b";", b";a\0b", b";a\nb", b"\t", b"x", b";" + b"a" * 5000]
_TRAILERS = [b""] * 6 + [b"X-Late: 1\r\n", b"sluice-unit: u\r\nHost: x\r\n"]
_LYING_TRAILERS = [
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"X : y\r\n",
    b"\n",
    b"X: " + b"y" * 5000 + b"\r\n",
]
_SPOILED = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"0",
    b"5",
    b"\r\n\r\n",
    b"\x80",
    b"\t",
    b"GET / HTTP/1.1\r\n",
    INNER,
]

_bodies = st.integers(0, 300).map(lambda one: _BODIES[one % len(_BODIES)] if one < 298 else _LARGE[one - 298])


def _framed(draw: st.DrawFn, body: bytes, *, chunked: bool, lies: bool) -> tuple[str, bytes]:
    """A framing header and the body in that framing."""
    if not chunked:
        return f"Content-Length: {len(body)}", body
    at = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
    pieces = [body[start:end] for start, end in zip([0, *at], [*at, len(body)], strict=True) if end > start]
    form = draw(st.sampled_from([b"%x", b"%X", b"000%x"]))
    extension = draw(st.sampled_from(_EXTENSIONS + (_LYING_EXTENSIONS if lies else [])))
    lines = [(form % len(piece)) + extension + b"\r\n" + piece + b"\r\n" for piece in pieces]
    trailers = draw(st.sampled_from(_TRAILERS + (_LYING_TRAILERS if lies else [])))
    return "Transfer-Encoding: chunked", b"".join(lines) + b"0\r\n" + trailers + b"\r\n"


@st.composite
def _request(draw: st.DrawFn, lies: bool) -> bytes:  # noqa: FBT001
    """One request; a lying one has a head that does not keep to its own body, or to the protocol."""
    version = draw(st.sampled_from(_VERSIONS))
    headers = draw(st.lists(st.sampled_from(_HEADERS), max_size=4))
    if draw(st.integers(0, 3)):
        headers.insert(draw(st.integers(0, len(headers))), _GOOD)
    body = b""
    framing = draw(st.integers(0, 4))
    if framing:
        line, body = _framed(draw, draw(_bodies), chunked=framing > 2 and version == "HTTP/1.1", lies=lies)
        headers.insert(draw(st.integers(0, len(headers))), line)
    headers.insert(draw(st.integers(0, len(headers))), "Host: h")
    if lies:
        kind = draw(st.integers(0, 9))
        if kind == 0:
            version = draw(st.sampled_from(_WRONG_VERSIONS))
        elif kind == 1:
            headers.pop(draw(st.integers(0, len(headers) - 1)))
        else:
            headers.insert(draw(st.integers(0, len(headers))), draw(st.sampled_from(_LIES)))
    method, target = draw(st.sampled_from(_METHODS)), draw(st.sampled_from(_TARGETS))
    return "\r\n".join([f"{method} {target} {version}", *headers, "", ""]).encode("latin-1") + body


_damages = st.tuples(st.integers(0, 5), st.integers(0, 2**20), st.integers(0, 60), st.sampled_from(_SPOILED))


def _damage(data: bytes, damage: tuple[int, int, int, bytes]) -> bytes:
    kind, position, length, spoiled = damage
    at = position % (len(data) + 1)
    end = at + length
    if kind == 0:  # written over
        return data[:at] + spoiled + data[at + len(spoiled) :]
    if kind == 1:  # put in
        return data[:at] + spoiled + data[at:]
    if kind == 2:  # lost
        return data[:at] + data[end:]
    if kind == 3:  # said twice
        return data[:end] + data[at:]
    if kind == 4:  # a flipped bit
        return data[:at] + bytes(byte ^ (1 << length % 8) for byte in data[at : at + 1]) + data[at + 1 :]
    line = data.find(b"\r\n", at)  # an end of line that is none
    return data if line < 0 else data[:line] + (b"\n", b"\r")[length % 2] + data[line + 2 :]


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """A client's bytes: up to four requests, sound or not, cut anywhere or between them."""
    sound = draw(st.integers(0, 2)) == 0
    requests = draw(
        st.lists(_request(lies=False) if sound else st.booleans().flatmap(_request), min_size=1, max_size=4)
    )
    again = draw(st.integers(0, 2)) == 0  # the first request comes whole, then again: a known head takes another way
    requests = [requests[0], *requests] if again else requests
    first = len(requests[0]) if again else 0
    data = b"".join(requests)
    if not sound:
        for damage in draw(st.lists(_damages, max_size=3)):
            data = data[:first] + _damage(data[first:], damage)
        if draw(st.integers(0, 3)) == 0:
            data = data[: draw(st.integers(first, len(data)))]
    cuts = sorted([first, *draw(st.lists(st.integers(first, len(data)), max_size=5))])
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if end > start]
    if draw(st.integers(0, 2)) == 0 and b"".join(requests) == data:
        pieces = requests  # each in a read of its own, as most clients write
    ending, style = draw(st.integers(0, 9)), draw(st.integers(0, 3))
    return Stream(pieces, sound=sound, waits=sound and ending < 6, resets=ending == 9, style=style)
