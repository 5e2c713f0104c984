"""What an operator has measured that a replica carries stands above what its warm-up burst came to."""

from __future__ import annotations

from router.policy import OverCapacity, Policy
from serving.control.rates import Rates
from serving.control.wishes import Wish
from tests.serving.control.test_keeper import Room, spec

_BEFORE = Policy(1, over_capacity=OverCapacity.CLAMP)
_AFTER = _BEFORE.with_shares({2: 800_000})


class Busy(Rates):
    """A model that gets 100 requests a second."""

    def of(self, _model: str) -> float:
        """Always."""
        return 100.0


async def test_policies_are_checked_against_what_was_measured() -> None:
    """A burst of 1,000 a second carries it all; 50 under load carry half of 100; and no server is started anew."""
    room = Room(spec(1), spec(2))
    room.pools.throughput = 1_000.0
    room.service.traffic.rates = Busy()
    await room.ticks(2)
    servers = set(room.pools.there)
    assert await room.service.traffic.carried("m", _BEFORE, _AFTER) == {}
    await room.store.put_wish(Wish(spec(2, carries_rps=50)), who="ada")
    await room.ticks(2)
    assert await room.service.traffic.carried("m", _BEFORE, _AFTER) == {2: 500_000}
    assert set(room.pools.there) == servers


async def test_what_nobody_measured_is_as_the_replicas_say() -> None:
    """Of a version without a word from operators the burst counts, even beside one with such a word."""
    room = Room(spec(1, carries_rps=1), spec(2))
    room.pools.throughput = 30.0
    room.service.traffic.rates = Busy()
    await room.ticks(2)
    assert await room.service.traffic.carried("m", _BEFORE, _AFTER) == {2: 300_000}
