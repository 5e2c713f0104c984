"""What a rollout's document may say, as a JSON Schema: for editors, for `docs/rollout.schema.json`, and for the check.

`python -m serving.control.rolling.document_schema > docs/rollout.schema.json` writes it anew.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from router.plan import End, Incident, Stalled
from router.plan_schema import PLAN_SCHEMA, SHARE_WITH_UNIT
from router.policy import LARGEST_BUDGET, LARGEST_VERSION, LONGEST_SALT
from router.rollout import Automation
from router.stage import MOST_REQUESTS, Needs
from router.strategies import Decide
from router.verdicts.rewards import Better
from serving.control.rolling.outward import LONGEST_URL, MOST_GATES, MOST_HOOKS, Event, GateKind

END: Final = "end"
"""Among the approvals of a canary: before the candidate becomes stable."""

_MOST_STEPS: Final = 50


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _text(longest: int, shortest: int = 0) -> dict[str, Any]:
    return {"type": "string", "minLength": shortest, "maxLength": longest}


def _maybe(schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "anyOf": [{"type": "null"}, schema]}


_VERSION: Final = {"type": "integer", "minimum": 1, "maximum": LARGEST_VERSION}
_COUNT: Final = {"type": "integer", "minimum": 0, "maximum": MOST_REQUESTS}
_BUDGET: Final = _maybe(
    {"type": "integer", "minimum": 1, "maximum": LARGEST_BUDGET}, f"null, or a whole number from 1 to {LARGEST_BUDGET}"
)
_SHADOW: Final = _object(
    {
        "version": _VERSION, "sample": _ref("share"), "for": _ref("seconds"), "max_per_s": _BUDGET,
        "max_in_flight": _BUDGET, "min_requests": _COUNT, "noise": _ref("share"),
    },
)  # fmt: skip
_CANARY: Final = _object(
    {
        "steps": {"type": "array", "items": _ref("share"), "minItems": 1, "maxItems": _MOST_STEPS},
        "hold": _ref("seconds"),
        "min_requests": _COUNT,
        "needs": {"enum": [one.value for one in Needs]},
        "approve": {
            "type": "array",
            "items": {
                "description": f"'{END}', or one of the steps with its unit: write '10%' or '100000ppm'",
                "anyOf": [{"const": END}, _ref("share")],
            },
            "maxItems": _MOST_STEPS,
        },
        "watch": _maybe(_ref("seconds"), "null, or a time like '1d'"),
    },
    "steps",
)
_AB_TEST: Final = _object(
    {
        "arms": {
            "type": "object",
            "description": 'shares by version, like {"2": "50%"}',
            "propertyNames": {"pattern": "^[1-9][0-9]{0,9}$", "description": "the number of a version"},
            "additionalProperties": _ref("share"),
        },
        "for": _ref("seconds"),
        "sample_size": _COUNT,
        "decide": {"enum": [one.value for one in Decide]},
        "undecided": {"enum": [End.RESTORE.value, End.KEEP.value]},
        "decide_by": {
            **_object(
                {"metric": _text(64, 1), "direction": {"enum": [one.value for one in Better]}},
                "metric",
            ),
            "description": "the metric of feedback that decides, and which way it is better (default: higher)",
        },
        "watch": _maybe(_ref("seconds"), "null, or a time like '1d'"),
    },
    "arms",
)
_BLUE_GREEN: Final = _object(
    {
        "preview": {"type": "array", "items": _ref("condition"), "maxItems": 16},
        "bake": _ref("seconds"),
        "approval": {"type": "boolean"},
        "keep_warm": _ref("seconds"),
    }
)
_GATE: Final = _object(
    {
        "type": {"enum": [one.value for one in GateKind]},
        "url": _text(LONGEST_URL, 1),
        "name": _text(64),
        "metadata": {"type": "object", "additionalProperties": _text(1_024), "description": "texts by name"},
        "timeout": _ref("seconds"),
    },
    "type",
    "url",
)
_WEBHOOK: Final = _object(
    {
        "url": _text(LONGEST_URL, 1),
        "events": {"type": "array", "items": {"enum": [one.value for one in Event]}, "maxItems": len(Event)},
        "secret": {"type": "string", "description": "a secret of Standard Webhooks, `whsec_` and base64"},
        "secret_env": {**_text(128, 1), "description": "the variable that has the secret, where the file is read"},
    },
    "url",
)
_DRIFT: Final = _object(
    {
        "arms": _maybe(
            {"type": "number", "minimum": 0, "maximum": 1},
            "null, or how far the answers of its versions may differ, in total variation from 0 to 1",
        )
    }
)
_PLAN: Final = {name: said for name, said in PLAN_SCHEMA.items() if name not in {"$schema", "$defs", "title"}}

DOCUMENT_SCHEMA: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A rollout",
        **_object(
            {
                "model": _text(256, 1),
                "candidate": _maybe(_VERSION, "null, or the number of a version"),
                "shadow": _SHADOW,
                "blue_green": _BLUE_GREEN,
                "canary": _CANARY,
                "ab_test": _AB_TEST,
                "plan": _ref("plan"),
                "salt": {**_text(LONGEST_SALT), "description": "what units are drawn by; left out, one is drawn"},
                "automation": {"enum": [one.value for one in Automation]},
                "freezes": {"type": "array", "items": _ref("freeze"), "maxItems": 64},
                "deadline": _maybe(_ref("seconds"), "null, or a time like '2h'"),
                "on_deadline": {"enum": [one.value for one in Stalled]},
                "judged_by": _ref("terms"),
                "compare": _ref("comparison"),
                "on_incident": {"enum": [one.value for one in Incident]},
                "drift": _DRIFT,
                "gates": {"type": "array", "items": _GATE, "maxItems": MOST_GATES},
                "webhooks": {"type": "array", "items": _WEBHOOK, "maxItems": MOST_HOOKS},
                "again": {"type": "boolean"},
                "why": _text(1_000),
            }
        ),
        "$defs": {**PLAN_SCHEMA["$defs"], "share": dict(SHARE_WITH_UNIT), "plan": _PLAN},
    }
)
"""What the document may say, for editors and for `document_from`, which checks by it."""

if __name__ == "__main__":
    sys.stdout.write(json.dumps(dict(DOCUMENT_SCHEMA), indent=2) + "\n")
