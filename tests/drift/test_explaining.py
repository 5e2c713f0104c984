"""After an alarm: histograms that add up, shares that add up, and the segment in which alone it happened."""

from __future__ import annotations

import numpy as np
import pytest

from drift import explaining
from drift import window as windows
from drift.tables import Table
from tests.drift import hours, samples


def test_both_histograms_hold_all_rows() -> None:
    """Of numbers, of levels, of wholes, with what is missing or unseen."""
    side = samples.baseline().inputs
    country = np.full(samples.ROWS, "fr", object)
    half = samples.changed(1, country=country, price=np.full(samples.ROWS, np.nan)).inputs
    for at, name in enumerate(side.schema.features):
        bars = list(explaining.histogram(side, half, at))
        assert sum(bar.before for bar in bars) == pytest.approx(1), name
        assert sum(bar.after for bar in bars) == pytest.approx(1), name
    names = {bar.name: bar.after for bar in explaining.histogram(side, half, 6)}
    assert (names["de"], names["unseen"]) == (0, 1)


def test_changes_are_ranked_by_what_they_contribute() -> None:
    """And their shares are parts of one."""
    x = np.random.default_rng(1).normal(size=(samples.ROWS, 4))
    x[:, 0] += 0.7
    x[:, 3] += 2
    found = explaining.changes(samples.baseline().inputs, samples.changed(1, x=x).inputs)
    assert [one.moved.feature for one in found[:2]] == ["x[3]", "x[0]"]
    assert found[0].share > found[1].share > 0
    assert sum(one.share for one in found) <= 1 + 1e-9


def test_a_shift_of_one_segment_is_said_to_be_of_it() -> None:
    """Prices rose where the country is Austria, and nowhere else."""
    rng = np.random.default_rng(2)
    table = dict(samples.inputs(rng, 800).columns)
    here = table["country"] == "at"
    price = np.where(here, table["price"] * 20, table["price"])
    half = samples.folded(Table({**table, "price": price}), samples.outputs(rng, 800)).inputs
    found = explaining.segment(samples.baseline().inputs, half, "price")
    assert found is not None
    assert (found.feature, found.name) == ("country", "at")
    assert found.inside > 3 * found.outside


def test_a_shift_of_everybody_is_of_no_segment() -> None:
    """Nor is one of rows too few to say."""
    rng = np.random.default_rng(2)
    table = dict(samples.inputs(rng, 800).columns)
    for rows in (800, 20):
        live = {name: one[:rows] for name, one in table.items()}
        live["price"] = live["price"] * 20
        half = samples.folded(Table(live), samples.outputs(rng, rows)).inputs
        assert explaining.segment(samples.baseline().inputs, half, "price") is None


def test_where_rows_are_now_is_not_who_they_were() -> None:
    """Half of all rows moved in two features: those that are now where few were before are no segment of their own."""
    rng = np.random.default_rng(3)
    live, moved = samples.inputs(rng, 800), rng.random(800) < 0.5
    x = np.where(moved[:, None], live.columns["x"] + 3, live.columns["x"])
    half = samples.folded(Table({**live.columns, "x": x}), samples.outputs(rng, 800)).inputs
    side = samples.baseline().inputs
    assert max(explaining.changes(side, half), key=lambda one: one.share).moved.feature.startswith("x[")
    assert explaining.segment(side, half, "x[0]") is None


def test_a_segment_of_one_hour_among_many_is_still_one() -> None:
    """Rows of the reference count as often as their hours are in the window: kinds of work differ by the hour."""
    of, rng = hours.baseline(strata=True), np.random.default_rng(4)
    first_s = hours.MONDAY_S + 21 * hours.DAY_S
    at_s = np.concatenate(
        (hours.moments(first_s + 3 * hours.HOUR_S, 950, 950), hours.moments(first_s + 15 * hours.HOUR_S, 50))
    )
    columns = hours.rhythm(rng, at_s)
    columns["size"] = np.where(columns["kind"] == "shop", columns["size"] + 3, columns["size"])
    half = windows.folded_in(of, Table(columns), None, rng.integers(0, 2**63, len(at_s), dtype=np.uint64), at_s).inputs
    found = explaining.segment(of.inputs, half, "size")
    assert found is not None
    assert (found.feature, found.name) == ("kind", "shop")
