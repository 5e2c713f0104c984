"""The same commands against the real control API with a real Valkey, which walks the rollouts that they start."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.control.valkey import EmbeddedValkey
from tests.serving.rolling_room import RollingRoom, rolling_room
from tests.serving.test_cli import Command, sluice
from tests.valkey import valkey

__all__ = ["sluice", "valkey"]

FILE = """\
model: digits
candidate: 2
canary: {steps: [1%, 50%], hold: 1h, approve: [50%]}
"""


@pytest.fixture
def room(valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RollingRoom]:
    """A control room of this test's own, which SLUICE_URL names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    Path("rollout.yaml").write_text(FILE)
    with rolling_room(valkey.url, f"test-{secrets.token_hex(6)}") as there:
        monkeypatch.setenv("SLUICE_URL", there.address)
        yield there


def test_a_canary_from_its_plan_to_its_end(sluice: Command, room: RollingRoom) -> None:
    """Planned, started, walked into its first stage by itself, set, stopped and gone on with, approved, promoted."""
    words = ["digits", "--candidate", "2", "--canary", "1,50", "--hold", "1h", "--approve", "50"]
    planned = sluice("rollout", "plan", *words)
    assert (planned.code, "1: 50 %, 2: 50 %" in planned.out) == (0, True), planned.err
    started = sluice("rollout", "start", *words, "--why", "the new form")
    assert started.code == 0, started.err
    assert sluice("rollout", "wait", "digits", "--for", "running", "--timeout", "20s").code == 0
    assert room.runs().shares() == {1: 990_000, 2: 10_000}
    assert sluice("rollout", "set", "digits", "1/8").code == 0
    assert room.runs().shares() == {1: 875_000, 2: 125_000}
    assert "paused" in sluice("rollout", "pause", "digits", "--why", "lunch").out
    assert "shares set by hand" in sluice("rollout", "resume", "digits").out
    asked = sluice("rollout", "promote", "digits")
    assert "approve it with: sluice rollout approve digits" in asked.out, asked.err
    wrong = sluice("rollout", "approve", "digits", "--stage", "1%")
    assert (wrong.code, room.runs().shares()[2]) == (1, 125_000)
    assert sluice("rollout", "approve", "digits", "--stage", "50%").code == 0
    assert room.runs().shares() == {1: 500_000, 2: 500_000}
    assert sluice("rollout", "promote", "digits").code == 0
    assert sluice("rollout", "wait", "digits", "--timeout", "0").code == 0
    assert room.runs().shares() == {2: 1_000_000}
    told = sluice("rollout", "why", "digits").out
    for part in ("the new form", "lunch", "approve", "promoted"):
        assert part in told
    assert "promoted" in sluice("rollout", "list", "--all").out
    assert json.loads(sluice("rollout", "list", "--json").out) == {"rollouts": []}
    watched = sluice("rollout", "watch", "digits")
    assert (watched.code, "promoted" in watched.out) == (0, True)


def test_applying_is_idempotent_and_a_version_that_went_back_stays_away(sluice: Command, room: RollingRoom) -> None:
    """The same file changes nothing, another one is refused, and after a rollback only --again begins anew."""
    assert sluice("apply", "-f", "rollout.yaml").code == 0
    assert sluice("apply", "-f", "rollout.yaml").out.startswith("unchanged")
    Path("other.yaml").write_text(FILE.replace("50%", "60%"))
    refused = sluice("apply", "-f", "other.yaml")
    assert (refused.code, "another rollout of digits is under way" in refused.err) == (1, True)
    assert sluice("rollout", "rollback", "digits", "--reason", "errors").code == 0
    assert sluice("rollout", "wait", "digits", "--for", "rolled-back", "--timeout", "0").code == 0
    assert sluice("apply", "-f", "rollout.yaml").out.startswith("unchanged")
    refused = sluice("apply", "-f", "other.yaml")
    assert (refused.code, refused.out) == (1, ""), refused
    again = sluice("apply", "-f", "other.yaml", "--again")
    assert (again.code, "ro_" in again.out) == (0, True), again.err


def test_a_file_that_says_again_is_applied_once(sluice: Command, room: RollingRoom) -> None:
    """It lets a version that went back be tried, and is no reason to begin once more each time it is applied."""
    assert sluice("apply", "-f", "rollout.yaml").code == 0
    assert sluice("rollout", "rollback", "digits", "--reason", "errors").code == 0
    Path("again.yaml").write_text(FILE.replace("50%", "60%") + "again: true\n")
    assert sluice("apply", "-f", "again.yaml").code == 0
    assert sluice("rollout", "rollback", "digits", "--reason", "errors").code == 0
    assert sluice("apply", "-f", "again.yaml").out.startswith("unchanged")
    insisted = sluice("apply", "-f", "again.yaml", "--again")
    assert (insisted.code, "ro_" in insisted.out) == (0, True), insisted.err


