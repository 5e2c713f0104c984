"""Feedback in memory: the part of `serving.control.fake_store` that is about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

from serving.control.feedback_store import MOST_FIELDS, MOST_UNITS, InRollout, Item


class FakeFeedback:
    """What the store's part for feedback does, without a server.

    Args:
        reach: called first by everything; raises where the store is away.
        time_ms: the time, milliseconds since 1970.
    """

    def __init__(self, reach: Callable[[], None], time_ms: Callable[[], Awaitable[int]]) -> None:
        self._before_feedback = reach
        self._feedback_ms = time_ms
        self._said: set[tuple[str, str, int]] = set()
        self._sums: dict[str, Counter[str]] = {}
        self._within: dict[str, Counter[str]] = {}
        self._first: dict[tuple[str, str], set[int]] = {}
        self._tallies: Counter[str] = Counter()

    async def tell(self, items: Sequence[Item], tallies: Mapping[str, int], horizon_s: int) -> Sequence[str]:
        """Counts what was not said before; what became of each."""
        self._before_feedback()
        now_s = await self._feedback_ms() // 1000
        self._tallies.update(tallies)
        found = [self._one(item, horizon_s, now_s) for item in items]
        self._tallies.update(f"{item.model}|{kind}" for item, kind in zip(items, found, strict=True))
        return found

    async def feedback_sums(self, model: str) -> Mapping[str, int]:
        """What feedback about that model adds up to."""
        self._before_feedback()
        return dict(self._sums.get(model, {}))

    async def feedback_in(self, scope: str) -> Mapping[str, int]:
        """The same of a rollout."""
        self._before_feedback()
        return dict(self._within.get(scope, {}))

    async def feedback_tallies(self) -> Mapping[str, int]:
        """How much feedback there was, by 'model|kind'."""
        self._before_feedback()
        return dict(self._tallies)

    def _one(self, item: Item, horizon_s: int, now_s: int) -> str:
        sums = self._sums.setdefault(item.model, Counter())
        prefix = f"{item.version}|{item.metric}|"
        confusion = f"{item.version}|label|{item.confusion}" if item.confusion else ""
        if item.at_s + horizon_s < now_s:
            return "late"
        if len(sums) >= MOST_FIELDS and (confusion or f"{prefix}n") not in sums:
            return "over"
        if (item.model, item.metric, item.nonce) in self._said:
            return "duplicate"
        self._said.add((item.model, item.metric, item.nonce))
        sums.update({confusion: 1} if confusion else {f"{prefix}{name}": part for name, part in item.adds.items()})
        if item.rollout is not None and not confusion:
            self._count_within(item, item.rollout)
        return "accepted"

    def _count_within(self, item: Item, within: InRollout) -> None:
        sums = self._within.setdefault(within.scope, Counter())
        prefix = f"{within.segment}|{within.assigned}|{item.metric}|"
        if within.unit is not None:
            units = self._first.setdefault((within.scope, item.metric), set())
            if within.unit in units or len(units) >= MOST_UNITS:
                sums["again" if within.unit in units else "beyond"] += 1
                return
            units.add(within.unit)
        if len(sums) < MOST_FIELDS or f"{prefix}n" in sums:
            sums.update({f"{prefix}{name}": part for name, part in item.adds.items()})
