"""Entries of a model's stream that a sidecar has in hand: read, not counted, and encoded where a baseline says so.

Entries are taken out in the order in which they came. What has to be encoded first is encoded beside the loop, so many
rows at a time, and what comes later waits. An encoder that does not answer is asked again after growing pauses; until
then nothing more is read, nothing is acknowledged, and the stream, which is bounded, holds what comes meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from drift import encoding
from drift.encoding import Embedding, Encoder
from drift.errors import Unencoded
from drift.flattening import Known, Part, tables_of
from drift.ports import Encodes
from drift.samples import Batch

_LOG: Final = logging.getLogger(__name__)
MOST_ROWS: Final = 1_024
"""Rows that are encoded at once; of the entry with which they come to more, all."""
PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Before an encoder that did not answer is asked again; the last one from then on."""


@dataclass(frozen=True, slots=True)
class Read:
    """One entry.

    Attributes:
        id: of it.
        blob: of the batch; None where it was taken off the stream after it had been handed out.
        batch: None where it is none.
        parts: its tables, where they were made already.
    """

    id: str
    blob: bytes | None
    batch: Batch | None
    parts: Sequence[Part] | None = None


@dataclass(frozen=True, slots=True)
class Ways:
    """How rows of versions are read.

    Attributes:
        known: what baselines say of tensors, by version.
        encoders: of versions that have any.
    """

    known: Mapping[int, Known] = field(default_factory=dict)
    encoders: Mapping[int, Sequence[Encoder]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Under:
    """Entries that are being encoded, in these ways."""

    ways: Ways
    task: asyncio.Task[Sequence[Read]]


class Inbox:
    """Of one model.

    Args:
        model: its name.
        encodes: who asks encoders; None where there is nobody who could.
    """

    def __init__(self, model: str, encodes: Encodes | None) -> None:
        self._model = model
        self._encodes = encodes
        self._reads: list[Read] = []
        self._under: _Under | None = None
        self._failures = 0
        self._failed_s = 0.0
        self.silence = ""
        """Why nothing is encoded, in a sentence; empty where nothing keeps it."""

    @property
    def is_empty(self) -> bool:
        """Whether more may be read."""
        return not self._reads

    @property
    def batches(self) -> list[Batch]:
        """Those in hand."""
        return [one.batch for one in self._reads if one.batch is not None]

    def put(self, reads: Iterable[Read]) -> None:
        """Entries that were read, in their order."""
        self._reads += reads

    async def take(self, ways: Ways, counted: Mapping[str, int], now_s: float) -> Sequence[Read]:
        """The next entries that can be counted; none while they are being encoded, or cannot be.

        Args:
            ways: how their rows are read.
            counted: number of the last batch of each keeper that was counted: those are not encoded again.
            now_s: seconds since 1970.
        """
        if not ways.encoders:
            self.close()
            self._rest()
            found, self._reads = self._reads, []
            return found
        if self._under is None:
            if self._waits(now_s):
                return ()
            self._under = _Under(ways, asyncio.create_task(self._encoded(list(self._reads), ways, counted)))
        if not self._under.task.done():
            await asyncio.wait((self._under.task,), timeout=0)
        return self._taken(ways, now_s)

    def _taken(self, ways: Ways, now_s: float) -> Sequence[Read]:
        under = self._under
        if under is None or not under.task.done():
            return ()
        self._under = None
        try:
            found = under.task.result()
        except Unencoded as error:
            if error.sentence != self.silence:
                _LOG.warning("%s waits for its encoder: %s", self._model, error)
            self.silence = error.sentence
            self._failures, self._failed_s = self._failures + 1, now_s
            return ()
        self._rest()
        if under.ways != ways:  # a baseline came meanwhile
            return ()
        self._reads = self._reads[len(found) :]
        return found

    def _waits(self, now_s: float) -> bool:
        """Whether it is too soon to ask again; a clock that was set back is no reason to wait."""
        pause_s = PAUSES_S[min(self._failures, len(PAUSES_S)) - 1] if self._failures else 0.0
        return 0 <= now_s - self._failed_s < pause_s

    async def _encoded(self, reads: Sequence[Read], ways: Ways, counted: Mapping[str, int]) -> Sequence[Read]:
        """As many of the first entries as are encoded at once, with their tables."""
        found = await asyncio.to_thread(_prepared, reads, ways, counted)
        embeddings: dict[Encoder, Embedding] = {}
        wanted = encoding.wanted((part for one in found for part in one.parts or ()), ways.encoders)
        for encoder, values in wanted.items():
            if self._encodes is None:
                raise Unencoded("Nobody here can ask an encoder.")
            embeddings[encoder] = await self._encodes.rows(encoder, values)
        return _with_embeddings(found, ways, embeddings)

    def _rest(self) -> None:
        self._failures, self.silence = 0, ""

    def close(self) -> None:
        """Ends what goes on beside; what was read and not taken is read again by whoever comes."""
        if self._under is not None:
            self._under.task.cancel()
            self._under = None


def _prepared(reads: Sequence[Read], ways: Ways, counted: Mapping[str, int]) -> list[Read]:
    """The first entries, with tables of those that have not been counted, up to so many rows to encode."""
    found: list[Read] = []
    rows = 0
    for one in reads:
        if rows >= MOST_ROWS:
            break
        batch = one.batch
        parts: Sequence[Part] | None = None
        if batch is not None and batch.number > counted.get(batch.keeper, 0):
            parts = _parts(batch, ways.known)
            rows += sum(part.rows * len(ways.encoders.get(part.version, ())) for part in parts or ())
        found.append(Read(one.id, one.blob, batch, parts))
    return found


def _parts(batch: Batch, known: Mapping[int, Known]) -> Sequence[Part] | None:
    """Its tables; None where it makes none, which whoever counts it finds out and says."""
    try:
        return tables_of(batch, known)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _with_embeddings(
    reads: Sequence[Read], ways: Ways, embeddings: Mapping[Encoder, Embedding]
) -> Sequence[Read]:  # fmt: skip
    flat = encoding.with_embeddings((part for one in reads for part in one.parts or ()), ways.encoders, embeddings)
    parts = iter(flat)
    made = []
    for one in reads:
        mine = None if one.parts is None else [next(parts) for _ in one.parts]
        made.append(Read(one.id, one.blob, one.batch, mine))
    return made
