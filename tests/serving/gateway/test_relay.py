"""What a client sends reaches the model, and what the model answers reaches the client, byte for byte."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.serving.gateway.rig import Rig, eventually
from tests.serving.gateway.upstream import ECHOES, HANGS, Then, answers
from tests.serving.gateway.wire import CHUNKED, UNTIL_END, Request, chunks, get, ok, post, read_answer

OURS = {b"sluice-version", b"sluice-request-id", b"sluice-reason", b"sluice-epoch"}


async def test_headers_on_the_way_there(rig: Rig) -> None:
    """End-to-end headers pass as they are written, doubles in order; hop-by-hop, ours, or a credential ends here."""
    passing = [
        "X-Mixed-CASE: a  b", "x-twice: 1", "X-Other: \u00ff\u00e9", "x-twice: 2", "Accept-Encoding: gzip",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-request-id: theirs", "X-Empty:", "Content-Type: application/json", "Inference-Header-Content-Length: 2",
    ]  # fmt: skip
    ending = [
        "Connection: keep-alive, TE", "Keep-Alive: timeout=5", "TE: trailers", "Trailer: X-Late", "Proxy-Connection: x",
        "Proxy-Authorization: x", "Cookie: a=b", "Expect: 100-continue", "sluice-unit: u", "SLUICE-Request-Id: forged",
        "sluice-anything: x",
    ]  # fmt: skip
    await rig.ask(post(headers=[*passing[:5], *ending, *passing[5:]]))
    headers = [b"%s: %s" % pair for pair in rig.upstream.requests[0].headers]
    expected = [line.encode("latin-1") if not line.endswith(":") else line.encode() + b" " for line in passing]
    assert headers == [b"Host: triton", *expected, b"Content-Length: 2"]


async def test_headers_on_the_way_back(rig: Rig) -> None:
    """End-to-end headers come back as they were written, doubles in order; ours are added once and cannot be forged."""
    passing = ["Set-Cookie: a=1; Path=/", "X-Mixed-CASE: v", "set-cookie: b=2", "Inference-Header-Content-Length: 1"]
    ending = [
        "Keep-Alive: x", "Connection: keep-alive, X-Named", "X-Named: gone", "sluice-version: 99", "Sluice-Epoch: 1",
        "Proxy-Connection: x", "Upgrade: h2c", "Trailer: x",
    ]  # fmt: skip
    rig.upstream.usual = answers(ok(b"{}", [*passing[:2], *ending, *passing[2:]]))
    answer = await rig.ask(post())
    relayed = [(name, value) for name, value in answer.headers if name not in OURS]
    assert [b"%s: %s" % pair for pair in relayed] == [line.encode() for line in (*passing, "Content-Length: 2")]
    assert {name for name, _ in answer.headers} >= OURS
    assert answer.one("sluice-version") == b"1"


@pytest.mark.parametrize("status", ["200 OK", "200 Fine", "400 Bad Request", "500 Oh Dear", "599 Own", "418 ", "200 "])
async def test_status_and_phrase(rig: Rig, status: str) -> None:
    """Status and reason phrase are the model's, errors included."""
    rig.upstream.usual = answers(ok(b'{"error":"x"}', code=status))
    answer = await rig.ask(post())
    assert b"%d %s" % (answer.code, answer.phrase) == status.encode()
    assert answer.body == b'{"error":"x"}'


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
async def test_interim_answers_are_skipped(rig: Rig, interim: bytes) -> None:
    """An upstream's 1xx answers end here, however many there are, in one read with the answer or before it."""
    rig.upstream.script.extend([answers(interim * 3 + ok(b"a")), answers(interim, interim, ok(b"b"))])
    client = await rig.client()
    for body in (b"a", b"b"):
        await client.send(post())
        answer = await client.answer()
        assert (answer.body, answer.all("link")) == (body, [])
    assert not client.interim
    assert rig.upstream.accepted == 1


