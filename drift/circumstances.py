"""What is known of an incident at one moment: of each version whether it moved, is calm, or was not looked at. Pure.

Windows of two versions do not close at once, and the one that has less traffic closes later. So nobody is blamed before
each version that is sampled has had a window that began after the last thing was found, two closings later, or the
declared time is over; what was not looked at by then is unknown, and no calm. Labels come when they come and nobody
waits for them: a version is calm by its labels only if some were heard since the errors of another began to rise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from drift.attribution import Arms, Blame, Evidence, Inputs, attribute
from drift.incidents import Incident, Of, Raised, Step, aged, judged
from drift.reading import Layer
from drift.settings import WatchSettings
from drift.status import LayerStatus, Status

_LAYERS: Final[Mapping[Of, tuple[Layer, ...]]] = {
    Of.INPUTS: (Layer.UNIVARIATE, Layer.MULTIVARIATE),
    Of.OUTPUTS: (Layer.PREDICTION,),
    Of.LABELS: (Layer.LABELS,),
}
"""By which a version is known to be calm; rates alone, which the gate looks at, say that of nobody."""
_CLOSINGS: Final = 2
"""Of windows, after which one was heard that began later: the first to close may have begun before."""


class Known(IntEnum):
    """Of one layer of one version."""

    UNSEEN = 0
    CALM = 1
    RISING = 2
    """Half of the evidence that it takes to alarm is there, by its logarithm."""
    MOVED = 3


@dataclass(frozen=True, slots=True)
class Roles:
    """Who is who in the model's rollout.

    Attributes:
        stable: the version that everybody else gets; None where that is not known.
        candidates: on trial.
        rollout: its id; empty where none is in progress.
        tolerance: how far both may differ, in total variation; None where the rollout declares nothing.
        against: whether its verdict is against a candidate.
    """

    stable: int | None = None
    candidates: frozenset[int] = frozenset()
    rollout: str = ""
    tolerance: float | None = None
    against: bool = False

    def of(self, version: int) -> str:
        """What that version is: `stable`, `candidate` or `other`."""
        if version in self.candidates:
            return "candidate"
        return "stable" if version == self.stable else "other"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """All that is known of an incident.

    Attributes:
        incident: what was found.
        statuses: how each version of the model is watched now.
        settings: of the model.
        roles: who is who.
        now_s: seconds since 1970.
    """

    incident: Incident
    statuses: Sequence[Status]
    settings: WatchSettings
    roles: Roles = field(default_factory=Roles)
    now_s: float = 0.0

    @property
    def drifting(self) -> frozenset[int]:
        """Versions of the incident that drift and are sampled still."""
        concerned = {one.version for one in self.incident.raised.values()}
        return frozenset(one.version for one in self.statuses if one.version in concerned and self._drifts(one))

    @property
    def last_s(self) -> float:
        """When the newest row of its versions came, seconds since 1970; 0 where none did."""
        concerned = {one.version for one in self.incident.raised.values()}
        return max((one.last_s or 0.0 for one in self.statuses if one.version in concerned), default=0.0)

    @property
    def live(self) -> tuple[Raised, ...]:
        """The alarms that count: of versions that drift still; of all where none does."""
        drifting = self.drifting
        every = tuple(self.incident.raised.values())
        return tuple(one for one in every if one.version in drifting) or every

    @property
    def settled(self) -> bool:
        """Whether every version was looked at since, or it was waited long enough."""
        waited_s = self.now_s - self.incident.changed_s
        if waited_s >= self.settings.settle_s:
            return True
        return waited_s >= _CLOSINGS * self.settings.window.seconds and all(map(self._is_seen, self._sampled()))

    def evidence(self) -> Evidence:
        """What attribution goes by."""
        return Evidence(
            schema=bool(self._moved(Of.SCHEMA)),
            inputs=self._inputs(),
            outputs=self._blame(Of.OUTPUTS),
            labels=self._blame(Of.LABELS),
            arms=self._arms(),
            against=self.roles.against,
        )

    def step(self, *, held: bool) -> Step | None:
        """What comes next; None where that is nothing.

        Args:
            held: whether an operator has said that nothing is to be told or done about the model.
        """
        incident, drifting = self.incident, bool(self.drifting)
        if incident.closed_s is None:
            if not self.settled:
                return None
            held = held or incident.is_held(self.now_s)
            if found := judged(incident, attribute(self.evidence()), self.settings.act, held=held):
                return found
        return aged(incident, self.now_s, self.settings.cool_down_s, drifting=drifting, last_s=self.last_s)

    def _drifts(self, status: Status) -> bool:
        """An episode ends with its version's windows: of one that gets no requests any more nobody can say that."""
        last_s = status.last_s
        return status.is_drifting and last_s is not None and self.now_s - last_s < self.settings.cool_down_s

    def _sampled(self) -> Iterable[Status]:
        """Versions that have a baseline, and had requests just before."""
        begun_s = self.incident.changed_s - self.settings.settle_s
        return (one for one in self.statuses if one.baseline and one.last_s is not None and one.last_s >= begun_s)

    def _is_seen(self, status: Status) -> bool:
        before = self.incident.windows.get(status.version, 0)
        return status.windows < before or status.windows >= before + _CLOSINGS  # fewer: it was begun anew

    def _moved(self, of: Of) -> frozenset[int]:
        return frozenset(one.version for one in self.live if one.of is of)

    def _known(self, version: int, of: Of) -> Known:
        """Of that version, what is worst."""
        if version in self._moved(of):
            return Known.MOVED
        status = next((one for one in self.statuses if one.version == version), None)
        if status is None or (of is not Of.LABELS and not self._is_seen(status)):
            return Known.UNSEEN
        layers = (one for one in status.layers if one.layer in _LAYERS[of])
        heard = (one for one in layers if of is not Of.LABELS or self._is_heard(one))
        return max(map(_of_layer, heard), default=Known.UNSEEN)

    def _is_heard(self, labels: LayerStatus) -> bool:
        """Whether some came since the first alarm of labels began: older ones say nothing of what came then."""
        begun_s = min((one.since_s for one in self.live if one.of is Of.LABELS), default=-math.inf)
        return labels.heard_s is not None and labels.heard_s > begun_s

    def _blame(self, of: Of) -> Blame:
        moved = self._moved(of)
        if not moved:
            return Blame.NOWHERE
        if moved - self.roles.candidates:
            return Blame.OTHERS
        stable = self.roles.stable
        calm = stable is not None and self._known(stable, of) is Known.CALM
        return Blame.CANDIDATE if calm else Blame.DOUBT

    def _inputs(self) -> Inputs:
        moved = self._moved(Of.INPUTS)
        if not moved:
            return self._calm()
        if all(one.segment is not None for one in self.live if one.of is Of.INPUTS):
            return Inputs.SEGMENT
        others = {one.version for one in self.statuses} - moved
        calm = {one for one in others if self._known(one, Of.INPUTS) is Known.CALM}
        if moved <= self.roles.candidates and self.roles.stable in calm:
            return Inputs.CANDIDATE
        if calm:
            return Inputs.PART
        return Inputs.DOUBT if moved <= self.roles.candidates else Inputs.ALL

    def _calm(self) -> Inputs:
        """Where no inputs moved: whether those of stable, and of whoever else did, are calm."""
        wanted = {one.version for one in self.live} | ({self.roles.stable} - {None})
        known = {self._known(one, Of.INPUTS) for one in wanted if one is not None}
        if Known.RISING in known:
            return Inputs.RISING
        return Inputs.CALM if known == {Known.CALM} else Inputs.UNSEEN

    def _arms(self) -> Arms:
        found = [one.variation for one in self.live if one.of is Of.ARMS]
        if not found:
            return Arms.ALIKE
        if self.roles.tolerance is None:
            return Arms.UNDECLARED
        return Arms.WITHIN if max(found) <= self.roles.tolerance else Arms.BEYOND


def windows_of(model: str, statuses: Iterable[Status]) -> Mapping[int, int]:
    """How many windows of each of the model's versions were heard."""
    return {one.version: one.windows for one in statuses if one.model == model}


def _of_layer(layer: LayerStatus) -> Known:
    if layer.waiting:
        return Known.UNSEEN
    return Known.RISING if layer.log_sum >= layer.log_alarm / 2 else Known.CALM
