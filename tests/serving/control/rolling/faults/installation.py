"""An installation whose processes a test may kill, pause and rob of their memory: no Ray, and models that are scripted.

Real are the store, the gateways, and the control rooms that walk rollouts; each is a process. Times are short, so that
a lease lapses within a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from router.commands import Command
from router.epoch import Head
from router.policy import Policy
from serving.control.errors import NotNow, RolloutMoved
from serving.control.publishing import Recorded
from serving.control.rolling.document import document_from
from serving.control.rolling.records import Record
from serving.control.rolling.service import Rollouts, approval
from serving.control.rolling.views import RolloutChange
from serving.control.service import ControlService
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Endpoint
from serving.errors import SluiceError
from serving.gateway.config import WorkerConfig
from serving.gateway.door import Shares
from serving.gateway.supervisor import Doors, SharedDoor, WorkerProcess
from serving.leases import GatewayLease
from serving.sockets import open_listener
from tests.serving.control.rolling.rooms import VERSIONS, Post, epochs_in, stages_in
from tests.serving.gateway.upstream import ScriptedUpstream

MODEL = "m"
LEASE_S = 1.5
POLL_S = 0.3
_UP_S = 8.0
"""How long an endpoint's lease lasts: it is held by the tests' own process, which a loaded machine may starve."""
_CONDUCTING = "tests.serving.control.rolling.faults.conducting"
_LOOK_S = 0.005


async def comes_to(holds: Callable[[], Awaitable[object]], what: str, within_s: float = 30.0) -> None:
    """Waits until it holds; fails, saying what was waited for. A store that is away does not hold."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        with contextlib.suppress(SluiceError):
            if await holds():
                return
        assert asyncio.get_running_loop().time() < deadline, f"waited {within_s:g} s in vain for {what}"
        await asyncio.sleep(_LOOK_S)


@contextmanager
def stopped(*pids: int | None) -> Iterator[None]:
    """These processes stand still for as long as the block lasts."""
    alive = [pid for pid in pids if pid is not None]
    for pid in alive:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@dataclass
class Gateway:
    """One gateway: its listening socket stays when its process does not."""

    listener: Any
    config: WorkerConfig
    shares: Shares
    worker: WorkerProcess

    @property
    def id(self) -> str:
        """Its process's."""
        return self.worker.config.worker

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.listener.getsockname()[1])

    @property
    def pid(self) -> int:
        """Its process."""
        return self.worker.pid

    def forget(self) -> None:
        """What it kept on disk is lost."""
        Path(self.config.snapshot_file).unlink()

    async def begin_again(self) -> None:
        """Its process is killed, and another one takes its place, as its supervisor would have it."""
        self.worker.kill()
        config = _with_id(self.config)
        self.worker = await WorkerProcess.start(config, Doors(SharedDoor(self.listener, self.shares), None), 0, 1)


