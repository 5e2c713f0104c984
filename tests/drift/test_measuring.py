"""Hours are told apart where they differ: a daily rhythm is calm then, and what it hides from others is found."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from drift import baseline as baselines
from drift import window as windows
from drift.alarm import Rules
from drift.baseline import Order, made
from drift.detectors.multivariate import Multivariate
from drift.detectors.univariate import Univariate
from drift.errors import Damaged, Unfit
from drift.packing import unpack
from drift.projection import Projection
from drift.schema import Rows
from drift.side import Part
from drift.sketches import Sketch
from drift.tables import Table
from drift.watch import Watch
from drift.window import Window
from registry.models import VersionNumber
from tests.drift import hours, samples
from tests.examples import examples

_A_1000 = Rules(days=1_000 / 24 / 2, window_s=hours.HOUR_S / 2, layers=1)
"""One false alarm of each layer in a thousand windows of half an hour."""

_LIVE_S = hours.MONDAY_S + 28 * hours.DAY_S


def _order(**said: object) -> Order:
    return dataclasses.replace(Order(samples.MODEL, VersionNumber(1), window_rows=hours.ROWS), **said)  # type: ignore[arg-type]


def _episodes(watch: Watch, count: int, seed: int) -> int:
    """Of so many windows one after the other that are like the reference."""
    rng, standing, found = np.random.default_rng(seed), watch.start(), set()
    for at in range(count):
        heard = watch.hear(standing, hours.window(watch.baseline, rng, _LIVE_S + at * hours.HOUR_S / 2))
        standing = heard.standing
        found |= {one.episode for one in heard.findings}
    return len(found)


def test_hours_that_differ_are_told_apart() -> None:
    """By single hours, for there are rows enough; the note says so."""
    ours = hours.baseline()
    assert ours.inputs.by_hour is not None
    assert ours.inputs.by_hour.strata.count == 24
    assert any(
        note.startswith("Windows are compared with the same hours of other days: 24 strata") for note in ours.notes
    )


def test_hours_that_do_not_differ_are_left_together() -> None:
    """Of three references without a rhythm at most one has it by chance, and the note says that there is none."""
    found = [
        made(_order(), hours.reference(np.random.default_rng(seed), swing=0.0, days=6), None, 0.0) for seed in range(3)
    ]
    assert sum(one.inputs.by_hour is not None for one in found) <= 1
    assert any("Hours do not differ by more than chance" in note for one in found for note in one.notes)


def test_days_are_told_apart_where_they_differ() -> None:
    """Weekends by themselves, though at each hour they have but a quarter of the rows."""
    table = hours.reference(np.random.default_rng(2), swing=0.0, days=21, weekend=2.0)
    found = made(_order(), table, None, 0.0).inputs.by_hour
    assert found is not None
    assert {name.rpartition(" ")[0] for name in found.strata.names} == {"Monday to Friday", "Saturday to Sunday"}


def test_a_daily_rhythm_is_calm_where_hours_are_told_apart() -> None:
    """Three days of it are no alarm; to whoever takes rows for independent of their hour they are."""
    assert _episodes(Watch.usual(hours.baseline(), _A_1000), 144, 3) == 0
    drawn = Table(hours.reference(np.random.default_rng(1)).columns)
    assert _episodes(Watch.usual(made(_order(), drawn, None, 0.0), _A_1000), 144, 3) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_false_alarms_of_a_daily_rhythm_are_within_the_budget() -> None:
    """Of three layers in 6,000 windows over ten references, each layer with one in a thousand at most."""
    found = [_episodes(Watch.usual(hours.baseline(seed=seed), _A_1000), 600, seed) for seed in range(10)]
    assert sum(found) <= 18, found


def test_what_is_usual_at_night_is_found_at_noon() -> None:
    """Within windows, and the feature is named; it is nothing to whoever takes all hours for alike."""
    noon_s, night_s = _LIVE_S + 12 * hours.HOUR_S, _LIVE_S + 3 * hours.HOUR_S
    said = {}
    for strata in (None, False):
        ours, rng = hours.baseline(strata=strata), np.random.default_rng(4)
        reading = Univariate.fit(ours).evaluate(hours.window(ours, rng, noon_s, as_at_s=night_s))
        said[strata] = reading.p_value, [one.feature for one in reading.features[:1]]
    assert said[None][0] < 0.002
    assert said[None][1] == ["load"]
    assert said[False][0] > 0.05


def test_windows_over_many_hours_are_compared_with_their_mixture() -> None:
    """A window of a whole day is calm by both layers, whatever part of its rows each hour has."""
    ours, rng = hours.baseline(), np.random.default_rng(5)
    whole = Multivariate.fit(ours)
    assert whole is not None
    for part in (slice(None), slice(0, 720), slice(540, 1_440)):
        at_s = hours.moments(_LIVE_S, 1_440)[part]
        keys = rng.integers(0, 2**63, len(at_s), dtype=np.uint64)
        window = windows.folded_in(ours, Table(hours.rhythm(rng, at_s)), None, keys, at_s)
        assert Univariate.fit(ours).evaluate(window).p_value > 0.001
        assert whole.evaluate(window).p_value > 0.001
        assert not Univariate.fit(ours).worth(window)


def test_evidence_averages_one_at_most_over_the_hours_of_a_day() -> None:
    """Of both layers, over references and windows; three standard errors of doubt."""
    means = []
    for seed in range(3):
        ours, rng = hours.baseline(seed=10 + seed), np.random.default_rng(seed)
        single, whole = Univariate.fit(ours), Multivariate.fit(ours)
        assert whole is not None
        seen = [hours.window(ours, rng, _LIVE_S + at * hours.HOUR_S / 2) for at in range(96)]
        means.append([np.mean([math.exp(one.evaluate(window).log_e) for window in seen]) for one in (single, whole)])
    found = np.array(means)
    assert (found.mean(axis=0) - 3 * found.std(axis=0) / math.sqrt(len(found)) <= 1.0).all()


@given(st.lists(st.integers(0, 500), min_size=24, max_size=24).filter(any))
@settings(max_examples=examples(100), deadline=None)
def test_a_mixture_is_a_distribution_of_as_many_rows_as_it_rests_on(rows: list[int]) -> None:
    """Shares add up to one in each feature; it rests on more rows than the smallest of its parts, and not on all."""
    by_hour = hours.baseline().inputs.by_hour
    assert by_hour is not None
    reference, mean = by_hour.split.mixed(np.array(rows, np.int64), 2)
    assert np.allclose(reference.shares.sum(axis=1), 1.0)
    assert by_hour.split.rows.min() * 0.999 <= reference.rows <= by_hour.split.rows.sum() * 1.001
    assert np.isfinite(mean).all()


def test_all_parts_as_they_are_make_the_whole() -> None:
    """Mixed by their own rows they are the reference itself."""
    side = hours.baseline().inputs
    assert side.by_hour is not None
    whole = side.expected(side.by_hour.split.rows)
    assert np.allclose(whole.reference.shares, side.whole.reference.shares)
    assert np.allclose(whole.mean, side.whole.mean)
    assert whole.reference.rows == pytest.approx(side.sketch.rows)


def test_no_more_rows_are_projected_at_once_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many a stratum has of one day: their angles would take gigabytes."""
    seen, sums = [], Projection.sums

    def counted(self: Projection, rows: Rows) -> NDArray[np.int64]:
        seen.append(len(rows))
        return sums(self, rows)

    monkeypatch.setattr("drift.leaving_out._AT_ONCE", 25)
    monkeypatch.setattr(Projection, "sums", counted)
    made(_order(strata=True), hours.reference(np.random.default_rng(1), days=6), None, 0.0)
    assert max(seen) == 25


