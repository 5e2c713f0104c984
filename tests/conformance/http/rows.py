"""How a vector is written down in one line, and what several parts of the table have in common."""

from __future__ import annotations

import json
import struct

from tests.conformance.differences import Why
from tests.conformance.http.exchange import After, Own, Vector
from tests.conformance.http.requests import request, tensor

TWO = tensor("FP32", [1.0, 2.0])
FOUR = struct.pack("<4f", 1.0, 4.0, 3.0, 2.0)
BINARY = {"binary_data": True}
ALL_BINARY = {"binary_data_output": True}
DEEPEST = 512
TOO_DEEP = Own(400, Why.NESTING, "nested deeper than 512")
UNKNOWN_PATH = Own(404, Why.UNKNOWN_PATH, "There is nothing at this path")
BROKEN = Own(400, Why.FRAMING, after=After.CLOSED)
ECHOED = json.loads(
    '{"model_name":"echo","model_version":"1",'
    '"outputs":[{"name":"fp32","datatype":"FP32","shape":[2],"data":[1.0,2.0]}]}'
)
"""What `echo` says to the good request."""


def one(name: str, data: bytes, gateway: Own | None = None, method: str = "POST") -> Vector:
    """A vector that goes out in one piece."""
    return Vector(name, (data,), gateway, method)


def get(name: str, target: str, gateway: Own | None = None) -> Vector:
    """A question."""
    return one(name, request("GET", target), gateway, "GET")
