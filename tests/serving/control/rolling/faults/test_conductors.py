"""Control rooms are killed and paused all along a rollout: another goes on, no stage is repeated, none is left out.

Each is a process that walks by the real clock; requests go on all the while, and none fails.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from router.phases import Phase
from serving.control.rolling.records import Record
from tests.serving.control.rolling.faults.installation import Installation, comes_to, installed
from tests.serving.control.rolling.faults.steady import steadily, versions

pytestmark = pytest.mark.slow

CANARY = {
    "candidate": 2,
    "shadow": {"sample": "20%", "for": "1s"},
    "canary": {"steps": ["1%", "50%"], "needs": "minima", "hold": "1s", "approve": ["50%"], "watch": "1s"},
}
CANARY_STAGES = ["enter stage 'shadow'", "enter stage '1 %'", "enter stage '50 %'", "enter stage 'watch'", "finish"]
FLIP = {"candidate": 2, "blue_green": {"bake": "1s", "approval": False, "keep_warm": "1s"}}
FLIP_STAGES = ["enter stage 'preview'", "enter stage 'keep warm'", "finish"]
BOTH = pytest.mark.parametrize(
    ("document", "stages"), [(CANARY, CANARY_STAGES), (FLIP, FLIP_STAGES)], ids=["shadow and canary", "blue-green"]
)
SEED = 20_260
LEASE_S = 0.8
"""The store is there all the time: what lapses is the lead of those that die."""


@asynccontextmanager
async def walked(
    folder: Path, document: Mapping[str, Any], stages: Sequence[str], rooms: int
) -> AsyncIterator[tuple[Installation, Record]]:
    """A rollout under way, with requests all along; at the end it has gone every step of its way once.

    Args:
        folder: where the installation lies.
        document: of the rollout.
        stages: that it is to enter.
        rooms: how many control rooms there are; one leads, the others wait for it to end.
    """
    async with installed(folder, lease_s=LEASE_S) as here, steadily(here.ports) as steady:
        await asyncio.gather(*(here.conduct() for _ in range(rooms)))
        await comes_to(here.leader, "a leader")
        record = await here.start(document)
        yield here, record
        await comes_to(lambda: here.over(record), "the end of the rollout", 60)
        assert (await here.now(record)).rollout.phase is Phase.PROMOTED
        await here.tells_one_story(stages)
        await comes_to(here.all_run, "gateways that run the end of it")
        done_s = here.now_s
        await asyncio.sleep(0.2)
        assert versions(steady.since(done_s)) == {2}
        assert len(steady.answers) > 100
        assert steady.failed == []


@BOTH
async def test_killed_whenever_the_ledger_grows(
    tmp_path: Path, document: Mapping[str, Any], stages: Sequence[str]
) -> None:
    """SIGKILL right after each entry, and so after each epoch: whoever follows finds the step taken.

    A policy that was only staged is staged again by whoever follows, which is let live this time. The last room lives:
    what was staged more often than once left more entries than there are rooms.
    """
    async with walked(tmp_path, document, stages, rooms=len(stages) + 3) as (here, record):
        told = await here.told()
        while not await here.over(record):
            if (now := await here.told()) > told:
                told = now
                if len(here.rooms) - here.deaths > 1:
                    await here.kill_leader()
            await asyncio.sleep(0.002)
        assert here.deaths >= len(stages) - 1


@BOTH
async def test_killed_at_any_moment(tmp_path: Path, document: Mapping[str, Any], stages: Sequence[str]) -> None:
    """SIGKILL at moments that nobody chose, within steps and between them."""
    draw = random.Random(SEED)
    async with walked(tmp_path, document, stages, rooms=5) as (here, record):
        for _ in range(4):
            await comes_to(here.leader, "a leader")
            if await passes(here, record, draw.uniform(0.05, 2.5)):
                break
            await here.kill_leader()
        assert here.deaths >= 2


async def test_a_leader_that_was_paused_is_deposed(tmp_path: Path) -> None:
    """SIGSTOP for longer than its lease, again and again: the other leads, and what the first writes then is refused.

    Who was paused has a step on its mind that is out of date; were it taken, a stage would be there twice.
    """
    draw = random.Random(SEED)
    async with walked(tmp_path, CANARY, CANARY_STAGES, rooms=2) as (here, record):
        deposed = 0
        while not await here.over(record):
            leader, fence = await here.leader(), await here.fence()
            assert leader is not None
            os.kill(leader.pid, signal.SIGSTOP)
            await comes_to(lambda fence=fence: has_passed(here, fence), "the other one's lead")  # type: ignore[misc]
            os.kill(leader.pid, signal.SIGCONT)
            deposed, leads = deposed + 1, await here.fence()
            await passes(here, record, draw.uniform(0.8, 2.0))
            assert await here.fence() == leads  # it leads on: who was deposed only waits
        assert deposed >= 2
        assert here.deaths == 0


async def passes(here: Installation, record: Record, seconds: float) -> bool:
    """Whether the rollout is over before so much time has passed."""
    until_s = here.now_s + seconds
    while here.now_s < until_s:
        if await here.over(record):
            return True
        await asyncio.sleep(0.01)
    return False


async def has_passed(here: Installation, fence: int) -> bool:
    """Whether the lead has gone to another one since."""
    return await here.fence() > fence
