"""Feedback in Redis: what was said already, and what it adds up to. Part of `serving.control.store`.

What was seen is a set for each model, metric and hour of requests, which goes once the hour is beyond the horizon. The
sums are counters that only grow: of a version for good, of a rollout for as long as its case. One script does both
(`feedback.lua`), so that a control room may die at any moment, and a client may send again whatever it is unsure of.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from router.verdicts.values import FIELDS, Values, values_from
from serving.control.base_store import BaseStore, reply

HOUR_S: Final = 3_600
"""Requests of one hour share a set of what was seen."""
MOST_FIELDS: Final = 20_000
"""So many counters a model has, and a rollout: versions, metrics and classes beyond that are refused."""
MOST_UNITS: Final = 1_000_000
"""So many units of a rollout are remembered for each metric; of further ones nothing is compared."""
KEPT_S: Final = 30 * 24 * 3_600
"""How long a rollout's sums are kept after they were last added to."""
AT_ONCE: Final = 500
"""Items in one script: it holds up nobody for more than some milliseconds."""

KINDS: Final[Mapping[str, str]] = MappingProxyType({"a": "accepted", "d": "duplicate", "l": "late", "o": "over"})
_SCRIPT: Final = (Path(__file__).parent / "feedback.lua").read_text(encoding="utf-8")
_NONE: Final = "0"


class InRollout(NamedTuple):
    """Which sums of a rollout a value belongs to.

    Attributes:
        scope: the rollout and its attempt.
        segment: the epoch with which its present shares began.
        assigned: the version that was dealt.
        unit: the unit's hash; None where the request is a unit of its own.
    """

    scope: str
    segment: int
    assigned: int
    unit: int | None


@dataclass(frozen=True, slots=True)
class Item:
    """One value of one metric about one request, or its label.

    Attributes:
        model: that was asked.
        nonce: of the request.
        at_s: when it was asked, seconds since 1970.
        version: that answered.
        metric: its name; 'label' for a label.
        adds: what it adds to which counter (`router.verdicts.values.counters`); nothing for a label.
        confusion: of a label, 'predicted|label'; empty for a value.
        rollout: the rollout's sums that it belongs to as well; None for none.
    """

    model: str
    nonce: int
    at_s: int
    version: int
    metric: str
    adds: Mapping[str, int] = field(default_factory=dict)
    confusion: str = ""
    rollout: InRollout | None = None

    @property
    def hour(self) -> int:
        """Of the request."""
        return self.at_s // HOUR_S

    def forget_s(self, horizon_s: int) -> int:
        """When nobody can say it again any more."""
        return (self.hour + 1) * HOUR_S + horizon_s + HOUR_S


@dataclass(frozen=True, slots=True)
class Heard:
    """All feedback, at a glance.

    Attributes:
        tallies: how many values there were, by model (empty where it is not known) and kind.
        values: those that were accepted, by model, version that answered, and metric.
    """

    tallies: Mapping[tuple[str, str], int] = field(default_factory=dict)
    values: Mapping[tuple[str, int, str], Values] = field(default_factory=dict)


def by_metric(sums: Mapping[str, int]) -> Mapping[tuple[int, str], Values]:
    """What a model's counters add up to, by version and metric; labels are left out."""
    found: dict[tuple[int, str], dict[str, int]] = {}
    for name, count in sums.items():
        version, _, rest = name.partition("|")
        metric, _, counter = rest.partition("|")
        if counter in FIELDS:
            found.setdefault((int(version), metric), {})[counter] = count
    return {of: values_from(counters) for of, counters in found.items()}


class FeedbackStore(BaseStore):
    """What was said of requests."""

    async def tell(self, items: Sequence[Item], tallies: Mapping[str, int], horizon_s: int) -> Sequence[str]:
        """Counts what was not said before; what became of each: 'accepted', 'duplicate', 'late' or 'over'.

        Args:
            items: in any order.
            tallies: what else is counted, by 'model|kind'.
            horizon_s: how old a request may be, seconds.
        """
        found: list[str] = []
        left = dict(tallies)
        for begin in range(0, len(items), AT_ONCE):
            found += await self._told(items[begin : begin + AT_ONCE], left, horizon_s)
            left = {}
        if left:
            await self._told((), left, horizon_s)
        return found

    async def _told(self, items: Sequence[Item], tallies: Mapping[str, int], horizon_s: int) -> Iterable[str]:
        places = _Places(self.keys.feedback_tallies)
        said = [part for pair in tallies.items() for part in map(str, pair)]
        argued: list[str | bytes] = [str(horizon_s), str(MOST_FIELDS), str(MOST_UNITS), str(KEPT_S), str(len(tallies))]
        argued += said
        for item in items:
            argued += self._arguments(item, places, horizon_s)
        async with self._boundary():
            letters = await reply(self._redis.eval(_SCRIPT, len(places.names), *places.names, *argued))
        return [KINDS[letter] for letter in letters.decode()]

    def _arguments(self, item: Item, places: _Places, horizon_s: int) -> list[str | bytes]:
        keys, within = self.keys, item.rollout
        unit = None if within is None else within.unit
        return [
            places.of(keys.feedback_seen(item.model, item.metric, item.hour)),
            item.nonce.to_bytes(8, "big"),
            str(item.at_s),
            str(item.forget_s(horizon_s)),
            places.of(keys.feedback_sums(item.model)),
            f"{item.version}|{item.metric}|",
            f"{item.version}|label|{item.confusion}" if item.confusion else "",
            _NONE if within is None else places.of(keys.feedback_in(within.scope)),
            "" if within is None else f"{within.segment}|{within.assigned}|{item.metric}|",
            _NONE if within is None or unit is None else places.of(keys.feedback_units(within.scope, item.metric)),
            b"" if unit is None else unit.to_bytes(8, "big"),
            item.model,
            str(len(item.adds)),
            *(str(part) for pair in item.adds.items() for part in pair),
        ]

    async def feedback_sums(self, model: str) -> Mapping[str, int]:
        """What feedback about that model adds up to: counters by 'version|metric|counter' and by label."""
        async with self._boundary():
            return _counts(await reply(self._redis.hgetall(self.keys.feedback_sums(model))))

    async def feedback_in(self, scope: str) -> Mapping[str, int]:
        """The same of a rollout: counters by 'segment|version|metric|counter', and of values that are not compared."""
        async with self._boundary():
            return _counts(await reply(self._redis.hgetall(self.keys.feedback_in(scope))))

    async def feedback_tallies(self) -> Mapping[str, int]:
        """How much feedback there was, by 'model|kind'."""
        async with self._boundary():
            return _counts(await reply(self._redis.hgetall(self.keys.feedback_tallies)))


class _Places:
    """The keys that one script works with, each once."""

    def __init__(self, first: str) -> None:
        self._at = {first: 1}

    @property
    def names(self) -> list[str]:
        return list(self._at)

    def of(self, name: str) -> str:
        """Its place, counted from 1."""
        return str(self._at.setdefault(name, len(self._at) + 1))


def _counts(said: Mapping[bytes, bytes]) -> Mapping[str, int]:
    return {name.decode(): int(count) for name, count in said.items()}
