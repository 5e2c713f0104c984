"""One version watched: a window comes in, what it means for the alarm and what is to be told come out. No I/O.

Between suspicion and alarm windows are merged into a trail, so that the size of what moved, and its explanation, rest
on all rows since it began and not on the last window alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from drift import explaining
from drift.alarm import Alarm, Chain, Evidence, Rules
from drift.baseline import Baseline
from drift.detectors.gate import Gate
from drift.detectors.multivariate import Multivariate
from drift.detectors.univariate import Univariate, predictions
from drift.findings import Finding, Span
from drift.reading import Detector, Layer, Reading
from drift.window import Window


@dataclass(frozen=True)
class Standing:
    """What is known so far.

    Attributes:
        alarm: of all layers.
        trail: the windows since suspicion began, as one; None while nothing is suspected.
    """

    alarm: Alarm
    trail: Window | None = None


class Heard(NamedTuple):
    """What one window led to.

    Attributes:
        standing: after it.
        readings: of each detector.
        findings: of each layer that joined the episode with it, and of a schema that broke with it.
    """

    standing: Standing
    readings: tuple[Reading, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Watch:
    """A baseline and what looks at its windows.

    Attributes:
        baseline: of the version.
        detectors: each of a layer of its own.
        rules: when to alarm.
    """

    baseline: Baseline
    detectors: tuple[Detector, ...]
    rules: Rules = field(default_factory=Rules)

    @classmethod
    def usual(cls, baseline: Baseline, rules: Rules | None = None) -> Self:
        """With our own detectors, as many as the baseline has something for."""
        found: list[Detector | None] = [Gate.fit(baseline), Univariate.fit(baseline)]
        found += [Multivariate.fit(baseline), predictions(baseline)]
        return cls(baseline, tuple(one for one in found if one is not None), rules or Rules())

    def start(self) -> Standing:
        """Nothing heard yet."""
        return Standing(Alarm(f"{self.baseline} {self.baseline.digest}"))

    def hear(self, standing: Standing, window: Window) -> Heard:
        """After one more window, which is heard once and never again."""
        readings = tuple(detector.evaluate(window) for detector in self.detectors)
        trail = window if standing.trail is None else standing.trail.merge(window)
        said = {
            reading.layer: Evidence(reading.log_e, detector.worth(trail), bool(reading.breaks))
            for detector, reading in zip(self.detectors, readings, strict=True)
            if not reading.waiting
        }
        alarm = standing.alarm.heard(said, window.first_s, window.last_s, self.rules)
        findings = tuple(self._findings(standing, alarm, readings, trail))
        kept = trail if alarm.suspects or alarm.is_raised else None
        return Heard(Standing(alarm, kept), readings, findings)

    def _findings(
        self, standing: Standing, after: Alarm, readings: tuple[Reading, ...], trail: Window
    ) -> Iterator[Finding]:
        """Of the layers that the episode had not before, and of a schema that breaks where the trail had it whole.

        Rates and breaks are one layer, and an episode that comes back keeps its layers: without the second rule nobody
        would hear of a column that goes after either.
        """
        before, episode = standing.alarm.episode, after.episode
        if episode is None or not episode.is_open:
            return
        told = before.layers if before and before.identity == episode.identity else ()
        was_whole = standing.trail is None or not standing.trail.breaks
        for reading in readings:
            broke = was_whole and bool(reading.breaks)
            if reading.layer in episode.layers and (reading.layer not in told or broke):
                yield self._finding(after, reading, trail)

    def _finding(self, alarm: Alarm, reading: Reading, trail: Window) -> Finding:
        chain = alarm.chains.get(reading.layer, Chain())
        side, half = self.baseline.inputs, trail.inputs
        of_outputs = self._is_of_outputs(reading, trail)
        if of_outputs and self.baseline.outputs is not None and trail.outputs is not None:
            side, half = self.baseline.outputs, trail.outputs
        changes = explaining.changes(side, half) if half.sketch.rows else ()
        segment = explaining.segment(side, half, changes[0].moved.feature) if changes else None
        return Finding(
            model=str(self.baseline.model),
            version=int(self.baseline.version),
            baseline=self.baseline.digest,
            layer=reading.layer,
            statistic=reading.statistic,
            value=reading.value,
            threshold=reading.threshold,
            p_value=reading.p_value,
            log_sum=max(chain.log_sr, 0.0),
            log_alarm=self.rules.log_threshold,
            span=Span(trail.first_s, trail.last_s, trail.rows),
            since_s=trail.first_s if chain.since_s is None else chain.since_s,
            episode=alarm.episode.identity if alarm.episode else "",
            changes=changes,
            segment=segment,
            breaks=reading.breaks,
            of_outputs=of_outputs,
            rate=_rate(reading),
        )

    def _is_of_outputs(self, reading: Reading, trail: Window) -> bool:
        gates = [one for one in self.detectors if isinstance(one, Gate)]
        rates = reading.layer is Layer.SCHEMA and any(gate.is_of_outputs(trail) for gate in gates)
        return reading.layer is Layer.PREDICTION or rates


def _rate(reading: Reading) -> str:
    """'age missing in 13.9% of rows', in the last window; empty where it is not about rates, or they are calm in it."""
    if reading.layer is not Layer.SCHEMA or reading.breaks or not reading.features:
        return ""
    first = reading.features[0]
    return f"{first.feature} in {first.score:.1%} of rows"
