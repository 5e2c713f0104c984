"""The HTTP vectors: what is sent, and where the gateway may answer otherwise than Triton alone.

A vector without a word about the gateway says that both answer alike: status, phrase, end-to-end headers, body, and
what is left of the connection. The first column, Triton's, is in `recorded.json`.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from importlib.metadata import version as version_of

from tests.e2e.fidelity.exchange import After, Own, Vector, Why
from tests.e2e.fidelity.repository import DATATYPES, MODELS
from tests.e2e.fidelity.requests import (
    FINE,
    INFER,
    JSON_LENGTH,
    ONES,
    binary,
    document,
    in_chunks,
    nested,
    post,
    request,
    strings,
    tensor,
)
from tests.e2e.fidelity.servers import UNSERVED

MAX_BODY = 64 * 1024 * 1024
DEEPEST = 512
TINY_CHUNKS = 65_536
_LONGEST_LINE = 8_192
_HUGE = 99_999_999_999
_TWO = tensor("FP32", [1.0, 2.0])
_FOUR = struct.pack("<4f", 1.0, 4.0, 3.0, 2.0)
_ODD = {"FP32": struct.pack("<3f", float("nan"), float("inf"), float("-inf")),
        "FP64": struct.pack("<3d", float("nan"), float("inf"), float("-inf"))}  # fmt: skip
_BINARY = {"binary_data": True}
_ALL_BINARY = {"binary_data_output": True}
_UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA")

_UNKNOWN_MODEL = Own(404, Why.UNKNOWN_MODEL, "There is no model 'nope'")
_UNKNOWN_VERSION = Own(404, Why.UNKNOWN_MODEL, "has no version")
_UNKNOWN_PATH = Own(404, Why.UNKNOWN_PATH, "There is nothing at this path")
_NOT_OFFERED = Own(501, Why.NOT_OFFERED, "belong to one Triton")
_LOADS = Own(403, Why.LOADS, "not loaded or unloaded")
_TOO_LARGE = Own(413, Why.TOO_LARGE, str(MAX_BODY), after=After.CLOSED)
_TOO_DEEP = Own(400, Why.NESTING, "nested deeper than 512")
_JSON_LENGTH = Own(400, Why.JSON_LENGTH, JSON_LENGTH)
_BROKEN = Own(400, Why.FRAMING, after=After.CLOSED)
_NO_LENGTH = Own(400, Why.FRAMING, "Content-Length")
_LONG_LINE = Own(400, Why.FRAMING)
_NOT_COMPRESSED = Own(400, Why.CODING, "cannot be inflated")
_ECHOED = json.loads(
    '{"model_name":"echo","model_version":"1",'
    '"outputs":[{"name":"fp32","datatype":"FP32","shape":[2],"data":[1.0,2.0]}]}'
)


def vectors() -> tuple[Vector, ...]:
    """All of them."""
    parts = (
        _questions(), _unknown(), _methods(), _not_offered(), _json(), _extension(), _datatypes(), _values(), _shapes(),
        _outputs(), _codings(), _nesting(), _sizes(), _chunks(), _connections(), _heads(), _generate(),
    )  # fmt: skip
    return tuple(vector for part in parts for vector in part)


def _one(name: str, data: bytes, gateway: Own | None = None, method: str = "POST") -> Vector:
    return Vector(name, (data,), gateway, method)


def _get(name: str, target: str, gateway: Own | None = None) -> Vector:
    return _one(name, request("GET", target), gateway, "GET")


def _questions() -> Iterator[Vector]:
    """Health, metadata, configuration, statistics, index."""
    yield _get("live", "/v2/health/live")
    yield _get("ready", "/v2/health/ready")
    yield _get("server metadata", "/v2", Own(200, Why.OWN_VIEW, document=_server()))
    yield _get("server metadata, with a slash", "/v2/", _UNKNOWN_PATH)
    yield _get("model metadata", "/v2/models/echo")
    yield _get("model metadata of a version", "/v2/models/echo/versions/1")
    yield _get("model metadata with a query", "/v2/models/echo?a=b")
    yield _get("model metadata, versions of the gateway", "/v2/models/compass", _compass())
    yield _get("model ready", "/v2/models/echo/ready")
    yield _get("model ready, of a version", "/v2/models/echo/versions/1/ready")
    yield _get("model config", "/v2/models/compass/config")
    yield _get("model config of a version", "/v2/models/compass/versions/1/config")
    yield _get("model statistics", "/v2/models/idle/stats")
    yield _get("model statistics of a version", "/v2/models/idle/versions/1/stats")
    everything = request("GET", "/v2/models/stats")
    yield Vector("statistics of all models", (everything,), method="GET", seen=_who_counts)
    yield _one("index", request("POST", "/v2/repository/index", b""), Own(200, Why.OWN_VIEW, document=_index()))
    yield _one(
        "index without a length", request("POST", "/v2/repository/index"), Own(200, Why.OWN_VIEW, document=_index())
    )
    only_ready = request("POST", "/v2/repository/index", b'{"ready": true}')
    yield _one("index of what is ready", only_ready, Own(200, Why.OWN_VIEW, document=_index()))
    yield _one("a question with a body", request("GET", "/v2/health/live", b"hello"), None, "GET")


def _server() -> object:
    extensions = ["classification", "sequence", "schedule_policy", "model_configuration", "binary_tensor_data",
                  "parameters", "statistics", "generate"]  # fmt: skip
    return {"name": "sluice", "version": version_of("sluice-gateway"), "extensions": extensions}


def _compass() -> Own:
    tensors = [{"name": "fp32", "datatype": "FP32", "shape": [-1, 4]}]
    metadata = {"name": "compass", "versions": ["1", "2"], "platform": "python", "inputs": tensors, "outputs": tensors}
    return Own(200, Why.VERSIONS, document=metadata)


def _index() -> object:
    """As Triton writes it: sorted by name, and without a reason where there is nothing to explain."""
    versions = sorted([*((model, 1) for model in MODELS), UNSERVED])
    return [{"name": model, "version": str(version), "state": "READY"} for model, version in versions]


def _who_counts(body: bytes) -> bytes:
    """Of statistics, whose they are: the counters differ from run to run."""
    counted = json.loads(body).get("model_stats", [])
    return json.dumps(sorted([one["name"], one["version"]] for one in counted)).encode()


def _unknown() -> Iterator[Vector]:
    """Models, versions and paths that are not there."""
    for what in ("", "/ready", "/config", "/stats"):
        yield _get(f"unknown model{what}", f"/v2/models/nope{what}", _UNKNOWN_MODEL)
        yield _get(f"unknown version{what}", f"/v2/models/echo/versions/9{what}", _UNKNOWN_VERSION)
    for verb in ("infer", "generate", "generate_stream"):
        unknown = post(FINE, target=f"/v2/models/nope/{verb}")
        yield _one(f"unknown model/{verb}", unknown, _UNKNOWN_MODEL)
        yield _one(f"unknown version/{verb}", post(FINE, target=f"/v2/models/echo/versions/9/{verb}"), _UNKNOWN_VERSION)
    yield _one("unknown version, routed to", post(FINE, target="/v2/models/compass/versions/2/infer"))
    for number in ("0", "-1", "abc", "1.0", "99999999999999999999", ""):
        target = f"/v2/models/echo/versions/{number}/infer"
        yield _one(f"version {number!r}", post(FINE, target=target), Own(404, Why.UNKNOWN_MODEL))
    yield _one("version '01'", post(FINE, target="/v2/models/echo/versions/01/infer"))
    yield _one(
        "a verb where the version belongs",
        post(FINE, target="/v2/models/echo/versions/infer"),
        Own(404, Why.UNKNOWN_MODEL),
    )
    for target in (
        "/",
        "/v2/nope",
        "/v2/models",
        "/v2/models/echo/",
        "/v2/models/echo/nope",
        "/v2/health",
        "/v2/health/live/",
        "/v1/models/echo:predict",
    ):
        yield _get(f"unknown path {target}", target, _UNKNOWN_PATH)
    yield _one("unknown path, with a slash after infer", post(FINE, target=f"{INFER}/"), _UNKNOWN_PATH)


def _methods() -> Iterator[Vector]:
    """Methods that a path does not answer to."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        own = Own(405, Why.WRONG_METHOD, "use POST", allow="POST")
        yield _one(f"{method} infer", request(method, INFER), own, method)
    for target in (
        "/v2",
        "/v2/health/live",
        "/v2/models/echo",
        "/v2/models/echo/config",
        "/v2/models/echo/ready",
        "/v2/models/echo/stats",
    ):
        own = Own(405, Why.WRONG_METHOD, "use GET", allow="GET")
        yield _one(f"POST {target}", request("POST", target, b"{}"), own)
    yield _one("HEAD live", request("HEAD", "/v2/health/live"), Own(405, Why.WRONG_METHOD, allow="GET"), "HEAD")
    yield _one("GET index", request("GET", "/v2/repository/index"), Own(405, Why.WRONG_METHOD, allow="POST"), "GET")
    yield _one("PUT infer with a body", request("PUT", INFER, FINE), Own(405, Why.WRONG_METHOD, allow="POST"), "PUT")
    connect = b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n"
    yield _one("CONNECT", connect, Own(400, Why.CONNECT, "CONNECT", after=After.CLOSED))


