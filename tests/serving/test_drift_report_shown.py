"""The drift report in a browser: what was found is to be seen, and a hostile name is nothing but its letters."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving.drift_charts import AFTER, BEFORE
from serving.drift_report import page
from tests.browser import HEIGHT, coloured, seen
from tests.serving.test_drift_report import SEEN

_ALARM = "#b91c1c"


@pytest.mark.slow
def test_the_report_is_seen(tmp_path: Path) -> None:
    """Evidence with its alarm line, a histogram of each feature with shares before and after, and every sentence."""
    file = tmp_path / "drift.html"
    file.write_text(page(SEEN), encoding="utf-8")
    shown = seen(file, tmp_path / "drift.png")
    for words in ("Drift of digits version 2", "below 3", "It happened where country is nl", "'colour' is in no row"):
        assert words in shown.text
    assert "<b>x" in shown.text
    assert shown.body.top + shown.body.height < HEIGHT
    evidence, price, hostile = shown.plots
    assert coloured(shown.within(evidence), _ALARM, 130) > 100  # a thin line between two rows of pixels is paler
    for histogram in (price, hostile):
        assert min(coloured(shown.within(histogram), colour) for colour in (BEFORE, AFTER)) > 500
