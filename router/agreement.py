"""When two versions' answers to one request agree: a rule for each output, and what is kept of pairs that do not.

A rule is a value; who holds answers against it is `serving.keeping`. An output without a rule is compared by its
type: whole numbers, truth values and texts exactly, floating-point numbers closely, by what their precision can hold.
What is left out of a rule has its usual value. Whatever the rule, an output that only one answer has, or that has
another shape or type in the other one, is a disagreement; NaN agrees with NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from router.errors import PolicyError
from router.match import check_field_name
from router.observed import LONGEST_OUTPUT
from router.schema import mistakes

MOST_OUTPUTS: Final = 64
MOST_SEGMENTS: Final = 4
MOST_KEPT: Final = 100
MOST_REDACTED: Final = 64
LARGEST_TOP: Final = 1_000
LARGEST_TOLERANCE: Final = 1e308
USUAL_KEEP: Final = 20
USUAL_TOP: Final = 5


class Agree(StrEnum):
    """How two values of one output are held against each other."""

    EXACT = "exact"
    """Every element is the same."""
    CLOSE = "close"
    """Every element differs by at most absolute + relative * |stable's|."""
    ARGMAX = "argmax"
    """The largest element of each row (the last dimension) is at the same place."""
    TOP_K = "top_k"
    """The places of the `top` largest elements of each row are the same, in whatever order."""
    COSINE = "cosine"
    """The directions of each row differ by a cosine distance of at most `tolerated`."""
    EDIT = "edit"
    """The texts differ by at most `tolerated` of the longer one: letters put in, left out or exchanged."""
    IGNORE = "ignore"
    """They are not compared."""


_TAKES: Final[Mapping[Agree, frozenset[str]]] = MappingProxyType(
    {
        Agree.CLOSE: frozenset({"absolute", "relative"}),
        Agree.TOP_K: frozenset({"top"}),
        Agree.COSINE: frozenset({"tolerated"}),
        Agree.EDIT: frozenset({"tolerated"}),
    }
)
_MOST_TOLERATED: Final[Mapping[Agree, float]] = MappingProxyType({Agree.COSINE: 2.0, Agree.EDIT: 1.0})
USUAL_TOLERATED: Final[Mapping[Agree, float]] = MappingProxyType({Agree.COSINE: 0.001, Agree.EDIT: 0.1})
"""What is tolerated where a rule does not say."""


@dataclass(frozen=True, slots=True)
class OutputRule:
    """How one output is compared. What `how` does not use stays None.

    Attributes:
        how: the comparison.
        absolute: of `close`: the difference that every element may have; None for what its precision can hold.
        relative: of `close`: the difference that it may have beside that, as a share of stable's value; likewise.
        top: of `top_k`: how many; None for 5.
        tolerated: of `cosine` the distance, 0 to 2 (None for 0.001), of `edit` the share of the longer text, 0 to 1
            (None for 0.1).

    Raises:
        PolicyError: one of them is something else, or is nothing that `how` uses.
    """

    how: Agree
    absolute: float | None = None
    relative: float | None = None
    top: int | None = None
    tolerated: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.how, Agree):
            raise PolicyError(f"{self.how!r:.60} is no way to compare an output: it is one of {', '.join(Agree)}")
        takes = _TAKES.get(self.how, frozenset())
        for name in ("absolute", "relative", "top", "tolerated"):
            if getattr(self, name) is not None and name not in takes:
                raise PolicyError(f"'{self.how}' has no use for {name}: leave it out")
        for name in ("absolute", "relative"):
            _check_tolerance(name, getattr(self, name), LARGEST_TOLERANCE)
        _check_tolerance("tolerated", self.tolerated, _MOST_TOLERATED.get(self.how, 0.0))
        if self.top is not None and (type(self.top) is not int or not 1 <= self.top <= LARGEST_TOP):
            raise PolicyError(f"top is {self.top!r:.60}: it is a whole number from 1 to {LARGEST_TOP:,}")

    @property
    def leading(self) -> int:
        """Of `argmax` and `top_k`: how many places are compared."""
        return 1 if self.how is Agree.ARGMAX else USUAL_TOP if self.top is None else self.top

    @property
    def at_most(self) -> float:
        """Of `cosine` and `edit`: what is tolerated."""
        return USUAL_TOLERATED.get(self.how, 0.0) if self.tolerated is None else self.tolerated


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the answers to copied requests are held against those that clients got.

    Attributes:
        outputs: the rule of each output, by its name; one without a rule is compared by its type.
        segments: request headers (gRPC: metadata), in lower case, by whose values the disagreement is broken down.
        keep: how many of the worst pairs are kept, with their inputs and both answers; 0 for none.
        redact: inputs and outputs whose values are never kept or shown, by name.

    Raises:
        PolicyError: one of them is something else.
    """

    outputs: Mapping[str, OutputRule] = field(default_factory=dict, hash=False)
    segments: tuple[str, ...] = ()
    keep: int = USUAL_KEEP
    redact: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        outputs = dict(self.outputs)
        for name, rule in outputs.items():
            _check_name(name)
            if not isinstance(rule, OutputRule):
                raise PolicyError(f"the rule of output '{name}' is {rule!r:.60}, which is none")
        if len(outputs) > MOST_OUTPUTS:
            raise PolicyError(f"there are rules for {len(outputs)} outputs: at most {MOST_OUTPUTS}")
        _check_many("segments", self.segments, MOST_SEGMENTS, check_field_name)
        _check_many("redact", self.redact, MOST_REDACTED, _check_name)
        if type(self.keep) is not int or not 0 <= self.keep <= MOST_KEPT:
            raise PolicyError(f"keep is {self.keep!r:.60}: it is how many pairs are kept, 0 to {MOST_KEPT}")
        object.__setattr__(self, "outputs", MappingProxyType(outputs))


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _tolerance(description: str, most: float) -> dict[str, Any]:
    return {"type": "number", "minimum": 0, "maximum": most, "description": description}


_NAME: Final = {"type": "string", "minLength": 1, "maxLength": LONGEST_OUTPUT}
_RULE: Final = _object(
    ["how"],
    {
        "how": {"enum": [one.value for one in Agree]},
        "absolute": _tolerance("a difference from 0 up that every element may have", LARGEST_TOLERANCE),
        "relative": _tolerance("a difference from 0 up, as a share of stable's value", LARGEST_TOLERANCE),
        "top": {"type": "integer", "minimum": 1, "maximum": LARGEST_TOP},
        "tolerated": _tolerance("a cosine distance from 0 to 2, or a share of the longer text from 0 to 1", 2),
    },
)
COMPARISON_SCHEMA: Final[Mapping[str, Any]] = MappingProxyType(
    _object(
        [],
        {
            "outputs": {
                "type": "object",
                "description": 'a rule by output, like {"label": {"how": "exact"}}',
                "propertyNames": {**_NAME, "description": f"the name of an output, 1 to {LONGEST_OUTPUT} characters"},
                "additionalProperties": _RULE,
            },
            "segments": {
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 64},
                "maxItems": MOST_SEGMENTS,
            },
            "keep": {"type": "integer", "minimum": 0, "maximum": MOST_KEPT},
            "redact": {"type": "array", "items": _NAME, "maxItems": MOST_REDACTED},
        },
    )
)
"""What a comparison looks like; no reference points out of it, so that it may stand inside another schema."""


def comparison_as_dict(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values; of a rule, what it says."""
    return {
        "outputs": {name: _rule_as_dict(comparison.outputs[name]) for name in sorted(comparison.outputs)},
        "segments": list(comparison.segments),
        "keep": comparison.keep,
        "redact": list(comparison.redact),
    }