def _not_offered() -> Iterator[Vector]:
    """What belongs to one Triton."""
    for kind in ("systemsharedmemory", "cudasharedmemory"):
        yield _get(f"{kind} status", f"/v2/{kind}/status", _NOT_OFFERED)
        yield _get(f"{kind} status of a region", f"/v2/{kind}/region/a/status", _NOT_OFFERED)
        for verb in ("register", "unregister"):
            yield _one(f"{kind} {verb}", request("POST", f"/v2/{kind}/region/a/{verb}", b"{}"), _NOT_OFFERED)
    yield _get("trace settings", "/v2/trace/setting", _NOT_OFFERED)
    yield _get("trace settings of a model", "/v2/models/echo/trace/setting", _NOT_OFFERED)
    yield _get("logging", "/v2/logging", _NOT_OFFERED)
    for verb in ("load", "unload"):
        yield _one(verb, request("POST", f"/v2/repository/models/echo/{verb}", b"{}"), _LOADS)


def _json() -> Iterator[Vector]:
    """JSON, good and bad. Each bad one is followed by a good request: on its connection here, by all in the sweep."""
    yield _one("infer", post(FINE))
    yield _one("infer with a version", post(FINE, target="/v2/models/echo/versions/1/infer"))
    yield _one("infer with a query", post(FINE, target=f"{INFER}?a=b&c=%64"))
    yield _one("infer in absolute form", post(FINE, target=f"http://test{INFER}"))
    yield _one("infer with an id", post(document(_TWO, id="order 7 \u20ac")))
    yield _one("infer with parameters", post(document(_TWO, parameters={"priority": 1, "timeout": 5, "mine": "x"})))
    yield _one("infer in a sequence", post(document(_TWO, parameters={"sequence_id": 7, "sequence_start": True})))
    yield _one("malformed JSON", post(b'{"inputs": [}'))
    yield _one("JSON cut short", post(FINE[:-3]))
    yield _one("JSON and more", post(FINE + b"x"))
    yield _one("JSON after a byte order mark", post(b"\xef\xbb\xbf" + FINE))
    yield _one("JSON null", post(b"null"))
    yield _one("an empty body", post(b""))
    yield _one("an id that is no string", post(document(_TWO, id=5)))
    yield _one("inputs that are no list", post(b'{"inputs": {}}'))
    yield _one("an input twice", post(document(_TWO, _TWO)))
    yield _one("an unknown input", post(document({**_TWO, "name": "nope"})))
    yield _one("an unknown datatype", post(document({**_TWO, "datatype": "FP99"})))
    yield _one("another datatype", post(document({**_TWO, "datatype": "FP64"})))
    yield _one("a string for a number", post(document({**_TWO, "data": ["a", "b"]})))
    yield _one("a reserved parameter", post(document(_TWO, parameters={"triton_x": 1})))
    region = {"shared_memory_region": "x", "shared_memory_byte_size": 8}
    yield _one(
        "a shared-memory region",
        post(document({"name": "fp32", "datatype": "FP32", "shape": [2], "parameters": region})),
    )


