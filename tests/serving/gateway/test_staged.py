"""A policy that is staged is fetched and understood before it is active, and changes nothing until then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from router.codec import digest_of, encode_policy
from router.epoch import Head
from router.policy import Arm, Policy
from serving.control.publishing import LedgerEntry, next_epoch
from serving.control.valkey import EmbeddedValkey
from tests.serving.gateway.rig import eventually
from tests.serving.gateway.test_policies import Room, at, following

BLUE, GREEN = Policy(1, salt="s"), Policy(2, (Arm(1, 0),), salt="s")


@pytest.fixture
async def room(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """An empty store."""
    async with at(valkey) as one:
        yield one


async def staged(room: Room, policy: Policy | None) -> Head:
    """The head that stages it; None takes it back."""
    state = await room.store.state()
    blobs = {} if policy is None else {digest_of(encode_policy(policy)): encode_policy(policy)}
    snapshot = state.snapshot.with_staged("m", next(iter(blobs), None), parent=state.head.digest)
    answer = await room.store.swap(next_epoch(state, snapshot, blobs, LedgerEntry("rollout", "test", "", {})))
    assert answer.done
    return answer.head


async def test_it_is_acknowledged_once_it_could_be_active(room: Room) -> None:
    """The gateway has read and understood it when its lease shows the epoch, and goes on with what is active."""
    await room.publish(BLUE)
    async with following(room.server.url, room.namespace) as one:
        head = await staged(room, GREEN)
        await eventually(lambda: one.head == head)
        assert one.follower._running.staged == {digest_of(encode_policy(GREEN)): GREEN}
        assert one.worker.routing.models["m"].policy == BLUE


async def test_what_was_staged_becomes_active_without_being_fetched(room: Room) -> None:
    """Even where its bytes are gone from the store: the very object that was understood is used."""
    await room.publish(BLUE)
    async with following(room.server.url, room.namespace) as one:
        head = await staged(room, GREEN)
        await eventually(lambda: one.head == head)
        understood = one.follower._running.staged[digest_of(encode_policy(GREEN))]
        fetched: list[str] = []
        one.follower._fetch_policies = _none_but(fetched)  # type: ignore[assignment, method-assign]
        active = await room.publish(GREEN)
        await eventually(lambda: one.head == active)
        assert one.worker.routing.models["m"].policy is understood
        assert fetched == []
        assert one.follower._running.staged == {}


def _none_but(fetched: list[str]) -> Callable[[list[str]], Awaitable[dict[str, bytes]]]:
    async def fetch(digests: list[str]) -> dict[str, bytes]:
        fetched.extend(digests)
        return {}

    return fetch


async def test_what_is_taken_back_is_forgotten(room: Room) -> None:
    """An abandoned flip leaves nothing behind."""
    await room.publish(BLUE)
    async with following(room.server.url, room.namespace) as one:
        await staged(room, GREEN)
        head = await staged(room, None)
        await eventually(lambda: one.head == head)
        assert one.follower._running.staged == {}
        assert set(one.follower._running.blobs) == {digest_of(encode_policy(BLUE))}


async def test_a_gateway_that_joins_in_between_knows_it_too(room: Room) -> None:
    """Before it listens."""
    await room.publish(BLUE)
    head = await staged(room, GREEN)
    async with following(room.server.url, room.namespace) as one:
        assert one.head == head
        assert set(one.follower._running.staged.values()) == {GREEN}
