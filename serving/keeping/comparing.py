"""Whether two versions' outputs agree, output by output, and by how much they do not. Pure.

How an output is held against another is its rule's (`router.agreement`), or follows from its type. Whatever the rule,
another type or shape, and an output that only one answer has, are disagreements of their own kind. NaN agrees with NaN,
an infinity with itself, and of a tensor without elements nothing can differ.

How far apart two values are is told in two ways: in the rule's own measure (`size`), and as a figure by which
disagreements under different rules can be ranked (`badness`: 1 is just over what is tolerated).

The values come from models, and models answer strangers: what this costs is bounded by the size of the tensors, and for
edit distances, which would cost more, by a number of letters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from router.agreement import Agree, OutputRule
from serving.keeping import edits
from serving.keeping.decoding import Tensor, Tensors

MOST_CONFUSED: Final = 8
"""Pairs of classes that one pair of answers may add to what is confused with what."""
LONGEST_LABEL: Final = 64
MOST_LETTERS: Final = 65_536
"""Letters of one output whose edit distances are counted; what goes beyond agrees only where it is the same."""
STRUCTURAL: Final = 1e9
"""How bad it is that an output has another shape or type, or is not there."""
_LARGEST: Final = 1e6

_CLOSE: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"FP64": (1e-6, 1e-3), "FP32": (1e-6, 1e-3), "FP16": (1e-4, 5e-3), "BF16": (1e-3, 3e-2)}
)
"""Absolute and relative tolerances by what a type's precision can hold."""

_Array = NDArray[Any]


class Kind:
    """How an output may differ."""

    VALUES: Final = "values"
    SHAPE: Final = "shape"
    DATATYPE: Final = "datatype"
    MISSING: Final = "missing"
    EXTRA: Final = "extra"


class Found(NamedTuple):
    """What a rule found in two tensors of one type and shape.

    Attributes:
        share: of what is compared (elements, rows), how much differs; 0 where they agree.
        size: how far they are apart at most, in the rule's measure; also where that is tolerated.
        badness: how many times what is tolerated, where they differ.
        confused: what stable said and what the candidate said in its place, where that can be told in a word.
    """

    share: float
    size: float
    badness: float = 0.0
    confused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """One output, held against the other version's.

    Attributes:
        kind: how it differs, one of `Kind`; empty where it agrees.
        size: as in `Found`; 0 where there are no values to compare.
        badness: likewise; `STRUCTURAL` where the values were not even compared.
        confused: likewise.
    """

    kind: str = ""
    size: float = 0.0
    badness: float = 0.0
    confused: tuple[tuple[str, str], ...] = ()


def compare(first: Tensors, other: Tensors, rules: Mapping[str, OutputRule]) -> Mapping[str, Held]:
    """Every output of either answer, held against the other's; one that is to be ignored is left out.

    Args:
        first: the outputs that the client got.
        other: those of the copy.
        rules: by output; one without a rule is compared by its type.
    """
    found = {}
    for name in dict.fromkeys((*first, *other)):
        rule = rules.get(name)
        if rule is not None and rule.how is Agree.IGNORE:
            continue
        found[name] = _held(first.get(name), other.get(name), rule)
    return found


def usual_rule(datatype: str) -> OutputRule:
    """How an output of this type is compared where nobody says: floats closely, everything else exactly."""
    if datatype not in _CLOSE:
        return OutputRule(Agree.EXACT)
    absolute, relative = _CLOSE[datatype]
    return OutputRule(Agree.CLOSE, absolute=absolute, relative=relative)


def _held(first: Tensor | None, other: Tensor | None, rule: OutputRule | None) -> Held:
    if first is None or other is None:
        return Held(Kind.EXTRA if first is None else Kind.MISSING, badness=STRUCTURAL)
    if first.datatype != other.datatype:
        return Held(Kind.DATATYPE, badness=STRUCTURAL)
    if first.shape != other.shape:
        return Held(Kind.SHAPE, badness=STRUCTURAL)
    if not first.values.size:
        return Held()
    found = _by_rule(first, other, rule or usual_rule(first.datatype))
    return Held(Kind.VALUES if found.share else "", found.size, min(found.badness, _LARGEST), found.confused)


def _by_rule(first: Tensor, other: Tensor, rule: OutputRule) -> Found:
    """What the rule finds; a rule for numbers is exactness where there are texts, and the other way round."""
    a, b, texts = first.values, other.values, first.datatype == "BYTES"
    if rule.how is Agree.EDIT and texts:
        return _edited(a, b, rule.at_most)
    if texts or rule.how in {Agree.EXACT, Agree.EDIT}:
        return _exact(a, b)
    with np.errstate(all="ignore"):  # infinities and NaN are values like any other here
        if rule.how is Agree.CLOSE:
            return _close(a, b, *_tolerances(first.datatype, rule))
        if rule.how is Agree.COSINE:
            return _cosine(_rows(a), _rows(b), rule.at_most)
        return _leading(_rows(a), _rows(b), rule.leading)