@dataclass
class Installation:
    """One model of three versions behind several gateways, and whoever conducts.

    Attributes:
        valkey: the store's server.
        namespace: what its keys begin with.
        folder: where files lie.
        lease_s: how long leases last.
        store: a client of the store.
        rollouts: what operators ask.
        gateways: they listen.
        up: the versions whose endpoints hold their leases.
    """

    valkey: EmbeddedValkey
    namespace: str
    folder: Path
    lease_s: float
    poll_s: float
    store: Store
    service: ControlService
    rollouts: Rollouts
    upstreams: Mapping[int, ScriptedUpstream]
    up: set[int]
    gateways: list[Gateway] = field(default_factory=list)
    rooms: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def ports(self) -> dict[str, int]:
        """Where the gateways listen."""
        return {f"gateway {nth}": one.port for nth, one in enumerate(self.gateways)}

    @property
    def now_s(self) -> float:
        """By the clock that answers are noted by."""
        return asyncio.get_running_loop().time()

    # Control rooms.

    async def conduct(self) -> subprocess.Popen[str]:
        """One more control room; it leads as soon as no other does."""
        said = (self.valkey.url, self.namespace, str(self.folder / "ledger"), str(self.lease_s))
        process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
            [sys.executable, "-m", _CONDUCTING, *said], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.rooms.append(process)
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline), "the control room did not start"
        return process

    async def leader(self) -> subprocess.Popen[str] | None:
        """The control room that leads."""
        holder = await self.store._redis.get(self.store.keys.conductor)
        return next((room for room in self.rooms if str(room.pid).encode() == holder and room.poll() is None), None)

    async def kill_leader(self) -> None:
        """SIGKILL, wherever it is; waits for one to lead, if none does."""
        await comes_to(self.leader, "a leader")
        leader = await self.leader()
        if leader is not None:
            leader.kill()
            leader.wait()

    @property
    def deaths(self) -> int:
        """How many control rooms have died."""
        return sum(room.poll() is not None for room in self.rooms)

    async def fence(self) -> int:
        """How often the lead has changed hands."""
        return int(await self.store._redis.get(self.store.keys.fence) or 0)

    # Rollouts.

    async def start(self, document: Mapping[str, Any], **more: Any) -> Record:  # noqa: ANN401 - of the service
        """Starts a rollout; its record."""
        done = await self.rollouts.start(MODEL, document_from(dict(document)), who="ada", **more)
        return done.view.record

    async def now(self, record: Record) -> Record:
        """The record as it is now."""
        found = await self.store.rollout(record.id)
        assert found is not None
        return found

    async def ask(self, record: Record, command: Command, wait_s: float = 5.0) -> RolloutChange:
        """An operator's command."""
        return await self.rollouts.ask(record.id, lambda _: command, expected=None, wait_s=wait_s)

    async def approve(self, record: Record) -> None:
        """Lets it in, where it asks."""
        if (await self.now(record)).rollout.target is not None:
            with contextlib.suppress(NotNow, RolloutMoved):
                await self.rollouts.ask(record.id, approval("ada", "", None), expected=None, wait_s=0)

    async def over(self, record: Record) -> bool:
        """Whether it is, everything being approved that asks for it."""
        await self.approve(record)
        return (await self.now(record)).rollout.over

    async def entered(self, record: Record, stage: str) -> bool:
        """Whether it is in that stage."""
        await self.approve(record)
        there = (await self.now(record)).rollout.entered
        return there is not None and there.name == stage

    # What there is.

    async def entries(self) -> Sequence[Recorded]:
        """The ledger, oldest first."""
        return (await self.store.ledger(1_000))[::-1]

    async def told(self) -> set[tuple[str, int]]:
        """What the ledger says of rollouts: what happened, and at which revision; the same thing twice counts once."""
        facts = [one.entry.facts for one in await self.entries() if one.entry.kind == "rollout"]
        return {(str(one["what"]), int(one["rollout"]["revision"])) for one in facts}

    async def leases(self) -> Sequence[GatewayLease]:
        """The gateways' that are alive."""
        return await self.store.gateways()

    async def all_run(self, head: Head | None = None) -> bool:
        """Whether every gateway says that it runs this, or what the store shows, and holds nothing."""
        shown = head or await self.store.head()
        leases = {one.id: one for one in await self.leases()}
        ours = [leases.get(gateway.id) for gateway in self.gateways]
        return all(one is not None and one.runs(shown) and one.held is None for one in ours)

    async def tells_one_story(self, stages: Sequence[str]) -> None:
        """Every stage was entered once and in order, no revision was written twice, and epochs are the ledger's."""
        entries = await self.entries()
        assert stages_in(entries) == list(stages)
        assert epochs_in(entries) == list(range(1, (await self.store.head()).epoch + 1))
        moves = [
            one.entry.facts["rollout"]["revision"]
            for one in entries
            if one.entry.kind == "rollout" and one.entry.facts["what"] not in {"stage", "abandon"}
        ]
        assert moves == list(range(1, len(moves) + 1))

    # The store's server.

    async def copy(self) -> Path:
        """A copy of its data, taken while it stands still."""
        to = self.folder / f"copy-{secrets.token_hex(3)}"
        with stopped(self.valkey.pid):
            await asyncio.to_thread(shutil.copytree, self.valkey.folder / "appendonlydir", to)
        return to

    async def put_back(self, copy: Path) -> None:
        """The server is killed, and begins again with that copy for its data."""
        await self.kill_store()
        data = self.valkey.folder / "appendonlydir"
        await asyncio.to_thread(shutil.rmtree, data)
        await asyncio.to_thread(shutil.copytree, copy, data)
        await asyncio.to_thread(self.valkey.start)

    async def kill_store(self) -> None:
        """SIGKILL; what it was told is on disk."""
        assert self.valkey.pid is not None
        os.kill(self.valkey.pid, signal.SIGKILL)
        await asyncio.to_thread(self.valkey.stop)


