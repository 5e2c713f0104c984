"""A registry in memory, for tests and for looking at the room without a server.

It passes the contract suite of the real one (tests/contracts/test_registry_store.py) and keeps versions as bytes, as
that one does. Nothing outlives the process, and what it says of durability is only what the real one would.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from registry.baselines import BaselineRecord, Kept, Numbers
from registry.changes import Answer, AuditEntry, Change, Facts, Recorded
from registry.codec import decode_version, encode_standing, encode_summary, encode_version, listed_from
from registry.errors import StoreUnavailable
from registry.lifecycle import Standing, State
from registry.models import Alias, AliasName, Listed, ModelListed, ModelName, Version, VersionNumber


@dataclass
class _Model:
    """What is kept of one model."""

    revision: int = 0
    newest: int = 0
    records: dict[VersionNumber, bytes] = field(default_factory=dict)
    summaries: dict[VersionNumber, str] = field(default_factory=dict)
    standings: dict[VersionNumber, Standing] = field(default_factory=dict)
    aliases: dict[AliasName, Alias] = field(default_factory=dict)
    baselines: dict[VersionNumber, tuple[BaselineRecord, bytes]] = field(default_factory=dict)

    def shown(self, number: VersionNumber) -> Listed:
        """The version as a list shows it."""
        return listed_from(json.loads(self.summaries[number]), encode_standing(self.standings[number]))


class FakeStore:
    """What `registry.store.Store` does, without a server.

    Args:
        clock_ms: milliseconds since 1970.
    """

    def __init__(self, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._clock_ms = clock_ms
        self._models: dict[ModelName, _Model] = {}
        self._audit: list[Recorded] = []
        self.down = False
        """While true, every call fails as it does when the server is gone."""

    async def close(self) -> None:
        """Nothing to give back."""

    async def facts(self, model: ModelName, numbers: Iterable[VersionNumber] = ()) -> Facts:
        """What is held of the model and of these versions."""
        kept = self._kept(model)
        asked = set(numbers)
        return Facts(
            model=model,
            revision=kept.revision,
            newest=kept.newest,
            aliases=dict(kept.aliases),
            standings={number: kept.standings[number] for number in asked & kept.standings.keys()},
            listed={number: kept.shown(number) for number in asked & kept.summaries.keys()},
            now_ms=self._clock_ms(),
        )

    async def commit(self, change: Change) -> Answer:
        """Writes all of a change if the model is still at the expected revision, else nothing."""
        kept = self._kept(change.model)
        if kept.revision != change.expected:
            return Answer(done=False)
        self._models[change.model] = kept
        kept.revision = change.revision
        if change.created:
            _add(kept, change.created)
        for number, state in change.states.items():
            _move(kept, number, Standing(state, change.revision))
        for name, target in change.aliases.items():
            kept.aliases.pop(name, None)
            if target is not None:
                kept.aliases[name] = Alias(target, change.revision)
        self._note(change.entry)
        return Answer(done=True, durable=True)

    async def version(self, model: ModelName, number: VersionNumber) -> Version | None:
        """The version of that number, None where there is none."""
        blob = self._kept(model).records.get(number)
        return None if blob is None else decode_version(blob)

    async def listed(self, model: ModelName, *, below: int | None, limit: int) -> Sequence[Listed]:
        """A page of the model's versions, the highest number first."""
        kept = self._kept(model)
        numbers = sorted((number for number in kept.records if below is None or number < below), reverse=True)
        return [kept.shown(number) for number in numbers[:limit]]

    async def models(self, *, after: str, limit: int) -> Sequence[ModelListed]:
        """A page of the models by name."""
        self._reach()
        known = {name: kept for name, kept in self._models.items() if kept.revision}
        named = sorted((name, kept) for name, kept in known.items() if name > after)[:limit]
        return [
            ModelListed(name, kept.revision, len(kept.records), kept.newest, dict(kept.aliases)) for name, kept in named
        ]

    async def audit(self, *, before: str, limit: int) -> Sequence[Recorded]:
        """A page of the audit log, newest first."""
        self._reach()
        end = max(0, int(before.partition("-")[0]) - 1) if before else len(self._audit)
        return self._audit[:end][::-1][:limit]

    async def keep_baseline(self, record: BaselineRecord, blob: bytes, entry: AuditEntry) -> Kept:
        """Keeps it in the place of the one that is there, unless the version was deleted."""
        kept = self._kept(record.model)
        standing, there = kept.standings.get(record.version), kept.baselines.get(record.version)
        if standing is not None and standing.state is State.GONE:
            return Kept.GONE
        if record.learned and there is not None and not there[0].learned:
            return Kept.GIVEN
        self._models[record.model] = kept
        kept.baselines[record.version] = record, blob
        self._note(entry)
        return Kept.DONE

    async def drop_baseline(self, model: ModelName, number: VersionNumber, entry: AuditEntry) -> bool:
        """Forgets it; whether there was one."""
        if self._kept(model).baselines.pop(number, None) is None:
            return False
        self._note(entry)
        return True

    async def baseline(self, model: ModelName, number: VersionNumber) -> BaselineRecord | None:
        """What is known of the version's baseline; None where it has none."""
        there = self._kept(model).baselines.get(number)
        return None if there is None else there[0]

    async def baselines(self) -> Sequence[BaselineRecord]:
        """Those of all versions of all models, by model and version."""
        self._reach()
        found = [record for kept in self._models.values() for record, _ in kept.baselines.values()]
        return sorted(found, key=lambda one: (one.model, one.version))

    async def numbers(self, model: ModelName) -> Numbers:
        """Numbers of versions that are there, and of those that were deleted."""
        standings = self._kept(model).standings
        gone = frozenset(number for number, standing in standings.items() if standing.state is State.GONE)
        return Numbers(frozenset(standings) - gone, gone)

    async def baseline_blob(self, model: ModelName, number: VersionNumber) -> bytes | None:
        """The bytes that are kept; None where there are none."""
        there = self._kept(model).baselines.get(number)
        return None if there is None else there[1]

    def _note(self, entry: AuditEntry) -> None:
        self._audit.append(Recorded(f"{len(self._audit) + 1}-0", self._clock_ms(), entry))

    def _kept(self, model: ModelName) -> _Model:
        self._reach()
        return self._models.get(model) or _Model()

    def _reach(self) -> None:
        if self.down:
            raise StoreUnavailable("The registry in memory cannot be reached.", "Try again when it is back.")


def _add(kept: _Model, version: Version) -> None:
    kept.records[version.number] = encode_version(version)
    kept.summaries[version.number] = encode_summary(version)
    kept.newest = max(kept.newest, version.number)


def _move(kept: _Model, number: VersionNumber, standing: Standing) -> None:
    kept.standings[number] = standing
    if standing.state is State.GONE:
        del kept.records[number], kept.summaries[number]
        kept.baselines.pop(number, None)
