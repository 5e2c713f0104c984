"""Plans as plain values: what a file holds, what a store keeps, and the JSON Schema of both.

Times may be written as whole seconds or like `10m`, shares as parts per million or like `12.5%`; what is written here
is always the first. Whatever may be left out has the default of `router.plan`. A document that is no plan is refused
with a sentence for every mistake in its shape, or else for every mistake in what it means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, cast

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
from router.match import LONGEST_TEXT, MOST_CONDITIONS, MOST_VALUES, How, Place
from router.plan import LONGEST_S, MOST_REQUESTS, MOST_STAGES, Does, End, Kind, Needs, Plan, Stage, Stalled
from router.policy import (
    LARGEST_BUDGET,
    LARGEST_VERSION,
    LONGEST_SALT,
    MOST_RULES,
    WHOLE,
    Rule,
    Shadow,
    format_share,
    parse_share,
)
from router.schema import mistakes

FORM: Final = 1
"""The form of plan that this code writes and reads."""

_UNITS: Final = MappingProxyType({"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800})
_DURATION: Final = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _one_of(kind: type[StrEnum], description: str | None = None) -> dict[str, Any]:
    said = {"description": description} if description else {}
    return {"enum": [one.value for one in kind], **said}


def _whole(least: int, most: int, *, or_none: bool = False) -> dict[str, Any]:
    return {"type": ["integer", "null"] if or_none else "integer", "minimum": least, "maximum": most}


def _text(longest: int, shortest: int = 0) -> dict[str, Any]:
    return {"type": "string", "minLength": shortest, "maxLength": longest}


_VERSION: Final = _whole(1, LARGEST_VERSION)
_SECONDS: Final = {
    "description": f"whole seconds from 0 to {LONGEST_S:,}, or a time like '90s', '10m' or '1h30m'",
    "anyOf": [_whole(0, LONGEST_S), {"type": "string", "pattern": r"^(\d{1,9}[smhdw])+$"}],
}
SHARE_WITH_UNIT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "description": "a share with its unit: write '10%' or '100000ppm', since a bare number could mean either",
        "anyOf": [{"const": 0}, {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?\s*(%|[pP][pP][mM])|0+(\.0+)?)\s*$"}],
    }
)
"""What people write: nothing is guessed, so nothing but 0 goes without its unit."""
_SHARE: Final = {
    "description": f"parts per million from 0 to {WHOLE:,}, or a share like '12.5%'",
    "anyOf": [_whole(0, WHOLE), {"type": "string", "pattern": r"^\s*\d+(\.\d+)?\s*(%|[pP][pP][mM])?\s*$"}],
}
_CONDITION: Final = _object(
    ["name", "values"],
    {
        "name": _text(64, 1),
        "values": {"type": "array", "items": _text(LONGEST_TEXT), "minItems": 1, "maxItems": MOST_VALUES},
        "how": _one_of(How),
        "place": _one_of(Place),
    },
)
_WHEN: Final = {"type": "array", "items": {"$ref": "#/$defs/condition"}, "maxItems": MOST_CONDITIONS}
_SHADOW: Final = _object(
    ["version"],
    {
        "version": _VERSION,
        "sample_ppm": {"$ref": "#/$defs/ppm"},
        "salt": _text(LONGEST_SALT),
        "when": _WHEN,
        "max_per_s": _whole(1, LARGEST_BUDGET),
        "max_in_flight": _whole(1, LARGEST_BUDGET),
    },
)
_STAGE: Final = _object(
    ["name"],
    {
        "name": _text(64, 1),
        "does": _one_of(Does),
        "shares": {
            "type": "object",
            "description": 'shares by version, like {"2": "5%"}',
            "propertyNames": {"pattern": "^[1-9][0-9]{0,9}$", "description": "the number of a version"},
            "additionalProperties": {"$ref": "#/$defs/share"},
        },
        "shadows": {"type": "array", "items": {"$ref": "#/$defs/shadow"}, "maxItems": 16},
        "rules": {
            "type": "array",
            "items": _object(["version", "when"], {"version": _VERSION, "when": {**_WHEN, "minItems": 1}}),
            "maxItems": MOST_RULES,
        },
        "min_s": {"$ref": "#/$defs/seconds"},
        "min_requests": _whole(0, MOST_REQUESTS),
        "needs": _one_of(Needs),
        "approval": {"type": "boolean"},
        "flip": {"type": "boolean"},
        "policy": {"type": "object", "description": "a whole policy, as the API shows it"},
    },
)
_FREEZE: Final = _object(
    ["name", "begins", "ends"],
    {
        "name": _text(64, 1),
        "begins": {**_text(64), "description": "a moment like 'fri 16:00' or '2026-12-20T00:00:00+01:00'"},
        "ends": {**_text(64), "description": "a moment like 'mon 08:00' or '2027-01-02T00:00:00+01:00'"},
        "utc": {**_text(6), "description": "the distance from UTC of a weekly freeze, like '+01:00'"},
    },
)

PLAN_SCHEMA: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A rollout plan",
        **_object(
            ["form", "end", "stages"],
            {
                "form": {"const": FORM},
                "kind": _one_of(Kind),
                "end": _one_of(End),
                "candidate": _whole(1, LARGEST_VERSION, or_none=True),
                "stages": {"type": "array", "items": {"$ref": "#/$defs/stage"}, "minItems": 1, "maxItems": MOST_STAGES},
                "salt": _text(LONGEST_SALT),
                "approve_end": {"type": "boolean"},
                "winner_by_hand": {"type": "boolean"},
                "undecided": {"enum": [End.RESTORE.value, End.KEEP.value]},
                "deadline_s": {"description": "null for none, or a time", "anyOf": [{"type": "null"}, _SECONDS]},
                "on_deadline": _one_of(Stalled),
                "max_age_s": {"$ref": "#/$defs/seconds"},
                "freezes": {"type": "array", "items": {"$ref": "#/$defs/freeze"}, "maxItems": 64},
            },
        ),
        "$defs": {
            "seconds": _SECONDS,
            "share": _SHARE,
            "ppm": _SHARE,
            "condition": _CONDITION,
            "shadow": _SHADOW,
            "stage": _STAGE,
            "freeze": _FREEZE,
        },
    }
)
"""What a plan may say, for editors and for `plan_from`, which checks by it."""


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as plain values, everything said."""
    return {
        "form": FORM,
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
    }


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
    _refuse(wrong)
    kinds: dict[str, type[StrEnum]] = {"kind": Kind, "end": End, "undecided": End, "on_deadline": Stalled}
    named: dict[str, Any] = {name: kind(said[name]) for name, kind in kinds.items() if name in said}
    rest = {name: said[name] for name in ("candidate", "salt", "approve_end", "winner_by_hand") if name in said}
    return Plan(**{"kind": Kind.CUSTOM, **named, **rest, **times, "stages": tuple(stages), "freezes": tuple(freezes)})


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
    return shadow_from_dict({"salt": "shadow", **said, "sample_ppm": sample, "when": when})


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
