"""The loops begin what the settings declare, keep it so, and bring back what the store forgot."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence

import pytest

from router.codec import digest_of, encode_policy, encode_snapshot
from router.epoch import NO_HEAD, Entry, Head, Snapshot, Step, step
from router.policy import WHOLE, Arm, Policy
from serving.control.conductor import Conductor, Recoverable
from serving.control.errors import StoreDamaged
from serving.control.fake_pools import FakePools
from serving.control.fake_store import FakeStore
from serving.control.publishing import NOTHING, State
from serving.control.recovery import plan, publication
from serving.control.service import ControlService, declared_in
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Endpoint
from serving.leases import GatewayLease, Recovery, remembered
from serving.pools import PoolSpec
from serving.settings import ModelSettings, Settings
from tests.valkey import Gateway

MODELS: Sequence[ModelSettings] = Settings.model_validate(
    {
        "models": [
            {
                "name": "digits",
                "versions": [
                    {"version": 1, "path": "m/1"},
                    {"version": 2, "path": "m/2"},
                    {"version": 3, "endpoints": ["127.0.0.1:9003"]},
                ],
                "traffic": {1: "90%", 2: "10%"},
            }
        ]
    }
).models
HALF = Policy(stable=1, arms=(Arm(2, 500_000),), salt="s")


class Room:
    """A control room around a store, with a clock that a test turns."""

    def __init__(self, store: Recoverable | None = None) -> None:
        self.now = 100.0
        self.fake = FakeStore(lambda: self.now)
        self.store: Recoverable = store or self.fake
        self.pools = FakePools(self.fake, at_once=True)
        self.answering = True
        self.service = ControlService(self.store, declared_in(MODELS))
        self.conductor = self.restarted()

    def restarted(self) -> Conductor:
        """A conductor that knows nothing yet."""
        return Conductor(
            self.service, self.store, self.pools, MODELS, probe=self.probe, lease_s=3.0, clock=lambda: self.now
        )

    async def probe(self, endpoint: Endpoint) -> bool:
        """Whether static endpoints answer."""
        return self.answering

    async def settle_for(self, seconds: float) -> None:
        """One look a second."""
        for _ in range(int(seconds) + 1):
            await self.conductor.settle()
            self.now += 1


class FakeGateway:
    """A gateway that follows the store as the router says it should.

    Args:
        name: its id.
        store: what it follows.
        says: how it renews its lease.
        hands_back: how it keeps what it runs.
    """

    def __init__(
        self,
        name: str,
        store: Recoverable,
        says: Callable[[GatewayLease, float], None],
        hands_back: Callable[[Recovery], None],
    ) -> None:
        self._name = name
        self._store = store
        self._says = says
        self._hands_back = hands_back
        self.running = NO_HEAD
        self.kept: Recovery | None = None
        self.held: str | None = None

    async def look(self) -> Step:
        """One poll."""
        shown = await self._store.head()
        there = (await self._store.lineage([self.running.epoch])).get(self.running.epoch)
        decision = step(self.running, shown, remembered(there, self.running.digest))
        self.held = "it does not follow" if decision is Step.HOLD else None
        if decision is Step.TAKE and shown != NO_HEAD:
            self.running = shown
            self.kept = await self._whole(shown)
        if decision is Step.HOLD and self.kept:
            self._hands_back(self.kept)
        self._says(GatewayLease(self._name, "b", 1, "h", 8000, self.running.epoch, self.running.digest, self.held), 1e6)
        return decision

    async def _whole(self, head: Head) -> Recovery:
        snapshot = (await self._store.state()).snapshot
        policies = {one.digest: encode_policy(await self._store.policy(one.digest)) for one in snapshot.models.values()}
        return Recovery(head, encode_snapshot(snapshot), policies)


def gateway(room: Room, name: str = "g1") -> FakeGateway:
    """A gateway of that room."""
    return FakeGateway(name, room.fake, room.fake.gateway_says, room.fake.gateway_hands_back)


# Beginning.


async def test_a_first_start_makes_keys_and_policies_at_once() -> None:
    """An empty store and no gateways is a beginning: nothing has to be waited for."""
    room = Room()
    await room.conductor.settle()
    assert await room.fake.id_keys() is not None
    assert (await room.service.current("digits")).policy.shares() == {1: 900_000, 2: 100_000}


async def test_a_restart_changes_nothing() -> None:
    """Keys and policies that are there are left as they are."""
    room = Room()
    await room.conductor.settle()
    keys, head = await room.fake.id_keys(), await room.fake.head()
    room.conductor = room.restarted()
    await room.settle_for(5)
    assert (await room.fake.id_keys(), await room.fake.head()) == (keys, head)


async def test_what_the_settings_declare_is_started_and_shown() -> None:
    """Static versions are nobody's to start; the states are as the conductor last saw them."""
    room = Room()
    await room.conductor.keep_pools()
    await room.conductor.look_at_pools()
    assert [(one.version, one.state, one.ready) for one in (await room.service.status()).pools] == [
        (1, "RUNNING", 1),
        (2, "RUNNING", 1),
    ]