def _exact(a: _Array, b: _Array) -> Found:
    numbers = a.dtype.kind == "f"
    differs = np.asarray((a != b) & ~(np.isnan(a) & np.isnan(b)) if numbers else a != b, dtype=bool)
    share = float(differs.mean())
    if not share:
        return Found(0.0, 0.0)
    size = share if a.dtype.kind == "O" else _largest(_apart(a[differs], b[differs]))
    said = () if numbers else tuple(_told(a[differs], b[differs]))
    return Found(share, size, 1 + share, said)


def _close(a: _Array, b: _Array, absolute: float, relative: float) -> Found:
    apart = _apart(a, b)
    allowed = absolute + relative * np.abs(a.astype(np.float64))
    over = (apart > 0) & (~(apart <= allowed) | np.isinf(apart))
    times = np.where(np.isfinite(apart), apart / np.maximum(allowed, np.finfo(np.float64).tiny), math.inf)
    return Found(float(over.mean()), _largest(apart), _largest(times[over]))


def _apart(a: _Array, b: _Array) -> NDArray[np.float64]:
    """How far elements are apart: 0 where they are the same or both NaN, infinitely where only one is a number."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    same = (a == b) | (np.isnan(left) & np.isnan(right))
    apart: NDArray[np.float64] = np.where(same, 0.0, np.abs(left - right))
    return np.where(np.isnan(apart), math.inf, apart)


def _leading(a: _Array, b: _Array, top: int) -> Found:
    """Rows whose `top` largest are at other places; among equals the one that comes first leads, and NaN before all."""
    ours, theirs = _places(a, top), _places(b, top)
    differs = (np.sort(ours, axis=1) != np.sort(theirs, axis=1)).any(axis=1)
    share = float(differs.mean())
    said = () if top > 1 else tuple(_told(ours[differs, 0], theirs[differs, 0]))
    return Found(share, share, 1 + share, said) if share else Found(0.0, 0.0)


def _places(rows: _Array, top: int) -> _Array:
    if top == 1:
        return np.asarray(np.argmax(rows, axis=1))[:, None]
    last = rows.shape[1] - 1
    backwards = np.argsort(rows[:, ::-1], axis=1, kind="stable")
    return np.asarray(last - backwards[:, ::-1][:, :top])


def _cosine(a: _Array, b: _Array, at_most: float) -> Found:
    """Distances of rows from 0 to 2; a row of zeros is as far from every other as a right angle."""
    ours, theirs = a.astype(np.float64), b.astype(np.float64)
    ours, theirs = _scaled(ours), _scaled(theirs)
    norms = np.sqrt((ours**2).sum(axis=1) * (theirs**2).sum(axis=1))
    cosine = np.where(norms > 0, (ours * theirs).sum(axis=1) / np.where(norms > 0, norms, 1.0), 0.0)
    same = ((a == b) | (np.isnan(ours) & np.isnan(theirs))).all(axis=1)
    distances = np.where(same, 0.0, np.where(np.isfinite(cosine), np.clip(1 - cosine, 0, 2), 2.0))
    over = distances > at_most
    worst = _largest(distances)
    return Found(float(over.mean()), worst, worst / max(at_most, 1e-9) if over.any() else 0.0)


def _scaled(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row by its largest element, so that squares neither overflow nor vanish."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    return np.asarray(rows / np.where(np.isfinite(largest) & (largest > 0), largest, 1.0))


def _edited(a: _Array, b: _Array, at_most: float) -> Found:
    shares, left = [], MOST_LETTERS
    said: list[tuple[str, str]] = []
    for one, other in zip(a.flat, b.flat, strict=True):
        if one == other:
            shares.append(0.0)
            continue
        left -= max(len(one), len(other))
        shares.append(_share(one, other) if left >= 0 else 1.0)
        if shares[-1] > at_most and len(said) < MOST_CONFUSED:
            said.append((_label(one), _label(other)))
    over = sum(share > at_most for share in shares)
    worst = max(shares)
    return Found(over / len(shares), worst, worst / max(at_most, 1e-9) if over else 0.0, tuple(said))


def _share(one: bytes, other: bytes) -> float:
    left, right = one.decode(errors="replace"), other.decode(errors="replace")
    if max(len(left), len(right)) > edits.LONGEST:
        return 1.0
    return edits.share(left, right)


def _rows(values: _Array) -> _Array:
    """By the last dimension; a single number is a row of its own."""
    return values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)


def _tolerances(datatype: str, rule: OutputRule) -> tuple[float, float]:
    absolute, relative = _CLOSE.get(datatype, (0.0, 0.0))
    return (
        absolute if rule.absolute is None else rule.absolute,
        relative if rule.relative is None else rule.relative,
    )


def _largest(values: NDArray[np.float64]) -> float:
    return float(values.max()) if values.size else 0.0


def _told(ours: _Array, theirs: _Array) -> Iterator[tuple[str, str]]:
    """The first few of what was said in each other's place, in words."""
    for one, other in zip(ours[:MOST_CONFUSED].tolist(), theirs[:MOST_CONFUSED].tolist(), strict=True):
        yield _label(one), _label(other)


def _label(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
