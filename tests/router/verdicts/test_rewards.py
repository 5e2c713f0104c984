"""What feedback says of a candidate: harm is found, gain is found, and chance, trends and selection are neither."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from router.errors import PlanError
from router.evidence.judge import Decision, Rule
from router.evidence.sequential import threshold
from router.evidence.special import binomial_bounds
from router.verdicts.case import Case
from router.verdicts.case_form import decode_case, encode_case
from router.verdicts.guardrails import DEFAULTS, Guardrail, Terms, Watches, decided_by
from router.verdicts.needing import needed
from router.verdicts.rewards import FEWEST, Better, Measure, Rewards, Segment
from router.verdicts.terms_form import terms_as_dict, terms_from
from router.verdicts.values import Values
from router.verdicts.winner import winner

SHARES = (500_000, 500_000)
REWARD = Measure("reward")


def grown(
    rng: np.random.Generator, means: tuple[float, float], *, blocks: int, size: int = 40, trend: float = 0.0
) -> Iterator[Segment]:
    """Running totals: so many more values of each arm in every block, all with the same trend."""
    arms = Values(), Values()
    for nth in range(blocks):
        drawn = (rng.normal(mean + trend * nth, 1.0, size).tolist() for mean in means)
        arms = tuple(had.plus(Values.of(more)) for had, more in zip(arms, drawn, strict=True))  # type: ignore[assignment]
        yield Segment(SHARES, *arms)


def heard(docket: Rewards, segments: Iterator[Segment], begun: int = 1) -> Rewards:
    """The docket, told of all of them."""
    for one in segments:
        docket = docket.told(begun, one)
    return docket


@pytest.mark.parametrize(("better", "means"), [(Better.HIGHER, (0.5, 1.0)), (Better.LOWER, (1.0, 0.5))])
def test_a_worse_mean_is_found_whichever_way_is_better(better: Better, means: tuple[float, float]) -> None:
    """And its opposite speaks for the candidate."""
    rng = np.random.default_rng(5)
    worse = heard(Rewards(Measure("m", better)), grown(rng, means, blocks=40))
    good = heard(Rewards(Measure("m", better)), grown(rng, means[::-1], blocks=40))
    assert worse.harm.log_e > threshold(0.01) > worse.better.log_e
    assert good.better.log_e > threshold(0.01) > good.harm.log_e
    interval = worse.interval(0.05)
    assert interval is not None
    assert interval[0] < means[0] - means[1] < interval[1]
    assert worse.difference == pytest.approx(means[0] - means[1], abs=0.15)


def test_what_is_tolerated_is_not_held_against_it() -> None:
    """A difference of half the effect is none."""
    rng = np.random.default_rng(6)
    docket = heard(Rewards(Measure("m", effect=0.4)), grown(rng, (0.8, 1.0), blocks=60))
    assert docket.harm.log_e < 0


def test_equal_arms_are_told_apart_no_more_often_than_the_level_says() -> None:
    """Under a trend, at every look of 40 blocks, over 120 seeded runs at level 5 %."""
    runs, wrong = 120, 0
    for seed in range(runs):
        docket, worst = Rewards(REWARD), 0.0
        for one in grown(np.random.default_rng(seed), (1.0, 1.0), blocks=40, size=15, trend=0.02):
            docket = docket.told(1, one)
            worst = max(worst, docket.harm.log_e)
        wrong += worst >= threshold(0.05)
    assert binomial_bounds(wrong, runs, 0.98)[0] <= 0.05


def test_bounded_values_are_bet_on() -> None:
    """The same verdict without the central limit theorem."""
    rng, arms = np.random.default_rng(8), (Values(), Values())
    docket = Rewards(Measure("click", bounded=True))
    for _ in range(200):
        drawn = (rng.binomial(1, rate, 30).tolist() for rate in (0.2, 0.4))
        arms = tuple(had.plus(Values.of(more)) for had, more in zip(arms, drawn, strict=True))  # type: ignore[assignment]
        docket = docket.told(1, Segment(SHARES, *arms))
    assert docket.bets is not None
    assert docket.harm.log_e > threshold(0.01)
    assert docket.better.log_e < 0


def test_few_values_wait_for_more_and_nothing_is_judged_twice() -> None:
    """By their numbers alone; told again what it knows, it is the same value."""
    docket = Rewards(REWARD)
    few = Segment(SHARES, Values.of([1.0] * (FEWEST - 1)), Values.of([1.0, 2.0] * FEWEST))
    waiting = docket.told(1, few)
    assert not waiting.judged
    assert waiting.told(1, few) is waiting
    more = few._replace(candidate=Values.of([1.0] * (FEWEST - 1) + [2.0]))
    first = waiting.told(1, more)
    assert first.worse is not None
    assert first.worse.blocks == 0, "the first block tunes the test and is not judged"
    assert first.told(1, more) is first


def test_a_store_that_lost_values_begins_anew_from_there() -> None:
    """Totals that ran backwards are a new beginning and no block."""
    docket = heard(Rewards(REWARD), grown(np.random.default_rng(1), (1.0, 1.0), blocks=3))
    lost = docket.told(1, Segment(SHARES, Values.of([1.0] * 20), Values.of([1.0] * 20)))
    assert lost.worse == docket.worse
    more = lost.told(1, Segment(SHARES, Values.of([1.0] * 20 + [2.0, 3.0] * 8), Values.of([1.0] * 20 + [2.0, 3.0] * 8)))
    assert more.worse is not None
    assert docket.worse is not None
    assert more.worse.blocks == docket.worse.blocks + 1


def test_feedback_that_one_arm_gives_less_often_decides_nothing() -> None:
    """The values are of chosen requests then: T6 on their numbers."""
    rng = np.random.default_rng(2)
    ours, theirs = Values.of(rng.normal(0, 1, 400).tolist()), Values.of(rng.normal(2, 1, 900).tolist())
    docket = Rewards(REWARD)
    for nth in (1, 2, 3, 4):
        part = Segment(SHARES, *(Values.of([one.mean] * (one.count * nth // 4)) for one in (ours, theirs)))
        docket = docket.told(1, part)
    assert not docket.trusted
    assert docket.harm.log_e == docket.better.log_e == 0


def _case(terms: Terms, means: tuple[float, float], *, seed: int, blocks: int = 40) -> Case:
    case = Case(terms).ramped(*SHARES)
    for one in grown(np.random.default_rng(seed), means, blocks=blocks):
        case = case.rewarded({"reward": {1: one}})
    return case


def test_a_canary_goes_back_for_its_feedback_alone() -> None:
    """By the rule `fast`, for feedback knows no replicas; a restart knows what was known."""
    terms = Terms((*DEFAULTS, Guardrail("reward", Watches.FEEDBACK, metric="reward")), rule=Rule.BURST_PROOF)
    case = _case(terms, (0.2, 1.0), seed=3)
    assert case.verdict(minima_met=True).decision is Decision.ROLL_BACK
    assert "'reward'" in case.verdict(minima_met=True).words
    again = decode_case(encode_case(case), terms)
    assert again == case
    assert encode_case(again) == encode_case(case)
    assert _case(terms, (1.0, 1.0), seed=4).verdict(minima_met=True).decision is Decision.NOT_YET


def test_a_metric_names_the_winner() -> None:
    """The best of those that are shown to be better; stable where all are worse; nobody where it may be chance."""
    terms = decided_by(Terms(), "reward", Better.HIGHER)
    good, better, worse, same = (
        _case(terms, (mean, 1.0), seed=seed, blocks=80) for seed, mean in enumerate((1.4, 1.9, 0.5, 1.0))
    )
    assert winner({2: good, 3: better, 4: same}, 1) == 3
    assert winner({2: worse}, 1) == 1
    assert winner({2: same}, 1) is None
    assert winner({2: worse, 3: same}, 1) is None
    assert worse.verdict(minima_met=True).decision is Decision.NOT_YET, "what only decides takes nothing back"


def test_terms_are_read_as_they_are_written() -> None:
    """A metric's name is its guardrail's where none is given; every mistake is refused."""
    said = {"guardrails": [{"watches": "errors"}, {"watches": "feedback", "metric": "cost", "direction": "lower"}]}
    terms = terms_from(said)
    assert terms.guardrails[1].name == "cost"
    assert terms_from(terms_as_dict(terms)) == terms
    both = decided_by(terms, "cost", Better.LOWER)
    assert [one.decides for one in both.guardrails] == [False, True]
    assert terms_from(terms_as_dict(both)) == both
    for wrong in (
        {"watches": "feedback"},
        {"watches": "errors", "metric": "cost"},
        {"watches": "feedback", "metric": "label"},
        {"watches": "feedback", "metric": "a b"},
        {"watches": "feedback", "metric": "cost", "ceiling": 0.1},
        {"watches": "feedback", "metric": "cost", "tolerated": 2},
        {"watches": "feedback", "metric": "cost", "bounded": True, "effect": 1},
        {"watches": "latency", "decides": True},
    ):
        with pytest.raises(PlanError):
            terms_from({"guardrails": [{"watches": "errors"}, wrong]})
    with pytest.raises(PlanError):
        decided_by(terms, "cost", Better.HIGHER)


def test_it_is_said_what_it_would_take() -> None:
    """More for less of a difference, and about what it then takes."""
    docket = heard(Rewards(REWARD), grown(np.random.default_rng(9), (1.0, 1.0), blocks=20))
    half, tenth = needed(docket, 0.5, 0.05), needed(docket, 0.1, 0.05)
    assert half is not None
    assert tenth is not None
    assert 0 <= half.more < half.values < tenth.values < 1e6
    assert needed(docket, 0.0, 0.05) is not None
    assert needed(Rewards(REWARD), 0.5, 0.05) is None
    blocks = round(tenth.values / 80)
    found = [
        heard(Rewards(REWARD), grown(np.random.default_rng(seed), (1.1, 1.0), blocks=blocks)).better.log_e
        for seed in range(21)
    ]
    assert sum(log_e >= threshold(0.05) for log_e in found) in range(4, 19)
