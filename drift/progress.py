"""How far the watching of one version has come: rows go into the window under way, a window that closes is heard.

Pure: what is known is a value, and each step gives the next one. Windows close by the times of their rows, and only
while nothing is waiting to be read also by the clock, so the same samples in the same order end in the same place
however often whoever reads them is stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Self

from drift.alarm import Alarm, Chain, Rules
from drift.baseline import Baseline
from drift.detectors.gate import Gate
from drift.detectors.multivariate import Multivariate
from drift.detectors.univariate import Univariate, predictions
from drift.errors import DriftError
from drift.findings import Finding
from drift.reading import Detector, Layer, Reading
from drift.settings import ALIBI, OURS, WatchSettings
from drift.status import EpisodeStatus, LayerSeen, LayerStatus, UnderWay, WindowSeen, evidence, finite
from drift.watch import Standing, Watch
from drift.window import Window

_LOG: Final = logging.getLogger(__name__)
_MOST_NAMED: Final = 10


@dataclass(frozen=True)
class Progress:
    """What is known of one version so far.

    Attributes:
        standing: of its alarm.
        under_way: the window that is being filled; None where it holds no row.
        rows: that were folded in since the baseline came.
        windows: that were heard since then.
        heard_s: when the last of them ended, seconds since 1970; None before the first.
        last_s: when the newest row came; None before the first.
        layers: what each said of the last window.
        strata: the hours that the last window was compared with, in words; empty where all are alike.
    """

    standing: Standing
    under_way: Window | None = None
    rows: int = 0
    windows: int = 0
    heard_s: float | None = None
    last_s: float | None = None
    layers: tuple[LayerStatus, ...] = ()
    strata: str = ""

    @property
    def episode(self) -> EpisodeStatus | None:
        """The open one, or the last one."""
        return episode_status(self.standing.alarm)


class Step(NamedTuple):
    """What a window that closed led to.

    Attributes:
        progress: after it.
        findings: of each layer that joined the episode with it, and of a schema that broke with it.
        seen: for the history.
    """

    progress: Progress
    findings: tuple[Finding, ...]
    seen: WindowSeen


@dataclass(frozen=True)
class Course:
    """How one version is watched.

    Attributes:
        watch: its baseline and what looks at its windows.
        rows: of a window, at least.
        seconds: that it spans, at least.
        most_s: a window as old as that closes with the rows that it has.
        backend: whose detectors they are.
        note: what whoever chose the settings should know; empty for nothing.
    """

    watch: Watch
    rows: int
    seconds: float
    most_s: float
    backend: str = OURS
    note: str = ""

    @classmethod
    def of(cls, baseline: Baseline, settings: WatchSettings) -> Self:
        """As the settings say; by our own detectors where others were chosen that cannot be had, which is noted."""
        backend, note = settings.backend, ""
        try:
            chosen = _detectors(baseline, settings)
        except DriftError as error:
            backend, note = OURS, f"{error} {error.hint} Sluice's own detectors watch meanwhile.".replace("  ", " ")
            _LOG.warning("%s: %s", baseline, note)
            chosen = _own(baseline, settings.floor)
        rules = rules_of(settings, len(chosen))
        rows = max(settings.window.rows, baseline.inputs.calm.size)
        watch = Watch(baseline, chosen, rules)
        return cls(watch, rows, settings.window.seconds, settings.window.most_s, backend, note)

    def begin(self) -> Progress:
        """Nothing heard yet."""
        return Progress(self.watch.start())

    def with_rows(self, progress: Progress, rows: Window) -> Progress:
        """With these in the window under way."""
        under_way = rows if progress.under_way is None else progress.under_way.merge(rows)
        last_s = rows.last_s if progress.last_s is None else max(progress.last_s, rows.last_s)
        return replace(progress, under_way=under_way, rows=progress.rows + rows.rows, last_s=last_s)

    def closing(self, progress: Progress, now_s: float) -> Step | None:
        """The window under way closed and heard; None where it is to be filled further.

        A break of the schema needs no numbers: such a window waits for its seconds alone.

        Args:
            progress: so far.
            now_s: the time of the newest row, or the clock's where nothing waits to be read.
        """
        window = progress.under_way
        if window is None:
            return None
        age_s = max(now_s, window.last_s) - window.first_s
        waits = window.rows < self.rows and not window.breaks
        if age_s < self.seconds or (waits and age_s < self.most_s):
            return None
        return self._heard(progress, window)

    def under_way(self, progress: Progress) -> UnderWay:
        """The window that is being filled, for people."""
        window = progress.under_way
        if window is None:
            return UnderWay(0, self.rows, None, self.seconds)
        return UnderWay(window.rows, self.rows, window.first_s, self.seconds)

    def _heard(self, progress: Progress, window: Window) -> Step:
        heard = self.watch.hear(progress.standing, window)
        alarm, log_alarm = heard.standing.alarm, self.watch.rules.log_threshold
        layers = tuple(layer_status(reading, alarm, log_alarm) for reading in heard.readings)
        after = replace(
            progress,
            standing=heard.standing,
            under_way=None,
            windows=progress.windows + 1,
            heard_s=window.last_s,
            layers=layers,
            strata=self.watch.baseline.inputs.in_words(window.inputs.strata),
        )
        seen = replace(_seen(window, layers, alarm, log_alarm), strata=after.strata)
        return Step(after, heard.findings, seen)


def episode_status(alarm: Alarm) -> EpisodeStatus | None:
    """The open episode, or the last one, for people."""
    found = alarm.episode
    if found is None:
        return None
    layers = tuple(layer.value for layer in found.layers)
    return EpisodeStatus(found.identity, found.since_s, found.raised_s, layers, found.closed_s)


def rules_of(settings: WatchSettings, layers: int) -> Rules:
    """When so many layers, which share one budget of false alarms, are to alarm."""
    return Rules(
        days=settings.false_alarm_days,
        window_s=settings.window.seconds,
        layers=layers,
        quiet=settings.quiet_windows,
        cool_down_s=settings.cool_down_s,
    )


def is_new(alarm: Alarm, before: Alarm) -> bool:
    """Whether an episode is open of which nobody has heard: not the one of before, nor that one come back."""
    if alarm.episode is None or not alarm.is_raised:
        return False
    return before.episode is None or before.episode.identity != alarm.episode.identity


def _detectors(baseline: Baseline, settings: WatchSettings) -> tuple[Detector, ...]:
    if not settings.backend.startswith(ALIBI):
        return _own(baseline, settings.floor)
    from drift.detectors.alibi import Alibi, Test  # noqa: PLC0415 - only where it is chosen

    theirs = Alibi.fit(baseline, Test(settings.backend.removeprefix(ALIBI)))
    return _those_there(Gate.fit(baseline), theirs, predictions(baseline, settings.floor))


def _own(baseline: Baseline, floor: float) -> tuple[Detector, ...]:
    single, joint = Univariate.fit(baseline, floor), Multivariate.fit(baseline)
    return _those_there(Gate.fit(baseline), single, joint, predictions(baseline, floor))


def _those_there(*detectors: Detector | None) -> tuple[Detector, ...]:
    return tuple(one for one in detectors if one is not None)


def layer_status(reading: Reading, alarm: Alarm, log_alarm: float) -> LayerStatus:
    """What a layer said of a window, for people."""
    chain = alarm.chains.get(reading.layer, Chain())
    return LayerStatus(
        layer=reading.layer.value,
        statistic=reading.statistic,
        value=finite(reading.value),
        threshold=finite(reading.threshold),
        p_value=reading.p_value,
        log_e=finite(reading.log_e),
        log_sum=evidence(chain.log_sr),
        log_alarm=log_alarm,
        since_s=chain.since_s,
        waiting=reading.waiting,
        features=_named(reading),
    )


def _named(reading: Reading) -> tuple[str, ...]:
    """Features that moved; of a broken schema the columns."""
    if reading.layer is Layer.SCHEMA and reading.breaks:
        return tuple(dict.fromkeys(one.column for one in reading.breaks))[:_MOST_NAMED]
    return tuple(one.feature for one in reading.features[:_MOST_NAMED])


def _seen(window: Window, layers: Sequence[LayerStatus], alarm: Alarm, log_alarm: float) -> WindowSeen:
    said = {one.layer: LayerSeen(one.value, one.threshold, one.log_e, one.log_sum) for one in layers if not one.waiting}
    episode = alarm.episode.identity if alarm.episode is not None and alarm.episode.is_open else ""
    return WindowSeen(
        window.first_s, window.last_s, window.rows, window.baseline, log_alarm, alarm.is_raised, episode, said
    )
