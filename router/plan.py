"""Plans: the stages that a rollout walks through, and the policy that each of them gives.

A plan is data. What it does to traffic is `policy_for`, which knows no strategy by name; when a rollout goes from
one stage to the next is `router.rollout`. Shadow, canary, A/B test and blue-green are functions that return one of
these (`router.strategies`), and stages can be put together freely.

Nobody flips back and forth: an arm's place is fixed when the plan is built, by the largest shares that the plan will
ever give and by where the arms of the policy before it are, so that every arm grows to the right into buckets that no
other arm has at that stage. Where two arms have everything in turn, both may begin at 0; a plan whose arms cannot be
laid out like that is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType, UnionType

from router.errors import PlanError, PolicyError
from router.freeze import Dated, Freeze, Weekly
from router.places import places_of
from router.policy import WHOLE, Arm, Policy, Role, Rule, Shadow, check_salt, check_version, format_share

MOST_STAGES = 100
MOST_ARMS = 6
LONGEST_S = 366 * 86_400
MOST_REQUESTS = 10**12
_LONGEST_NAME = 64
_NO_BOUND: Mapping[int, int] = MappingProxyType({})


class Kind(StrEnum):
    """What people call the plan; nothing is decided by it."""

    SHADOW = "shadow"
    CANARY = "canary"
    AB_TEST = "ab_test"
    BLUE_GREEN = "blue_green"
    MANUAL = "manual"
    CUSTOM = "custom"


class Does(StrEnum):
    """What a stage does to traffic."""

    RUN = "run"
    """The stage's shares, shadows and rules."""
    BAKE = "bake"
    """No share: the version is up, seen only by the stage's rules and shadows."""
    WATCH = "watch"
    """The new version is stable; the old one is kept warm, so that going back is instant."""


class Needs(StrEnum):
    """What a stage needs to be passed, beside fresh evidence that does not speak for going back."""

    VERDICT = "verdict"
    """The minimum time and number of requests, and a verdict for promotion."""
    MINIMA = "minima"
    """The minimum time and number of requests."""
    EITHER = "either"
    """The minimum time and number of requests, or before them a verdict for promotion."""


class End(StrEnum):
    """What is left when all stages are passed."""

    PROMOTE = "promote"
    """The candidate is stable."""
    WINNER = "winner"
    """The version that won is stable."""
    KEEP = "keep"
    """The last split stays."""
    RESTORE = "restore"
    """The policy from before."""


class Stalled(StrEnum):
    """What becomes of a rollout that makes no progress within its deadline. Silence only ever pauses it."""

    PAUSE = "pause"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of constant traffic.

    Attributes:
        name: unique in its plan.
        does: run, bake or watch.
        shares: parts per million by version, stable not among them.
        shadows: versions that get copies during this stage, beside those of the policy from before.
        rules: during this stage these come before the rules of the policy from before.
        min_s: the shortest time, in seconds.
        min_requests: the smallest number of requests that each of its versions must have had.
        needs: what else it needs to be passed.
        approval: whether somebody must approve before it is entered.
        flip: whether its policy is published everywhere before it is active anywhere.
        policy: a whole policy set by hand; a stage that has one says nothing else about traffic.
    """

    name: str
    does: Does = Does.RUN
    shares: Mapping[int, int] = field(default_factory=dict)
    shadows: tuple[Shadow, ...] = ()
    rules: tuple[Rule, ...] = ()
    min_s: int = 0
    min_requests: int = 0
    needs: Needs = Needs.VERDICT
    approval: bool = False
    flip: bool = False
    policy: Policy | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", MappingProxyType(dict(self.shares)))
        _refuse(_wrong_in_stage(self))

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that this stage shows requests to."""
        if self.policy is not None:
            return self.policy.versions
        shared = [version for version, share in self.shares.items() if share]
        copied = [shadow.version for shadow in self.shadows]
        return tuple(dict.fromkeys([*shared, *copied, *(rule.version for rule in self.rules)]))


