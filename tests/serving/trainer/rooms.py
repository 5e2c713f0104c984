"""A control API as the trainer sees it, in memory, which can be made to break off before or after any call.

It knows no more than the trainer asks: what is registered under a number stays what it is, the same contents under the
same number are the same version, and a rollout is refused while another one is under way.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from serving.control.client import ControlClient
from serving.trainer.diary import Episode

MODEL = "digits"
EPISODE = Episode("ep-1", MODEL, "inputs", 1, "/api/v1/drift/episodes/ep-1/window.parquet", 100.0)
ROWS = 400
WHEN = "2026-01-01T00:00:00Z"


class Killed(BaseException):
    """The trainer's process is gone."""


def asked(rows: int = ROWS) -> tuple[np.ndarray[Any, Any], list[str], list[int]]:
    """Pixels, request ids and labels of a captured window: ten digits that one pixel each tells apart."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 10, rows)
    pixels = rng.uniform(0, 4, (rows, 64)).astype(np.float32)
    pixels[np.arange(rows), labels * 6] += 12
    return pixels, [f"id-{number}" for number in range(rows)], [int(label) for label in labels]


@cache
def window() -> bytes:
    """The captured window as Parquet."""
    pixels, ids, _ = asked()
    file = io.BytesIO()
    parquet.write_table(pa.table({"request_id": ids, "input.pixels": pixels.tolist()}), file)
    return file.getvalue()


@dataclass
class Room:
    """What is there, and what was asked.

    Attributes:
        versions: bodies of registrations by number; version 1 was there before.
        baselines: by version, how often each was brought.
        deployed: versions with servers, how often each was asked for.
        rollouts: plans and phases, oldest first.
        calls: all that was asked, as 'METHOD path'.
        dies_at: the number of the call at which the trainer is killed, from 0; None for never.
        after: whether it is killed once the call has done its work.
        answers: status codes for the next calls, before they do anything.
    """

    versions: dict[int, dict[str, Any]] = field(default_factory=lambda: {1: {"tags": {}}})
    baselines: dict[int, int] = field(default_factory=dict)
    deployed: dict[int, int] = field(default_factory=dict)
    rollouts: list[dict[str, Any]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    dies_at: int | None = None
    after: bool = False
    answers: list[int] = field(default_factory=list)
    phase: str = "promoted"

    @property
    def client(self) -> ControlClient:
        """A connection to it."""
        return ControlClient("http://sluice", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1/")
        number = len(self.calls)
        self.calls.append(f"{request.method} {path}")
        if number == self.dies_at and not self.after:
            raise Killed
        if self.answers:
            return httpx.Response(self.answers.pop(0), json={"title": "No", "detail": "Not now."})
        answer = self._route(request.method, path, request)
        if number == self.dies_at:
            raise Killed
        return answer

    def _route(self, method: str, path: str, request: httpx.Request) -> httpx.Response:
        handlers: dict[tuple[str, str], Callable[[httpx.Request], httpx.Response]] = {
            ("GET", "status"): lambda _: _ok(models=[{"name": MODEL, "versions": [{"version": 1}]}], **_STATUS),
            ("GET", "drift/episodes/ep-1/window.parquet"): lambda _: httpx.Response(200, content=window()),
            ("GET", f"registry/models/{MODEL}/versions"): self._listed,
            ("POST", f"registry/models/{MODEL}/versions"): self._register,
            ("GET", f"models/{MODEL}/rollouts"): self._rollouts,
            ("POST", f"models/{MODEL}/rollouts"): self._start,
        }
        if handler := handlers.get((method, path)):
            return handler(request)
        last = path.rpartition("/")[2]
        if path.startswith("operations/"):
            return _operation(last)
        if path.startswith("rollouts/"):
            return _ok(**next(one for one in self.rollouts if one["id"] == last))
        version = next(int(part) for part in path.split("/") if part.isdecimal())
        if method == "PUT" and last == "baseline":
            self.baselines[version] = self.baselines.get(version, 0) + 1
            return _ok(
                model=MODEL,
                version=version,
                digest="",
                size_bytes=1,
                rows=1,
                learned=False,
                made=WHEN,
                kept_by="",
                again=False,
            )
        if last == "deploy":
            self.deployed[version] = self.deployed.get(version, 0) + 1
            return _operation("deploy")
        return self._version(version)

    def _version(self, version: int) -> httpx.Response:
        if version not in self.versions:
            return httpx.Response(404, json={"title": "No", "detail": f"There is no version {version}."})
        empty: dict[str, Any] = dict.fromkeys((
            "state", "revision", "aliases", "registered_by", "registered_at", "artifact", "signature", "data",
            "parameters", "metrics", "parent", "code_revision", "baseline_digest",
        ))  # fmt: skip
        return _ok(**{**empty, **self.versions[version], "model": MODEL, "version": version})

    def _listed(self, _: httpx.Request) -> httpx.Response:
        newest = [{"version": max(self.versions)}]
        return _ok(model=MODEL, versions=newest, aliases={}, next=None)

    def _register(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if self.versions.setdefault(body["number"], body) != body:
            return httpx.Response(409, json={"title": "Changed", "detail": "That number is another version's."})
        return _operation("register")

    def _rollouts(self, _: httpx.Request) -> httpx.Response:
        return _ok(rollouts=[{"id": one["id"]} for one in reversed(self.rollouts)])

    def _start(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if any(not one["over"] for one in self.rollouts):
            return httpx.Response(409, json={"title": "Not now", "detail": "Another rollout is under way."})
        stages = [{"name": "shadow", "shares": {}}, {"name": "a/b", "shares": body["ab_test"]["arms"]}]
        begun = {
            **_ROLLOUT, "id": f"ro_{len(self.rollouts)}", "plan": {"stages": stages}, "phase": self.phase, "over": True,
            "chosen": body["candidate"], "body": body,
        }  # fmt: skip
        self.rollouts.append(begun)
        return _ok(rollout=begun, acknowledged=None, epoch=None, took_ms=1.0, notes=[])


_STATUS: dict[str, Any] = {
    "version": "1", "epoch": 1, "digest": "", "gateways": [], "endpoints": [], "pools": [],
    "store": {"reachable": True, "warnings": []},
}  # fmt: skip
_ROLLOUT: dict[str, Any] = {
    "id": "ro_9", "model": MODEL, "kind": "custom", "phase": "running", "place": "stage 1 of 3", "stage": None,
    "stage_number": 0, "stages": 3, "automation": "alone", "revision": 1, "candidate": None, "stable": 1, "shares": {},
    "by_hand": False, "over": False, "cause": "", "created_by": "", "created_at": WHEN, "waits": [], "next_stage": None,
    "next_step_s": None, "stage_s": 0.0, "requests": {}, "chosen": None, "advised": "", "approvals": [], "epochs": [],
    "plan": {"stages": []}, "gates": [], "webhooks": [],
}  # fmt: skip
SOMEBODY_ELSES = {**_ROLLOUT, "id": "ro_other"}
"""A rollout of another version that is under way."""


def _ok(**said: object) -> httpx.Response:
    return httpx.Response(200, json=said)


def _operation(name: str) -> httpx.Response:
    return _ok(
        id=name, kind=name, model=MODEL, version=None, state="done", words="", steps=[], who="", why="", began_at=WHEN,
        ended_at=WHEN, result={}, problem=None, cancelled_by="",
    )  # fmt: skip
