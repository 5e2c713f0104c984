"""The flags that a repository asks of its server: a response cache, a rate limiter.

Triton would serve a model that asks for a cache without one, and not say so in any answer; so a server that has none
is refused before it is started. How a server is started is `process.py`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.errors import StartFailed
from serving.triton.binary import TritonBinary

if TYPE_CHECKING:
    from serving.triton.layout import Repository

CACHE_BYTES = 64 * 2**20
"""Of each server, for the answers of its one model."""


def server_flags(repository: Repository, binary: TritonBinary) -> list[str]:
    """The flags for this repository.

    There is as much of each of the rate limiter's resources as the largest execution takes, so that executions that
    ask for it take turns.

    Raises:
        StartFailed: it asks for a response cache, and the server has none.
    """
    flags = []
    if repository.response_cache:
        refuse_missing_cache(binary)
        flags.append(f"--cache-config=local,size={CACHE_BYTES}")
        if binary.cache_directory is not None:
            flags.append(f"--cache-directory={binary.cache_directory}")
    if repository.rate_limits:
        flags.append("--rate-limit=execution_count")
        flags += [f"--rate-limit-resource={name}:{count}" for name, count in sorted(repository.rate_limits.items())]
    return flags


def refuse_missing_cache(binary: TritonBinary) -> None:
    """Refuses a server without a response cache.

    Raises:
        StartFailed: it is one.
    """
    if not binary.has_response_cache:
        raise StartFailed(
            f"A response cache is asked for, and the tritonserver {binary.path} has none: it has no "
            "libtritoncache_local.so.",
            "Leave out response_cache, or name another tritonserver with SLUICE_TRITON_BINARY or triton.binary.",
        )
