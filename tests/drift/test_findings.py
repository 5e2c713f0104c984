"""A finding's sentence says what was found, and not what was looked at beside it."""

from __future__ import annotations

from dataclasses import replace

from drift import findings
from drift.explaining import Segment
from drift.reading import Layer
from tests.drift.incidents import STABLE, finding

SEGMENT = Segment("tier", "gold", 0.2, 0.6, 0.0)


def test_a_feature_that_moved_is_named() -> None:
    """With how far, and where."""
    said = str(finding(STABLE, Layer.UNIVARIATE, segment=SEGMENT))
    assert said == "digits version 1, univariate: price moved by 0.30 (total variation) where tier is gold"


def test_rates_are_told_as_rates() -> None:
    """Values out of range need not have moved by much between cells, and whatever else moved is another matter."""
    rates = replace(finding(STABLE, Layer.SCHEMA, variation=0.0, segment=SEGMENT), rate="age missing in 13.9% of rows")
    began = "digits version 1, schema: more than before is missing, unseen or out of range"
    assert str(rates) == f"{began}, age missing in 13.9% of rows"
    assert str(replace(rates, rate="")) == began


def test_what_an_older_release_wrote_is_read() -> None:
    """Without the rate, which it did not name."""
    written = finding(STABLE, Layer.SCHEMA).plain()
    del written["rate"]
    assert findings.read(written).rate == ""
