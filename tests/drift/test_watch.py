"""From windows to findings: what moved is found and named, calm is left alone, and nothing that comes is a crash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drift import findings
from drift.alarm import Rules
from drift.reading import Layer
from drift.tables import Table
from drift.watch import Heard, Standing, Watch
from drift.window import Window
from tests.drift import samples

_MINUTE_S = 60.0


def _watch() -> Watch:
    return Watch.usual(samples.baseline(), Rules(days=1, layers=4, quiet=3))


def _run(windows: list[Window], standing: Standing | None = None) -> list[Heard]:
    watch, found = _watch(), list[Heard]()
    for window in windows:
        found.append(watch.hear(found[-1].standing if found else standing or watch.start(), window))
    return found


def _told(heard: list[Heard]) -> list[findings.Finding]:
    return [finding for one in heard for finding in one.findings]


def _moved(at: int) -> Window:
    x = np.random.default_rng([3, at]).normal(size=(samples.ROWS, 4))
    x[:, 2] += 1.5
    return samples.changed(at, at_s=at * _MINUTE_S, x=x)


def test_a_shift_is_found_within_windows_and_named_first() -> None:
    """One episode, the feature that moved on top, since about when it began."""
    calm = [samples.calm(at, at_s=at * _MINUTE_S) for at in range(20)]
    told = _told(_run([*calm, *(_moved(at) for at in range(20, 30))]))
    assert told
    assert {one.episode for one in told} == {told[0].episode}
    assert len({one.layer for one in told}) == len(told)
    first = next(one for one in told if one.layer is Layer.UNIVARIATE)
    assert first.changes[0].moved.feature == "x[2]"
    assert first.changes[0].share > 0.8
    assert 15 * _MINUTE_S <= first.since_s <= 21 * _MINUTE_S
    assert first.span.last_s <= 26 * _MINUTE_S
    assert "x[2]" in str(first)
    assert not any(one.of_outputs for one in told)


def test_calm_windows_raise_nothing() -> None:
    """Two hundred of them."""
    assert _told(_run([samples.calm(at, at_s=at * _MINUTE_S) for at in range(200)])) == []


def test_a_finding_comes_back_from_plain_values() -> None:
    """As a stream or a page holds it."""
    told = _told(_run([_moved(at) for at in range(6)]))
    assert told
    assert [findings.read(one.plain()) for one in told] == told


def test_predictions_that_move_alone_are_found_as_such() -> None:
    """By what they are and by leaving their range; inputs stay calm."""
    rng = np.random.default_rng(1)
    windows = []
    for at in range(8):
        score = rng.beta(5, 2, samples.ROWS)
        answers = Table({"scores": np.stack((score, 1 - score), axis=1)})
        windows.append(samples.folded(samples.inputs(rng, samples.ROWS), answers, at * _MINUTE_S, at))
    told = _told(_run(windows))
    assert {one.layer for one in told} == {Layer.PREDICTION, Layer.SCHEMA}
    assert {change.moved.feature for one in told for change in one.changes} == {"scores[0]", "scores[1]"}
    assert all(one.of_outputs for one in told), "rates of answers, too, are of answers alone"


def test_a_rate_is_named_with_its_column() -> None:
    """And with how many rows of the last window it is."""
    country = np.full(samples.ROWS, "fr", object)
    told = _told(_run([samples.changed(at, at_s=at * _MINUTE_S, country=country) for at in range(3)]))
    [schema] = [one for one in told if one.layer is Layer.SCHEMA]
    assert schema.rate == "country unseen in 100.0% of rows"
    assert schema.rate in str(schema)


_N = samples.ROWS
_ODD: dict[str, dict[str, NDArray[Any]]] = {
    "NaN": {"x": np.full((_N, 4), np.nan)},
    "Inf": {"price": np.full(_N, np.inf)},
    "enormous": {"price": np.full(_N, 1e300)},
    "extra": {"more": np.ones(_N)},
    "unseen": {"country": np.full(_N, "fr", object)},
    "texts for numbers": {"price": np.full(_N, "dear", object)},
    "numbers for texts": {"country": np.arange(_N)},
    "no elements": {"x": np.empty((_N, 0))},
    "other shape": {"image": np.ones((_N, 2, 2))},
    "a megabyte": {"image": np.ones((_N, 512, 512), np.float32)},
    "constant": {"x": np.ones((_N, 4))},
    "complex": {"price": np.full(_N, 1j)},
}


@pytest.mark.parametrize("odd", _ODD)
def test_whatever_comes_is_a_finding(odd: str) -> None:
    """Never a crash, and never silence."""
    told = _told(_run([samples.changed(at, samples.ROWS, at * _MINUTE_S, **_ODD[odd]) for at in range(6)]))
    assert told
    assert all(str(one) for one in told)


def test_a_missing_column_is_a_finding_at_once() -> None:
    """By the schema, with a sentence that names it."""
    table = samples.inputs(np.random.default_rng(1), _N).columns
    told = _told(_run([samples.folded(Table({name: one for name, one in table.items() if name != "price"}), None)]))
    assert [one.layer for one in told] == [Layer.SCHEMA]
    assert "'price' is not there" in str(told[0])


def _rates(at: int) -> Window:
    """A third of the prices are missing."""
    price = np.random.default_rng([4, at]).lognormal(3, 1, _N)
    price[::3] = np.nan
    return samples.changed(at, at_s=at * _MINUTE_S, price=price)


def _broken(at: int) -> Window:
    """There are no prices."""
    rng = np.random.default_rng([5, at])
    asked = {name: one for name, one in samples.inputs(rng, _N).columns.items() if name != "price"}
    return samples.folded(Table(asked, ordered=True), samples.outputs(rng, _N), at * _MINUTE_S, at)


def _of_schema(heard: list[Heard]) -> list[bool]:
    """Of each finding of the schema, whether it is of a break."""
    return [bool(one.breaks) for one in _told(heard) if one.layer is Layer.SCHEMA]


def test_a_schema_that_breaks_after_its_rates_alarmed_is_told() -> None:
    """Once, however long it stays so, and in the same episode."""
    heard = _run([*(_rates(at) for at in range(4)), *(_broken(at) for at in range(4, 8))])
    assert _of_schema(heard) == [False, True]
    assert len({one.episode for one in _told(heard)}) == 1


def test_a_schema_that_breaks_again_is_told_again() -> None:
    """It was mended, the episode was over, and comes back within the cool-down with all of its layers."""
    calm = [samples.calm(at, at_s=at * _MINUTE_S) for at in range(2, 8)]
    heard = _run([_broken(0), _broken(1), *calm, _broken(8), _broken(9)])
    assert _of_schema(heard) == [True, True]
    assert len({one.episode for one in _told(heard)}) == 1


def test_requests_without_a_single_column_are_a_finding() -> None:
    """Every column is missed."""
    window = samples.folded(Table({}), samples.outputs(np.random.default_rng(1), 3))
    assert len(_told(_run([window]))[0].breaks) == 4


@pytest.mark.parametrize("rows", [0, 1, samples.ROWS - 1])
def test_a_window_that_is_too_small_says_so(rows: int) -> None:
    """In a sentence, and it is no evidence either way."""
    [heard] = _run([samples.calm(1, rows)])
    waiting = [one.waiting for one in heard.readings if one.layer is not Layer.SCHEMA]
    assert all(f"{rows} rows" in one for one in waiting)
    assert heard.findings == ()


def test_a_larger_window_than_calm_ones_is_no_alarm() -> None:
    """A hundred times the rows, without drift."""
    assert _told(_run([samples.calm(at, 30 * samples.ROWS, at * _MINUTE_S) for at in range(10)])) == []
