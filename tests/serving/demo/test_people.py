"""The people of the drift demo ask every row before any again, and say what was true to the API and in their file."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.control.client import ControlClient
from serving.demo import people as module
from serving.demo.people import People, status_of
from serving.demo.world import Part
from serving.errors import SluiceError
from tests.serving.processes import eventually


@dataclass
class Gateway:
    """One that answers every row with the digit 3, by version 7; or fails."""

    url: str = ""
    asked: list[list[float]] = field(default_factory=list)
    fails: bool = False


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """One that listens."""
    there = Gateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            there.asked.append(body["inputs"][0]["data"])
            said = json.dumps({"outputs": [{"name": "digit", "data": [3]}]}).encode()
            self.send_response(503 if there.fails else 200)
            self.send_header("sluice-version", "7")
            self.send_header("sluice-request-id", f"id-{len(there.asked)}")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield there
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def heard() -> list[dict[str, Any]]:
    """Items of feedback that the control API took."""
    return []


@pytest.fixture
def control(heard: list[dict[str, Any]]) -> ControlClient:
    """One that takes all feedback."""

    def answer(request: httpx.Request) -> httpx.Response:
        heard.extend(json.loads(request.content)["items"])
        return httpx.Response(200, json={"counts": {}, "items": []})

    return ControlClient("http://sluice", transport=httpx.MockTransport(answer))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LATER_S", 0.0)
    monkeypatch.setattr(module, "_BATCH_S", 0.01)


PART = Part(np.eye(5, 64, dtype=np.float32), np.array([3, 3, 3, 1, 2]))


def test_what_they_say_is_what_they_got(
    gateway: Gateway, control: ControlClient, heard: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Every row once before any again; labels by request id, with what was predicted, in the file and at the API."""
    with People(gateway.url, control, tmp_path / "labels.jsonl", 500.0) as people:
        people.ask(PART, turned=True)
        assert eventually(lambda: people.said >= 10, 20.0)
    assert sorted(gateway.asked[:5]) == sorted(PART.pixels.tolist())
    assert sorted(gateway.asked[5:10]) == sorted(PART.pixels.tolist())
    for number, item in enumerate(heard, 1):
        label = int(PART.labels[PART.pixels.tolist().index(gateway.asked[number - 1])])
        assert item == {"request_id": f"id-{number}", "label": label, "predicted": 3}
    lines = (tmp_path / "labels.jsonl").read_text().splitlines()
    assert [json.loads(one) for one in lines][: len(heard)] == heard
    answered = people.answered()
    assert people.asked == len(answered)
    assert {one.version for one in answered} == {7}
    assert all(one.turned for one in answered)
    assert sum(one.right for one in answered[:5]) == 3
    assert people.answered(answered[-1].at_s + 1) == []


def test_a_gateway_that_fails_is_asked_on_and_said(gateway: Gateway, control: ControlClient, tmp_path: Path) -> None:
    """What has no answer has no label."""
    gateway.fails = True
    with People(gateway.url, control, tmp_path / "labels.jsonl", 500.0) as people:
        people.ask(PART, turned=False)
        assert eventually(lambda: people.failed >= 3, 20.0)
        assert "503" in people.trouble
        gateway.fails = False
        assert eventually(lambda: people.asked >= 3, 20.0)


def test_a_trainer_that_does_not_answer_is_said(gateway: Gateway) -> None:
    """Whoever is at that address."""
    with pytest.raises(SluiceError, match="the trainer does not answer"):
        status_of(gateway.url)
