"""The circle of drift on the real stack: a shift in live traffic, one webhook, a better version, promoted by evidence.

It is the demo's own run, with what dies in life killed on the way: the sidecar when the world moves, the trainer
between registering a version and starting its rollout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serving.demo.drifting import FEWEST
from serving.trainer.diary import Step
from tests.e2e.system import Installation, end, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1_500)]

_PATIENCE_S = 600.0


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Installation]:
    """`sluice demo --drift`, which ends well."""
    installation = Installation(tmp_path)
    process = installation.start("demo", "--drift")
    try:
        installation.ready(process, said="the camera is knocked over", within_s=_PATIENCE_S)
        yield installation
        installation.ready(process, said="It stays up", within_s=_PATIENCE_S)
    finally:
        code = end(process)
        installation.gone()
    assert code == 0, installation.output()


def episodes(system: Installation) -> list[dict[str, Any]]:
    """The trainer's, as they are on disk."""
    files = (system.folder / ".sluice" / "trainer" / "episodes").glob("*/episode.json")
    return [json.loads(file.read_text()) for file in files]


def kill(found: list[psutil.Process]) -> None:
    """Ends them as a crash would."""
    for process in found:
        process.kill()
    psutil.wait_procs(found, timeout=30)


def test_the_circle_closes_once_though_its_parts_die(demo: Installation) -> None:
    """One webhook, one version, one rollout, promoted by feedback; better on rows that no version was trained on."""
    kill(demo.processes("-m drift"))
    until(lambda: demo.processes("-m drift"), "the sidecar's successor")

    steps = (Step.REGISTERED, Step.WATCHED, Step.DEPLOYED)
    until(lambda: any(one["step"] in steps for one in episodes(demo)), "a registered version", _PATIENCE_S)
    kill(demo.processes("-m serving.trainer"))
    until(lambda: demo.processes("-m serving.trainer"), "the trainer's successor")

    until(lambda: all(one["step"] == Step.PROMOTED for one in episodes(demo)), f"{demo.output()}", _PATIENCE_S)
    [episode] = episodes(demo)
    assert episode["number"] == 2
    report = episode["report"]
    assert report["new"]["after"] > report["new"]["before"] + 0.2
    assert report["objections"] == []

    with httpx.Client(base_url=f"{demo.run_file()['control_url']}/api/v1", timeout=30) as api:

        def asked(path: str) -> dict[str, Any]:
            answer = api.get(path)
            answer.raise_for_status()
            return dict(answer.json())

        assert [one["version"] for one in asked("/registry/models/digits/versions")["versions"]] == [2, 1]
        version = asked("/registry/models/digits/versions/2")
        assert version["parent"] == 1
        assert version["tags"]["episode"] == episode["id"]
        assert version["data"]["rows"] == report["parameters"]["rows"] > FEWEST
        assert version["metrics"]["accuracy"] == report["new"]["after"]
        baseline = asked("/drift/models/digits/versions/2/baseline")
        assert baseline["digest"] == version["baseline_digest"]

        [rollout] = asked("/models/digits/rollouts")["rollouts"]
        assert (rollout["id"], rollout["phase"]) == (episode["rollout"], "promoted")
        [metric] = asked(f"/rollouts/{rollout['id']}/results")["metrics"]
        [arm] = metric["candidates"]
        assert (metric["metric"], arm["effect"]["shown"]) == ("correct", "better")
        assert asked("/models/digits/policy")["policy"] == {
            **asked("/models/digits/policy")["policy"], "stable": 2, "arms": []
        }  # fmt: skip

        entries = asked("/ledger?limit=200")["entries"]
        retrains = [one for one in entries if one["facts"].get("event") == "retrain"]
        assert len(retrains) == 1
        assert retrains[0]["facts"]["episode"] == episode["id"]
    heard = (demo.folder / ".sluice" / "trainer" / "trainer.log").read_text().count("an episode asks for retraining")
    assert heard == 1
    until(lambda: "Closed: of the digits askew" in demo.output(), "the demo's last word")
    assert (demo.folder / ".sluice" / "episode.svg").read_text().startswith("<svg")
