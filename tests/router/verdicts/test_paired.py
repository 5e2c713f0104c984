"""A candidate whose answers differ is taken back by its copies; one that has only stable's noise is not."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from router.errors import PlanError
from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.judge import Decision
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.pairs import Pairs
from router.evidence.special import binomial_bounds
from router.plan import Plan
from router.policy import Shadow
from router.strategies import shadow
from router.verdicts.case import Case
from router.verdicts.case_form import decode_case, encode_case
from router.verdicts.guardrails import BESIDE_COPIES, USUAL, USUAL_WITH_COPIES, Guardrail, Terms, Watches
from router.verdicts.moment_form import decode_moment, encode_moment
from router.verdicts.pair_blocks import PairBlock
from router.verdicts.replaying import recorded, replayed
from router.verdicts.shown import as_dict, shown, shown_from
from router.verdicts.tallies import Moment, Tally
from tests.examples import examples
from tests.router.verdicts.pairing import Answers, found, pairs_needed
from tests.router.verdicts.streams import Stream

COUNTS = st.integers(0, 1_000)
SIGNS = st.builds(Pairs, COUNTS, COUNTS, COUNTS)


@st.composite
def blocks(draw: st.DrawFn) -> PairBlock:
    """Any."""
    compared, noise_compared = draw(COUNTS), draw(COUNTS)
    return PairBlock(
        compared, draw(st.integers(0, compared)), draw(SIGNS), draw(SIGNS), draw(SIGNS), noise_compared,
        draw(st.integers(0, noise_compared)), draw(COUNTS), draw(COUNTS), draw(COUNTS), draw(COUNTS),
        draw(st.booleans()),
    )  # fmt: skip


def heard(case: Case, *several: PairBlock) -> Case:
    """The case after these, one a second."""
    for nth, one in enumerate(several, start=1):
        case = case.heard_copies(Moment(case.newest_s + nth, pairs=one))
    return case


@settings(max_examples=examples(200))
@given(blocks(), blocks())
def test_totals_grow_by_what_is_found(first: PairBlock, then: PairBlock) -> None:
    """What was added to totals is what they have more than before; less than before is refused."""
    assert replace(first.merge(then).since(first), lane=then.lane) == then
    fewer = replace(first, unread=0)
    if first.unread:
        with pytest.raises(EvidenceError):
            fewer.since(first)


@settings(max_examples=examples(100))
@given(blocks())
def test_a_block_comes_back_from_its_line(block: PairBlock) -> None:
    """To the last count."""
    moment = Moment(7.0, pairs=block)
    assert decode_moment(encode_moment(moment)) == moment


@settings(max_examples=examples(100))
@given(st.lists(blocks(), max_size=4))
def test_a_case_with_pairs_comes_back(several: list[PairBlock]) -> None:
    """And goes on with what it had."""
    case = heard(Case(USUAL_WITH_COPIES).copied(), *several)
    assert decode_case(encode_case(case), USUAL_WITH_COPIES) == case


def test_a_case_of_the_release_before_is_read() -> None:
    """It has counted no pairs, and nothing else is missing from it."""
    case = Case(USUAL).ramped(1, 1).heard(Moment(1.0, {"c": Tally({"ok": 9})}, {"s": Tally({"ok": 9})}))
    plain = json.loads(encode_case(case))
    assert plain.pop("copies") == {}
    assert plain.pop("unranked") == 0
    assert decode_case(json.dumps({**plain, "reader": 2}).encode(), USUAL) == case
    with pytest.raises(EvidenceError, match="readers of form 1"):
        decode_case(json.dumps({**plain, "reader": 1}).encode(), USUAL)


def test_a_limit_of_other_terms_is_refused() -> None:
    """Evidence against 1 % says nothing of 5 %."""
    case = heard(Case(USUAL_WITH_COPIES), PairBlock(10, 1))
    looser = replace(BESIDE_COPIES[0], limit=0.05)
    with pytest.raises(EvidenceError, match="other terms"):
        decode_case(encode_case(case), Terms((*USUAL.guardrails, looser, *BESIDE_COPIES[1:])))


@pytest.mark.parametrize("lane", [False, True])
def test_it_is_the_test_that_the_literature_has(lane: bool) -> None:  # noqa: FBT001 - a parameter
    """SignE of the triples where stable is asked twice, the rate against its limit where it is not."""
    pairs = PairBlock(500, 20, noise=Pairs(15, 5, 480), lane=lane)
    case = heard(Case(Terms((BESIDE_COPIES[0],))), pairs)
    wanted = Pairs(15, 5).log_e if lane else OneArm(RateTest(0.01), 20, 500).log_e
    first_copy = math.log(0.75 * math.exp(wanted) + 0.25)
    assert case.against.log_e == pytest.approx(first_copy)
    assert case.dockets[0].seen == (Block(15, 20, 500, 500) if lane else Block(20, 20, 500, 0))


@pytest.mark.parametrize(("lane", "noise"), [(True, 0.03), (True, 0.3), (False, 0.008)])
def test_noise_of_stables_own_is_not_held_against_a_candidate(lane: bool, noise: float) -> None:  # noqa: FBT001
    """Of 12 rollouts, each looked at after every twenty pairs, no more go back than a level of 1 % explains."""
    runs = 12
    back = sum(pairs_needed(Answers(noise), seed=900 + nth, lane=lane, most=500) is not None for nth in range(runs))
    assert binomial_bounds(back, runs, 0.98)[0] <= 0.01


def test_a_difference_above_the_noise_is_found() -> None:
    """Where stable differs from itself in 2 %, and the candidate in 5 % besides."""
    needed = [pairs_needed(Answers(0.02, 0.05), seed=nth, lane=True, most=3_000) for nth in range(5)]
    assert all(needed)


def test_copies_that_fail_take_it_back_and_slow_ones_are_shown() -> None:
    """How long copies take depends on what else runs: by default it is weighed with nothing."""
    assert pairs_needed(Answers(fails=0.05), seed=3, lane=False, most=2_000)
    assert pairs_needed(Answers(slow=0.9), seed=3, lane=False, most=1_000) is None
    weighed = Terms((*USUAL.guardrails, replace(BESIDE_COPIES[2], weight=1.0)))
    assert pairs_needed(Answers(slow=0.9), seed=3, lane=False, most=1_000, terms=weighed)


def test_ranks_of_replicas_have_no_say_in_pairs() -> None:
    """Where harm needs both, disagreements alone are enough, and an earlier peak of another guardrail is not."""
    stream = Stream(replicas=(2, 2), share=0.5)
    case = Case(USUAL_WITH_COPIES).copied().ramped(500_000, 500_000)
    for moment in stream.moments(5, 20):
        case = case.heard(moment)
    assert case.rule == "burst_proof"
    case = case.heard(Moment(case.newest_s + 1, pairs=found(default_rng(1), 500, Answers(differs=0.2))))
    verdict = case.verdict(minima_met=True)
    assert verdict.decision is Decision.ROLL_BACK
    assert "'disagreements' speaks against the candidate" in verdict.words
    assert "pairs)" in verdict.words
    burst = replace(case, unranked=type(case.harm)(0.0))
    assert burst.verdict(minima_met=True).decision is Decision.NOT_YET


def test_a_shed_sample_certifies_nothing_and_says_so() -> None:
    """Above a tenth of what was in the sample; pairs that cannot be read count as shed."""
    fair = PairBlock(90, 0, Pairs(0, 0, 90), offered=100, sent=90, shed=10)
    case = heard(Case(USUAL_WITH_COPIES).copied(), fair)
    verdict = case.verdict(minima_met=True, only_copies=True)
    assert (verdict.decision, verdict.words) == (
        Decision.PROMOTE,
        "Go on: nothing speaks against the candidate in 90 pairs of answers.",
    )
    unread = heard(case, PairBlock(offered=10, sent=10, unread=10))
    shed = heard(case, PairBlock(offered=50, shed=47))
    assert unread.verdict(minima_met=True, only_copies=True).decision is Decision.NOT_YET
    assert shed.verdict(minima_met=True, only_copies=True).words == (
        "Not yet: only 62 % of the copies were compared: not representative."
    )
    anew = shed.copied()
    assert anew.verdict(minima_met=True, only_copies=True).words == "Not yet: no copy's answer has been compared."


def test_a_promotion_beside_copies_waits_for_a_fair_sample() -> None:
    """What its requests certify, copies that were shed take back."""
    case = Case(USUAL_WITH_COPIES).copied().ramped(500_000, 500_000)
    for second in range(1, 30):
        arm = {"x": Tally({"ok": 500}, {200: 500})}
        case = case.heard(Moment(float(second), arm, arm))
    assert case.verdict(minima_met=True).decision is Decision.PROMOTE
    shed = heard(case, PairBlock(offered=50, shed=47))
    assert "not representative" in shed.verdict(minima_met=True).words


def test_copies_before_a_share_leave_its_tests_as_they_were() -> None:
    """A stage of copies does not use up the first copy of the tests that look at requests."""
    shadowed = heard(Case(USUAL_WITH_COPIES).copied(), *[PairBlock(50, 0, Pairs(0, 0, 50))] * 5)
    plain = Case(USUAL_WITH_COPIES).ramped(100_000, 900_000)
    assert shadowed.copied().ramped(100_000, 900_000).dockets[:2] == plain.dockets[:2]


def test_a_late_turn_is_found_by_the_copy_of_its_leg() -> None:
    """After a clean leg, the rate test of the first leg is deep in the red, and the second one's is not."""
    clean = heard(Case(USUAL_WITH_COPIES).copied(), *[PairBlock(1_000, 0)] * 5)
    assert heard(clean.copied(), PairBlock(200, 15)).harm.log_e > heard(clean, PairBlock(200, 15)).harm.log_e


