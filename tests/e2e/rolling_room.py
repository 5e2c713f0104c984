"""An installation with three gateways and versions that say their number, and what is asked of its rollouts."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from tests.e2e.load import MODEL, Load
from tests.e2e.numbered import numbered
from tests.e2e.receiver import Receiver, receiver
from tests.e2e.system import PATIENCE_S, Installation, end, until

GATEWAYS = 3
OTHER = "other"
_VERSIONS = {MODEL: (1, 2, 3), OTHER: (1,)}


@dataclass(frozen=True)
class RollingRoom:
    """An installation whose model has version 1 for stable, and 2 and 3 that are up; the other has one version."""

    installation: Installation
    api: httpx.Client
    host: str
    port: int
    receiver: Receiver

    def load(self) -> Load:
        """Requests that do not stop until the block ends."""
        return Load(self.host, self.port)

    def asked(self, method: str, path: str, said: Mapping[str, Any] | None = None, match: str = "*") -> dict[str, Any]:
        """An answer that has to be a good one."""
        headers, wait = ({}, {}) if said is None else ({"If-Match": match}, {"wait_s": 10})
        answer = self.api.request(method, path, json=said, headers=headers, params=wait)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json())

    def start(self, document: Mapping[str, Any], *, again: bool = True) -> str:
        """The id of a rollout that has begun."""
        said = self.asked("POST", f"/models/{MODEL}/rollouts", {**document, "again": again})
        return str(said["rollout"]["id"])

    def rollout(self, rollout: str) -> dict[str, Any]:
        """Where it stands."""
        return self.asked("GET", f"/rollouts/{rollout}")

    def comes_to(self, rollout: str, phase: str) -> dict[str, Any]:
        """Where it stands once it is in that phase; fails where it is over and in another."""

        def look() -> dict[str, Any]:
            there = self.rollout(rollout)
            assert there["phase"] == phase or not there["over"], (there["phase"], there["cause"])
            return there if there["phase"] == phase else {}

        return until(look, f"{rollout} {phase}")

    def moved(self, rollout: str, what: str, **said: object) -> dict[str, Any]:
        """What an operator asked for, once all three gateways run it."""
        answer = self.asked("POST", f"/rollouts/{rollout}/{what}", said)
        assert answer["acknowledged"] == {"of": GATEWAYS, "by": GATEWAYS, "expired": [], "waiting": []}
        return answer

    def policy(self) -> dict[str, Any]:
        """What the model runs."""
        return dict(self.asked("GET", f"/models/{MODEL}/policy")["policy"])

    def why(self, rollout: str) -> list[dict[str, Any]]:
        """What the ledger says of it, oldest first."""
        return list(self.asked("GET", f"/rollouts/{rollout}/why")["entries"])

    def ledger(self) -> list[dict[str, Any]]:
        """Every entry, oldest first."""
        answer = self.api.get("/ledger/export")
        assert answer.is_success, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def ready(self) -> set[int]:
        """The versions of the model that are up."""
        return {one["version"] for one in self.asked("GET", "/status")["endpoints"] if one["model"] == MODEL}

    def inferences(self, version: int) -> int:
        """How many requests a version's Triton has answered, as it says itself."""
        [place] = [
            f"{one['host']}:{one['http_port']}"
            for one in self.asked("GET", "/status")["endpoints"]
            if (one["model"], one["version"]) == (MODEL, version)
        ]
        [said] = httpx.get(f"http://{place}/v2/models/{MODEL}/versions/{version}/stats").json()["model_stats"]
        return int(said["inference_stats"]["success"]["count"])

    def sluice(self, *words: str, code: int = 0) -> str:
        """What a command printed that has to end with this exit code."""
        done = self.installation.run(*words)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def restore(self) -> None:
        """No rollout in progress, and version 1 alone."""
        for one in self.asked("GET", "/rollouts")["rollouts"]:
            self.asked("POST", f"/rollouts/{one['id']}/rollback", {"why": "the test is over"})
        if self.policy()["stable"] != 1:
            self.asked("PUT", f"/models/{MODEL}/policy", {"policy": {"stable": 1, "arms": []}})


@contextmanager
def rolling_room(folder: Path) -> Iterator[RollingRoom]:
    """Up for as long as the block lasts; ended by SIGTERM, which ends it with 0, and nothing of it may be left over."""
    installation = Installation(folder)
    with receiver() as heard:
        (folder / "sluice.yaml").write_text(yaml.safe_dump(_settings(folder, heard.origin)))
        process = installation.start("up")
        try:
            run = installation.ready(process, within_s=4 * PATIENCE_S)
            place = urlsplit(run["http_url"])
            with httpx.Client(base_url=f"{run['control_url']}/api/v1", timeout=30) as api:
                yield RollingRoom(installation, api, str(place.hostname), place.port or 80, heard)
        finally:
            code = end(process, signal.SIGTERM)
            installation.gone()
    assert code == 0, installation.output()


def _settings(folder: Path, trusted: str) -> dict[str, Any]:
    models = [
        {
            "name": model,
            "versions": [
                {"version": one, "path": str(numbered(folder / "models" / model / str(one), one))} for one in versions
            ],
            "traffic": {1: "100%"},
        }
        for model, versions in _VERSIONS.items()
    ]
    return {
        "models": models,
        "control": {"trusted_addresses": [trusted]},
        "gateway": {"workers": GATEWAYS},
        "triton": {"port_range": 0},
    }
