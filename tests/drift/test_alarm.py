"""One drift is one episode: by the budget, worth it, until it is quiet, and the same one where it comes back soon."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.alarm import Alarm, Chain, Evidence, Rules
from drift.errors import Unfit
from drift.reading import Layer
from tests.examples import examples

_RULES = Rules(days=1, window_s=86.4, layers=1, quiet=3, cool_down_s=1_000)
_LOUD = {Layer.UNIVARIATE: Evidence(math.log(10))}
_CALM = {Layer.UNIVARIATE: Evidence(math.log(0.5))}


def _heard(alarm: Alarm, said: dict[Layer, Evidence], *windows: int) -> Alarm:
    for at in windows:
        alarm = alarm.heard(said, at * 100.0, at * 100.0 + 99, _RULES)
    return alarm


def test_a_threshold_is_the_windows_of_the_budget_times_the_layers() -> None:
    """One false alarm in thirty days of minutes, shared by four."""
    assert math.exp(Rules().log_threshold) == pytest.approx(30 * 24 * 60 * 4)
    assert math.exp(_RULES.log_threshold) == pytest.approx(1_000)


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=30))
@settings(max_examples=examples(100), deadline=None)
def test_a_chain_is_shiryaev_and_roberts_sum(log_es: list[float]) -> None:
    """SR <- (1 + SR) e, from 0."""
    chain, plain = Chain(), 0.0
    for log_e in log_es:
        chain = chain.heard(log_e, 0.0, math.inf)
        plain = (1 + plain) * math.exp(log_e)
        assert math.exp(chain.log_sr) == pytest.approx(plain, rel=1e-9)


def test_null_windows_alarm_no_more_often_than_the_budget() -> None:
    """Uniform p-values, 40,000 windows at A = 1000: no more than forty, three standard errors of doubt."""
    rng = np.random.default_rng(1)
    chain, alarms = Chain(), 0
    for log_e in (-math.log(2) - 0.5 * np.log(rng.random(40_000))).tolist():
        chain = chain.heard(log_e, 0.0, math.inf)
        if chain.log_sr >= math.log(1_000):
            chain, alarms = Chain(), alarms + 1
    assert alarms <= 40 + 3 * math.sqrt(40)


def test_evidence_that_adds_up_raises_one_episode() -> None:
    """Three times ten reach a thousand; suspicion began with the first of them."""
    alarm = _heard(Alarm("m"), _CALM, 0, 1)
    alarm = _heard(alarm, _LOUD, 2, 3)
    assert not alarm.is_raised
    alarm = _heard(alarm, _LOUD, 4)
    assert alarm.is_raised
    assert alarm.episode is not None
    assert (alarm.episode.since_s, alarm.episode.raised_s, alarm.episode.layers) == (200.0, 499.0, (Layer.UNIVARIATE,))
    assert _heard(alarm, _LOUD, 5, 6, 7).episode.identity == alarm.episode.identity  # type: ignore[union-attr]


def test_what_is_not_worth_it_waits_until_it_is() -> None:
    """However much evidence there is."""
    slight = {Layer.UNIVARIATE: Evidence(math.log(10), worth=False)}
    alarm = _heard(Alarm("m"), slight, *range(20))
    assert not alarm.is_raised
    assert _heard(alarm, _LOUD, 20).is_raised


def test_an_episode_ends_after_quiet_windows_in_a_row() -> None:
    """One loud window in between begins the count anew; quiet is a lower level than the alarm's."""
    raised = _heard(Alarm("m"), _LOUD, 0, 1, 2)
    again = _heard(_heard(raised, _CALM, 3, 4), {Layer.UNIVARIATE: Evidence(math.log(2.1))}, 5)
    assert _heard(again, _CALM, 6, 7).is_raised
    assert not _heard(again, _CALM, 6, 7, 8).is_raised
    assert _heard(again, _CALM, 6, 7, 8).chains == {}


def test_what_comes_back_before_the_cool_down_is_the_same_episode() -> None:
    """Afterwards it is another one."""
    over = _heard(_heard(Alarm("m"), _LOUD, 0, 1, 2), _CALM, 3, 4, 5)
    soon, late = _heard(over, _LOUD, 6, 7, 8), _heard(over, _LOUD, 36, 37, 38)
    assert over.episode is not None
    assert soon.is_raised
    assert late.is_raised
    assert soon.episode is not None
    assert late.episode is not None
    assert soon.episode.identity == over.episode.identity != late.episode.identity


def test_layers_join_the_open_episode() -> None:
    """In the order in which they were alarmed; what is certain needs no sum, and is never quiet."""
    broken = {**_LOUD, Layer.SCHEMA: Evidence(700.0, certain=True)}
    alarm = _heard(_heard(Alarm("m"), _LOUD, 0, 1, 2), broken, 3)
    assert alarm.episode is not None
    assert alarm.episode.layers == (Layer.UNIVARIATE, Layer.SCHEMA)
    assert _heard(alarm, {**_CALM, Layer.SCHEMA: Evidence(700.0, certain=True)}, *range(4, 20)).is_raised


def test_other_subjects_have_other_episodes() -> None:
    """The identity is of subject and time."""
    ours, theirs = (_heard(Alarm(name), _LOUD, 0, 1, 2).episode for name in ("a", "b"))
    assert ours is not None
    assert theirs is not None
    assert ours.identity != theirs.identity


@pytest.mark.parametrize("given_", [{"days": 0}, {"window_s": math.inf}, {"layers": 0}, {"quiet": 0}])
def test_rules_that_cannot_be_are_refused(given_: dict[str, float]) -> None:
    """Each with its name."""
    with pytest.raises(Unfit):
        Rules(**given_)  # type: ignore[arg-type]