def test_it_is_shown() -> None:
    """Pairs are called so, and what became of copies is told; it comes back from its JSON."""
    block = PairBlock(
        40, 3, Pairs(1, 0, 39), Pairs(2, 38), Pairs(3, 1, 36), 40, 1, offered=50, sent=41, shed=9, lane=True
    )
    case = heard(Case(USUAL_WITH_COPIES).copied(), block)
    said = shown(case, case.verdict(minima_met=True, only_copies=True))
    assert shown_from(json.loads(json.dumps(as_dict(said)))) == said
    rows = {one.name: one for one in said.guardrails}
    assert rows["disagreements"].counted == "pairs"
    assert rows["disagreements"].candidate == (3, 40)
    assert rows["disagreements"].stable == (1, 40)
    assert rows["shadow_errors"].what == "only the copy failed"
    assert said.copies is not None
    assert (said.copies.pairs, said.copies.shed, said.copies.shown) == (40, 9, 0.82)
    assert said.copies.noise == (1, 40)


def test_a_record_of_copies_is_judged_again() -> None:
    """Second by second, as the conductor did."""
    rng = default_rng(4)
    lines = ['{"ramped":[0,1000000],"copied":true}']
    lines += [encode_moment(Moment(float(at), pairs=found(rng, 50, Answers(differs=0.2)))) for at in range(1, 20)]
    replay = replayed(recorded(lines), USUAL_WITH_COPIES)
    assert replay.back is not None
    assert replay.back.requests == 50 * replay.back.after_s + 50
    with pytest.raises(EvidenceError, match="takes the candidate's share"):
        list(recorded(['{"ramped":[0,1000000]}']))