async def test_nothing_is_taken_away_before_the_store_has_settled() -> None:
    """A store that came back a moment ago may have forgotten what is wanted."""
    room = Room()
    stray = PoolSpec("ghost", 1, path="p")
    await room.pools.deploy([(stray, 1)])
    await room.conductor.settle()
    await room.conductor.keep_pools()
    assert stray.key_with_digest in room.pools.there
    await room.settle_for(3)
    await room.conductor.keep_pools()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stray.key_with_digest not in room.pools.there


async def test_static_endpoints_are_leased_while_they_answer() -> None:
    """Those that stop answering are not taken away at once: their lease lapses, and the status says why."""
    room = Room()
    await room.conductor.renew_static()
    room.answering = False
    room.now += 2
    await room.conductor.renew_static()
    assert [one.http_port for one in await room.fake.endpoints()] == [9003]
    room.now += 2
    assert list(await room.fake.endpoints()) == []
    status = await room.service.status()
    assert [one.http_port for one in status.silent] == [9003]
    assert any("digits version 3 at 127.0.0.1:9003 does not answer" in one for one in status.warnings)


# Recovering.


async def test_a_store_that_lost_everything_gets_it_back_after_a_lease_period() -> None:
    """What the gateways run is published again, one epoch later, and they descend to it; the ledger says why."""
    room = Room()
    first = gateway(room)
    await room.settle_for(4)
    await room.fake.change("digits", HALF, None, who="ada")
    await first.look()
    lost = first.running
    room.fake.forget()
    assert await first.look() is Step.HOLD
    room.conductor = room.restarted()
    await room.settle_for(2)
    assert await room.fake.head() == NO_HEAD
    await room.settle_for(2)
    head = await room.fake.head()
    assert head.epoch == lost.epoch + 1
    assert await first.look() is Step.TAKE
    assert first.held is None
    current = await room.service.current("digits")
    assert (current.policy, current.revision) == (HALF, 2)
    [recorded] = await room.fake.ledger(1)
    assert (recorded.entry.kind, recorded.entry.who) == ("recovery", "conductor")
    assert "shows nothing" in recorded.entry.why


async def test_a_store_that_lost_everything_under_a_running_conductor_begins_nothing() -> None:
    """First policies are for a beginning: while nobody knows what gateways run, none is made."""
    room = Room()
    await room.settle_for(1)
    room.fake.forget()
    await room.settle_for(2)
    assert await room.fake.head() == NO_HEAD


async def test_a_failover_that_lost_the_last_change_is_overruled_by_the_gateways() -> None:
    """An operator's change that gateways confirmed stands, though the store shows the one before."""
    room = Room()
    first = gateway(room)
    await room.settle_for(4)
    before = dict(vars(room.fake))
    await room.fake.change("digits", HALF, 1, who="ada")
    await first.look()
    room.fake._head, room.fake._lineage = before["_head"], {1: before["_head"].digest}
    assert await first.look() is Step.HOLD
    await room.settle_for(1)
    assert (await room.fake.head()).epoch == 3
    assert await first.look() is Step.TAKE
    current = await room.service.current("digits")
    # The store showed revision 1 again: the policy that came back is a third revision, so nobody mistakes one for it.
    assert (current.policy, current.revision) == (HALF, 3)


async def test_both_lines_of_a_fork_are_joined() -> None:
    """After a failover two gateways run different policies at one epoch: both follow the one that is published."""
    room = Room()
    ours, theirs, third = gateway(room, "g1"), gateway(room, "g2"), gateway(room, "g3")
    await room.settle_for(4)
    for one in (ours, theirs, third):
        await one.look()
    before = room.fake._head
    await room.fake.change("digits", HALF, 1, who="ada")
    await ours.look()
    room.fake._head = before
    room.fake._lineage = {1: before.digest}
    await room.fake.change("digits", Policy(stable=2, salt="s"), 1, who="bob")
    for one, decision in ((ours, Step.HOLD), (theirs, Step.TAKE), (third, Step.TAKE)):
        assert await one.look() is decision
    await room.settle_for(1)
    for one in (ours, theirs, third):
        assert await one.look() is Step.TAKE
    assert ours.running == theirs.running == third.running
    assert (await room.service.current("digits")).policy.stable == 2


async def test_without_the_gateways_bytes_a_recovery_waits() -> None:
    """Nothing is made up: what no gateway has handed back cannot be published."""
    room = Room()
    await room.settle_for(4)
    room.fake.forget()
    room.fake.gateway_says(GatewayLease("g1", "b", 1, "h", 8000, 5, "d" * 64, "it forgot"), 1e6)
    with pytest.raises(StoreDamaged, match="no gateway has handed it back"):
        await room.settle_for(4)
    assert await room.fake.head() == NO_HEAD


