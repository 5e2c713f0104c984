"""Findings, statuses and episodes of a model with a stable version and a candidate, in a few words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from drift.circumstances import Circumstances, Roles, windows_of
from drift.explaining import Change, Segment
from drift.findings import Finding, Span
from drift.incidents import Incident, raised_of
from drift.reading import Layer, Moved
from drift.settings import WatchSettings, WindowSettings
from drift.status import EpisodeStatus, LayerStatus, Status

MODEL: Final = "digits"
STABLE: Final = 1
CANDIDATE: Final = 2
NOW_S: Final = 1_700_000_000.0
DIGEST: Final = "d" * 64
ALARM: Final = 14.0
SETTINGS: Final = WatchSettings(window=WindowSettings(seconds=10.0), settle_s=100.0, cool_down_s=600.0)
ROLES: Final = Roles(STABLE, frozenset({CANDIDATE}), "ro_0123456789ab")
LAYERS: Final = (Layer.UNIVARIATE, Layer.MULTIVARIATE, Layer.PREDICTION)
"""That a sidecar looks at of each version."""


def finding(
    version: int, layer: Layer, *, variation: float = 0.3, segment: Segment | None = None, at_s: float = NOW_S
) -> Finding:
    """One layer's alarm, of a feature that moved so far."""
    return Finding(
        MODEL, version, DIGEST, layer, "peak", 9.5, 3.1, 0.0001, ALARM + 1, ALARM, Span(at_s - 60, at_s, 500),
        at_s - 60, f"ep-{version}", (Change(Moved("price", 9.5, variation, 0.4), 1.0, ()),), segment,
    )  # fmt: skip


def layer_status(layer: Layer, log_sum: float = 0.5, waiting: str = "", heard_s: float | None = None) -> LayerStatus:
    """What one layer has added up."""
    return LayerStatus(layer.value, "peak", 1.0, 3.1, 0.5, 0.0, log_sum, ALARM, None, waiting, (), heard_s)


def status(
    version: int,
    windows: int,
    *raised: Layer,
    rising: Sequence[Layer] = (),
    layers: Sequence[Layer] = LAYERS,
    last_s: float = NOW_S,
    labelled_s: float | None = NOW_S,
    drifting: bool | None = None,
) -> Status:
    """How a version stands after so many windows: some layers are alarmed, others half way to it."""
    sums = dict.fromkeys(raised, ALARM + 1) | dict.fromkeys(rising, ALARM / 2)
    heard_s = {Layer.LABELS: labelled_s}
    every = dict.fromkeys((*layers, *raised, *rising))
    told = tuple(layer_status(one, sums.get(one, 0.5), heard_s=heard_s.get(one)) for one in every)
    drifts = bool(raised) if drifting is None else drifting
    episode = EpisodeStatus(f"ep-{version}", last_s - 60, last_s, tuple(one.value for one in raised))
    return Status(
        MODEL, version, "sidecar-1", "Watched.", last_s, baseline=DIGEST, windows=windows, last_s=last_s,
        layers=told, episode=episode if drifts else None,
    )  # fmt: skip


def incident(*findings: Finding, before: Sequence[Status] = (), now_s: float = NOW_S) -> Incident:
    """What these led to, all found at once, when versions stood like that."""
    first, *rest = (raised_of(f"{nth}-0", one) for nth, one in enumerate(findings, 1))
    windows = windows_of(MODEL, before)
    found = Incident.begun(first, MODEL, windows, now_s)
    for one in rest:
        found = found.with_finding(one, windows, now_s)
    return found


def known(
    about: Incident, *statuses: Status, roles: Roles = ROLES, settings: WatchSettings = SETTINGS, after_s: float = 20.0
) -> Circumstances:
    """What is known so long after the last finding."""
    return Circumstances(about, statuses, settings, roles, about.changed_s + after_s)
