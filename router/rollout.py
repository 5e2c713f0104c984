"""A rollout: a plan under way, as one value, and the policy that follows from it.

Nothing here knows the time: whoever holds the clock and the evidence passes both (`Seen`), and gets back a `Step`:
the next state, the policy that is wanted, and what goes into the ledger. What a rollout does by itself is
`router.advance`, what operators ask of it is `router.commands`, and which moves there are at all is `router.phases`.

A *leg* is a stretch of constant traffic. It gets a new number whenever shares change, and evidence names the leg that
it was gathered on, so a verdict that is late can never promote what it did not see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from router.errors import PlanError, RolloutError
from router.phases import OVER, STANDING, Event, Phase, moved
from router.plan import Plan, policy_for, wrong_on
from router.policy import Policy, format_share
from router.salts import salted
from router.seen import Evidence, Fact, Says, Seen
from router.stage import Does, Stage

__all__ = [
    "BY_ITSELF", "MOST_APPROVALS", "NOT_YET_ENTERED", "Approval", "Automation", "Evidence", "Fact", "Rollout", "Says",
    "Seen", "Step", "cut_words", "fact", "policy_of", "start",
]  # fmt: skip

NOT_YET_ENTERED: Final = -1
MOST_APPROVALS: Final = 1_000
_UNCUT: Final[Mapping[int, int]] = MappingProxyType({})
BY_ITSELF: Final = "the rollout"
"""Who did it, where nobody asked for it."""

_EVENT_OF: Final = MappingProxyType({Does.RUN: Event.RUN, Does.BAKE: Event.BAKE, Does.WATCH: Event.WATCH})
_DOES_IN: Final[Mapping[Phase, Does | None]] = MappingProxyType(
    {Phase.WARMING: None, Phase.RUNNING: Does.RUN, Phase.BAKING: Does.BAKE, Phase.WATCHING: Does.WATCH}
)
_RESUMED_BY: Final = MappingProxyType(
    {
        Phase.WARMING: Event.WARM,
        Phase.RUNNING: Event.RUN,
        Phase.BAKING: Event.BAKE,
        Phase.WATCHING: Event.WATCH,
        Phase.WAITING: Event.ASK,
    }
)


class Automation(StrEnum):
    """How much a rollout does by itself, once its first stage is entered (that is what starting it asks for)."""

    OBSERVE = "observe"
    """Nothing; the ledger says what it would have done."""
    RECOMMEND = "recommend"
    """Nothing; the ledger says what it recommends."""
    APPROVE = "approve"
    """It goes on after an approval of each stage, and goes back alone: that never waits for anybody."""
    ALONE = "alone"
    """It goes on and back; it waits for the approvals that the plan asks for."""


class Approval(NamedTuple):
    """Who lets a rollout into one stage. It names the rollout's revision, so it fits once only."""

    who: str
    rollout: str
    revision: int
    stage: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """A plan under way.

    Attributes:
        id: names it, in approvals and for people.
        plan: what is to happen.
        base: the policy from before; the only one that going back can mean.
        since_s: when this leg began, moved on by the time in which its clock stood still.
        progress_s: from when on the deadline is counted.
        automation: how much it does by itself.
        phase: where it stands.
        stage: the stage that gives the traffic; -1 before the first.
        target: the stage that waits for an approval; one past the last is the end.
        resumes: the phase that a pause interrupted.
        stopped_s: when the clock stopped, while it stands still.
        leg: the stretch of constant traffic, counted over all attempts.
        first_leg: of this attempt; evidence from before it says nothing.
        revision: counts the changes of this value, from 1.
        by_hand: shares that an operator set in place of the stage's.
        carried: what these versions carry, parts per million, where that is less than their shares: no more is given.
        chosen: the version that is promoted, once that is decided.
        advised: what was last recommended, so that it is said once.
        approvals: every approval that let it into a stage.
        cause: why it stands where it stands, where that needs a reason.
        halted_on: the leg on which an incident paused it, which is done once for each.
        alerted_on: the leg on which somebody was called, likewise.
    """

    id: str
    plan: Plan
    base: Policy
    since_s: float
    progress_s: float
    automation: Automation = Automation.ALONE
    phase: Phase = Phase.WARMING
    stage: int = NOT_YET_ENTERED
    target: int | None = None
    resumes: Phase | None = None
    stopped_s: float | None = None
    leg: int = 0
    first_leg: int = 1
    revision: int = 1
    by_hand: Mapping[int, int] | None = None
    carried: Mapping[int, int] = field(default_factory=dict)
    chosen: int | None = None
    advised: str = ""
    approvals: tuple[Approval, ...] = ()
    cause: str = ""
    halted_on: int | None = None
    alerted_on: int | None = None

    def __post_init__(self) -> None:
        if self.by_hand is not None:
            object.__setattr__(self, "by_hand", MappingProxyType(dict(self.by_hand)))
        object.__setattr__(self, "carried", MappingProxyType(dict(self.carried)))
        if not isinstance(self.id, str) or not self.id:
            raise RolloutError(f"{self.id!r} is no name of a rollout")
        if wrong := "; ".join(wrong_on(self.plan, self.base)):
            raise PlanError(wrong)
        _check_position(self)

    @property
    def over(self) -> bool:
        """Whether nothing moves it any more, but perhaps a retry."""
        return self.phase in OVER

    @property
    def entered(self) -> Stage | None:
        """The stage that gives the traffic."""
        return None if self.stage == NOT_YET_ENTERED else self.plan.stages[self.stage]

    @property
    def end(self) -> int:
        """The number of the end, as a target: one past the last stage."""
        return len(self.plan.stages)

    @property
    def place(self) -> str:
        """'running, stage '5 %'': where it stands, for people."""
        stage = "" if self.entered is None or self.over else f", stage '{self.entered.name}'"
        return f"{self.phase}{stage}"

    @property
    def uncut(self) -> Rollout:
        """The same, as if every version carried its share."""
        return replace(self, carried=_UNCUT)

    def spent_s(self, now_s: float) -> float:
        """Seconds of this leg, without those in which its clock stood still."""
        return max(0.0, (now_s if self.stopped_s is None else self.stopped_s) - self.since_s)

    def with_stage(
        self, target: int, now_s: float, *, chosen: int | None = None, carries: Mapping[int, int] | None = None
    ) -> Rollout:
        """In this stage (or, one past the last, at the end), its leg begun, no version with more than it carries."""
        does = None if target == self.end else self.plan.stages[target].does
        event = Event.FINISH if does is None else _EVENT_OF[does]
        keeps = does in {None, Does.WATCH}  # what stays is the last split, as it was set by hand or not
        return self._changed(
            event,
            stage=min(target, self.end - 1),
            since_s=now_s,
            progress_s=now_s,
            leg=self.leg + 1,
            by_hand=self.by_hand if keeps else None,
            carried=_cut(self.plan, target, carries),
            chosen=chosen,
        )

    def with_asking(self, target: int, now_s: float, *, chosen: int | None = None) -> Rollout:
        """Waiting for somebody to approve that stage."""
        return self._changed(Event.ASK, target=target, stopped_s=now_s, chosen=chosen)

    def with_choice(self, version: int) -> Rollout:
        """With the version that is to be promoted, as far as that can be said before it is."""
        return replace(self, chosen=version)

    def with_approval(self, approval: Approval) -> Rollout:
        """With the record of who let it in."""
        return replace(self, approvals=(*self.approvals, approval)[-MOST_APPROVALS:])

    def with_pause(self, event: Event, now_s: float, cause: str) -> Rollout:
        """Standing still, its clock as well."""
        stopped = now_s if self.stopped_s is None else self.stopped_s
        halted_on = self.leg if event is Event.INCIDENT else self.halted_on
        return self._changed(
            event, resumes=self.phase, stopped_s=stopped, target=self.target, cause=cause, halted_on=halted_on
        )

    def with_resumption(self, now_s: float) -> Rollout:
        """Going on where the pause found it."""
        if self.resumes is None:
            raise RolloutError(f"a rollout that is {self.phase} cannot be resumed: nothing interrupted it")
        if self.resumes is Phase.WAITING:
            return self._changed(Event.ASK, target=self.target, stopped_s=self.stopped_s)
        stood = 0.0 if self.stopped_s is None else max(0.0, now_s - self.stopped_s)
        return self._changed(_RESUMED_BY[self.resumes], since_s=self.since_s + stood, progress_s=now_s)

    def with_shares(
        self, shares: Mapping[int, int] | None, now_s: float, *, carries: Mapping[int, int] | None = None
    ) -> Rollout:
        """With shares set by hand, on a new leg; what was to be approved has to be earned anew.

        Args:
            shares: of every arm; None for those of the stage, of which more is carried by now.
            now_s: the time.
            carries: as `Seen` has it.
        """
        phase = moved(self.phase, Event.SET)
        paused = phase is Phase.PAUSED
        return self._changed(
            Event.SET,
            by_hand=shares,
            carried=_cut(self.plan, self.stage, carries),
            since_s=now_s,
            progress_s=now_s,
            leg=self.leg + 1,
            stopped_s=now_s if paused else None,
            resumes=Phase.RUNNING if paused else None,
            chosen=None,
        )

    def with_end(self, event: Event, cause: str) -> Rollout:
        """Back where it began: rolled back, stopped or failed."""
        return self._changed(event, leg=self.leg + 1, by_hand=None, carried=_UNCUT, chosen=None, cause=cause)

    def with_attempt(self, now_s: float) -> Rollout:
        """Warming up again, from the first stage; earlier evidence says nothing any more."""
        return self._changed(
            Event.RETRY, stage=NOT_YET_ENTERED, since_s=now_s, progress_s=now_s, first_leg=self.leg + 1
        )

    def with_advice(self, advised: str) -> Rollout:
        """Having said what it recommends."""
        return replace(self, advised=advised, revision=self.revision + 1)

    def with_alert(self) -> Rollout:
        """Having called somebody."""
        return replace(self, alerted_on=self.leg, revision=self.revision + 1)

    def _changed(self, event: Event, **changes: object) -> Rollout:
        fields: dict[str, object] = {**_REST, **changes}
        return replace(self, **fields, phase=moved(self.phase, event), revision=self.revision + 1)  # type: ignore[arg-type]


