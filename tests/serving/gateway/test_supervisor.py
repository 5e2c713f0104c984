"""Worker processes are replaced when they die or hang, exchanged without failing a request, and never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from router.codec import digest_of, encode_policy, encode_snapshot
from router.epoch import EMPTY, Head
from router.policy import Policy
from serving.endpoint import Endpoint
from serving.errors import StartFailed
from serving.gateway.config import WorkerConfig
from serving.gateway.kept import keep
from serving.gateway.supervisor import Supervisor
from serving.leases import Recovery
from serving.sockets import open_listener
from tests.serving.gateway.rig import Client, eventually
from tests.serving.gateway.upstream import ScriptedUpstream, answers
from tests.serving.gateway.wire import Answer, get, ok, post
from tests.serving.processes import gone

REPOSITORY = Path(__file__).parents[3]
NO_STORE = "redis://127.0.0.1:9/0"
REPLACED_WITHIN_S = 10.0
"""On an idle machine it takes less than three seconds; this is for one that has other things to do as well."""


def keep_snapshot(file: Path, port: int) -> None:
    """What a worker starts from that reaches no store: model `m`, answered at this port."""
    policy = encode_policy(Policy(1, salt="s"))
    snapshot = encode_snapshot(EMPTY.with_policy("m", digest_of(policy), parent=""))
    recovery = Recovery(Head(1, digest_of(snapshot), ""), snapshot, {digest_of(policy): policy})
    keep(str(file), "sluice", recovery, [Endpoint("127.0.0.1", port, 0, "m", 1)])


@dataclass
class Crew:
    """Workers, their supervisor, and the model behind them."""

    supervisor: Supervisor
    port: int
    upstream: ScriptedUpstream

    @property
    def pids(self) -> set[int]:
        """Of the workers that there are now."""
        return {worker.pid for worker in self.supervisor._workers.values()}

    def replaced(self, pid: int) -> bool:
        """Whether another worker runs in the place of this one."""
        workers = self.supervisor._workers.values()
        return pid not in self.pids and len(workers) == 2 and all(worker.alive for worker in workers)

    async def ask(self, request: bytes) -> Answer:
        """The answer to a request on a connection of its own."""
        client = await Client.connect(self.port)
        try:
            await client.send(request)
            return await client.answer()
        finally:
            client.close()


@asynccontextmanager
async def crew_at(folder: Path, **limits: float) -> AsyncIterator[Crew]:
    """Two workers on a free port."""
    async with ScriptedUpstream() as upstream:
        file = folder / "snapshot.json"
        keep_snapshot(file, upstream.port)
        config = WorkerConfig(worker="w", redis_url=NO_STORE, snapshot_file=str(file), **limits)  # type: ignore[arg-type]
        with open_listener("127.0.0.1", 0, "The test", "port") as listener:
            supervisor = Supervisor(listener, config, 2)
            await supervisor.start()
            crew = Crew(supervisor, listener.getsockname()[1], upstream)
            pids = crew.pids
            try:
                yield crew
            finally:
                pids |= crew.pids
                if supervisor._workers:
                    await supervisor.stop()
                assert all(gone(pid) for pid in pids)


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[Crew]:
    """Two workers, gone after the test."""
    async with crew_at(tmp_path) as one:
        yield one


async def test_workers_share_a_port(crew: Crew) -> None:
    """Each worker answers on the one port, and says over its own channel how it is."""
    assert crew.supervisor.healthy
    assert len(crew.pids) == 2
    statuses = crew.supervisor.statuses()
    assert {status["pid"] for status in statuses} == crew.pids
    assert all(status["ready"] and status["epoch"] == 1 for status in statuses)
    assert len({status["worker"] for status in statuses}) == 2
    assert (await crew.ask(post())).code == 200


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_dies_or_hangs(crew: Crew, number: signal.Signals) -> None:
    """A worker that is killed or hangs is replaced, and the other answers all the while."""
    victim = min(crew.pids)
    os.kill(victim, number)
    deadline = asyncio.get_running_loop().time() + REPLACED_WITHIN_S
    asked = 0
    while not crew.replaced(victim) or not asked:
        assert asyncio.get_running_loop().time() < deadline, "it was not replaced in time"
        assert (await crew.ask(post())).code == 200
        asked += 1
    assert gone(victim)
    assert crew.supervisor.healthy
    assert (await crew.ask(post())).code == 200


async def test_both_workers_die(crew: Crew) -> None:
    """When no worker is left, clients wait in the backlog until there is one again: none is refused."""
    before = crew.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert (await crew.ask(post())).code == 200
    await eventually(lambda: all(crew.replaced(pid) for pid in before))


async def test_stopping_while_replacing(tmp_path: Path) -> None:
    """Told to stop while a dead worker is being replaced, they all end, the new one included."""
    async with crew_at(tmp_path) as crew:
        victim = crew.supervisor._workers[0]
        os.kill(victim.pid, signal.SIGKILL)
        await eventually(victim._writer.is_closing)
        await crew.supervisor.stop()


async def hammer(crew: Crew, codes: list[int], enough: asyncio.Event) -> None:
    """Asks one request after the other; a connection that was said to close is not used again."""
    client: Client | None = None
    while not enough.is_set():
        client = client or await Client.connect(crew.port)
        await client.send(post())
        answer = await client.answer()
        codes.append(answer.code)
        if answer.one("connection") == b"close":
            client.close()
            client = None
    if client is not None:
        client.close()


async def test_a_rolling_restart(crew: Crew) -> None:
    """While every worker is exchanged for a new one, clients that never pause see no request fail."""
    before, codes, enough = crew.pids, list[int](), asyncio.Event()
    clients = [asyncio.create_task(hammer(crew, codes, enough)) for _ in range(4)]
    await eventually(lambda: len(codes) > 100)
    await crew.supervisor.restart()
    during = len(codes)
    await eventually(lambda: len(codes) > during + 100)
    enough.set()
    await asyncio.gather(*clients)
    assert not before & crew.pids
    assert len(crew.pids) == 2
    assert all(gone(pid) for pid in before)
    assert set(codes) == {200}
    assert crew.supervisor.healthy


async def test_stopping_drains(tmp_path: Path) -> None:
    """A request that is under way when the workers are told to stop is answered, and then they are gone."""
    async with crew_at(tmp_path) as crew:
        gate = asyncio.Event()
        crew.upstream.script.append(answers(ok(b"late"), gate=gate))
        client = await Client.connect(crew.port)
        await client.send(post())
        await eventually(lambda: crew.upstream.requests)
        pids = crew.pids
        stopping = asyncio.create_task(crew.supervisor.stop())
        await eventually(lambda: all(task.done() for task in crew.supervisor._tasks))
        gate.set()
        assert (await client.answer()).body == b"late"
        await stopping
        assert all(gone(pid) for pid in pids)
        client.close()


async def test_stopping_twice(crew: Crew) -> None:
    """A drain from outside and Serve's goodbye are one; meanwhile nobody is to replace the replica."""
    pids = crew.pids
    first = asyncio.create_task(crew.supervisor.stop())
    await asyncio.sleep(0)
    assert crew.supervisor.healthy
    await crew.supervisor.stop()
    await first
    assert crew.supervisor.healthy
    assert all(gone(pid) for pid in pids)


