"""A kept request as it can be sent again: the JSON of the Open Inference Protocol, and the tensors after it in binary.

Whatever form it came in, it goes out in this one: it says everything exactly, half-precision numbers and bytes that are
no text among it. The outputs are asked for in binary as well.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from serving.keeping.decoding import Tensor
from serving.payloads.reading import KeptRow

_HEADER: Final = "inference-header-content-length"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A request that can be sent.

    Attributes:
        headers: that go with it.
        body: JSON and tensors.
    """

    headers: dict[str, str]
    body: bytes


def why_not(row: KeptRow) -> str:
    """Why a row cannot be sent again; empty where it can."""
    if not row.inputs and row.about["unread"]:
        return "unread"
    sent = {name for name in row.shapes if name.startswith("input.")}
    if any(name.removeprefix("input.") in row.hidden for name in sent):
        return "redacted"
    return "" if row.inputs else "empty"


def rebuilt(row: KeptRow) -> Rebuilt:
    """The request of a row for which `why_not` says nothing."""
    contents = [(name, tensor, _raw(tensor)) for name, tensor in row.inputs.items()]
    said: dict[str, Any] = {
        "inputs": [
            {
                "name": name, "datatype": tensor.datatype, "shape": list(tensor.shape),
                "parameters": {"binary_data_size": len(raw)},
            }
            for name, tensor, raw in contents
        ],
        "parameters": {"binary_data_output": True},
    }  # fmt: skip
    if row.about["asked"]:
        said["outputs"] = [_asked(one["name"], one["classes"]) for one in row.about["asked"]]
    head = json.dumps(said).encode()
    headers = {"content-type": "application/octet-stream", _HEADER: str(len(head))}
    return Rebuilt(headers, head + b"".join(raw for _, _, raw in contents))


def _asked(name: str, classes: int) -> dict[str, Any]:
    parameters: dict[str, Any] = {"binary_data": True}
    if classes:
        parameters["classification"] = classes
    return {"name": name, "parameters": parameters}


def _raw(tensor: Tensor) -> bytes:
    if tensor.datatype == "BYTES":
        return b"".join(len(one).to_bytes(4, "little") + one for one in tensor.values.ravel())
    if tensor.datatype == "BF16":
        return (np.ascontiguousarray(tensor.values, dtype="<f4").view("<u4") >> np.uint32(16)).astype("<u2").tobytes()
    return np.ascontiguousarray(tensor.values).tobytes()
