"""Requests that a Triton understands."""

import json

import pytest

from loadtests.compare.payloads import PAYLOADS, UNITS
from serving.gateway import remembered


@pytest.mark.parametrize(("name", "size"), [("100KB", 102_400), ("1MB", 1_048_576)])
def test_a_binary_tensor_follows_its_json(name: str, size: int) -> None:
    """The header says where the JSON ends, the JSON how long the tensor is."""
    payload = PAYLOADS[name]
    length = int(payload.headers["Inference-Header-Content-Length"])
    [tensor] = json.loads(payload.body[:length])["inputs"]
    assert tensor["parameters"]["binary_data_size"] == len(payload.body) - length == size
    assert tensor["shape"] == [1, size // 4]


def test_the_small_request_is_eight_floats() -> None:
    """As JSON."""
    [tensor] = json.loads(PAYLOADS["json"].body)["inputs"]
    assert len(tensor["data"]) == tensor["shape"][1] == 8


def test_requests_by_unit_have_more_heads_than_a_gateway_remembers() -> None:
    """Otherwise each of them would be like one before; apart from that they are the small request."""
    assert PAYLOADS[UNITS].units > remembered._MOST
    assert PAYLOADS[UNITS].body == PAYLOADS["json"].body
    assert PAYLOADS["json"].units == 0