async def test_a_gateway_that_holds_for_a_reason_of_its_own_starts_no_recovery() -> None:
    """A head that descends is not published again because somebody cannot read it."""
    room = Room()
    await room.settle_for(4)
    head = await room.fake.head()
    room.fake.gateway_says(GatewayLease("g1", "b", 1, "h", 8000, head.epoch, head.digest, "unreadable"), 1e6)
    await room.settle_for(4)
    assert await room.fake.head() == head


async def test_an_outage_starts_the_lease_period_anew() -> None:
    """Leases lapse while the store is away, so only after a whole period of contact do they say anything."""
    room = Room()
    first = gateway(room)
    await room.settle_for(4)
    await first.look()
    room.fake.down = True
    with pytest.raises(Exception, match="cannot be reached"):
        await room.conductor.settle()
    room.fake.down = False
    room.fake.forget()
    await first.look()
    await room.settle_for(2)
    assert await room.fake.head() == NO_HEAD
    await room.settle_for(1)
    assert (await room.fake.head()).epoch == 2


def test_bytes_that_are_not_what_the_digest_says_are_refused() -> None:
    """A recovery blob is checked like any other: damaged or incomplete, it is not published."""
    blob = encode_policy(HALF)
    good = Snapshot(5, "p", {"digits": Entry("e" * 64, 1)})
    lease = GatewayLease("g1", "b", 1, "h", 8000, 5, "d" * 64, "it forgot")
    called_for = plan(NO_HEAD, [lease], {})
    assert called_for is not None
    for kept in (
        Recovery(Head(5, "d" * 64, "p"), b"{}", {}),
        Recovery(Head(5, "d" * 64, "p"), encode_snapshot(good), {"e" * 64: blob}),
        Recovery(Head(5, "d" * 64, "p"), encode_snapshot(good), {}),
    ):
        with pytest.raises(StoreDamaged):
            publication(called_for, NOTHING, kept)


def test_a_model_that_only_the_store_knows_is_kept() -> None:
    """An operator who set up a new model after the failover does not lose it to the recovery."""
    policy = encode_policy(HALF)
    digest = "f" * 64
    shown = State(Head(3, "s", "r"), Snapshot(3, "r", {"fraud": Entry(digest, 1)}))
    ran = Snapshot(5, "p", {"digits": Entry(digest_of(policy), 4)})
    encoded = encode_snapshot(ran)
    lease = GatewayLease("g1", "b", 1, "h", 8000, 5, digest_of(encoded), "it forgot")
    called_for = plan(shown.head, [lease], {})
    assert called_for is not None
    made = publication(
        called_for, shown, Recovery(Head(5, digest_of(encoded), "p"), encoded, {digest_of(policy): policy})
    )
    assert made.head.epoch == 6
    assert made.retired == ()


# Running.


async def test_one_duty_that_hangs_delays_no_other() -> None:
    """While a pool takes its time to start, leases are renewed and first policies made."""
    room = Room()
    room.pools.open.clear()
    running = asyncio.create_task(room.conductor.run())
    try:
        async with asyncio.timeout(5):
            while not (await room.fake.endpoints() and (await room.fake.head()).epoch):  # noqa: ASYNC110 - a store
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert room.pools.done == []


async def test_an_outage_is_told_once_and_survived(caplog: pytest.LogCaptureFixture) -> None:
    """The loops go on through it, and say twice what happened: when it began and when it was over."""
    room = Room()
    room.conductor = Conductor(
        room.service,
        room.fake,
        room.pools,
        MODELS,
        probe=room.probe,
        lease_s=0.03,
        clock=asyncio.get_running_loop().time,
    )
    with caplog.at_level(logging.INFO):
        running = asyncio.create_task(room.conductor.run())
        await asyncio.sleep(0.1)
        room.fake.down = True
        await asyncio.sleep(0.2)
        room.fake.down = False
        await asyncio.sleep(0.1)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    told = [one.message for one in caplog.records if one.message.startswith("keeping policies")]
    assert ["has to wait" in one for one in told] == [True, False]


async def test_a_recovery_on_a_real_server(valkey: EmbeddedValkey) -> None:
    """A store whose head was deleted behind everybody's back has it again, and the gateway follows."""
    store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    side = Gateway(valkey.url, store.keys)
    room = Room(store)
    follower = FakeGateway("g1", store, lambda lease, _: side.gateway_says(lease, 60), side.gateway_hands_back)
    await room.settle_for(4)
    await store.change("digits", HALF, None, who="ada")
    await follower.look()
    side._redis.delete(store.keys.head, store.keys.lineage)
    assert await follower.look() is Step.HOLD
    await room.settle_for(4)
    assert await follower.look() is Step.TAKE
    assert follower.running.epoch == 3
    assert (await room.service.current("digits")).policy.shares() == {1: WHOLE // 2, 2: WHOLE // 2}
    side.close()
    await store.close()
