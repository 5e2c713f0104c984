"""What is known of a rollout's candidates: the case of each, the leg that it was last heard on, and what follows. Pure.

A candidate is compared where it and stable both have a share, and alone where stable has none. Where it gets copies its
answers are held against those that clients got, also where it has no share: then nothing else is judged. Where requests
reach it by rules alone it is none of these: those were not dealt by lot, so nothing is judged by them, and time and
requests alone decide.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from router.errors import RouterError
from router.evidence.judge import Verdict
from router.plan import End, Plan
from router.policy import Policy
from router.rollout import Rollout, policy_of
from router.stage import Stage
from router.verdicts.case import Case
from router.verdicts.case_form import decode_case, encode_case
from router.verdicts.guardrails import OUTCOMES, Terms, Watches
from router.verdicts.pair_blocks import Copied
from router.verdicts.tallies import Moment

FORM: Final = 1
_MALFORMED: Final = (RouterError, ValueError, KeyError, TypeError, AttributeError)


class Beside(StrEnum):
    """What a candidate's requests can be held against."""

    COMPARED = "compared"
    """Stable's, which were dealt by the same lot."""
    ALONE = "alone"
    """Nothing but its own limits: stable has no share."""
    SHADOWED = "shadowed"
    """The answers that clients got: it gets copies only, and its own reach nobody."""


class Tried(NamedTuple):
    """A version that has a share, or gets copies.

    Attributes:
        how: it is judged.
        shares: its own and stable's, parts per million.
        copied: how it gets copies; None where it gets none.
    """

    how: Beside
    shares: tuple[int, int]
    copied: Copied | None = None


def tried_in(rollout: Rollout) -> Mapping[int, Tried]:
    """The versions that this leg judges; none where a stage shows requests by rules or by hand alone."""
    stage = rollout.entered
    if stage is None or rollout.over or any(one.policy is not None for one in rollout.plan.stages):
        return {}
    policy, first = policy_of(rollout), rollout.base.stable
    shares, copied = policy.shares(), _copied(rollout, policy)
    stable = shares.get(first, 0)
    how = Beside.COMPARED if stable else Beside.ALONE
    shared = {one: Tried(how, (of, stable), copied.get(one)) for one, of in shares.items() if of and one != first}
    return {**{one: Tried(Beside.SHADOWED, (0, stable), of) for one, of in copied.items()}, **shared}


def _copied(rollout: Rollout, policy: Policy) -> Mapping[int, Copied]:
    """The versions whose copies are judged: those of the stage itself; of a plan that promotes, its candidate's."""
    stage, plan = rollout.entered, rollout.plan
    own = _shadows(plan, () if stage is None else (stage,))
    twice = {one.salt for one in policy.shadows if one.version == rollout.base.stable and one.sample_ppm}
    return {
        one.version: Copied(one.salt, one.salt in twice)
        for one in policy.shadows
        if one.version in own and one.version != rollout.base.stable
    }


def _shadows(plan: Plan, stages: Iterable[Stage]) -> frozenset[int]:
    named = {one.version for stage in stages for one in stage.shadows if one.sample_ppm}
    return frozenset(named & {plan.candidate} if plan.end is End.PROMOTE else named)


def terms_of(plan: Plan) -> Terms:
    """By what each candidate is judged: several share the chance of error equally."""
    terms, several = plan.judged_by, max(1, len({*plan.places, *_shadows(plan, plan.stages)}))
    return replace(terms, harm=terms.harm / several) if several > 1 else terms