@dataclass(frozen=True, slots=True)
class Plan:
    """The stages, what is left at the end, and what holds all the way.

    Attributes:
        kind: what people call it.
        stages: in order; one that watches comes last.
        end: what is left.
        candidate: the version that `promote` promotes.
        salt: the rollout's own, mixed into every unit's hash; where it is empty, the one that the model has stays
            (a rollout that starts with an empty one draws its own: `router.salts`).
        approve_end: whether somebody must approve the end.
        winner_by_hand: whether an operator names the winner, rather than the evidence.
        undecided: what is left where there is no winner: `restore` or `keep`.
        deadline_s: the longest time that a stage, or warming up, may take beyond its shortest; None is for ever. Time
            in which the rollout is paused, or waits for an approval, does not count.
        on_deadline: what becomes of it then.
        max_age_s: evidence older than this is no evidence.
        freezes: windows during which no share grows.
        fixed: the first bucket of arms that a rollout took over from an earlier split, by version. Plans as people
            write them have none: it is found when the rollout starts (`router.salts`), and kept with it.
    """

    kind: Kind
    stages: tuple[Stage, ...]
    end: End
    candidate: int | None = None
    salt: str = ""
    approve_end: bool = False
    winner_by_hand: bool = False
    undecided: End = End.RESTORE
    deadline_s: int | None = None
    on_deadline: Stalled = Stalled.PAUSE
    max_age_s: int = 60
    freezes: tuple[Freeze, ...] = ()
    fixed: Mapping[int, int] = field(default_factory=dict)
    places: Mapping[int, int] = field(init=False, repr=False, compare=False)
    """The first bucket of each arm, by version."""

    def __post_init__(self) -> None:
        _refuse(_wrong_in_plan(self))
        object.__setattr__(self, "fixed", MappingProxyType(dict(self.fixed)))
        places = places_of([stage.shares for stage in self.stages], self.fixed)
        if places is None:
            raise PlanError(
                "the arms have no places that they could keep through all stages, so units would change hands between "
                "them: let fewer of them be large in turn"
            )
        object.__setattr__(self, "places", MappingProxyType(places))

    @property
    def versions(self) -> tuple[int, ...]:
        """Every version that the plan needs up."""
        named = [version for stage in self.stages for version in (*stage.shares, *stage.versions)]
        return tuple(dict.fromkeys([*([] if self.candidate is None else [self.candidate]), *named]))


def policy_for(
    plan: Plan,
    stage: int,
    base: Policy,
    *,
    chosen: int | None = None,
    shares: Mapping[int, int] | None = None,
    most: Mapping[int, int] = _NO_BOUND,
) -> Policy:
    """The policy of a stage, or with `stage` one past the last, what is left at the end.

    Args:
        plan: whose stage.
        stage: counted from 0.
        base: the policy from before the rollout: stable, unit, and all that the plan does not speak of.
        chosen: the version that is promoted, once that is decided.
        shares: set by hand for this stage, in place of its own.
        most: what these versions carry; none of them gets more, whatever its share.

    Raises:
        PlanError: the plan cannot be carried out on this policy.
        PolicyError: shares set by hand that the arms have no room for.
    """
    _refuse(wrong_on(plan, base))
    ends = stage == len(plan.stages)
    if ends or plan.stages[stage].does is Does.WATCH:
        return _ended(plan, stage, base, chosen, shares_of(plan, stage, shares, most), warm=not ends)
    return _running(plan, plan.stages[stage], base, shares_of(plan, stage, shares, most))


def shares_of(
    plan: Plan, stage: int, by_hand: Mapping[int, int] | None = None, most: Mapping[int, int] = _NO_BOUND
) -> Mapping[int, int]:
    """The arms' shares at a stage: its own, or those set by hand; where a split is kept or watched, the last ones."""
    given_last = [one.shares for one in plan.stages[: stage + 1] if one.does is not Does.WATCH]
    shares = by_hand if by_hand is not None else given_last[-1] if given_last else {}
    return {version: min(share, most.get(version, share)) for version, share in shares.items()}


def grows(before: Policy, after: Policy, stable: int) -> tuple[int, ...]:
    """The versions, other than `stable`, that get more after than before: a larger share, or a rule of their own."""
    had, gets = before.shares(), after.shares()
    ruled = [rule.version for rule in after.rules if rule not in before.rules]
    larger = [version for version, share in gets.items() if share > had.get(version, 0)]
    return tuple(version for version in dict.fromkeys([*larger, *ruled]) if version != stable)


