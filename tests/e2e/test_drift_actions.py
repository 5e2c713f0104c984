"""What follows from drift on a whole installation: taken back by webhook, paused, or only told; each once.

Every test has a model of its own. What is asked are the demo's rows with a little noise, so that calm traffic is what
baselines were made of; what is planted is in the baselines, or in the rows that are asked.
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

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PIXEL = 20
ROWS = 100
AT_ONCE = 10
PATIENCE_S = 240.0
BACK, BROKEN, HARMLESS = "back", "broken", "harmless"

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

    def baseline(self, model: str, version: int, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Brings what a version is held against."""
        words = ["--data", f"{model}-{version}.npz"]
        np.savez(self.system.folder / f"{model}-{version}.npz", **inputs)
        if outputs:
            np.savez(self.system.folder / f"{model}-{version}-answers.npz", **outputs)
            words += ["--predictions", f"{model}-{version}-answers.npz"]
        self.command("drift", "baseline", model, str(version), *words, "--window-rows", str(ROWS))

    def answers(self, model: str, version: int, rows: Rows) -> dict[str, NDArray[Any]]:
        """What a version answers to these rows."""
        found: dict[str, list[NDArray[Any]]] = {"scores": [], "digit": []}
        for at in range(0, len(rows), AT_ONCE):
            said = infer(self.http_url, f"{model}/versions/{version}", rows[at : at + AT_ONCE])
            for one in said["outputs"]:
                found[one["name"]].append(np.array(one["data"]).reshape(one["shape"]))
        scores, digit = (np.concatenate(found[name]) for name in ("scores", "digit"))
        return {"scores": scores.astype(np.float32), "digit": digit.astype(np.int64)}

    def told(self, model: str) -> list[dict[str, Any]]:
        """What the webhook heard of that model."""
        return [one.said for one in self.heard.at(HOOK) if one.said["data"]["model"] == model]

    def kinds(self, model: str) -> list[str]:
        """Of that, which kinds of messages."""
        return [one["type"] for one in self.told(model)]

    def windows(self, model: str, version: int) -> int:
        """How many were heard of a version."""
        found = self.api.get("/drift").json()["versions"]
        return next((int(one["windows"]) for one in found if (one["model"], one["version"]) == (model, version)), 0)

    def rollout(self, model: str) -> dict[str, Any]:
        """The model's newest rollout."""
        found: dict[str, Any] = self.api.get(f"/models/{model}/rollouts").json()["rollouts"][0]
        return found


class Traffic(Beside):
    """Requests of ten calm rows to a model, one after the other; `shift` is added to one pixel of each row."""

    def __init__(self, up: Up, model: str) -> None:
        super().__init__()
        self.shift = 0.0
        self._up, self._model = up, model

    def goes_on(self) -> None:
        """Until the block ends."""
        rng = np.random.default_rng(5)
        while not self.over.wait(0.01):
            rows = drawn(rng, self._up.held, AT_ONCE)
            rows[:, PIXEL] += self.shift
            infer(self._up.http_url, self._model, rows)


def infer(url: str, model: str, rows: Rows) -> dict[str, Any]:
    """What is answered."""
    data = {"name": "pixels", "datatype": "FP32", "shape": list(rows.shape), "data": rows.tolist()}
    answer = httpx.post(f"{url}/v2/models/{model}/infer", json={"inputs": [data]}, timeout=30)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def drawn(rng: np.random.Generator, held: Rows, rows: int) -> Rows:
    """Calm rows."""
    found: Rows = held[rng.integers(len(held), size=rows)] + rng.normal(0, 0.1, (rows, held.shape[1]))
    return found.astype(np.float32)


