"""What follows from drift on a whole installation: taken back by webhook, paused, or only told; each once.

Every test has an installation of its own. What is asked are the demo's rows with a little noise, so that calm traffic
is what baselines were made of; what is planted is in the baselines, or in the rows that are asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from loadtests.beside import Beside
from tests.e2e.conftest import Models
from tests.e2e.receiver import HOOK, Receiver, receiver
from tests.e2e.system import Installation, end, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PIXEL = 20
ROWS = 100
AT_ONCE = 10
MANY = 60
PATIENCE_S = 240.0
MODEL = "digits"

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Up:
    """Where everything is, and the rows that are asked."""

    system: Installation
    http_url: str
    api: httpx.Client
    heard: Receiver
    held: Rows

    def command(self, *words: str) -> Any:  # noqa: ANN401 - any answer
        """What a command says as JSON."""
        ran = self.system.run(*words, "--json")
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def baseline(self, version: int, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Brings what a version is held against."""
        words = ["--data", f"{version}.npz"]
        np.savez(self.system.folder / f"{version}.npz", **inputs)
        if outputs:
            np.savez(self.system.folder / f"{version}-answers.npz", **outputs)
            words += ["--predictions", f"{version}-answers.npz"]
        self.command("drift", "baseline", MODEL, str(version), *words, "--window-rows", str(ROWS))

    def answers(self, version: int, rows: Rows) -> dict[str, NDArray[Any]]:
        """What a version answers to these rows."""
        found: dict[str, list[NDArray[Any]]] = {"scores": [], "digit": []}
        with httpx.Client(base_url=self.http_url, timeout=30) as client:
            for at in range(0, len(rows), MANY):
                for one in infer(client, f"{MODEL}/versions/{version}", rows[at : at + MANY])["outputs"]:
                    found[one["name"]].append(np.array(one["data"]).reshape(one["shape"]))
        scores, digit = (np.concatenate(found[name]) for name in ("scores", "digit"))
        return {"scores": scores.astype(np.float32), "digit": digit.astype(np.int64)}

    def told(self) -> list[dict[str, Any]]:
        """What the webhook heard."""
        return [one.said for one in self.heard.at(HOOK)]

    def kinds(self) -> list[str]:
        """Of that, which kinds of messages."""
        return [one["type"] for one in self.told()]

    def windows(self, version: int) -> int:
        """How many were heard of a version."""
        found = self.api.get("/drift").json()["versions"]
        return next((int(one["windows"]) for one in found if one["version"] == version), 0)

    def rollout(self) -> dict[str, Any]:
        """The newest."""
        found: dict[str, Any] = self.api.get(f"/models/{MODEL}/rollouts").json()["rollouts"][0]
        return found


class Traffic(Beside):
    """Requests of ten calm rows, one after the other; `shift` is added to one pixel of each row."""

    def __init__(self, up: Up) -> None:
        super().__init__()
        self.shift = 0.0
        self._up = up

    def goes_on(self) -> None:
        """Until the block ends."""
        rng = np.random.default_rng(5)
        with httpx.Client(base_url=self._up.http_url, timeout=30) as client:
            while not self.over.wait(0.01):
                rows = drawn(rng, self._up.held, AT_ONCE)
                rows[:, PIXEL] += self.shift
                infer(client, MODEL, rows)


def infer(client: httpx.Client, model: str, rows: Rows) -> dict[str, Any]:
    """What is answered."""
    data = {"name": "pixels", "datatype": "FP32", "shape": list(rows.shape), "data": rows.tolist()}
    answer = client.post(f"/v2/models/{model}/infer", json={"inputs": [data]})
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def drawn(rng: np.random.Generator, held: Rows, rows: int) -> Rows:
    """Calm rows."""
    found: Rows = held[rng.integers(len(held), size=rows)] + rng.normal(0, 0.1, (rows, held.shape[1]))
    return found.astype(np.float32)