@dataclass(frozen=True, slots=True)
class Onset:
    """When a candidate began to do harm, as far as the evidence shows it.

    Evidence sinks slowly while there is no harm, and rises from when there is: so it began when it was lowest, or with
    the first failure after that.

    Attributes:
        lowest: the log e-value when it was lowest.
        low_s: when that was, seconds by the store's clock; 0 before the first block.
        failed_s: when the first block after that began in which the candidate failed a request; 0 for none.
    """

    lowest: float = 0.0
    low_s: float = 0.0
    failed_s: float = 0.0

    def seen(self, log_e: float, moment: Moment) -> Onset:
        """With one more block."""
        failed = any(one.of(OUTCOMES[Watches.ERRORS]) for one in moment.candidate.values())
        failed = failed or (moment.pairs is not None and moment.pairs.against)
        if not self.low_s or (log_e <= self.lowest and not failed):
            return Onset(min(log_e, 0.0), moment.ended_s, moment.ended_s - 1 if failed else 0.0)
        return replace(self, failed_s=moment.ended_s - 1) if failed and not self.failed_s else self

    @property
    def began_s(self) -> float:
        """When it began; 0 where nothing is known."""
        return self.failed_s or self.low_s


@dataclass(frozen=True, slots=True)
class Arm:
    """One candidate.

    Attributes:
        case: what is known of it.
        tried: how it is judged on this leg.
        leg: on which it was last tried.
        since_s: when that leg was first seen, by the store's clock.
        requests: of its own, heard of on that leg.
        fresh_s: when the newest block closed that lies wholly within the leg; 0 for none.
        onset: when harm began, if any was done.
    """

    case: Case
    tried: Tried
    leg: int
    since_s: float
    requests: int = 0
    fresh_s: float = 0.0
    onset: Onset = field(default_factory=Onset)

    def on(self, leg: int, tried: Tried, now_s: float) -> Arm:
        """The same on another leg."""
        case = self.case.copied()
        if tried.how is not Beside.SHADOWED:
            case = case.watched() if tried.how is Beside.ALONE else case.ramped(*tried.shares)
        return replace(self, case=case, tried=tried, leg=leg, since_s=now_s, requests=0, fresh_s=0.0)

    def admitted(self, moment: Moment) -> Moment:
        """What may be heard of a block: who was dealt what under the shares before says nothing of these.

        Units beyond the sample that the case remembers would tell it nothing, and thousands of them in every second
        would be recorded.
        """
        if self.tried.how is Beside.SHADOWED:  # of requests that it did not get, none is compared
            return Moment(moment.ended_s, draw=moment.draw, pairs=moment.pairs)
        if not self._holds(moment):
            return replace(moment, units=None, people=None)
        most = self.case.people.threshold
        if moment.people is None or moment.people.threshold <= most:
            return moment
        return replace(moment, people=replace(moment.people, threshold=most))

    def heard(self, moment: Moment) -> Arm:
        """With one more closed block, of a second."""
        within = self._holds(moment)
        shadowed = self.tried.how is Beside.SHADOWED
        case = self.case.heard_copies(moment) if shadowed else self.case.heard(moment)
        had = sum(one.total for one in moment.candidate.values()) + (moment.pairs.ended if moment.pairs else 0)
        more = had if within else 0
        fresh_s = moment.ended_s if within else self.fresh_s
        spoke = moment.candidate or moment.pairs is not None
        onset = self.onset.seen(case.against.log_e, moment) if spoke else self.onset
        return replace(self, case=case, requests=self.requests + more, fresh_s=fresh_s, onset=onset)

    @property
    def newest_s(self) -> float:
        """The newest time that it knows of."""
        return max(self.case.newest_s, self.since_s)

    def _holds(self, moment: Moment) -> bool:
        """Whether the block lies wholly within this leg."""
        return moment.ended_s - 1 >= self.since_s

    def verdict(self, rollout: Rollout, requests: int) -> Verdict:
        """What its case is enough for.

        Args:
            rollout: where it stands, its clock run up to now.
            requests: of the candidate's since this leg began, as the gateways' leases count them.
        """
        how, met = self.tried.how, self._met(rollout, requests)
        return self.case.verdict(minima_met=met, alone=how is Beside.ALONE, only_copies=how is Beside.SHADOWED)

    def _met(self, rollout: Rollout, requests: int) -> bool:
        """Whether the stage has had the requests that it asks for: one at least, for silence is not a yes.

        Its time is looked at by the machine, which also knows stages that a verdict shortens.
        """
        stage = rollout.entered
        return stage is not None and self.requests > 0 and stage.has_had(requests)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a rollout's candidates.

    Attributes:
        first_leg: of the attempt that it is known of; another one begins anew.
        arms: by version, those that were tried so far.
    """

    first_leg: int
    arms: Mapping[int, Arm] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", MappingProxyType(dict(self.arms)))

    def on(self, rollout: Rollout, tried: Mapping[int, Tried], now_s: float) -> Judged:
        """With every candidate of this leg, on this leg; the same value where that is so already."""
        if all(one in self.arms and self.arms[one].leg == rollout.leg for one in tried):
            return self
        arms = dict(self.arms)
        for version, how in tried.items():
            begun = arms.get(version) or Arm(Case(terms_of(rollout.plan)), how, 0, now_s)
            if begun.leg != rollout.leg:
                arms[version] = begun.on(rollout.leg, how, now_s)
        return replace(self, arms=arms)

    def with_arm(self, version: int, arm: Arm) -> Judged:
        """With this one in the place of what was known of that version."""
        return replace(self, arms={**self.arms, version: arm})

    def live(self, rollout: Rollout) -> Mapping[int, Arm]:
        """The candidates of the present leg."""
        return {version: arm for version, arm in self.arms.items() if arm.leg == rollout.leg}

    def encode(self) -> str:
        """As it is kept with the rollout; the terms are the rollout's."""
        return json.dumps({"form": FORM, "first_leg": self.first_leg, "arms": dict(_plain_arms(self.arms))})


