"""Keeps the gateway's worker processes: starts them, asks them how they are, replaces what dies or falls silent.

Runs on the event loop of whoever holds the listening socket (a Ray Serve replica); the workers share that socket and
nothing else. Health is asked over each worker's own channel, never over the shared port. The thread that calls
`start` must live as long as the process: the workers die with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from typing import Any, NamedTuple

from serving import child
from serving.errors import StartFailed
from serving.gateway.config import INHERITED, INHERITED_FOR_GRPC, WorkerConfig
from serving.gateway.door import Shares
from serving.gateway.keeper import Keeper

_log = logging.getLogger(__name__)
_PING_EVERY_S = 0.25
_SILENT_AFTER_S = 2.0
_READY_WITHIN_S = 20.0
_SHORT_LIFE_S = 5.0
_LONGEST_PAUSE_S = 5.0
_LONGEST_LINE = 64 * 1024 * 1024


class SharedDoor(NamedTuple):
    """A listening socket, and how many connections of it each worker holds."""

    listener: socket.socket
    shares: Shares


class Doors(NamedTuple):
    """What all workers inherit; None where gRPC is not served."""

    http: SharedDoor
    grpc: SharedDoor | None

    @property
    def all(self) -> tuple[SharedDoor, ...]:
        """Those that there are."""
        return (self.http,) if self.grpc is None else (self.http, self.grpc)


class WorkerProcess:
    """One worker and the channel to it."""

    def __init__(
        self,
        config: WorkerConfig,
        process: subprocess.Popen[bytes],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        slot: int,
    ) -> None:
        self.config = config
        self.slot = slot
        """Its place in the shared count of connections."""
        self.status: dict[str, Any] = {}
        self._process = process
        self._reader = reader
        self._writer = writer
        self._talking = asyncio.Lock()
        self._asked = 0

    @classmethod
    async def start(cls, config: WorkerConfig, doors: Doors, slot: int, slots: int) -> WorkerProcess:
        """A worker that listens.

        Args:
            config: its own.
            doors: what it inherits.
            slot: its place in the shared counts of connections.
            slots: how many there are.

        Raises:
            StartFailed: it ended, or did not get ready in time.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours, limit=_LONGEST_LINE)
        told = dict(
            zip(
                INHERITED,
                (doors.http.listener.fileno(), theirs.fileno(), doors.http.shares.fd, slots, slot),
                strict=True,
            )
        )
        fds = [told[option] for option in INHERITED if option.endswith("-fd")]
        if doors.grpc is not None:
            further = (doors.grpc.listener.fileno(), doors.grpc.shares.fd)
            told |= zip(INHERITED_FOR_GRPC, further, strict=True)
            fds += further
        argv = [sys.executable, "-m", "serving.gateway", *(f"{option}={value}" for option, value in told.items())]
        try:
            process = child.spawn(argv, pass_fds=fds, env=_environment(), stdin=subprocess.DEVNULL)
        except BaseException:
            writer.close()
            raise
        finally:
            theirs.close()
        worker = cls(config, process, reader, writer, slot)
        try:
            await worker._get_ready()
        except BaseException:  # a cancelled start must not leave a process behind either
            worker.kill()
            raise
        return worker

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return child.alive(self._process)

    async def watch(self) -> str:
        """Asks how it is until it is dead or silent; says which."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PING_EVERY_S):
                    await child.ended(self._process)
            if not self.alive:
                return "died"
            status = await self._ask("ping", _SILENT_AFTER_S - _PING_EVERY_S)
            if status is None:
                return "fell silent" if self.alive else "died"
            self.status = status

    async def report(self) -> dict[str, Any] | None:
        """Everything that it has counted; None where it does not answer."""
        return await self._ask("report", _SILENT_AFTER_S)

    async def drain(self) -> None:
        """Lets it finish what it has, then sees it gone."""
        with contextlib.suppress(OSError, RuntimeError):  # the channel is broken, or closed
            self._writer.write(b'{"say": "drain"}\n')
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.drain_delay_s + self.config.drain_limit_s + _SILENT_AFTER_S):
                await child.ended(self._process)
        self.kill()

    def kill(self) -> None:
        """Ends it at once, whatever state it is in."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.kill(self.pid, signal.SIGKILL)
        self._process.wait()
        self._writer.close()

    async def _get_ready(self) -> None:
        self._writer.write(self.config.to_json().encode() + b"\n")
        status = await self._hear(_READY_WITHIN_S)
        if status is None:
            raise StartFailed(f"Gateway worker {self.config.worker} did not get ready.", "Its log says why.")
        self.status = status

    async def _ask(self, what: str, within_s: float) -> dict[str, Any] | None:
        async with self._talking:  # one question at a time; a number tells the answer to one that was given up
            self._asked += 1
            try:
                self._writer.write(json.dumps({"say": what, "number": self._asked}).encode() + b"\n")
                async with asyncio.timeout(within_s):
                    while (said := await self._hear(within_s)) is not None:
                        if said.pop("number", None) == self._asked:
                            return said
            except (OSError, RuntimeError, ValueError):
                pass
            return None

    async def _hear(self, within_s: float) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(within_s):
                line = await self._reader.readline()
        except (TimeoutError, OSError):
            return None
        said: dict[str, Any] | None = json.loads(line) if line else None
        return said