def test_whoever_was_slower_is_refused_and_a_rollback_never_is(sluice: Command, room: RollingRoom) -> None:
    """Changes by hand are refused while it is under way, with its name; going back is meant in any case."""
    assert sluice("rollout", "start", "-f", "rollout.yaml").code == 0
    assert sluice("rollout", "wait", "digits", "--for", "running", "--timeout", "20s").code == 0
    refused = sluice("traffic", "set", "digits", "2=50%")
    assert (refused.code, "ro_" in refused.err) == (1, True)
    second = sluice("rollout", "start", "-f", "rollout.yaml")
    assert (second.code, "ro_" in second.err) == (1, True)
    assert sluice("rollout", "rollback", "digits", "--reason", "errors").code == 0
    assert room.runs().shares() == {1: 1_000_000}


def test_stop_ends_a_rollout_with_redis_alone(
    sluice: Command, room: RollingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All traffic to stable, the rollout rolled back, no other one started until that is taken back."""
    assert sluice("rollout", "start", "-f", "rollout.yaml").code == 0
    assert sluice("rollout", "wait", "digits", "--for", "running", "--timeout", "20s").code == 0
    Path("sluice.yaml").write_text(f"redis: {{namespace: {room.namespace}}}\n")
    monkeypatch.setenv("SLUICE_REDIS__URL", room.url)
    monkeypatch.delenv("SLUICE_URL")
    stopped = sluice("stop", "digits", "--why", "wrong answers")
    assert (stopped.code, "rolled back: ro_" in stopped.out) == (0, True), stopped.err
    assert room.runs().shares()[1] == 1_000_000
    words = ["--url", room.address]
    status = sluice("rollout", "status", "digits", *words)
    assert "rolled back" in status.out, status.err
    refused = sluice("rollout", "start", "-f", "rollout.yaml", "--again", *words)
    assert (refused.code, "stopped" in refused.err, "sluice stop --undo" in refused.err) == (1, True, True)
    assert sluice("stop", "--undo", "digits").out == "may move again: digits\n"
    assert sluice("rollout", "start", "-f", "rollout.yaml", "--again", *words).code == 0


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["--candidate", "2", "--shadow", "10%", "--shadow-for", "1h"], "shadow"),
        (["--ab", "2=25%,3=25%", "--for", "1d", "--decide", "hand"], "ab-test"),
        (["--candidate", "2", "--blue-green", "--preview", "x-tier=staff", "--bake", "0"], "blue-green"),
        (
            [
                *("--candidate", "2", "--shadow", "5%", "--shadow-for", "1h", "--canary", "1,50", "--hold", "1h"),
                *("--freeze", "weekend=fri 16:00/mon 08:00 +01:00", "--deadline", "2h", "--automation", "approve"),
            ],
            "custom",
        ),
    ],
)
def test_every_mode_is_started_and_taken_back(sluice: Command, room: RollingRoom, words: list[str], kind: str) -> None:
    """What the options say is what the API takes, and what the plan shows online is what it shows offline."""
    online = json.loads(sluice("rollout", "plan", "digits", *words, "--json").out)["stages"]
    offline = json.loads(sluice("rollout", "plan", "digits", *words, "--stable", "1", "--json").out)["stages"]
    assert [(one["name"], one["does"], one["shares"], one["min_s"]) for one in online] == [
        (one["name"], one["does"], one["shares"], one["min_s"]) for one in offline
    ]
    started = sluice("rollout", "start", "digits", *words)
    assert (started.code, f"digits: {kind} ro_" in started.out) == (0, True), started.err
    assert sluice("rollout", "rollback", "digits", "--reason", "a test").code == 0
    assert room.runs().shares() == {1: 1_000_000}


def test_the_versions_of_a_rollout_have_to_be_there(sluice: Command, room: RollingRoom) -> None:
    """The API's sentence names those that are; a model that nobody knows is told as well."""
    ran = sluice("rollout", "start", "digits", "--candidate", "9", "--canary", "5")
    assert (ran.code, "no version 9" in ran.err) == (1, True)
    ran = sluice("rollout", "start", "nobody", "--candidate", "2", "--canary", "5")
    assert (ran.code, "nobody" in ran.err) == (1, True)
    ran = sluice("rollout", "status", "digits")
    assert (ran.code, "digits has no rollout" in ran.err) == (1, True)
