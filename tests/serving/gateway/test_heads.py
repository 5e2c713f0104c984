"""What may stand in a request's head, and what is refused before a model hears of it."""

from __future__ import annotations

import asyncio
import zlib

import pytest

from router.policy import Policy
from tests.serving.gateway.rig import Rig, eventually, read_id, running
from tests.serving.gateway.upstream import ECHOES, answers
from tests.serving.gateway.wire import Answer, chunks, get, ok, post

INFER = "/v2/models/m/infer"


def raw(*lines: str, body: bytes = b"") -> bytes:
    """A request of exactly these lines."""
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def closed_with(rig: Rig, request: bytes, code: int) -> Answer:
    """The one answer to this request, after which the gateway closes; no model heard of it."""
    client = await rig.client()
    await client.send(request)
    answer = await client.answer()
    assert answer.code == code
    assert answer.one("connection") == b"close"
    assert answer.error
    assert await client.rest() == b""
    assert not client.reset
    assert rig.requests == 0
    return answer


async def kept_open_with(rig: Rig, request: bytes, code: int) -> Answer:
    """The one answer to this request, after which the same connection goes on; no model heard of it."""
    client = await rig.client()
    await client.send(request)
    answer = await client.answer()
    assert answer.code == code
    assert answer.error
    assert rig.requests == 0
    await client.send(post())
    assert (await client.answer()).code == 200
    assert rig.requests == 1
    return answer


