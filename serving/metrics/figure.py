"""What a figure is: one row of the table that exports, documents, dashboards and alerts all go by.

What is known at one moment (`Facts`) is gathered by the listener; a figure computes its series of it and asks nobody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from drift.incidents import Incident
from serving.control.feedback_store import Heard
from serving.control.rolling.kept import Over
from serving.control.rolling.records import Record
from serving.control.rolling.spreads import Figures as Rollbacks
from serving.control.rolling.spreads import Spread
from serving.control.views import Status
from serving.pair_totals import PairTotals
from serving.payloads.counts import Counts

Row = tuple[tuple[str, ...], float | Spread]
"""The values of the labels, and the figure."""

_NAME: Final = re.compile(r"sluice(_[a-z]+)+")
_BASE_UNITS: Final = frozenset({"", "seconds", "bytes", "ratio"})


class Kind(StrEnum):
    """What Prometheus calls it."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    INFO = "info"


class Source(StrEnum):
    """Whom Prometheus asks for it."""

    CONTROL = "control"
    """The control room's listener, port 8002."""
    DRIFT = "drift"
    """The drift sidecar."""


_OF_HISTOGRAMS: Final = ("_sum", "_count", "_bucket")
_ENDINGS: Final[Mapping[Kind, str]] = {Kind.COUNTER: "_total", Kind.INFO: "_info"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at one moment.

    Attributes:
        version: of this release.
        status: as `sluice status` has it.
        refused: refused attempts since the control room began, by (door, kind).
        certificate_ends_s: when the listeners' certificate ends, seconds since 1970; None without one.
        rollbacks: how long they took, and what verdicts rest on.
        feedback: what was said of requests.
        rollouts: those in progress.
        pairs: what keepers found in the answers to their copies.
        payloads: what became of what the payload log was given, as far as this machine's disk shows it.
        propagated: how long changes took to reach every gateway, by what was changed; rollbacks by evidence apart.
        episodes: of models' drift, that are not over.
        deliveries: to webhooks, that are over; None where nobody knows.
    """

    version: str
    status: Status
    refused: Mapping[tuple[str, str], int] = field(default_factory=dict)
    certificate_ends_s: float | None = None
    rollbacks: Rollbacks = field(default_factory=Rollbacks)
    feedback: Heard = field(default_factory=Heard)
    rollouts: tuple[Record, ...] = ()
    pairs: tuple[PairTotals, ...] = ()
    payloads: Counts = field(default_factory=Counts)
    propagated: Mapping[str, Spread] = field(default_factory=dict)
    episodes: tuple[Incident, ...] = ()
    deliveries: Over | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: in Prometheus, unit and all.
        kind: what Prometheus calls it.
        labels: names.
        words: what it means.
        rows: its series.
        source: who exports it.

    Raises:
        ValueError: the name is not as Prometheus' conventions have it.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    words: str
    rows: Callable[[Facts], Iterable[Row]]
    source: Source = Source.CONTROL

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a figure: use sluice_ and small letters")
        for kind, ending in _ENDINGS.items():
            if (self.kind is kind) != self.name.endswith(ending):
                raise ValueError(f"{self.name}: what ends in {ending} is of kind {kind}, and nothing else is")
        if self.name.endswith(_OF_HISTOGRAMS):
            raise ValueError(f"{self.name}: only the parts of a histogram end so")
        if self.words[-1:] not in {".", ";"}:
            raise ValueError(f"{self.name}: say what it means, in a sentence")

    @property
    def unit(self) -> str:
        """In which it is told: one of Prometheus' base units, which its name says; empty for numbers of something."""
        for word in reversed(self.name.split("_")):
            if word in _BASE_UNITS:
                return word
            if word not in {"total", "timestamp"}:
                break
        return ""
