"""The figures of what is on trial: shares, phases, verdicts and what they rest on, and what people said of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from router.phases import Phase
from router.policy import WHOLE, Policy
from router.rollout import policy_of
from serving.control.rolling.spreads import Weight
from serving.metrics.figure import Facts, Figure, Kind, Row
from serving.pair_totals import PairTotals

_OF_VERSIONS: Final = ("model", "version")
_OF_METRICS: Final = (*_OF_VERSIONS, "metric")


def _effective(facts: Facts) -> Iterator[Row]:
    for model in facts.status.models:
        if model.policy is not None:
            yield from _shares(model.name, model.policy)


def _desired(facts: Facts) -> Iterator[Row]:
    """What a rollout in progress would give, were there no limit to what versions carry; else what the policy says."""
    wanted = {one.model: policy_of(one.rollout.uncut) for one in facts.rollouts}
    for model in facts.status.models:
        policy = wanted.get(model.name, model.policy)
        if policy is not None:
            yield from _shares(model.name, policy)


def _shares(model: str, policy: Policy) -> Iterator[Row]:
    for version, share in sorted(policy.shares().items()):
        yield (model, str(version)), share / WHOLE


def _phases(facts: Facts) -> Iterator[Row]:
    """All of them, those that it is not in as 0: a series that goes away says nothing."""
    for one in facts.rollouts:
        for phase in Phase:
            yield (one.model, phase.value.replace(" ", "_")), one.rollout.phase is phase


def _began(facts: Facts) -> Iterator[Row]:
    for one in facts.rollouts:
        yield (one.model,), one.rollout.since_s


def _weights(said: Callable[[Weight], float]) -> Callable[[Facts], Iterator[Row]]:
    """Of every test, one of its numbers."""

    def rows(facts: Facts) -> Iterator[Row]:
        for (model, version, test), one in sorted(facts.rollbacks.weights.items()):
            yield (model, str(version), test), said(one)

    return rows


def _odds(facts: Facts) -> Iterator[Row]:
    for (model, version, guardrail), one in sorted(facts.rollbacks.odds.items()):
        for bound, value in one._asdict().items():
            yield (model, str(version), guardrail, bound), value


def _pairs(counted: Callable[[PairTotals], Mapping[str, int]]) -> Callable[[Facts], Iterator[Row]]:
    """Of every candidate, pairs by what was found in them."""

    def rows(facts: Facts) -> Iterator[Row]:
        sums: Counter[tuple[str, ...]] = Counter()
        for one in facts.pairs:
            for found, count in counted(one).items():
                sums[one.model, str(one.candidate), found] += count
        yield from sorted(sums.items())

    return rows


def _found(totals: PairTotals) -> Mapping[str, int]:
    agreed = totals.compared - totals.disagreed
    return {"agreed": agreed, "disagreed": totals.disagreed, "unread": totals.unread}


def _feedback(facts: Facts) -> Iterator[Row]:
    yield from sorted(facts.feedback.tallies.items())


def _feedback_values(facts: Facts) -> Iterator[Row]:
    for (model, version, metric), values in sorted(facts.feedback.values.items()):
        yield (model, str(version), metric), values.count


def _feedback_sums(facts: Facts) -> Iterator[Row]:
    for (model, version, metric), values in sorted(facts.feedback.values.items()):
        yield (model, str(version), metric), values.sum


ROLLOUTS: Final = (
    Figure(
        "sluice_share_desired_ratio",
        Kind.GAUGE,
        _OF_VERSIONS,
        "The part of a model's requests that a version is to get, by its rollout or else by its policy.",
        _desired,
    ),
    Figure(
        "sluice_share_effective_ratio",
        Kind.GAUGE,
        _OF_VERSIONS,
        "The part that the published policy gives it: less than desired where it carries no more.",
        _effective,
    ),
    Figure(
        "sluice_rollout_phase",
        Kind.GAUGE,
        ("model", "phase"),
        "1 for the phase in which a model's rollout in progress stands, 0 for all others.",
        _phases,
    ),
    Figure(
        "sluice_rollout_step_timestamp_seconds",
        Kind.GAUGE,
        ("model",),
        "When the shares of a rollout in progress last changed, seconds since 1970; moved on while its clock stands.",
        _began,
    ),
    Figure(
        "sluice_change_propagation_seconds",
        Kind.HISTOGRAM,
        ("changed",),
        "How long after an operator asked for a change (of a policy, of a rollout), or a rollout took a step by "
        "itself, the last gateway ran it, since the control room began; without those that nobody waited for so long. "
        "A step is counted from its decision: waiting for its turn and being staged are part of it.",
        lambda facts: (((changed,), spread) for changed, spread in facts.propagated.items()),
    ),
    Figure(
        "sluice_rollback_detection_seconds",
        Kind.HISTOGRAM,
        (),
        "How long a candidate did harm before the evidence took it back, since the control room began.",
        lambda facts: [((), facts.rollbacks.detected)],
    ),
    Figure(
        "sluice_rollback_propagation_seconds",
        Kind.HISTOGRAM,
        (),
        "How long after the decision to go back the last gateway had done so, since the control room began; where one "
        "had not within half a minute, that long.",
        lambda facts: [((), facts.rollbacks.propagated)],
    ),
    Figure(
        "sluice_verdict_evidence",
        Kind.GAUGE,
        (*_OF_VERSIONS, "test"),
        "What a test of a rollout in progress says, as a power of ten: 2 is a hundred to one.",
        _weights(lambda one: one.log10_e),
    ),
    Figure(
        "sluice_verdict_evidence_needed",
        Kind.GAUGE,
        (*_OF_VERSIONS, "test"),
        "What is enough for a verdict, as a power of ten.",
        _weights(lambda one: one.needed),
    ),
    Figure(
        "sluice_verdict_odds_ratio",
        Kind.GAUGE,
        (*_OF_VERSIONS, "guardrail", "bound"),
        "How a candidate's odds of an event compare with stable's: the bounds of what is left possible, at every look "
        "at level 5 %, and what explains most.",
        _odds,
    ),
    Figure(
        "sluice_shadow_pairs_total",
        Kind.COUNTER,
        (*_OF_VERSIONS, "found"),
        "Answers of a rollout's shadows that were held against the client's: agreed, disagreed, unread.",
        _pairs(_found),
    ),
    Figure(
        "sluice_feedback_total",
        Kind.COUNTER,
        ("model", "kind"),
        "Values of feedback, by what became of them: accepted, duplicate, late, forged, unknown, bad_value, "
        "synthetic, over.",
        _feedback,
    ),
    Figure(
        "sluice_feedback_values_total",
        Kind.COUNTER,
        _OF_METRICS,
        "Values of a metric that were accepted, by the version that answered.",
        _feedback_values,
    ),
    Figure(
        "sluice_feedback_values_amount",
        Kind.GAUGE,
        _OF_METRICS,
        "What these add up to; divided by how many there are it is their mean.",
        _feedback_sums,
    ),
)
"""In the order of the answer."""
