"""The two halves of an exchange wait for nobody but their own reader, and hold no more than they must."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib

import pytest

from tests.serving.gateway.rig import Client, Rig, eventually
from tests.serving.gateway.upstream import ECHOES, Connection, Then, answers
from tests.serving.gateway.wire import CHUNKED, UNTIL_END, chunks, ok, post

LARGE = bytes(range(256)) * 80_000  # 20 MB


def digest(data: bytes) -> str:
    """Of a body that is too large to be shown."""
    return hashlib.sha256(data).hexdigest()


class Watch:
    """The most that is held for anyone while it watches."""

    def __init__(self, rig: Rig) -> None:
        self.most = 0
        self._rig = rig
        self._task = asyncio.create_task(self._run())

    def stop(self) -> int:
        """What it saw, in bytes."""
        self._task.cancel()
        return self.most

    async def _run(self) -> None:
        while True:
            held = 0
            for client in self._rig.worker.clients:
                held += client._transport.get_write_buffer_size()
                for exchange in client._exchanges:
                    held += sum(map(len, exchange.body.pieces))
                    if exchange._connection is not None:
                        held += exchange._connection._transport.get_write_buffer_size()
            self.most = max(self.most, held)
            await asyncio.sleep(0)


def client_is_full(rig: Rig) -> bool:
    """Whether a client has not read what was written for it."""
    return any(not client._writable for client in rig.worker.clients)


async def idle_connections(rig: Rig) -> set[Connection]:
    """The upstream's connections, once there is one."""
    await eventually(lambda: rig.upstream.connections)
    return rig.upstream.connections


async def test_an_early_answer(rig: Rig) -> None:
    """An answer that comes before the body has ended is relayed at once; the rest is dropped, the client stays."""
    rig.upstream.script.append(answers(ok(b"early"), early=True))
    client = await rig.client()
    request = post(body=LARGE[:1_000_000])
    await client.send(request[:600_000])
    assert (await client.answer()).body == b"early"
    await rig.rests()
    await client.send(request[600_000:])
    await client.send(post(body=b"next"))
    assert (await client.answer()).code == 200
    assert rig.upstream.requests[-1].body == b"next"


async def test_an_early_answer_that_streams(rig: Rig) -> None:
    """While the request is still on its way its answer can be, too: the halves do not wait for each other."""
    gate = asyncio.Event()
    rig.upstream.script.append(answers(CHUNKED, chunks(b"end"), early=True, gate=gate))
    client = await rig.client()
    request = post(chunked=[b"x" * 100_000] * 8)
    await client.send(request[:400_000])
    while b"\r\n\r\n" not in client.data:
        client.data += await client.some()
    await client.send(request[400_000:])
    await eventually(lambda: rig.requests)
    gate.set()
    assert (await client.answer()).body == b"end"
    assert rig.upstream.requests[0].body == b"x" * 800_000


async def test_a_client_that_only_sends(rig: Rig) -> None:
    """A client that never reads its answers is not read from either: what is held for it stays bounded."""
    rig.upstream.usual = answers(ok(b"x" * 50_000))
    client = await rig.client(receive_buffer=4096)
    flood = b"".join(post(body=b" " * 100) for _ in range(20_000))
    sending = asyncio.create_task(client.send(flood))
    await eventually(lambda: rig.requests > 3)
    before = -1
    while before != rig.requests:
        before = rig.requests
        await asyncio.sleep(0.2)
    connection = next(iter(rig.worker.clients))
    assert connection._transport.get_write_buffer_size() < 1_000_000
    assert len(connection._exchanges) < 2_500  # what one read holds
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending


async def test_a_large_body_in_tiny_chunks(rig: Rig) -> None:
    """65,536 chunks of a byte each pass, and arrive as one body."""
    rig.upstream.usual = ECHOES
    body = LARGE[:65_536]
    answer = await rig.ask(post(chunked=[body[at : at + 1] for at in range(len(body))], headers=["Content-Type: x"]))
    assert digest(answer.body) == digest(body)


@pytest.mark.parametrize("in_chunks", [False, True])
async def test_a_large_body_there(rig: Rig, *, in_chunks: bool) -> None:
    """20 MB to an upstream that reads late arrive intact, and are at no time held here."""
    rig.upstream.reads = False
    client = await rig.client()
    pieces = [LARGE[at : at + 500_000] for at in range(0, len(LARGE), 500_000)]
    request = post(body=LARGE, headers=["Inference-Header-Content-Length: 0"], chunked=pieces if in_chunks else None)
    watch = Watch(rig)
    sending = asyncio.create_task(client.send(request))
    for connection in await idle_connections(rig):
        connection.transport.pause_reading()
    await eventually(lambda: any(client._reading is False for client in rig.worker.clients))
    assert not sending.done()
    for connection in rig.upstream.connections:
        connection.transport.resume_reading()
    assert (await client.answer()).code == 200
    await sending
    assert digest(rig.upstream.requests[0].body) == digest(LARGE)
    assert watch.stop() < 4_000_000


@pytest.mark.parametrize("form", ["length", "chunks", "end"])
async def test_a_large_answer_to_a_slow_reader(rig: Rig, form: str) -> None:
    """20 MB to a client that reads slowly arrive intact, and are at no time held here."""
    with_length = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
    head = {"length": with_length, "chunks": CHUNKED, "end": UNTIL_END}
    body = chunks(*[LARGE[at : at + 500_000] for at in range(0, len(LARGE), 500_000)]) if form == "chunks" else LARGE
    rig.upstream.script.append(answers(head[form] + body, then=Then.CLOSE if form == "end" else Then.KEEP))
    client = await rig.client(receive_buffer=65_536)
    watch = Watch(rig)
    await client.send(post())
    await eventually(lambda: client_is_full(rig))
    received = hashlib.sha256()
    data = b""
    while b"\r\n\r\n" not in data:
        data += await client.some()
    answer_head, _, data = data.partition(b"\r\n\r\n")
    if b"chunked" in answer_head:
        client.data = answer_head + b"\r\n\r\n" + data
        received.update((await Client.answer(client)).body)
    else:
        count = 0
        while True:
            received.update(data)
            count += len(data)
            if count >= len(LARGE):
                break
            data = await client.some()
    assert received.hexdigest() == digest(LARGE)
    assert watch.stop() < 2_000_000
