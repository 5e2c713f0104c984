"""From a pool's arguments to a server that is warm: brought, laid out, started, warmed up; for replicas and trials.

What is registered is loaded by its digest, and every byte of it measured, before anything else looks at it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from registry.artifacts import ArtifactStore
from registry.errors import RegistryError, StoreUnavailable
from registry.kinds import RUNS_CODE
from registry.roots import Roots
from serving.errors import StartFailed
from serving.triton import binary
from serving.triton.arguments import PoolArguments
from serving.triton.binary import TritonBinary
from serving.triton.guard import Guard
from serving.triton.layout import ArtifactRefused, Repository, write_repository
from serving.triton.process import ServerOptions, TritonProcess
from serving.triton.warmup import Warmth, warm_up

_LOG = logging.getLogger("sluice.triton")

_LATE_S = 0.2
"""How much later than the end of its connections a server's death may be seen."""

Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Started:
    """A server that has answered, and what it runs.

    Attributes:
        server: the server.
        repository: what was laid out for it.
        warmth: how it answers.
    """

    server: TritonProcess
    repository: Repository
    warmth: Warmth


async def started(
    pool: PoolArguments, home: Path, guard: Guard, log_file: Path | None, tell: Tell = lambda _: None
) -> Started:
    """A server that has answered its first requests. Call this from a thread that lives as long as the process.

    Args:
        pool: what to run.
        home: a folder of its own, which must be empty or missing.
        guard: of this process.
        log_file: where the server writes.
        tell: is told what is being done.

    Raises:
        ArtifactRefused: the artifact cannot be served.
        StartFailed: there is no usable tritonserver, or it did not get ready, or it does not answer.
    """
    server, repository = await launched(pool, home, guard, log_file, tell)
    try:
        tell("warming up")
        return Started(server, repository, await warmed(pool, server, repository))
    except BaseException:
        await server.stop(0.0)
        raise


async def launched(
    pool: PoolArguments, home: Path, guard: Guard, log_file: Path | None, tell: Tell = lambda _: None
) -> tuple[TritonProcess, Repository]:
    """The same, without having been asked anything."""
    found = await asyncio.to_thread(binary.find, pool.binary)
    if pool.artifact:
        tell("loading the artifact")
    artifact = await asyncio.to_thread(_brought, pool, home / "artifact")
    repository = await asyncio.to_thread(_laid_out, pool, artifact, home / "repository", found)
    tell("starting Triton, which runs its author's code" if pool.kind in RUNS_CODE else "starting Triton")
    options = server_options(pool, log_file)
    return await TritonProcess.start(found, repository, pool.model, pool.version, options, guard=guard), repository


async def warmed(pool: PoolArguments, server: TritonProcess, repository: Repository) -> Warmth:
    """Warms the server up with its example, or with zeros."""
    example = example_of(pool, repository)
    # Each request of a burst is the same: one that is answered from a cache says nothing of the model.
    at_once = None if repository.response_cache else repository.capacity
    try:
        return await warm_up(server, example, timeout_s=pool.ready_timeout_s, at_once=at_once)
    except StartFailed:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LATE_S):
                await server.ended()
            raise server.death() from None
        raise


def example_of(pool: PoolArguments, repository: Repository) -> bytes | None:
    """The pool's own example, else the artifact's, if it has one: the body of a v2 inference request in JSON."""
    return pool.example.encode() or (repository.example.read_bytes() if repository.example else None)


def server_options(pool: PoolArguments, log_file: Path | None) -> ServerOptions:
    """How the pool's servers are to run."""
    return ServerOptions(
        host=pool.host,
        first_port=pool.first_port,
        last_port=pool.last_port,
        ready_timeout_s=pool.ready_timeout_s,
        threads=pool.how.threads,
        log_file=log_file,
    )


def _brought(pool: PoolArguments, folder: Path) -> Path:
    """Where the artifact lies on this machine."""
    if not pool.artifact:
        return Path(pool.path)
    try:
        return ArtifactStore(pool.artifacts, Roots(())).load(pool.artifact, folder)
    except StoreUnavailable as error:
        raise StartFailed(error.sentence, error.hint) from error
    except RegistryError as error:
        raise ArtifactRefused(error.sentence, error.hint) from error
    except OSError as error:
        raise _no_room(f"The artifact {pool.artifact}", folder, error) from error


def _laid_out(pool: PoolArguments, artifact: Path, folder: Path, server: TritonBinary) -> Repository:
    try:
        return write_repository(pool.laid_out_from(artifact), folder, server)
    except OSError as error:
        raise _no_room(str(artifact), folder, error) from error


def _no_room(what: str, folder: Path, error: OSError) -> ArtifactRefused:
    return ArtifactRefused(f"{what} cannot be laid out for Triton in {folder}: {error.strerror or error}.")
