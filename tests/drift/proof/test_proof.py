"""The proof of drift detection: what it asks is what is promised, it is the same for the same seed, and it can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from drift.reading import Layer
from tests.drift.proof import __main__ as proof
from tests.drift.proof import calm, costs, digits, employment, hours
from tests.drift.proof.digits import Cell, Shift

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


def test_retraining_while_the_model_is_as_good_as_before_fails() -> None:
    """However few windows alarmed; by rows on which it is worse, beyond their error, it may be called for."""
    year = employment.Year(2016, 10, 0.9, 0.0, 0.0, 1.0, 1.0)
    as_good, worse = employment.Call(3, 9, 5, 0.89, 0.91), employment.Call(3, 9, 5, 0.8, 0.82)
    found = [employment.Outcome((year,), 1, calls, 0.9) for calls in ((), (worse,), (worse, as_good))]
    assert [next(proof.on_employment(one, "as filed")).holds for one in found] == [True, True, False]


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