LOST_FRAMING = {
    "HTTP/0.9": raw("GET /v2 HTTP/0.9", "Host: h"),
    "HTTP/0.9 without a version": b"GET /v2\r\n\r\n",
    "HTTP/2.0": raw("GET /v2 HTTP/2.0", "Host: h"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": raw("GET /v2 HTTP/1.2", "Host: h"),
    "no Host": raw("GET /v2 HTTP/1.1"),
    "two Hosts": raw("GET /v2 HTTP/1.1", "Host: a", "Host: a"),
    "two Hosts on 1.0": raw("GET /v2 HTTP/1.0", "Host: a", "Host: b"),
    "a length and chunks": raw(
        f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: 5", "Transfer-Encoding: chunked", body=chunks(b"x")
    ),
    "chunks and a length": raw(
        f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Content-Length: 5", body=chunks(b"x")
    ),
    "two lengths": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: 2", "Content-Length: 3", body=b"{}x"),
    "the same length twice": raw(
        f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: 2", "Content-Length: 2", body=b"{}"
    ),
    "a list of lengths": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: 2, 2", body=b"{}"),
    "a negative length": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: -1"),
    "a signed length": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: +2", body=b"{}"),
    "a hexadecimal length": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: 0x2", body=b"{}"),
    "an empty length": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: ", body=b"{}"),
    "a length beyond 64 bits": raw(f"POST {INFER} HTTP/1.1", "Host: h", f"Content-Length: {2**64 + 2}", body=b"{}"),
    "chunks on 1.0": raw(f"POST {INFER} HTTP/1.0", "Host: h", "Transfer-Encoding: chunked", body=chunks(b"{}")),
    "gzip, chunked": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: gzip, chunked", body=chunks(b"{}")),
    "chunked, gzip": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: chunked, gzip", body=chunks(b"{}")),
    "chunked twice": raw(
        f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked",
        body=chunks(b"{}"),
    ),
    "identity": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: identity", body=b"{}"),
    "xchunked": raw(f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: xchunked", body=chunks(b"{}")),
    "Connection names a header": raw("GET /v2 HTTP/1.1", "Host: h", "X-User: admin", "Connection: close, X-User"),
    "Connection names a length": raw(
        f"POST {INFER} HTTP/1.1", "Host: h", "Connection: content-length", "Content-Length: 2", body=b"{}"
    ),
    "a bare LF after the request line": b"GET /v2 HTTP/1.1\nHost: h\r\n\r\n",
    "a bare LF after a header": b"GET /v2 HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
    "a bare LF at the end": b"GET /v2 HTTP/1.1\r\nHost: h\r\n\n",
    "a bare CR in a header": b"GET /v2 HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
    "NUL in a header": b"GET /v2 HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
    "a folded header": b"GET /v2 HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
    "a space before the colon": raw("GET /v2 HTTP/1.1", "Host: h", "X : y"),
    "a header without a colon": raw("GET /v2 HTTP/1.1", "Host: h", "nonsense"),
    "a header without a name": raw("GET /v2 HTTP/1.1", "Host: h", ": y"),
    "an unknown method": raw("BREW /v2 HTTP/1.1", "Host: h"),
    "a space in the path": raw("GET /v2 /x HTTP/1.1", "Host: h"),
    "a bad chunk size": raw(
        f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n0\r\n\r\n"
    ),
    "a chunk longer than it says": raw(
        f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", body=b"1\r\n{}\r\n0\r\n\r\n"
    ),
    "a chunk with a bare LF": raw(
        f"POST {INFER} HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", body=b"2\n{}\r\n0\r\n\r\n"
    ),
    "TLS": bytes.fromhex("16030100a5010000a1030300"),
    "CONNECT": raw("CONNECT gateway:443 HTTP/1.1", "Host: gateway:443"),
    "CONNECT to a path": raw("CONNECT /v2 HTTP/1.1", "Host: h"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST_FRAMING)
async def test_lost_framing(rig: Rig, name: str) -> None:
    """Where the framing is lost or forbidden the answer is 400, and nothing more is read on the connection."""
    await closed_with(rig, LOST_FRAMING[name] + post(), 400)


async def test_http_1_0(rig: Rig) -> None:
    """HTTP/1.0 needs no Host, ends the connection by default, and may ask to keep it."""
    client = await rig.client()
    await client.send(raw(f"POST {INFER} HTTP/1.0", "Connection: keep-alive", "Content-Length: 2", body=b"{}"))
    kept = await client.answer()
    assert (kept.code, kept.one("connection")) == (200, b"keep-alive")
    await client.send(raw("GET /v2/nothing HTTP/1.0", "Connection: keep-alive"))
    assert (await client.answer()).one("connection") == b"keep-alive"
    await client.send(raw(f"POST {INFER} HTTP/1.0", "Content-Length: 2", body=b"{}"))
    last = await client.answer()
    assert (last.code, last.one("connection")) == (200, b"close")
    assert await client.rest() == b""


@pytest.mark.parametrize("options", ["close", "keep-alive", "TE", "Upgrade, HTTP2-Settings", "keep-alive, ,te"])
async def test_connection_options(rig: Rig, options: str) -> None:
    """The options that a client may name are taken, and the headers that they name end here."""
    headers = [f"Connection: {options}", "TE: trailers", "HTTP2-Settings: AAA", "X-Kept: yes"]
    answer = await rig.ask(post(headers=headers))
    assert answer.code == 200
    assert {name.lower() for name, _ in rig.upstream.requests[0].headers} == {b"host", b"content-length", b"x-kept"}


BLOCK = "GET /v2 HTTP/1.1\r\nHost: h\r\n"
LARGE_HEADS = {
    "many headers": (BLOCK + "A: b\r\n" * 15_000 + "\r\n").encode(),
    "one large header": (BLOCK + "A: " + "b" * 70_000 + "\r\n\r\n").encode(),
    "a long path": b"GET /v2?" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "one endless header": (BLOCK + "A: " + "b" * 70_000).encode(),
    "an endless name": (BLOCK + "b" * 70_000).encode(),
    "an endless path": b"GET /v2?" + b"x" * 70_000,
    "endless empty lines": b"\r\n" * 40_000,
}


@pytest.mark.parametrize("step", [1_000_000, 1_000])
@pytest.mark.parametrize("name", LARGE_HEADS)
async def test_a_large_head(rig: Rig, name: str, step: int) -> None:
    """A head over 64 KiB is refused, in one read or in many, as one header or as thousands, finished or not."""
    client = await rig.client()
    data = LARGE_HEADS[name]
    for start in range(0, len(data), step):
        await client.send(data[start : start + step])
        await asyncio.sleep(0)
    answer = await client.answer()
    assert (answer.code, answer.one("connection")) == (400, b"close")
    assert "65536" in answer.error
    assert await client.rest() == b""


async def test_a_head_just_below_the_limit(rig: Rig) -> None:
    """A head of 60 KiB passes, and so does a body that comes in reads larger than a head may be."""
    rig.upstream.usual = ECHOES
    client = await rig.client()
    body = b" " * 200_000
    request = post(body=body, headers=["A: " + "b" * 8_191] * 7)
    await client.send(request[:61_000])
    await client.send(request[61_000:])
    assert (await client.answer()).body == body
    await client.send(post())
    assert (await client.answer()).body == b"{}"
    assert rig.upstream.requests[0].all("a") == [b"b" * 8_191] * 7


@pytest.mark.parametrize("long", [f"A: {'b' * 8_192}", f"{'a' * 8_192}: b"], ids=["value", "name"])
async def test_a_line_that_triton_hangs_up_on(rig: Rig, long: str) -> None:
    """A header of over 8,191 bytes is 400 and reaches no model: Triton would close without a word."""
    assert (await rig.ask(post(headers=[long]))).code == 400
    assert (await rig.ask(post(f"/v2/models/m/infer?{'q' * 8_000}"))).code == 400
    assert rig.requests == 0


@pytest.mark.parametrize("quality", ["1e999", "1e-999", "0x1p99999", "1" * 400, "+1E9"])
@pytest.mark.parametrize("coding", ["gzip", "*", "br"])
async def test_a_quality_that_triton_dies_of(rig: Rig, coding: str, quality: str) -> None:
    """An `Accept-Encoding` whose quality does not fit a number is 400 and reaches no model; a sound one passes."""
    assert (await rig.ask(post(headers=[f"Accept-Encoding: deflate, {coding};q={quality}"]))).code == 400
    assert rig.requests == 0
    assert (await rig.ask(post(headers=[f"Accept-Encoding: {coding};q=0.875, deflate; q=1"]))).code == 200


@pytest.mark.parametrize("surplus", [b"0\r\nT: " + b"x" * 70_000, b"0\r\n" + b"T: x\r\n" * 15_000])
async def test_endless_trailers(rig: Rig, surplus: bytes) -> None:
    """Trailers count as a head does: what follows the last chunk is bounded too."""
    client = await rig.client()
    await client.send(post(chunked=[b"{}"])[: -len(b"0\r\n\r\n")])
    for start in range(0, len(surplus), 1000):
        await client.send(surplus[start : start + 1000])
        await asyncio.sleep(0)
    assert (await client.answer()).code == 400
    assert rig.requests == 0


async def test_trailers_end_here(rig: Rig) -> None:
    """Trailers are read and dropped: they reach no upstream, and a unit that comes as one does not count."""
    request = post(chunked=[b"{}"])[: -len(b"\r\n")] + b"Sluice-Unit: u\r\nSluice-Version: 9\r\nX-Late: 1\r\n\r\n"
    answer = await rig.ask(request)
    assert answer.code == 200
    assert rig.upstream.requests[0].headers == ((b"Host", b"triton"), (b"Content-Length", b"2"))
    assert not read_id(answer).has_unit


async def test_a_path_in_pieces(rig: Rig) -> None:
    """A request line that arrives byte by byte is one."""
    client = await rig.client()
    for byte in raw("GET /v2/models/m HTTP/1.1", "Host: h"):
        await client.send(bytes([byte]))
        await asyncio.sleep(0)
    assert (await client.answer()).code == 200
    assert rig.upstream.requests[0].target == b"/v2/models/m/versions/1"


@pytest.mark.parametrize("value", ["99999999999", "-1", "junk", "", "3", "1.0", "0x1", "\u00b2", "1" * 30, "2,2", "+1"])
@pytest.mark.parametrize("chunked", [None, [b"{}"], [b"{", b"}"]])
async def test_a_wrong_json_length(rig: Rig, value: str, chunked: list[bytes] | None) -> None:
    """A binary extension's length that is negative, no number, or over the body's is 400, by length and by chunks."""
    request = post(headers=[f"Inference-Header-Content-Length: {value}"], chunked=chunked)
    answer = await kept_open_with(rig, request, 400)
    assert "Inference-Header-Content-Length" in answer.error


@pytest.mark.parametrize("value", ["0", "1", "2", " 2 "])
async def test_a_json_length_within_the_body(rig: Rig, value: str) -> None:
    """A binary extension's length up to the body's own passes as it is."""
    answer = await rig.ask(post(headers=[f"Inference-Header-Content-Length: {value}"]))
    assert answer.code == 200
    assert rig.upstream.requests[0].all("inference-header-content-length") == [value.strip().encode()]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_the_json_length_of_a_compressed_body(rig: Rig, coding: str) -> None:
    """Of a compressed body it counts inflated bytes, so it may well be larger than the body."""
    plain = b'{"inputs": [' + b" " * 500 + b"]}"
    body = zlib.compress(plain, wbits=31 if coding == "gzip" else 15)
    headers = [f"Content-Encoding: {coding}", f"Inference-Header-Content-Length: {len(plain)}"]
    assert len(body) < len(plain)
    for request in (post(body=body, headers=headers), post(headers=headers, chunked=[body])):
        assert (await rig.ask(request)).code == 200
    assert [request.body for request in rig.upstream.requests] == [body, body]


@pytest.mark.parametrize("value", ["0", "-5", "1.5", "junk", "", "9" * 30, "1,2"])
async def test_a_wrong_deadline(rig: Rig, value: str) -> None:
    """A deadline that is no positive number of milliseconds is 400."""
    answer = await kept_open_with(rig, post(headers=[f"sluice-timeout-ms: {value}"]), 400)
    assert "sluice-timeout-ms" in answer.error


@pytest.mark.parametrize("value", ["0", "-1", "v2", "", "9" * 30, "1, 2"])
async def test_a_wrong_override(rig: Rig, value: str) -> None:
    """A version in a header that is no version's number is 400."""
    answer = await kept_open_with(rig, post(headers=[f"sluice-version: {value}"]), 400)
    assert "sluice-version" in answer.error


async def test_an_override_that_is_not_allowed() -> None:
    """Where the policy lets nobody choose, the header changes nothing."""
    async with running(replicas={1: 1, 2: 1}) as rig:
        answer = await rig.ask(post(headers=["sluice-version: 2"]))
        assert (answer.one("sluice-version"), answer.one("sluice-reason")) == (b"1", b"stable")


async def test_an_override_that_is_allowed() -> None:
    """Where the policy allows it, the header chooses; a version that is not there is 404."""
    async with running(policy=Policy(1, allow_override=True), replicas={1: 1, 2: 1}) as rig:
        answer = await rig.ask(post(headers=["sluice-version: 2"]))
        assert (answer.one("sluice-version"), answer.one("sluice-reason")) == (b"2", b"override")
        missing = await rig.ask(post(headers=["sluice-version: 3"]))
        assert missing.code == 404
        assert "'3'" in missing.error
        assert "1, 2" in missing.error


WRONG_METHODS = [
    (get(INFER), b"POST"),
    (get("/v2/models/m/generate", method="DELETE"), b"POST"),
    (get("/v2/repository/index"), b"POST"),
    (post("/v2"), b"GET"),
    (post("/v2/health/live"), b"GET"),
    (post("/v2/models/m"), b"GET"),
    (post("/v2/models/m/ready"), b"GET"),
    (get("/v2/models/m/config", method="PUT"), b"GET"),
    (get("/v2/models/m/stats", method="OPTIONS"), b"GET"),
    (get(INFER, method="PATCH"), b"POST"),
]


@pytest.mark.parametrize(("request_bytes", "allowed"), WRONG_METHODS)
async def test_a_wrong_method(rig: Rig, request_bytes: bytes, allowed: bytes) -> None:
    """A method that a path does not answer to is 405, and `Allow` says which it does."""
    answer = await kept_open_with(rig, request_bytes, 405)
    assert answer.one("allow") == allowed


@pytest.mark.parametrize(
    ("path", "code"), [("/v2/health/ready", 405), (INFER, 405), ("/nothing", 404), ("/v2/logging", 501)]
)
async def test_head_gets_no_body(rig: Rig, path: str, code: int) -> None:
    """An answer to HEAD has the length of a body and no body, so that the next answer is found."""
    client = await rig.client()
    await client.send(get(path, method="HEAD") + get("/v2/health/live"))
    answer = await client.answer(b"HEAD")
    assert answer.code == code
    assert int(answer.one("content-length") or 0) > 0
    assert (await client.answer()).code == 200


async def test_head_with_two_hosts(rig: Rig) -> None:
    """Even the last answer on a connection has no body if it is one to HEAD."""
    client = await rig.client()
    await client.send(raw("HEAD /v2 HTTP/1.1", "Host: a", "Host: b"))
    assert (await client.answer(b"HEAD")).code == 400
    assert await client.rest() == b""


async def test_get_with_a_body(rig: Rig) -> None:
    """A body that comes with a GET stays that request's body: on the way to the model it is framed."""
    inner = post("/v2/repository/models/m/unload", b"smuggled")
    for request in (
        raw("GET /v2/models/m/config HTTP/1.1", "Host: h", f"Content-Length: {len(inner)}", body=inner),
        raw("GET /v2/models/m/config HTTP/1.1", "Host: h", "Transfer-Encoding: chunked", body=chunks(inner)),
    ):
        assert (await rig.ask(request)).code == 200
    assert [(request.method, request.body) for request in rig.upstream.requests] == [(b"GET", inner)] * 2
    answer = await rig.ask(raw("GET /v2/health/live HTTP/1.1", "Host: h", "Content-Length: 2", body=b"{}"))
    assert answer.code == 200


@pytest.mark.parametrize(
    ("path", "code", "word"),
    [
        ("/v2/models/n/infer", 404, "'n'"),
        ("/v2/models/m/versions/9/infer", 404, "'9'"),
        ("/v2/models/m/versions/x/infer", 404, "'x'"),
        ("/v2/models/m/versions/01x/infer", 404, "'01x'"),
        ("/v2/models/m/nonsense", 404, "path"),
        ("/", 404, "path"),
        ("/v2/repository/models/m/load", 403, "operator"),
        ("/v2/repository/models/m/unload", 403, "operator"),
        ("/v2/systemsharedmemory/status", 501, "Shared memory"),
        ("/v2/cudasharedmemory/region/r/register", 501, "Shared memory"),
        ("/v2/trace/setting", 501, "trace"),
        ("/v2/models/m/trace/setting", 501, "trace"),
        ("/v2/logging", 501, "logging"),
    ],
)
async def test_refused_in_good_order(rig: Rig, path: str, code: int, word: str) -> None:
    """What is not here, not allowed or not offered is said in a sentence, and the connection goes on."""
    answer = await kept_open_with(rig, post(path), code)
    assert word in answer.error


async def test_a_long_name_is_not_repeated_whole(rig: Rig) -> None:
    """An error says which model it was about without sending a client's kilobytes back to it."""
    for path in (f"/v2/models/{'n' * 7_000}/infer", f"/v2/models/m/versions/{'9' * 7_000}/infer"):
        answer = await rig.ask(post(path))
        assert answer.code == 404
        assert len(answer.body) < 1000


async def test_a_missing_length(rig: Rig) -> None:
    """An inference request without a body's length is 400, on both versions of the protocol."""
    answer = await kept_open_with(rig, raw(f"POST {INFER} HTTP/1.1", "Host: h"), 400)
    assert "Content-Length" in answer.error
    assert (await rig.ask(raw(f"POST {INFER} HTTP/1.0"))).code == 400


async def test_an_empty_body(rig: Rig) -> None:
    """A body of no bytes is a body: whether it makes sense is the model's to say."""
    assert (await rig.ask(post(body=b""))).code == 200
    assert (await rig.ask(post(chunked=[]))).code == 200
    assert [request.all("content-length") for request in rig.upstream.requests] == [[b"0"], [b"0"]]


async def test_a_body_over_the_limit() -> None:
    """A body over the limit is 413: by its length before any of it is read, by chunks as soon as they exceed it."""
    async with running(max_body=10_000) as rig:
        await closed_with(rig, raw(f"POST {INFER} HTTP/1.1", "Host: h", "Content-Length: 10001"), 413)
        await closed_with(rig, post(chunked=[b" " * 4000] * 3), 413)
        assert (await rig.ask(post(body=b" " * 10_000))).code == 200
        assert (await rig.ask(post(chunked=[b" " * 5000] * 2))).code == 200


async def test_a_large_body_in_chunks_over_the_limit() -> None:
    """Chunks that exceed the limit once the request is on its way end both connections, and no model gets it."""
    async with running(max_body=1_000_000) as rig:
        client = await rig.client()
        await client.send(post(chunked=[b" " * 100_000] * 4)[: -len(b"0\r\n\r\n")])
        await eventually(lambda: rig.upstream.heads)
        await client.send(chunks(*[b" " * 100_000] * 7))
        assert (await client.answer()).code == 413
        await eventually(lambda: not rig.upstream.connections)
        assert rig.requests == 0


async def test_own_answers(rig: Rig) -> None:
    """The gateway answers for itself what does not depend on one version."""
    live = await rig.ask(get("/v2/health/live"))
    assert (live.code, live.body, live.one("content-type")) == (200, b"", b"text/plain")
    assert (await rig.ask(get("/v2/health/ready"))).body == b""
    server = (await rig.ask(get("/v2"))).json
    assert server["name"] == "sluice"
    assert "binary_tensor_data" in server["extensions"]
    assert (await rig.ask(get("/v2/models/m/ready"))).code == 200
    assert (await rig.ask(get("/v2/models/n/ready"))).code == 404
    index = (await rig.ask(post("/v2/repository/index"))).json
    assert index == [{"name": "m", "version": "1", "state": "READY"}]
    assert rig.requests == 0


async def test_a_model_without_a_replica() -> None:
    """A version without a replica is 503 with Retry-After, is shown as unavailable, and other models do not care."""
    async with running(replicas={1: 0}, policy=Policy(1)) as rig:
        answer = await rig.ask(post())
        assert (answer.code, answer.one("retry-after")) == (503, b"1")
        assert (await rig.ask(get("/v2/models/m/ready"))).code == 503
        assert (await rig.ask(get("/v2/health/ready"))).code == 200
        index = (await rig.ask(post("/v2/repository/index"))).json
        assert [(row["version"], row["state"]) for row in index] == [("1", "UNAVAILABLE")]


async def test_the_ready_question_of_one_version_is_relayed(rig: Rig) -> None:
    """Whether a named version is ready is its server's to say."""
    rig.upstream.usual = answers(ok(b"", code="400 Bad Request"))
    assert (await rig.ask(get("/v2/models/m/versions/1/ready"))).code == 400
    assert rig.upstream.requests[0].target == b"/v2/models/m/versions/1/ready"


@pytest.mark.parametrize("header", ["Proxy-Connection: keep-alive", "Connection: keep-alive, close"])
async def test_http_1_0_is_not_kept_by_mistake(rig: Rig, header: str) -> None:
    """HTTP/1.0 is kept open only by `Connection: keep-alive`: `close` beside it wins, a proxy's does not count."""
    client = await rig.client()
    await client.send(raw("GET /v2/health/live HTTP/1.0", header) + raw("GET /v2/health/live HTTP/1.0"))
    answer = await client.answer()
    assert (answer.code, answer.one("connection")) == (200, b"close")
    assert await client.rest() == b""


async def test_a_large_head_of_head(rig: Rig) -> None:
    """A head that is too large is refused without a body where the method is HEAD."""
    client = await rig.client()
    await client.send(raw("HEAD /v2 HTTP/1.1", "Host: h", "A: " + "b" * 70_000))
    assert (await client.answer(b"HEAD")).code == 400
    assert await client.rest() == b""
