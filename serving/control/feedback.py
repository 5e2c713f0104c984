"""Feedback: what happened after a request, said by whoever it happened to, and joined by what the request's id carries.

No table of requests is kept: the id says which model, which version was dealt and which answered, when, under which
policy and for which unit, and its tag says that a gateway of ours made it. So feedback is taken days later, in any
order, any number of times, and each (request, metric) counts once (`feedback_store`). What becomes of each item is said
item by item; nothing in a batch keeps the rest of it from being counted.

Whoever may ask a model may give feedback about it: an id that they have is an answer that they had. A key that is
narrowed to some models is told 'unknown' of all others.
"""

from __future__ import annotations

import math
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple, Protocol

from router.errors import RequestIdError
from router.evidence.errors import EvidenceError
from router.request_id import KeyRing, RequestId
from router.verdicts.guardrails import METRIC_WORDS, is_metric
from router.verdicts.values import LARGEST, Values, counters
from serving.access.principal import Principal
from serving.access.roles import Needs
from serving.control.errors import StoreDamaged, TooOften
from serving.control.feedback_store import Heard, InRollout, Item, by_metric
from serving.control.publication import State
from serving.control.rolling.records import Record
from serving.control.rolling.rewarded import BY_LOT, scope_of, segment_of
from serving.leases import IdKeys

HORIZON_S: Final = 7 * 24 * 3_600
PER_S: Final = 20_000
MOST_ITEMS: Final = 1_000
MOST_METRICS: Final = 32
"""Of one item."""
LONGEST_LABEL: Final = 64
CORRECT: Final = "correct"
"""The metric that a label is beside a prediction: 1 where they are the same, else 0."""

_LABEL: Final = "label"
_ITEM: Final = "item"
_FRESH_S: Final = 1.0
_ROLLOUTS: Final = 8
"""Of a model, newest first: feedback about older ones counts for the version alone."""
_KNOWN: Final = frozenset({"request_id", "metrics", "label", "predicted"})


class Became(StrEnum):
    """What became of one value."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    LATE = "late"
    FORGED = "forged"
    UNKNOWN = "unknown"
    BAD_VALUE = "bad_value"
    SYNTHETIC = "synthetic"
    OVER = "over"
    """The model has as many counters as one may have."""


class Store(Protocol):
    """Where feedback is kept, and what it is joined with."""

    async def tell(self, items: Sequence[Item], tallies: Mapping[str, int], horizon_s: int) -> Sequence[str]:
        """Counts what was not said before; what became of each."""

    async def id_keys(self) -> IdKeys | None:
        """The keys of request ids."""

    async def state(self) -> State:
        """The head and its snapshot."""

    async def rollouts(self, model: str | None, limit: int) -> Sequence[Record]:
        """The newest, newest first."""

    async def feedback_sums(self, model: str) -> Mapping[str, int]:
        """What feedback about that model adds up to."""

    async def feedback_tallies(self) -> Mapping[str, int]:
        """How much feedback there was, by 'model|kind'."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of one item.

    Attributes:
        request_id: as it was given, cut to what an id could be.
        became: of each metric, and of the label; of 'item' where it names neither.
        why: what was wrong; empty where nothing was.
    """

    request_id: str
    became: Mapping[str, Became]
    why: str = ""


class _Read(NamedTuple):
    """An item that could be read: what its id says, and its values."""

    said: RequestId
    model: str
    metrics: Mapping[str, float]
    label: str | None
    predicted: str | None


class _NotReadError(Exception):
    """Why an item is not counted."""

    def __init__(self, became: Became, why: str, model: str = "") -> None:
        super().__init__(why)
        self.became, self.why, self.model = became, why, model


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of the store, all at one time."""

    at_s: float = -math.inf
    ring: KeyRing | None = None
    names: Mapping[tuple[int, int], str] = field(default_factory=dict)
    epoch: int = 0
    records: dict[str, Sequence[Record]] = field(default_factory=dict)


