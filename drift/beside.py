"""A candidate beside stable as a sidecar has it in hand: answers of both in the same time, and the alarm over them.

Both arms' answers are folded by stable's baseline, whose cells they are compared in. Shadows' copies are no arm: they
answer the very requests that stable answers. No I/O, as in `drift.watched`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from drift import explaining
from drift.alarm import Alarm, Chain, Evidence
from drift.baseline import Baseline
from drift.baseline_form import reading
from drift.detectors.arms import FEWEST_ROWS, Arms
from drift.errors import Damaged, DriftError
from drift.findings import Finding, Span
from drift.flattening import Part
from drift.in_hand import InHand
from drift.progress import is_new, layer_status, rules_of
from drift.progress_form import alarm_of, alarm_plain, blob_of, window_of
from drift.reading import Layer, Reading
from drift.settings import WatchSettings
from drift.side import Side
from drift.status import LayerStatus, Status, layer_read
from drift.watched import NOT_FOLDED, folded
from drift.window import Half, Window

_LOG: Final = logging.getLogger(__name__)
OVER_S: Final = 3_600.0
"""A candidate that has answered nothing for so long, while stable did, is no candidate any more."""
_SAID, _OURS, _THEIRS = "said", "candidate", "stable"


@dataclass(frozen=True)
class Standing:
    """How far it has come.

    Attributes:
        alarm: over the answers.
        ours: the candidate's in the window under way; None where there are none.
        theirs: stable's.
        layer: what the last window said; None before the first.
    """

    alarm: Alarm
    ours: Window | None = None
    theirs: Window | None = None
    layer: LayerStatus | None = None


class Beside(InHand[Standing]):
    """One candidate beside stable.

    Args:
        candidate: its version.
        baseline: stable's, with outputs.
        arms: what compares the two.
        settings: of the model.
        fields: as they were stored.
    """

    def __init__(
        self, candidate: int, baseline: Baseline, arms: Arms, settings: WatchSettings, fields: Mapping[str, bytes]
    ) -> None:  # fmt: skip
        self.candidate, self.baseline = candidate, baseline
        self._arms, self._settings = arms, settings
        self._rules = rules_of(settings, 1)
        subject = f"{baseline.model} version {candidate} beside {int(baseline.version)} {baseline.digest}"
        super().__init__(_read(fields, subject) or Standing(Alarm(subject)), None)
        self._answered_s = math.inf
        self.is_over = False
        """Whether the candidate has answered nothing for so long that nothing more is expected of it."""

    def take_part(self, part: Part) -> None:
        """Adds answers of the candidate."""
        try:
            rows = folded(self.baseline, part)
        except NOT_FOLDED as error:
            _LOG.warning(
                "answers of %s cannot be held against stable's baseline: %r", self.standing.alarm.subject, error
            )
            return
        self.take(rows, of_stable=False)

    def take(self, rows: Window, *, of_stable: bool) -> None:
        """Adds answers of one arm, folded by stable's baseline, and compares both once there are enough."""
        ours, theirs = self.standing.ours, self.standing.theirs
        if of_stable:
            theirs = rows if theirs is None else theirs.merge(rows)
            self._answered_s = min(self._answered_s, rows.last_s)
            self.is_over = rows.last_s - self._answered_s > OVER_S
        else:
            ours = rows if ours is None else ours.merge(rows)
            self._answered_s, self.is_over = rows.last_s, False
        self.standing = replace(self.standing, ours=ours, theirs=theirs)
        if ours is None or theirs is None:
            self._forget_old(rows.last_s)
            return
        window = self._settings.window
        age_s = max(ours.last_s, theirs.last_s) - min(ours.first_s, theirs.first_s)
        if age_s >= window.seconds and min(ours.rows, theirs.rows) >= FEWEST_ROWS and self._is_full(ours, theirs):
            try:
                self._hear(ours, theirs)
            except NOT_FOLDED as error:  # else every further row would meet the same
                self.standing = replace(self.standing, ours=None, theirs=None)
                _LOG.warning("%s: a window cannot be compared: %r", self.standing.alarm.subject, error)

    def fields(self) -> dict[str, bytes]:
        """What is to be stored now."""
        now, before = self.standing, self._stored
        fields = {_SAID: json.dumps(_plain(now), sort_keys=True, allow_nan=False).encode()}
        if before is None or now.ours is not before.ours:
            fields[_OURS] = blob_of(now.ours)
        if before is None or now.theirs is not before.theirs:
            fields[_THEIRS] = blob_of(now.theirs)
        return fields

    def status(self, about: Status) -> Status:
        """How both arms stand beside what is known of the candidate by itself."""
        return self._status(about, f"It answers otherwise than version {int(self.baseline.version)}.")

    def _is_full(self, ours: Window, theirs: Window) -> bool:
        return max(ours.rows, theirs.rows) >= self._settings.window.rows

    def _forget_old(self, now_s: float) -> None:
        """An arm that answered long before the other one began says nothing of the same time."""
        only = self.standing.ours or self.standing.theirs
        if only is not None and now_s - only.first_s >= self._settings.window.seconds:
            self.standing = replace(self.standing, ours=None, theirs=None)

    def _hear(self, ours: Window, theirs: Window) -> None:
        before = self.standing.alarm
        said = self._arms.evaluate(ours, theirs)
        began_s, ended_s = min(ours.first_s, theirs.first_s), max(ours.last_s, theirs.last_s)
        alarm = before
        if not said.waiting:
            worth = any(one.variation >= self._settings.floor for one in said.features)
            alarm = before.heard({Layer.ARMS: Evidence(said.log_e, worth)}, began_s, ended_s, self._rules)
        self.standing = Standing(alarm, layer=layer_status(said, alarm, self._rules.log_threshold))
        if is_new(alarm, before):
            self._findings.append(self._finding(said, alarm, ours, theirs))

    def _finding(self, said: Reading, alarm: Alarm, ours: Window, theirs: Window) -> Finding:
        chain = alarm.chains.get(Layer.ARMS, Chain())
        first_s = min(ours.first_s, theirs.first_s)
        changes: tuple[explaining.Change, ...] = ()
        if ours.outputs is not None and theirs.outputs is not None and self.baseline.outputs is not None:
            changes = explaining.changes(_told_by(self.baseline.outputs, theirs.outputs), ours.outputs)
        return Finding(
            model=str(self.baseline.model),
            version=self.candidate,
            baseline=self.baseline.digest,
            layer=Layer.ARMS,
            statistic=said.statistic,
            value=said.value,
            threshold=said.threshold,
            p_value=said.p_value,
            log_sum=max(chain.log_sr, 0.0),
            log_alarm=self._rules.log_threshold,
            span=Span(first_s, max(ours.last_s, theirs.last_s), ours.rows),
            since_s=first_s if chain.since_s is None else chain.since_s,
            episode=alarm.episode.identity if alarm.episode else "",
            changes=changes,
            of_outputs=True,
        )


