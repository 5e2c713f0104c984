"""What operators ask of a rollout, and what becomes of it; a refusal is a sentence.

Every command says who asks. It may name the revision that the asker saw, and is refused where the rollout has moved
since. Freezes bind operators too, as far as something would grow; what takes traffic back is never held up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from router.advance import (
    Ahead,
    ahead,
    contenders,
    decided,
    entered,
    gated,
    name_of,
    nameless,
    refuse_closed,
)
from router.errors import PolicyError, RolloutError
from router.freeze import frozen_by
from router.phases import Event, Phase, moved
from router.plan import End, given, grows
from router.policy import format_share
from router.rollout import Approval, Rollout, Seen, Step, cut_words, fact, policy_of
from router.stage import Does


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What every command says: who asks, why, and which revision was seen (None: whatever it is)."""

    who: str
    why: str = ""
    revision: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.who, str) or not self.who:
            raise RolloutError("a command says who asks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Command):
    """Leave traffic as it is, and stop the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Command):
    """Go on where the pause found it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve(Command):
    """Let it into the stage that it waits for; the record says which, and fits one revision only."""

    approval: Approval


@dataclass(frozen=True, slots=True, kw_only=True)
class SetShares(Command):
    """Give these arms these shares (parts per million); arms that are not named keep theirs."""

    shares: Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote(Command):
    """Go on without waiting for time or evidence: to the next stage, or `to_end`, past all that only run or bake.

    `version` names the winner of a plan that has none yet.
    """

    to_end: bool = False
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack(Command):
    """Go back to what was before; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry(Command):
    """Begin again. What was rolled back is begun again only where somebody insists (`again`)."""

    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Command):
    """Break glass: back to what was before, whatever else is going on."""


def ask(rollout: Rollout, command: Command, seen: Seen) -> Step:
    """What becomes of the rollout.

    Raises:
        RolloutError: it cannot be done, or not now; the sentence says why.
    """
    if command.revision is not None and command.revision != rollout.revision:
        raise RolloutError(
            f"the rollout has moved on: it is at revision {rollout.revision} ({rollout.place}), "
            f"and this was asked of revision {command.revision}"
        )
    return _HANDLERS[type(command)](rollout, command, seen)


def _pause(rollout: Rollout, command: Pause, seen: Seen) -> Step:
    why = command.why or f"by {command.who}"
    return _told(rollout, rollout.with_pause(Event.PAUSE, seen.now_s, why), command, seen, Event.PAUSE)


def _resume(rollout: Rollout, command: Resume, seen: Seen) -> Step:
    return _told(rollout, rollout.with_resumption(seen.now_s), command, seen, "resume")


def _approve(rollout: Rollout, command: Approve, seen: Seen) -> Step:
    approval = command.approval
    if rollout.phase is not Phase.WAITING or rollout.target is None:
        raise RolloutError(f"there is nothing to approve: the rollout is {rollout.place}")
    if approval.who != command.who:
        raise RolloutError(f"{command.who} cannot hand in an approval of {approval.who}")
    if approval[1:] != (rollout.id, rollout.revision, rollout.target):
        raise RolloutError(
            f"this approval is for stage {approval.stage} of rollout {approval.rollout} at revision "
            f"{approval.revision}; what waits is stage {rollout.target} of {rollout.id} at revision {rollout.revision}"
        )
    if nameless(rollout):
        raise RolloutError(f"say which version wins, by promoting it: {_listed(rollout)}")
    to = Ahead(rollout.target, rollout.chosen)
    refuse_closed(rollout, to, seen)
    why = command.why or f"approved by {command.who}"
    step = entered(rollout, to, seen, who=command.who, why=why)
    return step._replace(rollout=step.rollout.with_approval(approval))


def _set(rollout: Rollout, command: SetShares, seen: Seen) -> Step:
    moved(rollout.phase, Event.SET)
    if rollout.entered is None or rollout.entered.does is not Does.RUN:
        raise RolloutError(f"there are no shares to set: the rollout is {rollout.place}")
    if unknown := sorted(command.shares.keys() - rollout.plan.places.keys()):
        raise RolloutError(f"version {unknown[0]} is no arm of this rollout: {_listed(rollout)}")
    present = rollout.entered.shares if rollout.by_hand is None else rollout.by_hand
    after = rollout.with_shares({**present, **command.shares}, seen.now_s, carries=seen.carries)
    try:
        policy = policy_of(after)
    except PolicyError as error:
        raise RolloutError(f"these shares cannot be: {error}") from error
    before = seen.runs or policy_of(rollout)
    if down := sorted(given(policy) - given(before) - given(rollout.base) - seen.ready):
        raise RolloutError(f"version {down[0]} is not up")
    freeze = frozen_by(rollout.plan.freezes, seen.now_s)
    held = (() if freeze is None else (f"no share grows during the freeze '{freeze.name}'",)) + seen.closed
    if held and grows(before, policy, rollout.base.stable):
        raise RolloutError("; ".join(held))
    said = [f"version {version} gets {format_share(share)}" for version, share in command.shares.items()]
    cut = [f"{one} for now" for one in cut_words(after)]
    return _told(rollout, after, command, seen, f"{Event.SET}: {', '.join([*said, *cut])}")


def _promote(rollout: Rollout, command: Promote, seen: Seen) -> Step:
    if rollout.over or rollout.entered is None:
        raise RolloutError(f"there is nothing to promote: the rollout is {rollout.place}")
    named = _named(rollout, command.version)
    last = rollout.end - 1
    watches = rollout.plan.stages[last].does is Does.WATCH and rollout.stage < last
    final = last if watches else rollout.end
    jumps = command.to_end or (command.version is not None and rollout.plan.end is End.WINNER)
    target = final if jumps else ahead(rollout, seen).target
    if target >= final and nameless(named):
        raise RolloutError(f"say which version wins: {_listed(rollout)}")
    to = decided(named, target, seen)
    gates = gated(named, to.target)
    if any(gate < to.target for gate in gates):
        raise RolloutError(f"{name_of(rollout, gates[0])} needs an approval of its own: go there first")
    if not gates:
        refuse_closed(rollout, to, seen)
        return entered(rollout, to, seen, who=command.who, why=command.why or f"promoted by {command.who}")
    if rollout.phase is Phase.WAITING and rollout.target == to.target:
        raise RolloutError(f"{name_of(rollout, to.target)} waits for an approval: approve it")
    after = rollout.with_asking(to.target, seen.now_s, chosen=to.chosen)
    return _told(rollout, after, command, seen, Event.ASK)


def _named(rollout: Rollout, version: int | None) -> Rollout:
    """The rollout with the version that the operator names as the one to be promoted, if any."""
    if version is None:
        return rollout
    plan = rollout.plan
    possible = contenders(rollout) if plan.end is End.WINNER else (plan.candidate,) if plan.end is End.PROMOTE else ()
    if version not in possible:
        raise RolloutError(f"version {version} cannot be promoted here: {_listed(rollout)}")
    if rollout.chosen not in {None, version}:
        raise RolloutError(f"version {rollout.chosen} is chosen already")
    return rollout.with_choice(version)


def _roll_back(rollout: Rollout, command: RollBack, seen: Seen) -> Step:
    if not command.why:
        raise RolloutError("say why: a rollback without a reason helps nobody who reads the ledger")
    return _told(rollout, rollout.with_end(Event.ROLL_BACK, command.why), command, seen, Event.ROLL_BACK)


def _retry(rollout: Rollout, command: Retry, seen: Seen) -> Step:
    moved(rollout.phase, Event.RETRY)
    if rollout.phase is Phase.ROLLED_BACK and not command.again:
        raise RolloutError(f"it was rolled back ({rollout.cause}): insist (`--again`), if it is to be begun again")
    return _told(rollout, rollout.with_attempt(seen.now_s), command, seen, Event.RETRY)


def _stop(rollout: Rollout, command: Stop, seen: Seen) -> Step:
    why = f"stopped by {command.who}{': ' + command.why if command.why else ''}"
    return _told(rollout, rollout.with_end(Event.STOP, why), command, seen, Event.STOP)


def _told(before: Rollout, after: Rollout, command: Command, seen: Seen, what: str) -> Step:
    why = command.why or f"asked by {command.who}"
    return Step(after, (fact(before, after, seen, who=command.who, what=what, why=why),))


def _listed(rollout: Rollout) -> str:
    versions = ", ".join(map(str, contenders(rollout)))
    return f"there are {versions} (stable first)"


_HANDLERS: Final[Mapping[type[Command], Callable[[Rollout, Any, Seen], Step]]] = MappingProxyType(
    {
        Pause: _pause,
        Resume: _resume,
        Approve: _approve,
        SetShares: _set,
        Promote: _promote,
        RollBack: _roll_back,
        Retry: _retry,
        Stop: _stop,
    }
)
