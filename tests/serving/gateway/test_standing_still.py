"""A worker that stood still for longer than its lease asks the store before anything else, and not for long."""

from __future__ import annotations

import asyncio

from serving.gateway.pauses import CATCH_UP_S, STANDS_STILL_S, Pauses


class Store:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Event()

    async def catch_up(self) -> None:
        """What the follower does."""
        self.asked += 1
        await self.answers.wait()


def watched(store: Store) -> tuple[Pauses, float]:
    """Pauses of a worker that is awake, and now."""
    loop = asyncio.get_running_loop()
    pauses = Pauses(loop)
    pauses.watch(store.catch_up)
    return pauses, loop.time()


async def test_a_worker_without_a_store_holds_nothing() -> None:
    """Nobody could be asked."""
    pauses = Pauses(asyncio.get_running_loop())
    pauses.lease_until_s = 0.0
    assert not pauses.holds(1e9, lambda: None)


async def test_a_pause_within_the_lease_is_none() -> None:
    """Whoever waits for a change waits for this worker still."""
    store = Store()
    pauses, now_s = watched(store)
    pauses.lease_until_s = now_s + 100
    assert not pauses.holds(now_s + 50, lambda: None)
    assert store.asked == 0


async def test_a_lapsed_lease_without_a_pause_is_none() -> None:
    """The store is away: availability wins, and nothing waits."""
    store = Store()
    pauses, now_s = watched(store)
    pauses.lease_until_s = now_s - 1
    for nth in range(100):
        assert not pauses.holds(now_s + nth * STANDS_STILL_S / 2, lambda: None)
    assert store.asked == 0


async def test_what_comes_after_a_pause_waits_for_the_store() -> None:
    """In its order, until the store has answered, and is then done; a tick in between changes nothing."""
    store, done = Store(), list[int]()
    pauses, now_s = watched(store)
    pauses.lease_until_s = now_s + 1
    later_s = now_s + 10
    assert later_s > pauses.awake_until_s
    assert all(pauses.holds(later_s, lambda nth=nth: done.append(nth)) for nth in range(3))  # type: ignore[misc]
    pauses.tick(later_s)
    assert later_s > pauses.awake_until_s
    await asyncio.sleep(0)
    assert (store.asked, done) == (1, [])
    store.answers.set()
    await asyncio.sleep(CATCH_UP_S / 10)
    assert done == [0, 1, 2]
    assert not pauses.holds(asyncio.get_running_loop().time(), lambda: None)


async def test_a_store_that_does_not_answer() -> None:
    """Is not waited for."""
    store, done = Store(), asyncio.Event()
    pauses, now_s = watched(store)
    pauses.lease_until_s = now_s + 1
    pauses.tick(now_s + 10)
    assert pauses.holds(now_s + 10, done.set)
    await asyncio.wait_for(done.wait(), 50 * CATCH_UP_S)
    assert not store.answers.is_set()
