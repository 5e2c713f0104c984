"""Evidence as plain values and as bytes: what a restart resumes from, and what a ledger can hold.

Equal states have equal bytes. A state that is written for a newer reader, or says more than is understood, is refused
as a whole: half the evidence is not evidence.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from router.evidence.betting import Bets, BoundedTest
from router.evidence.counts import Block
from router.evidence.disagreements import Disagreements
from router.evidence.errors import EvidenceError
from router.evidence.events import Events
from router.evidence.latency import Latency
from router.evidence.means import Means, MeanTest
from router.evidence.odds_interval import OddsCurve
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.pairs import Pairs
from router.evidence.replicas import Replicas
from router.evidence.restarts import Restarts
from router.evidence.sample_ratio import Phase, SampleRatio
from router.evidence.samples import Pair, Sample
from router.evidence.sequential import Peak
from router.evidence.two_arm import OddsTest, TwoArm

READER = 1
"""The newest form that this code reads and the one that it writes."""

KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "bets": Bets,
        "block": Block,
        "bounded_test": BoundedTest,
        "disagreements": Disagreements,
        "events": Events,
        "latency": Latency,
        "mean_test": MeanTest,
        "means": Means,
        "odds_curve": OddsCurve,
        "odds_test": OddsTest,
        "one_arm": OneArm,
        "pair": Pair,
        "pairs": Pairs,
        "peak": Peak,
        "phase": Phase,
        "rate_test": RateTest,
        "replicas": Replicas,
        "restarts": Restarts,
        "sample": Sample,
        "sample_ratio": SampleRatio,
        "two_arm": TwoArm,
    }
)
"""Every value that can be written, by the name that it has there. A name is never used for anything else."""

_NAMES = {kind: name for name, kind in KINDS.items()}
_HINTS = {kind: get_type_hints(kind) for kind in KINDS.values()}  # the fields and types are the form that is written


def encode(state: object) -> bytes:
    """The state's canonical bytes: sorted JSON, floats as the shortest text that gives them back."""
    value = {"reader": READER, "evidence": as_plain(state)}
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def decode(blob: bytes) -> object:
    """The state in these bytes; the caller checks that it is the kind that it stored.

    Raises:
        EvidenceError: no evidence, or written for a newer reader.
    """
    try:
        value = json.loads(blob)
        reader, plain = value.pop("reader"), value.pop("evidence")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EvidenceError(f"these bytes are no evidence: {error!r}") from error
    if type(reader) is not int or not 1 <= reader <= READER or value:
        raise EvidenceError(f"this evidence is written for readers of form {reader!r}; this one reads up to {READER}")
    return from_plain(plain)


def as_plain(state: object) -> dict[str, Any]:
    """The state as what JSON knows: numbers, texts, lists, and objects that say their kind."""
    kind = type(state)
    if kind not in _NAMES:
        raise EvidenceError(f"{kind.__name__} is no evidence that can be written down")
    said = {name: _plain(getattr(state, name), hint) for name, hint in _HINTS[kind].items()}
    return {"kind": _NAMES[kind], **said}


def from_plain(plain: object) -> object:
    """The state in plain values; every field must be there, of its type, and no other."""
    try:
        return _read(plain)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise error if isinstance(error, EvidenceError) else EvidenceError(f"this is no evidence: {error!r}") from error


def _read(plain: object) -> object:
    if not isinstance(plain, dict):
        raise TypeError(f"{plain!r} says no kind")
    said = {name: value for name, value in plain.items() if name != "kind"}
    kind = KINDS[plain["kind"]]
    hints = _HINTS[kind]
    if set(said) != set(hints):
        raise ValueError(f"{plain['kind']!r} says {sorted(hints)}, not {sorted(said)}")
    return kind(**{name: _value(value, hints[name]) for name, value in said.items()})


def _plain(value: Any, hint: Any) -> Any:  # noqa: ANN401 - JSON's own sum of types
    """A field as JSON: a float field is written as a float and without the sign of a zero, or equals would differ."""
    if get_origin(hint) is tuple:
        return [_plain(one, get_args(hint)[0]) for one in value]
    if hint is float:
        return float(value) + 0.0
    if hint is int:
        return _whole(value)
    return value.value if isinstance(value, Enum) else as_plain(value)


def _whole(value: object) -> int:
    try:
        return operator.index(value)  # type: ignore[arg-type]  # that it may be no index is what is caught
    except TypeError as error:
        raise EvidenceError(f"{value!r} is no whole number") from error


def _value(plain: Any, hint: Any) -> Any:  # noqa: ANN401 - JSON's own sum of types
    """A field from JSON, of the type that the field has."""
    if get_origin(hint) is tuple:
        return tuple(_value(one, get_args(hint)[0]) for one in plain)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(plain)
    value = plain if hint in {int, float} else _read(plain)
    if type(value) is not hint and not isinstance(hint, TypeVar):
        raise TypeError(f"{plain!r} is not of type {hint.__name__}")
    return value
