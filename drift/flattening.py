"""How a batch of sampled requests becomes tables: one for each version, role and form of the tensors.

The rules, in order:

1. Where every tensor of a request, inputs and outputs, has a first axis of the same length, that axis is the row.
2. Where a baseline knows better, it decides: a tensor that has as many values in all as one of its rows is one row,
   though rule 1 would cut it into several; and inputs that are rows stay rows though the outputs are of another
   length, which then are not known.
3. Anything else is one row: the whole tensor is.
4. A tensor is a column of its name, each row in the tensor's shape without that axis. `drift.schema` takes it from
   there: elements that were named are columns, and what does not fit is said.

Outputs that a request did not ask for are no break of the schema: where it named some and a known one is not among
them, its outputs are not known. Requests whose tensors differ in name, type or shape of a row come in tables of their
own, so that an odd one spoils no other. Requests of no rows say nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.samples import MOST_ROWS, Answer, Batch, Request, Role, Tensor, rows_in
from drift.schema import Schema
from drift.tables import Table

_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIXES: Final = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))
_LAST: Final = np.uint64(31)

Widths = Mapping[str, int]
"""Values of one row, by tensor."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a version's baseline says of its tensors.

    Attributes:
        inputs: values of one row of each.
        outputs: likewise; empty where the baseline has none.
    """

    inputs: Widths = field(default_factory=dict)
    outputs: Widths = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """Rows of one version and role, all of one form.

    Attributes:
        version: that answered.
        role: whose answers they are.
        inputs: what was asked.
        outputs: what was answered, row by row; None where it is not known.
        keys: of each row, hashes of its request's, shape (rows,).
        at_s: when each was answered, seconds since 1970, shape (rows,).
        segments: of each.
        embedded: what encoders made of inputs (`drift.encoding`), by the embedding's name, row by row.
    """

    version: int
    role: Role
    inputs: Table
    outputs: Table | None
    keys: NDArray[np.uint64]
    at_s: NDArray[np.float64]
    segments: tuple[Mapping[str, str], ...]
    embedded: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many."""
        return len(self.keys)

    def part(self, at: NDArray[np.intp]) -> Part:
        """The rows of these places."""
        outputs = None if self.outputs is None else self.outputs.part(at)
        segments = tuple(self.segments[one] for one in at.tolist())
        embedded = {name: rows[at] for name, rows in self.embedded.items()}
        return Part(
            self.version, self.role, self.inputs.part(at), outputs, self.keys[at], self.at_s[at], segments, embedded
        )  # fmt: skip


def widths_of(schema: Schema) -> dict[str, int]:
    """Values of one row of each tensor, by a schema; elements that were named are told as their tensor."""
    named = {name for names in schema.elements.values() for name in names}
    tensors = {tensor: len(names) for tensor, names in schema.elements.items()}
    return {**{one.name: one.width for one in schema.columns if one.name not in named}, **tensors}


def tables_of(batch: Batch, known: Mapping[int, Known] = MappingProxyType({})) -> list[Part]:
    """A batch's rows, by version, role and form, in the order in which the first of each came.

    Args:
        batch: as it was read.
        known: what is known of versions that have a baseline.
    """
    groups: defaultdict[tuple[Any, ...], list[_Rows]] = defaultdict(list)
    for rows in _rows_of(batch, known):
        if rows.count:
            groups[rows.form].append(rows)
    return [_joined(group) for group in groups.values()]


def row_keys(key: int, rows: int) -> NDArray[np.uint64]:
    """A key for each row of a request: SplitMix64's sequence from the request's key (Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        mixed = np.uint64(key) + np.arange(rows, dtype=np.uint64) * _STEP
        for shift, factor in _MIXES:
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
    return mixed ^ (mixed >> _LAST)


@dataclass(frozen=True, slots=True)
class _Rows:
    """What one request is for one version; `along` says whether the first axis is the row."""

    request: Request
    answer: Answer
    outputs: tuple[Tensor, ...] | None
    along: bool

    @property
    def count(self) -> int:
        return min(_along(self.request.inputs) or 0, MOST_ROWS) if self.along else 1

    @property
    def form(self) -> tuple[Any, ...]:
        outputs = None if self.outputs is None else self._forms(self.outputs)
        return self.answer.version, self.answer.role, self._forms(self.request.inputs), outputs

    def _forms(self, tensors: Iterable[Tensor]) -> frozenset[tuple[Any, ...]]:
        return frozenset((one.name, one.datatype, one.shape[1:] if self.along else one.shape) for one in tensors)

    def columns(self, tensors: Iterable[Tensor]) -> dict[str, NDArray[Any]]:
        values = {one.name: one.values() for one in tensors}
        return {name: one[:MOST_ROWS] if self.along else one[np.newaxis] for name, one in values.items()}


def _rows_of(batch: Batch, known: Mapping[int, Known]) -> Iterator[_Rows]:
    for request in batch.requests:
        for answer in request.answers:
            about = known.get(answer.version, Known())
            along, outputs = _cut(request, _told(request, answer, about), about)
            yield _Rows(request, answer, outputs, along)


def _told(request: Request, answer: Answer, known: Known) -> tuple[Tensor, ...] | None:
    """What it answered; None where it was not asked for all of it."""
    if answer.outputs is None or not answer.outputs:
        return None
    there = {one.name for one in answer.outputs}
    return None if request.named and known.outputs.keys() - there else answer.outputs


def _cut(request: Request, outputs: tuple[Tensor, ...] | None, known: Known) -> tuple[bool, tuple[Tensor, ...] | None]:
    """Whether the first axis is the row, and the outputs that are then known."""
    inputs = request.inputs
    if _along(inputs) is None or _are_one_row(inputs, known.inputs):
        return False, outputs
    if outputs is None or _along((*inputs, *outputs)) is not None:
        return True, outputs
    if _are_rows(inputs, known.inputs):
        return True, None
    return False, outputs


def _along(tensors: Iterable[Tensor]) -> int | None:
    return rows_in(one.shape for one in tensors)


def _are_one_row(tensors: Iterable[Tensor], widths: Widths) -> bool:
    found = [one for one in tensors if one.name in widths]
    return any(one.size == widths[one.name] != math.prod(one.shape[1:]) for one in found)


def _are_rows(tensors: Iterable[Tensor], widths: Widths) -> bool:
    found = [one for one in tensors if one.name in widths]
    return any(widths[one.name] == math.prod(one.shape[1:]) for one in found)


def _joined(group: list[_Rows]) -> Part:
    first = group[0]
    counts = [one.count for one in group]
    outputs = None
    if first.outputs is not None:
        outputs = _table(one.columns(one.outputs or ()) for one in group)
    segments = [one.request.segment for one, count in zip(group, counts, strict=True) for _ in range(count)]
    return Part(
        first.answer.version,
        first.answer.role,
        _table(one.columns(one.request.inputs) for one in group),
        outputs,
        np.concatenate([row_keys(one.request.key, one.count) for one in group]),
        np.repeat(np.array([one.request.at_s for one in group], np.float64), counts),
        tuple(segments),
    )


def _table(every: Iterable[Mapping[str, NDArray[Any]]]) -> Table:
    columns = list(every)
    return Table({name: np.concatenate([one[name] for one in columns]) for name in columns[0]})