@pytest.fixture
def up(models: Models, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    """As many versions as asked for, sampled generously in windows of a hundred rows; everything is done at once."""
    (tmp_path / "drift.secret").write_text(SECRET)
    (tmp_path / "self.secret").write_text(SECRET[:-4] + "AAAA")
    with receiver() as heard:
        _configure(tmp_path, models.folder / "digits", heard, request.param)
        installation = Installation(tmp_path)
        process = installation.start("up")
        try:
            run = installation.ready(process, within_s=360)
            with (
                np.load(models.folder / "digits" / "rows.npz") as kept,
                httpx.Client(base_url=f"{run['control_url']}/api/v1", timeout=30) as api,
            ):
                yield Up(installation, run["http_url"], api, heard, kept["pixels"])
        finally:
            end(process)
            installation.gone()


def _configure(folder: Path, artifacts: Path, heard: Receiver, count: int) -> None:
    versions = [{"version": number, "path": str(artifacts / str(number))} for number in range(1, count + 1)]
    settings = {
        "models": [{"name": MODEL, "versions": versions, "traffic": {1: "100%"}}],
        "triton": {"port_range": 0, "ready_timeout_s": 300},
        "drift": {
            "samples": {"rows_per_s": 10_000},
            "window": {"rows": ROWS, "seconds": 1},
            "act": "act",
            "settle_s": 20,
            "webhooks": [
                {"url": f"{heard.origin}{HOOK}", "secret_file": "drift.secret"},
                {"url": "self", "secret_file": "self.secret", "events": ["drift.rollback"]},
            ],
        },
    }
    (folder / "sluice.yaml").write_text(yaml.safe_dump(settings))


def canary(up: Up) -> str:
    """A rollout of version 2 that gets half of the traffic and stays there; its id."""
    up.command("rollout", "start", MODEL, "--candidate", "2", "--canary", "50,100", "--hold", "1h", "--needs", "minima")
    until(lambda: up.rollout()["phase"] == "running", "the rollout", PATIENCE_S)
    rollout: str = up.rollout()["id"]
    return rollout


@pytest.mark.parametrize("up", [2], indirect=True)
def test_a_candidate_whose_answers_moved_is_taken_back_by_webhook(up: Up) -> None:
    """Inputs are calm, and stable's answers: this installation's own target hears it, once, and takes it back."""
    rng = np.random.default_rng(1)
    calm = drawn(rng, up.held, 60 * ROWS)
    answered = {version: up.answers(version, drawn(rng, up.held, 30 * ROWS)) for version in (1, 2)}
    lower = answered[2]["digit"].ravel() < 5  # as if, when it was trained, it had known five digits alone
    once = {name: np.resize(one[lower], (30 * ROWS, *one.shape[1:])) for name, one in answered[2].items()}
    up.baseline(1, {"pixels": calm}, answered[1])
    up.baseline(2, {"pixels": calm}, once)
    with Traffic(up):
        until(lambda: up.windows(1) >= 3, "windows of stable", PATIENCE_S)
        rollout = canary(up)
        until(lambda: up.rollout()["phase"] == "rolled back", "the rollback", PATIENCE_S)
        until(lambda: "drift.rollback" in up.kinds(), "the webhook")
        before = up.windows(1)
        until(lambda: up.windows(1) >= before + 10, "windows after it", PATIENCE_S)
    assert up.kinds().count("drift.rollback") == 1
    assert set(up.kinds()) <= {"drift.rollback", "drift.recommend"}
    (told,) = [one["data"] for one in up.told() if one["type"] == "drift.rollback"]
    assert (told["rollout"], told["cause"]) == (rollout, "candidate")
    entries = up.api.get("/ledger", params={"rollout": rollout, "limit": 50}).json()["entries"]
    (back,) = [one for one in entries if one["facts"].get("event") == "rolled_back"]
    assert "webhook" in back["who"]
    (episode,) = up.command("drift", "episodes", MODEL)["episodes"]
    assert (episode["id"], episode["acted"]) == (told["episode"], "rollback")


@pytest.mark.parametrize("up", [2], indirect=True)
def test_a_broken_schema_pauses(up: Up) -> None:
    """What a version was trained on has a column that nobody sends: somebody is called, and nothing grows."""
    with Traffic(up):
        rollout = canary(up)
        rows = drawn(np.random.default_rng(2), up.held, 60 * ROWS)
        age = np.arange(len(rows), dtype=np.float32) % 90
        up.baseline(2, {"pixels": rows, "age": age}, {})
        until(lambda: up.rollout()["phase"] == "paused", "the pause", PATIENCE_S)
        until(lambda: {"drift.alert", "drift.paused"} <= set(up.kinds()), "the webhooks")
        before = up.windows(2)
        until(lambda: up.windows(2) >= before + 10, "windows after it", PATIENCE_S)
    assert sorted(up.kinds()) == ["drift.alert", "drift.paused"]
    (paused,) = [one["data"] for one in up.told() if one["type"] == "drift.paused"]
    assert (paused["rollout"], paused["cause"]) == (rollout, "schema")
    assert "age" in paused["words"]
    assert up.rollout()["phase"] == "paused"


@pytest.mark.parametrize("up", [1], indirect=True)
def test_harmless_drift_is_told_and_nothing_else(up: Up) -> None:
    """Inputs moved, and nobody says that it does harm: one message, and the policy stays."""
    before = up.api.get(f"/models/{MODEL}/policy").json()
    up.baseline(1, {"pixels": drawn(np.random.default_rng(3), up.held, 60 * ROWS)}, {})
    with Traffic(up) as traffic:
        until(lambda: up.windows(1) >= 5, "calm windows", PATIENCE_S)
        assert up.kinds() == []
        traffic.shift = 16.0
        until(up.kinds, "the webhook", PATIENCE_S)
        seen = up.windows(1)
        until(lambda: up.windows(1) >= seen + 15, "windows after it", PATIENCE_S)
    (told,) = up.told()
    assert (told["type"], told["data"]["cause"], told["data"]["harm"]["shown"]) == ("drift.notify", "inputs", False)
    assert told["data"]["features"][0]["feature"] == f"pixels[{PIXEL}]"
    assert up.api.get(f"/models/{MODEL}/policy").json()["revision"] == before["revision"]
    assert up.api.get(f"/models/{MODEL}/rollouts").json()["rollouts"] == []
    (episode,) = up.command("drift", "episodes", MODEL)["episodes"]
    assert (episode["acted"], episode["pending"]) == ("nothing", "nothing")