def beside(candidate: int, baseline: Baseline, settings: WatchSettings, fields: Mapping[str, bytes]) -> Beside | None:
    """As `Beside`; None where stable's baseline has no outputs."""
    arms = Arms.fit(baseline)
    return None if arms is None else Beside(candidate, baseline, arms, settings, fields)


def _told_by(side: Side, stable: Half) -> Side:
    """The side with stable's answers of now as what others are held against."""
    return replace(side, sketch=stable.sketch, by_hour=None)


def _plain(standing: Standing) -> dict[str, object]:
    layer = None if standing.layer is None else dataclasses.asdict(standing.layer)
    return {"alarm": alarm_plain(standing.alarm), "layer": layer}


def _read(fields: Mapping[str, bytes], subject: str) -> Standing | None:
    """What was stored of the same two; None where nothing was, or nothing that can be read."""
    if not fields:
        return None
    try:
        with reading("candidate beside stable"):
            plain = json.loads(fields[_SAID])
            alarm, layer = alarm_of(plain["alarm"]), plain["layer"]
            if alarm.subject != subject:
                return None
            told = None if layer is None else layer_read(layer)
            return Standing(alarm, window_of(fields[_OURS]), window_of(fields[_THEIRS]), told)
    except (Damaged, DriftError) as error:
        _LOG.warning("%s is begun anew: %s", subject, error)
        return None
