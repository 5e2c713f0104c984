"""Labels say that a version errs more than at first, once, and only when they do."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from drift.labels import FEWEST, FIRST, Graded, Labelled, tolerated
from drift.reading import Layer
from drift.settings import WatchSettings
from drift.status import Samples
from drift.watched import nothing_known

_SETTINGS = WatchSettings.model_validate({"window": {"seconds": 60}, "false_alarm_days": 1, "quiet_windows": 3})
_LOOK_S = 60.0


def _graded(fields: dict[str, bytes] | None = None) -> Graded:
    return Graded("digits", 2, _SETTINGS, fields or {})


def _looked(graded: Graded, errors: list[int], of: int, begin: int = 0) -> Labelled:
    """Looks of so many labels each; the totals after them."""
    totals = graded.standing.last
    for at, wrong in enumerate(errors, begin):
        totals = Labelled(totals.count + of, totals.wrong + wrong)
        graded.look(totals, 1_000.0 + at * _LOOK_S)
    return totals


def test_calm_labels_say_nothing_for_long() -> None:
    """Of 1,400 looks at an error of a tenth none alarms: the budget is one in a day of 1,440."""
    graded = _graded()
    _looked(graded, np.random.default_rng(1).binomial(100, 0.1, 1_400).tolist(), 100)
    assert graded.findings == ()
    assert graded.standing.layer is not None
    assert graded.standing.layer.threshold == tolerated(graded.standing.first)


def test_more_errors_are_one_finding() -> None:
    """Three in ten where one in ten was usual: found within ten looks, told once, over when it is over."""
    graded = _graded()
    rng = np.random.default_rng(2)
    _looked(graded, rng.binomial(100, 0.1, 20).tolist(), 100)
    _looked(graded, rng.binomial(100, 0.3, 10).tolist(), 100, begin=20)
    (found,) = graded.findings
    assert (found.layer, found.version, found.value > found.threshold) == (Layer.LABELS, 2, True)
    assert "labels: error rate 0." in str(found)
    told = graded.status(nothing_known("digits", 2, "s", 1.0, Samples()))
    assert told.is_drifting
    assert told.sentence.endswith("It errs more than at first.")
    _looked(graded, rng.binomial(100, 0.1, 10).tolist(), 100, begin=30)
    assert not graded.status(nothing_known("digits", 2, "s", 1.0, Samples())).is_drifting
    assert len(graded.findings) == 1


def test_what_comes_back_before_the_cool_down_is_no_second_finding() -> None:
    """An episode that was over and goes on is told as it stands, and found once."""
    graded = _graded()
    _looked(graded, [10] * 10 + [60] * 5 + [5] * 5, 100)
    closed = graded.standing.alarm.episode
    assert closed is not None
    assert not closed.is_open
    _looked(graded, [60] * 5, 100, begin=20)
    again = graded.standing.alarm.episode
    assert again is not None
    assert (again.is_open, again.identity) == (True, closed.identity)
    assert len(graded.findings) == 1


def test_few_labels_wait_for_more() -> None:
    """After the first ones a look takes some, and those that were too few count with the next."""
    graded = _graded()
    _looked(graded, [50], FIRST)
    before = graded.standing
    _looked(graded, [1], FEWEST - 1)
    assert graded.standing is before
    graded.look(Labelled(FIRST + FEWEST, 52), 2_000.0)
    assert graded.standing.layer is not None
    assert graded.standing.layer.value == pytest.approx(2 / FEWEST)
    assert graded.standing.layer.heard_s == 2_000.0


def test_what_is_stored_goes_on() -> None:
    """Whoever comes after says what would have been said."""
    one = _graded()
    _looked(one, [10] * 10 + [22], 100)
    other = _graded(one.fields())
    for graded in (one, other):
        _looked(graded, [45, 45, 45], 100, begin=11)
    assert one.fields() == other.fields()
    assert one.findings == other.findings != ()
    one.stored()
    assert (one.findings, one.fields(), one.is_stored) == ((), {}, True)


def test_what_an_older_release_stored_goes_on_unheard() -> None:
    """It did not say when labels were heard: the next look does, and nothing is counted anew."""
    one = _graded()
    _looked(one, [10] * 10, 100)
    plain = json.loads(one.fields()["said"])
    del plain["layer"]["heard_s"]
    other = _graded({"said": json.dumps(plain).encode()})
    assert other.standing.layer is not None
    assert other.standing.layer.heard_s is None
    assert replace(other.standing, layer=one.standing.layer) == one.standing
    _looked(other, [10], 100, begin=10)
    assert other.standing.layer.heard_s == 1_000.0 + 10 * _LOOK_S


def test_totals_that_shrank_begin_anew() -> None:
    """The store forgot: what is usual is learned again, and nothing is found by the difference."""
    graded = _graded()
    _looked(graded, [10] * 10, 100)
    graded.look(Labelled(100, 100), 9_000.0)
    assert (graded.standing.first, graded.standing.last, graded.findings) == (Labelled(), Labelled(100, 100), ())


def test_damaged_fields_begin_anew() -> None:
    """And say so in the log."""
    assert _graded({"said": b"{}"}).standing.first == Labelled()


@pytest.mark.parametrize(("wrong", "least", "most"), [(0, 0.02, 0.08), (50, 0.12, 0.22), (500, 0.99, 0.9991)])
def test_what_is_tolerated_is_above_what_was_first(wrong: int, least: float, most: float) -> None:
    """By what 500 labels leave open and two points, and it is a rate."""
    assert least <= tolerated(Labelled(500, wrong)) <= most
