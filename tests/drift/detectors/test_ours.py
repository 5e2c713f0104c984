"""Our own detectors: each sees its kind of shift, none sees one in calm, and evidence averages one at most."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from drift import window as windows
from drift.baseline import Baseline, Order, made
from drift.detectors.arms import Arms
from drift.detectors.gate import TOLERANCE, Gate
from drift.detectors.multivariate import Multivariate
from drift.detectors.univariate import Univariate, predictions
from drift.errors import Unfit
from drift.reading import Reading
from drift.tables import Table
from registry.models import VersionNumber
from tests.drift import samples

_ROWS = 100


@cache
def _normal(features: int) -> Baseline:
    """Of 3,000 independent normal rows without time."""
    rows = np.random.default_rng(1).normal(size=(3_000, features))
    return made(Order(samples.MODEL, VersionNumber(3), window_rows=_ROWS), Table({"x": rows}), None, 0.0)


def _window(baseline: Baseline, rows: np.ndarray) -> windows.Window:  # type: ignore[type-arg]
    return windows.folded_in(baseline, Table({"x": rows}), None, samples.keys(len(rows)), 0.0)


def test_one_feature_that_moves_is_named() -> None:
    """And no other."""
    rows = np.random.default_rng(2).normal(size=(_ROWS, 10))
    rows[:, 7] += 1
    reading = Univariate.fit(_normal(10)).evaluate(_window(_normal(10), rows))
    assert [one.feature for one in reading.features] == ["x[7]"]
    assert reading.p_value < 0.001
    assert reading.value > reading.threshold


def test_many_features_that_move_a_little_are_found_together() -> None:
    """By their sum, where none lies out by itself."""
    rows = np.random.default_rng(3).normal(0.25, size=(_ROWS, 40))
    reading = Univariate.fit(_normal(40)).evaluate(_window(_normal(40), rows))
    assert reading.p_value < 0.001


def test_rows_as_wholes_show_what_single_features_cannot() -> None:
    """Two features that went together go against each other; each by itself is as before."""
    rng = np.random.default_rng(4)
    pairs = rng.normal(size=(3_000, 1)) + 0.3 * rng.normal(size=(3_000, 2))
    ours = made(Order(samples.MODEL, VersionNumber(3), window_rows=_ROWS), Table({"x": pairs}), None, 0.0)
    turned = rng.normal(size=(_ROWS, 1)) * [1, -1] + 0.3 * rng.normal(size=(_ROWS, 2))
    window, whole = _window(ours, turned), Multivariate.fit(ours)
    assert whole is not None
    assert whole.evaluate(window).p_value < 0.001
    assert whole.worth(window)
    assert Univariate.fit(ours).evaluate(window).p_value > 0.01


def test_evidence_averages_one_at_most_in_calm() -> None:
    """Of both layers, over references and windows; three standard errors of doubt."""
    rng, means = np.random.default_rng(5), []
    for _ in range(5):
        rows = rng.normal(size=(1_000, 4))
        ours = made(Order(samples.MODEL, VersionNumber(3), window_rows=50), Table({"x": rows}), None, 0.0)
        single, whole = Univariate.fit(ours), Multivariate.fit(ours)
        assert whole is not None
        windows_ = [_window(ours, rng.normal(size=(50, 4))) for _ in range(60)]
        means.append([np.mean([math.exp(one.evaluate(w).log_e) for w in windows_]) for one in (single, whole)])
    found = np.array(means)
    assert (found.mean(axis=0) - 3 * found.std(axis=0) / math.sqrt(len(found)) <= 1.0).all()


def test_a_trifle_in_many_rows_is_not_worth_an_alarm() -> None:
    """Two hundredths of a standard deviation on every feature, fifty thousand rows; half a one is."""
    rng, ours = np.random.default_rng(6), _normal(10)
    detector = Univariate.fit(ours)
    assert not detector.worth(_window(ours, rng.normal(0.02, size=(50_000, 10))))
    assert detector.worth(_window(ours, rng.normal(0.5, size=(1_000, 10))))


def test_one_dimension_and_levels_alone_have_no_whole() -> None:
    """There is nothing that the single features do not say."""
    rows = Table({"country": np.random.default_rng(1).choice(np.array(["a", "b"], object), 300)})
    ours = made(Order(samples.MODEL, VersionNumber(3), window_rows=50), rows, None, 0.0)
    assert Multivariate.fit(ours) is None
    assert Arms.fit(ours) is None
    assert predictions(ours) is None


def test_rates_beyond_what_calm_windows_had_are_found() -> None:
    """A price that is missing for a third of the rows, by its name."""
    price = np.random.default_rng(1).lognormal(3, 1, samples.ROWS)
    price[:33] = np.nan
    gate = Gate.fit(samples.baseline())
    window = samples.changed(1, price=price)
    reading = gate.evaluate(window)
    assert reading.features[0].feature == "price missing"
    assert reading.features[0].score == pytest.approx(0.33)
    assert reading.log_e > math.log(1_000)
    assert gate.worth(window)


def _named_alike() -> Baseline:
    """What is asked and what is answered are both called `price`."""
    rng = np.random.default_rng(1)
    asked, answered = (Table({"price": rng.lognormal(3, 1, 4_000)}, ordered=True) for _ in range(2))
    order = Order(samples.MODEL, VersionNumber(1), window_rows=samples.ROWS)
    return made(order, asked, answered, made_at_s=1_000.0)


@pytest.mark.parametrize(
    ("asked", "answered", "of_outputs"), [(0, 0, False), (30, 0, False), (0, 30, True), (30, 30, False)]
)
def test_rates_are_of_the_side_that_they_are_exceeded_on(asked: int, answered: int, of_outputs: bool) -> None:  # noqa: FBT001 (in a table)
    """Whatever its columns are called; and of the inputs as soon as one of theirs is."""
    baseline, rng = _named_alike(), np.random.default_rng(2)
    prices = rng.lognormal(3, 1, (2, samples.ROWS))
    prices[0, :asked] = prices[1, :answered] = np.nan
    inputs, outputs = (Table({"price": one}) for one in prices)
    window = windows.folded_in(baseline, inputs, outputs, samples.keys(samples.ROWS), 0.0)
    gate = Gate.fit(baseline)
    assert bool(gate.evaluate(window).features) is bool(asked or answered)
    assert gate.is_of_outputs(window) is of_outputs


def test_rates_that_no_window_shows_by_itself_have_a_side_too() -> None:
    """Each of them is little over what is tolerated, and names no feature; all of them together are answers'."""
    gate, trail = Gate.fit(samples.baseline()), None
    for at in range(40):
        rng = np.random.default_rng([3, at])
        asked, answered = samples.inputs(rng, samples.ROWS), samples.outputs(rng, samples.ROWS)
        answered.columns["scores"][:3] = np.nan
        window = samples.folded(asked, answered, float(at), at)
        assert gate.evaluate(window).features == ()
        trail = window if trail is None else trail.merge(window)
    assert trail is not None
    assert gate.is_of_outputs(trail)


