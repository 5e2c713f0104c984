"""The store stops in the middle of a rollout: traffic goes on as it was, no share grows, then the rollout goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from router.phases import Phase
from tests.serving.control.rolling.faults.installation import Installation, comes_to, installed, stopped
from tests.serving.control.rolling.faults.steady import steadily, versions

CANARY = {"candidate": 2, "canary": {"steps": ["30%", "60%"], "needs": "minima", "hold": "2s", "watch": "1s"}}
STAGES = ["enter stage '30 %'", "enter stage '60 %'", "enter stage 'watch'", "finish"]
AWAY_S = 4.0
"""More than twice as long as a lease, and twice as long as a stage."""


@asynccontextmanager
async def silent(here: Installation) -> AsyncIterator[None]:
    """It has its connections, and answers nothing."""
    with stopped(here.valkey.pid):
        yield


@asynccontextmanager
async def gone(here: Installation) -> AsyncIterator[None]:
    """It was killed, and comes back with its data."""
    await here.kill_store()
    yield
    await asyncio.to_thread(here.valkey.start)


Away = Callable[[Installation], AbstractAsyncContextManager[None]]


async def goes_on_without(here: Installation, away: Away, away_s: float) -> None:
    """A rollout whose store is away in its first stage, for longer than that lasts."""
    async with steadily(here.ports) as steady:
        await here.conduct()
        record = await here.start(CANARY)
        await comes_to(lambda: here.entered(record, "30 %"), "the first share")
        await comes_to(here.all_run, "gateways that run it")
        epoch = (await here.store.head()).epoch
        async with away(here):
            left_s = here.now_s
            await asyncio.sleep(away_s)
            back_s = here.now_s
        during = steady.since(left_s, back_s)
        assert {one.epoch for one in during} == {epoch}
        assert versions(during) == {1, 2}
        assert {one.gateway for one in during} == set(here.ports)
        await comes_to(lambda: here.over(record), "the end of the rollout", 60)
        assert (await here.now(record)).rollout.phase is Phase.PROMOTED
        await comes_to(here.all_run, "gateways that run the end of it")
        done_s = here.now_s
        await asyncio.sleep(0.2)
    assert versions(steady.since(done_s)) == {2}
    assert steady.failed == []
    await here.tells_one_story(STAGES)


@pytest.mark.slow
@pytest.mark.parametrize("away", [silent, gone])
async def test_the_store_is_away(tmp_path: Path, away: Away) -> None:
    """Paused, or killed and started again with its data: requests are answered as they were, and none fails."""
    async with installed(tmp_path) as here:
        await goes_on_without(here, away, AWAY_S)
