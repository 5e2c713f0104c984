"""Waiting until gateways run a change, at a real store: for whom, until when, and what it reads."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Collection, Mapping

import pytest
import redis

from router.epoch import Head
from router.policy import Policy
from serving.control.acknowledging import until_acknowledged
from serving.control.publication import Answer
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.control.views import Acknowledged
from serving.leases import Applied, GatewayLease
from tests.serving.control.waiting import until
from tests.valkey import Gateway

VERSIONS = {f"model-of-some-name-{number:04}/11": 1_234_567 for number in range(1_000)}
PATIENCE_S = 10.0


def lease(name: str, head: Head | None = None) -> GatewayLease:
    """Of a gateway that runs this and has answered for many versions."""
    epoch, digest = (0, "") if head is None else (head.epoch, head.digest)
    return GatewayLease(name, "b", 7, "h", 8000, epoch, digest, requests=VERSIONS)


class Room:
    """A store with gateways, and how often somebody who waits has looked."""

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self.store: Store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
        self.raw = redis.Redis.from_url(valkey.url)
        self.gateway = Gateway(valkey.url, self.store.keys)
        self.looks = 0

    async def applied(self, ids: Collection[str]) -> Mapping[str, Applied]:
        """The store's."""
        found = await self.store.applied(ids)
        self.looks += 1
        return found

    async def looked(self, times: int = 2) -> None:
        """Ends once it was looked so many times more."""
        so_far = self.looks
        await until(lambda: self.looks >= so_far + times)

    def says_as_earlier(self, lease: GatewayLease, ttl_s: float = 60.0) -> None:
        """What a gateway of an earlier release leaves: its lease, and nothing beside it that can be waited for."""
        self.raw.set(self.store.keys.gateway(lease.id), lease.encode(), px=round(ttl_s * 1000))
        self.raw.sadd(self.store.keys.gateways, lease.id)

    async def changed(self) -> Answer:
        """A change, which the gateways of now are to run."""
        return (await self.store.change("m", Policy(stable=1), None, who="ada")).answer

    async def close(self) -> None:
        """Gives the connections back."""
        self.raw.close()
        self.gateway.close()
        await self.store.close()


@pytest.fixture
async def room(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """One in a namespace of its own."""
    made = Room(valkey)
    yield made
    await made.close()


def waiting(room: Room, answer: Answer, wait_s: float = PATIENCE_S) -> asyncio.Task[Acknowledged]:
    """Somebody who waits."""
    return asyncio.create_task(until_acknowledged(room, answer, wait_s, time.monotonic))


async def test_the_last_gateway_ends_it(room: Room) -> None:
    """Those that run it already do not; another snapshot of the same epoch is not it, a later epoch is."""
    for name in ("first", "slow", "forked"):
        room.gateway.gateway_says(lease(name), 60)
    answer = await room.changed()
    seen = waiting(room, answer)
    room.gateway.gateway_says(lease("first", answer.head), 60)
    room.gateway.gateway_says(lease("forked", answer.head._replace(digest="other")), 60)
    await room.looked()
    room.gateway.gateway_says(lease("slow", answer.head), 60)
    await room.looked()
    assert not seen.done()
    room.gateway.gateway_says(lease("forked", Head(answer.head.epoch + 1, "next", answer.head.digest)), 60)
    assert await seen == Acknowledged(3, 3, (), ())


async def test_a_slow_gateway_is_named_when_the_patience_ends(room: Room) -> None:
    """And was waited for until then."""
    for name in ("quick", "slow"):
        room.gateway.gateway_says(lease(name), 60)
    answer = await room.changed()
    room.gateway.gateway_says(lease("quick", answer.head), 60)
    began = time.monotonic()
    assert await waiting(room, answer, 0.1) == Acknowledged(2, 1, (), ("slow",))
    assert time.monotonic() - began >= 0.1


@pytest.mark.parametrize("earlier", [False, True])
async def test_who_has_no_lease_any_more_is_not_waited_for(room: Room, earlier: bool) -> None:  # noqa: FBT001
    """Whatever it ran when it was last heard of: it lapses, is given back, or came only after the change."""
    says = room.says_as_earlier if earlier else room.gateway.gateway_says
    for name in ("lapses", "leaves"):
        says(lease(name), 60.0)
    answer = await room.changed()
    says(lease("newcomer"), 60.0)
    seen = waiting(room, answer)
    says(lease("leaves", answer.head), 60.0)
    await room.looked()
    assert not seen.done()
    says(lease("lapses"), 0.05)
    keys = room.store.keys
    room.raw.delete(keys.gateway("leaves"), keys.gateway_applied("leaves"))
    assert await seen == Acknowledged(2, 0, ("lapses", "leaves"), ())


async def test_a_gateway_of_an_earlier_release_is_waited_for_by_its_lease(room: Room) -> None:
    """Beside one of this release; and where it is replaced by one while it is waited for, by what that says."""
    room.gateway.gateway_says(lease("of-this"), 60)
    for name in ("of-earlier", "upgraded"):
        room.says_as_earlier(lease(name))
    answer = await room.changed()
    seen = waiting(room, answer)
    room.gateway.gateway_says(lease("of-this", answer.head), 60)
    room.gateway.gateway_says(lease("upgraded"), 60)
    await room.looked()
    room.gateway.gateway_says(lease("upgraded", answer.head), 60)
    await room.looked()
    assert not seen.done()
    room.says_as_earlier(lease("of-earlier", answer.head))
    assert await seen == Acknowledged(3, 3, (), ())


async def test_no_lease_is_read_while_a_change_is_waited_for(room: Room) -> None:
    """A look at many gateways moves less than one of their leases is long."""
    names = [f"g{number}" for number in range(10)]
    for name in names:
        room.gateway.gateway_says(lease(name), 60)
    answer = await room.changed()
    before = _sent_by(room)
    assert len((await waiting(room, answer, 0.2)).waiting) == len(names)
    assert (_sent_by(room) - before) / room.looks < len(lease("g0").encode())


def _sent_by(room: Room) -> int:
    """Bytes that the server has answered."""
    return int(room.raw.info("stats")["total_net_output_bytes"])
