"""How a version comes into a sidecar's memory: its baseline is read, or one is learned of what was gathered.

A baseline that cannot be used leaves the version unwatched, and says why. One that could not be had is looked for again
now and then; a store that is away is none of these, and whoever asked gets its error.

Part of `drift.model_watch`, which says when.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from drift import baseline as baselines
from drift import learning
from drift.errors import DriftError, Unavailable
from drift.ports import HasBaselines, Keeps
from drift.settings import WatchSettings
from drift.watched import NOT_FOLDED, Unwatched, Watched
from registry.baselines import BaselineRecord
from registry.errors import RegistryError, StoreDamaged, StoreUnavailable

_LOG: Final = logging.getLogger(__name__)
_AGAIN_S: Final = 60.0
"""Between two looks for baselines that could not be had."""

Version = Watched | Unwatched


class Loading:
    """Of one model.

    Args:
        model: its name.
        sidecar: id of the process, which stands beside what it has learned.
        settings: of the model.
        store: where states of versions are.
        kept: who has the baselines.
    """

    def __init__(self, model: str, sidecar: str, settings: WatchSettings, store: Keeps, kept: HasBaselines) -> None:
        self._model, self._sidecar = model, sidecar
        self._settings = settings
        self._store = store
        self._kept = kept
        self._learnings: dict[int, asyncio.Task[None]] = {}
        self._unread: set[int] = set()
        self._sought_s = 0.0

    async def version(self, number: int, record: BaselineRecord | None) -> Version:
        """The version as it was stored, held against the baseline that it has.

        Args:
            number: which.
            record: of its baseline; None where it has none.

        Raises:
            DriftError, RegistryError: the store is away.
        """
        fields = dict(await self._store.state(self._model, number))
        if record is None:
            return Unwatched(self._model, number, self._settings, fields)
        try:
            found, blob = await self._kept.read(self._model, number)
            baseline = await asyncio.to_thread(baselines.read, blob)
            return await asyncio.to_thread(Watched, baseline, self._settings, fields, found.digest)
        except (*NOT_FOLDED, RegistryError) as error:
            if _is_away(error):
                raise
            if isinstance(error, RegistryError):
                self._unread.add(number)
            why = f"its baseline cannot be used. {_in_words(error)}"
            return Unwatched(self._model, number, self._settings, fields, why, record.digest)

    def again(self, now_s: float) -> Collection[int]:
        """Versions whose baseline could not be had, once that is to be tried anew; by its digest nobody would know.

        Args:
            now_s: seconds since 1970.
        """
        if 0 <= now_s - self._sought_s < _AGAIN_S:
            return ()
        found, self._unread, self._sought_s = self._unread, set(), now_s
        return found

    def learn(self, number: int, version: Unwatched, now_s: float) -> None:
        """Begins to learn a baseline of what was gathered, beside all else: features may be many."""
        if number not in self._learnings:
            self._learnings[number] = asyncio.create_task(self._learn(number, version, now_s))

    def close(self) -> None:
        """Ends what is being learned: it is of no use any more."""
        for task in self._learnings.values():
            task.cancel()

    async def _learn(self, number: int, version: Unwatched, now_s: float) -> None:
        try:
            blobs = await self._store.to_learn(self._model, number)
            made = await asyncio.to_thread(learning.learned, self._model, number, blobs, self._settings, now_s)
            await self._kept.keep(
                self._model, number, made.blob, rows=made.inputs.sketch.rows, learned=True, made_at_s=now_s,
                who=f"drift sidecar {self._sidecar}", why="learned from live requests", elsewhere=True,
            )  # fmt: skip
        except (*NOT_FOLDED, RegistryError) as error:
            if _is_away(error):
                _LOG.warning("a baseline of %s version %d waits to be learned: %s", self._model, number, error)
            else:
                version.refuse(_in_words(error))
        else:
            version.rest()
        finally:
            self._learnings.pop(number, None)


def _is_away(error: Exception) -> bool:
    """Whether waiting helps: what a store has lost does not come back by that."""
    return isinstance(error, StoreUnavailable | Unavailable) and not isinstance(error, StoreDamaged)


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, DriftError | RegistryError | ValueError) else f"It is odd: {error!r:.300}."