def _extension() -> Iterator[Vector]:
    """The binary tensor extension, and what its header may say."""
    yield _one("binary in and out", binary(("FP32", [2], ONES["FP32"][1]), parameters=_ALL_BINARY))
    two = (("FP32", [2], ONES["FP32"][1]), ("INT8", [2], ONES["INT8"][1]))
    yield _one("binary, two tensors", binary(*two, parameters=_ALL_BINARY))
    overridden = [{"name": "fp32", "parameters": {"binary_data": False}}, {"name": "int8"}]
    yield _one("binary for all but one", binary(*two, parameters=_ALL_BINARY, outputs=overridden))
    turned = [{"name": "fp32", "parameters": _BINARY}, {"name": "int8"}]
    yield _one("binary for one only", binary(*two, parameters={"binary_data_output": False}, outputs=turned))
    yield _one("binary, too few bytes", binary(("FP32", [2], b"1234")))
    yield _one("binary, too many bytes", binary(("FP32", [2], b"123456789")))
    raw = {"target": "/v2/models/compass/infer"}
    yield _one("raw binary", post(_FOUR, f"{JSON_LENGTH}: 0", **raw))
    yield _one("raw binary of another size", post(_FOUR + b"1", f"{JSON_LENGTH}: 0", **raw))
    yield _one("raw binary for many inputs", post(_FOUR, f"{JSON_LENGTH}: 0"))
    yield _one("JSON length of all", post(FINE, f"{JSON_LENGTH}: {len(FINE)}"))
    yield _one("JSON length with zeros before", post(FINE, f"{JSON_LENGTH}: 00{len(FINE)}"))
    yield _one("JSON length too short", post(FINE, f"{JSON_LENGTH}: 5"))
    for length in (str(_HUGE), "-1", str(len(FINE) + 1), "abc", "", "1.5", "+5", "1e2", "0x50", "9" * 30):
        yield _one(f"JSON length {length!r}", post(FINE, f"{JSON_LENGTH}: {length}"), _JSON_LENGTH)
    yield _one("raw binary, JSON length 'abc'", post(_FOUR, f"{JSON_LENGTH}: abc", **raw), _JSON_LENGTH)
    beyond = in_chunks(FINE, lines=(f"{JSON_LENGTH}: {_HUGE}",))
    yield _one("JSON length beyond the chunks", beyond, _JSON_LENGTH)


