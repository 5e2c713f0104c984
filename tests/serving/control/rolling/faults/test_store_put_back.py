"""The store is put back from a copy that is older than a rollback: no request reaches the version that went back.

Gateways hold what they run against a head that does not descend from it; the conductor publishes that again, and
pauses the rollout, which in the copy is still under way.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from router.commands import RollBack
from router.phases import Phase
from serving.control.errors import NotNow
from serving.control.rolling.records import Record
from serving.control.rolling.remembering import FILE
from tests.serving.control.rolling.faults.installation import LEASE_S, MODEL, Installation, comes_to, installed
from tests.serving.control.rolling.faults.steady import Steady, steadily, versions

pytestmark = pytest.mark.slow

CANARY = {"candidate": 2, "canary": {"steps": ["30%", "60%"], "needs": "minima", "hold": "1s", "watch": "1s"}}
LONG = {"candidate": 2, "canary": {"steps": ["30%", "60%"], "needs": "minima", "hold": "10m"}}
STAGES_S = 4.0
"""Longer than all of the canary's stages together."""


async def rolled_back(here: Installation, record: Record) -> float:
    """The moment from which on no gateway runs the candidate any more."""
    change = await here.ask(record, RollBack(who="ada", why="it is bad"))
    assert change.acknowledged is not None
    assert (change.acknowledged.by, change.acknowledged.of) == (len(here.gateways), len(here.gateways))
    return here.now_s


async def recovered(here: Installation, record: Record) -> None:
    """What gateways run is published again, and the rollout stands still and says why."""
    await comes_to(lambda: _is_paused(here, record), "a rollout that is paused")
    await comes_to(here.all_run, "gateways that hold nothing")
    kinds = [one.entry.kind for one in await here.entries()]
    assert "recovery" in kinds
    rollout = (await here.now(record)).rollout
    assert "forgotten" in rollout.cause
    assert (await here.service.current("m")).policy.shares().get(2, 0) == 0


async def _is_paused(here: Installation, record: Record) -> bool:
    return (await here.now(record)).rollout.phase is Phase.PAUSED


async def stays_with_stable(here: Installation, steady: Steady, since_s: float) -> None:
    """And will: nothing but stable has answered since then, nor does while stages would pass."""
    await asyncio.sleep(STAGES_S)
    answers = steady.since(since_s)
    assert steady.failed == []
    assert versions(answers) == {1}
    assert {one.gateway for one in answers} == set(here.ports)


@pytest.mark.parametrize("document", [CANARY, LONG], ids=["stages that are passed by then", "a stage that lasts"])
@pytest.mark.parametrize("conductor", ["the same", "another"])
async def test_an_old_copy(tmp_path: Path, document: dict[str, object], conductor: str) -> None:
    """Taken while the candidate had traffic: it gets not one request, whichever control room finds it."""
    async with installed(tmp_path) as here, steadily(here.ports) as steady:
        await here.conduct()
        record = await here.start(document)
        await comes_to(lambda: here.entered(record, "30 %"), "the first share")
        await comes_to(here.all_run, "gateways that run it")
        copy = await here.copy()
        await comes_to(lambda: _answered(steady, 2), "an answer of the candidate's")
        since_s = await rolled_back(here, record)
        if conductor == "another":
            await here.kill_leader()
        await here.put_back(copy)
        if conductor == "another":
            await here.conduct()
        await recovered(here, record)
        await stays_with_stable(here, steady, since_s)


async def test_a_copy_from_before_the_first_share(tmp_path: Path) -> None:
    """What it has set is what gateways run, by chance: it is paused all the same, for it does not know why."""
    async with installed(tmp_path) as here, steadily(here.ports) as steady:
        await here.conduct()
        here.up.discard(2)
        await comes_to(lambda: _is_down(here, 2), "the end of the candidate's lease")
        record = await here.start(CANARY)
        copy = await here.copy()
        here.up.add(2)
        await comes_to(lambda: here.entered(record, "60 %"), "the second share")
        since_s = await rolled_back(here, record)
        await here.put_back(copy)
        await recovered(here, record)
        await stays_with_stable(here, steady, since_s)


async def test_a_gateway_that_begins_again_meanwhile(tmp_path: Path) -> None:
    """It finds the old copy, and what it kept on disk is later: it goes on with that, and the store recovers by it."""
    async with installed(tmp_path) as here, steadily({"gateway 0": here.gateways[0].port}) as steady:
        first = await here.conduct()
        record = await here.start(LONG)
        await comes_to(lambda: here.entered(record, "30 %"), "the first share")
        await comes_to(here.all_run, "gateways that run it")
        copy = await here.copy()
        since_s = await rolled_back(here, record)
        first.kill()
        first.wait()
        await here.put_back(copy)
        again = here.gateways[1]
        await again.begin_again()
        async with steadily({"gateway 1": again.port}) as after:
            await asyncio.sleep(2 * LEASE_S)
            assert versions(after.answers) == {1}
            await here.conduct()
            await recovered(here, record)
            await asyncio.sleep(0.5)
        assert versions(after.answers) == {1}
        assert after.failed == []
    assert versions(steady.since(since_s)) == {1}
    assert steady.failed == []


async def test_a_gateway_that_joins_meanwhile(tmp_path: Path) -> None:
    """It has kept nothing, and another one runs a later epoch: it is not ready until the store shows what that runs."""
    async with installed(tmp_path) as here:
        await here.conduct()
        record = await here.start(LONG)
        await comes_to(lambda: here.entered(record, "30 %"), "the first share")
        copy = await here.copy()
        await rolled_back(here, record)
        await here.kill_leader()
        await here.put_back(copy)
        await comes_to(lambda: _holds(here), "a gateway that holds the old copy")
        joins = here.gateways[1]
        joins.forget()
        await joins.begin_again()
        assert joins.worker.status["ready"] is False
        await here.conduct()
        await recovered(here, record)
        async with steadily(here.ports) as steady:
            await asyncio.sleep(0.5)
        assert versions(steady.answers) == {1}
        assert steady.failed == []


async def _answered(steady: Steady, version: int) -> bool:
    return any(one.version == version for one in steady.answers)


async def _is_down(here: Installation, version: int) -> bool:
    return version not in {one.version for one in await here.store.endpoints()}


async def _holds(here: Installation) -> bool:
    return any(lease.held for lease in await here.leases())


async def test_a_copy_from_before_the_rollout(tmp_path: Path) -> None:
    """It knows nothing of it: the bad version gets nothing, and is not started again but by somebody who insists."""
    async with installed(tmp_path) as here, steadily(here.ports) as steady:
        await here.conduct()
        await comes_to(here.leader, "a leader")
        copy = await here.copy()
        record = await here.start(LONG)
        await comes_to(lambda: here.entered(record, "30 %"), "the first share")
        await comes_to(here.all_run, "gateways that run it")
        since_s = await rolled_back(here, record)
        await comes_to(lambda: _is_kept(here, record), "a memory on disk")
        await here.put_back(copy)
        await comes_to(lambda: _is_barred(here, record), "a store that was told again")
        await comes_to(here.all_run, "gateways that hold nothing")
        assert await here.store.rollout(record.id) is None
        with pytest.raises(NotNow, match=record.id):
            await here.start(CANARY)
        await stays_with_stable(here, steady, since_s)


async def _is_kept(here: Installation, record: Record) -> bool:
    file = here.folder / "ledger" / FILE
    return file.is_file() and record.id in await asyncio.to_thread(file.read_text)


async def _is_barred(here: Installation, record: Record) -> bool:
    return (await here.store.barred(MODEL)).get(2) == record.id
