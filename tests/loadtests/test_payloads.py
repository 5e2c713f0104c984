"""Requests that a Triton understands."""

import json

import pytest

from loadtests.compare.payloads import PAYLOADS


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