def comparison_from(plain: object, at: str = "") -> Comparison:
    """The comparison in plain values, with what is left out as usual; `at` is their place in a larger document.

    Raises:
        PolicyError: no comparison; a sentence for every mistake in their shape, or else for the first in what they
            mean.
    """
    if wrong := list(mistakes(COMPARISON_SCHEMA, plain, at=at)):
        raise PolicyError("; ".join(wrong))
    assert isinstance(plain, Mapping)  # noqa: S101 - the schema says so
    return Comparison(
        {name: _rule_from(name, said) for name, said in plain.get("outputs", {}).items()},
        tuple(plain.get("segments", ())),
        plain.get("keep", USUAL_KEEP),
        tuple(plain.get("redact", ())),
    )


def rule_typed(text: str) -> OutputRule:
    """A rule as people type it: 'exact', 'close:0.01' (relative), 'close:0.01,1e-6' (absolute beside it), 'top_k:3'.

    Raises:
        PolicyError: no rule.
    """
    how, colon, amounts = text.strip().partition(":")
    if how not in set(Agree):
        raise PolicyError(f"{how!r:.60} is no way to compare an output: it is one of {', '.join(Agree)}")
    if not colon:
        return OutputRule(Agree(how))
    takes = {Agree.CLOSE: ("relative", "absolute"), Agree.TOP_K: ("top",)}.get(Agree(how), ("tolerated",))
    given = amounts.split(",")
    if len(given) > len(takes):
        raise PolicyError(f"'{text}' says {len(given)} amounts: '{how}' takes {' and '.join(takes)}")
    return OutputRule(Agree(how), **dict(zip(takes, map(_amount, takes, given), strict=False)))  # type: ignore[arg-type]


def _amount(name: str, text: str) -> float | int:
    try:
        return int(text) if name == "top" else float(text)
    except ValueError:
        raise PolicyError(f"{text!r:.60} is no amount for {name}: it takes a number") from None


def _rule_as_dict(rule: OutputRule) -> dict[str, Any]:
    return {"how": rule.how.value, **{name: getattr(rule, name) for name in _said(rule)}}


def _said(rule: OutputRule) -> Iterator[str]:
    return (name for name in ("absolute", "relative", "top", "tolerated") if getattr(rule, name) is not None)


def _rule_from(name: str, said: Mapping[str, Any]) -> OutputRule:
    amounts = {key: float(said[key]) for key in ("absolute", "relative", "tolerated") if key in said}
    try:
        return OutputRule(Agree(said["how"]), top=said.get("top"), **amounts)
    except PolicyError as error:
        raise PolicyError(f"output '{name}': {error}") from error


def _check_tolerance(name: str, value: object, most: float) -> None:
    if value is None:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 <= value <= most:  # type: ignore[operator]
        upper = f" to {most:g}" if most < LARGEST_TOLERANCE else " up"
        raise PolicyError(f"{name} is {value!r:.60}: it is a number from 0{upper}")


def _check_many(what: str, given: object, most: int, check: Any) -> None:  # noqa: ANN401 (one of two checks)
    if not isinstance(given, tuple):
        raise PolicyError(f"{what} is {given!r:.60}: it is a tuple of names")
    for one in given:
        check(one)
    if len(given) > most or len(set(given)) < len(given):
        raise PolicyError(f"{what} has at most {most} names, each once")


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_OUTPUT or not name.isprintable():
        raise PolicyError(f"{name!r:.60} names no input or output: it has 1 to {LONGEST_OUTPUT} printable characters")
