"""The life of one replica of a model version: started, warmed up, leased, watched, drained.

Gateways find a replica by its lease and by nothing else, so the lease comes last at the start and goes first at the
end. A server that dies takes its replica with it: a fresh process is simpler to trust than one that restarts its
child, and whoever runs replicas (Ray Serve, in `pool.py`) replaces them anyway. Before it dies, the replica writes down
how the server died. A pool whose servers died twice or more in the last ten minutes is given pauses: the third
server waits 1 s before it starts, the next 2 s, then 4 s, and so on up to a minute.

This file knows no Ray and no Redis. It is told where leases are held, and how to die.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from serving.endpoint import Crash, Endpoint, Load, crashes_in, pause_s
from serving.triton.arguments import PoolArguments
from serving.triton.folders import log_file, own_folder
from serving.triton.guard import Guard, gone
from serving.triton.metrics import PendingCount
from serving.triton.process import ServerDied, TritonProcess
from serving.triton.starting import Started, started

_LOG = logging.getLogger("sluice.triton")
_RENEWALS = 3
"""How often a lease is renewed within its time, so that it outlives one renewal or two that are lost."""

_LAST_WORDS_S = 0.5
_RECENT_MS = 10 * 60 * 1_000


class EndpointLeases(Protocol):
    """Where a replica says that it serves; a lease that is not held again within its time lapses."""

    async def hold(self, endpoint: Endpoint, ttl_s: float, load: Load | None = None) -> None:
        """Takes the endpoint's lease, or renews it, for that many seconds; says how busy its server is."""

    async def drop(self, endpoint: Endpoint) -> None:
        """Gives the lease back now; harmless where there is none."""

    async def crashes(self, model: str, version: int) -> Sequence[Crash]:
        """How servers of the version died in the last hour, newest first."""

    async def crashed(self, model: str, version: int, crash: Crash) -> None:
        """Writes down how one died; the time is the store's."""


