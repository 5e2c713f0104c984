"""What a rollout does by itself when it is shown the time and the evidence.

In this order: it goes back where the evidence says so; it is paused where both arms fail alike; it calls somebody where
the evidence asks for that; it enters its first stage once its versions are up; it goes on where nothing keeps it; it
gives up where its deadline has passed. Silence is never a reason for any of these: without fresh evidence of the
present leg nothing is promoted, nothing goes back, and a deadline only pauses.

`obstacles` says what keeps it from going on, and is what people are shown as 'next step in'.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from router.errors import RolloutError
from router.freeze import frozen_by
from router.phases import MOVES, STANDING, Event, Phase
from router.plan import End, Incident, Stalled, given, grows
from router.policy import format_share
from router.rollout import BY_ITSELF, Automation, Evidence, Rollout, Says, Seen, Step, cut_words, fact, policy_of
from router.stage import Does, Needs, Stage

ALERT = "alert"
"""What the ledger calls it where somebody is called."""

_ACTS = frozenset({Automation.APPROVE, Automation.ALONE})


class Ahead(NamedTuple):
    """Where a rollout goes next: a stage, or one past the last for the end, and the version that is promoted."""

    target: int
    chosen: int | None


def tick(rollout: Rollout, seen: Seen) -> Step:
    """The next state, given the time and the evidence; the same one where there is no reason to move."""
    if rollout.over:
        return Step(rollout)
    waits = tuple(obstacles(rollout, seen))
    moved = (
        _gone_back(rollout, seen)
        or _halted(rollout, seen)
        or _alerted(rollout, seen)
        or _raised(rollout, seen)
        or _gone_on(rollout, seen, waits)
        or _given_up(rollout, seen, waits)
    )
    return moved or Step(rollout, waits=waits)


def obstacles(rollout: Rollout, seen: Seen) -> Iterator[str]:
    """What keeps the rollout from going on by itself, a sentence each; nothing where it may."""
    if rollout.over:
        return
    if rollout.phase is Phase.PAUSED:
        yield f"it is paused{': ' + rollout.cause if rollout.cause else ''}"
        return
    if rollout.phase is Phase.WAITING:
        if nameless(rollout):
            yield "somebody has to name the version that wins, by promoting it"
            return
        yield f"somebody has to approve {name_of(rollout, ahead(rollout, seen).target)}"
        return
    stage, evidence = rollout.entered, current(rollout, seen)
    if stage is not None:
        # A split that is kept is cut down again on its end, or has all that is carried by then: it need not wait here.
        yield from cut_words(rollout) if rollout.phase is Phase.RUNNING else ()
        yield from _unpassed(rollout, stage, seen, evidence)
    yield from closed(rollout, ahead(rollout, seen), seen)


def closed(rollout: Rollout, to: Ahead, seen: Seen) -> Iterator[str]:
    """What keeps anybody, operators too, from this step now: versions that are not up, freezes, `seen.closed`."""
    after = rollout.with_stage(to.target, seen.now_s, chosen=to.chosen)
    policy = policy_of(after)
    # An arm of share 0 that is left over from before may be gone: only what had traffic need not be up.
    had = given(rollout.base)
    wanted = (set(policy.versions) - set(rollout.base.versions)) | given(policy)
    if rollout.entered is None:
        wanted = set(rollout.plan.versions)
    if missing := sorted(wanted - had - seen.ready):
        yield f"version {missing[0]} is not up"
    growing = grows(policy_of(rollout), policy, rollout.base.stable)
    freeze = frozen_by(rollout.plan.freezes, seen.now_s)
    if freeze is not None and growing:
        yield f"no share grows during the freeze '{freeze.name}'"
    yield from seen.closed


def current(rollout: Rollout, seen: Seen) -> Evidence | None:
    """The evidence, if it is of this leg and fresh."""
    evidence = seen.evidence
    if evidence is None or evidence.leg != rollout.leg or abs(seen.now_s - evidence.at_s) > rollout.plan.max_age_s:
        return None
    return evidence


def ahead(rollout: Rollout, seen: Seen) -> Ahead:
    """The next step: what an approval is asked for, or the next stage, or the end.

    A stage that gives less than was set by hand, though it was to give more than the present one, is passed over.
    """
    if rollout.target is not None:
        return Ahead(rollout.target, rollout.chosen)
    target = next(
        (nth for nth in range(rollout.stage + 1, rollout.end) if not _outdone(rollout, rollout.plan.stages[nth])),
        rollout.end,
    )
    return decided(rollout, target, seen)


def decided(rollout: Rollout, target: int, seen: Seen) -> Ahead:
    """The version that reaching this target promotes; a watch over nothing is passed over."""
    plan = rollout.plan
    if target < rollout.end and plan.stages[target].does is not Does.WATCH:
        return Ahead(target, None)
    if plan.end is not End.WINNER:
        return Ahead(target, plan.candidate if plan.end is End.PROMOTE else None)
    if _is_watch(rollout) or nameless(rollout):
        return Ahead(target, rollout.chosen)
    evidence = current(rollout, seen)
    found = evidence.winner if evidence is not None and evidence.winner in contenders(rollout) else None
    chosen = found if rollout.chosen is None else rollout.chosen
    nothing = chosen == rollout.base.stable or (chosen is None and plan.undecided is End.RESTORE)
    return Ahead(rollout.end if nothing else target, chosen)


def contenders(rollout: Rollout) -> tuple[int, ...]:
    """The versions that can win: stable and the arms."""
    return (rollout.base.stable, *rollout.plan.places)


def gated(rollout: Rollout, target: int) -> tuple[int, ...]:
    """The stages up to this target (the end among them) that the plan lets nobody enter without an approval."""
    gates = [nth for nth in range(rollout.stage + 1, min(target + 1, rollout.end)) if rollout.plan.stages[nth].approval]
    watches = target < rollout.end and rollout.plan.stages[target].does is Does.WATCH
    asks = (rollout.plan.approve_end and target == rollout.end) or (
        nameless(rollout) and (watches or target == rollout.end)
    )
    return (*gates, target) if asks and target not in gates else tuple(gates)


def nameless(rollout: Rollout) -> bool:
    """Whether an operator has yet to name the winner."""
    plan = rollout.plan
    return plan.end is End.WINNER and plan.winner_by_hand and rollout.chosen is None and not _is_watch(rollout)


def name_of(rollout: Rollout, target: int) -> str:
    """'stage '5 %'' or 'the end'."""
    return "the end" if target == rollout.end else f"stage '{rollout.plan.stages[target].name}'"


def _is_watch(rollout: Rollout) -> bool:
    return rollout.entered is not None and rollout.entered.does is Does.WATCH


def _gone_back(rollout: Rollout, seen: Seen) -> Step | None:
    """Back, where the evidence says so. Late evidence of an earlier leg of this attempt counts: harm is harm."""
    evidence = seen.evidence
    if evidence is None or evidence.says is not Says.ROLL_BACK or rollout.entered is None:
        return None
    if not rollout.first_leg <= evidence.leg <= rollout.leg:
        return None
    why = evidence.because or "the evidence speaks for going back"
    if rollout.automation not in _ACTS:
        return _advised(rollout, seen, "going back", why)
    after = rollout.with_end(Event.BREACH, why)
    return Step(after, (fact(rollout, after, seen, who=BY_ITSELF, what=Event.BREACH, why=why),))


def _halted(rollout: Rollout, seen: Seen) -> Step | None:
    """Paused, where both arms fail alike; once for each leg, so that whoever resumes it is not overruled."""
    evidence = current(rollout, seen)
    if evidence is None or not evidence.incident or rollout.plan.on_incident is not Incident.PAUSE:
        return None
    if rollout.halted_on == rollout.leg or (rollout.phase, Event.INCIDENT) not in MOVES:
        return None
    why = evidence.because or "both arms fail alike"
    if rollout.automation not in _ACTS:
        return _advised(rollout, seen, "a pause", why)
    after = rollout.with_pause(Event.INCIDENT, seen.now_s, why)
    return Step(after, (fact(rollout, after, seen, who=BY_ITSELF, what=Event.INCIDENT, why=why),))


def _alerted(rollout: Rollout, seen: Seen) -> Step | None:
    """Somebody is called, where the evidence asks for that and it does not go back; once for each leg."""
    evidence = current(rollout, seen)
    if evidence is None or not evidence.alert or rollout.alerted_on == rollout.leg or rollout.phase in STANDING:
        return None
    after = rollout.with_alert()
    why = evidence.because or "the evidence asks for somebody to look"
    return Step(after, (fact(rollout, after, seen, who=BY_ITSELF, what=ALERT, why=why),))


def _gone_on(rollout: Rollout, seen: Seen, waits: tuple[str, ...]) -> Step | None:
    if waits:
        return None
    to = ahead(rollout, seen)
    why = _passed(rollout, seen)
    first = rollout.entered is None
    if not first and rollout.automation not in _ACTS:
        return _advised(rollout, seen, name_of(rollout, to.target), why)
    if gated(rollout, to.target) or (not first and rollout.automation is Automation.APPROVE):
        after = rollout.with_asking(to.target, seen.now_s, chosen=to.chosen)
        why = f"{why}; {name_of(rollout, to.target)} needs an approval"
        return Step(after, (fact(rollout, after, seen, who=BY_ITSELF, what=Event.ASK, why=why),))
    return entered(rollout, to, seen, who=BY_ITSELF, why=why)


def _raised(rollout: Rollout, seen: Seen) -> Step | None:
    """More of the stage's own shares, where versions that carried less than those carry more by now.

    A stage that was cut down is not passed by itself: it has not shown what it is about. By less than a tenth nothing
    is raised, for each time the stage begins anew; and nothing is that is not up, whatever it carried when it was.
    """
    if seen.carries is None or rollout.phase is not Phase.RUNNING or rollout.automation not in _ACTS:
        return None
    before = policy_of(rollout).shares()
    cut = [one for one in rollout.carried if one in before]  # no others of the model have anything to gain
    down = {one: before[one] for one in cut if one not in seen.ready}
    after = rollout.with_shares(rollout.by_hand, seen.now_s, carries={**seen.carries, **down})
    gets, whole = policy_of(after).shares(), policy_of(rollout.uncut).shares()
    enough = [one for one in cut if gets[one] == whole[one] or gets[one] * 10 >= before[one] * 11]
    more = [one for one in enough if gets[one] > before[one]]
    if not more or seen.closed or frozen_by(rollout.plan.freezes, seen.now_s) is not None:
        return None
    said = ", ".join(f"version {one} gets {format_share(gets[one])}" for one in more)
    why = "more is carried by now"
    return Step(after, (fact(rollout, after, seen, who=BY_ITSELF, what=f"{Event.SET}: {said}", why=why),))


def entered(rollout: Rollout, to: Ahead, seen: Seen, *, who: str, why: str) -> Step:
    """The step that enters this target."""
    after = rollout.with_stage(to.target, seen.now_s, chosen=to.chosen, carries=seen.carries)
    why = "; ".join([why, *cut_words(after)])
    what = Event.FINISH if to.target == rollout.end else f"enter {name_of(rollout, to.target)}"
    return Step(after, (fact(rollout, after, seen, who=who, what=what, why=why),))


def _given_up(rollout: Rollout, seen: Seen, waits: tuple[str, ...]) -> Step | None:
    """Where the deadline has passed: paused, or failed if the plan says so and the evidence is not silent."""
    plan = rollout.plan
    if plan.deadline_s is None or rollout.phase in STANDING:
        return None
    shortest_s = 0 if rollout.entered is None else rollout.entered.min_s
    if seen.now_s - rollout.progress_s < shortest_s + plan.deadline_s:
        return None
    if frozen_by(plan.freezes, seen.now_s) is not None:
        return None
    why = f"no progress within {plan.deadline_s} s: {'; '.join(waits)}"
    if rollout.automation not in _ACTS and rollout.entered is not None:
        return _advised(rollout, seen, "a look", why)
    silent = rollout.entered is not None and current(rollout, seen) is None
    if plan.on_deadline is Stalled.PAUSE or silent:
        after = rollout.with_pause(Event.LATE, seen.now_s, why)
        return Step(after, (fact(rollout, after, seen, who=BY_ITSELF, what=Event.LATE, why=why),))
    after = rollout.with_end(Event.FAIL, why)
    return Step(after, (fact(rollout, after, seen, who=BY_ITSELF, what=Event.FAIL, why=why),))


def _advised(rollout: Rollout, seen: Seen, what: str, why: str) -> Step:
    """Said once, in place of being done."""
    if rollout.advised == what:
        return Step(rollout, waits=(f"an operator has to act on: {what}",))
    after = rollout.with_advice(what)
    verb = "recommends" if rollout.automation is Automation.RECOMMEND else "would have done"
    return Step(after, (fact(rollout, after, seen, who=BY_ITSELF, what=f"{verb}: {what}", why=why),))


def _unpassed(rollout: Rollout, stage: Stage, seen: Seen, evidence: Evidence | None) -> Iterator[str]:
    """What the stage still needs."""
    shows = stage.does is Does.WATCH or stage.versions
    waits_for_nothing = stage.needs is Needs.MINIMA and not stage.min_s and not stage.min_requests
    if shows and not waits_for_nothing:
        if evidence is None:
            yield _silence(rollout, seen)
        elif evidence.stand_still:
            yield f"the evidence asks to stand still: {evidence.because}"
        elif evidence.says is Says.ROLL_BACK:
            yield "the evidence speaks for going back"
    if stage.needs is Needs.EITHER and evidence is not None and evidence.says is Says.PROMOTE:
        return
    left = stage.min_s - rollout.spent_s(seen.now_s)
    if left > 0:
        yield f"{left:.0f} s of its shortest time are left"
    if evidence is not None:
        yield from _short(rollout, stage, evidence)
        if stage.needs is Needs.VERDICT and evidence.says is Says.NOT_YET:
            yield "the evidence is not enough yet"


def _short(rollout: Rollout, stage: Stage, evidence: Evidence) -> Iterator[str]:
    watched = () if rollout.chosen is None else (rollout.chosen,)
    shares = stage.shares if rollout.by_hand is None else rollout.by_hand
    shown = [version for version in stage.versions if shares.get(version, 1)]
    for version in watched if stage.does is Does.WATCH else shown:
        count = evidence.requests.get(version, 0)
        if count < stage.min_requests:
            yield f"version {version} has had {count:,} of {stage.min_requests:,} requests"


def _silence(rollout: Rollout, seen: Seen) -> str:
    if seen.evidence is None or seen.evidence.leg != rollout.leg:
        return "there is no evidence of this leg"
    return f"the newest evidence is {abs(seen.now_s - seen.evidence.at_s):.0f} s old"


def _passed(rollout: Rollout, seen: Seen) -> str:
    if rollout.entered is None:
        return "every version of the plan is up"
    evidence = seen.evidence
    shown = evidence is not None and evidence.says is Says.PROMOTE
    reason = evidence.because if evidence is not None and shown and evidence.because else "its conditions are met"
    return f"stage '{rollout.entered.name}' is passed: {reason}"


def _outdone(rollout: Rollout, stage: Stage) -> bool:
    """Whether shares set by hand are beyond this stage already."""
    by_hand, present = rollout.by_hand, rollout.entered
    if by_hand is None or present is None or stage.does is not Does.RUN or present.does is not Does.RUN:
        return False
    versions = by_hand.keys() | stage.shares.keys() | present.shares.keys()
    rows = [(stage.shares.get(one, 0), by_hand.get(one, 0), present.shares.get(one, 0)) for one in versions]
    return all(own <= hand and own >= now for own, hand, now in rows) and any(own < hand for own, hand, _ in rows)


def refuse_closed(rollout: Rollout, to: Ahead, seen: Seen) -> None:
    """Refuses a step that nobody may take now.

    Raises:
        RolloutError: a version is not up, or a freeze holds.
    """
    if found := "; ".join(closed(rollout, to, seen)):
        raise RolloutError(f"{name_of(rollout, to.target)} cannot be entered now: {found}")
