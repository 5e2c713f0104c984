"""Somebody at the control API of a cluster: versions brought, rollouts started and moved, the ledger read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import httpx

from loadtests.verify import Judged, Published, judge
from tests.e2e.load import MODEL, Load, facts
from tests.e2e.nodes.cluster import WITHIN_S, Cluster
from tests.e2e.numbered import numbered
from tests.e2e.system import until

SOURCES = "/models"
"""Where the pods see the artifacts that may be registered."""
_CLAIM = "models"
GATEWAYS = 2
HTTP_PORT = 8000
VALUES: Mapping[str, Any] = {
    "gateways": {"replicas": GATEWAYS},
    "pools": {"cpu": {"replicas": 2}},
    "registry": {"sources": [SOURCES]},
    "extraVolumes": [{"name": _CLAIM, "persistentVolumeClaim": {"claimName": _CLAIM}}],
    "extraVolumeMounts": [{"name": _CLAIM, "mountPath": SOURCES, "readOnly": True}],
    "settings": {"gateway": {"attempt_timeout_s": 2}},
}
"""Two gateways and two nodes of pools; what is asked of a node that has vanished is asked elsewhere after 2 s."""


class Operator:
    """Knows where the control pod is now, and shows the administering key.

    Args:
        cluster: whose.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    # What is asked.

    def asked(self, method: str, path: str, said: Mapping[str, Any], match: str = "*") -> dict[str, Any]:
        """The answer to a change of traffic, which has to be a good one."""
        answer = self._request(method, path, said, params={"wait_s": 10}, headers={"If-Match": match})
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json())

    def seen(self, path: str) -> dict[str, Any]:
        """The same of something to read, as soon as there is a control room that answers."""

        def look() -> dict[str, Any]:
            with suppress(httpx.TransportError, ValueError):
                answer = self._request("GET", path)
                return dict(answer.json()) if answer.is_success else {}
            return {}

        return until(look, f"an answer of {path}", WITHIN_S)

    def done(self, path: str, said: Mapping[str, Any]) -> None:
        """An operation, at its end, which has to be a good one."""
        begun = self._request("POST", path, said)
        assert begun.is_success, f"{path}: {begun.status_code} {begun.text}"

        def look() -> bool:
            found = self.seen(f"/operations/{begun.json()['id']}")
            assert found["state"] not in {"failed", "cancelled"}, found
            return bool(found["state"] == "done")

        until(look, f"the end of {path}", WITHIN_S)

    def _request(
        self, method: str, path: str, said: Mapping[str, Any] | None = None, *,
        params: Mapping[str, int] | None = None, headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:  # fmt: skip
        shown = {**self.cluster.shown, **(headers or {})}
        url = f"{self.cluster.control_url}{path}"
        return self.cluster.client.request(method, url, json=said, params=params, headers=shown, timeout=30.0)

    # Versions, and where they are.

    def bring(self, version: int) -> None:
        """Registers a version that says its number, and starts two servers of it."""
        folder = self.cluster.manifests.claim(_CLAIM)
        numbered(folder / str(version), version)
        registered = {"source": f"{SOURCES}/{version}", "number": version}
        self.done(f"/registry/models/{MODEL}/versions", registered)
        self.done(f"/models/{MODEL}/versions/{version}/deploy", {"options": {"replicas": 2}})

    def hosts(self, version: int) -> set[str]:
        """Where the version's servers are."""
        said = self.seen("/status")["endpoints"]
        return {one["host"] for one in said if (one["model"], one["version"]) == (MODEL, version)}

    def await_servers(self, version: int) -> None:
        """Waits until it has two, each on a node of its own; where Ray has put both on one, one is moved."""
        self._await_ready(version, 2)
        while len(self.hosts(version)) == 1:
            for replicas in (1, 2):
                self.scale(version, replicas)

    def scale(self, version: int, replicas: int) -> None:
        """Gives the version that many servers, and waits for them."""
        self.done(f"/models/{MODEL}/versions/{version}/deploy", {"options": {"replicas": replicas}})
        self._await_ready(version, replicas)

    def _await_ready(self, version: int, replicas: int) -> None:
        until(lambda: self._ready(version) == replicas, f"{replicas} servers of version {version}", WITHIN_S)

    def _ready(self, version: int) -> int:
        said = self.seen("/status")["endpoints"]
        return sum((one["model"], one["version"]) == (MODEL, version) for one in said)

    # Traffic.

    def load(self, gateway: str, rate: float = 50.0) -> Load:
        """Requests at one gateway that do not stop until the block ends."""
        return self.load_at(self.cluster.address(gateway), HTTP_PORT, rate)

    def load_at(self, host: str, port: int, rate: float = 50.0) -> Load:
        """The same at a place."""
        return Load(host, port, rate, key=self.cluster.admin_key)

    def begin(self) -> None:
        """The model's first policy: version 1 alone."""
        self.asked("PUT", f"/models/{MODEL}/policy", {"policy": {"stable": 1, "arms": []}}, match='"0"')

    def start(self, document: Mapping[str, Any]) -> str:
        """The id of a rollout that has begun."""
        said = self.asked("POST", f"/models/{MODEL}/rollouts", {**document, "again": True})
        return str(said["rollout"]["id"])

    def comes_to(self, rollout: str, phase: str) -> dict[str, Any]:
        """Where it stands once it is in that phase; fails where it is over and in another."""

        def look() -> dict[str, Any]:
            there = self.seen(f"/rollouts/{rollout}")
            assert there["phase"] == phase or not there["over"], (there["phase"], there["cause"])
            return there if there["phase"] == phase else {}

        return until(look, f"{rollout} {phase}", WITHIN_S)

    def moved(self, rollout: str, what: str) -> dict[str, Any]:
        """What was asked for, once both gateways run it."""
        answer = self.asked("POST", f"/rollouts/{rollout}/{what}", {"why": "the test asks for it"})
        assert answer["acknowledged"] == {"of": GATEWAYS, "by": GATEWAYS, "expired": [], "waiting": []}
        return answer

    def split(self, shares: Mapping[int, int]) -> dict[str, Any]:
        """Gives versions beside the first their shares (parts per million), by hand."""
        arms = [{"version": version, "share_ppm": share} for version, share in shares.items()]
        return self.asked("PUT", f"/models/{MODEL}/policy", {"policy": {"stable": 1, "arms": arms}})

    def events(self, rollout: str) -> list[str]:
        """What the ledger says of it, oldest first."""
        return [one["facts"]["event"] for one in self.seen(f"/rollouts/{rollout}/why")["entries"]]

    def ledger(self) -> Iterable[Mapping[str, Any]]:
        """Every entry, oldest first."""
        answer = self._request("GET", "/ledger/export")
        assert answer.is_success, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def restore(self) -> None:
        """No rollout in progress, version 1 alone, every pod there, and two servers of both versions."""
        for one in self.seen("/rollouts")["rollouts"]:
            self.asked("POST", f"/rollouts/{one['id']}/rollback", {"why": "the test is over"})
        self.split({})
        for version in (1, 2):
            self.await_servers(version)


def judged_with_fallbacks(load: Load, ledger: Iterable[Mapping[str, Any]]) -> Judged:
    """As `Load.judged`; where servers of a candidate are lost, stable may answer in its place."""
    judged = judge(load.notes, Published(MODEL, ledger), facts)
    assert load.notes.failed == 0, load.notes.told
    assert judged.wrong == 0, judged.told
    assert load.mistaken == []
    return judged
