"""A finding's sentence says what was found, and not what was looked at beside it."""

from __future__ import annotations

from dataclasses import replace

from drift.explaining import Segment
from drift.reading import Layer
from tests.drift.incidents import STABLE, finding

SEGMENT = Segment("tier", "gold", 0.2, 0.6, 0.0)


def test_a_feature_that_moved_is_named() -> None:
    """With how far, and where."""
    said = str(finding(STABLE, Layer.UNIVARIATE, segment=SEGMENT))
    assert said == "digits version 1, univariate: price moved by 0.30 (total variation) where tier is gold"


def test_rates_are_told_as_rates() -> None:
    """Values out of range need not have moved by much between cells: that would read as if nothing were wrong."""
    rates = replace(finding(STABLE, Layer.SCHEMA, variation=0.0), statistic="rates", value=0.1394)
    began = "digits version 1, schema: more than before is missing, unseen or out of range"
    assert str(rates) == f"{began}, in one column 13.9% of rows"
    assert str(replace(rates, value=0.0, segment=SEGMENT)) == f"{began} where tier is gold"
