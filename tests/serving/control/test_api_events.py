"""The stream of changes over a real connection, from a real control room on a real Valkey."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.control.rolling.feed import MOST_LISTENERS
from serving.control.valkey import EmbeddedValkey
from tests.serving.control.room_processes import room_process

EVENTS = "/api/v1/events"


@pytest.fixture
def address(valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[str]:
    """Where a room answers."""
    with room_process(valkey.url, f"test-{secrets.token_hex(6)}", tmp_path) as found:
        yield found


def heard(lines: Iterator[str], count: int) -> list[dict[str, str]]:
    """So many events, by the names of their fields."""
    events: list[dict[str, str]] = []
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif "id" in event:
            events.append(event)
            event = {}
            if len(events) == count:
                break
    return events


def stopped(http: httpx.Client) -> None:
    """Two entries in the ledger: everything is stopped, and that is taken back."""
    for what in ("stop", "unstop"):
        assert http.post(f"/api/v1/{what}", json={}).status_code == 200


def test_changes_are_heard_as_they_happen_and_those_that_were_missed_after(address: str) -> None:
    """One reader hears what happens; one that comes back with an id hears what came after it."""
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as http:
        with http.stream("GET", EVENTS) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            lines = stream.iter_lines()
            assert next(lines).startswith("retry: ")
            stopped(http)
            first = heard(lines, 2)
        assert [one["event"] for one in first] == ["stop", "unstop"]
        stopped(http)
        with http.stream("GET", EVENTS, headers={"Last-Event-ID": first[0]["id"]}) as stream:
            again = heard(stream.iter_lines(), 3)
        assert [one["event"] for one in again] == ["unstop", "stop", "unstop"]
        assert again[0]["id"] == first[1]["id"]


def test_readers_that_leave_make_room(address: str) -> None:
    """As many as may listen at once come and go, and soon as many may come again."""
    with httpx.Client(base_url=address, timeout=20, trust_env=False) as http:
        for _ in range(3):
            came = 0
            until = time.monotonic() + 20
            while came < MOST_LISTENERS and time.monotonic() < until:
                with http.stream("GET", EVENTS) as stream:
                    came += stream.status_code == 200
                if stream.status_code != 200:
                    time.sleep(0.2)
            assert came == MOST_LISTENERS
