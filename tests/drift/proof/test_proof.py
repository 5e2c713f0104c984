"""The proof of drift detection: what it asks is what is promised, it is the same for the same seed, and it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from drift.incidents import Kind
from drift.reading import Layer
from tests.drift import samples
from tests.drift.proof import __main__ as proof
from tests.drift.proof import calm, costs, digits, employment, hours
from tests.drift.proof.digits import Cell, Shift
from tests.drift.proof.installation import WINDOW_S, Installation

_WHEEL = next(Path(__file__).parents[3].glob(".venv/data/nannyml-*.whl"), None)


def test_retraining_takes_inputs_and_predictions() -> None:
    """Neither alone."""
    cases: list[tuple[set[Layer], bool]] = [
        ({Layer.UNIVARIATE, Layer.MULTIVARIATE, Layer.SCHEMA}, False),
        ({Layer.PREDICTION}, False),
        ({Layer.MULTIVARIATE, Layer.PREDICTION}, True),
    ]
    assert [employment.calls_for_retraining(layers) for layers, _ in cases] == [wanted for _, wanted in cases]


def test_a_cell_that_falls_short_fails() -> None:
    """Harm by the better of two others, harmlessness by the level."""
    rows = list(proof.on_digits([
        Cell(Shift("harm", harms=True), 10, 200, {"ours": 100, "bbsd": 20, "mmd": 170}),
        Cell(Shift("harm", harms=True), 10, 200, {"ours": 160, "bbsd": 20, "mmd": 170}),
        Cell(Shift("calm", harms=False), 10, 200, {"ours": 30, "bbsd": 0, "mmd": 0}),
        Cell(Shift("calm", harms=False), 10, 200, {"ours": 12, "bbsd": 0, "mmd": 0}),
    ]))  # fmt: skip
    assert [row.holds for row in rows] == [False, True, False, True]


def test_false_alarms_delays_and_costs_can_fail() -> None:
    """Each by its own bar."""
    late = dict.fromkeys(calm.SHIFTS, 50)
    rows = list(proof.on_calm([calm.Seen(100, 3, late, late)] * 10))
    assert [row.holds for row in rows] == [False] * 5
    soon = dict.fromkeys(calm.SHIFTS, 3)
    assert all(row.holds for row in proof.on_calm([calm.Seen(100, 0, soon, soon)] * 10))
    found = proof.on_costs([costs.Cost(30, 1.0, 39.0, 20.0), costs.Cost(30, 1.0, 41.0, 20.0)])
    assert [row.holds for row in found] == [False, True]


_YEAR = employment.Year(2016, 10, 0.9, 0.0, 0.0, 1.0, 1.0)
_AS_GOOD, _WORSE = employment.Quality(0.89, 0.91), employment.Quality(0.8, 0.82)
_NEEDED = employment.Call(3, 9, _WORSE, _WORSE)


@pytest.mark.parametrize(
    ("calls", "held"),
    [
        ((), [True, True]),
        ((_NEEDED,), [True, True]),
        ((_NEEDED, employment.Call(3, 9, _AS_GOOD, _WORSE)), [False, True]),
        ((_NEEDED, employment.Call(3, 9, _WORSE, _AS_GOOD)), [True, False]),
    ],
)
def test_retraining_while_the_model_is_as_good_as_before_fails(
    calls: tuple[employment.Call, ...], held: list[bool]
) -> None:
    """By the rows that it was called for by, and by the year; where the model is worse it may be called for."""
    shipped = employment.Outcome((_YEAR,), {}, calls, (), 0.9)
    unlabelled = employment.Outcome((_YEAR,), {}, (), calls, 0.9)
    for is_time in (True, False):
        assert _verdicts(shipped, is_time=is_time)[:2] == held
    assert _verdicts(unlabelled, is_time=True)[2:] == held


def test_what_is_shown_and_not_judged_says_that_it_falls_short() -> None:
    """The rule without labels in the file's order, which is none of time."""
    call = employment.Call(3, 9, _AS_GOOD, _AS_GOOD)
    rows = list(proof.on_employment(employment.Outcome((_YEAR,), {}, (), (call,), 0.9), "filed", is_time=False))
    assert all(row.holds for row in rows)
    assert [row.measured for row in rows if not row.bar][:2] == ["1: falls short, not judged"] * 2


def _verdicts(found: employment.Outcome, *, is_time: bool) -> list[bool]:
    return [row.holds for row in proof.on_employment(found, "some order", is_time=is_time) if row.bar]


@pytest.mark.parametrize(("wrong", "wanted"), [(0.1, 0), (0.5, 1)])
def test_an_installation_retrains_where_errors_rise(wrong: float, wanted: int) -> None:
    """Told once, by what labels show of windows that are calm otherwise; and never while they show what is usual."""
    here = Installation(samples.baseline())
    windows = [samples.calm(at, employment.ROWS, at * WINDOW_S) for at in range(20)]
    rates = [0.1, 0.1, 0.1, *[wrong] * (len(windows) - 3)]
    heard = [here.hear(window, round(rate * window.rows)) for window, rate in zip(windows, rates, strict=True)]
    calls = [one for each in heard for one in each.told if one.kind is Kind.RETRAIN]
    assert len(calls) == wanted
    assert all(employment.since(one.incident) >= 3 for one in calls)


def test_a_window_that_is_too_small_is_refused() -> None:
    """It would be heard together with the next one, and the labels of both would be taken for one's."""
    with pytest.raises(ValueError, match="is not heard"):
        Installation(samples.baseline()).hear(samples.calm(1, rows=10), 0)


def test_a_call_rests_on_rows_since_both_had_moved() -> None:
    """Inputs may have been suspected for long before answers moved."""
    assert employment.both_since({Layer.UNIVARIATE: 7, Layer.MULTIVARIATE: 3, Layer.PREDICTION: 9}) == 9
    assert employment.both_since({Layer.MULTIVARIATE: 12, Layer.PREDICTION: 9, Layer.SCHEMA: 1}) == 12


def test_an_auc_of_few_rows_may_be_much_higher() -> None:
    """And the bound of many is near to it; of a perfect one it is itself."""
    few, many = employment.highest_auc(0.8, 20, 20), employment.highest_auc(0.8, 20_000, 20_000)
    assert 1.0 > few > 0.95
    assert 0.81 > many > 0.8
    assert employment.highest_auc(1.0, 20, 20) == 1.0


def test_a_rhythm_that_alarms_fails() -> None:
    """And so does a shift that is found no sooner than by whoever takes all hours for alike."""
    rows = [list(proof.on_hours([one] * 10)) for one in (hours.Seen(600, 0, 50, 2, 400), hours.Seen(600, 3, 3, 9, 9))]
    assert [[row.holds for row in both] for both in rows] == [[True, True], [False, False]]


def test_shifts_are_drawn_from_the_seed() -> None:
    """Other ones for another; of the same kinds, harmful and harmless."""
    assert digits.drawn(1) == digits.drawn(1) != digits.drawn(2)
    assert {shift.harms for shift in digits.drawn(3)} == {True, False}


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(1_800)
@pytest.mark.filterwarnings("default")
def test_drift_is_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole of it with a tenth of the windows: no row fails, and the picture is there."""
    if _WHEEL is None:
        pytest.skip("`make proof-drift` fetches the data")
    picture = tmp_path / "drift.png"
    assert proof.main(["--quick", "--data", str(_WHEEL), "--picture", str(picture)]) == 0, capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
