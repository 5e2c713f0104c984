"""Units: each is counted once, whoever saw it; a poisonous one is one fact; and who was dealt wrongly is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.judge import Decision
from router.evidence.sample_ratio import ALPHA
from router.evidence.sequential import threshold
from router.verdicts.case import Case
from router.verdicts.guardrails import OUTCOMES, Watches
from router.verdicts.tallies import Moment, Tally
from router.verdicts.units import ALL, MOST_UNITS, Dealt, Met, People, Sighting, Took, UnitBlock, UnitsSeen
from tests.examples import examples
from tests.router.verdicts.sticky import MILLION, RAMP, Crowd

CANDIDATE, STABLE = 2, 1
SPREAD = ALL // 20
sightings = st.builds(
    lambda nth, version, names, ended: Sighting(nth * SPREAD, version, names, Took(nth) if ended else None),
    st.integers(0, 19),
    st.sampled_from([CANDIDATE, STABLE]),
    st.frozensets(st.sampled_from(["ok", "server_error", "late", "cancelled"])),
    st.booleans(),
)
messages = st.builds(UnitsSeen, st.sampled_from([ALL, ALL // 2, ALL // 4]), st.lists(sightings, max_size=8).map(tuple))


def block_of(message: UnitsSeen) -> UnitBlock:
    """What one message says."""
    return UnitBlock.of(message, CANDIDATE, STABLE)


def merged(several: list[UnitsSeen]) -> UnitBlock:
    """What several say together."""
    return reduce(UnitBlock.merge, map(block_of, several), UnitBlock())


def failed(*units: int) -> Mapping[int, frozenset[str]]:
    """Units for whom everything failed."""
    return dict.fromkeys(units, frozenset({"server_error"}))


def fine(*units: int) -> Mapping[int, frozenset[str]]:
    """Units for whom nothing did."""
    return dict.fromkeys(units, frozenset({"ok"}))


@settings(max_examples=examples(200))
@given(st.lists(messages, max_size=5), st.randoms())
def test_the_order_in_which_gateways_speak_does_not_matter(several: list[UnitsSeen], order: object) -> None:
    """Nor how often one of them says the same."""
    shuffled = [*several, *several]
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merged(several) == merged(shuffled)


@settings(max_examples=examples(200))
@given(st.lists(sightings, max_size=12), st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_several_gateways_see_what_one_would_have_seen(seen: list[Sighting], gateways: list[int]) -> None:
    """Each unit is there once in an arm, with all that became of its requests."""
    apart = [
        UnitsSeen(ALL, tuple(one for one, at in zip(seen, gateways, strict=False) if at == gateway))
        for gateway in range(3)
    ]
    assert merged(apart) == block_of(UnitsSeen(ALL, tuple(seen)))


@settings(max_examples=examples(200))
@given(st.lists(messages, min_size=1, max_size=5))
def test_the_lowest_threshold_holds_for_all(several: list[UnitsSeen]) -> None:
    """Whom one gateway left out is left out of the block, whoever told of it."""
    whole = merged(several)
    assert whole.threshold == min(one.threshold for one in several)
    assert all(unit < whole.threshold for unit in (*whole.candidate, *whole.stable))
    told = {unit for one in several for unit, version, *_ in one.seen if version == CANDIDATE}
    kept = {unit for unit in told if unit < whole.threshold}
    assert whole.candidate.keys() == kept


def test_the_first_latency_that_is_told_of_is_the_units() -> None:
    """In the order of the messages, of one gateway or of several, and of blocks that are put together."""
    names, version = frozenset({"ok"}), CANDIDATE
    told = [Sighting(1, version, names), Sighting(1, version, names, Took(9)), Sighting(1, version, names, Took(2))]
    assert block_of(UnitsSeen(ALL, tuple(told))).took == {1: Took(9)}
    assert merged([UnitsSeen(ALL, (one,)) for one in told]).took == {1: Took(9)}
    assert not merged([UnitsSeen(1, (one,)) for one in told]).took


def test_half_a_sample_stands_for_twice_as_many() -> None:
    """The number of units is told from the sample."""
    assert UnitBlock(ALL // 4, fine(1, 2), fine(3)).estimated == 12


@pytest.mark.parametrize("value", [0, ALL + 1, -1])
def test_a_threshold_that_is_none_is_refused(value: int) -> None:
    """In a sentence."""
    with pytest.raises(EvidenceError, match="threshold"):
        UnitBlock(value)


def test_only_the_first_event_counts_and_only_while_at_risk() -> None:
    """Who has failed once is not asked again; who has not ended yet, or went away, has not been asked."""
    names, people = OUTCOMES[Watches.ERRORS], People()
    first = UnitBlock(ALL, {**failed(1), **fine(2), 3: frozenset()}, {**fine(4), 5: frozenset({"cancelled"})})
    counted, people = people.first_events(first, "errors", names)
    assert counted == Block.of(candidate=(1, 2), stable=(0, 1))
    counted, people = people.first_events(UnitBlock(ALL, failed(1, 2), failed(4)), "errors", names)
    assert counted == Block.of(candidate=(1, 1), stable=(1, 1))
    assert people.failed == {"errors": {1, 2, 4}}
    assert people.first_events(first, "timeouts", OUTCOMES[Watches.TIMEOUTS])[0].n_c == 2


def test_a_unit_is_new_to_a_rollout_once() -> None:
    """However many blocks, and a unit that two policies dealt is nobody's."""
    met, people = People().met(UnitBlock(ALL, fine(1, 2), fine(2, 3, 4)))
    assert met == Met((1, 2))
    assert people.met(UnitBlock(ALL, fine(1), fine(2, 3, 5)))[0] == Met((0, 1))


