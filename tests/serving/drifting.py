"""What a sidecar would write: the same values in all tests that show them."""

from __future__ import annotations

from drift.explaining import Bar, Change, Segment
from drift.findings import Finding, Span
from drift.reading import Layer, Moved
from drift.schema import Break, Broken
from drift.status import EpisodeStatus, LayerSeen, LayerStatus, Samples, Status, UnderWay, WindowSeen

DIGEST = "d" * 64
LAYER = LayerStatus(
    "univariate", "peak", 9.5, 3.1, 0.0001, 6.0, 15.25, 14.5, 1_700_000_000.0, "", ("price", "x[2]")
)  # fmt: skip
STATUS = Status(
    "digits", 2, "sidecar-1", "It drifts: price moved.", 1_700_000_300.0,
    baseline=DIGEST, rows=1_500, windows=3, heard_s=1_700_000_290.0, under_way=UnderWay(12, 500, 1_700_000_291.0, 60.0),
    layers=(LAYER, LayerStatus("multivariate", "joint", 0.0, 0.0, 1.0, 0.0, 0.0, 14.5, None, "It has too few rows.")),
    episode=EpisodeStatus("ep-1", 1_700_000_000.0, 1_700_000_290.0, ("univariate",)),
    samples=Samples(offered=2_000, dropped=7, lost=1, pending=3), strata="daily 9-12 (100%), UTC",
)  # fmt: skip
WINDOW = WindowSeen(
    1_700_000_000.0, 1_700_000_060.0, 500, DIGEST, 14.5, alarmed=True, episode="ep-1",
    layers={"univariate": LayerSeen(9.5, 3.1, 6.0, 15.25), "multivariate": LayerSeen(0.2, 0.4, -0.1, 0.0)},
)  # fmt: skip
FINDING = Finding(
    "digits", 2, DIGEST, Layer.UNIVARIATE, "peak", 9.5, 3.1, 0.0001, 15.25, 14.5,
    Span(1_700_000_000.0, 1_700_000_290.0, 1_500), 1_700_000_000.0, "ep-1",
    (
        Change(Moved("price", 9.5, 0.31, 0.42), 0.9, (Bar("below 3", 0.5, 0.1), Bar("3 and more", 0.5, 0.9))),
        Change(Moved("<b>x\x1b[2J", 1.0, 0.01, 0.001), 0.1, (Bar("<i>", 1.0, 1.0),)),
    ),
    Segment("country", "nl", 0.25, 0.6, 0.02),
)  # fmt: skip
BROKEN = Finding(
    "digits", 2, DIGEST, Layer.SCHEMA, "gate", 1.0, 0.0, 0.0, 99.0, 14.5,
    Span(1_700_000_000.0, 1_700_000_290.0, 1_500), 1_700_000_000.0, "ep-2",
    breaks=(Break(Broken.EXTRA, "colour", "'colour' is in no row that was learned from."),),
)  # fmt: skip