def _datatypes() -> Iterator[Vector]:
    """Every datatype in JSON and binary; what JSON cannot hold is Triton's to refuse."""
    for datatype in DATATYPES:
        values, data = ONES[datatype]
        wanted = [{"name": datatype.lower(), "parameters": _BINARY}]
        yield _one(f"{datatype} in JSON", post(document(tensor(datatype, values))))
        yield _one(f"{datatype} binary", binary((datatype, [2], data), outputs=wanted))
        yield _one(f"{datatype} binary in, JSON out", binary((datatype, [2], data)))
        yield _one(f"{datatype} without elements", binary((datatype, [0], b""), parameters=_ALL_BINARY))


def _values() -> Iterator[Vector]:
    """Values that are hard to write."""
    for datatype, data in _ODD.items():
        yield _one(f"NaN and Inf of {datatype}", binary((datatype, [3], data)))
        yield _one(f"NaN and Inf of {datatype}, binary", binary((datatype, [3], data), parameters=_ALL_BINARY))
    yield _one("NaN in JSON", post(FINE.replace(b"2.0", b"NaN")))
    yield _one("a number beyond a double", post(FINE.replace(b"2.0", b"1e999")))
    yield _one("an integer beyond its type", post(document(tensor("INT8", [300]))))
    nul = ("BYTES", [2], strings(b"a\0b", b"\0"))
    yield _one("BYTES with NUL", binary(nul))
    yield _one("BYTES with NUL, binary", binary(nul, parameters=_ALL_BINARY))
    yield _one("BYTES with NUL in JSON", post(document(tensor("BYTES", ["a\0b", "\0"]))))
    yield _one("BYTES that are no UTF-8", binary(("BYTES", [1], strings(b"\xff\xfe"))))
    yield _one("BYTES in UTF-8", post(json.dumps({"inputs": [tensor("BYTES", ["grün"])]}, ensure_ascii=False).encode()))
    yield _one("BYTES longer than they are", binary(("BYTES", [1], struct.pack("<I", 999) + b"a")))


