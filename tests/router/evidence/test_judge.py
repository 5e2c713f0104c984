"""A verdict follows from the findings alone, in one order, and says in a sentence what it rested on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.judge import Certificate, Decision, Findings, Levels, Number, Rule, judge, rule_for
from router.evidence.sequential import threshold

FAST, CAREFUL = Levels(Rule.FAST), Levels(Rule.BURST_PROOF)
CLEAN = Certificate("errors", not_inferior=1.0, under_ceiling=4.0)
CALM = Findings(0.0, "errors", replicas=0.0, limit=0.0, sample_ratio=0.0, minima_met=True, guardrails=(CLEAN,))
LOUD = 10.0

maybe = st.none() | st.floats(-20, 20)
findings = st.builds(
    Findings,
    st.floats(0, 20),
    st.just("errors"),
    st.none(),
    maybe,
    maybe,
    maybe,
    st.booleans(),
    st.lists(st.builds(Certificate, st.just("errors"), maybe, maybe), max_size=2).map(tuple),
)
levels = st.sampled_from([FAST, CAREFUL])


def test_a_certified_candidate_is_promoted() -> None:
    """By its ceiling or by comparison; the sentence names what was certified."""
    for guardrail in (CLEAN, Certificate("errors", not_inferior=4.0)):
        verdict = judge(replace(CALM, guardrails=(guardrail,)), FAST)
        assert verdict.decision is Decision.PROMOTE
        assert verdict.words == "Promote: nothing speaks against the candidate, and errors are certified at level 0.05."


def test_every_guardrail_has_to_be_certified() -> None:
    """The sentence names those that are not."""
    verdict = judge(replace(CALM, guardrails=(CLEAN, Certificate("timeouts", 1.0, None))), FAST)
    assert verdict.decision is Decision.NOT_YET
    assert "timeouts cannot be certified yet" in verdict.words
    assert not verdict.freeze


def test_nobody_grows_into_the_beginning_of_an_incident() -> None:
    """What speaks for a rate over its limit, though it is not enough to pause, is enough not to promote."""
    verdict = judge(replace(CALM, limit=0.5), FAST)
    assert (verdict.decision, verdict.freeze) == (Decision.NOT_YET, False)
    assert "may be over its limit" in verdict.words


def test_silence_is_not_a_yes() -> None:
    """Nothing was seen, no minimum is met, no guardrail is there: not yet."""
    assert judge(Findings(0.0, "errors"), FAST).decision is Decision.NOT_YET
    assert judge(replace(CALM, minima_met=False), FAST).decision is Decision.NOT_YET
    assert judge(replace(CALM, guardrails=()), FAST).decision is Decision.NOT_YET
    assert judge(replace(CALM, guardrails=(Certificate("errors"),)), FAST).decision is Decision.NOT_YET


def test_harm_rolls_back_by_the_fast_rule() -> None:
    """With the odds in the sentence and the numbers beside it."""
    verdict = judge(replace(CALM, harm=math.log(1234), seen=Block(30, 42, 1000, 9000)), FAST)
    assert verdict.decision is Decision.ROLL_BACK
    assert verdict.words == (
        "Roll back: 'errors' speaks against the candidate 1,234 to 1 where 100 to 1 is enough "
        "(30 of the candidate's 1,000 requests, 12 of stable's 9,000)."
    )
    assert verdict.numbers[0] == Number("harm", math.log(1234), threshold(0.01))
    assert [number.name for number in verdict.numbers[-2:]] == ["errors: not inferior", "errors: under its ceiling"]


def test_the_burst_proof_rule_asks_the_replicas_too() -> None:
    """Until they agree the ramp stands still and a person is told."""
    alone = judge(replace(CALM, harm=LOUD), CAREFUL)
    assert (alone.decision, alone.freeze, alone.alert) == (Decision.NOT_YET, True, True)
    assert judge(replace(CALM, harm=LOUD, replicas=LOUD), CAREFUL).decision is Decision.ROLL_BACK
    assert judge(replace(CALM, replicas=LOUD), CAREFUL).decision is Decision.PROMOTE


def test_a_shared_incident_pauses_and_does_not_blame() -> None:
    """An absolute limit is broken while the arms are alike."""
    verdict = judge(replace(CALM, limit=LOUD), FAST)
    assert (verdict.decision, verdict.freeze) == (Decision.NOT_YET, True)
    assert judge(replace(CALM, limit=LOUD, harm=LOUD), FAST).decision is Decision.ROLL_BACK


def test_a_broken_experiment_decides_nothing() -> None:
    """Not even where everything else speaks for a rollback."""
    verdict = judge(replace(CALM, sample_ratio=LOUD, harm=LOUD, replicas=LOUD), CAREFUL)
    assert (verdict.decision, verdict.freeze, verdict.alert) == (Decision.NOT_YET, True, True)
    assert "nothing else here can be trusted" in verdict.words


@given(findings, levels)
def test_a_promotion_is_earned_whatever_was_found(found: Findings, asked: Levels) -> None:
    """Never with harm, a broken ratio or a broken limit, and never without its minima."""
    verdict = judge(found, asked)
    if verdict.decision is Decision.PROMOTE:
        assert found.minima_met
        assert found.guardrails
        assert found.harm < math.log(100)
        assert (found.limit or 0) < math.log(100)
        assert (found.sample_ratio or 0) < math.log(1000)
    if verdict.decision is Decision.ROLL_BACK:
        assert found.harm >= math.log(100)
    assert verdict.words.startswith(
        {"promote": "Promote", "roll_back": "Roll back", "not_yet": "Not yet"}[verdict.decision]
    )
    assert verdict.numbers[0].log_e == found.harm


def test_two_replicas_of_each_version_make_ranks() -> None:
    """The default rule."""
    assert rule_for(2, 2) is Rule.BURST_PROOF
    assert rule_for(1, 9) is Rule.FAST
    assert rule_for(2, 1) is Rule.FAST


def test_huge_odds_are_said_shortly() -> None:
    """A billion to one is enough for anybody."""
    assert "over 1,000,000,000 to 1" in judge(replace(CALM, harm=1e6), FAST).words


def test_a_nan_and_a_level_of_nothing_are_refused() -> None:
    """A NaN compares as no evidence, in silence."""
    with pytest.raises(EvidenceError):
        Findings(math.nan, "errors")
    with pytest.raises(EvidenceError):
        Findings(0.0, "errors", guardrails=(Certificate("errors", math.nan),))
    with pytest.raises(EvidenceError):
        Levels(Rule.FAST, harm=0.0)


def test_alone_a_rate_over_its_limit_is_enough() -> None:
    """Whatever the rule, for there is no second opinion either; only a broken experiment comes before it."""
    for rule in (FAST, CAREFUL):
        verdict = judge(replace(CALM, alone=LOUD), rule)
        assert (verdict.decision, verdict.alert) == (Decision.ROLL_BACK, True)
        assert "whether stable would have done better cannot be told" in verdict.words
        assert Number("alone", LOUD, threshold(0.01)) in verdict.numbers
    assert judge(replace(CALM, alone=1.0), FAST).decision is Decision.PROMOTE
    assert judge(replace(CALM, alone=LOUD, sample_ratio=LOUD), FAST).decision is Decision.NOT_YET


def test_the_sentence_says_what_was_counted() -> None:
    """Requests, or units."""
    seen = Block.of(candidate=(5, 100), stable=(1, 900))
    verdict = judge(replace(CALM, harm=LOUD, seen=seen, counted="units"), FAST)
    assert "(5 of the candidate's 100 units, 1 of stable's 900)" in verdict.words
