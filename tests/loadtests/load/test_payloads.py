"""Requests: what a model takes is drawn for it, and a file's requests are sent as they stand, in every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelInferRequest

from loadtests.load.payloads import drawn, from_file, prepared
from loadtests.load.records import Kind

_TYPES = ("FP32", "FP64", "INT8", "INT64", "UINT16", "BOOL", "BYTES")


def inputs(datatype: str) -> list[dict[str, Any]]:
    """One input of that type."""
    return [{"name": "x", "datatype": datatype, "shape": [-1, 3]}]


@pytest.mark.parametrize("datatype", _TYPES)
def test_every_form_holds_the_same_tensor(datatype: str) -> None:
    """JSON, binary and gRPC name the same shape, and the two binary ones have equal bytes."""
    [sample] = drawn(inputs(datatype), seed=1, count=1, rows=2)
    as_json, binary, grpc = (prepared(sample, kind, "m", 4) for kind in Kind)
    message = ModelInferRequest.FromString(grpc.body)
    [said] = json.loads(as_json.body)["inputs"]
    length = int(binary.headers["inference-header-content-length"])
    [named] = json.loads(binary.body[:length])["inputs"]
    assert (message.model_name, message.model_version) == ("m", "4")
    assert list(message.inputs[0].shape) == said["shape"] == named["shape"] == [2, 3]
    assert len(said["data"]) == 6
    assert binary.body[length:] == message.raw_input_contents[0]
    assert named["parameters"]["binary_data_size"] == len(message.raw_input_contents[0])


@pytest.mark.parametrize(("datatype", "size"), [("FP16", 2), ("BF16", 2)])
def test_half_floats_travel_in_binary_only(datatype: str, size: int) -> None:
    """Two bytes for each, and JSON is refused with what to use instead."""
    [sample] = drawn(inputs(datatype), seed=1, count=1)
    message = ModelInferRequest.FromString(prepared(sample, Kind.GRPC, "m", None).body)
    assert len(message.raw_input_contents[0]) == 3 * size
    with pytest.raises(ValueError, match="--mix"):
        prepared(sample, Kind.JSON, "m", None)


def test_a_bf16_is_the_upper_half_of_a_float() -> None:
    """1.0 is 0x3F80."""
    [[tensor]] = drawn(inputs("BF16"), seed=1, count=1)
    one = tensor._replace(values=np.ones((1, 3), np.float32))
    assert prepared([one], Kind.BINARY, "m", None).body.endswith(b"\x80\x3f" * 3)


def test_equal_seeds_draw_equal_requests() -> None:
    """And others others."""
    first, again, other = (
        [prepared(one, Kind.JSON, "m", None).body for one in drawn(inputs("FP32"), seed)] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    assert len(set(first)) == len(first)


def test_a_file_s_requests_are_sent(tmp_path: Path) -> None:
    """A line each, blank ones passed over."""
    line = json.dumps({"inputs": [{"name": "x", "datatype": "INT32", "shape": [1, 2], "data": [7, 8]}]})
    file = tmp_path / "requests.jsonl"
    file.write_text(f"{line}\n\n{line}\n")
    samples = from_file(file)
    assert len(samples) == 2
    assert json.loads(prepared(samples[0], Kind.JSON, "m", None).body)["inputs"][0]["data"] == [7, 8]


def test_a_file_without_requests_is_refused(tmp_path: Path) -> None:
    """One that is not there, one that is empty, and one whose second line is none, by its number."""
    file = tmp_path / "requests.jsonl"
    with pytest.raises(ValueError, match="cannot be read"):
        from_file(file)
    file.write_text("\n")
    with pytest.raises(ValueError, match="holds no request"):
        from_file(file)
    good = json.dumps({"inputs": [{"name": "x", "datatype": "INT32", "shape": [1], "data": [7]}]})
    for bad in ("[]", "{}", "no json", "[" * 100_000):
        file.write_text(f"{good}\n{bad}\n")
        with pytest.raises(ValueError, match="line 2"):
            from_file(file)


def test_nothing_is_drawn_for_an_unknown_type() -> None:
    """The sentence says that a file does it."""
    with pytest.raises(ValueError, match="--data"):
        drawn(inputs("FP8"), seed=1)