def asked(candidate: Mapping[int, Took], stable: Mapping[int, Took]) -> UnitBlock:
    """A block in which these units had an attempt that took so long."""
    return UnitBlock(ALL, fine(*candidate), fine(*stable), {**stable, **candidate})


def test_a_unit_has_one_latency_in_a_rollout() -> None:
    """Its first, whichever version has it later; before that it has none, however often it was seen."""
    late = Took(99, answered=False)
    _, people = People().met(UnitBlock(ALL, fine(1), fine(2, 3)))
    first, people = people.first_latencies(UnitBlock(ALL, fine(1), fine(2, 3), {2: Took(7)}))
    assert first == ([], [Took(7)])
    block = asked({1: late, 2: Took(8)}, {3: Took(9), 4: Took(10)})
    _, people = people.ramped().met(block)
    first, people = people.first_latencies(block)
    assert first == ([late], [Took(9), Took(10)])
    assert people.timed == {1, 2, 3, 4}
    assert people.first_latencies(block) == (([], []), people)


def test_a_unit_of_both_arms_has_no_latency() -> None:
    """Two policies dealt it in one block: it counts for neither, and not later either."""
    block = UnitBlock(ALL, fine(1), fine(1), {1: Took(5)})
    _, people = People().met(block)
    first, people = people.first_latencies(block)
    assert first == ([], [])
    assert people.timed == {1}


rollouts = st.lists(
    st.tuples(
        st.dictionaries(st.integers(0, 9), st.builds(Took, st.integers(0, 50), st.booleans()), max_size=5),
        st.dictionaries(st.integers(0, 9), st.builds(Took, st.integers(0, 50), st.booleans()), max_size=5),
        st.booleans(),
    ),
    max_size=8,
)


@settings(max_examples=examples(200))
@given(rollouts)
def test_no_unit_is_asked_for_its_latency_twice(several: list[tuple[dict[int, Took], dict[int, Took], bool]]) -> None:
    """Over all blocks and ramps there are no more latencies than units, each the first that was told of."""
    people, counted, first = People(), 0, dict[int, Took]()
    for candidate, stable, ramps in several:
        block = asked(candidate, stable)
        _, people = (people.ramped() if ramps else people).met(block)
        (ours, theirs), people = people.first_latencies(block)
        counted += len(ours) + len(theirs)
        for unit, took in {**stable, **candidate}.items():
            if unit not in first and (unit in candidate) != (unit in stable):
                assert took in (ours if unit in candidate else theirs)
            first.setdefault(unit, took)
    assert counted <= len(first)
    assert people.timed == first.keys() <= people.known


