"""A gateway process that stands still holds up no change beyond its lease, and catches up before it answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from serving.control.views import Changed, Wanted
from tests.serving.control.rolling.faults.installation import LEASE_S, MODEL, Installation, comes_to, installed, stopped
from tests.serving.control.rolling.faults.steady import asking, noted, steadily
from tests.serving.gateway.rig import Client

PATIENCE_S = 10.0
TIMES = 2


async def test_it_is_counted_out_and_catches_up(tmp_path: Path) -> None:
    """The change waits for its lease at most, and names it; what clients sent to it goes by the new policy."""
    async with installed(tmp_path) as here:
        awake, paused = here.gateways
        client = await Client.connect(paused.port)
        async with steadily({"awake": awake.port}) as steady:
            for nth in range(TIMES):
                await comes_to(here.all_run, "gateways that run the same")
                with stopped(paused.pid):
                    epoch = await _changed(here, nth, paused.id)
                    await client.send(asking(f"unit-{nth}"))
                    fresh = await Client.connect(paused.port)
                    await fresh.send(asking(f"fresh-{nth}"))
                for one in (client, fresh):
                    answer = await noted(one, paused.id, here.now_s)
                    assert (answer.status, answer.epoch) == (200, epoch)
                fresh.close()
                await comes_to(here.all_run, "a gateway that is counted again")
        client.close()
        assert steady.failed == []
        assert len(steady.answers) > 40


async def test_a_pause_that_is_shorter_than_its_lease(tmp_path: Path) -> None:
    """Such a gateway is waited for: nobody answers by the old policy once the change is said to run everywhere."""
    async with installed(tmp_path, lease_s=30.0) as here:
        paused = here.gateways[1]
        with stopped(paused.pid):
            changing = asyncio.create_task(_set(here, 10))
            await asyncio.sleep(1.0)
            assert not changing.done()
        changed = await changing
        assert changed.acknowledged.by == changed.acknowledged.of == 2


async def test_the_store_is_away_as_well(tmp_path: Path) -> None:
    """It asks in vain, and then answers by what it has: nobody waits for a store that does not answer."""
    async with installed(tmp_path) as here:
        paused, epoch = here.gateways[1], (await here.store.head()).epoch
        client = await Client.connect(paused.port)
        with stopped(here.valkey.pid):
            with stopped(paused.pid):
                await asyncio.sleep(2 * LEASE_S)
                await client.send(asking("unit"))
            answer = await noted(client, paused.id, here.now_s)
            assert (answer.status, answer.epoch) == (200, epoch)
        client.close()


async def _set(here: Installation, percent: int) -> Changed:
    return await here.service.set_policy(
        MODEL, Wanted(1, {2: percent * 10_000}), None, who="ada", wait_s=PATIENCE_S, force=True
    )


async def _changed(here: Installation, nth: int, paused: str) -> int:
    """The epoch of a change that did not get the word of the one that is paused."""
    began_s = here.now_s
    changed = await _set(here, nth + 1)
    seen = changed.acknowledged
    assert (seen.of, seen.by, seen.expired, seen.waiting) == (2, 1, (paused,), ())
    assert here.now_s - began_s < PATIENCE_S
    return changed.current.epoch
