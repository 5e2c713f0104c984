"""The store's stream says what was asked: with several workers, a store that goes away, and a worker that is killed."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from router.policy import Arm, Policy
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Endpoint
from serving.gateway.config import WorkerConfig
from serving.gateway.policies import Follower
from serving.gateway.supervisor import Supervisor
from serving.gateway.units import second_hash
from serving.gateway.worker import Worker
from serving.sockets import open_listener
from serving.store_keys import Keys
from serving.totals import Message, message_from
from tests.serving.gateway.rig import eventually
from tests.serving.gateway.test_supervisor import Crew
from tests.serving.gateway.upstream import ScriptedUpstream
from tests.serving.gateway.wire import post

HALF = Policy(1, (Arm(2, 500_000),), salt="s")
PATIENCE_S = 20.0


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server that this test may stop."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


class Asked:
    """A crew, what was asked of it, and what the stream says of that."""

    def __init__(self, crew: Crew, url: str, namespace: str) -> None:
        self.crew = crew
        self._redis = redis.Redis.from_url(url)
        self._stream = Keys(namespace).totals
        self.by_version: Counter[int] = Counter()
        self.nameless: Counter[int] = Counter()
        self.units: set[tuple[int, int]] = set()

    async def ask(self, *units: str) -> None:
        """One request for each unit, each on a connection of its own; an empty one names none."""
        for unit in units:
            answer = await self.crew.ask(post(headers=[f"sluice-unit: {unit}"] if unit else []))
            version = int(answer.one("sluice-version") or b"0")
            assert answer.code == 200
            self.by_version[version] += 1
            if unit:
                self.units.add((second_hash(unit.encode()), version))
            else:
                self.nameless[version] += 1

    def messages(self) -> list[Message]:
        """All that is in the stream."""
        entries: Any = self._redis.xrange(self._stream)
        return [message_from(fields[b"m"]) for _, fields in entries]

    def told(self) -> tuple[Counter[int], Counter[int], set[tuple[int, int]]]:
        """Attempts that went well and draws by version, and units, over all gateways."""
        series: dict[tuple[str, int, str], Counter[str]] = {}
        drawn: dict[str, Counter[int]] = {}
        units: set[tuple[int, int]] = set()
        for said in self.messages():
            for one in said.series:
                before = series.get((said.gateway, one.version, one.replica), Counter())
                assert not before - Counter(one.outcomes)
                series[said.gateway, one.version, one.replica] = Counter(one.outcomes)
            drawn[said.gateway] = Counter(said.drawn.get("m", drawn.get(said.gateway, {})))
            units |= {(seen.hashed, seen.version) for of in said.units.values() for seen in of.seen}
        sums: Counter[int] = Counter()
        for (_, version, _), outcomes in series.items():
            assert outcomes.keys() <= {"ok"}
            sums[version] += outcomes["ok"]
        return sums, sum(drawn.values(), Counter[int]()), units

    @property
    def agree(self) -> bool:
        """Whether the stream says what was asked, no more and no less."""
        return self.told() == (self.by_version, self.nameless, self.units)

    async def come_to_agree(self) -> None:
        """Waits for it."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.agree:  # noqa: ASYNC110 (there is nothing to be told by)
                await asyncio.sleep(0.05)

    def close(self) -> None:
        """Gives the connection back."""
        self._redis.close()


@asynccontextmanager
async def asking(server: EmbeddedValkey) -> AsyncIterator[Asked]:
    """Two workers that follow a store with two versions."""
    namespace = f"test-{secrets.token_hex(6)}"
    store = connect(server.url, namespace)
    async with ScriptedUpstream() as one, ScriptedUpstream() as two:
        for version, scripted in enumerate((one, two), 1):
            await store.hold(Endpoint("127.0.0.1", scripted.port, 0, "m", version), 600)
        await store.change("m", HALF, None, who="test")
        config = WorkerConfig(worker="w", redis_url=server.url, namespace=namespace, poll_s=0.1)
        with open_listener("127.0.0.1", 0, "The test", "port") as listener:
            supervisor = Supervisor(listener, config, 2)
            await supervisor.start()
            asked = Asked(Crew(supervisor, listener.getsockname()[1], one), server.url, namespace)
            try:
                yield asked
            finally:
                if supervisor._workers:
                    await supervisor.stop()
                asked.close()
                await store.close()