@pytest.fixture(scope="module")
def up(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Three models, sampled generously in windows of a hundred rows, for which everything is done at once."""
    folder = tmp_path_factory.mktemp("actions")
    (folder / "drift.secret").write_text(SECRET)
    (folder / "self.secret").write_text(SECRET[:-4] + "AAAA")
    with receiver() as heard:
        _configure(folder, models.folder / "digits", heard)
        installation = Installation(folder)
        process = installation.start("up")
        try:
            run = installation.ready(process, within_s=300)
            with (
                np.load(models.folder / "digits" / "rows.npz") as kept,
                httpx.Client(base_url=f"{run['control_url']}/api/v1", timeout=30) as api,
            ):
                yield Up(installation, run["http_url"], api, heard, kept["pixels"])
        finally:
            end(process)
            installation.gone()


def _configure(folder: Path, artifacts: Path, heard: Receiver) -> None:
    versions = [{"version": number, "path": str(artifacts / str(number))} for number in (1, 2)]
    settings = {
        "models": [
            {"name": BACK, "versions": versions, "traffic": {1: "100%"}},
            {"name": BROKEN, "versions": versions, "traffic": {1: "100%"}},
            {"name": HARMLESS, "versions": versions[:1]},
        ],
        "triton": {"port_range": 0},
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


def canary(up: Up, model: str) -> str:
    """A rollout of version 2 that gets half of the traffic and stays there; its id."""
    started = up.command(
        "rollout", "start", model, "--candidate", "2", "--canary", "50,100", "--hold", "1h", "--needs", "minima"
    )  # fmt: skip
    until(lambda: up.rollout(model)["phase"] == "running", f"the rollout of {model}", PATIENCE_S)
    rollout: str = (started.get("rollout") or started)["id"]
    return rollout


def test_a_candidate_whose_answers_moved_is_taken_back_by_webhook(up: Up) -> None:
    """Inputs are calm, and stable's answers: this installation's own target hears it, once, and takes it back."""
    rng = np.random.default_rng(1)
    calm = drawn(rng, up.held, 60 * ROWS)
    answered = {version: up.answers(BACK, version, drawn(rng, up.held, 30 * ROWS)) for version in (1, 2)}
    lower = answered[2]["digit"].ravel() < 5  # as if, when it was trained, it had known five digits alone
    once = {name: np.resize(one[lower], (30 * ROWS, *one.shape[1:])) for name, one in answered[2].items()}
    up.baseline(BACK, 1, {"pixels": calm}, answered[1])
    up.baseline(BACK, 2, {"pixels": calm}, once)
    with Traffic(up, BACK):
        until(lambda: up.windows(BACK, 1) >= 3, "windows of stable", PATIENCE_S)
        rollout = canary(up, BACK)
        until(lambda: up.rollout(BACK)["phase"] == "rolled back", "the rollback", PATIENCE_S)
        until(lambda: "drift.rollback" in up.kinds(BACK), "the webhook")
        before = up.windows(BACK, 1)
        until(lambda: up.windows(BACK, 1) >= before + 10, "windows after it", PATIENCE_S)
    assert up.kinds(BACK).count("drift.rollback") == 1
    assert set(up.kinds(BACK)) <= {"drift.rollback", "drift.recommend", "drift.finding"}
    (told,) = [one["data"] for one in up.told(BACK) if one["type"] == "drift.rollback"]
    assert (told["rollout"], told["cause"]) == (rollout, "candidate")
    entries = up.api.get("/ledger", params={"rollout": rollout, "limit": 50}).json()["entries"]
    (back,) = [one for one in entries if one["facts"].get("event") == "rolled_back"]
    assert "webhook" in back["who"]
    (episode,) = up.command("drift", "episodes", BACK)["episodes"]
    assert (episode["id"], episode["acted"]) == (told["episode"], "rollback")


def test_a_broken_schema_pauses(up: Up) -> None:
    """What a version was trained on has a column that nobody sends: somebody is called, and nothing grows."""
    with Traffic(up, BROKEN):
        rollout = canary(up, BROKEN)
        rows = drawn(np.random.default_rng(2), up.held, 60 * ROWS)
        age = np.arange(len(rows), dtype=np.float32) % 90
        up.baseline(BROKEN, 2, {"pixels": rows, "age": age}, {})
        until(lambda: up.rollout(BROKEN)["phase"] == "paused", "the pause", PATIENCE_S)
        until(lambda: {"drift.alert", "drift.paused"} <= set(up.kinds(BROKEN)), "the webhooks")
        before = up.windows(BROKEN, 2)
        until(lambda: up.windows(BROKEN, 2) >= before + 10, "windows after it", PATIENCE_S)
    assert sorted(up.kinds(BROKEN)) == ["drift.alert", "drift.paused"]
    (paused,) = [one["data"] for one in up.told(BROKEN) if one["type"] == "drift.paused"]
    assert (paused["rollout"], paused["cause"]) == (rollout, "schema")
    assert "age" in paused["words"]
    assert up.rollout(BROKEN)["phase"] == "paused"


def test_harmless_drift_is_told_and_nothing_else(up: Up) -> None:
    """Inputs moved, and nobody says that it does harm: one message, and the policy stays."""
    before = up.api.get(f"/models/{HARMLESS}/policy").json()
    up.baseline(HARMLESS, 1, {"pixels": drawn(np.random.default_rng(3), up.held, 60 * ROWS)}, {})
    with Traffic(up, HARMLESS) as traffic:
        until(lambda: up.windows(HARMLESS, 1) >= 5, "calm windows", PATIENCE_S)
        assert up.kinds(HARMLESS) == []
        traffic.shift = 16.0
        until(lambda: up.kinds(HARMLESS), "the webhook", PATIENCE_S)
        seen = up.windows(HARMLESS, 1)
        until(lambda: up.windows(HARMLESS, 1) >= seen + 15, "windows after it", PATIENCE_S)
    (told,) = up.told(HARMLESS)
    assert (told["type"], told["data"]["cause"], told["data"]["harm"]["shown"]) == ("drift.notify", "inputs", False)
    assert told["data"]["features"][0]["feature"] == f"pixels[{PIXEL}]"
    assert up.api.get(f"/models/{HARMLESS}/policy").json()["revision"] == before["revision"]
    assert up.api.get(f"/models/{HARMLESS}/rollouts").json()["rollouts"] == []
    (episode,) = up.command("drift", "episodes", HARMLESS)["episodes"]
    assert (episode["acted"], episode["pending"]) == ("nothing", "nothing")