def test_a_plan_with_a_shadow_is_judged_by_its_copies() -> None:
    """Where nobody says by what."""
    plan: Plan = shadow(Shadow(2), duration_s=60)
    assert plan.judged_by == USUAL_WITH_COPIES
    assert shadow(Shadow(2, 0), duration_s=60).judged_by == USUAL
    assert replace(plan, terms=USUAL).judged_by == USUAL


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"watches": Watches.DISAGREEMENTS}, "what part may be one"),
        ({"watches": Watches.DISAGREEMENTS, "limit": 0.01, "tolerated": 2.0}, "no ratio is tolerated"),
        ({"watches": Watches.SHADOW_ERRORS, "margin": 2.0}, "not certified"),
        ({"watches": Watches.SHADOW_ERRORS, "limit": 0.1}, "rate of their own to limit"),
        ({"watches": Watches.SHADOW_LATENCY, "ceiling": 0.1}, "rate of their own to limit"),
        ({"watches": Watches.DISAGREEMENTS, "limit": 0.01, "ceiling": 0.1}, "no ceiling"),
    ],
)
def test_what_means_nothing_for_pairs_is_refused(given: dict[str, object], words: str) -> None:
    """With a sentence."""
    with pytest.raises(PlanError, match=words):
        Guardrail("pairs", **given)  # type: ignore[arg-type]
