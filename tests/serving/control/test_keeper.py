"""What runs follows what is wanted, whoever was killed in between; and the status says how it stands."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from router.policy import Arm, Policy
from serving.control.errors import Unacceptable
from serving.control.fake_pools import FakePools
from serving.control.fake_store import FakeStore
from serving.control.keeper import PoolKeeper
from serving.control.pool_views import ASLEEP
from serving.control.service import ControlService, PoolView
from serving.control.views import Wanted
from serving.control.wishes import Wish
from serving.endpoint import Crash
from serving.errors import StartFailed
from serving.figures import Figures
from serving.leases import GatewayLease
from serving.pools import PoolOptions, PoolSpec


def spec(version: int = 1, **options: object) -> PoolSpec:
    """A pool of the model m."""
    return PoolSpec("m", version, PoolOptions.model_validate(options), path="p")


class Room:
    """A keeper, its store and its pools, on a clock that a test turns."""

    def __init__(self, *declared: PoolSpec, boot: str = "") -> None:
        self.now = 1_000.0
        self.store = FakeStore(lambda: self.now)
        self.pools = FakePools(self.store, at_once=True)
        self.service = ControlService(self.store)
        self.declared = declared
        self.boot = boot
        self.keeper = self.restarted()

    def restarted(self) -> PoolKeeper:
        """One that knows nothing yet, as after a SIGKILL."""
        return PoolKeeper(self.service, self.store, self.pools, self.declared, boot=self.boot, clock=lambda: self.now)

    async def ticks(self, seconds: int = 1) -> None:
        """One look a second."""
        for _ in range(seconds):
            await self.keeper.keep()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await self.keeper.look()
            self.now += 1

    async def route(self, version: int) -> None:
        """All traffic to that version."""
        await self.store.change("m", Policy(stable=version), None, who="ada")

    def running(self) -> list[tuple[int, int]]:
        """(version, replicas) of what runs."""
        return [(key.version, state.replicas_running) for key, state in sorted(self.pools.there.items())]

    async def view(self, version: int) -> PoolView:
        """What the status says of a version's pool."""
        [found] = [one for one in (await self.service.status()).pools if one.version == version]
        return found


async def test_what_is_declared_and_what_is_wished_is_started_together() -> None:
    """A wish stands above what the settings say of the same version."""
    room = Room(spec(1), spec(2))
    await room.store.put_wish(Wish(spec(2, replicas=2)), who="ada")
    await room.store.put_wish(Wish(spec(3)), who="ada")
    await room.ticks()
    assert room.running() == [(1, 1), (2, 2), (3, 1)]
    await room.ticks(5)
    assert len(room.pools.done) == 3


async def test_a_wish_that_is_taken_away_takes_its_pool_away() -> None:
    """And nothing else."""
    room = Room(spec(1))
    wish = await room.store.put_wish(Wish(spec(2)), who="ada")
    assert wish is not None
    await room.ticks()
    await room.store.take_wish(wish, who="ada")
    await room.ticks()
    assert room.running() == [(1, 1)]


async def test_other_options_replace_the_servers_new_before_old() -> None:
    """There is no moment without an endpoint."""
    room = Room(spec(1))
    await room.route(1)
    await room.ticks()
    wished = Wish(spec(1, max_batch_size=8))
    await room.store.put_wish(wished, who="ada")
    room.pools.hanging.add(wished.spec.key_with_digest)
    await room.ticks(5)
    assert len(room.pools.there) == 2
    room.pools.hanging.clear()
    await room.pools.work()
    await room.ticks(2)
    assert list(room.pools.there) == [wished.spec.key_with_digest]
    assert [one.split()[0] for one in room.pools.done] == ["deploy", "deploy", "remove"]


async def test_draining_delays_nothing_else() -> None:
    """A request that takes a minute holds up one removal, not the start of another pool."""
    room = Room(spec(1))
    stray = spec(9)
    await room.pools.deploy([(stray, 1)])
    room.pools.drained.clear()
    await room.ticks(3)
    assert room.running() == [(1, 1), (9, 1)]
    assert room.pools.done.count(f"remove m/9 {stray.digest}") == 1
    room.pools.drained.set()
    await room.ticks(2)
    assert room.running() == [(1, 1)]


