"""What the proof of rollouts hears: windows between two colours, and answers that are older than they may be."""

from __future__ import annotations

import math

import pytest

from loadtests.rollouts.__main__ import _sizes
from loadtests.rollouts.heard import Heard, Window, quantile
from loadtests.steady import Answer


def _answer(sent_s: float, version: int, epoch: int) -> Answer:
    headers = {"sluice-version": str(version), "sluice-reason": "stable", "sluice-epoch": str(epoch)}
    return Answer(0, sent_s, 0.001, 200, headers, b"", "", sent_s)


def test_a_window_is_as_wide_as_both_colours_answer() -> None:
    """From the first sending that the new colour answered to the last that the old one did, in whatever order heard."""
    window = Window(2)
    for version, sent_s in ((1, 1.0), (2, 1.02), (1, 1.05), (2, 1.04), (1, 1.01)):
        window.hear(version, sent_s)
    assert window.width_s == pytest.approx(0.03)


def test_a_flip_without_overlap_has_no_width_and_one_without_the_new_colour_is_none() -> None:
    """A clean cut is zero; a colour that never answered is not a good flip."""
    clean, never = Window(2), Window(2)
    for version, sent_s in ((1, 1.0), (2, 2.0)):
        clean.hear(version, sent_s)
    never.hear(1, 1.0)
    assert clean.width_s == 0.0
    assert math.isinf(never.width_s)


def test_an_answer_of_an_older_epoch_than_all_had_acknowledged_is_stale() -> None:
    """What counts is when the request went out: one that was under way before the acknowledgement is no mistake."""
    heard = Heard()
    heard.acknowledged(7, 10.0)
    heard.acknowledged(8, 20.0)
    for sent_s, epoch in ((9.0, 5), (11.0, 7), (11.0, 8), (21.0, 7), (21.0, 8)):
        heard.hear(_answer(sent_s, 1, epoch))
    assert heard.stale == 1
    assert len(heard.notes) == 5


def test_the_quantile_is_a_value_that_was_measured() -> None:
    """p99 of a hundred values is the ninety-ninth; of none there is none."""
    assert quantile([float(value) for value in range(1, 101)], 0.99) == 99.0
    assert math.isnan(quantile([], 0.99))


def test_a_run_without_anything_to_see_is_wrong_usage() -> None:
    """Zero changes prove nothing, and would pass."""
    with pytest.raises(SystemExit) as ended:
        _sizes(["--changes", "0"])
    assert ended.value.code == 2
