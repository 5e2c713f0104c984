"""A replica takes its lease last and gives it back first, tells how its server died, and pauses after such deaths."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from serving.endpoint import Crash, Endpoint, Load
from serving.errors import StartFailed
from serving.triton import replica as replica_module
from serving.triton.arguments import PoolArguments
from serving.triton.guard import Guard
from serving.triton.layout import Repository
from serving.triton.process import ServerDied, TritonProcess
from serving.triton.replica import Replica
from serving.triton.starting import Started
from serving.triton.warmup import Warmth


class Journal(list[str]):
    """What happened, in order."""

    async def until(self, what: str) -> None:
        """Returns once it has happened."""
        async with asyncio.timeout(5.0):
            while what not in self:  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.005)


class FakeLeases:
    """Leases that write down what is done with them, and may fail."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.broken = False
        self.loads: list[Load | None] = []
        self.known: list[Crash] = []

    async def hold(self, endpoint: Endpoint, ttl_s: float, load: Load | None = None) -> None:
        """Taken or renewed."""
        if self.broken:
            self.journal.append("hold failed")
            raise ConnectionError("no store")
        self.loads.append(load)
        self.journal.append("hold")

    async def drop(self, endpoint: Endpoint) -> None:
        """Given back."""
        self.journal.append("drop")

    async def crashes(self, model: str, version: int) -> Sequence[Crash]:
        """Newest first."""
        if self.broken:
            raise ConnectionError("no store")
        return self.known

    async def crashed(self, model: str, version: int, crash: Crash) -> None:
        """Written down."""
        if self.broken:
            raise ConnectionError("no store")
        self.known.insert(0, crash)
        self.journal.append("crash")


class FakeServer:
    """A server that has started."""

    http_port = 21_001
    grpc_port = 21_002
    metrics_url = "http://127.0.0.1:1/metrics"

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.end = asyncio.Event()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return not self.end.is_set()

    async def ended(self) -> None:
        """Waits for its end."""
        await self.end.wait()

    def death(self) -> ServerDied:
        """How it ended."""
        return died("its last words")

    async def stop(self, grace_s: float) -> int:
        """Ends it."""
        self.journal.append(f"stop {grace_s:g}")
        return 0


def died(words: str) -> ServerDied:
    """A server that was killed."""
    death = ServerDied(f"Triton was killed by SIGKILL: {words}.")
    death.exit_code, death.words = -9, words
    return death


def arguments(folder: Path) -> PoolArguments:
    """A pool with short times."""
    return PoolArguments(
        "m", 1, str(folder), "redis://h", path=str(folder), lease_s=0.3, drain_delay_s=0.0, log_dir=str(folder / "logs")
    )


@dataclass
class Room:
    """Where replicas are started around a fake server.

    Attributes:
        pool: what is run.
        failure: what starting the server raises; None for a start that works.
    """

    pool: PoolArguments
    journal: Journal
    server: FakeServer
    leases: FakeLeases
    failure: BaseException | None = None

    async def start(self) -> Replica:
        """A replica."""
        return await Replica.start(self.pool, self.leases, "h", lambda: self.journal.append("die"))

    async def started(self, pool: PoolArguments, home: Path, *_: Any) -> Started:  # noqa: ANN401 - what start passes on
        """In the place of `starting.started`."""
        self.journal.append("ready")
        home.mkdir(parents=True)  # noqa: ASYNC240 - of a test
        if self.failure is not None:
            raise self.failure
        return Started(cast("TritonProcess", self.server), Repository(home, complete=True), Warmth(1.0, 50.0, 10))


@pytest_asyncio.fixture
async def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    """A room in which servers start at once; whatever guards were started are closed at the end."""
    journal = Journal()
    room = Room(arguments(tmp_path), journal, FakeServer(journal), FakeLeases(journal))
    guards: list[Guard] = []
    start = Guard.start

    def noted(*folders: Path) -> Guard:
        guards.append(start(*folders))
        return guards[-1]

    monkeypatch.setattr(Guard, "start", noted)
    monkeypatch.setattr(replica_module, "started", room.started)
    yield room
    for guard in guards:
        guard.close()
    assert not list((tmp_path / "triton").glob("m-1-*"))


async def test_the_lease_comes_last_at_the_start_and_goes_first_at_the_end(room: Room) -> None:
    """Nobody is sent to a server that is not ready, and nobody to one that is about to stop."""
    replica = await room.start()
    assert room.journal[:2] == ["ready", "hold"]
    await replica.stop()
    assert room.journal[-2:] == ["drop", "stop 20"]
    await replica.stop()
    assert room.journal.count("drop") == 1
    assert "die" not in room.journal


