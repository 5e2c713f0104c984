"""What is sent: a request body of the Open Inference Protocol, and the headers that go with it.

The model gives back what it gets, so an answer is as large as its request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

MODEL = "m"
"""The name of the model that everybody asks."""

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Payload:
    """One request.

    Attributes:
        name: what the table calls it.
        body: the bytes of the request.
        headers: what goes with them.
    """

    name: str
    body: bytes
    headers: Mapping[str, str]


def json_floats(name: str, count: int) -> Payload:
    """A row of so many floats, as JSON."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, count], "data": [index + 0.5 for index in range(count)]}
    return Payload(name, json.dumps({"inputs": [tensor]}).encode(), {"Content-Type": "application/json"})


def binary_floats(name: str, count: int) -> Payload:
    """A row of so many floats behind the JSON, as the binary tensor extension has it; the answer is binary, too."""
    size = {"binary_data_size": count * _FLOAT_BYTES}
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, count], "parameters": size}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Payload(name, head + bytes(count * _FLOAT_BYTES), headers)


PAYLOADS: Mapping[str, Payload] = {
    payload.name: payload
    for payload in (
        json_floats("json", 8),
        binary_floats("100KB", 25_600),
        binary_floats("1MB", 262_144),
    )
}