class Supervisor:
    """The workers of one replica.

    Args:
        listener: the socket that they share, bound and not yet listening, or listening.
        config: the same for all but the id, which gets the worker's number appended.
        count: how many workers.
        grpc: the same for gRPC; None where that is not served.
        keeper: the process that is handed requests and answers; None for none.
    """

    def __init__(
        self,
        listener: socket.socket,
        config: WorkerConfig,
        count: int,
        *,
        grpc: socket.socket | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self._keeper = keeper
        self._config = config
        self._count = count
        self._workers: dict[int, WorkerProcess] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._replacing: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._started = 0
        self._slots = 2 * count  # a restart has new workers up before the old ones are gone
        self._doors = Doors(
            SharedDoor(listener, Shares.create(self._slots)),
            None if grpc is None else SharedDoor(grpc, Shares.create(self._slots)),
        )
        self._taken: dict[int, str] = {}
        """By slot, the worker that has it."""

    async def start(self) -> None:
        """All workers up and listening.

        Raises:
            StartFailed: one did not come up; none is left behind.
        """
        try:
            for slot in range(self._count):
                self._workers[slot] = await self._begin()
        except BaseException:
            self._kill_all()
            raise
        self._tasks = [asyncio.create_task(self._keep(slot)) for slot in range(self._count)]
        if self._keeper is not None:
            self._keeper.start()

    @property
    def healthy(self) -> bool:
        """Whether any worker answers requests, and every slot is being kept; or all are on their way out, as told."""
        if self._stopping is not None:
            return True
        return any(worker.alive for worker in self._workers.values()) and not any(task.done() for task in self._tasks)

    async def reports(self) -> list[dict[str, Any]]:
        """What each worker has counted; one that does not answer now is left out."""
        workers = [worker for _, worker in sorted(self._workers.items())]
        found = await asyncio.gather(*(worker.report() for worker in workers))
        return [{"worker": w.config.worker, **report} for w, report in zip(workers, found, strict=True) if report]

    def statuses(self) -> list[dict[str, object]]:
        """What each worker last said, its pid added."""
        return [{"pid": worker.pid, **worker.status} for _, worker in sorted(self._workers.items())]

    async def restart(self) -> None:
        """One worker after the other, each new one up before the old one drains."""
        for slot in range(self._count):
            self._replacing = asyncio.create_task(self._replace(slot))
            await asyncio.shield(self._replacing)  # given up half-way it would leave a worker that nobody keeps

    async def stop(self) -> None:
        """Drains all workers; asked again, it waits for the same end."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        await self._unwatch(*self._tasks)
        await asyncio.gather(*(worker.drain() for worker in self._workers.values()))
        self._workers.clear()
        for door in self._doors.all:
            door.shares.close()
        if self._keeper is not None:
            await self._keeper.stop()

    async def _replace(self, slot: int) -> None:
        new = await self._begin()
        await self._unwatch(self._tasks[slot])
        old, self._workers[slot] = self._workers[slot], new
        self._tasks[slot] = asyncio.create_task(self._keep(slot))
        await old.drain()
        self._free(old)

    @staticmethod
    async def _unwatch(*tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, slot: int) -> None:
        loop = asyncio.get_running_loop()
        pause_s = 0.0
        while True:
            since = loop.time()
            worker = self._workers[slot]
            what = await worker.watch()
            _log.error("gateway worker %s (pid %d) %s: replacing it", worker.config.worker, worker.pid, what)
            worker.kill()
            self._free(worker)
            short = loop.time() - since < _SHORT_LIFE_S
            pause_s = min(max(2 * pause_s, 0.1), _LONGEST_PAUSE_S) if short else 0.0
            self._workers[slot] = await self._begin_again(pause_s)

    async def _begin_again(self, pause_s: float) -> WorkerProcess:
        while True:
            await asyncio.sleep(pause_s)
            try:
                return await self._begin()
            except (StartFailed, OSError) as error:  # out of descriptors or processes, which may pass
                pause_s = min(max(2 * pause_s, 0.1), _LONGEST_PAUSE_S)
                _log.error("%s Trying again in %.1f s.", error, pause_s)

    async def _begin(self) -> WorkerProcess:
        self._started += 1
        config = replace(self._config, worker=f"{self._config.worker}-{self._started}")
        slot = min(set(range(self._slots)) - self._taken.keys())
        self._taken[slot] = config.worker
        try:
            return await WorkerProcess.start(config, self._doors, slot, self._slots)
        except BaseException:
            del self._taken[slot]
            self._leave(slot)
            raise

    def _free(self, worker: WorkerProcess) -> None:
        if self._taken.get(worker.slot) == worker.config.worker:  # else freed already, and maybe another's by now
            del self._taken[worker.slot]
            self._leave(worker.slot)

    def _leave(self, slot: int) -> None:
        for door in self._doors.all:
            door.shares.leave(slot)

    def _kill_all(self) -> None:
        for worker in self._workers.values():
            worker.kill()
            self._free(worker)
        self._workers.clear()


def _environment() -> dict[str, str]:
    """What a worker needs of ours, and nothing that Ray sets for its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