@asynccontextmanager
async def installed(
    folder: Path, *, gateways: int = 2, lease_s: float = LEASE_S, poll_s: float = POLL_S
) -> AsyncIterator[Installation]:
    """An installation whose model gives version 1 everything; all of its processes end with the block."""
    valkey = EmbeddedValkey(folder / "valkey")
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(valkey.start)
        stack.callback(valkey.stop)
        namespace = f"test-{secrets.token_hex(6)}"
        store = connect(valkey.url, namespace, timeout_s=1.0)
        stack.push_async_callback(store.close)
        upstreams = {version: await stack.enter_async_context(ScriptedUpstream()) for version in VERSIONS}
        service = ControlService(store, {MODEL: dict.fromkeys(VERSIONS, "pool")})
        rollouts = Rollouts(store, service.traffic, Post())
        here = Installation(
            valkey, namespace, folder, lease_s, poll_s, store, service, rollouts, upstreams, set(VERSIONS)
        )  # fmt: skip
        await stack.enter_async_context(_serving(here))
        await store.ensure_keys()
        await store.change(MODEL, Policy(stable=1, salt="s"), 0, who="the test")
        for nth in range(gateways):
            await _add_gateway(here, stack, nth)
        stack.callback(_end_rooms, here)
        await comes_to(here.all_run, "gateways that run the first policy")
        yield here


async def _add_gateway(here: Installation, stack: AsyncExitStack, nth: int) -> Gateway:
    config = WorkerConfig(
        worker=f"g{nth}", redis_url=here.valkey.url, namespace=here.namespace, lease_s=here.lease_s,
        poll_s=here.poll_s, snapshot_file=str(here.folder / f"snapshot-{nth}.json"), drain_limit_s=1.0,
    )  # fmt: skip
    listener = stack.enter_context(open_listener("127.0.0.1", 0, "The test", "port"))
    shares = Shares.create(1)
    stack.callback(shares.close)
    worker = await WorkerProcess.start(_with_id(config), Doors(SharedDoor(listener, shares), None), 0, 1)
    gateway = Gateway(listener, config, shares, worker)
    stack.callback(lambda: gateway.worker.kill())  # noqa: PLW0108 - whichever is its worker by then
    here.gateways.append(gateway)
    return gateway


def _with_id(config: WorkerConfig) -> WorkerConfig:
    return replace(config, worker=f"{config.worker}-{secrets.token_hex(3)}")


def _end_rooms(here: Installation) -> None:
    for room in here.rooms:
        room.kill()
        room.wait()
        for pipe in (room.stdin, room.stdout):
            assert pipe is not None
            pipe.close()


@asynccontextmanager
async def _serving(here: Installation) -> AsyncIterator[None]:
    """The models' endpoints hold their leases, as their replicas do; a store that is away is tried again."""
    store = connect(here.valkey.url, here.namespace, timeout_s=0.3)

    async def hold() -> None:
        while True:
            for version in sorted(here.up):
                endpoint = Endpoint("127.0.0.1", here.upstreams[version].port, 0, MODEL, version)
                with contextlib.suppress(SluiceError):
                    await store.hold(endpoint, max(here.lease_s, _UP_S))
            await asyncio.sleep(here.lease_s / 4)

    holding = asyncio.create_task(hold())
    try:
        while len(await store.endpoints()) < len(here.up):  # noqa: ASYNC110 - there is nothing to be told by
            await asyncio.sleep(_LOOK_S)
        yield
    finally:
        while not holding.done():  # a client of Redis that is just connecting may swallow one
            holding.cancel()
            await asyncio.wait({holding}, timeout=0.2)
        await store.close()