def given(policy: Policy) -> frozenset[int]:
    """The versions that it gives traffic to: stable, those with a share or a rule, and those that copies go to."""
    shares = [version for version, share in policy.shares().items() if share]
    copied = [shadow.version for shadow in policy.shadows if shadow.sample_ppm]
    return frozenset([policy.stable, *shares, *copied, *(rule.version for rule in policy.rules)])


def wrong_on(plan: Plan, base: Policy) -> Iterator[str]:
    """What keeps the plan from being carried out on this policy."""
    arms = {version for stage in plan.stages for version in stage.shares}
    if base.stable in arms:
        yield f"version {base.stable} is stable and takes what the arms leave: give the arms only"
    if plan.end is End.PROMOTE and plan.candidate == base.stable:
        yield f"version {base.stable} is stable already, and cannot be promoted"
    by_hand = any(stage.policy is not None for stage in plan.stages)
    for arm in () if by_hand else base.arms:
        if arm.share_ppm and arm.version not in arms:
            yield (
                f"version {arm.version} has {format_share(arm.share_ppm)} by an earlier split: end that first, or "
                "name it in the stages"
            )


def _running(plan: Plan, stage: Stage, base: Policy, shares: Mapping[int, int]) -> Policy:
    if stage.policy is not None:
        return stage.policy
    shadows = _beside(base.shadows, stage.shadows)
    kept = replace(base, salt=plan.salt or base.salt, rules=(*stage.rules, *base.rules), shadows=shadows)
    if unknown := sorted(shares.keys() - plan.places.keys()):
        raise PolicyError(f"version {unknown[0]} is no arm of this rollout: it has {_listed(plan.places)}")
    roles = {plan.candidate: Role.CANARY} if plan.end is End.PROMOTE else {}
    return replace(
        kept, arms=tuple(Arm(v, share, plan.places[v], roles.get(v, Role.ARM)) for v, share in shares.items())
    )


def _ended(
    plan: Plan, stage: int, base: Policy, chosen: int | None, shares: Mapping[int, int], *, warm: bool
) -> Policy:
    """What a stage that watches, or the end, makes of traffic."""
    if plan.end is End.KEEP or (plan.end is End.WINNER and chosen is None and plan.undecided is End.KEEP):
        last = max(nth for nth in range(stage) if plan.stages[nth].does is not Does.WATCH)
        return _running(plan, plan.stages[last], base, shares)
    version = plan.candidate if plan.end is End.PROMOTE else chosen
    if version is None or plan.end is End.RESTORE or version == base.stable:
        return base
    kept = tuple(shadow for shadow in base.shadows if shadow.version != version)
    old = (Arm(base.stable, 0),) if warm else ()
    return replace(base, stable=version, arms=old, salt=plan.salt or base.salt, shadows=kept)


def _beside(base: tuple[Shadow, ...], stage: tuple[Shadow, ...]) -> tuple[Shadow, ...]:
    own = {shadow.version for shadow in stage}
    return (*(shadow for shadow in base if shadow.version not in own), *stage)


def _wrong_in_stage(stage: Stage) -> Iterator[str]:
    yield from _wrong_shares(stage.shares)
    yield from (found := list(_wrong_values(stage)))
    if found:
        return
    if stage.does is not Does.RUN and any(stage.shares.values()):
        yield f"stage '{stage.name}' is to {stage.does} and gives shares: only stages that run do"
    if stage.policy is not None and (stage.shares or stage.shadows or stage.rules or stage.does is not Does.RUN):
        yield f"stage '{stage.name}' has a policy set by hand: it runs, without shares, shadows or rules beside that"
    if stage.does is Does.WATCH and (stage.shadows or stage.rules):
        yield f"stage '{stage.name}' is to watch, which has neither shadows nor rules of its own"
    if stage.does is not Does.WATCH and not stage.versions and (stage.min_requests or stage.needs is Needs.VERDICT):
        yield f"stage '{stage.name}' shows nothing to any version, so what it waits for would never come"


