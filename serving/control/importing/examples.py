"""MLflow's serving input example as the JSON body of a v2 inference request, for warming a server up.

An example is a convenience: one that cannot be written as tensors of the signature is left out, and a sentence says
why. No model is refused for it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from registry.models import LONGEST_EXAMPLE
from registry.signature import VARIES, Signature, TensorSpec

MOST_ROWS = 4
"""Rows of the example that are kept: enough to warm up with."""

_PLAIN: Mapping[str, type[bool | str]] = MappingProxyType({"BOOL": bool, "BYTES": str})
_NOT_IN_JSON = frozenset({"FP16", "BF16"})


class Unwritable(ValueError):  # noqa: N818 - named after what happened
    """The example cannot be written as tensors of the signature; says why."""


def translate(text: str, signature: Signature, columns: Sequence[str] = ()) -> str:
    """The request that asks what the example asks.

    Args:
        text: the content of MLflow's `serving_input_example.json`.
        signature: ours.
        columns: the names of the columns that became one matrix, in its order.

    Raises:
        Unwritable: it fits no such request.
    """
    try:
        given = _by_name(json.loads(text), signature, columns)
        tensors = [_tensor(spec, given[spec.name]) for spec in signature.inputs if spec.name in given]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise Unwritable(str(error) or repr(error)) from error
    request = json.dumps({"inputs": tensors})
    if len(request) > LONGEST_EXAMPLE:
        raise Unwritable(f"it has more than {LONGEST_EXAMPLE:,} characters")
    return request


def _by_name(example: Mapping[str, Any], signature: Signature, columns: Sequence[str]) -> Mapping[str, Any]:
    """The rows of each input."""
    if "dataframe_split" in example:
        return _of_frame(example["dataframe_split"], signature, columns)
    rows = example["inputs"]
    if isinstance(rows, Mapping):
        return _of_columns(rows, signature, columns)
    if len(signature.inputs) > 1:
        raise Unwritable("it has rows without names, and the model several inputs")
    return {signature.inputs[0].name: rows}


def _of_frame(frame: Mapping[str, Any], signature: Signature, columns: Sequence[str]) -> Mapping[str, Any]:
    rows = frame["data"]
    names = frame.get("columns") or [str(number) for number in range(len(rows[0]))]
    return _of_columns(dict(zip(names, zip(*rows, strict=True), strict=True)), signature, columns)


def _of_columns(given: Mapping[str, Sequence[Any]], signature: Signature, columns: Sequence[str]) -> Mapping[str, Any]:
    if not columns:
        return given
    named = [given[name] for name in columns] if all(columns) else list(given.values())
    return {signature.inputs[0].name: [list(row) for row in zip(*named, strict=True)]}


def _tensor(spec: TensorSpec, rows: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON holds
    if spec.datatype in _NOT_IN_JSON:
        raise Unwritable(f"{spec.name} is {spec.datatype}, which JSON does not hold")
    if not isinstance(rows, list | tuple):
        raise Unwritable(f"{spec.name} has no rows")
    kept = list(rows[:MOST_ROWS])
    if spec.shape == (1,) and not any(isinstance(row, list | tuple) for row in kept):
        kept = [[value] for value in kept]
    count, *shape = _shape(kept)
    if len(shape) != len(spec.shape) or any(
        want not in (VARIES, is_) for want, is_ in zip(spec.shape, shape, strict=True)
    ):
        raise Unwritable(f"{spec.name} has rows of the shape {shape}, and the model takes {list(spec.shape)}")
    data = [_value(spec, value) for value in _flat(kept, len(shape) + 1)]
    if len(data) != math.prod((count, *shape)):
        raise Unwritable(f"{spec.name} has rows of different sizes")
    return {"name": spec.name, "datatype": spec.datatype, "shape": [count, *shape], "data": data}


def _shape(nested: Any) -> list[int]:  # noqa: ANN401 - as above
    sizes = []
    while isinstance(nested, list | tuple):
        sizes.append(len(nested))
        nested = nested[0]
    return sizes


def _flat(nested: Any, depth: int) -> list[Any]:  # noqa: ANN401 - as above
    return [nested] if depth == 0 else [value for part in nested for value in _flat(part, depth - 1)]


def _value(spec: TensorSpec, value: Any) -> bool | int | float | str:  # noqa: ANN401 - as above
    plain = _PLAIN.get(spec.datatype)
    if plain is not None:
        if not isinstance(value, plain):
            raise Unwritable(f"{spec.name} is {spec.datatype}, and the example has {value!r}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unwritable(f"{spec.name} is {spec.datatype}, and the example has {value!r}")
    if spec.datatype.startswith("FP"):
        return float(value)
    if value != int(value):
        raise Unwritable(f"{spec.name} is {spec.datatype}, and the example has {value!r}")
    return int(value)
