"""Small incidents of pools, on the real Ray and Triton: what the installation then tells Prometheus sets off alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.room import Room, flip_room
from tests.e2e.system import until
from tests.e2e.test_killed_flips import killed, servers
from tests.serving.metrics.scrapes import Scrapes

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]

REPLICAS = 2
DEATHS = 4
"""Two more than Ray starts anew at once: from the third on the next server has to wait."""
_MINUTES = 12


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """Version 1 of digits has two servers."""
    with flip_room(tmp_path, {"replicas": REPLICAS}) as room:
        yield room


def scraped(room: Room) -> str:
    """What Prometheus reads."""
    answer = httpx.get(f"{room.installation.run_file()['metrics_url']}/metrics", timeout=30)
    answer.raise_for_status()
    return answer.text


def told(text: str, figure: str) -> float:
    """What it says of version 1."""
    families = text_string_to_metric_families(text)
    return next(
        one.value for family in families for one in family.samples
        if one.name == figure and one.labels["version"] == "1"
    )  # fmt: skip


def have_died(room: Room, deaths: int) -> bool:
    """Whether so many of version 1's servers have, or more."""
    return told(scraped(room), "sluice_pool_crashes") >= deaths


def in_state(room: Room, holds: Callable[[str], bool]) -> str:
    """What Prometheus read when this held; it need not hold for as long as an alert waits."""
    texts: list[str] = []

    def held() -> bool:
        texts.append(scraped(room))
        return holds(texts[-1])

    until(held, "the state")
    return texts[-1]


def test_servers_that_die_again_and_again(room: Room, tmp_path: Path) -> None:
    """One of two is killed, and whoever takes its place; the other one serves, and there is less in reserve."""
    calm, scrapes = Scrapes(), Scrapes()
    until(lambda: told(scraped(room), "sluice_pool_replicas_ready") == REPLICAS, "both servers")
    [spared, *_] = servers(room, 1)
    for recording in (calm, scrapes):
        for _ in range(2):
            recording.note(scraped(room))
    assert calm.sets_off(set(), tmp_path) == ""

    for death in range(1, DEATHS + 1):
        killed(lambda: [one for one in servers(room, 1) if one.pid != spared.pid], "the other server")
        until(partial(have_died, room, death), f"{death} deaths")
    short = in_state(room, lambda text: told(text, "sluice_pool_replicas_ready") == REPLICAS - 1)
    for _ in range(_MINUTES):
        scrapes.note(short)
    assert scrapes.sets_off({"SluicePoolShort", "SluicePoolCrashes"}, tmp_path) == ""
    until(lambda: told(scraped(room), "sluice_pool_replicas_ready") == REPLICAS, "both servers again")
    assert spared.is_running()
