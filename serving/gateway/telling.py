"""Says what this worker has counted, twice a second, to whoever judges versions by it (`serving.totals`).

What is said are running totals, so nothing is ever sent again and nothing queues up: one message is under way at most,
and what a message that failed would have said is in the next one. While the store is away nothing is lost but time.
What is not a total (units, brakes) is put back where nobody knows whether it arrived.

A model with one version has nothing to compare, and says so more rarely, a part of the models at a time. But the first
message under a new epoch has all that was counted by then, so that what follows is of that epoch alone; and one every
ten seconds has it as well, for a reader that has just begun.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from serving.gateway.counters import Series
from serving.gateway.store import UnusableError
from serving.totals import OUTCOMES, Braked, Message, SeriesTotals

if TYPE_CHECKING:
    from serving.gateway.routing import Routing
    from serving.gateway.units import Dealt
    from serving.gateway.worker import Worker

EVERY_S: Final = 0.5
_SILENT_FOR_S: Final = 1.0
"""A message is sent after this time even where there is nothing new: silence of traffic is not silence of gateways."""
_WHOLE_EVERY_S: Final = 10.0
_TURNS: Final = 4
"""So many messages until every model with one version has had its turn."""
_log = logging.getLogger(__name__)
_Name = tuple[str, int, str]
_Drawn = Mapping[str, Mapping[int, int]]


class _Draft(NamedTuple):
    """A message, and what is to be remembered once it has arrived."""

    message: Message
    at_s: float
    counted: Mapping[_Name, int]
    taken: Sequence[Dealt]


class Telling:
    """One worker's.

    Args:
        worker: whose totals they are.
        gateway: names it and its start.
        send: takes a message; raises OSError or UnusableError where nobody knows whether it arrived.
    """

    def __init__(self, worker: Worker, gateway: str, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._worker = worker
        self._gateway = gateway
        self._send = send
        self._turn = 0
        self._over = False
        self._one_at_a_time = asyncio.Lock()
        self._sent_s = self._whole_s = -math.inf
        self._epoch: int | None = None
        self._counted: Mapping[_Name, int] = {}
        self._drawn: _Drawn = {}

    async def run(self) -> None:
        """Tells it until it is stopped, or cancelled."""
        while not self._over:
            await asyncio.sleep(EVERY_S)
            try:
                await self.tell()
            except Exception:  # noqa: BLE001 (the next one may be better, and requests go on in any case)
                _log.exception("what was counted could not be told")

    async def stop(self) -> None:
        """The last message, which has everything."""
        self._over = True
        await self.tell(whole=True)

    async def tell(self, *, whole: bool = False) -> None:
        """One message, if there is anything to say.

        Args:
            whole: whether it has everything in any case: the last one.
        """
        async with self._one_at_a_time:
            await self._tell(whole=whole)

    async def _tell(self, *, whole: bool) -> None:
        now = self._worker.loop.time()
        whole = whole or now >= self._whole_s + _WHOLE_EVERY_S or self._worker.routing.head.epoch != self._epoch
        draft = self._draft(now, whole=whole)
        message = draft.message
        says = whole or message.series or message.drawn or message.units or message.braked
        if not says and now < self._sent_s + _SILENT_FOR_S:
            return
        arrived = False
        try:
            await self._send(message.encode())
            arrived = True
        except (OSError, UnusableError) as error:
            _log.debug("totals have not been told: %s", error)
        finally:
            self._conclude(draft, arrived=arrived)

    # What is said.

    def _draft(self, now: float, *, whole: bool) -> _Draft:
        worker, routing = self._worker, self._worker.routing
        self._turn = (self._turn + 1) % _TURNS
        due = worker.table.firsts(lambda model: whole or self._is_due(model, routing))
        counted = {name: sum(sum(one.outcomes) for one in parts) for name, parts in due.items()}
        told = {} if whole else self._counted
        changed = {name: count for name, count in counted.items() if count != told.get(name)}
        dealt, drawn_then = worker.table.dealt, {} if whole else self._drawn
        drawn = {model: dict(of.drawn) for model, of in dealt.items() if of.drawn != drawn_then.get(model, {})}
        units = {model: seen for model, of in dealt.items() if (seen := of.take()) is not None}
        series = tuple(_totals(name, due[name]) for name in changed)
        message = Message(self._gateway, routing.head.epoch, series, drawn, units, self._take_braked(), whole)
        return _Draft(message, now, changed, [dealt[model] for model in units])

    def _is_due(self, model: str, routing: Routing) -> bool:
        route = routing.models.get(model)
        compared = route is not None and bool(route.policy.arms or route.policy.rules)
        return compared or hash(model) % _TURNS == self._turn

    def _take_braked(self) -> tuple[Braked, ...]:
        braked = tuple(self._worker.braked)
        self._worker.braked.clear()
        return braked

    # What has become of it.

    def _conclude(self, draft: _Draft, *, arrived: bool) -> None:
        message = draft.message
        if arrived:
            self._sent_s, self._epoch = draft.at_s, message.epoch
            self._counted = dict(draft.counted) if message.whole else {**self._counted, **draft.counted}
            self._drawn = {**self._drawn, **message.drawn}
            if message.whole:
                self._whole_s = draft.at_s
            for dealt in draft.taken:
                dealt.arrived()
            return
        braked, since = self._worker.braked, list(self._worker.braked)
        braked.clear()
        braked.extend([*message.braked, *since])
        for dealt in draft.taken:
            dealt.failed()


def _totals(name: _Name, parts: Sequence[Series]) -> SeriesTotals:
    """What was counted at one address, whichever replicas were there."""
    if len(parts) == 1:
        [series] = parts
    else:
        series = Series()
        for one in parts:
            series.merge(one)
    outcomes = {name: count for name, count in zip(OUTCOMES, series.outcomes, strict=True) if count}
    return SeriesTotals(*name, outcomes, series.answered, series.unanswered, series.predicted or {})
