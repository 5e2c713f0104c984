"""The evidence at one guardrail as plain values, and back; what does not fit the guardrail is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from router.evidence.betting import Bets
from router.evidence.codec import as_plain, from_plain
from router.evidence.counts import Block
from router.evidence.disagreements import Disagreements
from router.evidence.errors import EvidenceError
from router.evidence.latency import Latency
from router.evidence.means import Means
from router.evidence.odds_interval import OddsCurve
from router.evidence.one_arm import OneArm
from router.evidence.pairs import Pairs
from router.evidence.restarts import Restarts
from router.evidence.two_arm import OddsTest, TwoArm
from router.verdicts.dockets import Docket, Latencies, Limited, Rates, opened
from router.verdicts.guardrails import Guardrail
from router.verdicts.paired import Paired
from router.verdicts.predictions import Predictions, Shift
from router.verdicts.rewards import Better, Measure, Rewards, Segment
from router.verdicts.values import Values

T = TypeVar("T")
_Plain = Mapping[str, Any]


def docket_as_plain(docket: Docket) -> _Plain:
    """A docket as what JSON knows."""
    if isinstance(docket, Rates):
        return _rates(docket)
    if isinstance(docket, Rewards):
        return _rewards(docket)
    if isinstance(docket, Paired):
        return {"harm": as_plain(docket.harm), "seen": as_plain(docket.seen)}
    return _latencies(docket) if isinstance(docket, Latencies) else _predictions(docket)


def docket_from_plain(plain: _Plain, guardrail: Guardrail) -> Docket:
    """The docket of this guardrail.

    Raises:
        EvidenceError: it was gathered on other terms, or is no docket.
    """
    empty = opened(guardrail)
    found: Docket
    if isinstance(empty, Rates):
        found = _rates_from(plain)
    elif isinstance(empty, Rewards):
        found = _rewards_from(plain)
    elif isinstance(empty, Paired):
        kind = type(empty.harm.copies[0])
        found = Paired(_copies(plain["harm"], kind), state(plain["seen"], Block))
    else:
        found = _latencies_from(plain) if isinstance(empty, Latencies) else _predictions_from(plain)
    if _hypotheses(found, guardrail) != _hypotheses(empty, guardrail):
        raise EvidenceError(f"the evidence at guardrail '{guardrail.name}' was gathered on other terms")
    return found


def _rates(docket: Rates) -> _Plain:
    limited = docket.limited
    return {
        "harm": as_plain(docket.harm),
        "not_inferior": maybe(docket.not_inferior, as_plain),
        "under_ceiling": maybe(docket.under_ceiling, as_plain),
        "limited": maybe(limited, lambda one: [as_plain(one.now), as_plain(one.before), one.since_s]),
        "curve": as_plain(docket.curve),
        "seen": as_plain(docket.seen),
        "better": as_plain(docket.better),
        "alone": maybe(docket.alone, as_plain),
    }


def _rates_from(plain: _Plain) -> Rates:
    return Rates(
        _copies(plain["harm"], TwoArm),
        _maybe_state(plain["not_inferior"], TwoArm),
        _maybe_state(plain["under_ceiling"], OneArm),
        maybe(plain["limited"], _limited),
        state(plain["curve"], OddsCurve),
        state(plain["seen"], Block),
        state(plain["better"], TwoArm),
        _maybe_state(plain["alone"], OneArm),
    )


def _limited(plain: list[Any]) -> Limited:
    now, before, since_s = plain
    return Limited(state(now, OneArm), state(before, OneArm), float(since_s))


def _latencies(docket: Latencies) -> _Plain:
    return {
        "harm": as_plain(docket.harm),
        "not_inferior": maybe(docket.not_inferior, as_plain),
        "seen": as_plain(docket.seen),
        "curve": as_plain(docket.curve),
    }


def _latencies_from(plain: _Plain) -> Latencies:
    return Latencies(
        _copies(plain["harm"], Latency),
        _maybe_state(plain["not_inferior"], TwoArm),
        state(plain["seen"], Block),
        state(plain["curve"], OddsCurve),
    )


def _predictions(docket: Predictions) -> _Plain:
    return {
        "test": as_plain(docket.harm.test),
        "classes": list(docket.harm.classes),
        "more": [as_plain(one) for one in docket.harm.more],
        "less": [as_plain(one) for one in docket.harm.less],
        "first": dict(docket.first),
        "since_s": docket.since_s,
    }


def _predictions_from(plain: _Plain) -> Predictions:
    shift = Shift(
        state(plain["test"], OddsTest),
        tuple(map(str, plain["classes"])),
        tuple(state(one, TwoArm) for one in plain["more"]),
        tuple(state(one, TwoArm) for one in plain["less"]),
    )
    first = {str(name): int(count) for name, count in plain["first"].items()}
    return Predictions(shift, first, float(plain["since_s"]))


def _rewards(docket: Rewards) -> _Plain:
    measure = docket.measure
    return {
        "measure": [measure.metric, measure.better.value, measure.effect, measure.bounded],
        "worse": maybe(docket.worse, as_plain),
        "good": maybe(docket.good, as_plain),
        "bets": maybe(docket.bets, lambda both: [as_plain(one) for one in both]),
        "segments": {
            str(begun): [list(one.shares), _values(one.candidate), _values(one.stable)]
            for begun, one in docket.segments.items()
        },
        "judged": {str(begun): [_values(one), _values(other)] for begun, (one, other) in docket.judged.items()},
    }


def _rewards_from(plain: _Plain) -> Rewards:
    metric, better, effect, bounded = plain["measure"]
    bets = plain["bets"]
    return Rewards(
        Measure(str(metric), Better(better), float(effect), bool(bounded)),
        _maybe_state(plain["worse"], Means),
        _maybe_state(plain["good"], Means),
        None if bets is None else (state(bets[0], Bets), state(bets[1], Bets)),
        {int(begun): _segment(one) for begun, one in plain["segments"].items()},
        {int(begun): (_values_from(one), _values_from(other)) for begun, (one, other) in plain["judged"].items()},
    )


def _segment(plain: list[Any]) -> Segment:
    (candidate_share, stable_share), candidate, stable = plain
    return Segment((int(candidate_share), int(stable_share)), _values_from(candidate), _values_from(stable))


def _values(values: Values) -> list[int]:
    return [values.count, values.total, values.squares]


def _values_from(plain: list[int]) -> Values:
    count, total, squares = map(int, plain)
    return Values(count, total, squares)


def _hypotheses(docket: Docket, guardrail: Guardrail) -> tuple[object, ...]:
    """What the docket's tests are against."""
    if isinstance(docket, Rewards):
        return (docket.measure,)
    if isinstance(docket, Paired):
        return ({one.rate.test if isinstance(one, Disagreements) else Pairs for one in docket.harm.copies},)
    if isinstance(docket, Predictions):
        return docket.harm.test, {one.test for _, one in docket.harm.by_name} <= {docket.harm.test}
    margin = None if docket.not_inferior is None else docket.not_inferior.test
    if isinstance(docket, Latencies):
        copies = {(copy.quantiles, tuple(one.test for one in copy.tests)) for copy in docket.harm.copies}
        return copies, margin
    ceiling = None if docket.under_ceiling is None else docket.under_ceiling.test
    limits = None if docket.limited is None else (docket.limited.now.test, docket.limited.before.test)
    alone = docket.alone is None or docket.alone.test.limit == guardrail.limit
    return {copy.test for copy in docket.harm.copies}, margin, ceiling, limits, docket.better.test, alone


def maybe(value: T | None, how: Callable[[T], Any]) -> Any:  # noqa: ANN401 - JSON's own sum of types
    """The value as it is to be, where there is one."""
    return None if value is None else how(value)


def _maybe_state(plain: object, kind: type[T]) -> T | None:
    return None if plain is None else state(plain, kind)


def state(plain: object, kind: type[T]) -> T:
    """The evidence of this kind in plain values."""
    found = from_plain(plain)
    if not isinstance(found, kind):
        raise EvidenceError(f"a {kind.__name__} was expected, not a {type(found).__name__}")
    return found


def _copies(plain: object, kind: type[Any]) -> Restarts[Any]:
    copies = state(plain, Restarts)
    if not all(isinstance(one, kind) for one in copies.copies):
        raise EvidenceError(f"copies of a {kind.__name__} were expected")
    return copies
