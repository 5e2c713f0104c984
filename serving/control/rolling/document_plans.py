"""The plan that a document asks for: strategies by name with what people say of them, or a whole plan. Pure.

Several strategies are put together in the order shadow, blue-green, canary, A/B test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from router.agreement import comparison_from
from router.codec import rule_from_dict
from router.errors import PlanError
from router.match import How, Match, Place
from router.plan import End, Plan
from router.plan_form import plan_as_dict, plan_from, seconds_of
from router.policy import WHOLE, Shadow, parse_share
from router.stage import Needs
from router.strategies import CanaryStep, Decide, ab_test, blue_green, canary, put_together, shadow, with_verdict
from router.verdicts.guardrails import USUAL_WITH_COPIES, decided_by
from router.verdicts.rewards import Better
from router.verdicts.terms_form import terms_from
from serving.control.rolling.document_schema import END

STRATEGIES: Final = ("shadow", "blue_green", "canary", "ab_test")
"""In the order in which they are put together."""

HOLD: Final = "10m"
"""How long a step of a canary and a look take, where nothing else is said."""
FEWEST: Final = 100
"""Of a canary's steps, where neither requests nor needs are said: so many show a rate of a few in a hundred."""

_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "salt": "salt", "freezes": "freezes", "deadline": "deadline_s", "on_deadline": "on_deadline",
        "on_incident": "on_incident", "judged_by": "terms", "compare": "comparison",
    }
)  # fmt: skip
"""What holds all the way: as a document says it, and as a plan does."""


def plan_of(said: Mapping[str, Any]) -> Plan:
    """The plan that a document asks for.

    Args:
        said: the document, which has the shape that its schema says.

    Raises:
        RouterError: it asks for none.
    """
    named = [name for name in STRATEGIES if name in said]
    if ("plan" in said) is bool(named):
        have = "both" if named else "neither"
        raise PlanError(f"there is {have}: give a plan, or strategies ({', '.join(STRATEGIES)})")
    if "plan" in said:
        if clash := [name for name in ("candidate", *_SETTINGS) if name in said]:
            raise PlanError(f"{', '.join(clash)} beside a plan: the plan says that itself")
        return _judgeable(_written(said["plan"]))
    plans = [_MADE_BY[name](said[name], said.get("candidate")) for name in named]
    candidates = {plan.candidate for plan in plans if plan.end is not End.RESTORE}
    if any(plan.end is not End.RESTORE for plan in plans):  # a shadow before something else may be of any version
        plans = [replace(one, candidate=None) if one.candidate not in candidates else one for one in plans]
    plan = plans[0] if len(plans) == 1 else put_together(*plans)
    return _judgeable(_decided(_with_settings(plan, said), said.get("ab_test", {})))


def _with_settings(plan: Plan, said: Mapping[str, Any]) -> Plan:
    """The plan with what holds all the way, read as a plan says it."""
    if "compare" in said:
        if not any(stage.shadows for stage in plan.stages):
            raise PlanError("compare has no copies whose answers could be compared: ask for a shadow as well")
        comparison_from(said["compare"], "compare")  # refuses what is wrong in it under the name that it has here
    if "judged_by" in said:
        terms_from(said["judged_by"], "judged_by")  # refuses what is wrong in it under the name that it has here
    settings = {key: said[name] for name, key in _SETTINGS.items() if name in said}
    if "terms" in settings and "guardrails" not in settings["terms"] and any(stage.shadows for stage in plan.stages):
        usual = [{"watches": one.watches.value} for one in USUAL_WITH_COPIES.guardrails]
        settings["terms"] = {**settings["terms"], "guardrails": usual}
    return plan_from({**plan_as_dict(plan), **settings})


def _decided(plan: Plan, asked: Mapping[str, Any]) -> Plan:
    """The plan, decided by the metric that its A/B test names, where it names one."""
    by = asked.get("decide_by")
    if by is None:
        return plan
    if Decide(asked.get("decide", Decide.BEST)) is Decide.HAND:
        raise PlanError("ab_test.decide_by names a metric, and ab_test.decide somebody who decides: leave one out")
    return replace(plan, terms=decided_by(plan.judged_by, by["metric"], Better(by.get("direction", Better.HIGHER))))


