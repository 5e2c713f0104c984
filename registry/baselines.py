"""What drift is measured against, kept beside a version: its bytes under their digest, and a line that says what it is.

A version never changes, and its baseline is not part of it: one may be made later, made anew, or learned from live
requests. Where the version's maker named a digest, only the baseline of that digest is its. What was learned never
takes the place of what somebody brought. The bytes are read by `drift.baseline`; here they are bytes.

They are kept in the store and not with the artifacts, for the sidecar reaches the store wherever it runs, and a folder
only where that is mounted. `MOST_BYTES` bounds them: half a megabyte for 30 features, nine for 512.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from registry.changes import AuditEntry, missing
from registry.errors import Conflict, Corrupted, NotFound, StoreDamaged, Unacceptable
from registry.models import ModelName, Version, VersionNumber, check_digest

MOST_BYTES: Final = 32 * 1024 * 1024
_YEAR_10_000_S: Final = 253_402_300_800


@dataclass(frozen=True, slots=True)
class BaselineRecord:
    """What is known of a version's baseline without reading it.

    Attributes:
        model: whose.
        version: which.
        digest: SHA-256 of its bytes.
        size_bytes: of them.
        rows: of the reference's inputs.
        learned: whether it was learned from live requests.
        made_at_s: when it was computed, seconds since 1970.
        kept_by: who brought it.
    """

    model: ModelName
    version: VersionNumber
    digest: str
    size_bytes: int
    rows: int
    learned: bool
    made_at_s: float
    kept_by: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", ModelName(self.model))
        object.__setattr__(self, "version", VersionNumber(self.version))
        check_digest("baseline's digest", self.digest)
        check_size(self.size_bytes)
        if type(self.rows) is not int or type(self.learned) is not bool or type(self.kept_by) is not str:
            raise Unacceptable("The rows of a baseline are a number, it is learned or not, and somebody brought it.")
        if not 0 <= self.made_at_s < _YEAR_10_000_S:
            raise Unacceptable(f"A baseline is made at some time from 1970 on, not {self.made_at_s!r:.40} s after it.")

    def __str__(self) -> str:
        """'the baseline of digits version 3'."""
        return f"the baseline of {self.model} version {int(self.version)}"

    def encode(self) -> str:
        """The record as JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def check_size(size_bytes: int) -> None:
    """Refuses what is too large to be kept.

    Raises:
        Unacceptable: it is.
    """
    if not 0 < size_bytes <= MOST_BYTES:
        raise Unacceptable(
            f"A baseline of {size_bytes:,} bytes is not kept: at most {MOST_BYTES:,} are.",
            "Declare embeddings and images as wide, so that they are projected, or leave some columns out.",
        )


def decode_record(said: str | bytes) -> BaselineRecord:
    """What `BaselineRecord.encode` wrote.

    Raises:
        ValueError, KeyError, TypeError, RegistryError: it is none.
    """
    try:
        plain: dict[str, Any] = json.loads(said)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return BaselineRecord(**plain)


class Kept(StrEnum):
    """What became of a baseline that was brought."""

    DONE = "done"
    GONE = "gone"
    """The version was deleted."""
    GIVEN = "given"
    """It was learned, and somebody has brought one."""


class Numbers(NamedTuple):
    """Versions of one model, as the registry knows them.

    Attributes:
        there: those that are there.
        gone: those that were deleted; a number never comes back.
    """

    there: frozenset[VersionNumber]
    gone: frozenset[VersionNumber]


class BaselineStore(Protocol):
    """Where baselines are kept."""

    async def version(self, model: ModelName, number: VersionNumber) -> Version | None:
        """The version of that number, None where there is none."""

    async def keep_baseline(self, record: BaselineRecord, blob: bytes, entry: AuditEntry) -> Kept:
        """Keeps it in the place of the one that is there, unless the version was deleted."""

    async def drop_baseline(self, model: ModelName, number: VersionNumber, entry: AuditEntry) -> bool:
        """Forgets it; whether there was one."""

    async def baseline(self, model: ModelName, number: VersionNumber) -> BaselineRecord | None:
        """What is known of the version's baseline; None where it has none."""

    async def baselines(self) -> Sequence[BaselineRecord]:
        """Those of all versions of all models that can be read, by model and version."""

    async def numbers(self, model: ModelName) -> Numbers:
        """Numbers of versions that are there, and of those that were deleted."""

    async def baseline_blob(self, model: ModelName, number: VersionNumber) -> bytes | None:
        """The bytes that are kept; None where there are none."""