_REST: Final[Mapping[str, object]] = MappingProxyType(
    {"target": None, "resumes": None, "stopped_s": None, "advised": "", "cause": ""}
)
"""What a move leaves behind unless it says otherwise."""


class Step(NamedTuple):
    """What became of a rollout.

    Attributes:
        rollout: the next state; the same value where nothing moved.
        facts: for the ledger.
        waits: what keeps it from going on by itself, in sentences.
    """

    rollout: Rollout
    facts: tuple[Fact, ...] = ()
    waits: tuple[str, ...] = ()

    @property
    def policy(self) -> Policy:
        """The policy that is wanted now."""
        return policy_of(self.rollout)

    @property
    def flip(self) -> bool:
        """Whether the policy is published everywhere before it is active anywhere."""
        entered = self.rollout.entered
        return bool(self.facts) and entered is not None and entered.flip and self.rollout.phase is Phase.WATCHING


def start(name: str, plan: Plan, base: Policy, now_s: float, automation: Automation = Automation.ALONE) -> Rollout:
    """A rollout of this plan, which begins to warm up; it draws by a salt of its own (`router.salts`).

    Raises:
        PlanError: the plan cannot be carried out on this policy.
        PolicyError: one of its stages would be no policy.
    """
    plan = salted(plan, base, name)
    for stage in range(len(plan.stages) + 1):  # every policy is built once now, so that none can be refused under way
        policy_for(plan, stage, base, chosen=plan.candidate)
    return Rollout(name, plan, base, now_s, now_s, automation)


