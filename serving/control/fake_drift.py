"""Drift in memory: the part of `serving.control.fake_store` that is about it, and what a sidecar would leave there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drift.findings import Finding
from drift.incidents import Incident, Word
from drift.status import Status, WindowSeen
from serving.control.drift_store import Found
from serving.control.incident_form import incident_from, word_from
from serving.control.publication import Beside, Refused
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
        self._incidents: dict[str, tuple[int, str]] = {}
        self._open_incidents: dict[str, str] = {}
        self._silences: dict[str, str] = {}

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

    async def open_incidents(self) -> Mapping[str, Incident]:
        """Those that are not over, by model."""
        self._before_drift()
        found = {model: incident_from(self._incidents[one][1]) for model, one in self._open_incidents.items()}
        return {model: one for model, one in found.items() if one is not None}

    async def lost_incidents(self) -> Mapping[str, str]:
        """Ids of those that are not over, and that nobody can read, by model."""
        self._before_drift()
        return {model: one for model, one in self._open_incidents.items() if not incident_from(self._incidents[one][1])}

    async def incident(self, incident_id: str) -> Incident | None:
        """The one of that id; None where there is none."""
        self._before_drift()
        said = self._incidents.get(incident_id)
        return None if said is None else incident_from(said[1])

    async def incidents(self, limit: int) -> Sequence[Incident]:
        """The newest, newest first."""
        self._before_drift()
        found = [incident_from(said) for _, said in reversed(self._incidents.values())]
        return [one for one in found if one is not None][: max(1, limit)]

    async def silences(self) -> Mapping[str, Word]:
        """What operators said of models whose drift nobody is to hear of."""
        self._before_drift()
        found = {model: word_from(said) for model, said in self._silences.items()}
        return {model: word for model, word in found.items() if word is not None}

    def _forbidden_incident(self, beside: Beside) -> tuple[Refused, str] | None:
        """What does not hold of what must."""
        for one in beside.incidents:
            there = self._open_incidents.get(one.model, one.id)
            if there not in {one.id, one.replaces} or self._incidents.get(one.id, (0, ""))[0] != one.expected:
                return Refused.EPISODE, there
        return None

    def _write_incidents(self, beside: Beside) -> None:
        for one in beside.incidents:
            self._incidents[one.id] = one.revision, one.record
            if one.over:
                self._open_incidents.pop(one.model, None)
            else:
                self._open_incidents[one.model] = one.id
        self._silences = {model: word for model, word in {**self._silences, **beside.silences}.items() if word}
