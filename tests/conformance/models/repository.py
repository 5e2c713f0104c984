"""The model repository of the kit: what each model takes and gives, and where it comes to lie.

The programs are in `programs/`. A real Triton serves the repository as it is; nothing of the product lays it out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

VERSION = 1
DATATYPES = ("BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
             "FP16", "BF16", "FP32", "FP64", "BYTES")  # fmt: skip
"""Triton's datatypes, all of them; `echo` has an optional input of each, under its name in lower case."""
UNSERVED = ("compass", 2)
"""A version that the gateway routes to and Triton does not have: metadata and index are the gateway's view."""
CLASSES = ("north", "east", "south", "west")

_MODELS = Path(__file__).with_name("programs")


def _tensor(kind: str, name: str, datatype: str, dims: str = "[ -1 ]", more: str = "") -> str:
    configured = "STRING" if datatype == "BYTES" else datatype
    return f'{kind} [ {{ name: "{name}" data_type: TYPE_{configured} dims: {dims} {more} }} ]\n'


_ECHOED = "".join(
    _tensor("input", datatype.lower(), datatype, more="optional: true") + _tensor("output", datatype.lower(), datatype)
    for datatype in DATATYPES
)
_COMPASS = _tensor("input", "fp32", "FP32", "[ 4 ]") + _tensor(
    "output", "fp32", "FP32", "[ 4 ]", 'label_filename: "classes.txt"'
)
_COUNTER = "".join(
    (
        _tensor("input", "wait_ms", "INT64", "[ 1 ]"),
        _tensor("output", "begun", "INT64", "[ 1 ]"),
        _tensor("output", "cancelled", "INT64", "[ 1 ]"),
    )
)
_REPEAT = "".join(
    (
        _tensor("input", "times", "INT32", "[ 1 ]"),
        _tensor("input", "wait_ms", "INT32", "[ 1 ]", "optional: true"),
        _tensor("input", "fail_at", "INT32", "[ 1 ]", "optional: true"),
        _tensor("output", "step", "INT32", "[ 1 ]"),
    )
)
_CONTROLS = "".join(
    f'control_input [ {{ name: "{name}" control [ {{ kind: CONTROL_SEQUENCE_{kind} {kept} }} ] }} ]\n'
    for name, kind, kept in (
        ("start", "START", "int32_false_true: [ 0, 1 ]"),
        ("end", "END", "int32_false_true: [ 0, 1 ]"),
        ("sequence", "CORRID", "data_type: TYPE_UINT64"),
    )
)
_SUMS = f"max_batch_size: 8\nsequence_batching {{ max_sequence_idle_microseconds: 5000000 {_CONTROLS} }}\n" + (
    _tensor("input", "value", "INT32", "[ 1 ]") + _tensor("output", "sum", "INT32", "[ 1 ]")
)
_DECOUPLED = "model_transaction_policy { decoupled: true }\n"
_WORDS = _tensor("input", "text", "BYTES", "[ 1 ]") + _tensor("output", "word", "BYTES", "[ 1 ]")

MODELS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "echo": ("echo", _ECHOED),
        "compass": ("echo", f"max_batch_size: 8\n{_COMPASS}"),
        "idle": ("echo", _tensor("input", "fp32", "FP32") + _tensor("output", "fp32", "FP32")),
        "counter": ("counter", _COUNTER),
        "words": ("words", _DECOUPLED + _WORDS),
        "repeat": ("repeat", _DECOUPLED + _REPEAT),
        "sums": ("sums", _SUMS),
    }
)
"""For each model its program in `programs/` and its configuration. Nobody ever asks `idle` for an inference."""


def write(folder: Path, models: Iterable[str] = tuple(MODELS)) -> Path:
    """Writes the repository into this folder, which it returns."""
    for name in models:
        program, configuration = MODELS[name]
        version = folder / name / str(VERSION)
        version.mkdir(parents=True)
        shutil.copyfile(_MODELS / f"{program}.py", version / "model.py")
        (folder / name / "config.pbtxt").write_text(f'name: "{name}"\nbackend: "python"\n{configuration}')
        (folder / name / "classes.txt").write_text("".join(f"{one}\n" for one in CLASSES))
    return folder
