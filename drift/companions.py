"""What is looked at beside the rows of each version by itself: candidates beside stable, and labels.

Part of `drift.model_watch`, which reads the samples and stores what comes of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from drift.baseline import Baseline
from drift.baseline_form import reading
from drift.beside import Beside, beside
from drift.errors import Damaged
from drift.findings import Finding
from drift.flattening import Part
from drift.labels import Graded
from drift.ports import Keeps
from drift.samples import Batch, Role
from drift.settings import WatchSettings
from drift.status import Status
from drift.store import VersionStep
from drift.watched import NOT_FOLDED, Unwatched, Watched
from drift.window import Window

_LOG: Final = logging.getLogger(__name__)

ROLES: Final = " roles"
"""Among the fields of the model's keepers, whose names begin with no blank."""

Saves = Callable[[], Awaitable[object]]
_NOBODY: Final = b"[null, []]"


class _Roles(NamedTuple):
    """Who is stable, and who stands beside it."""

    stable: int | None = None
    arms: tuple[int, ...] = ()


class Companions:
    """Of one model.

    Args:
        model: its name.
        settings: of it.
        store: where they are kept.
        roles: who was stable, as it was stored; None where it was not.
    """

    def __init__(self, model: str, settings: WatchSettings, store: Keeps, roles: bytes | None) -> None:
        self._model, self._settings, self._store = model, settings, store
        self._roles = self._roles_stored = _read(model, roles)
        self._beside: dict[int, Beside] = {}
        self._graded: dict[int, Graded] = {}
        self._looked_s = 0.0

    @property
    def wanted(self) -> set[int]:
        """Versions that must be in memory, so that none of their rows is missed."""
        stable, arms = self._roles
        return {*arms, stable} if arms and stable is not None else set(arms)

    @property
    def is_stored(self) -> bool:
        """Whether nothing is to be stored."""
        return self._roles == self._roles_stored and all(one.is_stored for one in self._every)

    async def settle(
        self, batches: Sequence[Batch], versions: Mapping[int, Watched | Unwatched], save: Saves
    ) -> None:  # fmt: skip
        """Finds out which candidates stand beside which stable version.

        Args:
            batches: that are to be counted next.
            versions: in memory.
            save: stores everything, before something is given up.
        """
        seen = _answered_as(batches)
        stable = seen.get(Role.STABLE, [self._roles.stable])[-1]
        watched = versions.get(stable or 0)
        baseline = watched.course.watch.baseline if isinstance(watched, Watched) else None
        for number in sorted({*self._beside, *self._roles.arms, *seen.get(Role.ARM, [])}):
            await self._settle_one(number, None if number == stable else baseline, save)
        self._roles = _Roles(stable, tuple(sorted(self._beside)))

    def compare(self, part: Part, rows: Window | None) -> None:
        """Hands answers to the candidates that stand beside stable: stable's to all, an arm's to its own.

        Args:
            part: as it was read.
            rows: the same, folded by its own version's baseline; None where that is not known.
        """
        try:
            if part.version == self._roles.stable and part.role is Role.STABLE and rows is not None:
                for one in self._beside.values():
                    one.take(rows, of_stable=True)
            elif part.role is Role.ARM and part.version in self._beside:
                self._beside[part.version].take_part(part)
        except NOT_FOLDED as error:
            _LOG.warning("%s: answers of two versions cannot be held against each other: %r", self._model, error)

    async def look(self, versions: Iterable[int], now_s: float) -> None:
        """Hears labels, as often as windows close.

        Args:
            versions: in memory.
            now_s: seconds since 1970.
        """
        if 0 <= now_s - self._looked_s < self._settings.window.seconds:
            return
        self._looked_s = now_s
        try:
            found = await self._store.graded(self._model, list(versions))
        except Damaged as error:
            _LOG.warning("%s: labels are not heard, for feedback's sums cannot be read: %s", self._model, error)
            return
        for number, totals in found.items():
            if number not in self._graded:
                fields = await self._store.labels(self._model, number)
                self._graded[number] = Graded(self._model, number, self._settings, fields)
            self._graded[number].look(totals, now_s)

    def forget(self, number: int) -> None:
        """That version leaves memory; all of it is stored."""
        self._beside.pop(number, None)
        self._graded.pop(number, None)

    def status(self, about: Status) -> Status:
        """How a version stands with all of this."""
        for mine in (self._beside.get(about.version), self._graded.get(about.version)):
            about = about if mine is None else mine.status(about)
        return about

    def steps(self, steps: Mapping[int, VersionStep]) -> dict[int, VersionStep]:
        """What is to be stored of each version, with all of this."""
        found = dict(steps)
        for number, one in self._beside.items():
            mine = found.get(number, VersionStep())
            found[number] = replace(mine, arms=one.fields(), findings=(*mine.findings, *one.findings))
        for number, graded in self._graded.items():
            mine = found.get(number, VersionStep())
            found[number] = replace(mine, labels=graded.fields(), findings=(*mine.findings, *graded.findings))
        return found

    def fields(self) -> dict[str, bytes | None]:
        """What is to be stored of the model."""
        return {} if self._roles == self._roles_stored else {ROLES: json.dumps(self._roles).encode()}

    def stored(self) -> tuple[Finding, ...]:
        """All of it is: the findings among it."""
        self._roles_stored = self._roles
        return tuple(finding for one in self._every for finding in one.stored())

    @property
    def _every(self) -> list[Beside | Graded]:
        return [*self._beside.values(), *self._graded.values()]

    async def _settle_one(self, number: int, baseline: Baseline | None, save: Saves) -> None:
        """Has a candidate stand beside the version with that baseline, beside none for None."""
        one = self._beside.get(number)
        if one is not None and (one.is_over or one.baseline is not baseline):
            await save()
            del self._beside[number]
            baseline = None if one.is_over else baseline
        if baseline is not None and number not in self._beside:
            fields = await self._store.arms(self._model, number)
            found = await asyncio.to_thread(beside, number, baseline, self._settings, fields)
            self._beside.update({} if found is None else {number: found})


def _read(model: str, raw: bytes | None) -> _Roles:
    try:
        with reading("record of who is stable"):
            stable, arms = json.loads(raw or _NOBODY)
            return _Roles(stable, tuple(map(int, arms)))
    except Damaged as error:
        _LOG.warning("%s: %s", model, error)
        return _Roles()


def _answered_as(batches: Sequence[Batch]) -> dict[Role, list[int]]:
    """Versions that answered as what, in their order."""
    found: dict[Role, list[int]] = {}
    for answer in (one for batch in batches for request in batch.requests for one in request.answers):
        found.setdefault(answer.role, []).append(answer.version)
    return found