def _written(said: Mapping[str, Any]) -> Plan:
    """A whole plan; where a stage does not say what it needs, what is usual."""
    plan = plan_from({**said, "stages": [{"needs": Needs.MINIMA.value, **stage} for stage in said["stages"]]})
    usual = plan.decisive is not None and "needs" not in said["stages"][plan.decisive]
    return with_verdict(plan) if usual else plan


def _judgeable(plan: Plan) -> Plan:
    """The plan, if whoever waits for a verdict in it can get one.

    Raises:
        PlanError: a stage needs one, and up to there no version had traffic beside stable's, or the plan sets a policy
            by hand.
    """
    split, by_hand = False, any(stage.policy is not None for stage in plan.stages)
    for nth, stage in enumerate(plan.stages):
        split = split or any(stage.shares.values())
        if stage.needs is Needs.VERDICT and not split:
            raise PlanError(
                f"stages[{nth}] needs a '{Needs.VERDICT}', and up to there no version has a share that could be "
                f"compared with stable's: write '{Needs.MINIMA}' for its time and requests"
            )
        if stage.needs is Needs.VERDICT and by_hand:
            raise PlanError(
                f"stages[{nth}] needs a '{Needs.VERDICT}', and a plan that sets a policy by hand is not judged: write "
                f"'{Needs.MINIMA}' for its time and requests"
            )
    return plan


def _shadow(said: Mapping[str, Any], candidate: int | None) -> Plan:
    version = said.get("version", candidate)
    if version is None:
        raise PlanError("shadow.version is missing: say which version gets copies")
    copies = Shadow(
        version,
        _share(said.get("sample", WHOLE)),
        max_per_s=said.get("max_per_s"),
        max_in_flight=said.get("max_in_flight"),
        noise_ppm=_share(said.get("noise", 0)),
    )
    return shadow(copies, duration_s=seconds_of(said.get("for", "1h")), min_requests=said.get("min_requests", 0))


def _canary(said: Mapping[str, Any], candidate: int | None) -> Plan:
    steps = [_share(step) for step in said["steps"]]
    asked = [one for one in said.get("approve", ()) if one != END]
    approve = {_share(one) for one in asked}
    if strays := sorted(approve - set(steps)):
        raise PlanError(f"canary.approve names {strays[0]} ppm, which is none of the steps")
    needs = Needs(said["needs"]) if "needs" in said else None
    hold_s, least = seconds_of(said.get("hold", HOLD)), said.get("min_requests", FEWEST if needs is None else 0)
    return canary(
        _needed(candidate, "canary"),
        [CanaryStep(step, hold_s, least, step in approve) for step in steps],
        watch_s=_seconds(said.get("watch")),
        approve_end=END in said.get("approve", ()),
        needs=needs,
    )


def _ab_test(said: Mapping[str, Any], _candidate: int | None) -> Plan:
    return ab_test(
        {int(version): _share(share) for version, share in said["arms"].items()},
        duration_s=_seconds(said.get("for")),
        sample_size=said.get("sample_size", 0),
        decide=Decide(said.get("decide", Decide.BEST)),
        undecided=End(said.get("undecided", End.RESTORE)),
        watch_s=_seconds(said.get("watch")),
    )


def _blue_green(said: Mapping[str, Any], candidate: int | None) -> Plan:
    version = _needed(candidate, "blue_green")
    return blue_green(
        version,
        preview=_conditions(said.get("preview", ()), version),
        bake_s=seconds_of(said.get("bake", HOLD)),
        approval=said.get("approval", True),
        keep_warm_s=seconds_of(said.get("keep_warm", "1h")),
    )


def _conditions(said: Sequence[Mapping[str, Any]], version: int) -> Sequence[Match]:
    if not said:
        return ()
    when = [{"how": How.EQUALS.value, "place": Place.ANY.value, **one} for one in said]
    return rule_from_dict({"version": version, "when": when}).when


_MADE_BY: Final[Mapping[str, Callable[[Mapping[str, Any], int | None], Plan]]] = MappingProxyType(
    {"shadow": _shadow, "blue_green": _blue_green, "canary": _canary, "ab_test": _ab_test}
)


def _needed(candidate: int | None, strategy: str) -> int:
    if candidate is None:
        raise PlanError(f"candidate is missing: a {strategy} has one")
    return candidate


def _share(said: int | str) -> int:
    """Parts per million; what has no unit is 0, which the schema has made sure of."""
    return parse_share(said) if isinstance(said, str) else said


def _seconds(said: int | str | None) -> int:
    return 0 if said is None else seconds_of(said)
