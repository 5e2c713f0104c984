"""The sidecar: takes its share of the models, looks at each in turn, and leaves to others what it cannot look at.

Several share the models by leases, each as many as there are models for each of them; one that dies is replaced when
its leases have run out. While the store is away it waits, and begins anew with what was stored.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Protocol

from drift.errors import DriftError, Unavailable
from drift.metrics import DriftMetrics
from drift.model_watch import Deleted, Held, Lost, ModelWatch
from drift.ports import Encodes, HasBaselines, Keeps
from drift.settings import DriftSettings
from drift.status import Status
from registry.baselines import BaselineRecord
from registry.errors import RegistryError

_LOG: Final = logging.getLogger(__name__)
_PAUSE_S: Final = 0.25
_AWAY_S: Final = 1.0
_RECORDS_S: Final = 3.0
_LIVE: Final = 3
"""A sidecar that has not said for so many leases that it lives does not."""
_AWAY: Final = (DriftError, RegistryError)


class Shares(Keeps, Protocol):
    """Where models are shared as well (`drift.store`)."""

    async def models(self) -> Sequence[str]:
        """Names of those that have samples."""

    async def live(self, sidecar: str, within_ms: int) -> int:
        """How many sidecars live."""

    async def leave(self, sidecar: str) -> None:
        """That sidecar lives no more."""

    async def hold(self, model: str, token: str, for_ms: int) -> bool:
        """Takes the model where nobody holds it."""

    async def keep(self, model: str, token: str, for_ms: int) -> bool:
        """Keeps the model, unless the lease has run out."""

    async def let_go(self, model: str, token: str) -> None:
        """Leaves the model to others."""


class Sidecar:
    """One process of them.

    Args:
        settings: of drift.
        store: where samples and models are.
        kept: who has the baselines.
        clock: seconds since 1970.
        encodes: who asks encoders; None where there is nobody who could.
    """

    def __init__(
        self,
        settings: DriftSettings,
        store: Shares,
        kept: HasBaselines,
        clock: Callable[[], float] = time.time,
        *,
        encodes: Encodes | None = None,
    ) -> None:
        self.id = secrets.token_hex(6)
        self.metrics = DriftMetrics(lambda: tuple(self.statuses()))
        self._settings = settings
        self._store = store
        self._kept = kept
        self._clock = clock
        self._encodes = encodes
        self._lease_ms = round(settings.sidecar.lease_s * 1000)
        self._watches: dict[str, ModelWatch] = {}
        self._records: dict[str, dict[int, BaselineRecord]] = {}
        self._records_s = -math.inf

    async def run(self, stop: asyncio.Event) -> None:
        """Watches until it is told to end; what is not stored then is stored."""
        leases = asyncio.create_task(self._lease())
        try:
            while not stop.is_set() and not leases.done():
                busy = await self._look()
                await _rest(stop, 0.0 if busy else _PAUSE_S)
        finally:
            leases.cancel()
            with suppress(asyncio.CancelledError):
                await leases  # where it ended by itself, by its error
            await self._end()

    @property
    def models(self) -> frozenset[str]:
        """Those in hand."""
        return frozenset(self._watches)

    def statuses(self) -> Iterator[Status]:
        """Of the versions in hand."""
        now_s = self._clock()
        for watch in list(self._watches.values()):
            yield from watch.statuses(now_s)

    async def _look(self) -> bool:
        """One look at each model in hand; whether anything was there."""
        read = 0
        try:
            await self._look_up()
            await self._give_up()
            for watch in list(self._watches.values()):
                read += await self._tick(watch)
        except _AWAY as error:  # nor could the others be read; whether it is to end is looked at in between
            await self._away(error)
        return read > 0

    async def _look_up(self) -> None:
        """Which versions have which baseline, now and then."""
        if time.monotonic() - self._records_s < _RECORDS_S:
            return
        found: dict[str, dict[int, BaselineRecord]] = {}
        for record in await self._kept.all():
            found.setdefault(str(record.model), {})[int(record.version)] = record
        self._records, self._records_s = found, time.monotonic()

    async def _tick(self, watch: ModelWatch) -> int:
        try:
            ticked = await watch.tick(self._records.get(watch.model, {}), self._clock())
        except Deleted:
            _LOG.info("%s has no version any more, and is forgotten", watch.model)
            self._forget(watch)
        except Lost:
            _LOG.info("%s is watched by another sidecar now", watch.model)
            self._forget(watch)
        except _AWAY:
            self._forget(watch)
            raise
        except Exception:  # noqa: BLE001 - a defect that one model's samples meet must not end the watching of others
            self._forget(watch)
            _LOG.exception("%s cannot be watched; what was not stored is read again", watch.model)
        else:
            self.metrics.found(ticked.findings)
            return ticked.read
        return 0

    async def _give_up(self) -> None:
        """Models that are more than this one's share."""
        for watch in [one for one in self._watches.values() if one.is_given]:
            self._forget(watch)
            try:
                await self._give(watch)
            except Unavailable as error:  # nor could the others be stored
                _LOG.warning("%s was not stored; it is read again: %s", watch.model, error)
                return
            except (*_AWAY, Lost) as error:
                _LOG.warning("%s was not stored; it is read again: %r", watch.model, error)

    async def _away(self, error: Exception) -> None:
        self.metrics.failures += 1
        _LOG.warning("%s What was not stored is read again.", error)
        await asyncio.sleep(_AWAY_S)

    def _forget(self, watch: ModelWatch) -> None:
        """Nothing of it is stored from here on; the lease runs out, or is taken up again from what was stored."""
        if self._watches.get(watch.model) is watch:
            del self._watches[watch.model]
        watch.close()

    async def _lease(self) -> None:
        """Keeps the leases, and takes and gives models, three times in each lease's time."""
        while True:
            try:
                await self._share()
            except _AWAY as error:
                _LOG.warning("leases cannot be kept: %s", error)
            await asyncio.sleep(self._lease_ms / 3000)

    async def _share(self) -> None:
        for watch in list(self._watches.values()):
            if not await self._store.keep(watch.model, watch.token, self._lease_ms):
                self._forget(watch)
        models = [name for name in await self._store.models() if self._settings.watches(name)]
        share = math.ceil(len(models) / max(await self._store.live(self.id, _LIVE * self._lease_ms), 1))
        for name in models:
            if name not in self._watches and len(self._watches) < share:
                await self._take(name)
        for watch in list(self._watches.values())[share:]:
            watch.is_given = True

    async def _take(self, name: str) -> None:
        held = Held(name, secrets.token_hex(12), self.id)
        if await self._store.hold(name, held.token, self._lease_ms):
            self._watches[name] = ModelWatch(
                held, self._settings.of(name), self._store, self._kept, self._encodes
            )  # fmt: skip

    async def _end(self) -> None:
        for watch in self._watches.values():
            watch.is_given = True
        await self._give_up()
        with suppress(*_AWAY):
            await self._store.leave(self.id)

    async def _give(self, watch: ModelWatch) -> None:
        """Stores what there is, and leaves the model to others."""
        self.metrics.found(await watch.store(self._clock()))
        await self._store.let_go(watch.model, watch.token)


async def _rest(stop: asyncio.Event, seconds: float) -> None:
    """So long, or until it is told to end."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
