"""Which batches were counted already, keeper by keeper, and what became of the rows that never came.

A keeper numbers its batches, so one that comes twice (it was sent again, or read again) is counted once; and each batch
says how many rows were written in all, so that what fell off the bounded stream is known to the row.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Self

from drift.baseline_form import reading
from drift.samples import Batch
from drift.status import Samples

MOST: Final = 256
"""Lives of keepers that are told apart for each model; the one that was silent for longest makes room."""

_GONE: Final = " gone"  # a keeper's name begins with its gateway's, which is no blank


@dataclass(frozen=True, slots=True)
class Life:
    """One life of one keeper, of one model.

    Attributes:
        number: of its last batch that was counted.
        offered: rows that it was to sample.
        written: rows that it wrote.
        dropped: rows that it dropped.
        lost: rows that it wrote and nobody read.
        turn: the batch of the model at which it was last heard.
    """

    number: int = 0
    offered: int = 0
    written: int = 0
    dropped: int = 0
    lost: int = 0
    turn: int = 0

    def heard(self, batch: Batch, turn: int) -> Self:
        """After one more batch."""
        told = batch.totals
        missed = batch.number > self.number + 1
        lost = max(told.written - sum(one.rows for one in batch.requests) - self.written, 0) if missed else 0
        dropped = sum(told.dropped.values())
        return replace(
            self,
            number=batch.number,
            offered=told.offered,
            written=told.written,
            dropped=dropped,
            lost=self.lost + lost,
            turn=turn,
        )

    def added(self, other: Life) -> Life:
        """Both together, where neither will be heard of again."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _SUMS}
        return Life(turn=max(self.turn, other.turn), **sums)


_SUMS: Final = ("offered", "written", "dropped", "lost")


@dataclass(frozen=True)
class Keepers:
    """Those of one model.

    Attributes:
        lives: by keeper.
        gone: of those that made room, together; its number counts batches that could not be read.
    """

    lives: Mapping[str, Life] = field(default_factory=dict)
    gone: Life = field(default_factory=Life)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lives", MappingProxyType(dict(self.lives)))

    def has(self, batch: Batch) -> bool:
        """Whether this batch was counted already."""
        life = self.lives.get(batch.keeper)
        return life is not None and batch.number <= life.number

    @property
    def numbers(self) -> Mapping[str, int]:
        """Number of the last batch of each keeper that was counted."""
        return {name: life.number for name, life in self.lives.items()}

    def heard(self, batch: Batch) -> Keepers:
        """After one more batch."""
        turn = 1 + max((one.turn for one in self.lives.values()), default=0)
        lives = {**self.lives, batch.keeper: self.lives.get(batch.keeper, Life()).heard(batch, turn)}
        if len(lives) <= MOST:
            return Keepers(lives, self.gone)
        oldest = min(lives, key=lambda name: lives[name].turn)
        number, left = self.gone.number, lives.pop(oldest)
        return Keepers(lives, replace(self.gone.added(left), number=number))

    def damaged(self) -> Keepers:
        """After an entry that is no batch."""
        return replace(self, gone=replace(self.gone, number=self.gone.number + 1))

    def samples(self, pending: int) -> Samples:
        """What became of the model's samples."""
        every = [*self.lives.values(), self.gone]
        offered, _, dropped, lost = (sum(getattr(one, name) for one in every) for name in _SUMS)
        return Samples(offered, dropped, lost, self.gone.number, pending)

    def fields(self, before: Keepers) -> dict[str, bytes | None]:
        """What changed since then, as fields of a hash; None where one is gone."""
        mine, theirs = self._every(), before._every()
        changed = {name: _blob(life) for name, life in mine.items() if theirs.get(name) != life}
        return {**changed, **{name: None for name in theirs if name not in mine}}

    def _every(self) -> dict[str, Life]:
        return {**self.lives, _GONE: self.gone}


def read(fields: Mapping[str, bytes]) -> Keepers:
    """What `Keepers.fields` gave in all.

    Raises:
        Damaged: they are none.
    """
    with reading("record of keepers"):
        lives = {name: Life(**json.loads(raw)) for name, raw in fields.items()}
        return Keepers({name: life for name, life in lives.items() if name != _GONE}, lives.get(_GONE, Life()))


def _blob(life: Life) -> bytes:
    return json.dumps(dataclasses.asdict(life)).encode()