def _wrong_values(stage: Stage) -> Iterator[str]:
    if not isinstance(stage.name, str) or not 1 <= len(stage.name) <= _LONGEST_NAME or not stage.name.isprintable():
        yield f"{stage.name!r} is no name of a stage: it has 1 to {_LONGEST_NAME} characters"
    yield from _wrong_whole(f"min_s of stage '{stage.name}'", stage.min_s, 0, LONGEST_S)
    yield from _wrong_whole(f"min_requests of stage '{stage.name}'", stage.min_requests, 0, MOST_REQUESTS)
    for name, kind in {"does": Does, "needs": Needs, "approval": bool, "flip": bool, "policy": Policy | None}.items():
        if not isinstance(getattr(stage, name), kind):
            yield f"{name} of stage '{stage.name}' is {getattr(stage, name)!r}, which is none of those there are"
    if not _are(stage.shadows, Shadow) or not _are(stage.rules, Rule):
        yield f"shadows and rules of stage '{stage.name}' are tuples of shadows and of rules"
    elif len({one.version for one in stage.shadows}) < len(stage.shadows):
        yield f"a version is a shadow of stage '{stage.name}' twice: give each one sample"


def _wrong_shares(shares: Mapping[int, int]) -> Iterator[str]:
    for version, share in shares.items():
        try:
            check_version(version)
        except PolicyError as error:
            yield str(error)
        yield from _wrong_whole(f"the share of version {version}", share, 0, WHOLE)
    numbers = [share for share in shares.values() if isinstance(share, int)]
    if sum(numbers) > WHOLE:
        yield f"the shares sum to {format_share(sum(numbers))}: together they may have at most 100 %"


def _wrong_in_plan(plan: Plan) -> Iterator[str]:
    yield from _wrong_settings(plan)
    if not isinstance(plan.stages, tuple) or not 1 <= len(plan.stages) <= MOST_STAGES:
        yield f"a plan has 1 to {MOST_STAGES} stages"
        return
    names = [stage.name for stage in plan.stages]
    yield from (f"two stages are named '{name}'" for name in dict.fromkeys(names) if names.count(name) > 1)
    if len({version for stage in plan.stages for version in stage.shares}) > MOST_ARMS:
        yield f"a plan has at most {MOST_ARMS} arms"
    yield from _wrong_at_the_end(plan)


def _wrong_at_the_end(plan: Plan) -> Iterator[str]:
    *before, last = plan.stages
    if any(stage.does is Does.WATCH for stage in before):
        yield "only the last stage can watch, for it watches what was promoted"
    if plan.end is End.RESTORE and last.does is Does.WATCH:
        yield "a plan that restores what was before promotes nothing that could be watched"
    if plan.end is End.PROMOTE and plan.candidate is None:
        yield "a plan that promotes names its candidate"
    if plan.end is End.WINNER and not any(share for stage in plan.stages for share in stage.shares.values()):
        yield "a plan that ends with a winner has arms with shares"
    if plan.winner_by_hand and (plan.approve_end or (last.does is Does.WATCH and last.approval)):
        yield "an operator who names the winner approves the end with that: it needs no other approval"
    if plan.end in {End.KEEP, End.WINNER} and not before and last.does is Does.WATCH:
        yield "a plan that only watches has nothing to keep"


def _wrong_settings(plan: Plan) -> Iterator[str]:
    kinds = {"kind": Kind, "end": End, "on_deadline": Stalled, "approve_end": bool, "winner_by_hand": bool}
    for name, kind in kinds.items():
        if not isinstance(getattr(plan, name), kind):
            yield f"{name} is {getattr(plan, name)!r}, which is none of those there are"
    if plan.undecided not in {End.RESTORE, End.KEEP}:
        yield f"undecided is {plan.undecided!r}: it is {End.RESTORE} or {End.KEEP}"
    for check, value in ((check_version, plan.candidate), (check_salt, plan.salt)):
        try:
            if value is not None:
                check(value)
        except PolicyError as error:
            yield str(error)
    if plan.deadline_s is not None:
        yield from _wrong_whole("deadline_s", plan.deadline_s, 1, LONGEST_S)
    yield from _wrong_whole("max_age_s", plan.max_age_s, 1, LONGEST_S)
    if not _are(plan.freezes, Weekly | Dated):
        yield "freezes are a tuple of windows"


def _are(values: object, kind: type | UnionType) -> bool:
    return isinstance(values, tuple) and all(isinstance(one, kind) for one in values)


def _wrong_whole(what: str, value: object, least: int, most: int) -> Iterator[str]:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        yield f"{what} is {value!r}: it is a whole number from {least:,} to {most:,}"


def _refuse(mistakes: Iterable[str]) -> None:
    if found := "; ".join(mistakes):
        raise PlanError(found)


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, versions)) or "none"
