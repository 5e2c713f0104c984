"""The life of one replica of a model version: laid out, started, warmed up, leased, watched, drained.

Gateways find a replica by its lease and by nothing else, so the lease comes last at the start and goes first at the
end. A server that dies takes its replica with it: a fresh process is simpler to trust than one that restarts its
child, and whoever runs replicas (Ray Serve, in `pool.py`) replaces them anyway.

This file knows no Ray and no Redis. It is told where leases are held, and how to die.
"""

import asyncio
import contextlib
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from serving.endpoint import Endpoint
from serving.triton import binary
from serving.triton.arguments import PoolArguments
from serving.triton.layout import ArtifactRefused, Repository, write_repository
from serving.triton.process import ServerOptions, TritonProcess
from serving.triton.warmup import warm_up

_LOG = logging.getLogger("sluice.triton")
_RENEWALS = 3
"""How often a lease is renewed within its time, so that it outlives one renewal or two that are lost."""

_LAST_WORDS_S = 0.5
_KEPT_LOGS = 4


class EndpointLeases(Protocol):
    """Where a replica says that it serves; a lease that is not held again within its time lapses."""

    async def hold(self, endpoint: Endpoint, ttl_s: float) -> None:
        """Takes the endpoint's lease, or renews it, for that many seconds."""

    async def drop(self, endpoint: Endpoint) -> None:
        """Gives the lease back now; harmless where there is none."""


class Replica:
    """One running replica; made by `start`.

    Attributes:
        endpoint: what its lease carries.
    """

    def __init__(
        self,
        pool: PoolArguments,
        server: TritonProcess,
        endpoint: Endpoint,
        leases: EndpointLeases,
        die: Callable[[], object],
    ) -> None:
        """Use `start`."""
        self.endpoint = endpoint
        self._pool = pool
        self._server = server
        self._leases = leases
        self._die = die
        self._stopping = False
        self._renewing = asyncio.create_task(self._renew(), name="lease of the endpoint")
        self._watching = asyncio.create_task(self._watch(), name="watch over tritonserver")

    @classmethod
    async def start(
        cls, pool: PoolArguments, leases: EndpointLeases, advertised: str, die: Callable[[], object]
    ) -> "Replica":
        """A replica that answers and holds its lease, if the leases' store can be reached.

        Call this from a thread that lives as long as the process.

        Args:
            pool: what to run.
            leases: where to say so.
            advertised: the host under which gateways reach this machine.
            die: ends this process at once; called when the server has died.

        Raises:
            StartFailed: there is no usable tritonserver, or it did not get ready, or it does not answer.
            ArtifactRefused: the artifact folder cannot be served.
        """
        home = own_folder(pool)
        server = await _started(pool, home)
        endpoint = Endpoint(
            advertised, server.http_port, server.grpc_port, pool.model, pool.version, capacity=pool.capacity
        )
        with contextlib.suppress(Exception):
            # The first lease before 'ready', if possible; if not, the task that renews it goes on trying.
            await asyncio.wait_for(leases.hold(endpoint, pool.lease_s), pool.lease_s)
        return cls(pool, server, endpoint, leases, die)

    def check(self) -> None:
        """Nothing, if all is well.

        Raises:
            RuntimeError: the server or one of the tasks beside it has ended.
        """
        if not self._server.alive:
            raise RuntimeError(f"The tritonserver of {self.endpoint.key} has ended: {self._server.last_error}.")
        for task in (self._renewing, self._watching):
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
        self._renewing.cancel()
        self._watching.cancel()
        # A renewal that is still under way would bring the lease back after it was dropped.
        await asyncio.gather(self._renewing, self._watching, return_exceptions=True)
        await self._drop(self._pool.lease_s)
        await asyncio.sleep(self._pool.drain_delay_s)
        await self._server.stop(self._pool.drain_limit_s)
        shutil.rmtree(own_folder(self._pool), ignore_errors=True)

    async def _renew(self) -> None:
        """Holds the lease for as long as it runs; says so once when that begins to fail, and once when it ends to."""
        lost = False
        while True:
            try:
                await asyncio.wait_for(self._leases.hold(self.endpoint, self._pool.lease_s), self._pool.lease_s)
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
        """Waits for the server's death, gives its lease back if that can be done quickly, and dies too."""
        await self._server.ended()
        _LOG.error("The tritonserver of %s has ended, and so does this replica.", self.endpoint.key)
        self._renewing.cancel()
        await self._drop(_LAST_WORDS_S)
        # Its stubs may still run.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._server.stop(0.0), _LAST_WORDS_S)
        self._die()

    async def _drop(self, within_s: float) -> None:
        try:
            await asyncio.wait_for(self._leases.drop(self.endpoint), within_s)
        except Exception as error:  # noqa: BLE001 - it lapses by itself
            _LOG.warning("The lease of %s could not be given back, it will lapse: %r", self.endpoint.key, error)


def _laid_out(pool: PoolArguments, home: Path) -> Repository:
    try:
        return write_repository(pool.spec, home)
    except OSError as error:
        raise ArtifactRefused(
            f"{pool.path} cannot be laid out for Triton in {home}: {error.strerror or error}."
        ) from error


async def _started(pool: PoolArguments, home: Path) -> TritonProcess:
    """A server that has answered its first requests."""
    repository = _laid_out(pool, home)
    server = await TritonProcess.start(
        binary.find(pool.binary), repository, pool.model, pool.version, server_options(pool)
    )
    try:
        await warm_up(server, repository.example.read_bytes() if repository.example else None)
    except BaseException:
        await server.stop(0.0)
        raise
    return server


def server_options(pool: PoolArguments) -> ServerOptions:
    """How the pool's servers are to run."""
    return ServerOptions(
        host=pool.host,
        first_port=pool.first_port,
        last_port=pool.last_port,
        ready_timeout_s=pool.ready_timeout_s,
        threads=pool.threads,
        log_file=log_file(pool),
    )


def own_folder(pool: PoolArguments) -> Path:
    """This process's folder for the pool; those that replicas of it left when they were killed are removed."""
    parent = Path(pool.state_dir) / "triton"
    name = f"{pool.model}-{pool.version}"
    for folder in parent.glob(f"{name}-*"):
        if folder.name.rpartition("-")[0] == name and not _runs(folder.name.rpartition("-")[2]):
            shutil.rmtree(folder, ignore_errors=True)
    return parent / f"{name}-{os.getpid()}"


def log_file(pool: PoolArguments) -> Path | None:
    """Where this process's server writes; of earlier replicas of the version, the newest few logs are kept."""
    if pool.log_dir is None:
        return None
    name = f"triton-{pool.model}-{pool.version}"
    logs = [file for file in Path(pool.log_dir).glob(f"{name}-*.log*") if not _runs(_pid(file))]
    for old in sorted(logs, key=_age)[:-_KEPT_LOGS]:
        old.unlink(missing_ok=True)
    return Path(pool.log_dir) / f"{name}-{os.getpid()}.log"


def _pid(file: Path) -> str:
    return file.name.partition(".log")[0].rpartition("-")[2]


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _runs(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()
