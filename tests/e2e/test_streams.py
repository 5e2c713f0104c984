"""Streams of a real Triton through a real gateway process, under clients and servers that do not behave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from loadtests.streaming.speakers import MODEL, speakers
from serving.triton.process import TritonProcess
from tests.serving.gateway.rig import Client, eventually
from tests.serving.gateway.speakers import END, events_in, hears
from tests.serving.gateway.test_static import gateway
from tests.serving.gateway.wire import Answer, post

pytestmark = pytest.mark.e2e

PATH = f"/v2/models/{MODEL}/generate_stream"
PLACES = 4
"""At the model, for all of the gateway's clients."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[int, TritonProcess]]:
    """A Triton for each of two versions; the second is for the test that kills it."""
    with speakers(tmp_path_factory.mktemp("tokens"), 1, 2) as running:
        yield running


@asynccontextmanager
async def relay(servers: Mapping[int, TritonProcess], *versions: int, places: int = PLACES) -> AsyncIterator[Relay]:
    """A gateway in front of these versions."""
    places_of = (f"{MODEL}/{version}=127.0.0.1:{servers[version].http_port}" for version in versions)
    static = [argument for place in places_of for argument in ("--static", place)]
    async with gateway(*static, "--limit", f"max_in_flight={places}") as (process, port):
        yield Relay(process.pid, port)


class Relay:
    """A gateway process, and clients of it."""

    def __init__(self, pid: int, port: int) -> None:
        self.process = psutil.Process(pid)
        self._port = port

    async def ask(self, *, receive_buffer: int | None = None, **wish: int) -> Client:
        """A client that has asked for tokens."""
        client = await Client.connect(self._port, receive_buffer=receive_buffer)
        await client.send(asked(**wish))
        return client

    async def half_asks(self) -> Client:
        """One that falls silent in the middle of what it asks."""
        client = await Client.connect(self._port)
        await client.send(asked(tokens=3)[:-9])
        return client

    async def answer(self, **wish: int) -> Answer:
        """The whole answer, after which the client is gone."""
        client = await self.ask(**wish)
        answer = await client.answer()
        client.close()
        return answer

    async def has_room(self) -> None:
        """Waits until every place is free: as many streams as there are places are answered beside each other."""

        async def full() -> bool:
            answers = await asyncio.gather(*(self.answer(tokens=2, pause_ms=20) for _ in range(PLACES)))
            return all(answer.code == 200 for answer in answers)

        async with asyncio.timeout(10):
            while not await full():
                pass


def asked(**wish: int) -> bytes:
    """A request for tokens."""
    return post(PATH, json.dumps({"text_input": "x", **wish}).encode())


def words(data: bytes) -> list[Any]:
    """What the tokens say."""
    return [json.loads(event[6:])["text_output"] for event in events_in(data)]


async def test_tokens_come_as_they_are_said(servers: Mapping[int, TritonProcess]) -> None:
    """Each before the next exists, all of them in order, and an error in its place as Triton says it."""
    async with relay(servers, 1) as through:
        client = await through.ask(tokens=3, pause_ms=500)
        await hears(client, b'"1:1"')
        assert b'"1:2"' not in client.data
        assert words((await client.answer()).body) == ["1:1", "1:2", "1:3"]
        client.close()
        answer = await through.answer(tokens=3, error_at=2)
        assert (answer.code, events_in(answer.body)[1]) == (200, b'data: {"error":"There is no token 2."}\n\n')
        answer = await through.answer(tokens=3, error_at=1)
        assert (answer.code, answer.body) == (400, b'data: {"error":"There is no token 1."}\n\n')
        assert (await through.answer(tokens=0)).body == b""


async def test_clients_that_hang_up_give_back_their_places(servers: Mapping[int, TritonProcess]) -> None:
    """At the gateway and at the model, which stops speaking: it has a thread for each stream, and they end."""
    stubs = psutil.Process(servers[1].pid).children(recursive=True)
    async with relay(servers, 1) as through:
        for _ in range(3):
            clients = [await through.ask(tokens=1_000_000, pause_ms=20) for _ in range(PLACES)]
            for client in clients:
                await hears(client, b'"1:2"')
            assert (await through.answer()).code == 503
            speaking = sum(stub.num_threads() for stub in stubs)
            for client in clients:
                client.close()
            await through.has_room()
            await eventually(lambda: sum(stub.num_threads() for stub in stubs) <= speaking - PLACES)  # noqa: B023 - at once
        to_triton = servers[1].http_port
        open_ = [one for one in through.process.net_connections("tcp") if one.raddr and one.raddr.port == to_triton]
        assert len(open_) <= PLACES


async def test_half_asked_takes_no_place(servers: Mapping[int, TritonProcess]) -> None:
    """However many there are."""
    async with relay(servers, 1) as through:
        silent = [await through.half_asks() for _ in range(20 * PLACES)]
        await through.has_room()
        for client in silent:
            client.close()


async def test_memory_is_flat_while_a_client_does_not_read(servers: Mapping[int, TritonProcess]) -> None:
    """Tens of MiB wait at the model, a fraction of that at the gateway, and all of it arrives in the end."""
    tokens, size = 3000, 16 * 1024
    async with relay(servers, 1) as through:
        for _ in range(3):
            await through.answer(tokens=200, size=size)
        before = through.process.memory_info().rss
        client = await through.ask(receive_buffer=65536, tokens=tokens, size=size)
        most = before
        for _ in range(20):
            await asyncio.sleep(0.1)
            most = max(most, through.process.memory_info().rss)
        said = await client.answer()
        most = max(most, through.process.memory_info().rss)
        client.close()
        assert len(events_in(said.body)) == tokens
        assert len(said.body) > tokens * size
        assert most - before < len(said.body) / 5
        assert most < 1.25 * before


async def test_a_server_that_is_killed_in_mid_stream(servers: Mapping[int, TritonProcess]) -> None:
    """Each of its clients is told, and sees that this was not all; the places are free, and what comes is refused."""
    async with relay(servers, 2) as through:
        clients = [await through.ask(tokens=1_000_000, pause_ms=20) for _ in range(PLACES)]
        for client in clients:
            await hears(client, b'"2:2"')
        os.kill(servers[2].pid, signal.SIGKILL)
        for client in clients:
            data = await client.rest()
            client.close()
            if not client.reset:  # it was between two events
                assert b"broke off before its answer was complete" in events_in(data)[-1]
            assert not data.endswith(END)
        codes: list[int] = []
        for _ in range(2 * PLACES):
            answer = await through.answer(tokens=1)
            codes.append(answer.code)
            assert "try again" in answer.error
        assert set(codes) <= {502, 503}


@pytest.mark.parametrize("limit_s", [0.5, 20])
async def test_a_gateway_that_is_stopped_waits_for_its_streams(
    servers: Mapping[int, TritonProcess], limit_s: float
) -> None:
    """As long as it may; what has not ended by then is told so."""
    static = ["--static", f"{MODEL}/1=127.0.0.1:{servers[1].http_port}", "--limit", f"drain_limit_s={limit_s}"]
    async with gateway(*static) as (process, port):
        client = await Relay(process.pid, port).ask(tokens=30, pause_ms=50)
        await hears(client, b'"1:2"')
        process.terminate()
        data = await client.rest()
        client.close()
        assert await asyncio.wait_for(process.wait(), 10) == 0
        if limit_s > 1:
            assert data.endswith(END)
            assert len(words(data)) == 30
        else:
            assert b"The gateway is being stopped" in events_in(data)[-1]
            assert not data.endswith(END)