def test_rows_that_are_kept_are_known_by_their_hours() -> None:
    """A window's segments are looked for beside rows of the same hours, of which the load is like its own."""
    side = hours.baseline().inputs
    window = hours.window(hours.baseline(), np.random.default_rng(1), _LIVE_S + 15 * hours.HOUR_S)
    alike = side.sample_of(window.inputs.strata)
    assert 60 < len(alike) < 110
    assert alike.numbers[:, 0].mean() == pytest.approx(2.0, abs=0.4)
    assert len(side.sample_of(np.zeros(24, np.int64))) == len(side.sample)


def test_kept_rows_stand_for_as_many_as_their_hours_have() -> None:
    """Of a window that lies nearly all in one stratum and has kept rows of two."""
    side = hours.baseline().inputs
    assert side.by_hour is not None
    strata = np.zeros(len(side.by_hour.split.rows), np.int64)
    strata[3], strata[15] = 950, 50
    weights, theirs = side.weights_of(strata), side.by_hour.sample
    assert weights.shape == (len(side.sample_of(strata)),)
    assert weights.sum() == pytest.approx(1)
    of_night = theirs[(theirs == 3) | (theirs == 15)] == 3
    assert weights[of_night].sum() == pytest.approx(0.95)
    assert np.unique(side.weights_of(np.zeros_like(strata))).tolist() == [1 / len(side.sample)]