@pytest.mark.parametrize("code", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("header", [[], ["Content-Length: 10"], ["X-A: b"]])
async def test_answers_without_a_body(rig: Rig, code: str, header: list[str]) -> None:
    """204 and 304 have no body and get no length, whatever the upstream says, and the connection goes on."""
    head = "\r\n".join([f"HTTP/1.1 {code}", *header, "", ""]).encode()
    rig.upstream.script.append(answers(head))
    client = await rig.client()
    await client.send(post())
    answer = await client.answer()
    assert (answer.code, answer.body, answer.one("content-length")) == (int(code[:3]), b"", None)
    await client.send(post())
    assert (await client.answer()).code == 200


BODY = b"abcdefgh" * 100


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("form", ["length", "chunks", "end"])
async def test_every_framing_to_http_1_1(rig: Rig, form: str, *, split: bool) -> None:
    """An answer by length, in chunks or until the end arrives whole at an HTTP/1.1 client, whose connection goes on."""
    whole = {"length": ok(BODY), "chunks": CHUNKED + chunks(BODY[:300], BODY[300:]), "end": UNTIL_END + BODY}[form]
    pieces = (whole[:20], whole[20:100], whole[100:]) if split else (whole,)
    rig.upstream.script.append(answers(*pieces, then=Then.CLOSE if form == "end" else Then.KEEP))
    client = await rig.client()
    await client.send(post())
    answer = await client.answer()
    assert (answer.code, answer.body, answer.one("connection")) == (200, BODY, None)
    await client.send(post())
    assert (await client.answer()).code == 200
    assert rig.upstream.accepted == (2 if form == "end" else 1)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("form", ["length", "chunks", "end"])
async def test_every_framing_to_http_1_0(rig: Rig, form: str, *, split: bool) -> None:
    """An HTTP/1.0 client gets no chunks: its answer has a length, or ends with the connection."""
    whole = {"length": ok(BODY), "chunks": CHUNKED + chunks(BODY[:300], BODY[300:]), "end": UNTIL_END + BODY}[form]
    pieces = (whole[:20], whole[20:100], whole[100:]) if split else (whole,)
    rig.upstream.script.append(answers(*pieces, then=Then.CLOSE if form == "end" else Then.KEEP))
    client = await rig.client()
    await client.send(post().replace(b"HTTP/1.1", b"HTTP/1.0"))
    data = await client.rest()
    assert not client.reset
    found = read_answer(data, ended=True)
    assert found is not None
    assert (found[0].body, found[0].chunked, found[0].one("connection")) == (BODY, False, b"close")


async def test_trailers_of_an_answer_end_here(rig: Rig) -> None:
    """An answer's trailers are no headers and are not passed on."""
    rig.upstream.usual = answers(CHUNKED + chunks(b"x", trailers=b"X-Late: 1\r\nSluice-Version: 9\r\n"))
    answer = await rig.ask(post())
    assert answer.body == b"x"
    assert not answer.all("x-late")


async def test_a_stream_is_relayed_event_by_event(rig: Rig) -> None:
    """A generated stream reaches the client piece by piece, while the rest of it does not exist yet."""
    gate = asyncio.Event()
    first, last = b"data: 1\n\n", b"data: 2\n\n"
    rig.upstream.script.append(answers(CHUNKED + b"9\r\n" + first + b"\r\n", chunks(last), gate=gate))
    client = await rig.client()
    await client.send(post("/v2/models/m/generate_stream"))
    while first not in client.data:
        client.data += await client.some()
    assert last not in client.data
    gate.set()
    assert (await client.answer()).body == first + last


async def test_connections_are_kept_on_both_sides(rig: Rig) -> None:
    """A hundred requests one after the other take one connection on each side."""
    client = await rig.client()
    for _ in range(100):
        await client.send(post())
        assert (await client.answer()).one("connection") is None
    assert (len(rig.worker.clients), rig.upstream.accepted) == (1, 1)


async def test_close_is_kept_on_both_sides(rig: Rig) -> None:
    """A client that asks to close gets its answer and the end; an upstream that closes costs nobody an answer."""
    client = await rig.client()
    await client.send(post(headers=["Connection: close"]))
    assert (await client.answer()).one("connection") == b"close"
    assert await client.rest() == b""
    client = await rig.client()
    for _ in range(3):
        rig.upstream.script.append(answers(ok(headers=["Connection: close"]), then=Then.CLOSE))
        await client.send(post())
        answer = await client.answer()
        assert (answer.code, answer.one("connection")) == (200, None)
    assert rig.upstream.accepted == 3


async def test_pipelined_requests_are_answered_in_order(rig: Rig) -> None:
    """Requests sent ahead are answered in their order, whoever answers them and however long it takes."""
    gate = asyncio.Event()
    rig.upstream.script.append(answers(ok(b"first"), gate=gate))
    rig.upstream.usual = ECHOES
    client = await rig.client()
    await client.send(
        post()
        + get("/v2/health/live")
        + post(body=b"second")
        + post("/v2/models/n/infer")
        + post("/v2/repository/models/m/load")
        + post(chunked=[b"thi", b"rd"])
        + post(headers=["Inference-Header-Content-Length: 9"])
        + get("/v2/models/m/config")
        + post(body=b"last", headers=["Connection: close"])
    )
    await eventually(lambda: rig.requests)
    assert client.data == b""
    gate.set()
    said = [await client.answer() for _ in range(9)]
    assert [one.code for one in said] == [200, 200, 200, 404, 403, 200, 400, 200, 200]
    assert [said[number].body for number in (0, 1, 2, 5, 7, 8)] == [b"first", b"", b"second", b"third", b"", b"last"]
    assert await client.rest() == b""


async def test_refused_behind_others(rig: Rig) -> None:
    """A request that loses the framing is refused in its turn, after the answers to those before it."""
    gate = asyncio.Event()
    rig.upstream.script.append(answers(ok(b"first"), gate=gate))
    client = await rig.client()
    await client.send(post() + post() + b"nonsense\r\n\r\n" + post())
    await eventually(lambda: rig.requests)
    gate.set()
    assert [(await client.answer()).code for _ in range(3)] == [200, 200, 400]
    assert await client.rest() == b""
    assert rig.requests == 2


async def test_very_many_pipelined_requests(rig: Rig) -> None:
    """Two thousand requests in one write are all answered, in order, and are not all held at once."""
    rig.upstream.usual = ECHOES
    client = await rig.client()
    sending = asyncio.create_task(client.send(b"".join(post(body=b"%d" % number) for number in range(2000))))
    for number in range(2000):
        assert (await client.answer()).body == b"%d" % number
    await sending


async def test_expect_is_granted(rig: Rig) -> None:
    """A client that waits for leave gets it once the request has a way, and its answer after the body."""
    client = await rig.client()
    request = post(body=b"hello", headers=["Expect: 100-Continue"])
    await client.send(request[:-5])
    while not client.data:
        client.data = await client.some()
    assert client.data == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(request[-5:])
    assert (await client.answer()).code == 200
    assert len(client.interim) == 1
    assert not rig.upstream.requests[0].all("expect")


@pytest.mark.parametrize(
    ("path", "code"),
    [("/v2/models/n/infer", 404), ("/v2/repository/models/m/load", 403), ("/v2/repository/index", 200)],
)
async def test_expect_is_refused_without_reading(rig: Rig, path: str, code: int) -> None:
    """A client that waits for leave and gets an answer instead may never send its body: the connection ends."""
    client = await rig.client()
    await client.send(post(path, b"hello", ["Expect: 100-continue"])[:-5])
    answer = await client.answer()
    assert (answer.code, answer.one("connection")) == (code, b"close")
    assert await client.rest() == b""
    assert not client.interim
    client = await rig.client()
    await client.send(post(path, b"hello", ["Expect: 100-continue"]) + post())  # sent without waiting
    assert (await client.answer()).code == code


async def test_expect_of_an_http_1_0_client_is_ignored(rig: Rig) -> None:
    """HTTP/1.0 knows no interim answers: none is sent."""
    client = await rig.client()
    await client.send(post(headers=["Expect: 100-continue"]).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert (await client.answer()).code == 200
    assert not client.interim


async def test_metadata_names_every_version(rig: Rig) -> None:
    """In a model's metadata `versions` becomes every version that is routed to; all else stays."""
    said = {"name": "m", "versions": ["1"], "platform": "p", "inputs": [{"shape": [-1]}]}
    for pieces in ([ok(json.dumps(said).encode(), ["X-A: b"])], [CHUNKED, chunks(json.dumps(said).encode())]):
        rig.upstream.script.append(answers(*pieces))
        answer = await rig.ask(get("/v2/models/m"))
        assert answer.json == {**said, "versions": ["1"]}
        assert answer.one("sluice-version") == b"1"


async def test_metadata_that_is_none_passes(rig: Rig) -> None:
    """A metadata answer that is an error, or no JSON, or no object, is the model's to the byte."""
    for whole in (ok(b'{"error": "x",  "versions": []}', code="400 Bad Request"), ok(b"not json"), ok(b"[1]")):
        rig.upstream.script.append(answers(whole))
        assert (await rig.ask(get("/v2/models/m"))).body == whole.partition(b"\r\n\r\n")[2]


async def test_metadata_without_end_is_refused(rig: Rig) -> None:
    """Metadata is held to be rewritten, so there is a limit to it."""
    rig.upstream.script.append(answers(CHUNKED, *[b"80000\r\n" + b"x" * 0x80000 + b"\r\n"] * 4))
    assert (await rig.ask(get("/v2/models/m"))).code == 502
    await eventually(lambda: not rig.upstream.connections)


async def test_other_questions_are_relayed(rig: Rig) -> None:
    """Configuration, statistics and metadata of a named version reach that version with their query."""
    for path in ("config", "stats?x=y"):
        await rig.ask(get(f"/v2/models/m/{path}"))
    await rig.ask(get("/v2/models/m/versions/1"))
    assert [request.target for request in rig.upstream.requests] == [
        b"/v2/models/m/versions/1/config", b"/v2/models/m/versions/1/stats?x=y", b"/v2/models/m/versions/1",
    ]  # fmt: skip
    assert all(request.headers == ((b"Host", b"triton"),) for request in rig.upstream.requests)


async def test_unasked_bytes_close_an_idle_connection(rig: Rig) -> None:
    """Bytes on a connection that waits for nothing end it; the next request takes another one."""
    client = await rig.client()
    await client.send(post())
    await client.answer()
    (connection,) = rig.upstream.connections
    connection.transport.write(ok(b"unasked"))
    await eventually(lambda: not rig.upstream.connections)
    await client.send(post())
    assert (await client.answer()).body == b"{}"
    assert rig.upstream.accepted == 2


@pytest.mark.parametrize("surplus", [ok(b"second"), ok(b"")[:5], b"garbage", CHUNKED + chunks(b"second"), b"0\r\n\r\n"])
@pytest.mark.parametrize("form", [ok(b"first"), CHUNKED + chunks(b"first")])
async def test_a_second_answer_is_never_relayed(rig: Rig, form: bytes, surplus: bytes) -> None:
    """Of two answers to one request only the first counts, and the connection is trusted no further."""
    rig.upstream.script.append(answers(form + surplus))
    client = await rig.client()
    await client.send(post())
    assert (await client.answer()).body == b"first"
    await eventually(lambda: not rig.upstream.connections)
    await client.send(post())
    assert (await client.answer()).body == b"{}"
    assert client.data == b""


async def test_the_connection_of_a_hanging_request_is_its_own(rig: Rig) -> None:
    """While one request waits, another takes a connection of its own."""
    rig.upstream.script.append(HANGS)
    first, second = await rig.client(), await rig.client()
    await first.send(post())
    await eventually(lambda: rig.requests)
    await second.send(post())
    assert (await second.answer()).code == 200
    assert rig.upstream.accepted == 2


async def test_what_the_model_gets_is_exactly_what_was_sent(rig: Rig) -> None:
    """Any bytes pass unchanged in both directions."""
    rig.upstream.usual = ECHOES
    body = bytes(range(256)) * 50
    answer = await rig.ask(post(body=body, headers=["Content-Type: application/octet-stream"]))
    assert answer.body == body
    assert rig.upstream.requests == [
        Request(
            b"POST",
            b"/v2/models/m/versions/1/infer",
            (
                (b"Host", b"triton"),
                (b"Content-Type", b"application/octet-stream"),
                (b"Content-Length", b"%d" % len(body)),
            ),
            body,
        )
    ]
