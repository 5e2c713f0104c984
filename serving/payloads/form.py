"""Which columns a file has: a form, learnt from the tensors that came, and its schema in Parquet.

A tensor is two columns: its values, flattened row by row into a list, and its shape. A form only ever grows: what was
seen once stays a column, so that an optional input that few send does not make a file of its own for each of them. Two
tensors of one name and different types fit no one form. BYTES are texts for as long as all of them are UTF-8; bytes
that are not make the column one of bytes, into which texts fit.

Half-precision numbers are widened to float32, which loses nothing and which every reader of Parquet knows; the field's
metadata says what they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pyarrow as pa

from serving.keeping.decoding import Tensor, Tensors

READER: Final = 1
"""The oldest reader that understands the files."""
MOST_COLUMNS: Final = 512
"""Tensors of one form."""
INPUT, OUTPUT = "input.", "output."
INPUT_SHAPE, OUTPUT_SHAPE = "input_shape.", "output_shape."
SHAPES: Final[Mapping[str, str]] = MappingProxyType({INPUT: INPUT_SHAPE, OUTPUT: OUTPUT_SHAPE})
TEXT: Final = "TEXT"
"""BYTES of which all are UTF-8."""

_TYPES: Final[Mapping[str, pa.DataType]] = MappingProxyType(
    {
        "BOOL": pa.bool_(), "UINT8": pa.uint8(), "UINT16": pa.uint16(), "UINT32": pa.uint32(), "UINT64": pa.uint64(),
        "INT8": pa.int8(), "INT16": pa.int16(), "INT32": pa.int32(), "INT64": pa.int64(), "FP16": pa.float32(),
        "BF16": pa.float32(), "FP32": pa.float32(), "FP64": pa.float64(), TEXT: pa.string(), "BYTES": pa.binary(),
    }
)  # fmt: skip
_ASKED: Final = pa.list_(pa.struct([("name", pa.string()), ("classes", pa.int32())]))

FIXED: Final[tuple[pa.Field, ...]] = (
    pa.field("request_id", pa.string(), nullable=False),
    pa.field("nonce", pa.uint64(), nullable=False),
    pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
    pa.field("epoch", pa.int64(), nullable=False),
    pa.field("protocol", pa.string(), nullable=False),
    pa.field("assigned", pa.int64(), nullable=False),
    pa.field("answered", pa.int64(), nullable=False),
    pa.field("stable", pa.int64(), nullable=False),
    pa.field("role", pa.string(), nullable=False),
    pa.field("shadow", pa.string(), nullable=False),
    pa.field("outcome", pa.string(), nullable=False),
    pa.field("code", pa.int32(), nullable=False),
    pa.field("took_s", pa.float64(), nullable=False),
    pa.field("kept", pa.string(), nullable=False),
    pa.field("unread", pa.string()),
    pa.field("redacted", pa.list_(pa.string()), nullable=False),
    pa.field("segment", pa.map_(pa.string(), pa.string()), nullable=False),
    pa.field("asked", _ASKED, nullable=False),
)
"""The columns that every file has, in order; docs/payloads.md says what each means."""


@dataclass(frozen=True, slots=True)
class Form:
    """The tensors of a file.

    Attributes:
        columns: the datatype of each tensor (Triton's name, or `TEXT`), by 'input.NAME' or 'output.NAME'.
    """

    columns: Mapping[str, str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", MappingProxyType(dict(self.columns)))

    def holds(self, other: Form) -> bool:
        """Whether every tensor of the other has a column here that takes it."""
        return all(name in self.columns and _takes(self.columns[name], kind) for name, kind in other.columns.items())

    def joined(self, other: Form) -> Form | None:
        """The smallest form that holds both; None where a tensor has two types, or there are too many."""
        columns = dict(self.columns)
        for name, kind in other.columns.items():
            known = columns.setdefault(name, kind)
            if _takes(kind, known):
                columns[name] = kind
            elif not _takes(known, kind):
                return None
        return Form(columns) if len(columns) <= MOST_COLUMNS else None

    def schema(self, about: Mapping[str, Any]) -> pa.Schema:
        """Its schema in Parquet.

        Args:
            about: what the file's own metadata say beside the reader and the tensors.
        """
        fields = [*FIXED, *self._fields()]
        said = {"reader": READER, **about, "tensors": dict(self.columns)}
        return pa.schema(fields, metadata={b"sluice": json.dumps(said).encode()})

    def _fields(self) -> Iterator[pa.Field]:
        for name in sorted(self.columns):
            kind = self.columns[name]
            metadata = {b"datatype": (b"BYTES" if kind == TEXT else kind.encode())}
            yield pa.field(name, pa.list_(_TYPES[kind]), metadata=metadata)
            yield pa.field(shape_column(name), pa.list_(pa.int64()))


def form_of(inputs: Tensors, outputs: Tensors) -> Form:
    """The form that these tensors need."""
    every = {
        **{INPUT + name: tensor for name, tensor in inputs.items()},
        **{OUTPUT + name: tensor for name, tensor in outputs.items()},
    }
    return Form({name: _kind(tensor) for name, tensor in every.items()})


def shape_column(name: str) -> str:
    """'input_shape.pixels' from 'input.pixels'."""
    side, _, tensor = name.partition(".")
    return f"{SHAPES[side + '.']}{tensor}"


def values_in(tensor: Tensor, kind: str) -> Any:  # noqa: ANN401 - an array, or a list of texts
    """A tensor's values as its column takes them."""
    flat = tensor.values.ravel()
    if kind == TEXT:
        return [one.decode() for one in flat]
    return flat.astype("float32") if kind in {"FP16", "BF16"} else flat


def _kind(tensor: Tensor) -> str:
    if tensor.datatype != "BYTES":
        return tensor.datatype
    try:
        for one in tensor.values.ravel():
            one.decode()
    except UnicodeDecodeError:
        return "BYTES"
    return TEXT


def _takes(column: str, kind: str) -> bool:
    return column == kind or (column == "BYTES" and kind == TEXT)