def test_a_part_of_which_nothing_would_be_left_stays() -> None:
    """Windows of the reference may hold all that there is of some hours."""
    by_hour = hours.baseline().inputs.by_hour
    assert by_hour is not None
    split = by_hour.split
    everything = Part(Sketch(split.counts[3], int(split.rows[3])), split.sums[3])
    some = Part(Sketch(split.counts[4] // 2, 5), split.sums[4])
    left = split.less({3: everything, 4: some})
    assert left.rows[3] == split.rows[3]
    assert left.rows[4] == split.rows[4] - 5


def test_a_baseline_by_hours_comes_back_from_its_bytes() -> None:
    """To the same bytes and the same verdict; readers of the first form refuse it, and it is bounded."""
    ours, rng = hours.baseline(), np.random.default_rng(6)
    again = baselines.read(ours.blob)
    assert (again.blob, again.digest) == (ours.blob, ours.digest)
    window = hours.window(ours, rng, _LIVE_S)
    found = [Univariate.fit(one).evaluate(window) for one in (ours, again)]
    assert found[0] == found[1]
    assert b'"reader":2' in ours.blob[:200_000]
    assert b'"reader":1' in hours.baseline(strata=False).blob[:200_000]
    assert unpack("baseline", hours.baseline(strata=False).blob)[0]["sides"]["inputs"].keys() == {
        "schema", "rows", "calm", "wide_unit",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"zone":"UTC"', b'"zone":"XTC"'), (b'"strata/rows":["<i8",[24]]'.replace(b"strata", b"inputs/strata"), b"")],
    ids=["a zone", "an array"],
)
def test_hours_that_do_not_fit_are_damage(old: bytes, new: bytes) -> None:
    """Of a zone that is none; with an array gone."""
    blob = hours.baseline().blob
    assert old in blob
    with pytest.raises(Damaged):
        baselines.read(blob.replace(old, new or old.replace(b"rows", b"rowz")))


_WINDOWS = st.builds(
    lambda seed, hour, rows: hours.window(
        hours.baseline(), np.random.default_rng([seed, hour, rows]), _LIVE_S + hour * hours.HOUR_S, rows=rows
    ),
    st.integers(0, 10_000),
    st.integers(0, 200),
    st.integers(1, 60),
)


@given(_WINDOWS, _WINDOWS, _WINDOWS)
@settings(max_examples=examples(40), deadline=None)
def test_windows_with_strata_merge_in_any_order(a: Window, b: Window, c: Window) -> None:
    """Associative and commutative, to the byte, and back from their bytes; each row is in a stratum."""
    whole = a.merge(b).merge(c)
    assert whole.blob() == c.merge(a).merge(b).blob() == a.merge(b.merge(c)).blob()
    assert windows.read(whole.blob()).blob() == whole.blob()
    assert whole.inputs.strata.sum() == whole.rows
    assert a.merge(windows.empty(hours.baseline(), a.first_s)).blob() == a.blob()


def test_strata_of_other_rows_are_damage() -> None:
    """A window whose strata have not as many rows as it has."""
    window = hours.window(hours.baseline(), np.random.default_rng(1), _LIVE_S)
    odd = dataclasses.replace(window, inputs=dataclasses.replace(window.inputs, strata=window.inputs.strata + 1))
    with pytest.raises(Damaged, match="strata of other rows"):
        windows.read(odd.blob())
    with pytest.raises(ValueError, match="has 3 strata"):
        hours.baseline().inputs.expected(np.ones(3, np.int64))


def test_strata_are_insisted_on_or_refused() -> None:
    """Too few days, or no times at all, are a reason; without insisting they are a note."""
    few = hours.reference(np.random.default_rng(1), days=4)
    with pytest.raises(Unfit, match="To tell hours apart takes 5 days, and 300 rows of each part") as refused:
        made(_order(strata=True), few, None, 0.0)
    assert "there are 5,760 rows on 4 days" in str(refused.value)
    assert any("windows are compared with all hours alike" in note for note in made(_order(), few, None, 0.0).notes)
    untimed = Table(dict(few.columns), ordered=True)
    with pytest.raises(Unfit, match="takes the moment of each row"):
        made(_order(strata=True), untimed, None, 0.0)
    assert not [note for note in made(_order(), untimed, None, 0.0).notes if "hours" in note]
    with pytest.raises(Unfit, match="no time zone"):
        _order(zone="Mars/Base")
    calm = hours.reference(np.random.default_rng(1), swing=0.0, days=6)
    assert made(_order(strata=True), calm, None, 0.0).inputs.by_hour is not None


def test_hours_are_those_of_the_zone() -> None:
    """A rhythm of New York is told apart by its clock, through the day on which that is set."""
    ours = made(_order(zone="America/New_York"), hours.reference(np.random.default_rng(1), days=8), None, 0.0)
    assert ours.inputs.by_hour is not None
    window = hours.window(ours, np.random.default_rng(2), hours.MONDAY_S + 12 * hours.HOUR_S)
    assert "7-" in ours.inputs.in_words(window.inputs.strata)
    assert "America/New_York" in ours.inputs.in_words(window.inputs.strata)


def test_predictions_without_time_are_compared_with_all_hours() -> None:
    """And the notes say of which side they speak."""
    rng = np.random.default_rng(1)
    answers = Table({"score": rng.normal(size=2_000)})
    ours = made(_order(), hours.reference(rng, days=6), answers, 0.0)
    assert ours.outputs is not None
    assert ours.inputs.by_hour is not None
    assert ours.outputs.by_hour is None
    assert any(note.startswith("Inputs: windows are compared with the same hours") for note in ours.notes)
