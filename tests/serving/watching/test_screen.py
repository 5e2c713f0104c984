"""`sluice rollout watch` in a real pseudo-terminal: what the screen shows, and when."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.serving.fake_rollouts import Asked, FakeRollouts, entry, rollout, serving
from tests.serving.watching.terminal import Screen, Terminal, terminal

WATCH = [sys.executable, "-m", "serving.cli", "rollout", "watch", "digits", "--url"]
FOOT = "q quits; the rollout goes on"


class Counting(FakeRollouts):
    """Requests grow by 95 and 5 with every look at the status."""

    def answer(self, asked: Asked) -> tuple[int, dict[str, Any]]:
        """As ever, but time passes."""
        if asked.line.endswith("/status"):
            self.requests["g-1"]["digits/1"] += 95
            self.requests["g-1"]["digits/2"] += 5
        return super().answer(asked)


@pytest.fixture
def api() -> FakeRollouts:
    """What the API knows; a second gateway is behind."""
    api = Counting(behind=1)
    api.requests["g-2"] = {"digits/1": 0, "other/1": 7}
    api.entries = [entry(nth, "the rollout", "run", f"reason number {nth}") for nth in range(1, 41)]
    return api


@pytest.fixture
def shown(api: FakeRollouts, request: pytest.FixtureRequest) -> Iterator[tuple[Terminal, str, ExitStack]]:
    """The command in a terminal, the API's address, and what ends the API."""
    with ExitStack() as stack:
        address = stack.enter_context(serving(api))
        width, height = getattr(request, "param", (80, 24))
        with terminal([*WATCH, address], width, height) as there:
            yield there, address, stack


def effective(screen: Screen) -> bool:
    """Whether two answers have come, and nothing is half painted."""
    return "95.00 %" in screen.text and screen.rows[-1] == FOOT


@pytest.mark.parametrize("shown", [(80, 24), (120, 40)], indirect=True)
def test_the_screen_shows_the_rollout(shown: tuple[Terminal, str, ExitStack]) -> None:
    """Where it stands, what comes next, each version's shares, rate, errors and latency, obstacles, events."""
    screen = shown[0].until(effective)
    assert screen.other
    rows = screen.rows
    assert rows[0] == "digits  canary  ro_0123456789ab"
    assert rows[1] == "running, stage 2 of 5 '5 %', automation alone"
    assert rows[2].startswith("next: stage '25 %', in 8m")
    assert [" ".join(row.split()) for row in rows[4:5]] == [
        "version role share effective req/s errors p50 p99 stage",
    ]
    assert rows[5].split()[:6] == ["1", "stable", "95", "%", "95.00", "%"]
    assert rows[6].split()[:6] == ["2", "candidate", "5", "%", "5.00", "%"]
    assert (rows[5].split()[-1], rows[6].split()[-1]) == ("12,345", "650")
    assert float(rows[5].split()[6]) > 1
    assert rows[5].split()[7:] == ["0.04", "%", "4.2", "ms", "12.8", "ms", "12,345"]
    assert rows[6].split()[7:] == ["2.50", "%", "6.0", "ms", "1.25", "s", "650"]
    assert not any("…" in row for row in rows[4:7]), "all of the table is to be seen"
    assert rows[8] == "stages: 1 %, [5 %], 25 %, 50 %?, watch"
    assert rows[9] == "waits: version 2 has had 650 of 1,000 requests"
    assert rows[10] == "gateways: 1 of 2 run epoch 9"
    assert rows[11] == "lately:"
    newest = rows[-2]
    assert newest == "14:03:40  the rollout  run: reason number 40"
    assert rows[12].endswith(f"number {41 - (screen.height - 13)}" if screen.height < 43 else "number 1")
    assert rows[-1] == FOOT


def test_the_screen_follows_and_takes_another_size(api: FakeRollouts, shown: tuple[Terminal, str, ExitStack]) -> None:
    """A change is there at the next look; a larger window is filled, a smaller one shows what matters."""
    there = shown[0]
    there.until(effective)
    api.rollouts = [
        rollout(
            phase="waiting for approval",
            stage_number=2,
            next_stage="stage '50 %'",
            next_step_s=None,
            waits=["somebody has to approve stage '50 %'"],
            shares={"1": 750_000, "2": 250_000},
        )
    ]
    api.behind = 0
    screen = there.until(lambda one: "stage 3 of 5 '25 %'" in one.rows[1])
    assert screen.rows[1].startswith("waiting for approval, stage 3 of 5")
    assert screen.rows[2] == "next: stage '50 %', when somebody has approved it"
    assert "approve it with: sluice rollout approve digits" in screen.rows
    assert "gateways: 2 of 2 run epoch 9" in screen.rows
    assert " ".join(screen.rows[6].split()).startswith("2 candidate 25 %")
    there.resize(120, 40)
    screen = there.until(lambda one: one.rows[-1] == FOOT and len(one.rows) == 40 and one.rows[38] != "")
    assert screen.rows.count(FOOT) == 1
    assert screen.rows[0] == "digits  canary  ro_0123456789ab"
    assert screen.rows[38] == "14:03:40  the rollout  run: reason number 40"
    there.resize(60, 14)
    screen = there.until(lambda one: one.rows[13] == FOOT and "digits" in one.rows[0])
    assert "approve it with: sluice rollout approve digits" in screen.rows
    assert "lately:" not in screen.rows


def test_a_silent_api_leaves_what_was_known_and_says_so(
    api: FakeRollouts, shown: tuple[Terminal, str, ExitStack]
) -> None:
    """STALE with its age and the reason stands above everything; it goes when the API is back."""
    there, address, stack = shown
    there.until(effective)
    stack.close()
    screen = there.until(lambda one: one.rows[0].startswith("STALE"))
    assert f"nothing answers at {address}" in " ".join(screen.text.split())
    assert "digits  canary  ro_0123456789ab" in screen.rows
    port = urlsplit(address).port
    assert port is not None
    with serving(api, port):
        screen = there.until(lambda one: one.rows[0].startswith("digits"))
        assert "STALE" not in screen.text
        there.type("q")
        assert there.ended() == 0


def test_q_leaves_the_terminal_as_it_was(shown: tuple[Terminal, str, ExitStack]) -> None:
    """Exit code 0, the screen from before, keys echoed again; other keys do nothing."""
    there = shown[0]
    there.until(effective)
    assert there.settings_now() != there.settings
    there.type("x\x1b[A\r")
    there.until(lambda one: one.rows[-1] == FOOT)
    assert there.process.poll() is None
    there.type("q")
    assert there.ended() == 0
    assert there.settings_now() == there.settings
    assert not there.screen.other
    assert there.screen.text.strip() == ""


def test_what_others_wrote_does_not_reach_the_screen_as_a_command(
    api: FakeRollouts, shown: tuple[Terminal, str, ExitStack]
) -> None:
    """An escape sequence in a reason is shown as what it is; it clears nothing."""
    api.rollouts = [rollout(cause="\x1b[2J\x1b[H gone", phase="paused")]
    screen = shown[0].until(lambda one: "gone" in one.text)
    assert screen.rows[0] == "digits  canary  ro_0123456789ab"
    assert "\N{REPLACEMENT CHARACTER}[2J" in screen.text
