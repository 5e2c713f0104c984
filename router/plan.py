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

from router.agreement import Comparison
from router.errors import PlanError, PolicyError
from router.freeze import Dated, Freeze, Weekly
from router.observed import Observed
from router.places import places_of
from router.policy import WHOLE, Arm, Policy, Role, Shadow, check_salt, check_version, format_share
from router.stage import LONGEST_S, Does, Stage, are, refuse, wrong_whole
from router.verdicts.guardrails import USUAL, USUAL_WITH_COPIES, Terms

MOST_STAGES = 100
MOST_ARMS = 6
_NO_BOUND: Mapping[int, int] = MappingProxyType({})


class Kind(StrEnum):
    """What people call the plan; nothing is decided by it."""

    SHADOW = "shadow"
    CANARY = "canary"
    AB_TEST = "ab_test"
    BLUE_GREEN = "blue_green"
    MANUAL = "manual"
    CUSTOM = "custom"


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


class Incident(StrEnum):
    """What becomes of a rollout while candidate and stable fail alike: nobody's fault, and no time to grow."""

    PAUSE = "pause"
    """It is paused, and goes on when somebody has looked."""
    HOLD = "hold"
    """It stands still, and goes on by itself when the incident is over."""


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
        on_incident: what becomes of it while both versions fail alike.
        max_age_s: evidence older than this is no evidence.
        terms: by what candidates are judged; None is by what is usual.
        freezes: windows during which no share grows.
        comparison: how the answers to copies are held against those that clients got; None is as the policy from before
            has it.
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
    on_incident: Incident = Incident.PAUSE
    max_age_s: int = 60
    terms: Terms | None = None
    freezes: tuple[Freeze, ...] = ()
    comparison: Comparison | None = None
    fixed: Mapping[int, int] = field(default_factory=dict)
    places: Mapping[int, int] = field(init=False, repr=False, compare=False)
    """The first bucket of each arm, by version."""

    def __post_init__(self) -> None:
        refuse(_wrong_in_plan(self))
        object.__setattr__(self, "fixed", MappingProxyType(dict(self.fixed)))
        places = places_of([stage.shares for stage in self.stages], self.fixed)
        if places is None:
            raise PlanError(
                "the arms have no places that they could keep through all stages, so units would change hands between "
                "them: let fewer of them be large in turn"
            )
        object.__setattr__(self, "places", MappingProxyType(places))

    @property
    def judged_by(self) -> Terms:
        """Its terms, or those that are usual."""
        if self.terms is not None:
            return self.terms
        copies = any(shadow.sample_ppm for stage in self.stages for shadow in stage.shadows)
        return USUAL_WITH_COPIES if copies else USUAL

    @property
    def decisive(self) -> int | None:
        """The last stage in which the candidate and stable have traffic side by side; None where nothing is promoted.

        There a verdict can be had: after it there is nobody left to compare the candidate with, and before it the
        candidate has fewer requests.
        """
        if self.end is not End.PROMOTE:
            return None
        beside = [nth for nth, one in enumerate(self.stages) if 0 < sum(one.shares.values()) < WHOLE]
        return max((nth for nth in beside if self.stages[nth].shares.get(self.candidate or 0)), default=None)

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
    refuse(wrong_on(plan, base))
    ends = stage == len(plan.stages)
    if ends or plan.stages[stage].does is Does.WATCH:
        return _ended(plan, stage, base, chosen, shares_of(plan, stage, shares, most), warm=not ends)
    running = _running(plan, plan.stages[stage], base, shares_of(plan, stage, shares, most))
    observed = observed_by(plan.judged_by)
    by_hand = plan.stages[stage].policy is not None
    return running if observed is None or by_hand else replace(running, observes=observed)


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


def observed_by(terms: Terms) -> Observed | None:
    """The output that has to be observed for them; None where they compare no predictions."""
    return next((Observed(one.output, one.kind) for one in terms.guardrails if one.output), None)


def _running(plan: Plan, stage: Stage, base: Policy, shares: Mapping[int, int]) -> Policy:
    if stage.policy is not None:
        return stage.policy
    own = tuple(one for shadow in stage.shadows for one in shadow.with_noise(base.stable))
    shadows = _beside(base.shadows, own)
    compared = plan.comparison if stage.shadows and plan.comparison is not None else base.comparison
    rules = (*stage.rules, *base.rules)
    kept = replace(base, salt=plan.salt or base.salt, rules=rules, shadows=shadows, comparison=compared)
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
    kinds: dict[str, type | UnionType] = {"kind": Kind, "end": End, "on_deadline": Stalled, "on_incident": Incident}
    kinds |= {"approve_end": bool, "winner_by_hand": bool, "terms": Terms | None, "comparison": Comparison | None}
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
        yield from wrong_whole("deadline_s", plan.deadline_s, 1, LONGEST_S)
    yield from wrong_whole("max_age_s", plan.max_age_s, 1, LONGEST_S)
    if not are(plan.freezes, Weekly | Dated):
        yield "freezes are a tuple of windows"


def _listed(versions: Iterable[int]) -> str:
    return ", ".join(map(str, versions)) or "none"