def _shapes() -> Iterator[Vector]:
    """Shapes that do not fit."""
    for name, shape in {
        "a negative dimension": [-2],
        "more than the data": [3],
        "less than the data": [1],
        "one dimension too many": [1, 2],
        "a product that overflows": [2**33, 2**33],
        "a product that overflows to 0": [2**62, 4],
        "a dimension beyond 64 bits": [10**30],
        "a dimension beyond signed 64 bits": [2**63],
    }.items():
        yield _one(f"shape with {name}", post(document({**_TWO, "shape": shape})))
    yield _one("shape with a fraction", post(document({**_TWO, "shape": [2.0]})))
    yield _one("shape with no element", post(document(tensor("FP32", [], [0]))))
    overflow = [{"name": "fp32", "datatype": "FP32", "shape": [2**33, 2**33], "parameters": {"binary_data_size": 0}}]
    body = document(*overflow)
    yield _one("shape that overflows, binary", post(body, f"{JSON_LENGTH}: {len(body)}"))
    promised = document({"name": "fp32", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 2**62}})
    yield _one("more bytes promised than come", post(promised, f"{JSON_LENGTH}: {len(promised)}"))


def _outputs() -> Iterator[Vector]:
    """What is asked back."""
    yield _one("an output twice", post(document(_TWO, outputs=[{"name": "fp32"}, {"name": "fp32"}])))
    yield _one("an unknown output", post(document(_TWO, outputs=[{"name": "nope"}])))
    yield _one("outputs that are no list", post(document(_TWO, outputs=5)))
    four = ("FP32", [1, 4], _FOUR)
    best = [{"name": "fp32", "parameters": {"classification": 2}}]
    yield _one("classes", binary(four, model="compass", outputs=best))
    best_binary = [{"name": "fp32", "parameters": {"classification": 2, **_BINARY}}]
    yield _one("classes, binary", binary(four, model="compass", outputs=best_binary))
    every = [{"name": "fp32", "parameters": {"classification": 99}}]
    yield _one("more classes than there are", binary(four, model="compass", outputs=every))
    rows = ("FP32", [2, 4], _FOUR * 2)
    yield _one("classes of a batch", binary(rows, model="compass", outputs=best))
    yield _one("a batch too large", binary(("FP32", [9, 4], _FOUR * 9), model="compass"))


