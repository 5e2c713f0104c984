"""What feedback says of a rollout, for people: each metric's effect, whether to trust it, what it would still take.

Effects are the candidate's mean minus stable's, with an interval that is right at every look (T4). A metric that the
rollout is not judged by has totals only: its values were not taken in blocks, and a trend would read as a difference.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from router.evidence.sample_ratio import ALPHA
from router.evidence.sequential import threshold
from router.plan import End
from router.verdicts.case import Case
from router.verdicts.guardrails import Guardrail
from router.verdicts.needing import Needed, needed
from router.verdicts.rewards import Rewards
from router.verdicts.shown import CONFIDENCE
from router.verdicts.values import Values
from router.verdicts.winner import winner
from serving.control.rolling.judged import Beside, Judged
from serving.control.rolling.records import Record
from serving.control.rolling.rewarded import AGAIN, BEYOND, Metrics, metrics_in, together

_LN10: Final = math.log(10)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a metric that a candidate is judged by says of it.

    Attributes:
        difference: the candidate's mean minus stable's, weighted over blocks.
        interval: of that difference, right at every look at level 5 %; None before there are two blocks.
        log10_worse: what speaks for "worse than tolerated", as a power of ten.
        log10_better: the same for "better than stable".
        threshold: what shows either.
        log10_ratio: what speaks against both arms having had feedback alike, as a power of ten.
        trusted: whether that is little enough.
        as_seen: what it takes to show a difference as large as it looks; None where that cannot be said.
        half: the same for a difference of half the interval's radius; None likewise.
    """

    difference: float
    interval: tuple[float, float] | None
    log10_worse: float
    log10_better: float
    threshold: float
    log10_ratio: float
    trusted: bool
    as_seen: Needed | None
    half: Needed | None

    @property
    def shown(self) -> str:
        """'better', 'worse', or empty where neither is shown."""
        if self.log10_better >= self.threshold:
            return "better"
        return "worse" if self.log10_worse >= self.threshold else ""


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One version's values of one metric.

    Attributes:
        version: which was dealt.
        values: all of them, first ones of units.
        effect: against stable; None of stable itself, and where the rollout is not judged by the metric.
    """

    version: int
    values: Values
    effect: Effect | None = None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric.

    Attributes:
        metric: its name.
        direction: which way it is better; empty where the rollout is not judged by it.
        decides: whether the winner is named by it.
        stable: stable's values.
        candidates: the others'.
    """

    metric: str
    direction: str
    decides: bool
    stable: ArmResult
    candidates: tuple[ArmResult, ...]


@dataclass(frozen=True, slots=True)
class Results:
    """All metrics of a rollout.

    Attributes:
        record: the rollout.
        metrics: by name.
        again: values of units that had one before, which are not compared.
        beyond: values of units beyond those that are remembered, which are not compared either.
        mismatch: of each candidate, what speaks against units having gone where shares promised, as a power of ten.
        mismatch_threshold: what shows that.
        winner: the version that the evidence names; None where it names none.
        values_per_s: values of all metrics in a second, since the rollout began.
        words: what is decided, or what it would still take, in sentences.
    """

    record: Record
    metrics: tuple[MetricResult, ...]
    again: int
    beyond: int
    mismatch: Mapping[int, float]
    mismatch_threshold: float
    winner: int | None
    values_per_s: float
    words: tuple[str, ...]


def results_of(record: Record, judged: Judged | None, sums: Mapping[str, int], now_s: float) -> Results:
    """What is known by now.

    Args:
        record: the rollout.
        judged: its cases; None where none was kept.
        sums: what feedback adds up to.
        now_s: the time, by the store's clock.

    Raises:
        EvidenceError: the sums are none.
    """
    metrics = metrics_in(sums)
    arms = {} if judged is None else judged.arms
    cases = {version: arm.case for version, arm in arms.items()}
    compared = {version: arms[version].case for version in arms if arms[version].tried.how is Beside.COMPARED}
    stable = record.rollout.base.stable
    named = None
    if record.rollout.plan.end is End.WINNER and compared:
        named = record.rollout.chosen or winner(compared, stable)
    found = tuple(_metric(record, cases, metrics, name) for name in sorted({*metrics, *_judged_metrics(record)}))
    took_s = max(1.0, now_s - record.created_s)
    per_s = sum(one.values.count for metric in found for one in (metric.stable, *metric.candidates)) / took_s
    return Results(
        record,
        found,
        sums.get(AGAIN, 0),
        sums.get(BEYOND, 0),
        {version: case.mismatch / _LN10 for version, case in cases.items()},
        threshold(ALPHA) / _LN10,
        named,
        per_s,
        tuple(_words(found, named, stable, took_s)),
    )


