"""One model in the hands of a sidecar: its samples are read in order, folded in, and stored with what they led to.

Whoever reads may be stopped at any moment. What was read and not stored is read again, from the first entry that was
not acknowledged, by whoever holds the model then; and what comes twice is known by its keeper's number.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from drift import keepers as keepers_of
from drift import progress_form
from drift.companions import ROLES, Companions
from drift.errors import Damaged
from drift.findings import Finding
from drift.flattening import Known, Part, tables_of
from drift.inbox import Inbox, Read, Ways
from drift.keepers import Keepers
from drift.loading import Loading, Version
from drift.ports import Encodes, HasBaselines, Keeps
from drift.samples import Batch, batch_from
from drift.settings import WatchSettings
from drift.status import Samples, Status
from drift.store import Entry, VersionStep
from drift.watched import NOT_FOLDED, Unwatched, Watched, nothing_known
from registry.baselines import BaselineRecord

_LOG: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 32
_BYTES_PER_S: Final = 4_000_000
_LEAST_PAUSE_S: Final = 1.0
_MOST_PAUSE_S: Final = 10.0
_HEARTBEAT_S: Final = 10.0
_MOST_READ: Final = 2_000
_PRUNE_S: Final = 60.0
MOST_VERSIONS: Final = 16
"""Of a model, in memory at once."""

_NEW: Final = ">"
_OLD: Final = "0"


class Lost(Exception):  # noqa: N818 - no error: others watch the model now
    """Another sidecar holds the model."""


class Deleted(Exception):  # noqa: N818 - no error: nobody needs to watch it
    """The model has no version any more, and was forgotten."""


class Held(NamedTuple):
    """A model in somebody's hands.

    Attributes:
        model: its name.
        token: that holds its lease.
        sidecar: id of the process.
    """

    model: str
    token: str
    sidecar: str


class Ticked(NamedTuple):
    """What one look at a model came to.

    Attributes:
        read: entries that were read.
        findings: that are stored now.
    """

    read: int
    findings: tuple[Finding, ...]


class ModelWatch:
    """One model, as long as a token holds it.

    Args:
        held: which, and by whom.
        settings: of it.
        store: where samples come from.
        kept: who has the baselines.
        encodes: who asks encoders; None where there is nobody who could.
    """

    def __init__(
        self, held: Held, settings: WatchSettings, store: Keeps, kept: HasBaselines, encodes: Encodes | None = None
    ) -> None:
        self.model, self.token, self.sidecar = held
        self._settings = settings
        self._store = store
        self._kept = kept
        self.versions: dict[int, Version] = {}
        self._companions = Companions(self.model, settings, store, None)
        self._loading = Loading(self.model, self.sidecar, settings, store, kept)
        self._inbox = Inbox(self.model, encodes)
        self._keepers: Keepers | None = None
        self._keepers_stored = Keepers()
        self._after = _OLD
        self._read: list[str] = []
        self._stored_s = 0.0
        self._pruned_s = 0.0
        self._gone: frozenset[int] = frozenset()
        self._pause_s = 0.0
        self._told: list[Finding] = []
        self.samples = Samples()
        self.is_given = False
        """Whether another sidecar is to have it, since this one has more than its share."""

    async def tick(self, records: Mapping[int, BaselineRecord], now_s: float) -> Ticked:
        """Reads what there is, up to a bound, and stores what it led to once that is due.

        Now and then what is known of versions that were deleted goes.

        Args:
            records: of the model's baselines, by version.
            now_s: seconds since 1970.

        Raises:
            Lost: another one holds the model; this watch is of no use any more.
            Deleted: the model has no version any more; likewise.
            DriftError, RegistryError: the store is away; likewise.
        """
        await self._begin(records)
        await self._prune(now_s)
        await self._renew(records, now_s)
        if self._inbox.is_empty:
            await self._read_on(now_s)
        counted = await self._fold(records, now_s)
        await self._companions.look(self.versions, now_s)
        await self._due(now_s)
        return Ticked(counted, self._newly_told())

    async def _read_on(self, now_s: float) -> None:
        """The next entries; where there are none, windows that are old enough close."""
        entries = await self._store.sampled(self.model, self.token, self._after, _AT_ONCE)
        if entries is None:
            raise Lost
        self._inbox.put(await asyncio.to_thread(lambda: [_read(self.model, entry) for entry in entries]))
        if not entries and self._after == _NEW:
            await asyncio.to_thread(self._close, now_s)
        self._after = _NEW if not entries else self._after if self._after == _NEW else entries[-1].id

    async def store(self, now_s: float) -> tuple[Finding, ...]:
        """Stores what is not stored, and how it stands; the findings that were stored since anybody asked.

        Raises:
            Lost: another one holds the model.
        """
        await self._save(now_s)
        return self._newly_told()

    def _newly_told(self) -> tuple[Finding, ...]:
        told, self._told = tuple(self._told), []
        return told

    async def _save(self, now_s: float) -> None:
        if self._keepers is None:
            return
        self.samples = self._keepers.samples(max(await self._store.pending(self.model) - len(self._read), 0))
        steps = await asyncio.to_thread(self._steps, now_s)
        keepers = {**self._keepers.fields(self._keepers_stored), **self._companions.fields()}
        if not await self._store.step(self.model, self.token, steps, keepers, self._read):
            raise Lost
        self._keepers_stored, self._read, self._stored_s = self._keepers, [], now_s
        size = sum(len(raw) for step in steps.values() for raw in (*step.fields.values(), *step.arms.values()))
        self._pause_s = min(size / _BYTES_PER_S, _MOST_PAUSE_S)
        self._told += [finding for version in self.versions.values() for finding in version.stored()]
        self._told += self._companions.stored()

    async def _begin(self, records: Mapping[int, BaselineRecord]) -> None:
        if self._keepers is not None:
            return
        for number in sorted(records)[-MOST_VERSIONS:]:
            if progress_form.is_filling(await self._store.state(self.model, number)):  # though nothing more may come
                self.versions[number] = await self._loading.version(number, records[number])
        fields = dict(await self._store.keepers(self.model))
        self._companions = Companions(self.model, self._settings, self._store, fields.pop(ROLES, None))
        try:
            self._keepers = keepers_of.read(fields)
        except Damaged as error:
            _LOG.warning("%s: %s Keepers are counted anew.", self.model, error)
            self._keepers = Keepers()
        self._keepers_stored = self._keepers

    async def _prune(self, now_s: float) -> None:
        """What is known of versions that were deleted goes; of a model that has no other, all of it."""
        if 0 <= now_s - self._pruned_s < _PRUNE_S:
            return
        self._pruned_s = now_s
        there, gone = await self._kept.numbers(self.model)
        told = await self._store.told(self.model) if gone else frozenset[int]()
        going = gone & {*told, *self.versions}
        if going:
            for number in going:
                self.versions.pop(number, None)
                self._companions.forget(number)
            self._gone = going
            await self._save(now_s)
            self._gone = frozenset()
            _LOG.info("%s: what was known of deleted versions is gone: %s", self.model, sorted(going))
        is_over = gone and not there and not told - going and self._inbox.is_empty
        if is_over and await self._store.forget(self.model, self.token):
            raise Deleted

    async def _renew(self, records: Mapping[int, BaselineRecord], now_s: float) -> None:
        """Has each version held against the baseline that it has now, if need be against one that it has learned."""
        again = self._loading.again(now_s)
        for number, version in list(self.versions.items()):
            if isinstance(version, Unwatched) and version.is_ready:
                self._loading.learn(number, version, now_s)
            record = records.get(number)
            if version.digest != ("" if record is None else record.digest) or number in again:
                await self._save(now_s)
                self.versions[number] = await self._loading.version(number, record)

    async def _fold(self, records: Mapping[int, BaselineRecord], now_s: float) -> int:
        """Counts what can be counted of what was read; how many entries."""
        if self._inbox.is_empty:
            return 0
        batches = self._inbox.batches
        answered = {one.version for batch in batches for request in batch.requests for one in request.answers}
        answered |= self._companions.wanted
        for number in sorted(answered - self.versions.keys()):
            await self._make_room(answered, now_s)
            self.versions[number] = await self._loading.version(number, records.get(number))
        ways = self._ways()
        reads = await self._inbox.take(ways, self._counted.numbers, now_s)
        whole = [one.batch for one in reads if one.batch is not None]
        if reads:
            await self._companions.settle(whole, self.versions, partial(self._save, now_s))
            await asyncio.to_thread(self._count, reads, ways.known)
        return len(reads)

    def _ways(self) -> Ways:
        watched = {number: one for number, one in self.versions.items() if isinstance(one, Watched)}
        encoders = {number: found for number, one in watched.items() if (found := one.course.watch.baseline.encoders)}
        return Ways({number: one.known for number, one in watched.items()}, encoders)

    async def _make_room(self, wanted: Collection[int], now_s: float) -> None:
        """For one more version in memory; what makes room is stored, and is none of those that are wanted now."""
        idle = next((number for number in self.versions if number not in wanted), None)
        if len(self.versions) >= MOST_VERSIONS and idle is not None:
            await self._save(now_s)
            del self.versions[idle]
            self._companions.forget(idle)

    def _count(self, reads: Sequence[Read], known: Mapping[int, Known]) -> None:
        for one in reads:
            self._read.append(one.id)
            if one.batch is not None:
                self._count_one(one, one.batch, known)
            elif one.blob is not None:
                self._keepers = self._counted.damaged()

    def _count_one(self, one: Read, batch: Batch, known: Mapping[int, Known]) -> None:
        if self._counted.has(batch):
            return
        self._keepers = self._counted.heard(batch)
        try:
            parts_of_all = tables_of(batch, known) if one.parts is None else one.parts
        except NOT_FOLDED as error:
            _LOG.warning("a batch of %s's samples makes no tables, and is counted as unreadable: %r", self.model, error)
            self._keepers = self._keepers.damaged()
            return
        gathered: dict[int, list[Part]] = {}
        for part in parts_of_all:
            version = self.versions.get(part.version)
            rows = version.take(part, batch.hidden) if isinstance(version, Watched) else None
            if not isinstance(version, Watched):
                gathered.setdefault(part.version, []).append(part)
            self._companions.compare(part, rows)
        for number, parts in gathered.items():
            version = self.versions.get(number)
            if isinstance(version, Unwatched):
                last_s = max(float(part.at_s.max()) for part in parts)
                version.take(sum(part.rows for part in parts), last_s, one.blob or b"")

    @property
    def _counted(self) -> Keepers:
        return self._keepers or Keepers()

    def _close(self, now_s: float) -> None:
        for version in self.versions.values():
            if isinstance(version, Watched):
                version.close_quiet(now_s)

    async def _due(self, now_s: float) -> None:
        """Stores once there is something, and it was not done just now: a large state takes long to write."""
        is_same = self._keepers is self._keepers_stored and not self._read
        is_same = is_same and self._companions.is_stored and all(one.is_stored for one in self.versions.values())
        least = _HEARTBEAT_S if is_same else max(_LEAST_PAUSE_S, self._pause_s)
        # A clock that was set back is no reason to wait.
        if not 0 <= now_s - self._stored_s < least or len(self._read) >= _MOST_READ:
            await self._save(now_s)

    def statuses(self, now_s: float) -> Iterator[Status]:
        """Of each version in hand."""
        for number, version in list(self.versions.items()):
            told = version.status(nothing_known(self.model, number, self.sidecar, now_s, self.samples))
            yield self._companions.status(self._with_encoders(told, version))

    def _with_encoders(self, told: Status, version: Version) -> Status:
        baseline = version.course.watch.baseline if isinstance(version, Watched) else None
        words = tuple(one.words for one in baseline.encoders) if baseline else ()
        silence = f" Its samples wait for an encoder: {self._inbox.silence}" if self._inbox.silence else ""
        return replace(told, encoders=words, sentence=f"{told.sentence}{silence}")

    def _steps(self, now_s: float) -> dict[int, VersionStep]:
        said = {one.version: one for one in self.statuses(now_s)}
        steps = {number: replace(one.step(), status=said[number]) for number, one in self.versions.items()}
        return {**self._companions.steps(steps), **{number: VersionStep(gone=True) for number in self._gone}}

    def close(self) -> None:
        """Ends what goes on beside: it is of no use any more."""
        self._inbox.close()
        self._loading.close()


def _read(model: str, entry: Entry) -> Read:
    return Read(entry.id, entry.blob, None if entry.blob is None else _batch(model, entry.blob))


def _batch(model: str, blob: bytes) -> Batch | None:
    try:
        batch = batch_from(blob)
    except ValueError as error:
        _LOG.warning("an entry of %s's samples cannot be read, and is counted as such: %s", model, str(error)[:200])
        return None
    if batch.model != model:
        _LOG.warning("an entry of %s's samples is one of %s, and is counted as unreadable", model, batch.model[:200])
        return None
    return batch
