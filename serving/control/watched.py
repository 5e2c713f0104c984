"""What operators ask of drift, without HTTP: how versions are watched, what was found, and what they are held against.

Findings and statuses are the sidecar's; here they are read. A baseline is somebody's bytes until it was read as one of
that very version: what nobody could read would only be found out by the sidecar, and by nobody who could mend it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from drift import baseline
from drift.errors import DriftError
from drift.findings import Finding
from drift.status import Status, WindowSeen
from registry.baselines import BaselineRecord, Baselines
from serving.control.drift_store import Found
from serving.control.errors import Unacceptable, Unknown
from serving.control.rolling.shelf import place_of
from serving.control.threads import on_artifacts

_LARGEST_HALF: Final = 2**63 - 1
_AT_ONCE: Final = 200
_MOST_LOOKED_AT: Final = 10_000


class Watches(Protocol):
    """What is known of drift (`serving.control.drift_store`)."""

    async def drift_statuses(self) -> Sequence[Status]:
        """How each version is watched, by model and version."""

    async def drift_windows(self, model: str, version: int) -> Sequence[WindowSeen]:
        """The windows of that version that are remembered, oldest first."""

    async def drift_findings(self, limit: int, before: str = "") -> Sequence[Found]:
        """The newest findings, newest first; of those before that id, where one is given."""

    async def drift_findings_after(self, after: str, limit: int) -> Sequence[Found]:
        """The oldest findings after that id, oldest first."""


@dataclass(frozen=True, slots=True)
class ToldFinding:
    """A finding that somebody can read.

    Attributes:
        id: in the stream; it begins with milliseconds since 1970.
        finding: what was found.
    """

    id: str
    finding: Finding


class Brought(NamedTuple):
    """A baseline that was brought.

    Attributes:
        record: what is known of it.
        again: whether these very bytes were there before.
    """

    record: BaselineRecord
    again: bool


@dataclass(frozen=True, slots=True)
class Seen:
    """One version as it is watched.

    Attributes:
        status: how it stands; None where no sidecar has said anything of it.
        baseline: what it is held against; None where it has none.
        windows: that are remembered, oldest first.
        findings: the newest, newest first.
    """

    status: Status | None
    baseline: BaselineRecord | None
    windows: Sequence[WindowSeen]
    findings: Sequence[ToldFinding]


class Drift:
    """Drift as operators see it.

    Args:
        store: what the sidecar leaves.
        baselines: what versions are held against.
        declared: versions that the settings declare, by model: they need not be registered.
    """

    def __init__(
        self, store: Watches, baselines: Baselines, declared: Mapping[str, Collection[int]] | None = None
    ) -> None:
        self._store = store
        self._baselines = baselines
        self._declared = declared or {}

    async def statuses(self) -> Sequence[Status]:
        """How each version is watched, by model and version."""
        return await self._store.drift_statuses()

    async def baselines(self) -> Sequence[BaselineRecord]:
        """What versions are held against, by model and version."""
        return await self._baselines.all()

    async def seen(self, model: str, version: int, findings: int) -> Seen:
        """One version, with so many of its newest findings.

        Raises:
            Unknown: nothing watches it, and it has no baseline.
        """
        status = next((one for one in await self.statuses() if (one.model, one.version) == (model, version)), None)
        kept = next((one for one in await self.baselines() if (one.model, one.version) == (model, version)), None)
        if status is None and kept is None:
            raise Unknown(
                f"Nobody watches {model} version {version}: it has no baseline.",
                f"Make one: `sluice drift baseline {model} {version} --data FILE`; or let it learn one "
                "(drift.learn_rows).",
            )
        windows = await self._store.drift_windows(model, version)
        return Seen(status, kept, windows, await self.findings(findings, model=model, version=version))

    async def findings(
        self, limit: int, *, model: str | None = None, version: int | None = None, before: str = ""
    ) -> Sequence[ToldFinding]:
        """The newest findings, newest first, of one model or version or of all; unreadable ones are left out.

        Raises:
            Unacceptable: `before` is no id of a finding.
        """
        _check_id(before)
        found: list[ToldFinding] = []
        looked_at = 0
        while looked_at < _MOST_LOOKED_AT:
            page = await self._store.drift_findings(_AT_ONCE, before)
            found += [one for one in _told(page) if _is_of(one.finding, model, version)]
            if len(page) < _AT_ONCE or len(found) >= limit:
                break
            looked_at, before = looked_at + len(page), page[-1].id
        return found[:limit]

    async def findings_after(self, after: str, limit: int, *, model: str | None = None) -> Sequence[ToldFinding]:
        """The oldest findings after that id (empty: from the beginning), oldest first.

        Raises:
            Unacceptable: it is no id of a finding.
        """
        _check_id(after)
        found: list[ToldFinding] = []
        looked_at = 0
        while looked_at < _MOST_LOOKED_AT:  # else others' findings, or unreadable ones, would hide what comes later
            page = await self._store.drift_findings_after(after, _AT_ONCE)
            found += [one for one in _told(page) if _is_of(one.finding, model, None)]
            if len(page) < _AT_ONCE or len(found) >= limit:
                break
            looked_at, after = looked_at + len(page), page[-1].id
        return found[:limit]

    async def finding(self, finding_id: str) -> ToldFinding:
        """The finding of that id.

        Raises:
            Unknown: there is none, or not any more.
        """
        _check_id(finding_id)
        milliseconds, nth = place_of(finding_id)
        before = f"{milliseconds}-{nth + 1}"
        found = next(iter(_told(await self._store.drift_findings(1, before))), None)
        if found is None or place_of(found.id) != (milliseconds, nth):
            raise Unknown(f"There is no finding {finding_id}.", "`sluice drift findings` shows those that there are.")
        return found

    async def keep(self, model: str, version: int, blob: bytes, *, who: str, why: str = "") -> Brought:
        """Keeps these bytes as the version's baseline, in the place of one that is there.

        Where they are there already nothing changes, and watching goes on.

        Raises:
            Unacceptable: they are no baseline, or another version's.
            registry.errors.RegistryError: see `registry.baselines.Baselines.keep`.
        """
        found = await on_artifacts(_read, blob)
        if (found.model, found.version) != (model, version):
            raise Unacceptable(
                f"This is the baseline of {found}, and not of {model} version {version}.",
                "Compute it for the version that it is to be kept for.",
            )
        again = await self._baselines.has(model, version, blob)
        record = await self._baselines.keep(
            model,
            version,
            blob,
            rows=int(found.inputs.sketch.rows),
            learned=found.live,
            made_at_s=found.made_at_s,
            who=who,
            why=why,
            elsewhere=version in self._declared.get(model, ()),
        )
        return Brought(record, again)

    async def baseline(self, model: str, version: int) -> BaselineRecord:
        """What that version is held against."""
        return await self._baselines.show(model, version)

    async def drop(self, model: str, version: int, *, who: str, why: str = "") -> None:
        """Forgets the version's baseline, so that it is no longer watched."""
        await self._baselines.drop(model, version, who=who, why=why)


def _read(blob: bytes) -> baseline.Baseline:
    try:
        return baseline.read(blob)
    except DriftError as error:
        raise Unacceptable(error.sentence, error.hint) from error


def _told(page: Sequence[Found]) -> list[ToldFinding]:
    return [ToldFinding(one.id, one.finding) for one in page if one.finding is not None]


def _is_of(finding: Finding, model: str | None, version: int | None) -> bool:
    return model in (None, finding.model) and version in (None, finding.version)


def _check_id(said: str) -> None:
    halves = said.split("-") if said else []
    sound = len(halves) in (0, 2) and all(half.isascii() and half.isdigit() for half in halves)
    if not sound or any(int(half) >= _LARGEST_HALF for half in halves):
        raise Unacceptable(f"{said[:64]!r} is no id of a finding: it looks like 1700000000000-0.")
