"""How long going back took: what is counted of it, and what the ledger says."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from functools import partial
from itertools import count
from typing import Any

import pytest

from router.epoch import Head
from router.phases import Phase
from router.rollout import BY_ITSELF, Seen, fact
from serving.control.publication import Answer, Beside
from serving.control.rolling.moving import Moved
from serving.control.rolling.propagating import MOST_COUNTED, Propagation
from serving.control.rolling.spreads import NO_SPREAD
from serving.leases import Applied
from serving.stream_counts import BOUNDS_S
from tests.serving.control.rolling.rooms import FLIP, STEPS, fake_room
from tests.serving.metrics.facts import rollout

HEAD = Head(8, "d", "p")


class Late:
    """A store in which one gateway stays at the epoch before."""

    def __init__(self) -> None:
        self.noted: list[Beside] = []

    async def applied(self, ids: Collection[str]) -> Mapping[str, Applied]:
        """Of the one."""
        return {name: Applied(7, "before", 0) for name in ids}

    async def note(self, beside: Beside) -> Answer:
        """Keeps it."""
        self.noted.append(beside)
        return Answer(done=True, head=HEAD)


async def test_a_gateway_that_does_not_go_back_counts_as_slow() -> None:
    """As long as it was waited for, at least: were it left out, the slowest rollback of all would look like none."""
    store, record = Late(), rollout()
    propagation = Propagation(store, partial(next, count(step=10.0)))
    moved = Moved(record, Answer(done=True, head=HEAD, members=frozenset({"g1"})), published=True)
    said = fact(record.rollout, record.rollout, Seen(0.0), who=BY_ITSELF, what="breach", why="it fails")
    propagation.watch(moved, said, 0.0, 1)
    while propagation.waits:
        await next(iter(propagation._tasks))
    assert sum(propagation.propagated.counts) == 1
    assert sum(propagation.propagated.counts[BOUNDS_S.index(10.0) + 1 :]) == 1
    [beside] = store.noted
    assert beside.entries[0].facts["numbers"]["waiting"] == 1
    assert "not yet: g1" in beside.entries[0].why


@pytest.mark.parametrize("document", [STEPS, FLIP], ids=["canary", "flip"])
async def test_every_step_of_its_own_is_counted(document: dict[str, Any]) -> None:
    """As many as the epochs that it published; none of them is a rollback."""
    room = await fake_room()
    record = await room.walked(await room.start(document))
    assert record.rollout.phase is Phase.PROMOTED
    await room.follow()
    await asyncio.gather(*room.walker.propagation._counting)
    found = room.walker.figures()
    assert sum(found.stepped.counts) == len(record.epochs) > 0
    assert found.propagated == NO_SPREAD


async def test_a_step_that_a_gateway_never_takes_is_not_counted() -> None:
    """It would count as no longer than anybody waited; `sluice_gateway_epoch` shows who is behind. Nothing is noted."""
    store = Late()
    propagation = Propagation(store, partial(next, count(step=10.0)))
    moved = Moved(rollout(), Answer(done=True, head=HEAD, members=frozenset({"g1"})), published=True)
    propagation.count(moved, 0.0)
    await asyncio.gather(*propagation._counting)
    assert (propagation.stepped, store.noted) == (NO_SPREAD, [])


async def test_so_many_steps_are_waited_for_at_once() -> None:
    """Each asks the store again and again: what is over the bound is not counted, and there is room again later."""
    propagation = Propagation(Late(), lambda: 0.0)
    moved = Moved(rollout(), Answer(done=True, head=HEAD, members=frozenset({"g1"})), published=True)
    for _ in range(MOST_COUNTED + 5):
        propagation.count(moved, 0.0)
    assert len(propagation._counting) == MOST_COUNTED
    await propagation.close()
    propagation.count(moved, 0.0)
    assert len(propagation._counting) == 1
    await propagation.close()
