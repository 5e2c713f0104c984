"""Connections are shared out evenly among the workers, and none is left waiting for a worker that does not come."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.door import Door, Shares
from tests.serving.gateway.rig import eventually

WORKERS = 3


@pytest.fixture
def shares() -> Iterator[Shares]:
    """Of three workers, none of whom holds a connection."""
    made = Shares.create(2 * WORKERS)
    for slot in range(WORKERS):
        made.put(slot, 0)
    yield made
    made.close()


@given(st.lists(st.integers(0, 100), min_size=1, max_size=8), st.data())
def test_somebody_may_always_take_the_next(counts: list[int], data: st.DataObject) -> None:
    """Whoever holds fewest may; whoever would hold more than 1.25 times the mean may not, unless that is the fewest."""
    shares = Shares.create(len(counts))
    for slot, count in enumerate(counts):
        shares.put(slot, count)
    assert shares.may_take(counts.index(min(counts)))
    slot = data.draw(st.integers(0, len(counts) - 1))
    mean = (sum(counts) + 1) / len(counts)
    assert shares.may_take(slot) == (counts[slot] + 1 <= 1.25 * mean or counts[slot] == min(counts))
    shares.close()


def test_who_leaves_is_compared_with_no_more(shares: Shares) -> None:
    """A worker that drains holds connections which say nothing about the others' shares."""
    shares.put(0, 100)
    shares.put(1, 10)
    shares.put(2, 12)
    assert not shares.may_take(0)
    shares.leave(0)
    assert shares.may_take(2)
    assert shares.counts() == [10, 12]


class Held(asyncio.Protocol):
    """A connection that counts itself."""

    def __init__(self, shares: Shares, slot: int, held: list[Held]) -> None:
        self.shares, self.slot, self.held = shares, slot, held

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of `asyncio.Protocol`."""
        self.transport = transport
        self.held.append(self)
        self.shares.put(self.slot, len(self.held))


async def _connect(port: int) -> asyncio.StreamWriter:
    return (await asyncio.open_connection("127.0.0.1", port))[1]


@pytest.mark.parametrize("count", [3, 6, 12, 48])
@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "at once"])
async def test_a_few_long_lived_connections(shares: Shares, count: int, at_once: bool) -> None:  # noqa: FBT001
    """No worker ends up with more than 1.25 times the mean, or one more than it where they are few."""
    held: list[list[Held]] = [[] for _ in range(WORKERS)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        doors = [
            Door(listener.dup(), partial(Held, shares, slot, held[slot]), partial(shares.may_take, slot))
            for slot in range(WORKERS)
        ]
        for door in doors:
            door.open()
        port = listener.getsockname()[1]
        if at_once:
            clients = await asyncio.gather(*(_connect(port) for _ in range(count)))
        else:
            clients = [await _connect(port) for _ in range(count)]
        await eventually(lambda: sum(map(len, held)) == count)
        mean = count / WORKERS
        assert max(map(len, held)) <= max(1.25 * mean, mean + 1)
        for door in doors:
            door.close()
        for client in clients:
            client.close()
        for one in (one for some in held for one in some):
            one.transport.close()
        await asyncio.sleep(0)


async def test_a_worker_that_hangs_keeps_nobody_waiting(shares: Shares) -> None:
    """Where the one whose turn it is does not come, another takes the connection after a moment."""
    held: list[Held] = []
    shares.put(0, 50)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        door = Door(listener.dup(), lambda: Held(shares, 0, held), lambda: shares.may_take(0))
        door.open()
        client = await _connect(listener.getsockname()[1])
        await eventually(lambda: held)
        door.close()
        client.close()
        held[0].transport.close()
        await asyncio.sleep(0)