async def test_what_nothing_routes_to_sleeps_and_is_woken_by_traffic() -> None:
    """The wish is kept, the status says that it sleeps; times survive the keeper."""
    room = Room(spec(1))
    await room.route(1)
    await room.store.put_wish(Wish(spec(2, keep_warm_s=60)), who="ada")
    await room.ticks(58)
    room.keeper = room.restarted()
    assert room.running() == [(1, 1), (2, 1)]
    await room.ticks(4)
    assert room.running() == [(1, 1)]
    assert (await room.view(2)).state == ASLEEP
    [model] = await room.service.models()
    assert [(one.version, one.asleep) for one in model.versions] == [(1, False), (2, True)]
    await room.route(2)
    await room.ticks(2)
    assert (2, 1) in room.running()
    assert not room.service.asleep


async def test_a_version_with_traffic_never_sleeps() -> None:
    """However short it is to be kept warm."""
    room = Room(spec(1, keep_warm_s=0))
    await room.route(1)
    await room.ticks(30)
    assert room.running() == [(1, 1)]


async def test_a_new_start_of_the_installation_wakes_what_it_declares() -> None:
    """A control room that only came back does not."""
    room = Room(spec(1, keep_warm_s=10), boot="first")
    await room.ticks(12)
    assert room.running() == []
    room.keeper = room.restarted()
    await room.ticks(2)
    assert room.running() == []
    room.boot = "second"
    room.keeper = room.restarted()
    await room.ticks(2)
    assert room.running() == [(1, 1)]


