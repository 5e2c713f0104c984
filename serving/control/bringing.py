"""Artifacts on their way into the registry: copied in, held while they are tried, and gone if nobody needs them.

Several registrations may bring the same bytes at once. Whoever fails takes them away only if no version is made of them
and nobody else in this process holds them; another process that loses them in that moment finds out before it records
anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from registry.artifacts import ArtifactStore
from registry.errors import RegistryError
from registry.models import Artifact
from registry.service import Registry
from serving.control.operation import Further
from serving.control.operations import Tell
from serving.control.registration import Asked
from serving.control.threads import on_artifacts

_log = logging.getLogger(__name__)

_TOLD_EVERY_S = 1.0
_MB = 1_000_000


class Bringing:
    """Brings artifacts in, for one installation.

    Args:
        registry: knows which artifacts versions are made of.
        artifacts: where they are kept.
    """

    def __init__(self, registry: Registry, artifacts: ArtifactStore) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._held: Counter[str] = Counter()
        self._letting_go = asyncio.Lock()

    async def brought(self, asked: Asked, tell: Tell) -> Artifact:
        """Copies the artifact in, telling how much is there so far; broken off, it leaves nothing.

        Args:
            asked: names the source.
            tell: hears of it.

        Raises:
            Corrupted: it has another digest than its sender said.
            ArtifactsUnavailable: it cannot be read or kept.
            Unacceptable: it is not admitted, or no artifact.
        """
        copied = _Copied()
        await tell(f"bringing in {asked.source}")

        def bring() -> Artifact:
            return self._artifacts.bring(asked.source, kind=asked.kind, expected=asked.digest, hear=copied)

        bringing = on_artifacts(bring)
        try:
            while not (await asyncio.wait({bringing}, timeout=_TOLD_EVERY_S))[0]:
                await tell(Further(f"bringing in {asked.source}: {copied.size / _MB:,.1f} MB so far"))
            return bringing.result()
        finally:
            if not bringing.done():  # a thread cannot be cancelled, so it is told, and waited for
                copied.stopped = True
                await asyncio.wait({bringing})
                if bringing.exception() is None:
                    self._held[bringing.result().digest] += 1
                    await self._let_go(bringing.result().digest)

    @asynccontextmanager
    async def holding(self, digest: str) -> AsyncIterator[None]:
        """Within it, nobody of this process takes the artifact away; after a failure it goes, if nobody needs it."""
        async with self._letting_go:
            self._held[digest] += 1
        try:
            yield
        except BaseException:
            await asyncio.shield(self._let_go(digest))
            raise
        else:
            self._held[digest] -= 1

    async def forget(self, digest: str) -> None:
        """Takes away what a run that was killed has left, if nobody needs it."""
        async with self._letting_go:
            self._held[digest] += 1
        await asyncio.shield(self._let_go(digest))

    async def _let_go(self, digest: str) -> None:
        async with self._letting_go:
            self._held[digest] -= 1
            if self._held[digest] > 0:
                return
            del self._held[digest]
            try:
                if not await self._registry.holders(digest):
                    await on_artifacts(self._artifacts.remove, digest)
            except RegistryError as error:
                _log.warning("the artifact %s stays, although its registration failed: %s", digest, error)


class _Copied:
    """How much was copied; told by the thread that copies, which ends when it is told to."""

    def __init__(self) -> None:
        self.size = 0
        self.stopped = False

    def __call__(self, size: int) -> None:
        self.size += size
        if self.stopped:
            raise _StoppedError


class _StoppedError(Exception):
    """Whoever wanted the copy does not want it any more."""
