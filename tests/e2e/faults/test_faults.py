"""Servers die, hang and break off under load, and no client sees it where a healthy replica is left.

Each fault strikes twenty times while 32 connections ask without a pause.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.faults.load import Seen, load
from tests.e2e.faults.servers import MODEL, FalseReplica, Mood, Replica, false_replica, gateway, replicas

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]

TIMES = 20
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 8], "datatype": "FP32", "data": [[0.5] * 8]}]}, separators=(",", ":")
).encode()
PATIENT = ("--limit", "ejection_s=0.5", "--limit", "attempt_timeout_s=0.3", "--limit", "brake_s=1")


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Replica]]:
    """Two replicas of stable version 1 and one of candidate version 2."""
    with replicas(tmp_path_factory.mktemp("faults"), 1, 1, 2) as made:
        yield made


async def eventually(holds: Callable[[], object], what: str, within_s: float = 30.0) -> None:
    """Waits until it comes to hold."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not holds():
        assert loop.time() < deadline, f"waited {within_s:g} s in vain for {what}"
        await asyncio.sleep(0.02)


async def comes_back(replica: Replica) -> None:
    """Starts it and waits until it is ready, without stopping the load."""
    replica.start()
    while not await asyncio.to_thread(lambda: replica.is_ready):  # noqa: ASYNC110 (another process's state)
        await asyncio.sleep(0.1)


def no_error(seen: Seen) -> None:
    """Nobody got anything but a 200, at the rate that was asked for."""
    assert seen.errors == []
    assert seen.lost == 0
    assert seen.rate >= 1_000, f"only {seen.rate:.0f} requests/s were sent"


async def test_killed_servers(three: list[Replica], tmp_path: Path) -> None:
    """SIGKILL of the candidate's Triton and of each of stable's two, one at a time: every answer is a 200."""
    places = [(one.version, one.port) for one in three]
    with gateway(tmp_path, places, "--traffic", f"{MODEL}:2=30%", *PATIENT) as port:
        async with load(port, MODEL, BODY) as seen:
            for round_ in range(TIMES):
                for victim in (three[2], three[round_ % 2]):
                    await _dies_and_comes_back(victim, seen)
        no_error(seen)
    assert seen.count(reason="fallback") > 0


async def _dies_and_comes_back(victim: Replica, seen: Seen) -> None:
    def served() -> int:
        return seen.count(version=str(victim.version), reason="arm" if victim.version == 2 else "stable")

    before = served()
    await eventually(lambda: served() > before, f"version {victim.version} to answer")
    victim.kill()
    after = seen.answers.total()
    await eventually(lambda: seen.answers.total() > after + 100, "a hundred answers without it")
    await comes_back(victim)


@pytest.mark.parametrize("mood", [Mood.HANGS, Mood.HALVES])
@pytest.mark.parametrize("version", [1, 2], ids=["stable", "candidate"])
async def test_servers_that_do_not_answer(three: list[Replica], tmp_path: Path, mood: Mood, version: int) -> None:
    """One that accepts and never answers, one that answers half and closes: every answer is a 200."""
    async with false_replica() as false:
        places = [(1, three[0].port), (1, three[1].port), (2, three[2].port)]
        if version == 2:
            places = places[:2]
        traffic = ("--traffic", f"{MODEL}:2=30%")
        with gateway(tmp_path, [*places, (version, false.port)], *traffic, *PATIENT) as port:
            async with load(port, MODEL, BODY) as seen:
                for _ in range(TIMES):
                    await _goes_bad_and_well_again(false, mood)
            no_error(seen)


async def _goes_bad_and_well_again(false: FalseReplica, mood: Mood) -> None:
    served = false.served
    await eventually(lambda: false.served > served + 20, "the replica to be asked again")
    struck = false.faults
    false.mood = mood
    await eventually(lambda: false.faults > struck, "the fault to strike")
    await asyncio.sleep(0.5)
    false.mood = Mood.ANSWERS
