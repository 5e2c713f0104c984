"""A case as bytes, to be stored with its rollout, and back.

Equal cases have equal bytes. What is written for a newer reader, or says more than is understood, is refused as a
whole: half the evidence is not evidence. The terms are the rollout's, so they are not written again: whoever reads a
case brings them along, and dockets that do not fit them are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from router.evidence.codec import as_plain, from_plain
from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.latency import Latency
from router.evidence.odds_interval import OddsCurve
from router.evidence.one_arm import OneArm
from router.evidence.replicas import Replicas
from router.evidence.restarts import Restarts
from router.evidence.sample_ratio import SampleRatio
from router.evidence.sequential import Peak
from router.evidence.two_arm import TwoArm
from router.verdicts.case import Case, Heard
from router.verdicts.dockets import Latencies, Limited, Rates, opened
from router.verdicts.guardrails import Guardrail, Terms
from router.verdicts.ranks import Ranks
from router.verdicts.tallies import Moment, Tally

READER: Final = 1
"""The newest form that this code reads and the one that it writes."""
T = TypeVar("T")
_Plain = Mapping[str, Any]


def encode_case(case: Case) -> bytes:
    """The case's canonical bytes, without its terms."""
    value = {
        "reader": READER,
        "dockets": [_rates(d) if isinstance(d, Rates) else _latencies(d) for d in case.dockets],
        "ranks": _ranks(case.ranks),
        "ratio": as_plain(case.ratio),
        "harm": case.harm.log_e,
        "waiting": None if case.waiting is None else _moment(case.waiting),
        "waits_since_s": case.waits_since_s,
        "minute": [[heard.ended_s, _pairs(heard.durations)] for heard in case.minute],
        "began_s": case.began_s,
        "newest_s": case.newest_s,
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def decode_case(blob: bytes, terms: Terms) -> Case:
    """The case in these bytes, under the terms that it was built on.

    Raises:
        EvidenceError: no case, one for a newer reader, or one of other terms.
    """
    try:
        value = json.loads(blob)
        _refuse_newer(value.pop("reader"))
        return _case(value, terms)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise error if isinstance(error, EvidenceError) else EvidenceError(f"this is no case: {error!r}") from error


def _refuse_newer(reader: object) -> None:
    if type(reader) is not int or not 1 <= reader <= READER:
        raise EvidenceError(f"this case is written for readers of form {reader!r}; this one reads up to {READER}")


def _case(value: dict[str, Any], terms: Terms) -> Case:
    waiting = value.pop("waiting")
    dockets = tuple(
        _docket(plain, guardrail) for plain, guardrail in zip(value.pop("dockets"), terms.guardrails, strict=True)
    )
    case = Case(
        terms,
        dockets,
        _ranks_from(value.pop("ranks")),
        _state(value.pop("ratio"), SampleRatio),
        Peak(float(value.pop("harm"))),
        None if waiting is None else _moment_from(waiting),
        float(value.pop("waits_since_s")),
        tuple(Heard(float(ended_s), _counts(pairs)) for ended_s, pairs in value.pop("minute")),
        float(value.pop("began_s")),
        float(value.pop("newest_s")),
    )
    if value:
        raise EvidenceError(f"this case says more than is understood: {sorted(value)}")
    return case


def _rates(docket: Rates) -> _Plain:
    limited = docket.limited
    return {
        "harm": as_plain(docket.harm),
        "not_inferior": _maybe(docket.not_inferior, as_plain),
        "under_ceiling": _maybe(docket.under_ceiling, as_plain),
        "limited": _maybe(limited, lambda one: [as_plain(one.now), as_plain(one.before), one.since_s]),
        "curve": as_plain(docket.curve),
        "seen": as_plain(docket.seen),
    }


def _latencies(docket: Latencies) -> _Plain:
    return {
        "harm": as_plain(docket.harm),
        "not_inferior": _maybe(docket.not_inferior, as_plain),
        "seen": as_plain(docket.seen),
    }


def _docket(plain: _Plain, guardrail: Guardrail) -> Rates | Latencies:
    empty = opened(guardrail)
    margin = _maybe(plain["not_inferior"], lambda one: _state(one, TwoArm))
    seen = _state(plain["seen"], Block)
    found: Rates | Latencies
    if isinstance(empty, Latencies):
        found = Latencies(_copies(plain["harm"], Latency), margin, seen)
    else:
        ceiling = _maybe(plain["under_ceiling"], lambda one: _state(one, OneArm))
        limited = _maybe(plain["limited"], _limited)
        found = Rates(_copies(plain["harm"], TwoArm), margin, ceiling, limited, _state(plain["curve"], OddsCurve), seen)
    if _hypotheses(found) != _hypotheses(empty):
        raise EvidenceError(f"the evidence at guardrail '{guardrail.name}' was gathered on other terms")
    return found


def _hypotheses(docket: Rates | Latencies) -> tuple[object, ...]:
    """What the docket's tests are against."""
    copy = docket.harm.copies[0]
    margin = None if docket.not_inferior is None else docket.not_inferior.test
    if isinstance(docket, Latencies):
        return copy.quantiles, tuple(one.test for one in copy.tests), margin  # type: ignore[union-attr]
    ceiling = None if docket.under_ceiling is None else docket.under_ceiling.test
    limited = None if docket.limited is None else docket.limited.now.test
    return copy.test, margin, ceiling, limited  # type: ignore[union-attr]


def _limited(plain: list[Any]) -> Limited:
    now, before, since_s = plain
    return Limited(_state(now, OneArm), _state(before, OneArm), float(since_s))


def _ranks(ranks: Ranks) -> _Plain:
    return {
        "errors": as_plain(ranks.errors),
        "latency": [as_plain(one) for one in ranks.latency],
        "since_s": ranks.since_s,
        "candidate": _arm(ranks.candidate),
        "stable": _arm(ranks.stable),
        "ranked": list(ranks.ranked),
    }


def _ranks_from(plain: _Plain) -> Ranks:
    first, second = plain["ranked"]
    return Ranks(
        _state(plain["errors"], Replicas),
        tuple(_state(one, Replicas) for one in plain["latency"]),
        float(plain["since_s"]),
        _arm_from(plain["candidate"]),
        _arm_from(plain["stable"]),
        (int(first), int(second)),
    )


def _moment(moment: Moment) -> _Plain:
    return {
        "ended_s": moment.ended_s,
        "candidate": _arm(moment.candidate),
        "stable": _arm(moment.stable),
        "draw": moment.draw,
    }


def _moment_from(plain: _Plain) -> Moment:
    arms = _arm_from(plain["candidate"]), _arm_from(plain["stable"])
    return Moment(float(plain["ended_s"]), *arms, float(plain["draw"]))


def _arm(arm: Mapping[str, Tally]) -> _Plain:
    return {name: [dict(one.outcomes), _pairs(one.answered), _pairs(one.unanswered)] for name, one in arm.items()}


def _arm_from(plain: _Plain) -> Mapping[str, Tally]:
    return {
        name: Tally({str(how): int(count) for how, count in outcomes.items()}, _counts(answered), _counts(unanswered))
        for name, (outcomes, answered, unanswered) in plain.items()
    }


def _pairs(counts: Mapping[int, int]) -> list[list[int]]:
    return [[bucket, count] for bucket, count in sorted(counts.items())]


def _counts(pairs: list[list[int]]) -> dict[int, int]:
    return {int(bucket): int(count) for bucket, count in pairs}


def _maybe(value: T | None, how: Callable[[T], Any]) -> Any:  # noqa: ANN401 - JSON's own sum of types
    return None if value is None else how(value)


def _state(plain: object, kind: type[T]) -> T:
    state = from_plain(plain)
    if not isinstance(state, kind):
        raise EvidenceError(f"a {kind.__name__} was expected, not a {type(state).__name__}")
    return state


def _copies(plain: object, kind: type[Any]) -> Restarts[Any]:
    copies = _state(plain, Restarts)
    if not all(isinstance(one, kind) for one in copies.copies):
        raise EvidenceError(f"copies of a {kind.__name__} were expected")
    return copies
