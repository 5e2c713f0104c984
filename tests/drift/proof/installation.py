"""What an installation makes of one version's windows and labels, to the webhook: the shipped code, without its store.

The sidecar's part (`drift.progress`, `drift.labels`) finds, the control room's (`drift.incidents`,
`drift.circumstances`, `drift.attribution`) decides. Nothing of a rule is said here a second time. The version is the
model's only one, no rollout is in progress, and what is decided goes out (`drift.act: act`); all else is the default.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from drift.attribution import Act
from drift.baseline import Baseline
from drift.circumstances import Circumstances, Roles, windows_of
from drift.findings import Finding
from drift.incidents import Incident, Kind, raised_of
from drift.labels import Graded, Labelled
from drift.progress import Course
from drift.settings import WatchSettings
from drift.status import LayerStatus, Samples, Status
from drift.watched import nothing_known
from drift.window import Window

WINDOW_S: Final = 60.0
"""How long a window takes: the least that one does by default."""

_DEFAULT: Final = WatchSettings(act=Act.ACT)


class Told(NamedTuple):
    """Something that was told, or written, of an incident.

    Attributes:
        kind: what.
        incident: as it is then.
    """

    kind: Kind
    incident: Incident


class Heard(NamedTuple):
    """What one window, and the labels of its rows, led to.

    Attributes:
        layers: what each said of the window.
        findings: of whatever layer, labels among them.
        told: what followed.
    """

    layers: tuple[LayerStatus, ...]
    findings: tuple[Finding, ...]
    told: tuple[Told, ...]


class Installation:
    """One version in it.

    Args:
        baseline: of the version.
    """

    def __init__(self, baseline: Baseline) -> None:
        self._course = Course.of(baseline, _DEFAULT)
        self._progress = self._course.begin()
        self._labels = Graded(str(baseline.model), int(baseline.version), _DEFAULT, {})
        self._totals = Labelled()
        self._incident: Incident | None = None
        self._heard = 0
        self._found = 0

    def hear(self, window: Window, wrong: int) -> Heard:
        """After one more window, all of whose rows are labelled at once.

        Args:
            window: whose rows came at `WINDOW_S` times its place in the order.
            wrong: how many of its rows were answered wrongly.

        Raises:
            ValueError: it has too few rows to be heard.
        """
        self._heard += 1
        now_s = self._heard * WINDOW_S
        step = self._course.closing(self._course.with_rows(self._progress, window), now_s)
        if step is None:
            raise ValueError(f"A window of {window.rows} rows is not heard: it takes {self._course.rows}.")
        self._progress = step.progress
        self._totals = Labelled(self._totals.count + window.rows, self._totals.wrong + wrong)
        self._labels.look(self._totals, now_s)
        findings = (*step.findings, *self._labels.stored())
        status = self._status(now_s)
        self._take(findings, status, now_s)
        return Heard(step.progress.layers, findings, tuple(self._decided(status, now_s)))

    def _status(self, now_s: float) -> Status:
        progress, baseline = self._progress, self._course.watch.baseline
        about = nothing_known(str(baseline.model), int(baseline.version), "", now_s, Samples())
        return self._labels.status(
            replace(
                about,
                baseline=baseline.digest,
                windows=progress.windows,
                last_s=progress.last_s,
                layers=progress.layers,
                episode=progress.episode,
            )
        )

    def _take(self, findings: Iterable[Finding], status: Status, now_s: float) -> None:
        windows = windows_of(status.model, [status])
        for finding in findings:
            self._found += 1
            raised, incident = raised_of(str(self._found), finding), self._incident
            if incident is None or incident.over:
                self._incident = Incident.begun(raised, status.model, windows, now_s)
            else:
                self._incident = incident.with_finding(raised, windows, now_s)

    def _decided(self, status: Status, now_s: float) -> Iterator[Told]:
        while (incident := self._incident) is not None and not incident.over:
            roles = Roles(stable=status.version)
            step = Circumstances(incident, [status], _DEFAULT, roles, now_s).step(held=False)
            if step is None:
                return
            self._incident = step.incident
            if step.kind is not None:
                yield Told(step.kind, step.incident)
