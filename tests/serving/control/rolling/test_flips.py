"""Flips that do not come about: who is told what, what is taken back, and when it is tried again."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from serving.control.errors import NotNow, Unacceptable
from serving.control.rolling.outward import Event
from serving.control.rolling.service import approval
from tests.serving.control.rolling.rooms import FLIP, MODEL, Room, fake_room


@pytest.fixture
async def room() -> Room:
    """A room in memory."""
    return await fake_room()


async def test_a_flip_is_tried_again_after_growing_pauses(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that stays deaf for long does not fill the ledger."""
    monkeypatch.setattr("serving.control.rolling.moving.STAGING_S", 0.01)
    await room.start(FLIP)
    await room.follow("deaf")
    at: list[float] = []
    for _ in range(130):
        before = len(await room.entries())
        await room.tick(1)
        at += [room.clock.now_s] * any(
            one.entry.facts.get("event") == Event.ABANDONED for one in (await room.entries())[before:]
        )
    pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert len(pauses) > 3
    assert all(later > earlier for earlier, later in itertools.pairwise(pauses))


async def test_an_operator_whose_flip_was_abandoned_is_told_to_ask_again(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tries it for them."""
    monkeypatch.setattr("serving.control.rolling.moving.STAGING_S", 0.01)
    record = await room.start({"candidate": 2, "blue_green": {"bake": "0s", "approval": True}})
    for _ in range(3):
        await room.tick(1)
    await room.follow("deaf")
    with pytest.raises(NotNow, match="abandoned") as refused:
        await room.rollouts.ask(record.id, approval("ada", "", None), expected=None, wait_s=0)
    assert "Ask again" in refused.value.hint


async def test_an_operators_flip_does_not_give_traffic_to_what_is_being_drained(room: Room) -> None:
    """Though the draining began while gateways were staging it; what was staged is taken back."""
    record = await room.start({"candidate": 2, "blue_green": {"bake": "0s", "approval": True}})
    for _ in range(3):
        await room.tick(1)
    asked = asyncio.create_task(room.rollouts.ask(record.id, approval("ada", "", None), expected=None, wait_s=0))
    for _ in range(1_000):
        if (await room.store.state()).snapshot.staged:
            break
        await asyncio.sleep(0)
    async with room.service.routing:
        room.service.going = frozenset({(MODEL, 2)})
    await room.follow()
    with pytest.raises(Unacceptable, match="drained"):
        await asked
    assert await room.shares() == {1: 1_000_000}
    assert (await room.store.state()).snapshot.staged == {}
