"""Drift in memory: the part of `serving.control.fake_store` that is about it, and what a sidecar would leave there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drift.findings import Finding
from drift.status import Status, WindowSeen
from serving.control.drift_store import Found
from serving.control.rolling.shelf import place_of


class FakeDrift:
    """What the store's part for drift does, without a server.

    Args:
        reach: called first by everything; raises where the store is away.
    """

    def __init__(self, reach: Callable[[], None]) -> None:
        self._before_drift = reach
        self._statuses: dict[tuple[str, int], Status] = {}
        self._windows: dict[tuple[str, int], list[WindowSeen]] = {}
        self._findings: list[Found] = []
        self._heard_finding = ""

    async def sidecar_tells(self, said: Status) -> None:
        """What a sidecar writes of a version."""
        self._statuses[said.model, said.version] = said

    async def sidecar_sees(self, model: str, version: int, window: WindowSeen) -> None:
        """A window that a sidecar heard."""
        self._windows.setdefault((model, version), []).append(window)

    async def sidecar_finds(self, finding: Finding) -> str:
        """A finding of a sidecar; its id."""
        found = Found(f"{len(self._findings) + 1}-0", finding)
        self._findings.append(found)
        return found.id

    async def drift_statuses(self) -> Sequence[Status]:
        """How each version is watched, by model and version."""
        self._before_drift()
        return [self._statuses[key] for key in sorted(self._statuses)]

    async def drift_windows(self, model: str, version: int) -> Sequence[WindowSeen]:
        """The windows of that version that are remembered, oldest first."""
        self._before_drift()
        return list(self._windows.get((model, version), ()))

    async def drift_findings(self, limit: int, before: str = "") -> Sequence[Found]:
        """The newest findings, newest first; of those before that id, where one is given."""
        self._before_drift()
        older = [one for one in self._findings if not before or place_of(one.id) < place_of(before)]
        return older[: -max(1, limit) - 1 : -1]

    async def drift_findings_after(self, after: str, limit: int) -> Sequence[Found]:
        """The oldest findings after that id, oldest first."""
        self._before_drift()
        return [one for one in self._findings if not after or place_of(one.id) > place_of(after)][:limit]

    async def heard_finding(self) -> str:
        """The id of the finding that was heard last; empty for none."""
        self._before_drift()
        return self._heard_finding