def test_rates_of_calm_windows_are_no_evidence() -> None:
    """They may be missing now and then, as they were."""
    gate = Gate.fit(samples.baseline())
    said = [gate.evaluate(samples.calm(at)) for at in range(100)]
    assert np.mean(np.exp([one.log_e for one in said])) <= 1
    assert gate.inputs.limits.min() == pytest.approx(TOLERANCE)


def _arms(seed: int, better: float) -> Reading:
    rng = np.random.default_rng([9, seed])
    scores = [rng.beta(2 + more, 5, 200) for more in (better, 0.0)]
    arms = Arms.fit(samples.baseline())
    assert arms is not None
    folded = [
        samples.folded(samples.inputs(rng, 200), Table({"scores": np.stack((one, 1 - one), axis=1)}), seed=at)
        for at, one in enumerate(scores)
    ]
    return arms.evaluate(*folded)


def test_arms_that_answer_alike_are_no_evidence() -> None:
    """Fifty times; the average is one at most."""
    assert np.mean([math.exp(_arms(seed, 0.0).log_e) for seed in range(50)]) <= 1


def test_an_arm_that_answers_otherwise_is_found() -> None:
    """With the output that differs."""
    reading = _arms(1, 3.0)
    assert reading.log_e > math.log(1_000)
    assert reading.features[0].feature.startswith("scores")


def test_arms_are_compared_by_one_baseline_and_enough_answers() -> None:
    """Else nothing is said, or it is refused."""
    arms = Arms.fit(samples.baseline())
    assert arms is not None
    assert arms.evaluate(samples.calm(1, 10), samples.calm(2)).waiting
    other = windows.Window("0" * 64, samples.calm(1).inputs, samples.calm(1).outputs, 0.0, 0.0)
    with pytest.raises(Unfit, match="one baseline"):
        arms.evaluate(other, samples.calm(2))
