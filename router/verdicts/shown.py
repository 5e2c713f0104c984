"""A case as people are shown it: each guardrail's totals, what they may mean, and how far it is from a threshold.

Evidence is shown as powers of ten: 2 is "a hundred to one". Whatever is shown decides nothing: the intervals are right
at every look by themselves, and the verdict is made elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from router.errors import RouterError
from router.evidence.judge import Certificate, Decision, Number, Rule, Verdict
from router.evidence.pairs import TOLERANCE
from router.evidence.sequential import threshold
from router.verdicts.case import Case
from router.verdicts.dockets import Docket
from router.verdicts.guardrails import Guardrail, Watches
from router.verdicts.pair_blocks import PairBlock
from router.verdicts.paired import Paired
from router.verdicts.predictions import Predictions
from router.verdicts.rewards import Rewards

_LN10 = math.log(10)
CONFIDENCE = 0.05
"""The chance that an interval that is shown ever misses the odds ratio."""


class Arm(NamedTuple):
    """What happened how often in one arm."""

    events: int
    total: int


class Bounds(NamedTuple):
    """An odds ratio of the candidate to stable: what is left possible, and what explains most; None for no limit."""

    lower: float
    likeliest: float
    upper: float | None


class Certified(NamedTuple):
    """How far a guardrail is from what promotion asks of it, as powers of ten; None where a way is not asked for.

    Attributes:
        holds: whether one of both ways is enough.
        not_inferior: that the odds ratio is under the margin.
        under_ceiling: that the candidate's own rate is under the ceiling.
        threshold: what either has to reach.
    """

    holds: bool
    not_inferior: float | None
    under_ceiling: float | None
    threshold: float


@dataclass(frozen=True, slots=True)
class GuardrailShown:
    """One guardrail.

    Attributes:
        name: as people know it.
        watches: what it looks at.
        what: which event is counted, where that is more than `watches` says: a quantile, a class; empty otherwise.
        counted: "requests", "units" or "pairs" (of answers to one request).
        candidate: events and totals of the candidate.
        stable: the same of stable.
        odds_ratio: right at every look at level 5 %; None where nothing can be said, or of predictions.
        log10_e: what it holds against the candidate now, as a power of ten.
        part: how much of what all guardrails hold against the candidate comes from this one, from 0 to 1.
        certified: what promotion asks of it; None where it asks for nothing.
    """

    name: str
    watches: str
    what: str
    counted: str
    candidate: Arm
    stable: Arm
    odds_ratio: Bounds | None
    log10_e: float
    part: float
    certified: Certified | None


class CopiesShown(NamedTuple):
    """What became of the candidate's copies since its leg began.

    Attributes:
        pairs: of which both ends are known.
        offered: requests that were in the sample.
        sent: those of which a copy was sent.
        shed: those of which none was.
        unread: pairs of which an answer could not be read, or was too long.
        shown: of those offered, the part that was neither shed nor unread; under 0.9 it represents them no more.
        noise: how often stable's own two answers differ; None where it is asked once.
    """

    pairs: int
    offered: int
    sent: int
    shed: int
    unread: int
    shown: float
    noise: Arm | None


class Figure(NamedTuple):
    """One number that the verdict was held against, both as powers of ten."""

    name: str
    log10_e: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Shown:
    """One candidate's case.

    Attributes:
        decision: "promote", "roll_back" or "not_yet".
        words: the verdict in a sentence.
        freeze: whether the ramp stands still.
        alert: whether a person should look.
        rule: by which harm takes it back: "fast" or "burst_proof".
        log10_e: the highest that all guardrails together ever held against it, as a power of ten.
        threshold: where harm is found.
        spent: how much of the way there is gone, from 0 to 1; what is left of 1 is the budget.
        newest_s: when the newest block closed, by the clock of the messages; 0 before the first.
        guardrails: each of them, in order.
        figures: every number that the verdict looked at.
        copies: what became of copies; None where none were made.
    """

    decision: str
    words: str
    freeze: bool
    alert: bool
    rule: str
    log10_e: float
    threshold: float
    spent: float
    newest_s: float
    guardrails: tuple[GuardrailShown, ...]
    figures: tuple[Figure, ...]
    copies: CopiesShown | None = None


def shown(case: Case, verdict: Verdict) -> Shown:
    """The case, and the verdict that was made of it."""
    harm = threshold(case.terms.harm)
    return Shown(
        verdict.decision.value,
        verdict.words,
        verdict.freeze,
        verdict.alert,
        case.rule.value,
        _tens(case.harm.log_e),
        _tens(harm),
        min(1.0, case.harm.log_e / harm),
        case.newest_s,
        tuple(_guardrail(case, one, docket) for one, docket in case.by_guardrail),
        tuple(_figure(number) for number in verdict.numbers),
        _copies(case.copies),
    )


def as_dict(value: Shown) -> dict[str, Any]:
    """What is shown as plain values for JSON."""
    plain = asdict(value)
    plain["figures"] = [one._asdict() for one in value.figures]
    plain["guardrails"] = [_plain_guardrail(one) for one in value.guardrails]
    copies = value.copies
    noise = None if copies is None or copies.noise is None else copies.noise._asdict()
    plain["copies"] = None if copies is None else {**copies._asdict(), "noise": noise}
    return plain


def shown_from(plain: Mapping[str, Any]) -> Shown:
    """What `as_dict` wrote.

    Raises:
        RouterError: it is something else.
    """
    try:
        parts = {
            "decision": Decision(plain["decision"]).value,
            "rule": Rule(plain["rule"]).value,
            "guardrails": tuple(map(_guardrail_from, plain["guardrails"])),
            "figures": tuple(Figure(**one) for one in plain["figures"]),
            "copies": _copies_from(plain.get("copies")),
        }
        return Shown(**{**plain, **parts})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise RouterError(f"this is no verdict that could be shown: {error!r}") from error


def _copies_from(plain: Mapping[str, Any] | None) -> CopiesShown | None:
    if plain is None:
        return None
    noise = plain["noise"]
    return CopiesShown(**{**plain, "noise": None if noise is None else Arm(**noise)})


def _guardrail(case: Case, guardrail: Guardrail, docket: Docket) -> GuardrailShown:
    x, m, n_c, n_b = docket.seen.x, docket.seen.m, docket.seen.n_c, docket.seen.n_b
    if isinstance(docket, Rewards):
        n_c, n_b = (values.count for values in docket.totals)
    total = math.fsum(one.weight for one in case.terms.guardrails)
    part = guardrail.weight / total * math.exp(docket.harm.log_e - case.against.log_e) if guardrail.weight else 0.0
    return GuardrailShown(
        guardrail.name,
        guardrail.watches.value,
        _what(guardrail, docket),
        case.counted(docket),
        Arm(x, n_c),
        Arm(m - x, n_b),
        _bounds(docket) if m else None,
        _tens(docket.harm.log_e),
        min(1.0, part),
        _certified(docket.certificate(guardrail.name), case.terms.promotion),
    )


def _what(guardrail: Guardrail, docket: Docket) -> str:
    if isinstance(docket, Predictions):
        return docket.foremost
    if isinstance(docket, Rewards):
        candidate, stable = docket.totals
        return f"mean {candidate.mean:.6g}, stable's {stable.mean:.6g}"
    if isinstance(docket, Paired):
        return _paired(guardrail, docket)
    return f"slower than p{guardrail.highest * 100:g}" if guardrail.watches is Watches.LATENCY else ""


def _paired(guardrail: Guardrail, docket: Paired) -> str:
    """Against what the pairs are held."""
    if guardrail.watches is Watches.SHADOW_LATENCY:
        return f"slower than {TOLERANCE:g} times the request"
    if guardrail.watches is Watches.SHADOW_ERRORS:
        return "only the copy failed"
    return "more often than stable's second answer" if docket.seen.n_b else f"in more than {guardrail.limit or 0:g}"


def _copies(pairs: PairBlock) -> CopiesShown | None:
    if not pairs.offered and not pairs.ended:
        return None
    noise = Arm(pairs.noise_disagreed, pairs.noise_compared) if pairs.noise_compared else None
    return CopiesShown(pairs.ended, pairs.offered, pairs.sent, pairs.shed, pairs.unread, round(pairs.shown, 6), noise)


def _bounds(docket: Docket) -> Bounds | None:
    if isinstance(docket, Predictions | Rewards | Paired):
        return None
    lower, likeliest, upper = docket.curve.interval(CONFIDENCE)
    return Bounds(lower, likeliest, upper if math.isfinite(upper) else None)


def _certified(certificate: Certificate | None, promotion: float) -> Certified | None:
    if certificate is None:
        return None
    ways = (certificate.not_inferior, certificate.under_ceiling)
    margin, ceiling = (None if log_e is None else _tens(log_e) for log_e in ways)
    holds = any(log_e is not None and log_e >= threshold(promotion) for log_e in ways)
    return Certified(holds, margin, ceiling, _tens(threshold(promotion)))


def _figure(number: Number) -> Figure:
    return Figure(number.name, _tens(number.log_e), _tens(number.threshold))


def _tens(log_e: float) -> float:
    """A natural logarithm as a power of ten, to a millionth."""
    return round(log_e / _LN10, 6)


def _plain_guardrail(one: GuardrailShown) -> dict[str, Any]:
    parts = {"candidate": one.candidate, "stable": one.stable, "odds_ratio": one.odds_ratio, "certified": one.certified}
    return {**asdict(one), **{name: None if part is None else part._asdict() for name, part in parts.items()}}


def _guardrail_from(plain: Mapping[str, Any]) -> GuardrailShown:
    bounds, certified = plain["odds_ratio"], plain["certified"]
    parts = {
        "candidate": Arm(**plain["candidate"]),
        "stable": Arm(**plain["stable"]),
        "odds_ratio": None if bounds is None else Bounds(**bounds),
        "certified": None if certified is None else Certified(**certified),
    }
    return GuardrailShown(**{**plain, **parts})
