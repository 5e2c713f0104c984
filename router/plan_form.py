"""Plans as plain values: what a file holds, and what a store keeps; its shape is `router.plan_schema`.

Times may be written as whole seconds or like `10m`, shares as parts per million or like `12.5%`; what is written here
is always the first. Whatever may be left out has the default of `router.plan`. A document that is no plan is refused
with a sentence for every mistake in its shape, or else for every mistake in what it means.

What was added to plans is written only where it is used, and the plan then names the form that has it: an older reader
refuses such a plan by its first key, and goes on reading all others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, cast

from router.agreement import comparison_as_dict, comparison_from
from router.codec import (
    policy_as_dict,
    policy_from_dict,
    rule_as_dict,
    rule_from_dict,
    shadow_as_dict,
    shadow_from_dict,
)
from router.errors import PlanError, RouterError
from router.freeze import DAYS, Dated, Freeze, Weekly
from router.match import How, Place
from router.plan import End, Incident, Kind, Plan, Stalled
from router.plan_schema import JUDGED, NEWEST, OLDEST, PLAN_SCHEMA
from router.policy import WHOLE, Rule, Shadow, format_share, parse_share
from router.schema import mistakes
from router.stage import Does, Needs, Stage
from router.verdicts.terms_form import terms_as_dict, terms_from

_UNITS: Final = MappingProxyType({"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800})
_DURATION: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, everything said but for what was added later and is not used."""
    late = _added(plan)
    return {
        "form": NEWEST if "comparison" in late else JUDGED if late else OLDEST,
        "kind": plan.kind.value,
        "end": plan.end.value,
        "candidate": plan.candidate,
        "stages": [_stage_as_dict(stage) for stage in plan.stages],
        "salt": plan.salt,
        "approve_end": plan.approve_end,
        "winner_by_hand": plan.winner_by_hand,
        "undecided": plan.undecided.value,
        "deadline_s": plan.deadline_s,
        "on_deadline": plan.on_deadline.value,
        "max_age_s": plan.max_age_s,
        "freezes": [asdict(freeze) for freeze in plan.freezes],
        **late,
    }


def _added(plan: Plan) -> dict[str, Any]:
    """What later forms added, where this plan uses it."""
    said: dict[str, Any] = {} if plan.terms is None else {"terms": terms_as_dict(plan.terms)}
    if plan.on_incident is not Incident.PAUSE:
        said["on_incident"] = plan.on_incident.value
    return said if plan.comparison is None else {**said, "comparison": comparison_as_dict(plan.comparison)}


def plan_as_document(plan: Plan) -> dict[str, Any]:
    """The plan as people are shown it, and may hand it in again: shares have their unit."""
    said = plan_as_dict(plan)
    for stage in said["stages"]:
        stage["shares"] = {version: format_share(share).replace(" ", "") for version, share in stage["shares"].items()}
    return said


def plan_from(document: object) -> Plan:
    """The plan in plain values.

    Raises:
        PlanError: no plan; names every mistake, each with its place.
    """
    _refuse(list(mistakes(PLAN_SCHEMA, document)))
    said = cast("Mapping[str, Any]", document)  # the schema has made sure
    wrong: list[str] = []
    stages = [_built(wrong, f"stages[{n}]", _stage_from, one) for n, one in enumerate(said["stages"])]
    freezes = [_built(wrong, f"freezes[{n}]", _freeze_from, one) for n, one in enumerate(said.get("freezes", ()))]
    times = {
        name: _built(wrong, name, seconds_of, said[name])
        for name in ("deadline_s", "max_age_s")
        if said.get(name) is not None
    }
    terms = _built(wrong, "terms", terms_from, said["terms"]) if "terms" in said else None
    compared = _built(wrong, "comparison", comparison_from, said["comparison"]) if "comparison" in said else None
    _refuse(wrong)
    kinds: dict[str, type[StrEnum]] = {
        "kind": Kind, "end": End, "undecided": End, "on_deadline": Stalled, "on_incident": Incident
    }  # fmt: skip
    named: dict[str, Any] = {name: kind(said[name]) for name, kind in kinds.items() if name in said}
    rest = {name: said[name] for name in ("candidate", "salt", "approve_end", "winner_by_hand") if name in said}
    whole = {"stages": tuple(stages), "freezes": tuple(freezes), "terms": terms, "comparison": compared}
    return Plan(**{"kind": Kind.CUSTOM, **named, **rest, **times, **whole})


def seconds_of(value: int | str) -> int:
    """Whole seconds from what people write: 600, '10m', '1h30m'.

    Raises:
        PlanError: no time.
    """
    if isinstance(value, int):
        return value
    found = _DURATION.findall(value)
    if not found or "".join(number + unit for number, unit in found) != value:
        raise PlanError(f"{value!r} is no time: write it like '90s', '10m' or '1h30m'")
    return sum(int(number) * _UNITS[unit] for number, unit in found)


def _stage_as_dict(stage: Stage) -> dict[str, Any]:
    said = {
        "name": stage.name,
        "does": stage.does.value,
        "shares": {str(version): share for version, share in stage.shares.items()},
        "shadows": [shadow_as_dict(shadow) for shadow in stage.shadows],
        "rules": [rule_as_dict(rule) for rule in stage.rules],
        "min_s": stage.min_s,
        "min_requests": stage.min_requests,
        "needs": stage.needs.value,
        "approval": stage.approval,
        "flip": stage.flip,
    }
    return said if stage.policy is None else {**said, "policy": policy_as_dict(stage.policy)}


def _stage_from(said: Mapping[str, Any]) -> Stage:
    kinds: dict[str, type[StrEnum]] = {"does": Does, "needs": Needs}
    named: dict[str, Any] = {name: kind(said[name]) for name, kind in kinds.items() if name in said}
    plain = {name: said[name] for name in ("name", "min_requests", "approval", "flip") if name in said}
    return Stage(
        **plain,
        **named,
        shares={int(version): _share_of(share) for version, share in said.get("shares", {}).items()},
        shadows=tuple(map(_shadow_from, said.get("shadows", ()))),
        rules=tuple(map(_rule_from, said.get("rules", ()))),
        min_s=seconds_of(said.get("min_s", 0)),
        policy=policy_from_dict(said["policy"]) if "policy" in said else None,
    )


def _shadow_from(said: Mapping[str, Any]) -> Shadow:
    sample = _share_of(said.get("sample_ppm", WHOLE))
    when = [_condition(one) for one in said.get("when", ())]
    noise = _share_of(said.get("noise_ppm", 0))
    return shadow_from_dict({"salt": "shadow", **said, "sample_ppm": sample, "when": when, "noise_ppm": noise})


def _rule_from(said: Mapping[str, Any]) -> Rule:
    return rule_from_dict({**said, "when": [_condition(one) for one in said["when"]]})


def _condition(said: Mapping[str, Any]) -> dict[str, Any]:
    return {"how": How.EQUALS.value, "place": Place.ANY.value, **said}


def _freeze_from(said: Mapping[str, Any]) -> Freeze:
    if "utc" in said or said["begins"][:3] in DAYS:
        return Weekly(**said)
    return Dated(**said)


def _share_of(value: int | str) -> int:
    return value if isinstance(value, int) else parse_share(value)


def _built(wrong: list[str], at: str, build: Any, value: Any) -> Any:  # noqa: ANN401 (one of several builders)
    """What this builds; a refusal goes to the list, with its place."""
    try:
        return build(value)
    except RouterError as error:
        wrong.append(f"{at}: {error}")
        return None


def _refuse(wrong: list[str]) -> None:
    if wrong:
        raise PlanError("; ".join(wrong))
