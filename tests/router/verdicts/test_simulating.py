"""Rollouts walked before they are armed: what becomes of good and bad candidates, by the machine's own rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from router.errors import PlanError
from router.evidence.judge import Rule
from router.plan import End, Kind, Plan
from router.policy import Shadow
from router.stage import Needs, Stage
from router.strategies import CanaryStep, Decide, ab_test, canary, put_together, shadow
from router.verdicts.described import Described, Incident, Manner
from router.verdicts.forecast import forecast
from router.verdicts.guardrails import Guardrail, Terms, Watches
from router.verdicts.simulating import Outcome, Run, begun, walked

STEPS = canary(2, [CanaryStep(share, 60) for share in (100_000, 500_000, 1_000_000)])
BAD = Manner(0.1)


def once(plan: Plan, described: Described, seed: int = 1, longest_s: float = 86_400.0) -> Run:
    """One walk."""
    return walked(begun(plan), described, np.random.default_rng(seed), longest_s=longest_s)


@pytest.mark.parametrize("seed", range(3))
def test_a_bad_candidate_goes_back_from_its_first_step(seed: int) -> None:
    """Within that step, with the verdict's words; it had a tenth of the requests."""
    run = once(STEPS, Described(100.0, candidate=BAD), seed)
    assert run.outcome is Outcome.BACK
    assert run.stage == "10 %"
    assert run.share == 0.1
    assert run.at_s <= 60
    assert abs(run.requests - 10 * run.at_s) < 5 * (10 * run.at_s) ** 0.5 + 5
    assert 0 < run.failed < run.requests
    assert run.words.startswith("Roll back: 'errors'")


@pytest.mark.parametrize("seed", range(3))
def test_a_good_candidate_is_promoted_once_it_is_certified(seed: int) -> None:
    """Every step has its time at least; the one that needs a verdict may take longer."""
    run = once(STEPS, Described(100.0), seed)
    assert run.outcome is Outcome.PROMOTED
    assert [name for name, _ in run.stages_s] == ["10 %", "50 %", "100 %"]
    assert all(spent >= 60 for _, spent in run.stages_s)
    assert run.at_s == pytest.approx(sum(spent for _, spent in run.stages_s))


def test_the_same_seed_is_the_same_rollout() -> None:
    """And another one another."""
    plan, described = STEPS, Described(100.0, candidate=BAD)
    assert once(plan, described) == once(plan, described) != once(plan, described, 2)


def test_what_turns_bad_later_is_found_later() -> None:
    """Not before it turned; the time that it took is counted from there."""
    late = Described(100.0, candidate=BAD, onset_s=90.0)
    run = once(STEPS, late)
    assert run.outcome is Outcome.BACK
    assert run.at_s > 90
    found = forecast([run], late.onset_s).back_s
    assert found is not None
    assert found.median == pytest.approx(run.at_s - 90)


def test_too_little_traffic_is_said() -> None:
    """It is still going on when time is up, and says what it waits for."""
    run = once(STEPS, Described(0.01), longest_s=7_200.0)
    assert run.outcome is Outcome.OPEN
    assert run.at_s == 7_200
    assert run.stage == "50 %"
    assert "not enough yet" in run.words


def test_an_incident_of_both_pauses_it() -> None:
    """A third of all requests fail, whoever answers: nobody's fault, so nothing goes back."""
    run = once(STEPS, Described(200.0, incident=Incident(0.33, 70.0, 60.0)))
    assert run.outcome is Outcome.PAUSED
    assert 70 < run.at_s < 130
    assert "over its limit" in run.words


def test_bursts_take_back_by_the_fast_rule_and_not_by_the_other() -> None:
    """So that whoever arms a rollout sees what its rule is worth."""
    bursts = Described(100.0, replicas=(2, 2), hiccups_per_hour=6.0)
    errors = (Guardrail("errors", Watches.ERRORS, margin=2.0),)
    steps = canary(2, [CanaryStep(250_000, 900), CanaryStep(1_000_000, 60)])
    plans = {rule: replace(steps, terms=Terms(errors, rule=rule)) for rule in Rule}
    back = {
        rule: sum(once(plan, bursts, seed, 1_200.0).outcome is Outcome.BACK for seed in range(8))
        for rule, plan in plans.items()
    }
    assert back[Rule.FAST] >= 2
    assert back[Rule.BURST_PROOF] == 0


def test_approvals_come_at_once_and_copies_count() -> None:
    """A shadow needs its copies before; whoever is asked approves; the candidate has no share until then."""
    copies = shadow(Shadow(2, 500_000), duration_s=30, min_requests=200)
    gated = canary(2, [CanaryStep(100_000, 30, approval=True), CanaryStep(1_000_000, 30)], approve_end=True)
    run = once(put_together(copies, gated), Described(100.0))
    assert run.outcome is Outcome.PROMOTED
    assert run.first_s == pytest.approx(30.0, abs=1.0)
    assert [name for name, _ in run.stages_s] == ["shadow", "10 %", "100 %"]


def test_a_watch_that_finds_errors_goes_back() -> None:
    """Alone, with nobody to compare it with, the candidate is held against its limit."""
    plan = canary(2, [CanaryStep(500_000, 30)], watch_s=600)
    run = once(plan, Described(100.0, candidate=Manner(0.3), onset_s=200.0), seed=3)
    assert run.outcome is Outcome.BACK
    assert run.stage == "watch"
    assert "It is alone" in run.words


@pytest.mark.parametrize(
    "plan",
    [
        ab_test({2: 250_000, 3: 250_000}, duration_s=60),
        ab_test({2: 250_000}, duration_s=60, decide=Decide.HAND),
        shadow(Shadow(2), duration_s=60),
        Plan(Kind.CUSTOM, (Stage("look", min_s=10, needs=Needs.MINIMA),), End.RESTORE),
    ],
    ids=["two arms", "by hand", "no share", "nothing"],
)
def test_what_cannot_be_simulated(plan: Plan) -> None:
    """Is refused before anything is walked."""
    with pytest.raises(PlanError):
        begun(plan)
