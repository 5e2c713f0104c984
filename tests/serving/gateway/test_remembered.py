"""A head that has been parsed before is taken by its bytes, and means what it meant; anywhere else it is just bytes."""

from __future__ import annotations

import asyncio

import pytest

from serving.gateway.remembered import END, Remembered
from serving.gateway.upstream import AnswerHead
from tests.serving.gateway.rig import Rig, eventually
from tests.serving.gateway.upstream import ECHOES
from tests.serving.gateway.wire import get, post


@pytest.fixture
async def known(rig: Rig) -> bytes:
    """A request that the worker has seen before."""
    rig.upstream.usual = ECHOES
    request = post(body=b'{"n": 1}')
    for _ in range(2):
        assert (await rig.ask(request)).body == b'{"n": 1}'
    assert rig.worker.heads.whole(request) is not None
    return request


async def test_every_time_is_a_request_of_its_own(rig: Rig, known: bytes) -> None:
    """The same head with other bodies: each answer is the one to its own body, with an id of its own."""
    client = await rig.client()
    ids = set()
    for number in range(20):
        body = b'{"n":%2d}' % number
        await client.send(known[: -len(body)] + body)
        answer = await client.answer()
        assert answer.body == body
        ids.add(answer.one("sluice-request-id"))
    assert len(ids) == 20


async def test_a_known_request_as_a_body(rig: Rig, known: bytes) -> None:
    """Bytes that would be a known request are no request where they are the body of another: nothing is smuggled in."""
    before = rig.requests
    outer = post(body=known, headers=["Content-Type: text/plain"])
    client = await rig.client()
    await client.send(outer[: -len(known)])
    await asyncio.sleep(0.02)
    await client.send(known)
    assert (await client.answer()).body == known
    client.close()
    await rig.rests()
    assert rig.requests == before + 1


@pytest.mark.parametrize("first", [b"POST /v2/models/m/infer HTTP/1.1\r\nX: ", b"\r", b"\r\n", b"PO"])
async def test_a_known_request_after_a_beginning(rig: Rig, known: bytes, first: bytes) -> None:
    """After a part of a head they belong to that head, and there is one request at most."""
    before = rig.requests
    client = await rig.client()
    await client.send(first)
    await asyncio.sleep(0.02)
    await client.send(known)
    answer = await client.answer()
    assert answer.code == (400 if first == b"PO" else 200)
    await rig.rests()
    assert rig.requests - before == (answer.code == 200)
    assert first[-3:] != b"X: " or rig.upstream.requests[-1].all("x") == [b"POST /v2/models/m/infer HTTP/1.1"]


@pytest.mark.parametrize("cut", [1, 4, 8])
async def test_a_known_head_with_a_part_of_its_body(rig: Rig, known: bytes, cut: int) -> None:
    """The rest of the body may come later: the request waits for it."""
    before = rig.requests
    client = await rig.client()
    await client.send(known[:-cut])
    await asyncio.sleep(0.02)
    assert rig.requests == before
    await client.send(known[-cut:])
    assert (await client.answer()).body == b'{"n": 1}'


async def test_known_requests_in_one_read(rig: Rig, known: bytes) -> None:
    """Pipelined, each is answered once and in order."""
    client = await rig.client()
    await client.send(known * 5 + get("/v2/health/live") + known)
    bodies = [(await client.answer()).body for _ in range(7)]
    assert bodies == [b'{"n": 1}'] * 5 + [b"", b'{"n": 1}']


async def test_a_known_request_while_another_is_answered(rig: Rig, known: bytes) -> None:
    """It waits for its turn."""
    gate = asyncio.Event()
    rig.upstream.script.append(type(ECHOES)(pieces=(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1",), gate=gate))
    client = await rig.client()
    await client.send(known)
    await eventually(lambda: len(rig.worker.in_flight) == 1)
    await client.send(known)
    gate.set()
    assert [(await client.answer()).body for _ in range(2)] == [b"1", b'{"n": 1}']


async def test_what_is_not_plain_is_not_remembered(rig: Rig) -> None:
    """Chunks, `Expect`, a connection that ends, an upgrade and errors are parsed each time."""
    rig.upstream.usual = ECHOES
    for request in (
        post(chunked=[b"{}"]), post(headers=["Connection: close"]), post("/v2/models/nobody/nothing"),
        post(headers=["Connection: Upgrade", "Upgrade: h2c"]), post(headers=["Expect: 100-continue"]),
    ):  # fmt: skip
        for _ in range(2):
            client = await rig.client()
            await client.send(request)
            await client.answer()
            client.close()
        head = rig.worker.heads._by_bytes.get(request[: request.find(END) + len(END)])
        assert head is None or head.plain


def test_it_is_bounded() -> None:
    """Long heads are not kept, and no more than so many short ones."""
    some: Remembered[AnswerHead] = Remembered()
    head = AnswerHead(200, b"OK", b"", 0)
    some.put(b"GET / HTTP/1.1\r\nA: " + b"x" * 5000 + END, head)
    some.put(END + b"GET / HTTP/1.1" + END, head)
    some.put(b"GET / HTTP/1.1", head)
    some.put(b"GET / HTTP/1.1", head._replace(length=11))  # as many bytes as there would be behind an empty line
    assert not some._by_bytes
    for number in range(5_000):
        some.put(b"GET /%d HTTP/1.1" % number + END, head._replace(code=number))
        assert len(some._by_bytes) <= 1_024
    assert some.whole(b"GET /4999 HTTP/1.1" + END) == (head._replace(code=4_999), b"")


@pytest.mark.parametrize("body", [b"", b"{}", b"{}" + END])
def test_only_a_whole_message_is_known(body: bytes) -> None:
    """A known head with less behind it, or with more, goes the long way; nothing is kept of what was not whole."""
    some: Remembered[AnswerHead] = Remembered()
    first, head = b"HTTP/1.1 200 OK" + END, AnswerHead(200, b"OK", b"", len(body))
    for data in (first + body + b"x", (first + body)[:-1]):
        some.put(data, head)
        assert not some._by_bytes
    some.put(first, head._replace(length=None))
    assert not some._by_bytes
    some.put(first + body, head)
    assert some.whole(first + body) == (head, body)
    assert some.whole(first + body + b"x") is None
    assert some.whole((first + body)[:-1]) is None


@pytest.mark.parametrize("over", [0, 1])
def test_the_longest_head_that_is_kept(over: int) -> None:
    """A head of 4 KiB, the empty line included, is kept; one byte more is not."""
    some: Remembered[AnswerHead] = Remembered()
    first = b"A" * (4096 - len(END) + over) + END
    some.put(first + b"{}", AnswerHead(200, b"OK", b"", 2))
    assert bool(some.whole(first + b"{}")) is (not over)