async def test_the_stream_says_what_was_asked(own_valkey: EmbeddedValkey) -> None:
    """First attempts, draws and units of two workers agree with what clients saw, after every trouble there is."""
    async with asking(own_valkey) as asked:
        await asked.ask(*[f"a{number}" for number in range(40)], *[""] * 10)
        await asked.come_to_agree()
        assert len({said.gateway for said in asked.messages()}) == 2

        await asyncio.to_thread(own_valkey.stop)  # the store is away
        await asked.ask(*[f"b{number}" for number in range(40)], *[""] * 10)
        await asyncio.to_thread(own_valkey.start)
        await asked.ask("a0", "c0")
        await asked.come_to_agree()

        crew = asked.crew  # a worker is killed
        victim = min(crew.pids)
        os.kill(victim, signal.SIGKILL)
        await eventually(lambda: crew.replaced(victim), PATIENCE_S)
        await asked.ask(*[f"d{number}" for number in range(20)])
        await asked.come_to_agree()

        await asked.ask(*[f"e{number}" for number in range(20)])  # and all of them are told to stop
        await crew.supervisor.stop()
        assert asked.agree
        assert len(asked.units) == len({hashed for hashed, _ in asked.units})


async def test_a_store_that_hangs_gets_one_message(own_valkey: EmbeddedValkey) -> None:
    """While nothing comes of a message, one is under way and no more; when the store goes on, so do they."""
    namespace = f"test-{secrets.token_hex(6)}"
    config = WorkerConfig(worker="w", redis_url=own_valkey.url, namespace=namespace, poll_s=0.1)
    follower = Follower(Worker(config, asyncio.get_running_loop()), "127.0.0.1", 8000)
    under_way = most = 0
    send = follower._telling._send

    async def counting(raw: bytes) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await send(raw)
        finally:
            under_way -= 1

    follower._telling._send = counting
    stream = Keys(namespace).totals
    with redis.Redis.from_url(own_valkey.url) as raw:
        await follower.start()
        try:
            await eventually(lambda: raw.xlen(stream))
            before = raw.xlen(stream)
            pid = own_valkey.pid
            assert pid is not None
            os.kill(pid, signal.SIGSTOP)
            await eventually(lambda: under_way)
            await asyncio.sleep(0.6)  # the time of two more
            os.kill(pid, signal.SIGCONT)
            await eventually(lambda: int(raw.xlen(stream)) > int(before))
        finally:
            async with asyncio.timeout(10):
                await follower.stop()
    assert most == 1


async def test_a_stream_of_another_kind_is_nobodys_trouble(valkey: EmbeddedValkey) -> None:
    """Where the stream's name holds something else, policies are followed and the lease is renewed all the same."""
    namespace = f"test-{secrets.token_hex(6)}"
    config = WorkerConfig(worker="w", redis_url=valkey.url, namespace=namespace, poll_s=0.05)
    store = connect(valkey.url, namespace)
    with redis.Redis.from_url(valkey.url) as raw:
        raw.set(Keys(namespace).totals, "no stream")
        follower = Follower(Worker(config, asyncio.get_running_loop()), "127.0.0.1", 8000)
        await follower.start()
        try:
            head = (await store.change("m", HALF, None, who="test")).answer.head
            await eventually(lambda: follower._worker.routing.head == head)
            raw.delete(Keys(namespace).totals)
            await eventually(lambda: raw.xlen(Keys(namespace).totals))
        finally:
            await follower.stop()
            await store.close()