class Feedback:
    """Takes feedback.

    Args:
        store: where it is kept.
        declared: models that the settings name.
        horizon_s: how old a request may be, seconds.
        per_s: how many items are taken in a second, over all callers; twice as many in the first.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: Store,
        declared: Mapping[str, object],
        *,
        horizon_s: float = HORIZON_S,
        per_s: float = PER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._declared = tuple(declared)
        self._horizon_s = math.ceil(horizon_s)
        self._clock = clock
        self._known = _Known()
        self._per_s, self._left, self._filled_s = per_s, 2 * per_s, clock()

    async def take(self, items: Sequence[object], principal: Principal) -> Sequence[Told]:
        """Counts feedback; what became of each item, in their order.

        Args:
            items: as they came, of any shape.
            principal: who says it.

        Raises:
            TooOften: more than is taken in a second; nothing of it was counted.
            StoreUnavailable: the store is away; what of it was counted is a duplicate next time.
        """
        self._spend(len(items))
        read = [await self._reading(one, principal) for one in items]
        told: list[Item] = []
        for one in read:
            if isinstance(one, _Read):
                told += await self._items(one)
        tallies: Counter[str] = Counter()
        for given, one in zip(items, read, strict=True):
            if isinstance(one, _NotReadError):
                tallies[f"{one.model}|{one.became}"] += len(_named(given))
        found = iter(await self._store.tell(told, tallies, self._horizon_s))
        return [_told(given, one, found) for given, one in zip(items, read, strict=True)]

    async def sums(self, model: str) -> Mapping[str, int]:
        """What feedback about that model adds up to (`feedback_store`)."""
        return await self._store.feedback_sums(model)

    async def tallies(self) -> Mapping[str, int]:
        """How much feedback there was, by 'model|kind'."""
        return await self._store.feedback_tallies()

    async def heard(self) -> Heard:
        """All of it, at a glance.

        Raises:
            StoreUnavailable: the store is away.
            StoreDamaged: it holds what is no feedback.
        """
        tallies = {name.rpartition("|")[::2]: count for name, count in (await self.tallies()).items()}
        values: dict[tuple[str, int, str], Values] = {}
        for model in sorted({model for model, _ in tallies} - {""}):
            try:
                found = by_metric(await self.sums(model))
            except (EvidenceError, ValueError) as error:
                raise StoreDamaged(f"The feedback about {model} cannot be read: {error}.") from error
            values |= {(model, *of): one for of, one in found.items()}
        return Heard({(model, kind): count for (model, kind), count in tallies.items()}, values)

    def _spend(self, count: int) -> None:
        now_s = self._clock()
        self._left = min(2 * self._per_s, self._left + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        if count > self._left:
            raise TooOften(
                f"More than {self._per_s:g} items of feedback per second are not taken.", "Send it again in a second."
            )
        self._left -= count

    async def _reading(self, given: object, principal: Principal) -> _Read | _NotReadError:
        try:
            return await self._read(given, principal)
        except _NotReadError as error:
            return error

    async def _read(self, given: object, principal: Principal) -> _Read:
        if not isinstance(given, Mapping):
            raise _NotReadError(Became.BAD_VALUE, "an item is an object with a request_id, and metrics or a label")
        said, model = await self._identified(given.get("request_id"))
        if model is None or not principal.may(Needs.PREDICT, model):
            raise _NotReadError(Became.UNKNOWN, "no model here has made this answer")
        if said.synthetic:
            raise _NotReadError(Became.SYNTHETIC, "the request was marked synthetic, and decides nothing", model)
        try:
            metrics = dict(_metrics(given.get("metrics")))
            label, predicted = _class_of(given, _LABEL), _class_of(given, "predicted")
            _refuse_rest(given, metrics, label, predicted)
        except ValueError as error:
            raise _NotReadError(Became.BAD_VALUE, str(error), model) from error
        return _Read(said, model, metrics, label, predicted)

    async def _identified(self, request_id: object) -> tuple[RequestId, str | None]:
        if not isinstance(request_id, str):
            raise _NotReadError(Became.BAD_VALUE, "request_id is missing: copy the sluice-request-id of the answer")
        known = await self._now()
        said = _verified(known, request_id)
        if said is None:  # a key may have been added a moment ago
            known = await self._now(anew=True)
            said = _verified(known, request_id)
        if said is None:
            raise _NotReadError(Became.FORGED, "no key of this installation has made this request id")
        if said.epoch > known.epoch:
            known = await self._now(anew=True)
        name = known.names.get((_key_of(request_id), said.model))
        if said.epoch > known.epoch:
            raise _NotReadError(Became.UNKNOWN, f"epoch {said.epoch} is not known here", name or "")
        return said, name

    async def _now(self, *, anew: bool = False) -> _Known:
        """What is known, a second old at most; asked anew, no older than a tenth of that, for forgers ask often."""
        oldest_s = _FRESH_S / 10 if anew else _FRESH_S
        if self._clock() - self._known.at_s >= oldest_s:
            at_s, state = self._clock(), await self._store.state()  # first, so that rollouts are no older
            keys = await self._store.id_keys()
            ring = None if keys is None else KeyRing(keys.secrets, keys.current)
            models = {*self._declared, *state.snapshot.models}
            names = {(one, key.model_hash(name)): name for one, key in _keys(ring) for name in models}
            self._known = _Known(at_s, ring, names, state.head.epoch)
        return self._known

    async def _items(self, read: _Read) -> Sequence[Item]:
        said, rollout = read.said, await self._rollout(read)
        at = (read.model, said.nonce, said.at_s, said.answered)
        found = [Item(*at, name, counters(value), rollout=rollout) for name, value in read.metrics.items()]
        if read.label is not None:
            found.append(Item(*at, _LABEL, confusion=f"{read.predicted or ''}|{read.label}"))
        return found

    async def _rollout(self, read: _Read) -> InRollout | None:
        said = read.said
        if said.reason not in BY_LOT:
            return None
        records = self._known.records
        if read.model not in records:
            records[read.model] = await self._store.rollouts(read.model, _ROLLOUTS)
        for record in records[read.model]:
            segment = segment_of(record, said.epoch)
            if segment is not None:
                return InRollout(scope_of(record), segment, said.assigned, said.unit if said.has_unit else None)
            if record.epochs and said.epoch >= record.epochs[0]:
                return None  # of the time after it
        return None


def _keys(ring: KeyRing | None) -> Iterator[tuple[int, Any]]:
    yield from () if ring is None else ring.keys.items()


def _verified(known: _Known, request_id: str) -> RequestId | None:
    try:
        return None if known.ring is None else known.ring.read(request_id)
    except RequestIdError:
        return None


def _key_of(request_id: str) -> int:
    """Which key made it, of an id that was verified."""
    return urlsafe_b64decode(request_id[:4])[1]


def _metrics(said: object) -> Iterator[tuple[str, float]]:
    if said is None:
        return
    if not isinstance(said, Mapping) or len(said) > MOST_METRICS:
        raise ValueError(f"metrics are up to {MOST_METRICS} numbers by name")
    for name, value in said.items():
        if not is_metric(name):
            raise ValueError(f"{name[:64]!r} is no name of a metric: {METRIC_WORDS}")
        if not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:  # NaN is not within anything
            raise ValueError(f"the metric {name} takes a number from {-LARGEST:,.0f} to {LARGEST:,.0f}")
        yield name, float(value)


def _class_of(given: Mapping[str, object], name: str) -> str | None:
    """A class as text; whole numbers and truth values are classes as well."""
    said = given.get(name)
    if said is None:
        return None
    text = str(said).lower() if isinstance(said, bool) else str(said) if isinstance(said, int | str) else ""
    if not text or len(text) > LONGEST_LABEL or not text.isprintable() or "|" in text:
        raise ValueError(
            f"{name} is a class: a text of up to {LONGEST_LABEL} characters without '|', a whole number, true or "
            "false; send what is measured as a metric"
        )
    return text


def _refuse_rest(
    given: Mapping[str, object], metrics: dict[str, float], label: str | None, predicted: str | None
) -> None:
    if strange := sorted(str(name) for name in given.keys() - _KNOWN):
        raise ValueError(f"{strange[0][:64]!r} is nothing that feedback has: {', '.join(sorted(_KNOWN))}")
    if not metrics and label is None:
        raise ValueError("there is nothing to count: send metrics, or a label")
    if predicted is not None and label is None:
        raise ValueError("what was predicted goes with a label")
    if label is not None and predicted is not None:
        metrics.setdefault(CORRECT, float(label == predicted))


def _told(given: object, read: _Read | _NotReadError, found: Iterator[str]) -> Told:
    said = given.get("request_id") if isinstance(given, Mapping) else None
    request_id = _legible(said[:128]) if isinstance(said, str) else ""
    if isinstance(read, _Read):
        names = [*read.metrics, *([] if read.label is None else [_LABEL])]
        return Told(request_id, {name: Became(next(found)) for name in names})
    return Told(request_id, dict.fromkeys(_named(given), read.became), read.why)


def _legible(text: str) -> str:
    """As it can be answered: half a character cannot."""
    return text.encode(errors="replace").decode()


def _named(given: object) -> Sequence[str]:
    """What an item speaks of, as far as it can be read; itself where it names nothing."""
    said = given if isinstance(given, Mapping) else {}
    metrics = said.get("metrics")
    names = [_legible(str(name)[:64]) for name in metrics][:MOST_METRICS] if isinstance(metrics, Mapping) else []
    return names + [_LABEL] * (said.get(_LABEL) is not None) or [_ITEM]