@pytest.mark.parametrize(("took_s", "read"), [(0.0, 20), (0.3, 7), (2.0, 4)])
async def test_figures_that_take_long_to_read_are_read_less_often(
    took_s: float, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenth of the time goes into it, and it is done every five seconds at least; leases are read each time."""
    room, looks = Room(), 0
    began, said = room.now, []

    async def leases() -> Sequence[GatewayLease]:
        said.append("leases")
        return []

    async def figures(of: Sequence[GatewayLease]) -> Sequence[GatewayLease]:
        room.now += took_s
        said.append("figures")
        return of

    monkeypatch.setattr(room.store, "gateways", leases)
    monkeypatch.setattr(room.store, "with_figures", figures)
    while room.now < began + 20:
        await room.keeper.keep()
        room.now = math.floor(room.now) + 1
        looks += 1
    assert (said.count("leases"), said.count("figures")) == (looks, read)


async def test_reading_figures_for_long_makes_no_rate_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gateways count steadily: that is the rate from the first figure on, whether a look reads figures or not."""
    room = Room()
    began, per_s, rates, lately = room.now, 50, [], []

    def lease(name: str) -> GatewayLease:
        count = round((room.now - began) * per_s)
        return GatewayLease(name, "b", 1, "h", 1, 1, "d", requests={"m/1": count}, figures={"m/1": Figures(count)})

    async def leases() -> Sequence[GatewayLease]:
        return [replace(lease(name), figures={}) for name in ("g1", "g2")]

    async def figures(of: Sequence[GatewayLease]) -> Sequence[GatewayLease]:
        found = []
        for one in of:
            found.append(replace(one, figures=lease(one.id).figures))
            room.now += 1.5
        return found

    monkeypatch.setattr(room.store, "gateways", leases)
    monkeypatch.setattr(room.store, "with_figures", figures)
    for _ in range(20):
        await room.keeper.keep()
        room.now += 1
        rates.append(room.service.rates.of("m"))
        lately += [one.per_s for one in room.service.rates.lately("m").values()]
    assert rates == [None, *[2 * per_s] * 19]
    assert set(lately) == {2 * per_s}


async def test_what_takes_long_to_read_for_people_keeps_nobody_from_being_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is read once all else is done."""
    room, seen = Room(spec(1)), []

    async def figures(of: Sequence[GatewayLease]) -> Sequence[GatewayLease]:
        seen.append(room.running())
        return of

    monkeypatch.setattr(room.store, "with_figures", figures)
    await room.keeper.keep()
    assert seen == [[(1, 1)]]


async def test_servers_follow_the_load() -> None:
    """Up within seconds, down after a minute, by what the gateways say is in flight."""
    room = Room(spec(1, replicas=1, max_replicas=4, target_in_flight=2))
    await room.route(1)
    await room.ticks(2)

    def busy(count: int) -> None:
        room.store.gateway_says(GatewayLease("g", "b", 1, "h", 1, 1, "d", in_flight_by={"m/1": count}), 1e6)

    busy(7)
    await room.ticks(2)
    assert room.running() == [(1, 4)]
    busy(1)
    await room.ticks(58)
    assert room.running() == [(1, 4)]
    await room.ticks(8)
    assert room.running() == [(1, 1)]


async def test_a_pool_that_cannot_be_asked_for_keeps_no_other_from_starting() -> None:
    """It is shown as failed with its reason, and tried again later."""
    room = Room(spec(1), spec(2))
    room.pools.refused[spec(1).key_with_digest] = "There is no GPU."
    with pytest.raises(StartFailed, match="no GPU"):
        await room.keeper.keep()
    await room.keeper.look()
    assert room.running() == [(2, 1)]
    view = await room.view(1)
    assert (view.state, view.message) == ("DEPLOY_FAILED", "There is no GPU.")
    assert view.next_start_ms is not None
    room.pools.refused.clear()
    await room.ticks(9)
    assert room.running() == [(2, 1)]
    await room.ticks(3)
    assert room.running() == [(1, 1), (2, 1)]


async def test_a_failed_pool_is_tried_again_with_growing_pauses() -> None:
    """For as long as it takes."""
    room = Room(spec(1))
    key = spec(1).key_with_digest
    room.pools.failing[key] = "It is broken."
    await room.ticks(60)
    starts = sum(one.startswith("deploy") for one in room.pools.done)
    assert 3 <= starts <= 4
    assert (await room.view(1)).message == "It is broken."
    room.pools.failing.clear()
    await room.ticks(45)
    assert room.running() == [(1, 1)]


async def test_crashes_are_shown_with_the_last_words_and_the_next_start() -> None:
    """A first crash costs no pause; after a second the next start is known."""
    room = Room(spec(1))
    await room.ticks()
    await room.store.crashed("m", 1, Crash(0, 1, "h", "first"))
    await room.pools.lose(spec(1).key_with_digest)
    await room.keeper.look()
    view = await room.view(1)
    assert (view.crashes, view.last_words, view.next_start_ms) == (1, "first", None)
    for words in ("second", "third"):
        await room.store.crashed("m", 1, Crash(0, -9, "h", words))
    await room.keeper.look()
    await room.store.crashed("m", 1, Crash(0, -9, "h", "of other options", "another pool"))
    await room.keeper.look()
    view = await room.view(1)
    assert (view.crashes, view.last_words) == (3, "third")
    assert view.next_start_ms == (view.last_crash_ms or 0) + 2_000


async def test_a_store_that_forgot_everything_costs_no_server_with_traffic() -> None:
    """Neither while gateways hold what it lost, nor after it has got that back; the status says what nobody wants."""
    room = Room()
    await room.route(2)
    await room.store.put_wish(Wish(spec(2)), who="ada")
    await room.ticks(2)
    head = await room.store.head()
    room.store.gateway_says(GatewayLease("g", "b", 1, "h", 1, head.epoch, head.digest, "it forgot"), 1e6)
    room.store.forget()
    await room.ticks(3)
    assert room.running() == [(2, 1)]
    await room.route(2)
    head = await room.store.head()
    room.store.gateway_says(GatewayLease("g", "b", 1, "h", 1, head.epoch, head.digest), 1e6)
    await room.ticks(3)
    assert room.running() == [(2, 1)]
    assert (await room.view(2)).stray
    assert any("runs though nobody wants it" in one for one in (await room.service.status()).warnings)


async def test_a_policy_that_comes_in_the_last_moment_keeps_its_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before it does not count any more."""
    room = Room()
    await room.pools.deploy([(spec(2), 1)])
    read = room.keeper._read

    async def then_somebody_routes() -> object:
        found = await read()
        await room.route(2)
        return found

    monkeypatch.setattr(room.keeper, "_read", then_somebody_routes)
    await room.keeper.keep()
    await asyncio.sleep(0)
    assert room.running() == [(2, 1)]


async def test_no_policy_gives_traffic_to_what_is_being_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that comes in the very moment in which that is decided; when it is gone, it may be deployed again."""
    room = Room(spec(1))
    await room.store.change("m", Policy(stable=1, arms=(Arm(2, 0),)), None, who="ada")
    await room.pools.deploy([(spec(2), 1)])
    room.pools.drained.clear()
    real, policies = room.store.state, list[asyncio.Task[object]]()

    async def then_somebody_routes() -> object:
        found = await real()
        if room.service.routing.locked() and not policies:
            policies.append(asyncio.create_task(room.service.set_policy("m", Wanted(2), None, who="eve", wait_s=0)))
            await asyncio.sleep(0.02)
        return found

    monkeypatch.setattr(room.store, "state", then_somebody_routes)
    await room.keeper.keep()
    [policy] = policies
    with pytest.raises(Unacceptable, match="version 2 are being drained"):
        await policy
    assert (await room.service.current("m")).policy.stable == 1
    room.keeper = room.restarted()
    room.service.going = frozenset()
    await room.keeper.keep()
    with pytest.raises(Unacceptable, match="version 2 are being drained"):
        await room.service.set_policy("m", Wanted(2), None, who="eve", wait_s=0, force=True)
    room.pools.drained.set()
    await room.ticks(2)
    await room.store.put_wish(Wish(spec(2)), who="ada")
    await room.ticks(2)
    await room.service.set_policy("m", Wanted(2), None, who="eve", wait_s=0)
    assert (await room.service.current("m")).policy.stable == 2


async def test_servers_that_are_replaced_keep_nobody_from_routing_to_the_version() -> None:
    """Others of it are there."""
    room = Room(spec(1))
    await room.route(1)
    await room.store.put_wish(Wish(spec(2)), who="ada")
    await room.ticks()
    room.pools.drained.clear()
    there = await room.store.wish("m", 2)
    assert there is not None
    await room.store.put_wish(Wish(spec(2, max_batch_size=8), there.revision), who="ada")
    await room.ticks(3)
    assert any(one.state == "DELETING" for one in room.pools.there.values())
    await room.service.set_policy("m", Wanted(2), None, who="eve", wait_s=0)
    room.pools.drained.set()


async def test_a_keeper_that_is_killed_anywhere_is_followed_by_one_that_ends_it() -> None:
    """At whichever call to Serve it dies, the next one brings about what is wanted."""
    for calls in range(1, 8):
        room = Room(spec(1), spec(2, replicas=2))
        await room.route(1)
        await room.pools.deploy([(spec(7), 1), (spec(1, max_batch_size=8), 1)])
        left = calls

        async def dies(real: object = room.pools.states, room: Room = room) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise asyncio.CancelledError
            return await real()  # type: ignore[operator]

        room.pools.states = dies  # type: ignore[method-assign, assignment]
        with pytest.raises(asyncio.CancelledError):
            await room.ticks(calls + 1)
        left = 1_000
        room.keeper = room.restarted()
        await room.ticks(3)
        assert room.running() == [(1, 1), (2, 2)]
        assert spec(1).key_with_digest in room.pools.there


async def test_rates_are_measured() -> None:
    """From the running totals in the gateways' leases."""
    room = Room()
    lease = GatewayLease("g", "b", 1, "h", 1, 1, "d")
    for second in range(6):
        room.store.gateway_says(replace(lease, requests={"m/1": 100 * second, "m/2": 50 * second, "n/1": 7}), 1e6)
        await room.ticks()
    assert room.service.rates.of("m") == pytest.approx(150)
    assert room.service.rates.of("n") == 0
