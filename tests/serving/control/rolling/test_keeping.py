"""While a rollout is in progress its versions are up, and what it may go back to loses no replica."""

from __future__ import annotations

from router.commands import RollBack
from serving.leases import GatewayLease
from tests.serving.control.rolling.rooms import MODEL, STEPS, fake_room
from tests.serving.control.test_keeper import Room, spec


async def test_what_is_kept_is_woken_and_stays_awake() -> None:
    """A candidate that sleeps is brought up for its rollout, and what nothing routes to any more stays warm."""
    room = Room(spec(1, keep_warm_s=10))
    await room.ticks(12)
    assert room.running() == []
    room.service.traffic.keep({("m", 1)}, ())
    await room.ticks(30)
    assert room.running() == [(1, 1)]
    room.service.traffic.keep((), ())
    await room.ticks(15)
    assert room.running() == []


async def test_what_a_rollout_may_go_back_to_loses_no_replica() -> None:
    """However little it has to do meanwhile; afterwards it follows its load again."""
    room = Room(spec(1, replicas=1, max_replicas=4, target_in_flight=2))
    await room.route(1)
    await room.ticks(2)

    def busy(count: int) -> None:
        room.store.gateway_says(GatewayLease("g", "b", 1, "h", 1, 1, "d", in_flight_by={"m/1": count}), 1e6)

    busy(7)
    await room.ticks(2)
    room.service.traffic.keep({("m", 1)}, {("m", 1)})
    busy(0)
    await room.ticks(90)
    assert room.running() == [(1, 4)]
    room.service.traffic.keep((), ())
    await room.ticks(8)
    assert room.running() == [(1, 1)]


async def test_the_loop_says_what_has_to_be_up() -> None:
    """Stable and the versions of the plan while it is in progress, nothing once it is over."""
    room = await fake_room()
    traffic = room.service.traffic
    record = await room.start(STEPS)
    await room.tick(1)
    assert traffic.kept == {(MODEL, 1), (MODEL, 2)}
    assert traffic.floored == {(MODEL, 1)}
    await room.ask(record, RollBack(who="ada", why="no"))
    await room.tick(1)
    assert not traffic.kept | traffic.floored
