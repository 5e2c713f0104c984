"""Compression of requests and answers, and JSON that is nested deep."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

from tests.conformance.differences import Why
from tests.conformance.http.exchange import Own, Vector
from tests.conformance.http.requests import FINE, JSON_LENGTH, ONES, binary, document, in_chunks, nested, post, tensor
from tests.conformance.http.rows import ALL_BINARY, DEEPEST, TOO_DEEP, TWO, one

_NOT_COMPRESSED = Own(400, Why.CODING, "cannot be inflated")


def codings() -> Iterator[Vector]:
    """Compression of requests, and of answers."""
    packed, deflated = gzip.compress(FINE, mtime=0), zlib.compress(FINE)
    yield one("gzip", post(packed, "Content-Encoding: gzip"))
    yield one("deflate", post(deflated, "Content-Encoding: deflate"))
    yield one("gzip in chunks", in_chunks(packed[:9], packed[9:], lines=("Content-Encoding: gzip",)))
    yield one("gzip that says deflate", post(packed, "Content-Encoding: deflate"))
    yield one("gzip cut short", post(packed[:-12], "Content-Encoding: gzip"))
    yield one("gzip and more", post(packed + b"xx", "Content-Encoding: gzip"))
    halves = gzip.compress(FINE[:20], mtime=0) + gzip.compress(FINE[20:], mtime=0)
    yield one("gzip in two members", post(halves, "Content-Encoding: gzip"))
    yield one("gzip in capitals", post(packed, "Content-Encoding: GZIP"))
    yield one("two content encodings", post(packed, "Content-Encoding: gzip", "Content-Encoding: deflate"))
    yield one("identity", post(FINE, "Content-Encoding: identity"))
    yield one("br", post(FINE, "Content-Encoding: br"))
    yield one("no gzip at all", post(FINE, "Content-Encoding: gzip"), _NOT_COMPRESSED)
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    yield one(
        "deflate without its header",
        post(raw.compress(FINE) + raw.flush(), "Content-Encoding: deflate"),
        _NOT_COMPRESSED,
    )
    head = document({"name": "fp32", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}})
    both = gzip.compress(head + ONES["FP32"][1], mtime=0)
    yield one("gzip of binary", post(both, "Content-Encoding: gzip", f"{JSON_LENGTH}: {len(head)}"))
    for accepted in (
        "gzip",
        "deflate",
        "deflate, gzip;q=0.5",
        "gzip;q=0.2, deflate;q=0.7",
        "identity",
        "br",
        "*",
        "",
        "gzip;q=0",
        "gzip;q=-",
    ):
        yield one(f"accepts {accepted!r}", post(FINE, f"Accept-Encoding: {accepted}"))
    yield one(
        "accepts gzip, of binary",
        binary(("FP32", [2], ONES["FP32"][1]), parameters=ALL_BINARY, lines=("Accept-Encoding: gzip",)),
    )
    yield one("gzip both ways", post(packed, "Content-Encoding: gzip", "Accept-Encoding: gzip"))
    yield one("accepts gzip, of an error", post(b"{", "Accept-Encoding: gzip"))


def nesting() -> Iterator[Vector]:
    """The deepest JSON that the gateway lets through, and the first that it does not."""
    for depth in (DEEPEST, DEEPEST + 1):
        own = TOO_DEEP if depth > DEEPEST else None
        body = nested(depth)
        yield one(f"{depth} levels", post(body), own)
        yield one(
            f"{depth} levels in chunks", in_chunks(*(body[at : at + 100] for at in range(0, len(body), 100))), own
        )
        yield one(f"{depth} levels, gzip", post(gzip.compress(body, mtime=0), "Content-Encoding: gzip"), own)
        yield one(f"{depth} levels, deflate", post(zlib.compress(body), "Content-Encoding: deflate"), own)
        yield one(f"{depth} levels before binary", post(body + b"[" * 9, f"{JSON_LENGTH}: {len(body)}"), own)
    brackets = document(TWO, id="[" * 2000)
    yield one("brackets in a string", post(brackets))
    yield one("brackets in binary", binary(("UINT8", [2000], b"[" * 2000)))
    wide = document(*(tensor(kind, [[[value]] for value in ONES[kind][0]], [2]) for kind in ("INT8", "INT16", "INT32")))
    yield one("data in lists of its own", post(wide))
