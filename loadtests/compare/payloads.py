"""What is sent: a request body of the Open Inference Protocol, and the headers that go with it.

The model gives back what it gets, so an answer is as large as its request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

MODEL = "m"
"""The name of the model that everybody asks."""

UNITS = "units"
"""The name of the payload whose requests each name another unit than the one before."""

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Payload:
    """One request.

    Attributes:
        name: what the table calls it.
        body: the bytes of the request.
        headers: what goes with them.
        units: how many values of `sluice-unit` the requests name in turn; 0: none, and each is like the one before.
    """

    name: str
    body: bytes
    headers: Mapping[str, str]
    units: int = 0

    def shown_with(self, headers: Mapping[str, str]) -> Self:
        """The same with more headers."""
        return replace(self, headers={**self.headers, **headers})


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
        replace(json_floats(UNITS, 8), units=2_048),  # twice as many heads as a gateway remembers by their bytes
    )
}