class Baselines:
    """The baselines of one installation.

    Args:
        store: where they are kept.
    """

    def __init__(self, store: BaselineStore) -> None:
        self._store = store

    async def keep(
        self,
        model: str,
        version: int,
        blob: bytes,
        *,
        rows: int,
        learned: bool,
        made_at_s: float,
        who: str,
        why: str = "",
        elsewhere: bool = False,
    ) -> BaselineRecord:
        """Keeps these bytes as the version's baseline, in the place of one that is there.

        Where these very bytes are there already, nothing is done: watching goes on, and the record is as it was.

        Args:
            model: whose.
            version: which.
            blob: its canonical bytes (`drift.baseline.Baseline.blob`).
            rows: of the reference's inputs.
            learned: whether it was learned from live requests.
            made_at_s: when it was computed, seconds since 1970.
            who: for the audit log.
            why: for the audit log.
            elsewhere: whether it is known that there is such a version though it may not be registered: settings may
                declare it.

        Raises:
            Conflict: the version's maker named another, or it was learned and somebody has brought one.
            NotFound: there is no such version.
            Unacceptable: it is too large, or a value is none.
        """
        name, number = ModelName(model), VersionNumber(version)
        digest = hashlib.sha256(blob).hexdigest()
        record = BaselineRecord(name, number, digest, len(blob), rows, learned, made_at_s, who)
        await self._refuse_other(record, elsewhere=elsewhere)
        before = await self._there(name, number)
        if before is not None and before.learned == learned and await self.has(name, number, blob):
            return before
        said = None if before is None else before.digest
        entry = AuditEntry(who, "baseline", name, f"version {int(number)}", said, digest, why)
        kept = await self._store.keep_baseline(record, blob, entry)
        if kept is Kept.GONE:
            raise missing(name, number, deleted=True)
        if kept is Kept.GIVEN:
            raise Conflict(f"{_sentence(record)} was brought by somebody, and a learned one does not replace it.")
        return record

    async def has(self, model: str, version: int, blob: bytes) -> bool:
        """Whether these very bytes are kept as the version's baseline."""
        name, number = ModelName(model), VersionNumber(version)
        there = await self._there(name, number)
        if there is None or there.digest != hashlib.sha256(blob).hexdigest():
            return False
        return await self._store.baseline_blob(name, number) == blob

    async def drop(self, model: str, version: int, *, who: str, why: str = "") -> None:
        """Forgets the version's baseline, so that it is no longer watched.

        Raises:
            NotFound: it has none.
        """
        name, number = ModelName(model), VersionNumber(version)
        record = await self._there(name, number)
        digest = None if record is None else record.digest
        entry = AuditEntry(who, "drop baseline", name, f"version {int(number)}", digest, None, why)
        if not await self._store.drop_baseline(name, number, entry):
            raise _none_of(name, number)

    async def show(self, model: str, version: int) -> BaselineRecord:
        """What is known of the version's baseline.

        Raises:
            NotFound: it has none.
        """
        name, number = ModelName(model), VersionNumber(version)
        record = await self._store.baseline(name, number)
        if record is None:
            raise _none_of(name, number)
        return record

    async def all(self) -> Sequence[BaselineRecord]:
        """Those of all versions of all models, by model and version: who watches looks for what changed.

        Records that cannot be read are left out; the log names them.
        """
        return await self._store.baselines()

    async def numbers(self, model: str) -> Numbers:
        """Numbers of that model's versions that are registered, and of those that were deleted."""
        return await self._store.numbers(ModelName(model))

    async def _there(self, model: ModelName, number: VersionNumber) -> BaselineRecord | None:
        """What is known of the one that is to be replaced; None where nobody can read it."""
        try:
            return await self._store.baseline(model, number)
        except StoreDamaged:
            return None

    async def read(self, model: str, version: int) -> tuple[BaselineRecord, bytes]:
        """The version's baseline: what is known of it, and its bytes, which are those that were brought.

        Raises:
            Corrupted: the store has other bytes.
            NotFound: it has none.
        """
        record = await self.show(model, version)
        blob = await self._store.baseline_blob(record.model, record.version)
        if blob is None:
            raise StoreDamaged(f"The store has lost the bytes of {record}.", "Compute and upload it again.")
        found = hashlib.sha256(blob).hexdigest()
        if found != record.digest:
            again = await self._store.baseline(record.model, record.version)
            if again is not None and again.digest == found:  # replaced between the two looks
                return again, blob
            raise Corrupted(_sentence(record), record.digest, found)
        return record, blob

    async def _refuse_other(self, record: BaselineRecord, *, elsewhere: bool) -> None:
        version = await self._store.version(record.model, record.version)
        if version is None:
            if not elsewhere:
                raise missing(record.model, record.version)
            return
        named = version.contents.baseline_digest
        if named not in (None, record.digest):
            raise Conflict(
                f"{version} was registered with the baseline {named}, and this is {record.digest}.",
                "Bring that one, or register a version that names this one or none.",
            )


def _sentence(record: BaselineRecord) -> str:
    words = str(record)
    return f"{words[:1].upper()}{words[1:]}"


def _none_of(model: ModelName, number: VersionNumber) -> NotFound:
    return NotFound(
        f"{model} version {int(number)} has no baseline.",
        f"Compute one from its training data: `sluice drift baseline {model} {int(number)} --data FILE`.",
    )