def _codings() -> Iterator[Vector]:
    """Compression of requests, and of answers."""
    packed, deflated = gzip.compress(FINE, mtime=0), zlib.compress(FINE)
    yield _one("gzip", post(packed, "Content-Encoding: gzip"))
    yield _one("deflate", post(deflated, "Content-Encoding: deflate"))
    yield _one("gzip in chunks", in_chunks(packed[:9], packed[9:], lines=("Content-Encoding: gzip",)))
    yield _one("gzip that says deflate", post(packed, "Content-Encoding: deflate"))
    yield _one("gzip cut short", post(packed[:-12], "Content-Encoding: gzip"))
    yield _one("gzip and more", post(packed + b"xx", "Content-Encoding: gzip"))
    halves = gzip.compress(FINE[:20], mtime=0) + gzip.compress(FINE[20:], mtime=0)
    yield _one("gzip in two members", post(halves, "Content-Encoding: gzip"))
    yield _one("gzip in capitals", post(packed, "Content-Encoding: GZIP"))
    yield _one("two content encodings", post(packed, "Content-Encoding: gzip", "Content-Encoding: deflate"))
    yield _one("identity", post(FINE, "Content-Encoding: identity"))
    yield _one("br", post(FINE, "Content-Encoding: br"))
    yield _one("no gzip at all", post(FINE, "Content-Encoding: gzip"), _NOT_COMPRESSED)
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    yield _one(
        "deflate without its header",
        post(raw.compress(FINE) + raw.flush(), "Content-Encoding: deflate"),
        _NOT_COMPRESSED,
    )
    head = document({"name": "fp32", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}})
    both = gzip.compress(head + ONES["FP32"][1], mtime=0)
    yield _one("gzip of binary", post(both, "Content-Encoding: gzip", f"{JSON_LENGTH}: {len(head)}"))
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
        yield _one(f"accepts {accepted!r}", post(FINE, f"Accept-Encoding: {accepted}"))
    yield _one(
        "accepts gzip, of binary",
        binary(("FP32", [2], ONES["FP32"][1]), parameters=_ALL_BINARY, lines=("Accept-Encoding: gzip",)),
    )
    yield _one("gzip both ways", post(packed, "Content-Encoding: gzip", "Accept-Encoding: gzip"))
    yield _one("accepts gzip, of an error", post(b"{", "Accept-Encoding: gzip"))


def _nesting() -> Iterator[Vector]:
    """The deepest JSON that the gateway lets through, and the first that it does not."""
    for depth in (DEEPEST, DEEPEST + 1):
        own = _TOO_DEEP if depth > DEEPEST else None
        body = nested(depth)
        yield _one(f"{depth} levels", post(body), own)
        yield _one(
            f"{depth} levels in chunks", in_chunks(*(body[at : at + 100] for at in range(0, len(body), 100))), own
        )
        yield _one(f"{depth} levels, gzip", post(gzip.compress(body, mtime=0), "Content-Encoding: gzip"), own)
        yield _one(f"{depth} levels, deflate", post(zlib.compress(body), "Content-Encoding: deflate"), own)
        yield _one(f"{depth} levels before binary", post(body + b"[" * 9, f"{JSON_LENGTH}: {len(body)}"), own)
    brackets = document(_TWO, id="[" * 2000)
    yield _one("brackets in a string", post(brackets))
    yield _one("brackets in binary", binary(("UINT8", [2000], b"[" * 2000)))
    wide = document(*(tensor(kind, [[[value]] for value in ONES[kind][0]], [2]) for kind in ("INT8", "INT16", "INT32")))
    yield _one("data in lists of its own", post(wide))


def _sizes() -> Iterator[Vector]:
    """Bodies over the limit, of which Triton alone has none."""
    body = b" " * MAX_BODY + FINE
    yield _one("a body over the limit", post(body), _TOO_LARGE)
    yield _one("a body over the limit, in chunks", in_chunks(body), _TOO_LARGE)
    yield _one(
        "a body over the limit, inflated", post(gzip.compress(body, 1, mtime=0), "Content-Encoding: gzip"), _TOO_LARGE
    )
    promised = request("POST", INFER, None, f"Content-Length: {MAX_BODY + 1}")
    yield Vector("a body over the limit, promised", (promised,), _TOO_LARGE, triton_waits=True)