def test_units_of_stables_are_dealt_again_when_the_candidate_grows() -> None:
    """Once each, and only those that stable had under the shares before: the candidate's own say nothing new."""
    _, people = People().met(UnitBlock(ALL, fine(1), fine(2, 3, 4)))
    grown = people.ramped()
    met, grown = grown.met(UnitBlock(ALL, fine(1, 2), fine(3, 9)))
    assert met == Met((0, 1), (1, 1))
    assert grown.met(UnitBlock(ALL, fine(1, 2), fine(3)))[0] == Met()
    assert grown.before == {4}
    assert grown.ramped().before == {3, 9}


def test_too_many_units_halve_the_sample() -> None:
    """What is left is decided by the hash alone, and everything that is remembered goes by it."""
    many = fine(*range(0, ALL, ALL // (2 * MOST_UNITS)))
    _, people = replace(People(), timed=frozenset(many)).met(UnitBlock(ALL, {}, many))
    assert people.threshold == ALL // 2
    assert len(people.known) <= MOST_UNITS
    assert people.known == {unit for unit in many if unit < people.threshold} == people.stable == people.timed
    _, failing = people.first_events(UnitBlock(ALL, {}, failed(*many)), "errors", OUTCOMES[Watches.ERRORS])
    assert failing.failed["errors"] <= people.known


def test_what_is_judged_by_units_is_decided_by_the_minute_before() -> None:
    """More than half of the draws with one; without a minute, by the block's own."""
    people = People().dealt(Dealt(10.0, 60.0, 50.0))
    assert people.by_unit(Dealt(11.0, 0.0, 500.0))
    assert not people.dealt(Dealt(11.0, 0.0, 500.0)).by_unit(Dealt(12.0, 10.0, 0.0))
    assert not people.by_unit(Dealt(75.0, 1.0, 2.0))
    assert People().by_unit(Dealt(1.0, 3.0, 2.0))
    assert not People().by_unit(Dealt(1.0, 0.0, 0.0))


UNLUCKY = (1, 5)
"""Seeds by which the candidate gets more than its share of the poison."""


@pytest.mark.parametrize("seed", [0, *UNLUCKY, 2])
def test_poisonous_users_take_nothing_back_and_break_no_ratio(seed: int) -> None:
    """Three of a hundred users fail whatever they ask, and are dealt alike for ever."""
    case = Crowd().case_after(seed, 300)
    assert case.by_unit
    assert case.verdict(minima_met=False).decision is Decision.NOT_YET
    assert case.harm.log_e < threshold(0.01)
    assert case.mismatch < threshold(ALPHA)


@pytest.mark.parametrize("seed", UNLUCKY)
def test_by_request_the_same_users_take_it_back(seed: int) -> None:
    """What analysis by unit is for: the same rollouts, whose gateways tell of no unit."""
    case = Case()
    for share, moment in Crowd().moments(seed, 300):
        case = case.ramped(share, MILLION - share).heard(replace(moment, people=None))
    assert case.verdict(minima_met=False).decision is Decision.ROLL_BACK


def test_a_worse_candidate_is_found_by_units_and_the_sentence_says_so() -> None:
    """Five times the errors for everybody."""
    case = Crowd(factor=5.0).case_after(1, 600)
    verdict = case.verdict(minima_met=False)
    assert verdict.decision is Decision.ROLL_BACK
    assert "units, " in verdict.words


@pytest.mark.parametrize("seed", range(2))
def test_a_ramp_of_the_same_users_breaks_no_ratio(seed: int) -> None:
    """Users who come again under larger shares are held against what their buckets promise."""
    case = Crowd().case_after(seed, 900, RAMP)
    assert len(case.ratio.phases) == 4
    assert len(case.returned.phases) == 3
    assert sum(sum(phase.counts) for phase in case.returned.phases) > 1_000
    assert case.mismatch < threshold(ALPHA)


@pytest.mark.parametrize("seed", range(2))
def test_a_wrong_split_is_found(seed: int) -> None:
    """The candidate gets a fifth less than its share of users: the ramp stands still and somebody is called."""
    case = Crowd(users=6_000, rps=300.0, misdealt=0.8).case_after(seed, 900, RAMP)
    verdict = case.verdict(minima_met=True)
    assert (verdict.decision, verdict.freeze, verdict.alert) == (Decision.NOT_YET, True, True)
    assert "shares promised" in verdict.words


def test_users_who_were_not_dealt_again_at_a_ramp_are_missed() -> None:
    """A gateway that stays with the shares before shows in those who come back, though nobody is new."""
    crowd, case = Crowd(), Case().ramped(100_000, 900_000)
    for _, moment in crowd.moments(5, 600):
        case = case.heard(moment)
    case = case.ramped(200_000, 800_000)
    for _, moment in crowd.moments(5, 600):
        case = case.heard(replace(moment, ended_s=moment.ended_s + 600))
    assert case.ratio.log_e < threshold(ALPHA) < case.returned.log_e
    assert case.verdict(minima_met=False).freeze


def test_draws_without_a_unit_count_one_by_one() -> None:
    """Beside the units, against the same shares."""
    case = Case().ramped(100_000, 900_000)
    _, moment = next(Crowd().moments(1, 10))
    heard = case.heard(replace(moment, units=(10, 90)))
    assert moment.people is not None
    seen = len(moment.people.candidate), len(moment.people.stable)
    assert heard.ratio.phases[-1].counts == (10 + seen[0], 90 + seen[1])


FEW = Crowd(users=300, poison=0.0, differ=0.5)
"""Few users, who are unlike each other in what their requests take."""


@pytest.mark.parametrize("shares", [(100_000,), RAMP], ids=["a tenth", "a ramp"])
def test_users_who_differ_take_nothing_back_by_their_latencies(shares: tuple[int, ...]) -> None:
    """Equal versions, users dealt alike for ever: each is one latency."""
    cases = [FEW.case_after(seed, 600, shares) for seed in range(8)]
    assert all(case.by_unit for case in cases)
    assert [case.harm.log_e for case in cases if case.harm.log_e >= threshold(0.01)] == []
    assert all(case.dockets[1].seen.n_c + case.dockets[1].seen.n_b <= FEW.users for case in cases)


def test_by_request_the_same_users_take_it_back_by_their_latencies() -> None:
    """What a unit's first latency is for: the same rollouts, whose gateways tell of no unit."""
    case = Case()
    for share, moment in FEW.moments(0, 600):
        case = case.ramped(share, MILLION - share).heard(replace(moment, people=None))
    assert case.verdict(minima_met=False).decision is Decision.ROLL_BACK


@pytest.mark.parametrize("seed", range(3))
def test_a_slower_candidate_is_found_by_units(seed: int) -> None:
    """One and a half times the duration, for a tenth of five thousand users; the sentence counts units."""
    case = Crowd(users=5_000, poison=0.0, differ=0.5, slow=1.5).case_after(seed, 120)
    verdict = case.verdict(minima_met=False)
    assert verdict.decision is Decision.ROLL_BACK
    assert "latency" in verdict.words
    assert "units, " in verdict.words


def test_a_latency_while_the_candidate_warms_up_is_nobodys_first() -> None:
    """What is left out is not used up: the unit's next one counts."""
    case = Case().ramped(500_000, 500_000)
    for second in (1.0, 2.0):
        case = case.heard(replace(TEN, ended_s=second))
    assert (case.by_unit, case.people.timed, case.dockets[1].seen.n_c) == (True, frozenset(), 0)
    case = case.heard(replace(TEN, ended_s=20.0)).heard(replace(TEN, ended_s=21.0))
    assert (case.dockets[1].seen.n_c, case.dockets[1].seen.n_b) == (10, 10)


TEN = Moment(
    1.0,
    {"c": Tally({"ok": 10}, {9: 10})},
    {"s": Tally({"ok": 10}, {9: 10})},
    people=asked(dict.fromkeys(range(10), Took(9)), dict.fromkeys(range(10, 20), Took(9))),
)
"""Twenty units, half of them the candidate's."""
