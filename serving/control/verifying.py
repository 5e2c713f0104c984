"""A version is verified again: every byte of its artifact is read, and it is tried on a real server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from registry.artifacts import ArtifactStore
from registry.lifecycle import Event, State, moved
from registry.service import Registry
from serving.control.operations import Operation, Tell
from serving.control.registration import options_from
from serving.control.threads import on_artifacts
from serving.control.trials import Trials


class Verifier:
    """Verifies, for one installation.

    Args:
        registry: where versions are recorded.
        artifacts: where their files are kept.
        trials: where they are tried.
    """

    def __init__(self, registry: Registry, artifacts: ArtifactStore, trials: Trials) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._trials = trials

    async def check_verify(self, operation: Operation) -> None:
        """Refuses what is not there, or can no longer be verified.

        Raises:
            NotFound: there is no such version.
            Unacceptable: it is archived.
        """
        shown = await self._registry.show(operation.model, operation.version or 0)
        if shown.standing.state not in {State.VERIFIED, State.SERVING}:
            moved(shown.standing.state, Event.VERIFY)

    async def verify(self, operation: Operation, tell: Tell) -> Mapping[str, Any]:
        """Reads every byte of the artifact again, tries it, and says so in the registry.

        Raises:
            Corrupted: the bytes are not those that were registered.
            SluiceError: the trial failed.
        """
        await self.check_verify(operation)
        shown = await self._registry.show(operation.model, operation.version or 0)
        version, digest = shown.version, shown.version.contents.artifact.digest
        await tell("reading the artifact again")
        await on_artifacts(self._artifacts.verify, digest)
        options = options_from(operation.arguments.get("options"))
        tried = await self._trials.tried(str(version.model), version.number, version.contents, options, tell)
        standing = (await self._registry.show(version.model, version.number)).standing
        if standing.state is State.REGISTERED:
            await self._registry.move(
                version.model, version.number, Event.VERIFY, expected=None, who=operation.who, why=operation.why
            )
        return {
            "model": str(version.model),
            "version": int(version.number),
            "digest": digest,
            "latency_ms": _rounded(tried.latency_ms, 3),
            "throughput": _rounded(tried.throughput, 1),
        }


def _rounded(figure: float | None, digits: int) -> float | None:
    return None if figure is None else round(figure, digits)