class Replica:
    """One running replica; made by `start`.

    Attributes:
        endpoint: what its lease carries.
    """

    def __init__(
        self,
        pool: PoolArguments,
        running: Started,
        endpoint: Endpoint,
        *,
        leases: EndpointLeases,
        guard: Guard,
        die: Callable[[], object],
    ) -> None:
        """Use `start`."""
        self.endpoint = endpoint
        self._pool = pool
        self._server: TritonProcess = running.server
        self._throughput = running.warmth.throughput
        self._leases = leases
        self._guard = guard
        self._die = die
        self._stopping = False
        self._pending = PendingCount(self._server.metrics_url, pool.model, pool.version)
        self._counting = asyncio.create_task(self._pending.run(), name="look at Triton's pending count")
        self._renewing = asyncio.create_task(self._renew(), name="lease of the endpoint")
        self._watching = asyncio.create_task(self._watch(), name="watch over tritonserver")

    @classmethod
    async def start(
        cls, pool: PoolArguments, leases: EndpointLeases, advertised: str, die: Callable[[], object]
    ) -> "Replica":
        """A replica that answers and holds its lease, if the leases' store can be reached.

        Call this from a thread that lives as long as the process. Cancelled, it leaves nothing behind.

        Args:
            pool: what to run.
            leases: where to say so.
            advertised: the host under which gateways reach this machine.
            die: ends this process at once; called when the server has died.

        Raises:
            StartFailed: there is no usable tritonserver, or it did not get ready, or it does not answer.
            ArtifactRefused: the artifact cannot be served.
        """
        home = own_folder(pool)
        guard = await asyncio.to_thread(Guard.start, home)
        try:
            await _pause(pool, leases)
            running = await started(pool, home, guard, log_file(pool))
            server, repository = running.server, running.repository
            endpoint = Endpoint(
                advertised, server.http_port, server.grpc_port, pool.model, pool.version,
                capacity=repository.capacity, priority_levels=repository.priority_levels,
            )  # fmt: skip
            with contextlib.suppress(Exception):
                # The first lease before 'ready', if possible; if not, the task that renews it goes on trying.
                async with asyncio.timeout(pool.lease_s):
                    await leases.hold(endpoint, pool.lease_s, Load(throughput=running.warmth.throughput))
        except BaseException as error:
            if isinstance(error, ServerDied):
                await _told(leases.crashed(pool.model, pool.version, _crash(error, advertised, pool)))
            await gone(guard)
            raise
        return cls(pool, running, endpoint, leases=leases, guard=guard, die=die)

    def check(self) -> None:
        """Nothing, if all is well.

        Raises:
            RuntimeError: the server or one of the tasks beside it has ended.
        """
        if not self._server.alive:
            raise RuntimeError(f"{self.endpoint.key}: {self._server.death()}")
        for task in (self._counting, self._renewing, self._watching):
            if task.done() and not self._stopping:
                raise RuntimeError(f"The {task.get_name()} of {self.endpoint.key} has ended.")

    async def statistics(self) -> dict[str, Any]:
        """What Triton has counted."""
        return await self._server.statistics()

    async def stop(self) -> None:
        """Out of traffic, then ended: the lease first, then a pause for gateways to hear of it, then SIGTERM."""
        if self._stopping:
            return
        self._stopping = True
        tasks = (self._counting, self._renewing, self._watching)
        for task in tasks:
            task.cancel()
        # A renewal that is still under way would bring the lease back after it was dropped.
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop(self._pool.lease_s)
        await asyncio.sleep(self._pool.drain_delay_s)
        await self._server.stop(self._pool.drain_limit_s)
        await gone(self._guard)

    async def _renew(self) -> None:
        """Holds the lease for as long as it runs; says so once when that begins to fail, and once when it ends to."""
        lost = False
        while True:
            try:
                # Not wait_for, which on Python 3.11 may swallow the cancellation that ends this.
                async with asyncio.timeout(self._pool.lease_s):
                    load = Load(self._pending.value, self._throughput)
                    await self._leases.hold(self.endpoint, self._pool.lease_s, load)
            except Exception as error:  # noqa: BLE001 - whatever the store does, the replica goes on serving
                if not lost:
                    _LOG.warning("The lease of %s cannot be renewed, it is tried again: %r", self.endpoint.key, error)
                lost = True
            else:
                if lost:
                    _LOG.warning("The lease of %s is renewed again.", self.endpoint.key)
                lost = False
            await asyncio.sleep(self._pool.lease_s / _RENEWALS)

    async def _watch(self) -> None:
        """Waits for the server's death, tells of it what can be told quickly, and dies too."""
        await self._server.ended()
        death = self._server.death()
        _LOG.error("%s: %s And so ends this replica.", self.endpoint.key, death)
        self._renewing.cancel()
        crash = _crash(death, self.endpoint.host, self._pool)
        await asyncio.gather(
            self._drop(_LAST_WORDS_S), _told(self._leases.crashed(self._pool.model, self._pool.version, crash))
        )
        # The rest of it may still run.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._server.stop(0.0)
        self._die()

    async def _drop(self, within_s: float) -> None:
        try:
            async with asyncio.timeout(within_s):
                await self._leases.drop(self.endpoint)
        except Exception as error:  # noqa: BLE001 - it lapses by itself
            _LOG.warning("The lease of %s could not be given back, it will lapse: %r", self.endpoint.key, error)


async def _pause(pool: PoolArguments, leases: EndpointLeases) -> None:
    """Waits as long as this pool's servers that died say; not at all where that cannot be told."""
    try:
        async with asyncio.timeout(pool.lease_s):
            crashes = crashes_in(pool.spec.digest, await leases.crashes(pool.model, pool.version))
    except Exception as error:  # noqa: BLE001 - whatever the store does, the replica starts
        _LOG.warning("How earlier servers of %s version %d died is not known: %r", pool.model, pool.version, error)
        return
    since_ms = 1_000 * time.time() - _RECENT_MS
    recent = [crash for crash in crashes if crash.at_ms >= since_ms]
    if wait_s := pause_s(recent[1:]):  # the first is an accident
        _LOG.warning(
            "%d servers of %s version %d died in the last ten minutes: the next starts in %g s.",
            *(len(recent), pool.model, pool.version, wait_s),
        )
        await asyncio.sleep(wait_s)


def _crash(died: ServerDied, host: str, pool: PoolArguments) -> Crash:
    return Crash(0, died.exit_code, host, died.words, pool.spec.digest)


async def _told(crashed: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(_LAST_WORDS_S):
            await crashed
    except Exception as error:  # noqa: BLE001 - it is in the log as well
        _LOG.warning("How a server died could not be written down: %r", error)
