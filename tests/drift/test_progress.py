"""How a version is watched follows the settings, and how far that has come survives being stored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from drift import progress_form
from drift.detectors import alibi
from drift.errors import Damaged, NotInstalled
from drift.progress import Course, Progress
from drift.reading import Layer
from drift.settings import WatchSettings
from tests.drift import samples

_SETTINGS = WatchSettings.model_validate({"window": {"rows": 10, "seconds": 2, "most_s": 100}, "false_alarm_days": 1})


def _course(**said: object) -> Course:
    return Course.of(samples.baseline(), _SETTINGS.model_copy(update=said))


def _heard(course: Course, windows: int) -> Progress:
    progress = course.begin()
    for at in range(windows):
        for half in range(2):
            rows = samples.calm(2 * at + half, at_s=10.0 * at + 3.0 * half)
            progress = course.with_rows(progress, rows)
        step = course.closing(progress, rows.last_s)
        assert step is not None
        progress = step.progress
    return progress


def test_windows_have_no_fewer_rows_than_calm_ones() -> None:
    """Whatever the settings say: of fewer nothing is known."""
    assert _course().rows == samples.ROWS


def test_a_window_closes_by_rows_and_time_or_by_age() -> None:
    """Rows without seconds do not do, nor seconds without rows; very old ones are heard as they are."""
    course = _course()
    few = course.with_rows(course.begin(), samples.calm(1, rows=5, at_s=50.0))
    many = course.with_rows(course.begin(), samples.calm(1, rows=200, at_s=50.0))
    assert course.closing(course.begin(), 1e9) is None
    assert course.closing(many, 51.0) is None
    assert course.closing(few, 149.0) is None
    assert course.closing(many, 52.0) is not None
    step = course.closing(few, 150.0)
    assert step is not None
    assert (step.progress.under_way, step.progress.windows, step.seen.rows) == (None, 1, 5)
    assert "univariate" not in step.seen.layers  # too few to say


def test_the_floor_is_the_settings() -> None:
    """What moved by less than it is worth no alarm."""
    moved = samples.changed(3, rows=400, price=samples.inputs(np.random.default_rng(5), 400).columns["price"] * 1.6)
    low, high = (
        next(one for one in _course(floor=floor).watch.detectors if one.layer is Layer.UNIVARIATE)
        for floor in (0.05, 0.9)
    )
    assert low.worth(moved)
    assert not high.worth(moved)


def test_a_backend_that_is_not_there_is_said_and_ours_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a silent 'no drift' because a package is missing."""

    def missing() -> None:
        raise NotInstalled("The detectors of alibi-detect were chosen, and it is not installed.", "Install it.")

    monkeypatch.setattr(alibi, "_library", missing)
    course = _course(backend="alibi:KSDrift")
    assert course.backend == "sluice"
    assert "is not installed. Install it. Sluice's own detectors watch meanwhile." in course.note
    assert {one.layer for one in course.watch.detectors} == {one.layer for one in _course().watch.detectors}


def test_what_is_stored_goes_on_where_it_was() -> None:
    """Bytes of what was read again are the same bytes, with a trail and a window under way."""
    course = _course()
    progress = course.with_rows(_heard(course, 3), samples.changed(9, x=np.full((samples.ROWS, 4), 9.0)))
    step = course.closing(course.with_rows(progress, samples.calm(10, at_s=100.0)), 100.0)
    assert step is not None
    assert step.progress.standing.trail is not None
    after = course.with_rows(step.progress, samples.calm(11, at_s=101.0))
    fields = progress_form.fields_of(after)
    read = progress_form.read(fields, samples.baseline().digest)
    assert read is not None
    assert progress_form.fields_of(read) == fields
    assert course.closing(read, 1e6).findings == course.closing(after, 1e6).findings  # type: ignore[union-attr]


def test_only_what_changed_is_written() -> None:
    """The rows under way without the trail, which is as large."""
    course = _course()
    before = _heard(course, 1)
    after = course.with_rows(before, samples.calm(8, at_s=50.0))
    assert set(progress_form.fields_of(after, before)) == {"said", "under_way"}
    assert set(progress_form.fields_of(before, before)) == {"said"}


def test_another_baselines_progress_is_none_and_damage_is_refused() -> None:
    """So that whoever reads begins anew."""
    fields = progress_form.fields_of(_heard(_course(), 1))
    assert progress_form.read(fields, "another") is None
    said = json.loads(fields["said"])
    for odd in (
        {},
        {**fields, "said": b"x"},
        {**fields, "trail": b"x"},
        {**fields, "said": json.dumps({**said, "form": 9}).encode()},
    ):
        with pytest.raises(Damaged):
            progress_form.read(odd, samples.baseline().digest)