def _judged_metrics(record: Record) -> Iterator[str]:
    return (one.metric for one in record.rollout.plan.judged_by.guardrails if one.metric)


def _metric(record: Record, cases: Mapping[int, Case], metrics: Metrics, name: str) -> MetricResult:
    stable = record.rollout.base.stable
    segments = metrics.get(name, {}).values()
    versions = {version for segment in segments for version in segment} | set(cases)
    values = {one: together(segment.get(one, Values()) for segment in segments) for one in {*versions, stable}}
    guardrail = next((one for one in record.rollout.plan.judged_by.guardrails if one.metric == name), None)
    several = max(1, len(cases))
    return MetricResult(
        name,
        "" if guardrail is None else guardrail.direction.value,
        guardrail is not None and guardrail.decides,
        ArmResult(stable, values[stable]),
        tuple(
            ArmResult(one, values[one], _effect(cases.get(one), guardrail, several))
            for one in sorted(versions - {stable})
        ),
    )


def _effect(case: Case | None, guardrail: Guardrail | None, several: int) -> Effect | None:
    if case is None or guardrail is None:
        return None
    docket = next(docket for one, docket in case.by_guardrail if one.metric == guardrail.metric)
    assert isinstance(docket, Rewards)  # noqa: S101 - whatever watches a metric has such a docket
    level = case.terms.promotion / several
    interval, seen = docket.interval(CONFIDENCE), abs(docket.difference)
    return Effect(
        docket.difference,
        interval,
        docket.harm.log_e / _LN10,
        docket.better.log_e / _LN10,
        threshold(level) / _LN10,
        docket.mismatch / _LN10,
        docket.trusted,
        needed(docket, seen, level),
        None if interval is None else needed(docket, (interval[1] - interval[0]) / 4, level),
    )


def _words(metrics: tuple[MetricResult, ...], named: int | None, stable: int, took_s: float) -> Iterator[str]:
    if not metrics:
        yield "There is no feedback yet: send some with the request ids of this rollout's answers."
    if named is not None:
        yield f"The evidence names version {named}{', which is stable' if named == stable else ''}."
    for metric in metrics:
        for arm in metric.candidates:
            had = arm.values.count + metric.stable.values.count
            yield from _about(metric, arm, had / took_s)


def _about(metric: MetricResult, arm: ArmResult, per_s: float) -> Iterator[str]:
    which, effect = f"{metric.metric}, version {arm.version}", arm.effect
    if effect is None:
        yield f"{which}: the rollout is not judged by it, so there are totals only."
        return
    if not effect.trusted:
        yield (
            f"{which}: the arms did not have feedback alike, as their shares promised, so nothing is decided by it: "
            "see whether whoever sends it leaves some out."
        )
    elif effect.shown:
        yield f"{which}: it is shown to be {effect.shown} than stable."
    elif effect.interval is None:
        yield f"{which}: not decided; it takes two blocks in which each version has 10 values."
    else:
        low, high = effect.interval
        yield f"{which}: not decided; the difference lies between {low:.4g} and {high:.4g}."
        yield from (f"{which}: {_takes(one, per_s)}." for one in (effect.as_seen, effect.half) if one is not None)


def _takes(need: Needed, per_s: float) -> str:
    if math.isinf(need.values):
        return f"a difference of {need.difference:.4g} is too small to be shown"
    if not need.more:
        return f"a difference of {need.difference:.4g} would usually be shown by now"
    words = f"to show a difference of {need.difference:.4g} takes about {need.more:,.0f} more values"
    return f"{words}, {_time(need.more / per_s)} at the present rate" if per_s else words


def _time(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} seconds"
