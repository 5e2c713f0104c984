"""Where the model runs something else than its rollout has set, shares set by hand go by what runs."""

from __future__ import annotations

import pytest

from router.commands import SetShares
from router.phases import Phase
from serving.control.errors import NotNow, Unacceptable
from serving.control.publishing import LedgerEntry, publication_of
from serving.control.rolling.records import Record
from tests.serving.control.rolling.rooms import MODEL, STEPS, Room, fake_room

WIDE = {"candidate": 2, "canary": {"steps": ["25%", "50%"], "needs": "minima", "hold": "100s"}}


async def drifted(room: Room) -> Record:
    """A rollout at 25 %, paused, because a store that forgot was told by the gateways that stable has everything."""
    record = await room.start(WIDE)
    await room.tick(1)
    base = record.rollout.base
    said = LedgerEntry("recovery", "conductor", "", {})
    await room.store.swap(publication_of(await room.store.state(), {MODEL: base}, said))
    await room.tick(1)
    found = await room.now(record)
    assert (found.rollout.phase, await room.shares()) == (Phase.PAUSED, {1: 1_000_000})
    return found


async def test_setting_the_shares_that_the_rollout_has_already_makes_them_true() -> None:
    """Drift is ended by somebody who sets the shares anew: the same ones, too."""
    room = await fake_room()
    record = await drifted(room)
    done = await room.ask(record, SetShares(who="ada", shares={2: 250_000}))
    assert done.epoch == (await room.store.head()).epoch
    assert await room.shares() == {1: 750_000, 2: 250_000}


async def test_less_than_the_rollout_had_and_more_than_runs_is_more() -> None:
    """A version whose servers are being drained gets nothing by it, and the freeze holds it."""
    room = await fake_room()
    record = await drifted(room)
    less = SetShares(who="ada", shares={2: 100_000})
    room.service.going = frozenset({(MODEL, 2)})
    with pytest.raises((NotNow, Unacceptable), match="drained"):
        await room.ask(record, less)
    assert await room.shares() == {1: 1_000_000}
    room.service.going = frozenset()
    assert (await room.ask(record, less)).epoch is not None
    assert await room.shares() == {1: 900_000, 2: 100_000}


async def test_a_version_that_is_gone_is_not_given_traffic_anew() -> None:
    """Its arm had no share for a while, and nobody kept it up."""
    room = await fake_room()
    record = await room.start(STEPS)
    await room.tick(1)
    await room.ask(record, SetShares(who="ada", shares={2: 0}))
    for endpoint in await room.store.endpoints():
        if endpoint.version == 2:
            await room.store.drop(endpoint)
    with pytest.raises(NotNow, match="Version 2 is not up"):
        await room.ask(record, SetShares(who="ada", shares={2: 5_000}))
    assert (await room.shares())[1] == 1_000_000
