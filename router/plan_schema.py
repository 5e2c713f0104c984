"""What a plan may say, as a JSON Schema: of what a file holds and of what a store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from router.agreement import COMPARISON_SCHEMA
from router.match import LONGEST_TEXT, MOST_CONDITIONS, MOST_VALUES, How, Place
from router.plan import MOST_STAGES, End, Incident, Kind, Stalled
from router.policy import LARGEST_BUDGET, LARGEST_VERSION, LONGEST_SALT, MOST_RULES, WHOLE
from router.stage import LONGEST_S, MOST_REQUESTS, Does, Needs
from router.verdicts.terms_form import TERMS_SCHEMA

OLDEST: Final = 1
JUDGED: Final = 2
NEWEST: Final = 3
"""The forms of plan that there are.

2 added by what a rollout is judged, and what becomes of it in an incident; 3 how the answers to copies are compared.
"""


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
        "noise_ppm": {"$ref": "#/$defs/ppm"},
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
                "form": {"enum": [OLDEST, JUDGED, NEWEST]},
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
                "on_incident": _one_of(Incident),
                "terms": {"$ref": "#/$defs/terms"},
                "comparison": {"$ref": "#/$defs/comparison"},
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
            "terms": dict(TERMS_SCHEMA),
            "comparison": dict(COMPARISON_SCHEMA),
        },
    }
)
"""What a plan may say, for editors and for `router.plan_form.plan_from`, which checks by it."""