def policy_of(rollout: Rollout) -> Policy:
    """The policy that follows from the state: there is no second copy of a share that could disagree."""
    if rollout.phase in {Phase.ROLLED_BACK, Phase.FAILED} or rollout.stage == NOT_YET_ENTERED:
        return rollout.base
    stage = rollout.end if rollout.phase is Phase.PROMOTED else rollout.stage
    by_hand, carried = rollout.by_hand, rollout.carried
    return policy_for(rollout.plan, stage, rollout.base, chosen=rollout.chosen, shares=by_hand, most=carried)


def fact(before: Rollout, after: Rollout, seen: Seen, *, who: str, what: str, why: str) -> Fact:
    """The ledger's entry about one move."""
    shares = {f"share_ppm.{version}": float(share) for version, share in policy_of(after).shares().items()}
    spent = {"stage_s": before.spent_s(seen.now_s), "leg": float(before.leg), "revision": float(after.revision)}
    rested: dict[str, float] = {}
    if seen.evidence is not None:
        counts = {f"requests.{version}": float(count) for version, count in seen.evidence.requests.items()}
        age = {"evidence_age_s": seen.now_s - seen.evidence.at_s, "evidence_leg": float(seen.evidence.leg)}
        rested = {**seen.evidence.numbers, **counts, **age}
    return Fact(seen.now_s, who, what, before.place, after.place, why, MappingProxyType({**rested, **spent, **shares}))


