"""A replica takes its lease last and gives it back first, and dies with its server."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from serving.endpoint import Endpoint
from serving.triton import replica as replica_module
from serving.triton.arguments import PoolArguments
from serving.triton.process import TritonProcess
from serving.triton.replica import Replica, log_file, own_folder


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

    async def hold(self, endpoint: Endpoint, ttl_s: float) -> None:
        """Taken or renewed."""
        if self.broken:
            self.journal.append("hold failed")
            raise ConnectionError("no store")
        self.journal.append("hold")

    async def drop(self, endpoint: Endpoint) -> None:
        """Given back."""
        self.journal.append("drop")


class FakeServer:
    """A server that has started."""

    http_port = 21_001
    grpc_port = 21_002
    last_error = "its last words"

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

    async def stop(self, grace_s: float) -> int:
        """Ends it."""
        self.journal.append(f"stop {grace_s:g}")
        return 0


def arguments(folder: Path) -> PoolArguments:
    """A pool with short times."""
    return PoolArguments(
        "m", 1, str(folder), str(folder), "redis://h", lease_s=0.03, drain_delay_s=0.0, log_dir=str(folder / "logs")
    )


Started = tuple[Replica, FakeServer, FakeLeases, Journal]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Coroutine[Any, Any, Started]]:
    """Starts a replica around a fake server."""

    async def started() -> Started:
        journal = Journal()
        server, leases = FakeServer(journal), FakeLeases(journal)

        async def ready(pool: PoolArguments, home: Path) -> TritonProcess:
            journal.append("ready")
            return cast("TritonProcess", server)

        monkeypatch.setattr(replica_module, "_started", ready)
        replica = await Replica.start(arguments(tmp_path), leases, "h", lambda: journal.append("die"))
        return replica, server, leases, journal

    return started


async def test_the_lease_comes_last_at_the_start_and_goes_first_at_the_end(
    start: Callable[[], Coroutine[Any, Any, Started]],
) -> None:
    """Nobody is sent to a server that is not ready, and nobody to one that is about to stop."""
    replica, _, _, journal = await start()
    assert journal[:2] == ["ready", "hold"]
    await replica.stop()
    assert journal[-2:] == ["drop", "stop 20"]
    await replica.stop()
    assert journal.count("drop") == 1
    assert "die" not in journal


async def test_the_lease_is_renewed_and_survives_an_outage_of_the_store(
    start: Callable[[], Coroutine[Any, Any, Started]],
) -> None:
    """A store that fails costs renewals, not the replica, which renews again when the store is back."""
    replica, _, leases, journal = await start()
    leases.broken = True
    await journal.until("hold failed")
    replica.check()
    leases.broken = False
    journal.clear()
    await journal.until("hold")
    await replica.stop()


async def test_a_replica_dies_with_its_server(start: Callable[[], Coroutine[Any, Any, Started]]) -> None:
    """When the server ends by itself, the lease is given back at once and the process ends."""
    replica, server, _, journal = await start()
    server.end.set()
    await journal.until("die")
    assert journal[-3:] == ["drop", "stop 0", "die"]
    with pytest.raises(RuntimeError, match="its last words"):
        replica.check()


def test_folders_of_replicas_that_are_gone_are_removed(tmp_path: Path) -> None:
    """A replica removes what killed replicas of its own version left, and nothing of anyone else."""
    pool = arguments(tmp_path)
    home = tmp_path / "triton"
    kept = [home / f"m-1-{os.getppid()}", home / "m-11-4194999", home / "m-2-4194999"]
    gone = home / "m-1-4194999"
    for folder in (*kept, gone):
        folder.mkdir(parents=True)
    assert own_folder(pool) == home / f"m-1-{os.getpid()}"
    assert [folder.exists() for folder in kept] == [True] * 3
    assert not gone.exists()


def test_only_the_newest_logs_are_kept(tmp_path: Path) -> None:
    """Logs of replicas that are gone do not pile up."""
    pool = arguments(tmp_path)
    (tmp_path / "logs").mkdir()
    for age in range(8):
        old = tmp_path / "logs" / f"triton-m-1-{4_194_900 + age}.log"
        old.touch()
        os.utime(old, (1_000 + age, 1_000 + age))
    assert log_file(pool) == tmp_path / "logs" / f"triton-m-1-{os.getpid()}.log"
    left = sorted(file.name for file in (tmp_path / "logs").iterdir())
    assert left == [f"triton-m-1-{4_194_900 + age}.log" for age in range(4, 8)]
    assert log_file(replace(pool, log_dir=None)) is None
