"""A rollout, walked before it is armed: its own rules on traffic that was described, from the first share to the end.

The machine that walks a real one decides here as well (`router.advance.tick`), on a real case (`Case.heard`); only the
time, the requests and the approvals are made up: every version is up at once, whoever is asked approves at once, and no
freeze holds anything. Blocks are a second long where a stage is short, else ten seconds, and grow with the time since
something changed: an eighth of it, so that what is found is found that much later at most. Long traffic then costs
little more than short.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from numpy.random import Generator

from router.advance import tick
from router.commands import Approve, ask
from router.errors import PlanError
from router.evidence.judge import Verdict
from router.phases import OVER, Phase
from router.plan import Plan
from router.policy import WHOLE, Policy
from router.rollout import Approval, Rollout, Step, policy_of, start
from router.seen import Evidence, Says, Seen
from router.verdicts.case import Case
from router.verdicts.described import Described, Drawn, Shares
from router.verdicts.tallies import Moment

LONGEST_S: Final = 30 * 86_400.0
"""How long a rollout is walked at most, seconds."""

_SHORT_STAGE_S: Final = 120
_SHORT_BLOCK_S: Final = 1.0
_BLOCK_S: Final = 10.0
_ALONE_BLOCK_S: Final = 60.0
_GROWTH: Final = 1 / 8
_WHO: Final = "the simulation"
_NAME: Final = "simulated"


COPIES_LEFT_OUT: Final = (
    "what copies show is left out: no answers are described here that could be compared, so the stages in which a "
    "version gets copies are passed by their time and requests"
)


def leaves_out_copies(plan: Plan) -> bool:
    """Whether the plan has stages in which a version gets copies, of which a simulation knows nothing."""
    return any(shadow.sample_ppm for stage in plan.stages for shadow in stage.shadows)


class Outcome(StrEnum):
    """What became of a simulated rollout."""

    BACK = "went back"
    PROMOTED = "promoted"
    PAUSED = "paused"
    """It stands still until somebody looks: its deadline has passed, or both versions failed."""
    OPEN = "not over"
    """It was still going on when time was up."""


@dataclass(frozen=True, slots=True)
class Run:
    """One simulated rollout. Times are seconds, from when the candidate first had a share.

    Attributes:
        outcome: what became of it.
        at_s: when.
        stage: the name of the stage it was in.
        share: what the candidate had then, from 0 to 1.
        first_s: when the candidate first had a share, seconds after the rollout began.
        requests: first attempts that the candidate had until then.
        failed: of those, how many failed.
        stages_s: each stage that it entered and how long it was there; the last one may not have been left.
        words: why, where it went back, was paused or is open.
    """

    outcome: Outcome
    at_s: float
    stage: str
    share: float
    first_s: float
    requests: int
    failed: int
    stages_s: tuple[tuple[str, float], ...] = ()
    words: str = ""


def begun(plan: Plan) -> Rollout:
    """A rollout of this plan that is about to be walked: on a stable version of its own, without freezes.

    Raises:
        PlanError: several candidates, no share for any, or somebody who names the winner.
    """
    arms = {version for stage in plan.stages for version, share in stage.shares.items() if share}
    if len(arms) != 1:
        raise PlanError(
            "what is simulated is one candidate beside stable: "
            + (f"this plan has {len(arms)}, so take one of them at a time" if arms else "no stage gives it a share")
        )
    if plan.winner_by_hand or any(stage.policy is not None for stage in plan.stages):
        raise PlanError("what somebody decides by hand cannot be simulated: leave the winner to the evidence")
    candidate = next(iter(arms))
    stable = 1 if candidate != 1 else 2
    return start(_NAME, replace(plan, freezes=()), Policy(stable=stable), 0.0)


def walked(rollout: Rollout, described: Described, rng: Generator, *, longest_s: float = LONGEST_S) -> Run:
    """What becomes of a rollout in this traffic.

    Args:
        rollout: as `begun` gives it; it is a value, and good for any number of walks.
        described: the traffic.
        rng: the draws.
        longest_s: when to stop, seconds.
    """
    walk = _Walk(rollout, Drawn(described, rng))
    while walk.outcome is None and walk.now_s < longest_s:
        walk.step(longest_s)
    return walk.run()


def minima_met(rollout: Rollout, requests: int) -> bool:
    """Whether the candidate has had the requests that its stage asks for: one at least, for silence is not a yes.

    The stage's time is looked at by the machine, which also knows stages that a verdict shortens.
    """
    stage = rollout.entered
    return stage is not None and requests > 0 and stage.has_had(requests)


def evidence_of(rollout: Rollout, verdict: Verdict | None, requests: Mapping[int, int], now_s: float) -> Evidence:
    """What the machine is shown of a verdict; of none, requests alone."""
    if verdict is None:
        return Evidence(rollout.leg, now_s, requests=requests)
    return Evidence(
        rollout.leg,
        now_s,
        Says(verdict.decision.value),
        requests,
        stand_still=verdict.freeze,
        incident=verdict.incident,
        alert=verdict.alert,
        because=verdict.words,
        numbers={one.name: one.log_e for one in verdict.numbers},
    )


class _Walk:
    """One rollout under way: everything that changes while it is walked."""

    def __init__(self, rollout: Rollout, drawn: Drawn) -> None:
        self.rollout = rollout
        self.now_s = 0.0
        self._drawn = drawn
        self._up = frozenset({rollout.base.stable, *rollout.plan.versions})
        (self._candidate,) = {version for stage in rollout.plan.stages for version in stage.shares}
        self._case = Case(rollout.plan.judged_by)
        self._leg = 0
        self._requests: dict[int, int] = {}
        self._entered_s: dict[str, float] = {}
        self._first_s: float | None = None
        self._since_s = 0.0
        self._had = self._failed = 0
        self._waits = ""
        self._shares = Shares(0.0, 1.0)
        self._take(tick(rollout, Seen(0.0, self._up)))

    @property
    def outcome(self) -> Outcome | None:
        """What became of it; None while it goes on."""
        if self.rollout.phase in OVER:
            return Outcome.PROMOTED if self.rollout.phase is Phase.PROMOTED else Outcome.BACK
        return Outcome.PAUSED if self.rollout.phase is Phase.PAUSED else None

    def step(self, longest_s: float) -> None:
        """One block of traffic, the verdict on it, and what the machine makes of that."""
        ends_s = min(self._block_ends_s(), longest_s)
        moment = self._drawn.moment(self.now_s, ends_s, self._shares)
        self.now_s = ends_s
        had = {self._candidate: moment.candidate, self.rollout.base.stable: moment.stable}
        for version, arm in had.items():
            self._requests[version] = self._requests.get(version, 0) + sum(one.total for one in arm.values())
        self._had += sum(one.total for one in moment.candidate.values())
        self._failed += sum(one.of(("server_error",)) for one in moment.candidate.values())
        self._copy(ends_s)
        evidence = evidence_of(self.rollout, self._verdict(moment), self._requests, self.now_s)
        self._take(tick(self.rollout, Seen(self.now_s, self._up, evidence)))

    def _verdict(self, moment: Moment) -> Verdict | None:
        """The one on all blocks so far; None before the candidate had its first share."""
        if self._first_s is None:
            return None
        self._case = self._case.heard(moment)
        met = minima_met(self.rollout, self._requests.get(self._candidate, 0))
        return self._case.verdict(minima_met=met, alone=self._case.alone)

    def run(self) -> Run:
        """What became of it."""
        first_s = self.now_s if self._first_s is None else self._first_s
        starts = [*self._entered_s.values(), self.now_s]
        spent = tuple((name, until - at) for (name, at), until in zip(self._entered_s.items(), starts[1:], strict=True))
        outcome = self.outcome or Outcome.OPEN
        stage = next(reversed(self._entered_s), "")
        words = self.rollout.cause if outcome is not Outcome.OPEN else self._waits
        return Run(
            outcome, self.now_s - first_s, stage, self._shares.candidate, first_s, self._had, self._failed, spent, words
        )

    def _block_ends_s(self) -> float:
        stage = self.rollout.entered
        least_s = 0 if stage is None else stage.min_s
        shortest_s = _SHORT_BLOCK_S if least_s < _SHORT_STAGE_S else _BLOCK_S if all(self._shares) else _ALONE_BLOCK_S
        changes = [one for one in self._drawn.described.changes_s if one <= self.now_s]
        calm_s = self.now_s - max([self._since_s, *changes])
        ends_s = self.now_s + max(shortest_s, calm_s * _GROWTH)
        edges = [self._since_s + least_s, *self._drawn.described.changes_s]
        return min([ends_s, *(edge for edge in edges if edge > self.now_s)])

    def _copy(self, ends_s: float) -> None:
        """Copies count as requests of the version that gets them; they are judged by nobody here."""
        stage = self.rollout.entered
        for shadow in () if stage is None else stage.shadows:
            rate = self._drawn.described.rps * shadow.sample_ppm / WHOLE
            per_s = rate if shadow.max_per_s is None else min(rate, shadow.max_per_s)
            copies = int(per_s * (ends_s - self._since_s))
            self._requests[shadow.version] = max(self._requests.get(shadow.version, 0), copies)

    def _take(self, step: Step) -> None:
        """Goes where the machine went, and on through every approval."""
        self._waits = "; ".join(step.waits)
        self.rollout = step.rollout
        if self.rollout.phase is Phase.WAITING:
            seen = Seen(self.now_s, self._up)
            self.rollout = ask(self.rollout, Approve(who=_WHO, approval=_approval(self.rollout)), seen).rollout
        if self.rollout.leg != self._leg and not self.rollout.over:
            self._enter()

    def _enter(self) -> None:
        """A new leg: other shares, its requests counted from nothing, a further copy of each test."""
        self._leg, self._since_s, self._requests = self.rollout.leg, self.now_s, {}
        entered = self.rollout.entered
        self._entered_s[entered.name if entered is not None else ""] = self.now_s
        parts = policy_of(self.rollout).shares()
        candidate, stable = parts.get(self._candidate, 0), parts.get(self.rollout.base.stable, 0)
        self._shares = Shares(candidate / WHOLE, stable / WHOLE)
        if candidate and self._first_s is None:
            self._first_s = self.now_s
        if candidate and stable:
            self._case = self._case.ramped(candidate, stable)
        elif candidate:
            self._case = self._case.watched()


def _approval(rollout: Rollout) -> Approval:
    target = rollout.end if rollout.target is None else rollout.target
    return Approval(_WHO, rollout.id, rollout.revision, target)