async def test_the_lease_says_what_the_server_carries_and_how_many_wait(room: Room) -> None:
    """What was measured is there from the first lease on, the pending count as soon as it is known."""
    replica = await room.start()
    assert room.leases.loads[0] == Load(None, 50.0)
    replica._pending.value = 7
    room.journal.clear()
    await room.journal.until("hold")
    assert room.leases.loads[-1] == Load(7, 50.0)
    await replica.stop()


async def test_the_lease_is_renewed_and_survives_an_outage_of_the_store(room: Room) -> None:
    """A store that fails costs renewals, not the replica, which renews again when the store is back."""
    replica = await room.start()
    room.leases.broken = True
    await room.journal.until("hold failed")
    replica.check()
    room.leases.broken = False
    room.journal.clear()
    await room.journal.until("hold")
    await replica.stop()


async def test_a_replica_dies_with_its_server_and_says_how_it_died(room: Room) -> None:
    """When the server ends by itself, the lease is given back, the crash written down, and the process ends."""
    replica = await room.start()
    room.server.end.set()
    await room.journal.until("die")
    assert room.journal[-4:] == ["drop", "crash", "stop 0", "die"]
    assert room.leases.known == [Crash(0, -9, "h", "its last words", room.pool.spec.digest)]
    with pytest.raises(RuntimeError, match="killed by SIGKILL: its last words"):
        replica.check()


async def test_a_store_that_is_gone_delays_no_death(room: Room) -> None:
    """A replica whose server died ends also where nobody can be told."""
    await room.start()
    room.leases.broken = True
    room.server.end.set()
    await room.journal.until("die")


async def test_a_server_that_dies_while_it_starts_is_a_crash_and_one_that_is_refused_is_none(room: Room) -> None:
    """Both end the start with their own sentence."""
    room.failure = StartFailed("no port is free.")
    with pytest.raises(StartFailed, match="no port is free"):
        await room.start()
    assert room.leases.known == []
    room.failure = died("out of memory")
    with pytest.raises(StartFailed, match="out of memory"):
        await room.start()
    assert room.leases.known == [Crash(0, -9, "h", "out of memory", room.pool.spec.digest)]


@pytest.mark.parametrize(
    ("ages_s", "wait_s"),
    [((), None), ((1,), None), ((1, 700), None), ((1, 2), 1), ((1, 2, 3), 2), ((5,) * 5, 8), ((5,) * 20, 60)],
)
async def test_crashes_of_the_last_ten_minutes_delay_the_start(
    room: Room, monkeypatch: pytest.MonkeyPatch, ages_s: tuple[float, ...], wait_s: float | None
) -> None:
    """The first costs nothing, from the second on each doubles the pause, up to a minute; other pools' do not count."""
    now_ms = round(1_000 * time.time())
    room.leases.known = [Crash(now_ms - round(1_000 * age_s), -9, "h", "words") for age_s in ages_s]
    room.leases.known += [Crash(now_ms, -9, "h", "words", "another pool")] * 9
    sleep, waited = asyncio.sleep, list[float]()

    async def short(seconds: float) -> None:
        if "ready" not in room.journal:
            waited.append(seconds)
        await sleep(0.001)

    monkeypatch.setattr(asyncio, "sleep", short)
    replica = await room.start()
    assert waited == ([] if wait_s is None else [wait_s])
    await replica.stop()


async def test_a_start_that_is_called_off_during_its_pause_leaves_nothing(room: Room) -> None:
    """A pool that is removed meanwhile need not wait for the pause to be over; no server is started."""
    room.leases.known = [Crash(round(1_000 * time.time()), -9, "h", "words")] * 9
    starting = asyncio.create_task(room.start())
    await asyncio.sleep(0.2)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(starting, 5.0)
    assert room.journal == []


async def test_a_start_that_is_called_off_while_it_takes_its_lease_leaves_nothing(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is there by then, and ends with its guard."""
    stuck = asyncio.Event()

    async def hold(*_: Any) -> None:  # noqa: ANN401 - a lease's
        stuck.set()
        await asyncio.sleep(60.0)

    room.pool = replace(room.pool, lease_s=30.0)
    monkeypatch.setattr(room.leases, "hold", hold)
    starting = asyncio.create_task(room.start())
    await asyncio.wait_for(stuck.wait(), 5.0)
    [home] = await asyncio.to_thread(lambda: list(Path(room.pool.state_dir, "triton").iterdir()))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not home.exists()


async def test_a_store_that_is_gone_delays_no_start(room: Room) -> None:
    """Without a word of how earlier servers died, the next one starts at once."""
    room.leases.broken = True
    replica = await asyncio.wait_for(room.start(), 5.0)
    assert "ready" in room.journal
    await replica.stop()
