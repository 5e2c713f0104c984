"""alibi-detect behind the protocol: it finds shifts, never sees NaN, and its licence is said once."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drift.baseline import Order, made
from drift.detectors import alibi
from drift.detectors.alibi import LEAST, Alibi, Test
from drift.errors import NotInstalled, Unfit
from drift.tables import Table
from registry.models import VersionNumber
from tests.drift import samples


class _Fake:
    """Remembers what it is shown; says that its first feature drifts where half of it does."""

    shown: list[NDArray[Any]]

    def __init__(self, reference: NDArray[Any], **options: object) -> None:
        self.shown, self.options = [reference], options

    def predict(self, rows: NDArray[Any]) -> dict[str, dict[str, Any]]:
        self.shown.append(rows)
        p_values = np.full(rows.shape[1], 0.5)
        p_values[0] = 0.0 if rows[:, 0].mean() > 0.5 else np.nan
        return {"data": {"p_val": p_values, "distance": np.arange(rows.shape[1])}}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> list[_Fake]:
    """The library in its place, and the detectors that were fitted."""
    fitted: list[_Fake] = []

    def kind(reference: NDArray[Any], **options: object) -> _Fake:
        fitted.append(_Fake(reference, **options))
        return fitted[-1]

    monkeypatch.setattr(alibi, "_library", lambda: SimpleNamespace(**{one.value: kind for one in Test}))
    return fitted


@pytest.mark.parametrize("test", Test)
def test_nothing_missing_reaches_it(library: list[_Fake], test: Test) -> None:
    """Nor anything infinite, nor an unknown level as a text."""
    country = np.full(samples.ROWS, "fr", object)
    price = np.full(samples.ROWS, np.nan)
    price[:10] = np.inf
    window = samples.changed(1, x=np.full((samples.ROWS, 4), np.nan), price=price, country=country)
    detector = Alibi.fit(samples.baseline(), test)
    assert 0 < detector.evaluate(window).p_value <= 1
    assert all(np.isfinite(rows).all() for rows in library[0].shown)


def test_what_it_says_becomes_a_reading(library: list[_Fake]) -> None:
    """The feature by name, no p-value smaller than is believed; where it has none it is no evidence."""
    reading = Alibi.fit(samples.baseline(), Test.KS).evaluate(samples.changed(1, x=np.ones((samples.ROWS, 4))))
    assert (reading.statistic, reading.p_value) == ("KSDrift", LEAST)
    assert [one.feature for one in reading.features] == ["x[0]"]
    assert Alibi.fit(samples.baseline(), Test.KS).evaluate(samples.calm(1)).p_value == 1.0


def test_a_window_that_is_too_small_says_so(library: list[_Fake]) -> None:
    """A window of one row gave p-values without complaint."""
    assert "1 rows" in Alibi.fit(samples.baseline(), Test.KS).evaluate(samples.calm(1, 1)).waiting


def test_a_test_with_nothing_to_look_at_is_refused(library: list[_Fake]) -> None:
    """Numbers alone have no levels."""
    rows = Table({"x": np.random.default_rng(1).normal(size=(300, 3))})
    numbers = made(Order(samples.MODEL, VersionNumber(4), window_rows=50), rows, None, 0.0)
    with pytest.raises(Unfit, match="ChiSquareDrift could look at"):
        Alibi.fit(numbers, Test.CHI_SQUARE)


def test_without_the_package_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback of an import."""
    alibi._library.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "alibi_detect.cd", None)
    with pytest.raises(NotInstalled, match="not installed"):
        Alibi.fit(samples.baseline(), Test.KS)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_real_ones_find_a_shift_and_say_their_licence_once(caplog: pytest.LogCaptureFixture) -> None:
    """All six, on the same windows as ours; none calls a calm window certain."""
    pytest.importorskip("alibi_detect")
    alibi._library.cache_clear()
    rng = np.random.default_rng(1)
    shifted = samples.changed(2, x=rng.normal(2, 1, (samples.ROWS, 4)), country=np.full(samples.ROWS, "at", object))
    with caplog.at_level(logging.WARNING):
        for test in Test:
            detector = Alibi.fit(samples.baseline(), test)
            assert detector.evaluate(shifted).p_value <= 0.02, test
            assert detector.evaluate(samples.calm(3)).p_value > LEAST, test
    assert sum("Business Source License" in one.message for one in caplog.records) == 1
