"""The whole case: what it decides on streams of requests, and that it judges nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.evidence.judge import Decision, Rule
from router.evidence.sample_ratio import MOST_PHASES
from router.verdicts.case import FEWEST, LONGEST_WAIT_S, Case
from router.verdicts.dockets import Latencies, Rates
from router.verdicts.guardrails import Guardrail, Terms, Watches
from router.verdicts.tallies import Moment, Tally
from tests.router.verdicts.streams import Stream, always, ramped

SEEDS = range(3)


def quiet(at_s: float, candidate: int = 10, stable: int = 90) -> Moment:
    """A block in which nothing fails."""
    return Moment(at_s, {"c": Tally({"ok": candidate}, {9: candidate})}, {"s": Tally({"ok": stable}, {9: stable})})


@pytest.mark.parametrize("seed", SEEDS)
def test_a_good_candidate_is_promoted_once_the_minima_are_met(seed: int) -> None:
    """Not before, and never taken back."""
    second, case = Stream().until(ramped(), seed, 900, minima_met=True)
    assert second < 900
    assert case.verdict(minima_met=True).decision is Decision.PROMOTE
    assert case.verdict(minima_met=False).decision is Decision.NOT_YET


@pytest.mark.parametrize("seed", SEEDS)
def test_five_times_the_errors_are_taken_back(seed: int) -> None:
    """Within two minutes at ten requests a second, with the counts in the sentence."""
    second, case = Stream(candidate=always(0.025)).until(ramped(), seed, 300)
    verdict = case.verdict(minima_met=False)
    assert verdict.decision is Decision.ROLL_BACK
    assert second < 120
    assert "'errors' speaks against the candidate" in verdict.words


@pytest.mark.parametrize("seed", SEEDS)
def test_a_quarter_slower_is_taken_back(seed: int) -> None:
    """By its latencies; the sentence says over which quantile it counts."""
    _, case = Stream(slow=1.25).until(ramped(), seed, 300)
    verdict = case.verdict(minima_met=False)
    assert verdict.decision is Decision.ROLL_BACK
    assert "'latency over p99'" in verdict.words


def test_an_incident_of_both_stands_still_and_takes_nothing_back() -> None:
    """A tenth of all requests fail for a minute, whoever answers them."""
    incident = lambda second: 0.1 if 60 <= second < 120 else 0.005  # noqa: E731 - a rate by second
    stream = Stream(base=incident, candidate=incident)
    case, froze = ramped(), 0
    for moment in stream.moments(7, 240):
        case = case.heard(moment)
        verdict = case.verdict(minima_met=False)
        assert verdict.decision is Decision.NOT_YET
        froze += verdict.freeze
    assert froze > 30
    assert not case.verdict(minima_met=False).freeze


def test_bursts_of_one_replica_take_nothing_back() -> None:
    """Where both versions have two replicas, harm needs a second opinion; the sentence says so."""
    stream = Stream(replicas=(2, 2), hiccups_per_hour=40.0, share=0.5)
    found = [stream.until(ramped(0.5), seed, 400)[1] for seed in range(4)]
    assert all(case.rule is Rule.BURST_PROOF for case in found)
    assert [case.verdict(minima_met=False).decision for case in found] == [Decision.NOT_YET] * len(found)


def test_the_rule_does_not_change_when_a_block_of_ranks_ends() -> None:
    """It goes by how many replicas there were lately, not by who was heard in this second."""
    case = ramped(0.5)
    for moment in Stream(replicas=(2, 3), share=0.5).moments(1, 70):
        case = case.heard(moment)
        assert case.rule is Rule.BURST_PROOF
    assert Case(Terms(rule=Rule.FAST)).rule is Rule.FAST


def test_nothing_is_judged_twice() -> None:
    """A block that was heard before, or an older one, changes nothing."""
    case = ramped().heard(quiet(1.0)).heard(quiet(2.0))
    assert case.heard(quiet(2.0)) is case
    assert case.heard(quiet(1.5)) is case


def test_small_blocks_wait_for_company_by_their_sizes_alone() -> None:
    """Until the candidate has had a few requests, or they have waited long enough; failures do not hurry them."""
    failed = Moment(1.0, {"c": Tally({"server_error": 1})}, {"s": Tally({"ok": 50})})
    case = ramped().heard(failed)
    assert case.waiting is not None
    assert case.dockets == ramped().dockets
    for second in range(2, FEWEST + 1):
        case = case.heard(replace(failed, ended_s=float(second)))
    assert case.waiting is None
    assert case.against.log_e > 0
    alone = ramped().heard(quiet(1.0, candidate=0))
    for second in range(2, 2 + int(LONGEST_WAIT_S)):
        alone = alone.heard(quiet(float(second), candidate=0))
    assert alone.waiting is None


def test_what_waits_when_shares_change_is_judged_as_it_is() -> None:
    """It was heard under the shares before, and every test gets one more copy."""
    case = ramped().heard(quiet(1.0, candidate=1))
    assert case.ramped(10, 90) is case
    after = case.ramped(50, 50)
    assert after.waiting is None
    assert [len(docket.harm.copies) for docket in after.dockets if isinstance(docket, Rates | Latencies)] == [2, 2]
    assert [phase.weights for phase in after.ratio.phases] == [(10, 90), (50, 50)]
    assert after.ramped(50, 50) == after


def test_a_cold_candidate_is_not_blamed_for_its_first_seconds() -> None:
    """Its latencies are left out, its errors are not."""
    terms = Terms((Guardrail("latency", Watches.LATENCY), Guardrail("errors", Watches.ERRORS)), warm_up_s=30.0)
    cold = Stream(slow=5.0)
    case = Case(terms).ramped(10, 90)
    for moment in cold.moments(3, 29):
        case = case.heard(moment)
    assert case.dockets[0].seen.n_c == 0
    assert case.dockets[1].seen.n_c > 0
    second, case = cold.until(Case(terms).ramped(10, 90), 3, 120)
    assert 30 < second < 60


def test_units_where_they_do_not_belong_stop_the_ramp() -> None:
    """A sample-ratio mismatch: nothing is trusted, nothing taken back, somebody is called."""
    case = ramped()
    for second in range(1, 61):
        case = case.heard(replace(quiet(float(second)), units=(2, 8)))
    verdict = case.verdict(minima_met=True)
    assert (verdict.decision, verdict.freeze, verdict.alert) == (Decision.NOT_YET, True, True)


def test_no_traffic_is_no_evidence() -> None:
    """At night it waits."""
    case = ramped()
    for second in range(1, 301):
        case = case.heard(Moment(float(second)))
    verdict = case.verdict(minima_met=False)
    assert (verdict.decision, verdict.freeze) == (Decision.NOT_YET, False)
    assert case.harm.log_e == pytest.approx(0.0)


def alone(failed: int, seconds: int, case: Case) -> Case:
    """The case after so many seconds of ten requests each, with nobody beside it."""
    begun = case.watched()
    for second in range(1, seconds + 1):
        tally = Tally({"ok": 10 - failed, "server_error": failed}, {9: 10})
        begun = begun.heard(Moment(case.newest_s + second, {"c": tally}))
    return begun


def test_a_candidate_that_fails_alone_is_taken_back_in_the_watch() -> None:
    """By its own rate over the limit, which is said; without stable nothing else could be known."""
    case = alone(3, 20, ramped().heard(quiet(1.0)))
    verdict = case.verdict(minima_met=False, alone=True)
    assert verdict.decision is Decision.ROLL_BACK
    assert "It is alone" in verdict.words
    assert "alone" in [one.name for one in verdict.numbers]
    assert case.verdict(minima_met=False).decision is Decision.NOT_YET


def test_a_candidate_that_keeps_to_its_limits_alone_passes_the_watch() -> None:
    """With the certificate that it was promoted for, once the minima are met."""
    _, case = Stream().until(ramped(), 1, 900, minima_met=True)
    after = alone(0, 60, case)
    assert after.verdict(minima_met=False, alone=True).decision is Decision.NOT_YET
    assert after.verdict(minima_met=True, alone=True).decision is Decision.PROMOTE


def test_a_watch_begins_from_nothing_and_once() -> None:
    """An incident before it is not held against it, nor is a clean hour a cushion; asked again it is the same."""
    incident = ramped()
    for second in range(1, 61):
        tally = Tally({"ok": 5, "server_error": 5})
        incident = incident.heard(Moment(float(second), {"c": tally}, {"s": tally}))
    after = alone(0, 5, incident)
    assert after.verdict(minima_met=False, alone=True).decision is Decision.NOT_YET
    assert after.watched() is after
    assert not after.ramped(50, 50).alone
    assert not after.ramped(10, 90).alone
    assert Case().verdict(minima_met=False, alone=True).decision is Decision.NOT_YET


def test_shares_may_change_more_often_than_is_kept() -> None:
    """What was counted of them is let go of then, and nothing else."""
    case = ramped()
    for nth in range(2 * MOST_PHASES + 3):
        case = case.ramped(10 + nth % 2, 90)
    assert len(case.ratio.phases) <= MOST_PHASES
    assert len(case.returned.phases) <= MOST_PHASES
