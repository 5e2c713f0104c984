"""Terms as plain values: what a file holds, what a plan keeps, and the JSON Schema of both.

What is left out has its usual value for what the guardrail watches, so that `{"watches": "errors"}` is the guardrail on
errors that a rollout has which says nothing; a margin grows with what is tolerated. What is written here says
everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

from router.errors import PlanError, RouterError
from router.evidence.judge import Rule
from router.observed import LONGEST_OUTPUT, Reading
from router.schema import mistakes
from router.verdicts.guardrails import BESIDE_COPIES, DEFAULTS, PAIRED, TOLERATED, USUAL, Guardrail, Terms, Watches
from router.verdicts.rewards import Better

MOST_GUARDRAILS: Final = 16
LARGEST: Final = 1_000_000
LONGEST_NAME: Final = 64
LONGEST_WARM_UP_S: Final = 86_400
_USUAL: Final = MappingProxyType({one.watches: one for one in (*DEFAULTS, *BESIDE_COPIES)})


def _number(least: float, most: float, description: str) -> dict[str, Any]:
    return {"type": "number", "minimum": least, "maximum": most, "description": description}


def _rate(description: str, *, or_none: bool = False) -> dict[str, Any]:
    kind = ["number", "null"] if or_none else "number"
    return {"type": kind, "exclusiveMinimum": 0, "exclusiveMaximum": 1, "description": description}


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


_RATIO: Final = f"an odds ratio of events, candidate to stable, from 1 to {LARGEST:,}"
_GUARDRAIL: Final = _object(
    ["watches"],
    {
        "name": {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME},
        "watches": {"enum": [one.value for one in Watches]},
        "tolerated": _number(1, LARGEST, f"{_RATIO}, up to which nothing is held against it"),
        "weight": _number(0, LARGEST, f"a weight from 0, which shows and decides nothing, to {LARGEST:,}"),
        "margin": {
            "type": ["number", "null"],
            "exclusiveMinimum": 1,
            "maximum": LARGEST,
            "description": f"an odds ratio above 1, up to {LARGEST:,}, under which it is to be certified; or null",
        },
        "ceiling": _rate(
            "a rate between 0 and 1 under which the candidate's own may be certified; or null", or_none=True
        ),
        "limit": _rate(
            "a rate between 0 and 1 of both arms, above which the rollout stands still, or of pairs, which may differ; "
            "or null",
            or_none=True,
        ),
        "quantiles": {
            "type": "array",
            "items": _rate("a quantile between 0 and 1"),
            "minItems": 1,
            "maxItems": 8,
            "description": "1 to 8 quantiles of latency, like [0.5, 0.9, 0.99]",
        },
        "output": {"type": "string", "maxLength": LONGEST_OUTPUT},
        "kind": {"enum": [one.value for one in Reading]},
        "metric": {"type": "string", "maxLength": LONGEST_NAME},
        "direction": {"enum": [one.value for one in Better], "description": "which way a metric is better"},
        "effect": _number(0, LARGEST, f"how much worse a metric may be, in its own units, from 0 to {LARGEST:,}"),
        "bounded": {"type": "boolean", "description": "whether every value lies between 0 and 1"},
        "decides": {"type": "boolean", "description": "whether an A/B test is decided by it"},
    },
)
TERMS_SCHEMA: Final[Mapping[str, Any]] = MappingProxyType(
    _object(
        [],
        {
            "guardrails": {"type": "array", "items": _GUARDRAIL, "minItems": 1, "maxItems": MOST_GUARDRAILS},
            "harm": _rate("the chance, between 0 and 1, of taking back a candidate that is no worse"),
            "promotion": _rate(
                "the chance, between 0 and 1, of certifying a candidate that is not as good as it must be"
            ),
            "rule": {"enum": [None, *(one.value for one in Rule)]},
            "warm_up_s": _number(
                0,
                LONGEST_WARM_UP_S,
                f"seconds from 0 to {LONGEST_WARM_UP_S:,} in which a new candidate's latencies are left out",
            ),
        },
    )
)
"""What terms look like; no reference points out of it, so that it may stand inside another schema."""


def terms_as_dict(terms: Terms) -> dict[str, Any]:
    """The terms as plain values, with nothing left out but what means nothing for what a guardrail watches."""
    return {
        "guardrails": [_guardrail_as_dict(one) for one in terms.guardrails],
        "harm": terms.harm,
        "promotion": terms.promotion,
        "rule": None if terms.rule is None else terms.rule.value,
        "warm_up_s": terms.warm_up_s,
    }


def terms_from(plain: object, at: str = "") -> Terms:
    """The terms in plain values; `at` is their place in a larger document.

    Raises:
        PlanError: no terms; a sentence for every mistake in their shape, or else for every one in what they mean.
    """
    if wrong := list(mistakes(TERMS_SCHEMA, plain, at=at)):
        raise PlanError("; ".join(wrong))
    assert isinstance(plain, Mapping)  # noqa: S101 - the schema says so
    guardrails = _guardrails(plain["guardrails"], at) if "guardrails" in plain else USUAL.guardrails
    rule = plain.get("rule")
    said = {name: float(plain[name]) for name in ("harm", "promotion", "warm_up_s") if name in plain}
    try:
        return replace(USUAL, guardrails=guardrails, rule=None if rule is None else Rule(rule), **said)
    except RouterError as error:
        raise PlanError(_placed(at, error)) from error


def _guardrail_as_dict(one: Guardrail) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": one.name,
        "watches": one.watches.value,
        "tolerated": one.tolerated,
        "weight": one.weight,
    }
    if one.watches is Watches.PREDICTIONS:
        return {**said, "output": one.output, "kind": one.kind.value}
    if one.watches is Watches.FEEDBACK:
        del said["tolerated"]
        return {
            **said,
            "metric": one.metric,
            "direction": one.direction.value,
            "effect": one.effect,
            "bounded": one.bounded,
            "decides": one.decides,
        }
    if one.watches in PAIRED:
        return said if one.limit is None else {**said, "limit": one.limit}
    said["margin"] = one.margin
    if one.watches is Watches.LATENCY:
        return {**said, "quantiles": list(one.quantiles)}
    return {**said, "ceiling": one.ceiling, "limit": one.limit}


def _guardrails(plain: list[Mapping[str, Any]], at: str) -> tuple[Guardrail, ...]:
    """Every one of them, or every mistake."""
    found: list[Guardrail] = []
    wrong: list[str] = []
    for number, said in enumerate(plain):
        try:
            found.append(_guardrail_from(said))
        except RouterError as error:
            wrong.append(_placed(f"{at}.guardrails[{number}]" if at else f"guardrails[{number}]", error))
    if wrong:
        raise PlanError("; ".join(wrong))
    return tuple(found)


def _guardrail_from(plain: Mapping[str, Any]) -> Guardrail:
    watches = Watches(plain["watches"])
    usual = _USUAL.get(watches)
    said = dict(_read(plain))
    if usual is not None:
        if usual.margin is not None and said.get("tolerated", 1.0) >= usual.margin:
            said.setdefault("margin", usual.margin * said["tolerated"])
        return replace(usual, **said)
    if watches is Watches.FEEDBACK:  # several metrics may be watched, so that each is called by its own name
        said = {"name": said.get("metric") or watches.value, **said}
    return Guardrail(**{"name": watches.value, "tolerated": TOLERATED.get(watches, 1.0), **said, "watches": watches})


def _read(plain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if name == "quantiles":
            yield name, tuple(sorted(map(float, value)))
        elif name == "kind":
            yield name, Reading(value)
        elif name == "direction":
            yield name, Better(value)
        elif name == "watches":
            yield name, Watches(value)
        else:
            yield name, value if value is None or isinstance(value, str | bool) else float(value)


def _placed(at: str, error: RouterError) -> str:
    return f"{at}: {error}" if at else str(error)
