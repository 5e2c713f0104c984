"""The gRPC port of a whole installation: leases, workers on one inherited socket, and the same split as over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from tests.e2e.conftest import Demo

pytestmark = pytest.mark.e2e


@pytest.fixture
def place(demo: Demo) -> str:
    """Where the demo answers gRPC, as its run file says."""
    return str(json.loads((demo.folder / ".sluice" / "run.json").read_text())["grpc_url"])


@pytest.fixture
def client(place: str) -> Iterator[Any]:
    """Triton's own client."""
    with grpc.InferenceServerClient(place) as client:
        yield client


def asked(demo: Demo, rows: int = 1) -> Any:  # noqa: ANN401 (tritonclient has no types)
    """An input of the demo's model."""
    given = grpc.InferInput("pixels", [rows, demo.rows.shape[1]], "FP32")
    given.set_data_from_numpy(demo.rows[:rows].astype(np.float32))
    return given


def test_a_unit_gets_the_same_version_at_both_doors(demo: Demo, client: Any) -> None:  # noqa: ANN401
    """For every unit, with the same reason; the answers are the model's."""
    body = {
        "inputs": [
            {
                "name": "pixels",
                "datatype": "FP32",
                "shape": [1, 64],
                "data": demo.rows[:1].astype(float).ravel().tolist(),
            }
        ]
    }
    for number in range(30):
        unit = f"person-{number}"
        over_http = httpx.post(
            f"{demo.http_url}/v2/models/digits/infer", json=body, headers={"sluice-unit": unit}, timeout=10
        )
        answer = client.infer("digits", [asked(demo)], headers={"sluice-unit": unit}).get_response()
        assert answer.model_version == over_http.headers["sluice-version"] == over_http.json()["model_version"]


def test_both_doors_say_what_there_is(demo: Demo, client: Any) -> None:  # noqa: ANN401
    """Ready, metadata with both versions, statistics, and an unknown version in a sentence."""
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    metadata = httpx.get(f"{demo.http_url}/v2/models/digits", timeout=10).json()
    assert list(client.get_model_metadata("digits").versions) == metadata["versions"]
    assert client.get_inference_statistics("digits").model_stats
    with pytest.raises(InferenceServerException, match="has no version '9' here"):
        client.infer("digits", [asked(demo)], model_version="9")


def test_the_status_shows_where_it_listens(demo: Demo, place: str) -> None:
    """Beside the HTTP port, in every gateway's lease; and replicas' leases name their Tritons' gRPC ports."""
    status = httpx.get(f"{demo.control_url}/api/v1/status", timeout=10).json()
    assert {str(one["grpc_port"]) for one in status["gateways"]} == {place.rpartition(":")[2]}
    assert all(one["grpc_port"] for one in status["endpoints"])
