"""T6, T7, T8 and T9, and what all tests share: units, pairs, averages, replicas, peaks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.evidence.errors import EvidenceError
from router.evidence.pairs import Pairs, slower
from router.evidence.replicas import Replicas, worst_is_candidate
from router.evidence.sample_ratio import ALPHA, MOST_PHASES, Phase, SampleRatio
from router.evidence.sequential import Peak, e_value, log_average, threshold

logs = st.floats(-1e6, 1e6)


def test_phases_multiply() -> None:
    """A phase per change of weight; the same weights again are no new phase."""
    state = SampleRatio().begin((1, 9)).add((150, 850)).begin((1, 9)).add((0, 0)).begin((1, 1)).add((510, 490))
    assert [phase.counts for phase in state.phases] == [(150, 850), (510, 490)]
    assert state.log_e == pytest.approx(sum(phase.log_e for phase in state.phases))
    assert state.log_e > threshold(ALPHA)
    assert [phase.counts for phase in state.begin((1, 1), anew=True).phases][-1] == (0, 0)


def test_weights_of_any_unit_are_the_same_weights() -> None:
    """Parts per million, percent, or one to nine; and more than two arms."""
    assert Phase((100_000, 900_000), (150, 850)).log_e == pytest.approx(Phase((1, 9), (150, 850)).log_e)
    assert Phase((1, 1, 2), (250, 250, 500)).log_e < 0 < Phase((1, 1, 2), (350, 150, 500)).log_e


def test_one_bad_answer_of_a_pair_speaks_and_two_do_not() -> None:
    """Only discordant pairs count."""
    state = Pairs()
    for candidate_bad, stable_bad in ((True, False), (True, True), (False, False), (False, True)):
        state = state.add(candidate_bad=candidate_bad, stable_bad=stable_bad)
    assert state == Pairs(worse=1, better=1, ties=2)
    assert Pairs(1, 1, 10**6).log_e == Pairs(1, 1).log_e


def test_a_pair_is_slower_beyond_the_tolerance() -> None:
    """1.1 times as slow is a tie at the edge; a missing time is one too."""
    times = [(1.2, 1.0), (1.0, 1.0), (1.5, 1.0), (math.nan, 1.0), (2.2, 2.0)]
    assert slower(times, 1.1) == Pairs(worse=2, better=1, ties=2)
    assert slower([(math.inf, 1.0)]) == Pairs(worse=1)


def test_the_worst_replica_is_found_and_ties_are_drawn_fairly() -> None:
    """Two of the candidate's among five equals win two draws of five."""
    assert worst_is_candidate([0.5], [0.1, 0.2], 0.9)
    assert not worst_is_candidate([0.1], [0.1, 0.2], 0.0)
    wins = [worst_is_candidate([0.0, 0.0], [0.0, 0.0, 0.0], draw / 100) for draw in range(100)]
    assert sum(wins) == 40


def test_three_bad_blocks_are_enough_for_one_replica_of_ten() -> None:
    """And seven for one of two."""
    few, even = Replicas(), Replicas()
    for _ in range(3):
        few = few.add([1.0], [0.0] * 9, 0.5)
    assert few.log_e >= threshold(0.01)
    assert (few.blocks, few.wins) == (3, 3)
    for _ in range(6):
        even = even.add([1.0], [0.0], 0.5)
    assert even.log_e < threshold(0.01)
    for _ in range(2):
        even = even.add([1.0], [0.0], 0.5)
    assert even.log_e >= threshold(0.01)


def test_a_version_without_replicas_changes_nothing() -> None:
    """There are no ranks then."""
    state = Replicas().add([1.0], [0.0], 0.5)
    assert state.add([], [0.0], 0.5) is state
    assert state.add([1.0], [], 0.5) is state


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), logs, min_size=1))
def test_an_average_lies_between_its_parts(log_es: dict[str, float]) -> None:
    """And names one of them; it never overflows."""
    combined = log_average(log_es)
    assert min(log_es.values()) - 1e-6 <= combined.log_e <= max(log_es.values()) + 1e-6
    assert log_es[combined.foremost] == pytest.approx(max(log_es.values()))


def test_weights_are_shares() -> None:
    """In any unit; a test of no weight has no say."""
    combined = log_average({"errors": math.log(100), "latency": math.log(4)}, {"errors": 1, "latency": 3})
    assert combined.log_e == pytest.approx(math.log(28))
    assert combined.foremost == "errors"
    assert log_average({"a": 5.0, "b": 9.0}, {"a": 1, "b": 0}) == (5.0, "a")


@given(st.lists(logs, max_size=8))
def test_a_peak_is_the_highest_that_was_seen(seen: list[float]) -> None:
    """So its p-value never rises, and is 1 at first."""
    peak = Peak()
    for log_e in seen:
        after = peak.seen(log_e)
        assert after.p_value <= peak.p_value <= 1
        peak = after
    assert peak.log_e == max([0.0, *seen])
    assert peak.merge(Peak(1.0)) == Peak(1.0).merge(peak)


def test_an_e_value_beyond_a_float_is_held() -> None:
    """For people, who do not mind."""
    assert e_value(1e6) == e_value(700)
    assert e_value(math.log(20)) == pytest.approx(20)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: SampleRatio().add((1, 2)),
        lambda: SampleRatio().begin((1,)),
        lambda: SampleRatio().begin((1, 0)),
        lambda: SampleRatio().begin((1, 9)).add((1, 2, 3)),
        lambda: SampleRatio().begin((1, 9)).add((-1, 2)),
        lambda: SampleRatio((Phase((1, 9), (0, 0)),) * (MOST_PHASES + 1)),
        lambda: Pairs(-1),
        lambda: Replicas((0.0,)),
        lambda: Replicas(wins=1),
        lambda: Replicas().add([math.nan], [0.0], 0.5),
        lambda: Replicas().add([0.0], [0.0], 1.0),
        lambda: log_average({}),
        lambda: log_average({"a": 1.0}, {"b": 1.0}),
        lambda: log_average({"a": 1.0}, {"a": -1.0}),
        lambda: log_average({"a": 1.0}, {"a": 0.0}),
        lambda: log_average({"a": 1.0}, {"a": math.nan}),
        lambda: threshold(0.0),
        lambda: threshold(1.0),
        lambda: Peak(-1.0),
        lambda: Peak(math.nan),
    ],
)
def test_what_is_no_evidence_is_refused(refused: Callable[[], object]) -> None:
    """Units without weights, weights without tests, levels that are none."""
    with pytest.raises(EvidenceError):
        refused()
