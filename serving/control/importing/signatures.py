"""An MLflow signature as one of ours.

Tensors keep name, type and shape, without the leading -1, which is the batch dimension. Columns (a DataFrame) that all
have one type become one matrix, `input` or `output`, with as many numbers in a row as there were columns, for that is
what such models compute on; columns of different types become a tensor each, of shape [1], under the column's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from registry.errors import Unacceptable
from registry.signature import Signature, TensorSpec

INPUT = "input"
OUTPUT = "output"
"""What a tensor without a name is called."""

_HINT = "Log the model again with signature=mlflow.models.infer_signature(inputs, outputs), on numpy arrays best."
_NUMPY: Mapping[str, str] = MappingProxyType(
    {
        "bool": "BOOL",
        **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
        **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
        **dict.fromkeys(("str", "object", "bytes"), "BYTES"),
    }
)
_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "boolean": "BOOL",
        "integer": "INT32",
        "long": "INT64",
        "float": "FP32",
        "double": "FP64",
        "string": "BYTES",
        "binary": "BYTES",
    }
)


@dataclass(frozen=True, slots=True)
class Translated:
    """A signature, and the names of the columns that became one matrix, in its order; empty where none did."""

    signature: Signature
    columns: tuple[str, ...] = ()


def translate(said: object, *, output: str = OUTPUT) -> Translated:
    """The signature that an `MLmodel` file holds: JSON texts under `inputs` and `outputs`.

    Args:
        said: what is there, whatever it is.
        output: what an output without a name is called.

    Raises:
        Unacceptable: there is none, or it has something that Triton has not.
    """
    if not isinstance(said, Mapping) or not said.get("inputs") or not said.get("outputs"):
        raise Unacceptable("The model was logged without a signature of inputs and outputs.", _HINT)
    inputs, columns = _tensors("inputs", said["inputs"], INPUT)
    outputs, _ = _tensors("outputs", said["outputs"], output)
    return Translated(Signature(inputs, outputs), columns)


def _tensors(what: str, text: object, name: str) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    try:
        entries = json.loads(str(text))
        if entries and all(entry["type"] == "tensor" for entry in entries):
            return tuple(_tensor(entry, name) for entry in entries), ()
        return _from_columns(entries, name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unacceptable(f"The {what} of the model's MLflow signature cannot be read: {error!r}.", _HINT) from error


def _tensor(entry: Mapping[str, Any], unnamed: str) -> TensorSpec:
    name, spec = entry.get("name") or unnamed, entry["tensor-spec"]
    datatype = _NUMPY.get(str(spec["dtype"]))
    if datatype is None:
        raise Unacceptable(f"The tensor {name} is of the type {spec['dtype']!r}, which Triton has not.", _HINT)
    batch, *shape = spec["shape"]
    if batch != -1:
        raise Unacceptable(
            f"The tensor {name} has the shape {list(spec['shape'])}, which does not begin with -1, so the model has no "
            "batch dimension.",
            "Log it with a signature whose first dimension varies, and a model that takes any number of rows.",
        )
    # A number for each row is a row of one number: Triton has no tensors without dimensions.
    return TensorSpec(name, datatype, tuple(shape) or (1,), optional=entry.get("required") is False)


def _from_columns(entries: Sequence[Mapping[str, Any]], unnamed: str) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    datatypes = [_datatype(entry) for entry in entries]
    names = [str(entry.get("name") or "") for entry in entries]
    optional = [entry.get("required") is False for entry in entries]
    if len(entries) == 1:
        return (TensorSpec(names[0] or unnamed, datatypes[0], (1,), optional[0]),), ()
    if len(set(datatypes)) == 1 and not any(optional):
        return (TensorSpec(unnamed, datatypes[0], (len(entries),)),), tuple(names)
    if not all(names):
        raise Unacceptable("The model's signature has columns of different types without names.", _HINT)
    columns = zip(names, datatypes, optional, strict=True)
    return tuple(TensorSpec(name, datatype, (1,), may_lack) for name, datatype, may_lack in columns), ()


def _datatype(entry: Mapping[str, Any]) -> str:
    datatype = _COLUMNS.get(str(entry["type"]))
    if datatype is None:
        raise Unacceptable(
            f"The column {entry.get('name')!r} is of the type {entry['type']!r}, which no tensor can hold.",
            "Give the model numbers, booleans or texts.",
        )
    return datatype
