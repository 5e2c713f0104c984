"""A registered version comes, takes over and goes, on the real Ray, Triton and Valkey: without a failed request."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.room import Room, flip_room
from tests.e2e.system import GONE_WITHIN_S, Installation, end, refuses, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Up for all of these tests."""
    with flip_room(tmp_path_factory.mktemp("flips")) as room:
        yield room


def test_a_flip_under_load_fails_no_request(room: Room) -> None:
    """The new version comes up, takes all of the traffic, and the old one is drained; every answer is a good one."""
    with room.hammer() as hammer:
        time.sleep(0.5)
        done = room.done("/models/digits/promote", {"version": 2})
        flipped_s = time.monotonic()
        time.sleep(0.5)
    assert done["result"]["asleep"] == [1]
    assert hammer.failures == []
    assert {answer.version for answer in hammer.answers} == {1, 2}
    assert {answer.version for answer in hammer.since(flipped_s)} == {2}
    assert room.shares() == {2: 1_000_000}
    versions = room.versions()
    assert (versions[1]["ready"], versions[1]["asleep"], versions[2]["ready"]) == (0, True, 1)
    assert room.get("/registry/models/digits/versions/2")["state"] == "serving"


@pytest.mark.slow
def test_a_control_room_that_is_killed_in_the_middle_of_a_flip_ends_it(room: Room) -> None:
    """SIGKILL while the sleeping version wakes: the next one goes on, and no request notices."""
    if not room.versions()[1]["asleep"]:  # as it is where this test runs without the one before
        room.done("/models/digits/promote", {"version": 2})
    with room.hammer() as hammer:
        operation = room.begin("/models/digits/promote", {"version": 1})
        until(lambda: room.get(f"/operations/{operation}")["state"] == "running", "the flip")
        [replica] = until(room.control_replicas, "the control room's process")
        replica.send_signal(signal.SIGKILL)
        psutil.wait_procs([replica], timeout=10)
        ended = room.ended(operation)
    assert ended["state"] == "done", ended
    assert any("restarted" in step for step in ended["steps"])
    assert hammer.failures == []
    assert room.shares() == {1: 1_000_000}
    until(lambda: not room.pools(2), "the end of version 2's pool")
    assert room.get("/registry/models/digits/versions/2")["state"] == "verified"


@pytest.mark.slow
def test_a_version_that_nothing_routes_to_sleeps_and_is_woken(room: Room) -> None:
    """Its wish is kept, its servers go; a deployment wakes it, and a policy keeps it awake."""
    room.done("/models/digits/versions/2/deploy", {"options": {"keep_warm_s": 2}})
    until(lambda: room.versions()[2]["asleep"] and not room.versions()[2]["ready"], "the sleep of version 2")
    until(lambda: room.pools(2) == ["ASLEEP"], "the end of its servers")
    room.done("/models/digits/versions/2/deploy", {})
    assert room.versions()[2]["ready"] == 1
    revision = room.get("/models/digits/policy")["revision"]
    policy = {"stable": 1, "arms": [{"version": 2, "share_ppm": 100_000}]}
    said = room.api.put("/models/digits/policy", json={"policy": policy}, headers={"If-Match": f'"{revision}"'})
    assert said.status_code == 200, said.text
    time.sleep(4)
    assert room.versions()[2]["ready"] == 1
    refused = room.api.post("/models/digits/versions/2/remove", json={})
    assert refused.status_code == 409
    assert "10 % of the traffic" in refused.json()["detail"]


@pytest.mark.slow
def test_other_options_come_up_beside_the_old_ones(room: Room) -> None:
    """A version with traffic gets other servers: new before old, and no request fails."""
    [before] = [pool["digest"] for pool in room.get("/status")["pools"] if pool["version"] == 1]
    with room.hammer() as hammer:
        room.done("/models/digits/versions/1/deploy", {"options": {"instance_count": 2}})
        until(lambda: room.pools(1) == ["RUNNING"], "the end of the old servers")
        time.sleep(0.5)
    assert hammer.failures == []
    [after] = [pool["digest"] for pool in room.get("/status")["pools"] if pool["version"] == 1]
    assert after != before


@pytest.mark.slow
def test_a_deployment_that_cannot_come_up_changes_nothing(room: Room) -> None:
    """The reason is told, and what served goes on serving."""
    options = {"device": "gpu"}
    failed = room.ended(room.begin("/models/digits/versions/1/deploy", {"options": options}))
    assert failed["state"] == "failed"
    assert "GPU" in failed["problem"]["detail"]
    assert room.versions()[1]["ready"] == 1
    until(lambda: room.pools(1) == ["RUNNING"], "the end of what could not be started")


@pytest.mark.slow
def test_what_was_deployed_is_there_after_a_restart(room: Room) -> None:
    """All of it ended and began again: whoever is told that it is ready finds the version that has the traffic."""
    room.done("/models/digits/promote", {"version": 2, "keep": True})
    process = room.processes[-1]
    assert end(process) == 0
    room.installation.gone()
    room.processes.append(room.installation.start("up"))
    run = until(lambda: _run_of(room), "the second start")
    answer = httpx.post(f"{run['http_url']}/v2/models/digits/infer", content=room.body, timeout=10)
    assert (answer.status_code, answer.json()["model_version"]) == (200, "2")


def _run_of(room: Room) -> dict[str, Any]:
    process = room.processes[-1]
    assert process.poll() is None, room.installation.output()
    return room.installation.run_file()


@pytest.mark.slow
def test_a_killed_command_takes_everything_with_it(room: Room) -> None:
    """SIGKILL of `sluice up`: no tritonserver, stub, Valkey or Ray process of it lives 15 s longer.

    Nor is anything that it left lying about in the way of the next one, which runs in the background. It is the last
    test of this file, and so the end of what all the others share.
    """
    installation = room.installation
    run = installation.run_file()
    assert httpx.get(f"{run['http_url']}/v2/models/digits/ready").status_code == 200
    running = " ".join(installation.left_over())
    for name in ("tritonserver", "triton_python_backend_stub", "valkey-server", "raylet", "serving.gateway"):
        assert name in running
    end(room.processes[-1], signal.SIGKILL)
    until(lambda: not installation.left_over(), f"the end of {installation.left_over()}", GONE_WITHIN_S)
    for url in (run["http_url"], run["control_url"]):  # an ending process gives its memory back before its sockets
        until(partial(refuses, url), f"the end of the listener at {url}", GONE_WITHIN_S)
    check_background(installation)


def check_background(installation: Installation) -> None:
    """Detached, it returns when all is ready; a second one names the first; `status` shows it; `down` ends it.

    Without settings, and so without a model: what the store knows of one from before is in nobody's way.
    """
    (installation.folder / "sluice.yaml").unlink()
    up = installation.run("up", "--detach")
    assert up.returncode == 0, up.stdout + up.stderr
    run = installation.run_file()
    status = json.loads(installation.run("status", "--json").stdout)
    assert status["store"]["reachable"]
    assert status["gateways"][0]["http_port"] == httpx.URL(run["http_url"]).port
    again = installation.run("up")
    assert again.returncode == 1
    assert f"already runs from {installation.folder / '.sluice'}" in again.stderr
    assert run["http_url"] in again.stderr
    down = installation.run("down")
    assert down.returncode == 0, down.stdout + down.stderr
    installation.gone()
    assert refuses(run["http_url"])
    assert refuses(run["control_url"])
    nothing = installation.run("down")
    assert nothing.returncode == 1
    assert "Nothing runs from" in nothing.stderr