def cut_words(rollout: Rollout) -> Iterator[str]:
    """For each version that gets less than its share: 'version 2 gets 30 % of its 50 %: that is what it carries'."""
    if not rollout.carried:
        return
    shares, gets = policy_of(rollout.uncut).shares(), policy_of(rollout).shares()
    for version in sorted(rollout.carried):
        has, share = gets.get(version, 0), shares.get(version, 0)
        if has < share:
            yield f"version {version} gets {format_share(has)} of its {format_share(share)}: that is what it carries"


def _cut(plan: Plan, stage: int, carries: Mapping[int, int] | None) -> Mapping[int, int]:
    """What is carried, for a stage whose shares can be cut down: not for a policy set by hand, which runs as it is."""
    splits = [one for one in plan.stages[: stage + 1] if one.does is not Does.WATCH]
    by_hand = bool(splits) and splits[-1].policy is not None
    return _UNCUT if carries is None or by_hand else carries


def _check_position(rollout: Rollout) -> None:
    if not NOT_YET_ENTERED <= rollout.stage < rollout.end:
        raise RolloutError(f"there is no stage {rollout.stage}: the plan has {rollout.end}, counted from 0")
    waits = Phase.WAITING in {rollout.phase, rollout.resumes}
    target = rollout.end if rollout.target is None else rollout.target
    if (rollout.target is not None) is not waits or not rollout.stage < target <= rollout.end:
        raise RolloutError(f"a rollout that is {rollout.place} does not wait for stage {rollout.target}")
    if (rollout.resumes is not None) is not (rollout.phase is Phase.PAUSED):
        raise RolloutError(f"a rollout that is {rollout.place} has nothing to resume")
    if (rollout.stopped_s is not None) is not (rollout.phase in STANDING):
        raise RolloutError(f"the clock of a rollout that is {rollout.place} is wrong")
    does = None if rollout.entered is None else rollout.entered.does
    wanted = _DOES_IN.get(rollout.phase, does)
    if does is not wanted or (rollout.phase is Phase.PROMOTED and does is None):
        raise RolloutError(f"a rollout cannot be {rollout.place}")
