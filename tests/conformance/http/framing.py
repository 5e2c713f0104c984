"""Where a request ends, what becomes of its connection, and heads that no strict server takes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator

from tests.conformance.differences import Why
from tests.conformance.http.exchange import After, Own, Vector
from tests.conformance.http.requests import FINE, INFER, document, in_chunks, post, request
from tests.conformance.http.rows import BROKEN, ECHOED, TWO, one

MAX_BODY = 64 * 1024 * 1024
TINY_CHUNKS = 65_536
_LONGEST_LINE = 8_192
_UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA")
_TOO_LARGE = Own(413, Why.TOO_LARGE, str(MAX_BODY), after=After.CLOSED)
_NO_LENGTH = Own(400, Why.FRAMING, "Content-Length")
_LONG_LINE = Own(400, Why.FRAMING)


def sizes() -> Iterator[Vector]:
    """Bodies over the limit, of which Triton alone has none."""
    yield Vector("a body over the limit", (lambda: post(_over()),), _TOO_LARGE)
    yield Vector("a body over the limit, in chunks", (lambda: in_chunks(_over()),), _TOO_LARGE)
    yield Vector("a body over the limit, inflated", (_over_inflated,), _TOO_LARGE)
    promised = request("POST", INFER, None, f"Content-Length: {MAX_BODY + 1}")
    yield Vector("a body over the limit, promised", (promised,), _TOO_LARGE, triton_waits=True)


def _over() -> bytes:
    return b" " * MAX_BODY + FINE


def _over_inflated() -> bytes:
    return post(gzip.compress(_over(), 1, mtime=0), "Content-Encoding: gzip")


def chunks() -> Iterator[Vector]:
    """Bodies without a length."""
    yield one("one chunk", in_chunks(FINE))
    sevenths = [FINE[at : at + len(FINE) // 7 + 1] for at in range(0, len(FINE), len(FINE) // 7 + 1)]
    whole = in_chunks(*sevenths)
    pieces = tuple(whole[at : at + len(whole) // 7 + 1] for at in range(0, len(whole), len(whole) // 7 + 1))
    yield Vector("seven chunks, in seven pieces", pieces)
    padded = FINE.ljust(TINY_CHUNKS)
    yield one("65,536 tiny chunks", in_chunks(*(padded[at : at + 1] for at in range(TINY_CHUNKS))))
    yield one("no chunk", in_chunks())
    plain = Own(200, Why.FRAMING, document=ECHOED)
    trailers = in_chunks(FINE, end=b"0\r\nX-Checksum: 1\r\n\r\n")
    yield Vector("chunks and trailers", (trailers,), plain, triton_waits=True)
    head = request("POST", INFER, None, "Transfer-Encoding: chunked")
    yield one("a chunk with an extension", head + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(FINE), FINE), plain)
    yield one("a chunk of no size", head + b"zz\r\n%s\r\n0\r\n\r\n" % FINE, BROKEN)
    yield one("chunks and a length", head.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"0\r\n\r\n", BROKEN)
    yield one("gzip, chunked", head.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n", BROKEN)
    yield one("chunks with HTTP/1.0", head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", BROKEN)


def connections() -> Iterator[Vector]:
    """What becomes of the connection."""
    yield one("HTTP/1.0", post(FINE, version="1.0"))
    yield one("HTTP/1.0 with keep-alive", post(FINE, "Connection: keep-alive", version="1.0"))
    yield one("HTTP/1.0 without a host", post(FINE, version="1.0").replace(b"Host: test\r\n", b""))
    yield one("an error with HTTP/1.0", post(b"{", version="1.0"))
    yield one("close", post(FINE, "Connection: close"))
    yield one("close after an error", post(b"{", "Connection: close"))
    yield one("keep-alive", post(FINE, "Connection: keep-alive", "Keep-Alive: timeout=5"))
    yield one("h2c is ignored", post(FINE, *_UPGRADE))
    yield one("h2c is ignored, in chunks", in_chunks(FINE[:9], FINE[9:], lines=_UPGRADE))
    yield Vector("two at once", (post(FINE) + post(document(TWO, id="second")),), count=2)
    yield Vector("a bad one and a good one at once", (post(b"{") + post(FINE),), count=2)
    # Only POSTs: what follows a GET in the same read is lost on Triton's parser, as is what follows chunks.
    mixed = post(FINE) + post(b"{") + post(document(TWO, id="third")) + post(FINE, "Connection: close")
    yield Vector("four at once", (mixed,), count=4)
    unread = in_chunks(FINE) + post(FINE)
    both = Own(200, Why.FRAMING, document=ECHOED)
    yield Vector("chunks and another request at once", (unread,), both, count=2, triton_waits=True)
    expecting = request("POST", INFER, None, "Expect: 100-continue", f"Content-Length: {len(FINE)}")
    yield Vector("Expect", (expecting, None, FINE))
    yield Vector("Expect, but the body comes at once", (expecting + FINE,))
    chunked = request("POST", INFER, None, "Expect: 100-continue", "Transfer-Encoding: chunked")
    yield Vector("Expect, in chunks", (chunked, None, b"%x\r\n%s\r\n0\r\n\r\n" % (len(FINE), FINE)))
    nowhere = expecting.replace(b"echo", b"nope")
    refused = Own(404, Why.UNKNOWN_MODEL, "There is no model 'nope'", after=After.CLOSED)
    yield Vector("Expect, and refused", (nowhere,), refused, triton_waits=True)


def heads() -> Iterator[Vector]:
    """Heads that a strict server does not take, and some that Triton's parser cannot."""
    yield one("no length", request("POST", INFER), _NO_LENGTH)
    yield one("a negative length", request("POST", INFER, None, "Content-Length: -1"), BROKEN)
    yield one("a length twice", post(FINE, f"Content-Length: {len(FINE)}"), BROKEN)
    yield one("no host", post(FINE).replace(b"Host: test\r\n", b""), BROKEN)
    yield one("two hosts", post(FINE, "Host: other"), BROKEN)
    yield one("no HTTP", b"HELLO\r\n\r\n", BROKEN)
    yield one("HTTP/2.0", request("GET", "/v2/health/live", version="2.0"), BROKEN, "GET")
    yield one("lines that end in LF alone", request("GET", "/v2/health/live").replace(b"\r\n", b"\n"), BROKEN, "GET")
    yield one("a control character in a header", post(FINE, "X-A: a\x01b"), BROKEN)
    yield one("a space in a header's name", post(FINE, "X A: b"), BROKEN)
    yield one("a folded header", post(FINE, "X-A: a\r\n b"), BROKEN)
    yield one("a header of 8,191 bytes", post(FINE, f"X-A: {'a' * (_LONGEST_LINE - 1)}"))
    yield one("a header of 8,192 bytes", post(FINE, f"X-A: {'a' * _LONGEST_LINE}"), _LONG_LINE)
    yield one("a header's name of 9,000 bytes", post(FINE, f"{'a' * 9000}: b"), _LONG_LINE)
    yield one("a query of 9,000 bytes", post(FINE, target=f"{INFER}?{'a' * 9000}"), _LONG_LINE)
    many = tuple(f"X-{number}: {'a' * 900}" for number in range(60))
    yield one("60 headers of 900 bytes", post(FINE, *many))
    yield one("a head over 64 KiB", post(FINE, *(f"{line}{'b' * 200}" for line in many)), BROKEN)
    yield one("a header of Triton's own", post(FINE, "triton-grpc-error: true"))
    yield one("headers of tracing", post(FINE, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    yield one("a header in Latin-1", post(FINE, "X-A: gr\xfcn"))
