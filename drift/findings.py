"""What was found, as one record: for the stream, for people, and for whoever decides what to do about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from drift import baseline_form
from drift.explaining import Bar, Change, Segment
from drift.reading import Layer, Moved
from drift.schema import Break, Broken

_OF_SEGMENT: Final = ("share", "inside", "outside")


@dataclass(frozen=True, slots=True)
class Span:
    """The rows that it rests on.

    Attributes:
        first_s: when the first of them came, seconds since 1970.
        last_s: when the last one came.
        rows: how many.
    """

    first_s: float
    last_s: float
    rows: int


@dataclass(frozen=True)
class Finding:
    """One layer's alarm.

    Attributes:
        model: whose.
        version: which.
        baseline: digest of what it was compared with.
        layer: what was looked at.
        statistic: what was measured in the last window.
        value: of it.
        threshold: the value that one calm window in twenty exceeds.
        p_value: of the last window alone.
        log_sum: the log of the evidence that was added up.
        log_alarm: the log of what it takes to alarm.
        span: the rows since suspicion began.
        since_s: when that was, seconds since 1970.
        episode: its identity; findings of one episode share it.
        changes: features ranked by what they contributed, with histograms before and after.
        segment: in which alone it happened; None where it is everywhere.
        breaks: of the schema.
        of_outputs: whether it is about answers alone, and not about inputs.
        rate: the one that exceeds most what is tolerated, in words; empty where it is not about rates.
    """

    model: str
    version: int
    baseline: str
    layer: Layer
    statistic: str
    value: float
    threshold: float
    p_value: float
    log_sum: float
    log_alarm: float
    span: Span
    since_s: float
    episode: str
    changes: tuple[Change, ...] = ()
    segment: Segment | None = None
    breaks: tuple[Break, ...] = ()
    of_outputs: bool = False
    rate: str = ""

    def __str__(self) -> str:
        """'digits version 3, univariate: pixels[12] moved by 0.31 (total variation)'."""
        return f"{self.model} version {self.version}, {self.layer.value}: {self._what()}"

    def _what(self) -> str:
        if self.breaks:
            return " ".join(one.sentence for one in self.breaks[:3])
        if self.layer is Layer.LABELS:
            return f"{self.statistic} {self.value:.3g}, and at first at most {self.threshold:.3g}"
        if self.layer is Layer.SCHEMA:
            return f"more than before is missing, unseen or out of range{f', {self.rate}' if self.rate else ''}"
        where = f" where {self.segment.feature} is {self.segment.name}" if self.segment else ""
        if not self.changes or self.layer is Layer.MULTIVARIATE:
            return f"rows as wholes lie out{where}, {self.statistic} {self.value:.3g} (calm {self.threshold:.3g})"
        first = self.changes[0].moved
        return f"{first.feature} moved by {first.variation:.2f} (total variation){where}"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def read(plain: Mapping[str, Any]) -> Finding:
    """The finding in plain values.

    Raises:
        Damaged: they are none.
    """
    with baseline_form.reading("finding"):
        said = _measured(plain, "value", "threshold", "p_value", "log_sum", "log_alarm", "since_s")
        _check_texts(said, "model", "baseline", "statistic", "episode")
        said["version"] = int(said["version"])
        said["of_outputs"] = bool(said.get("of_outputs", False))
        said["rate"] = str(said.get("rate", ""))
        said["layer"] = Layer(said["layer"])
        said["span"] = Span(**{**_measured(said["span"], "first_s", "last_s"), "rows": int(said["span"]["rows"])})
        said["changes"] = tuple(map(_change, said["changes"]))
        said["segment"] = _segment(said["segment"]) if said["segment"] else None
        said["breaks"] = tuple(map(_break, said["breaks"]))
        return Finding(**said)


def _change(plain: Mapping[str, Any]) -> Change:
    moved = Moved(**_check_texts(_measured(plain["moved"], "score", "variation", "stability"), "feature"))
    bars = (Bar(**_check_texts(_measured(bar, "before", "after"), "name")) for bar in plain["bars"])
    return Change(moved, float(plain["share"]), tuple(bars))


def _segment(plain: Mapping[str, Any]) -> Segment:
    return Segment(**_check_texts(_measured(plain, *_OF_SEGMENT), "feature", "name"))


def _break(plain: Mapping[str, Any]) -> Break:
    _check_texts(plain, "column", "sentence")
    return Break(Broken(plain["how"]), plain["column"], plain["sentence"])


def _measured(plain: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The same, with numbers where numbers belong: whoever reads a finding reckons with them."""
    return {**plain, **{name: float(plain[name]) for name in names}}


def _check_texts(plain: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The same, where these are texts.

    Raises:
        ValueError: they are not.
    """
    for name in names:
        if type(plain[name]) is not str:
            raise ValueError(f"{name} is {plain[name]!r:.40}")
    return plain