async def test_a_worker_that_cannot_start(tmp_path: Path) -> None:
    """A worker that does not come up is told, within the time that it takes to find out, and none is left behind."""
    with open_listener("127.0.0.1", 0, "The test", "port") as listener:
        supervisor = Supervisor(listener, WorkerConfig(worker="w", redis_url="nonsense://"), 2)
        with pytest.raises(StartFailed, match="w-1 did not get ready"):
            await supervisor.start()
        assert not supervisor._workers
        assert not supervisor.healthy


async def test_the_parents_death(tmp_path: Path) -> None:
    """Workers die with the process that started them, even when it is killed with SIGKILL."""
    code = textwrap.dedent(f"""
        import asyncio
        from serving.gateway.config import WorkerConfig
        from serving.gateway.supervisor import Supervisor
        from serving.sockets import open_listener

        async def main():
            listener = open_listener("127.0.0.1", 0, "The test", "port")
            supervisor = Supervisor(listener, WorkerConfig(worker="w", redis_url={NO_STORE!r}), 2)
            await supervisor.start()
            print(*(status["pid"] for status in supervisor.statuses()), flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPOSITORY)  # noqa: ASYNC220
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in (await asyncio.to_thread(parent.stdout.readline)).split()]
        assert len(pids) == 2
        assert not any(gone(pid) for pid in pids)
        parent.kill()
    await eventually(lambda: all(gone(pid) for pid in pids))


async def test_live_without_anything(tmp_path: Path) -> None:
    """Workers that know no model listen and are alive; they say themselves that they are not ready."""
    with open_listener("127.0.0.1", 0, "The test", "port") as listener:
        supervisor = Supervisor(listener, WorkerConfig(worker="w", redis_url=NO_STORE), 1)
        await supervisor.start()
        client = await Client.connect(listener.getsockname()[1])
        await client.send(get("/v2/health/live") + get("/v2/health/ready"))
        assert [(await client.answer()).code for _ in range(2)] == [200, 503]
        client.close()
        await supervisor.stop()
