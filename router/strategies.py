"""The strategies that people know, each a function that returns a plan; `put_together` makes one plan of several.

Whatever holds for the whole rollout (salt, deadline, freezes, age of evidence) is set with `dataclasses.replace` on
what these return.

What a stage needs beside its time and its requests follows from what it is for. A canary has to earn its promotion
where it can be compared best: in the last step that leaves stable a part of the traffic, which needs a verdict. The
steps before it are there to find great harm cheaply, and are passed by time and requests while nothing speaks against
the candidate; after it there is nobody to compare it with. A shadow, a look at a version that chosen people see, and a
policy set by hand compare nothing by lot, so they need no verdict either (docs/decisions/0014).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

from router.errors import PlanError
from router.match import Match
from router.plan import End, Kind, Plan
from router.policy import Policy, Rule, Shadow, format_share
from router.stage import Does, Needs, Stage


class CanaryStep(NamedTuple):
    """One step of a canary.

    Attributes:
        share_ppm: parts per million, from 1.
        min_s: the shortest time, in seconds.
        min_requests: the smallest number of requests that the candidate must have had.
        approval: whether somebody must approve before this step is taken.
    """

    share_ppm: int
    min_s: int = 0
    min_requests: int = 0
    approval: bool = False


class Decide(StrEnum):
    """How an A/B test ends."""

    BEST = "best"
    """When time and samples are complete, with the version that the evidence names, if it names one."""
    FIRST = "first"
    """The same, or earlier, as soon as the evidence names one (it must be of a kind that may be looked at often)."""
    HAND = "hand"
    """When time and samples are complete an operator names the version."""


def shadow(copies: Shadow, *, duration_s: int, min_requests: int = 0, name: str = "shadow") -> Plan:
    """Copies of requests for one version, whose answers nobody gets; at the end everything is as it was."""
    stage = Stage(name, shadows=(copies,), min_s=duration_s, min_requests=min_requests, needs=Needs.MINIMA)
    return Plan(Kind.SHADOW, (stage,), End.RESTORE, candidate=copies.version)


def canary(
    candidate: int,
    steps: Sequence[CanaryStep],
    *,
    watch_s: int = 0,
    approve_end: bool = False,
    needs: Needs | None = None,
) -> Plan:
    """A growing share for one version, which is promoted at the end, and watched for `watch_s` after that.

    Args:
        candidate: the version.
        steps: its shares in turn.
        watch_s: how long the old version stays warm after the promotion, in seconds.
        approve_end: whether somebody must approve the promotion.
        needs: what each step needs beside its time and requests; None for what is usual (`with_verdict`).
    """
    stages = [
        Stage(
            format_share(step.share_ppm), Does.RUN, {candidate: step.share_ppm}, min_s=step.min_s,
            min_requests=step.min_requests, needs=needs or Needs.MINIMA, approval=step.approval,
        )
        for step in steps
    ]  # fmt: skip
    stages += _watch(watch_s, approval=approve_end)
    plan = Plan(Kind.CANARY, tuple(stages), End.PROMOTE, candidate, approve_end=approve_end and not watch_s)
    return with_verdict(plan) if needs is None else plan


def ab_test(
    arms: Mapping[int, int],
    *,
    duration_s: int = 0,
    sample_size: int = 0,
    decide: Decide = Decide.BEST,
    undecided: End = End.RESTORE,
    watch_s: int = 0,
) -> Plan:
    """Versions side by side, beside stable, until one is found best.

    Args:
        arms: parts per million by version.
        duration_s: the shortest time, in seconds.
        sample_size: the smallest number of requests of each arm.
        decide: how it ends.
        undecided: what is left where no version is found best: `restore`, or `keep` for the split.
        watch_s: how long the winner is watched, with the old version warm.

    Raises:
        PlanError: neither a duration nor a sample size, or arms that cannot be.
    """
    if not duration_s and not sample_size:
        raise PlanError("an A/B test has a duration or a sample size: without either it would end at once")
    needs = Needs.EITHER if decide is Decide.FIRST else Needs.MINIMA
    trial = Stage("a/b", Does.RUN, arms, min_s=duration_s, min_requests=sample_size, needs=needs)
    stages = (trial, *_watch(watch_s))
    by_hand = decide is Decide.HAND
    return Plan(Kind.AB_TEST, stages, End.WINNER, winner_by_hand=by_hand, undecided=undecided)


def blue_green(
    candidate: int,
    *,
    preview: Sequence[Match] = (),
    bake_s: int = 0,
    approval: bool = True,
    keep_warm_s: int = 3_600,
) -> Plan:
    """All traffic at once, after a look; the old version stays warm for `keep_warm_s`.

    Args:
        candidate: the version that takes over.
        preview: requests that fulfil these conditions get it before the flip; none for nobody.
        bake_s: the shortest time before the flip, in seconds.
        approval: whether somebody must approve the flip.
        keep_warm_s: how long going back is instant, in seconds, from 1.
    """
    rules = (Rule(candidate, tuple(preview)),) if preview else ()
    bake = Stage("preview", Does.BAKE, rules=rules, min_s=bake_s, needs=Needs.MINIMA)
    warm = Stage("keep warm", Does.WATCH, min_s=keep_warm_s, needs=Needs.MINIMA, approval=approval, flip=True)
    return Plan(Kind.BLUE_GREEN, (bake, warm), End.PROMOTE, candidate)


def manual(policy: Policy) -> Plan:
    """A policy set by hand: in force as soon as its versions are up, and it stays."""
    return Plan(Kind.MANUAL, (Stage("by hand", needs=Needs.MINIMA, policy=policy),), End.KEEP)


def put_together(*plans: Plan) -> Plan:
    """One plan of the stages of several, which ends and is set as the last one is.

    Raises:
        PlanError: stages of one name, two candidates, or a watch before the end.
    """
    if not plans:
        raise PlanError("there are no plans to put together")
    candidates = {plan.candidate for plan in plans if plan.candidate is not None}
    if len(candidates) > 1:
        raise PlanError(f"the plans have different candidates ({', '.join(map(str, sorted(candidates)))})")
    stages = tuple(stage for plan in plans for stage in plan.stages)
    return replace(plans[-1], kind=Kind.CUSTOM, stages=stages)


def with_verdict(plan: Plan) -> Plan:
    """The plan whose decisive stage needs a verdict; as it is where it has none (`Plan.decisive`)."""
    if plan.decisive is None:
        return plan
    stages = list(plan.stages)
    stages[plan.decisive] = replace(stages[plan.decisive], needs=Needs.VERDICT)
    return replace(plan, stages=tuple(stages))


def _watch(watch_s: int, *, approval: bool = False) -> list[Stage]:
    return [Stage("watch", Does.WATCH, min_s=watch_s, needs=Needs.MINIMA, approval=approval)] if watch_s else []
