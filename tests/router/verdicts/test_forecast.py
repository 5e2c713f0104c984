"""Many simulated rollouts in a few numbers."""

from __future__ import annotations

import pytest

from router.errors import PlanError
from router.verdicts.forecast import forecast, spread
from router.verdicts.simulating import Outcome, Run


def run(outcome: Outcome, at_s: float, *stages: float, requests: int = 10) -> Run:
    """One rollout, whose candidate had its first share at second 100."""
    named = tuple((f"{nth}", spent) for nth, spent in enumerate(stages))
    return Run(outcome, at_s, "0", 0.1, 100.0, requests, 1, named, words=f"{outcome}, so it is")


def test_rates_have_the_bounds_of_clopper_and_pearson() -> None:
    """0 of 200 leaves up to 1.8 % possible, as the formula 1 - 0.025^(1/200) says."""
    found = forecast([run(Outcome.PROMOTED, 60.0, 60.0)] * 200)
    back, promoted = found.rates[Outcome.BACK], found.rates[Outcome.PROMOTED]
    assert back[:3] == (0, 200, 0.0)
    assert back.upper == pytest.approx(1 - 0.025 ** (1 / 200))
    assert promoted.lower == pytest.approx(0.025 ** (1 / 200))
    assert promoted.upper == 1.0


def test_times_count_from_when_the_candidate_was_bad_and_had_requests() -> None:
    """An onset before its first share counts from the share, a later one from the onset."""
    runs = [run(Outcome.BACK, at_s, at_s) for at_s in (10.0, 20.0, 30.0)]
    assert forecast(runs).back_s == (20.0, 30.0)
    assert forecast(runs, onset_s=50.0).back_s == (20.0, 30.0)
    assert forecast(runs, onset_s=105.0).back_s == (15.0, 25.0)


def test_a_step_has_the_time_of_those_that_left_it_forward() -> None:
    """What went back or hangs in a step says nothing of how long it takes."""
    runs = [
        run(Outcome.PROMOTED, 30.0, 10.0, 20.0), run(Outcome.BACK, 99.0, 11.0, 88.0), run(Outcome.OPEN, 500.0, 500.0)
    ]  # fmt: skip
    found = forecast(runs)
    assert found.left == {"0": 2, "1": 1}
    assert found.stages_s == {"0": (10.0, 11.0), "1": (20.0, 20.0)}
    assert found.words == "not over, so it is"
    assert found.promoted_s == (30.0, 30.0)


def test_nothing_is_said_of_nothing() -> None:
    """No rollout at all is refused; no value has no middle."""
    assert spread([]) is None
    with pytest.raises(PlanError):
        forecast([])
