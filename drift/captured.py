"""Captured samples as Parquet: what clients asked and were answered, for whoever trains anew.

A row is one version's answer to one request. A tensor is two columns, as in the payload log (docs/payloads.md): its
values, row by row in one list, and its shape. A column's type is that of the tensor in most of the rows; where another
came under the same name, the row has null there and the file says how many have.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from drift.samples import Answer, Batch, Request, Tensor, batch_from

INPUT, OUTPUT = "input.", "output."
_SHAPES: Final = {INPUT: "input_shape.", OUTPUT: "output_shape."}
_TEXT: Final = "BYTES"
_WIDENED: Final = {"FP16": np.dtype("<f4")}
_TYPES: Final = {
    "BOOL": pa.bool_(), "UINT8": pa.uint8(), "UINT16": pa.uint16(), "UINT32": pa.uint32(), "UINT64": pa.uint64(),
    "INT8": pa.int8(), "INT16": pa.int16(), "INT32": pa.int32(), "INT64": pa.int64(), "FP16": pa.float32(),
    "FP32": pa.float32(), "FP64": pa.float64(),
}  # fmt: skip
_FIXED: Final = (
    pa.field("request_id", pa.string(), nullable=False),
    pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("version", pa.int64(), nullable=False),
    pa.field("arm", pa.string(), nullable=False),
    pa.field("segment", pa.map_(pa.string(), pa.string()), nullable=False),
)


@dataclass(frozen=True, slots=True)
class Captured:
    """A file.

    Attributes:
        parquet: its bytes.
        rows: how many it has.
    """

    parquet: bytes
    rows: int


class _Row(NamedTuple):
    """One answer to one request, its tensors by column."""

    request: Request
    answer: Answer
    tensors: dict[str, Tensor]


def batches_in(blobs: Iterable[bytes]) -> Iterator[Batch]:
    """Each batch once, in their order; what nobody can read is left out, for whoever counts samples has said so."""
    seen: set[tuple[str, int]] = set()
    for blob in blobs:
        try:
            batch = batch_from(blob)
        except ValueError:
            continue
        if (batch.keeper, batch.number) not in seen:
            seen.add((batch.keeper, batch.number))
            yield batch


def parquet_of(batches: Iterable[Batch], from_s: float, to_s: float, about: dict[str, Any]) -> Captured:
    """The rows of these batches that were answered between two moments.

    Args:
        batches: in the order in which they came.
        from_s: seconds since 1970.
        to_s: likewise.
        about: what the file's metadata say, under `sluice`, beside what is known here.
    """
    rows = [row for batch in batches for row in _rows(batch, from_s, to_s)]
    kinds = _kinds(rows)
    columns: list[pa.Array[Any]] = list(_fixed(rows))
    fields = list(_FIXED)
    misfits = 0
    for name, kind in sorted(kinds.items()):
        tensors = [_fitting(row, name, kind) for row in rows]
        misfits += sum(one is None and name in row.tensors for one, row in zip(tensors, rows, strict=True))
        values = _values(tensors, kind)
        fields += [pa.field(name, values.type, metadata={"datatype": kind}), pa.field(_shape(name), _LENGTHS)]
        columns += [values, pa.array([None if one is None else list(one.shape) for one in tensors], _LENGTHS)]
    said = {"reader": 1, **about, "rows": len(rows), "misfits": misfits}
    table = pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata={"sluice": json.dumps(said)}))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return Captured(sink.getvalue(), len(rows))


_LENGTHS: Final = pa.list_(pa.int64())


def _rows(batch: Batch, from_s: float, to_s: float) -> Iterator[_Row]:
    for request in batch.requests:
        if from_s <= request.at_s <= to_s:
            inputs = {INPUT + one.name: one for one in request.inputs}
            for answer in request.answers:
                yield _Row(request, answer, {**inputs, **{OUTPUT + one.name: one for one in answer.outputs or ()}})


def _kinds(rows: Sequence[_Row]) -> dict[str, str]:
    """The datatype that each column has, which is that of most."""
    counted: dict[str, Counter[str]] = {}
    for row in rows:
        for name, tensor in row.tensors.items():
            counted.setdefault(name, Counter())[tensor.datatype] += 1
    return {name: max(kinds, key=lambda kind: (kinds[kind], kind)) for name, kinds in counted.items()}


def _fixed(rows: Sequence[_Row]) -> Iterator[pa.Array[Any]]:
    yield pa.array([row.request.id for row in rows], _FIXED[0].type)
    yield pa.array([round(row.request.at_s * 1_000_000) for row in rows], pa.int64()).cast(_FIXED[1].type)
    yield pa.array([row.answer.version for row in rows], _FIXED[2].type)
    yield pa.array([row.answer.role.value for row in rows], _FIXED[3].type)
    yield pa.array([list(row.request.segment.items()) for row in rows], _FIXED[4].type)


def _fitting(row: _Row, name: str, kind: str) -> Tensor | None:
    tensor = row.tensors.get(name)
    return tensor if tensor is not None and tensor.datatype == kind else None


def _values(tensors: Sequence[Tensor | None], kind: str) -> pa.Array[Any]:
    if kind == _TEXT:
        return _texts([None if one is None else one.values().reshape(-1).tolist() for one in tensors])
    return pa.array([None if one is None else _flat(one) for one in tensors], pa.list_(_TYPES[kind]))


def _flat(one: Tensor) -> Any:  # noqa: ANN401 - numpy's of any type
    flat = one.values().reshape(-1)
    return flat.astype(_WIDENED[one.datatype]) if one.datatype in _WIDENED else flat


def _texts(values: list[list[bytes] | None]) -> pa.Array[Any]:
    """Texts, where all of them are; else bytes."""
    try:
        return pa.array([None if one is None else [text.decode() for text in one] for one in values], _STRINGS)
    except UnicodeDecodeError:
        return pa.array(values, pa.list_(pa.binary()))


_STRINGS: Final = pa.list_(pa.string())


def _shape(name: str) -> str:
    side, _, tensor = name.partition(".")
    return f"{_SHAPES[f'{side}.']}{tensor}"
