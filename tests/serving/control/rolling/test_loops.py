"""One leads, the others wait; what fails is tried again; whoever listens hears everything once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from serving.control.errors import Overloaded, StoreUnavailable
from serving.control.fake_store import FakeStore
from serving.control.publishing import Beside, LedgerEntry, Recorded
from serving.control.rolling import feed as feed_module
from serving.control.rolling.feed import Feed
from serving.control.rolling.leading import Leadership
from serving.control.rolling.rolling import Rolling
from serving.errors import SluiceError
from tests.serving.control.rolling.rooms import STEPS, Clock, Post, Room, fake_room, stages_in


def leads(*several: Leadership) -> list[bool]:
    """Which of them may write."""
    return [one.fence is not None for one in several]


async def test_a_second_conductor_waits_until_the_lease_lapses() -> None:
    """And has a later fence; the first knows at once that it may not lead any more."""
    clock = Clock()
    store = FakeStore(clock)
    first, second = Leadership(store, clock=clock), Leadership(store, clock=clock)
    await first.keep()
    await second.keep()
    assert leads(first, second) == [True, False]
    clock.now_s += 2.9
    assert leads(first, second) == [True, False]
    clock.now_s += 0.2
    assert leads(first, second) == [False, False]
    await second.keep()
    await first.keep()
    assert leads(first, second) == [False, True]


async def test_who_cannot_reach_the_store_leads_no_longer_than_its_lease() -> None:
    """It cannot know whether another one leads by then."""
    clock = Clock()
    store = FakeStore(clock)
    leadership = Leadership(store, clock=clock)
    await leadership.keep()
    store.down = True
    with pytest.raises(StoreUnavailable):
        await leadership.keep()
    assert leads(leadership) == [True]
    clock.now_s += 3.1
    assert leads(leadership) == [False]
    await leadership.resign()


async def test_the_loops_walk_a_rollout_through_an_outage(tmp_path: Path) -> None:
    """The store goes away in the middle: nothing is lost, and it goes on when that is back."""
    room = await fake_room()
    await room.store.resign("tests")
    clock = lambda: room.clock() + time.monotonic()  # noqa: E731 - what the store's clock skips, it skips as well
    rolling = Rolling(room.store, room.service.traffic, folder=tmp_path, sends=Post(), clock=clock)
    running = asyncio.create_task(rolling.loops.run())
    try:
        record = await room.start(STEPS)
        await _until(room, "enter stage '1 %'")
        room.store.down = True
        await asyncio.sleep(0.3)
        room.store.down = False
        await _until(room, "enter stage '25 %'", hurry_s=0.1)
        assert (await room.now(record)).rollout.stage == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert stages_in(await room.entries()) == ["enter stage '1 %'", "enter stage '25 %'"]


async def _until(room: Room, stage: str, hurry_s: float = 0.0) -> None:
    async with asyncio.timeout(20):
        while stage not in stages_in(await room.entries()):
            room.clock.now_s += hurry_s
            await room.follow()
            await asyncio.sleep(0.02)


async def told(store: FakeStore, *names: str) -> None:
    """Entries, one after the other."""
    for name in names:
        await store.note(Beside(entries=(LedgerEntry("x", name, "", {}),)))


async def test_listeners_hear_what_is_written_from_then_on() -> None:
    """Both of them, each entry once, by one reader."""
    store = FakeStore()
    await told(store, "before")
    feed = Feed(store)
    with feed.listener(await feed.newest()) as one, feed.listener("") as other:
        await told(store, "a", "b")
        for listener in (one, other):
            heard = [await listener.next(5), await listener.next(5)]
            assert [entry.entry.who for entry in heard if entry] == ["a", "b"]
        assert await one.next(0.01) is None
        assert not one.over
    await feed.close()


async def test_who_comes_back_hears_what_was_missed() -> None:
    """From the id that was heard last."""
    store = FakeStore()
    await told(store, "a", "b", "c")
    last = (await store.ledger_after("", 1))[0].id
    assert [one.entry.who async for one in Feed(store).since(last)] == ["b", "c"]


async def test_a_listener_that_is_too_slow_is_dropped_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets what there was room for, and then the end; the others go on."""
    monkeypatch.setattr(feed_module, "LONGEST_QUEUE", 3)
    store = FakeStore()
    feed = Feed(store)
    with feed.listener("") as slow, feed.listener("") as quick:
        for number in range(6):
            await told(store, str(number))
            entry = await quick.next(5)
            assert entry is not None
        heard = []
        while not slow.over:
            entry = await slow.next(1)
            heard += [entry.entry.who] if entry else []
        assert heard == ["0", "1", "2"]
        assert not quick.over
    await feed.close()


async def test_only_so_many_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is refused, until one leaves."""
    monkeypatch.setattr(feed_module, "MOST_LISTENERS", 1)
    feed = Feed(FakeStore())
    with feed.listener(""), pytest.raises(Overloaded):
        await feed.newest()
    assert await feed.newest() == ""
    await feed.close()


async def test_the_reader_outlives_an_outage() -> None:
    """What was written meanwhile is heard after it."""
    store = FakeStore()
    feed = Feed(store)
    with feed.listener("") as listener:
        await told(store, "a")
        assert await listener.next(5) is not None
        store.down = True
        await asyncio.sleep(0.05)
        store.down = False
        await told(store, "b")
        entry = await listener.next(5)
        assert entry is not None
        assert entry.entry.who == "b"
    await feed.close()


async def test_the_reader_outlives_what_nobody_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens hears what comes after it."""
    monkeypatch.setattr(feed_module, "_WAIT_S", 0.01)
    store = FakeStore()
    feed = Feed(store)
    whole = store.await_entry

    async def damaged(after: str, wait_s: float) -> Sequence[Recorded]:
        store.await_entry = whole  # type: ignore[method-assign]
        raise SluiceError("this cannot be read")

    store.await_entry = damaged  # type: ignore[method-assign]
    with feed.listener("") as listener:
        await asyncio.sleep(0.05)
        await told(store, "b")
        entry = await listener.next(5)
        assert entry is not None
        assert entry.entry.who == "b"
    await feed.close()