def decode_judged(said: str, plan: Plan) -> Judged:
    """What `Judged.encode` wrote.

    Raises:
        ValueError: it is something else, of a later form, or of other terms.
    """
    try:
        plain = json.loads(said, parse_constant=_refuse_constant)
        if plain["form"] != FORM:
            raise ValueError(f"it is written in form {plain['form']!r}, and this release reads form {FORM}")
        terms = terms_of(plan)
        arms = {int(version): _arm_from(one, terms) for version, one in plain["arms"].items()}
        return Judged(int(plain["first_leg"]), arms)
    except _MALFORMED as error:
        raise ValueError(f"this is no case of a rollout: {error}") from error


def _refuse_constant(name: str) -> float:
    """A time that is no number would stop the clock that all rollouts go by."""
    raise ValueError(f"{name} is no number")


def _plain_arms(arms: Mapping[int, Arm]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for version, arm in sorted(arms.items()):
        yield (
            str(version),
            {
                "case": json.loads(encode_case(arm.case)),
                "how": arm.tried.how.value,
                "shares": list(arm.tried.shares),
                "copied": arm.tried.copied,
                "leg": arm.leg,
                "since_s": arm.since_s,
                "requests": arm.requests,
                "fresh_s": arm.fresh_s,
                "onset": [arm.onset.lowest, arm.onset.low_s, arm.onset.failed_s],
            },
        )


def _arm_from(said: Mapping[str, Any], terms: Terms) -> Arm:
    candidate, stable = (int(share) for share in said["shares"])
    lowest, low_s, failed_s = (float(one) for one in said["onset"])
    times = float(said["since_s"]), float(said["fresh_s"])
    if not all(map(math.isfinite, (lowest, low_s, failed_s, *times))):
        raise ValueError("a time is no number")
    return Arm(
        decode_case(json.dumps(said["case"]).encode(), terms),
        Tried(Beside(said["how"]), (candidate, stable), _copied_from(said.get("copied"))),
        int(said["leg"]),
        times[0],
        int(said["requests"]),
        times[1],
        Onset(lowest, low_s, failed_s),
    )


def _copied_from(said: list[Any] | None) -> Copied | None:
    if said is None:
        return None
    salt, lane = said
    return Copied(str(salt), bool(lane))