def _chunks() -> Iterator[Vector]:
    """Bodies without a length."""
    yield _one("one chunk", in_chunks(FINE))
    sevenths = [FINE[at : at + len(FINE) // 7 + 1] for at in range(0, len(FINE), len(FINE) // 7 + 1)]
    whole = in_chunks(*sevenths)
    pieces = tuple(whole[at : at + len(whole) // 7 + 1] for at in range(0, len(whole), len(whole) // 7 + 1))
    yield Vector("seven chunks, in seven pieces", pieces)
    padded = FINE.ljust(TINY_CHUNKS)
    yield _one("65,536 tiny chunks", in_chunks(*(padded[at : at + 1] for at in range(TINY_CHUNKS))))
    yield _one("no chunk", in_chunks())
    plain = Own(200, Why.FRAMING, document=_ECHOED)
    trailers = in_chunks(FINE, end=b"0\r\nX-Checksum: 1\r\n\r\n")
    yield Vector("chunks and trailers", (trailers,), plain, triton_waits=True)
    head = request("POST", INFER, None, "Transfer-Encoding: chunked")
    yield _one("a chunk with an extension", head + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(FINE), FINE), plain)
    yield _one("a chunk of no size", head + b"zz\r\n%s\r\n0\r\n\r\n" % FINE, _BROKEN)
    yield _one(
        "chunks and a length", head.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + b"0\r\n\r\n", _BROKEN
    )
    yield _one("gzip, chunked", head.replace(b"chunked", b"gzip, chunked") + b"0\r\n\r\n", _BROKEN)
    yield _one("chunks with HTTP/1.0", head.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", _BROKEN)


def _connections() -> Iterator[Vector]:
    """What becomes of the connection."""
    yield _one("HTTP/1.0", post(FINE, version="1.0"))
    yield _one("HTTP/1.0 with keep-alive", post(FINE, "Connection: keep-alive", version="1.0"))
    yield _one("HTTP/1.0 without a host", post(FINE, version="1.0").replace(b"Host: test\r\n", b""))
    yield _one("an error with HTTP/1.0", post(b"{", version="1.0"))
    yield _one("close", post(FINE, "Connection: close"))
    yield _one("close after an error", post(b"{", "Connection: close"))
    yield _one("keep-alive", post(FINE, "Connection: keep-alive", "Keep-Alive: timeout=5"))
    yield _one("h2c is ignored", post(FINE, *_UPGRADE))
    yield _one("h2c is ignored, in chunks", in_chunks(FINE[:9], FINE[9:], lines=_UPGRADE))
    yield Vector("two at once", (post(FINE) + post(document(_TWO, id="second")),), count=2)
    yield Vector("a bad one and a good one at once", (post(b"{") + post(FINE),), count=2)
    # Only POSTs: what follows a GET in the same read is lost on Triton's parser, as is what follows chunks.
    mixed = post(FINE) + post(b"{") + post(document(_TWO, id="third")) + post(FINE, "Connection: close")
    yield Vector("four at once", (mixed,), count=4)
    unread = in_chunks(FINE) + post(FINE)
    both = Own(200, Why.FRAMING, document=_ECHOED)
    yield Vector("chunks and another request at once", (unread,), both, count=2, triton_waits=True)
    expecting = request("POST", INFER, None, "Expect: 100-continue", f"Content-Length: {len(FINE)}")
    yield Vector("Expect", (expecting, None, FINE))
    yield Vector("Expect, but the body comes at once", (expecting + FINE,))
    chunked = request("POST", INFER, None, "Expect: 100-continue", "Transfer-Encoding: chunked")
    yield Vector("Expect, in chunks", (chunked, None, b"%x\r\n%s\r\n0\r\n\r\n" % (len(FINE), FINE)))
    nowhere = expecting.replace(b"echo", b"nope")
    refused = Own(404, Why.UNKNOWN_MODEL, "There is no model 'nope'", after=After.CLOSED)
    yield Vector("Expect, and refused", (nowhere,), refused, triton_waits=True)


def _heads() -> Iterator[Vector]:
    """Heads that a strict server does not take, and some that Triton's parser cannot."""
    yield _one("no length", request("POST", INFER), _NO_LENGTH)
    yield _one("a negative length", request("POST", INFER, None, "Content-Length: -1"), _BROKEN)
    yield _one("a length twice", post(FINE, f"Content-Length: {len(FINE)}"), _BROKEN)
    yield _one("no host", post(FINE).replace(b"Host: test\r\n", b""), _BROKEN)
    yield _one("two hosts", post(FINE, "Host: other"), _BROKEN)
    yield _one("no HTTP", b"HELLO\r\n\r\n", _BROKEN)
    yield _one("HTTP/2.0", request("GET", "/v2/health/live", version="2.0"), _BROKEN, "GET")
    yield _one("lines that end in LF alone", request("GET", "/v2/health/live").replace(b"\r\n", b"\n"), _BROKEN, "GET")
    yield _one("a control character in a header", post(FINE, "X-A: a\x01b"), _BROKEN)
    yield _one("a space in a header's name", post(FINE, "X A: b"), _BROKEN)
    yield _one("a folded header", post(FINE, "X-A: a\r\n b"), _BROKEN)
    yield _one("a header of 8,191 bytes", post(FINE, f"X-A: {'a' * (_LONGEST_LINE - 1)}"))
    yield _one("a header of 8,192 bytes", post(FINE, f"X-A: {'a' * _LONGEST_LINE}"), _LONG_LINE)
    yield _one("a header's name of 9,000 bytes", post(FINE, f"{'a' * 9000}: b"), _LONG_LINE)
    yield _one("a query of 9,000 bytes", post(FINE, target=f"{INFER}?{'a' * 9000}"), _LONG_LINE)
    many = tuple(f"X-{number}: {'a' * 900}" for number in range(60))
    yield _one("60 headers of 900 bytes", post(FINE, *many))
    yield _one("a head over 64 KiB", post(FINE, *(f"{line}{'b' * 200}" for line in many)), _BROKEN)
    yield _one("a header of Triton's own", post(FINE, "triton-grpc-error: true"))
    yield _one("headers of tracing", post(FINE, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    yield _one("a header in Latin-1", post(FINE, "X-A: gr\xfcn"))


def _generate() -> Iterator[Vector]:
    """Triton's generate extension, with a model that answers in words."""
    say, stream = "/v2/models/words/generate", "/v2/models/words/generate_stream"
    yield _one("generate", post(b'{"text": "one"}', target=say))
    yield _one("generate with a version", post(b'{"text": "one"}', target="/v2/models/words/versions/1/generate"))
    yield _one("generate, more than one answer", post(b'{"text": "one two"}', target=say))
    yield _one("generate, no answer", post(b'{"text": ""}', target=say))
    yield _one("generate, malformed", post(b"{", target=say))
    yield _one("generate, nothing known", post(b'{"nope": 1}', target=say))
    yield _one("generate, an empty body", post(b"", target=say))
    yield _one("stream", post(b'{"text": "one two three"}', target=stream))
    yield _one("stream in chunks", in_chunks(b'{"text": ', b'"one"}', target=stream))
    yield _one("stream of nothing", post(b'{"text": ""}', target=stream))
    yield _one("stream, malformed", post(b"{", target=stream))
    yield _one("stream with HTTP/1.0", post(b'{"text": "one two"}', target=stream, version="1.0"))
    yield _one(
        "infer of a stream",
        post(
            document({"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}),
            target="/v2/models/words/infer",
        ),
    )
    yield _one("generate, too deep", post(b'{"text": ' + b"[" * DEEPEST + b"]" * DEEPEST + b"}", target=say), _TOO_DEEP)
