"""Webhooks on a whole installation: a target that is away, dead letters, replays, secrets, and who asks our own target.

No model is needed for that: what is told are tests of operators, which wait in the queue that everything waits in.
"""

from __future__ import annotations

import base64
import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import pytest
import yaml

from drift.webhooks import signed
from tests.e2e.room import CONTROL_REPLICA
from tests.e2e.system import Installation, end, until
from tests.serving.webhook_servers import Mood, Server, served

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([one]) * 32).decode()}" for one in (1, 2, 3))
PAUSES_S = [0.5, 0.5, 1.0]
TARGET = "/api/v1/drift/hooks/rollback"


@dataclass(frozen=True)
class Up:
    """An installation, and the target that its settings name."""

    system: Installation
    control_url: str
    server: Server

    def command(self, *words: str, ends_with: int = 0) -> Any:  # noqa: ANN401 - any answer
        """What a command says as JSON."""
        ran = self.system.run("drift", "webhooks", *words, "--json")
        assert ran.returncode == ends_with, ran.stdout + ran.stderr
        assert "hush" not in ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    def dead(self) -> list[dict[str, Any]]:
        """Dead letters."""
        found: list[dict[str, Any]] = self.command("list")["dead"]
        return found

    def call(self, secret: str, message: dict[str, Any], at_s: float) -> httpx.Response:
        """A call of our own rollback target, signed at that time."""
        body = json.dumps(message).encode()
        headers = {"content-type": "application/json", **signed([secret], "msg_1", at_s, body)}
        return httpx.post(f"{self.control_url}{TARGET}", content=body, headers=headers, timeout=30)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One whose settings name a target of the test, and itself."""
    folder = tmp_path_factory.mktemp("webhooks")
    (folder / "target.secret").write_text(f"{OLD}\n")
    (folder / "self.secret").write_text(f"{NEW}\n")
    with served(OLD) as server:
        webhooks = [
            {"name": "trainer", "url": server.url, "secret_file": "target.secret", "events": ["drift.retrain"]},
            {"name": "own", "url": "self", "secret_file": "self.secret", "events": ["drift.rollback"]},
        ]
        drift = {"webhooks": webhooks, "webhook_pauses": PAUSES_S}
        (folder / "sluice.yaml").write_text(yaml.safe_dump({"drift": drift, "triton": {"port_range": 0}}))
        installation = Installation(folder)
        process = installation.start("up")
        try:
            run = installation.ready(process, within_s=240)
            yield Up(installation, run["control_url"], server)
        finally:
            end(process)
            installation.gone()


def test_a_test_arrives_at_the_target_and_at_ourselves(up: Up) -> None:
    """Signed, with exit code 0; the command shows no more of the address than the host."""
    outcomes = up.command("test")["outcomes"]
    assert [one["became"] for one in outcomes.values()] == ["delivered", "delivered"], outcomes
    assert [event.id for event in up.server.calls] == [one for one in outcomes if one == up.server.calls[0].id]
    seen = up.command("list")
    assert {one["name"]: one["ours"] for one in seen["webhooks"]} == {"trainer": False, "own": True}


def test_what_a_target_missed_is_told_once_it_is_up_though_the_control_room_died(up: Up) -> None:
    """Down through all pauses and a SIGKILL of whoever tells it: a dead letter, which a replay delivers once."""
    up.server.down()
    before = set(up.server.processed)
    (message,) = up.command("test", "trainer", "--wait-s", "20", ends_with=1)["outcomes"]
    (control,) = up.system.processes(CONTROL_REPLICA)
    control.send_signal(signal.SIGKILL)
    psutil.wait_procs([control], timeout=10)
    until(lambda: up.system.run("drift", "webhooks", "list").returncode == 0, "the next control room", 120)
    (letter,) = until(up.dead, "the dead letter", 120)
    assert (letter["id"], letter["type"], letter["tries"]) == (message, "drift.test", len(PAUSES_S) + 1)
    assert "cannot be reached" in letter["failed"]
    up.server.up()
    assert up.command("replay", "--all", "--why", "mended")["became"] == {message: "replayed"}
    until(lambda: message in up.server.processed, "the replay", 60)
    until(lambda: up.command("show", message)["attempts"][0]["became"] == "delivered", "what became of it")
    assert set(up.server.processed) - before == {message}
    assert up.dead() == []


def test_a_target_that_answers_badly_hears_it_once_it_is_well(up: Up) -> None:
    """It is told again by itself, under the id that it had."""
    up.server.mood, before = Mood.FAILING, len(up.server.calls)
    (message,) = up.command("test", "trainer", ends_with=1)["outcomes"]
    up.server.mood = Mood.WELL
    until(lambda: message in up.server.processed, "the delivery", 60)
    assert {event.id for event in up.server.calls[before:]} == {message}


def test_a_new_secret_needs_no_restart(up: Up) -> None:
    """It is written above the old one, and the old one is taken away later."""
    file = up.system.folder / "target.secret"
    for ours, theirs in ((f"{NEW}\n{OLD}\n", (OLD,)), (f"{NEW}\n{OLD}\n", (NEW,)), (f"{NEW}\n", (NEW,))):
        file.write_text(ours)
        up.server.secrets = theirs
        (one,) = up.command("test", "trainer")["outcomes"].values()
        assert one["became"] == "delivered"
    assert up.server.forged == 0


def test_forged_and_stale_calls_of_our_target_are_refused_and_logged(up: Up) -> None:
    """401 and a line each; a genuine call about a rollout that is not there is answered well, and does nothing."""
    data = {
        "episode": "ep_1", "model": "digits", "cause": "candidate", "action": "rollback", "words": "w",
        "harm": {"shown": False}, "window": {"from_s": 0, "to_s": 1, "rows": 1}, "rollout": "ro_000000000000",
    }  # fmt: skip
    message = {"type": "drift.rollback", "timestamp": "2027-01-15T08:00:00+00:00", "data": data}
    now_s = time.time()
    assert up.call(OTHER, message, now_s).status_code == 401
    assert up.call(NEW, message, now_s - 600).status_code == 401
    log = up.system.folder / ".sluice" / "logs" / "security.log"
    kinds = [json.loads(line)["kind"] for line in log.read_text().splitlines()]
    assert [kinds.count(one) for one in ("webhook_forged", "webhook_stale")] == [1, 1]
    heard = up.call(NEW, message, now_s)
    assert (heard.status_code, heard.json()["done"]) == (200, False)
    assert "There is no rollout" in heard.json()["words"]
    assert up.call(NEW, message, now_s).json()["already"]
