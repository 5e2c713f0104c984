"""What gateways tell is heard once, in order, with where counting begins; what cannot be read is passed over."""

from __future__ import annotations

import json

import pytest

from router.verdicts.blocks import LATE_S, Blocks
from serving.control.fake_store import FakeStore
from serving.control.rolling.hearing import FORGOTTEN_S, Hearing
from serving.control.rolling.steady import Steady
from serving.totals import Message, SeriesTotals
from tests.serving.control.rolling.rooms import Clock

MODEL = "digits"


class Ear:
    """A store, and somebody who hears and counts from it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = FakeStore(self.clock)
        self.time = Steady(self.clock)
        self.hearing = Hearing(self.store, self.time)

    async def begin(self) -> None:
        """Hears from now on."""
        self.hearing.begin(await self.store.now_ms() / 1000)

    async def tell(
        self, count: int, *, whole: bool = False, gateway: str = "g b", replica: str = "r", epoch: int = 1
    ) -> None:
        """A quarter of a second later, a gateway tells a running total."""
        self.clock.now_s += 0.25
        series = (SeriesTotals(MODEL, 2, replica, {"ok": count}, {200: count}),) if count else ()
        await self.store.gateway_tells(Message(gateway, epoch, series, whole=whole).encode())

    async def counted(self, blocks: Blocks) -> int:
        """How many requests were heard of by now, all told."""
        now_s = await self.store.now_ms() / 1000
        self.time.look(now_s)
        news = await self.hearing.listen({MODEL})
        for heard in news.by_model.get(MODEL, ()):
            for totals in heard:
                blocks.hear(totals)
        return sum(one.total for moment in blocks.close(now_s + LATE_S + 2) for one in moment.candidate.values())

    async def blocks(self) -> Blocks:
        """Of version 2, which counts from now on."""
        return Blocks(2, 1, epoch=1, judged_s=await self.store.now_ms() / 1000, seed=b"s")


@pytest.fixture
async def ear() -> Ear:
    """One that begins to hear now."""
    made = Ear()
    await made.begin()
    return made


async def test_a_series_that_comes_after_a_whole_message_is_new(ear: Ear) -> None:
    """All of it counts: it began since then."""
    blocks = await ear.blocks()
    await ear.tell(0, whole=True)
    await ear.tell(7)
    await ear.tell(9)
    assert await ear.counted(blocks) == 9


async def test_a_series_of_unknown_age_is_where_counting_begins(ear: Ear) -> None:
    """Without a whole message before, what it had counted may be an hour old."""
    blocks = await ear.blocks()
    await ear.tell(0)
    await ear.tell(100_000)
    await ear.tell(100_004)
    assert await ear.counted(blocks) == 4


async def test_whoever_begins_to_count_later_knows_where(ear: Ear) -> None:
    """A rollout that starts in the middle counts what came since, and nothing before."""
    await ear.tell(50, whole=True)
    await ear.tell(60)
    assert await ear.counted(await ear.blocks()) == 10
    blocks = await ear.blocks()
    await ear.tell(75)
    assert await ear.counted(blocks) == 15


async def test_what_a_gateway_did_across_a_change_of_epoch_is_left_out(ear: Ear) -> None:
    """Nobody knows which part of it was of which; from the first message of the new one on, all is known."""
    blocks = await ear.blocks()
    await ear.tell(5, whole=True)
    await ear.tell(20, whole=True, epoch=2)
    await ear.tell(23, epoch=2)
    assert await ear.counted(blocks) == 3


async def test_a_gateway_that_begins_again_is_another_one(ear: Ear) -> None:
    """Its totals run from nothing again, and nothing is counted twice or below zero."""
    blocks = await ear.blocks()
    await ear.tell(0, whole=True)
    await ear.tell(40)
    await ear.tell(0, whole=True, gateway="g c")
    await ear.tell(2, gateway="g c")
    assert await ear.counted(blocks) == 42


async def test_a_stream_that_was_cut_short_merges_what_was_told(ear: Ear) -> None:
    """What is gone is in the totals of what follows."""
    blocks = await ear.blocks()
    await ear.tell(0, whole=True)
    assert await ear.counted(blocks) == 0
    await ear.tell(10)
    await ear.tell(20)
    ear.store._told.clear()
    await ear.tell(30)
    assert await ear.counted(blocks) == 30


async def test_a_message_of_a_newer_release_is_passed_over_and_told_once(
    ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    """As is what is no message at all; the others are heard."""
    blocks = await ear.blocks()
    await ear.tell(0, whole=True)
    newer = {**json.loads(Message("h b", 1).encode()), "reader": 9}
    for said in (json.dumps(newer).encode(), json.dumps(newer).encode(), b"\xff", b"[]", b""):
        await ear.store.gateway_tells(said)
    await ear.tell(6)
    assert await ear.counted(blocks) == 6
    assert sum("later release" in one.message for one in caplog.records) == 1


async def test_a_gateway_that_is_gone_is_forgotten(ear: Ear) -> None:
    """What is remembered does not grow with every start of a gateway."""
    await ear.tell(1, whole=True, gateway="g old")
    await ear.counted(await ear.blocks())
    ear.clock.now_s += FORGOTTEN_S + 1
    await ear.tell(1, whole=True)
    await ear.counted(await ear.blocks())
    assert [*ear.hearing._gateways] == ["g b"]


@pytest.mark.parametrize("by_s", [-3_600.0, 3_600.0])
def test_a_clock_that_is_set_moves_nothing(by_s: float) -> None:
    """Stamps go on second by second, also while the store stamps everything with one millisecond."""
    own = Clock()
    time = Steady(own)
    time.look(5_000.0)
    before_s = time.stamp(5_000.0)
    own.now_s += 1
    time.look(5_001.0 + by_s)
    stamped_s = time.stamp(max(5_000.0, 5_001.0 + by_s))
    assert 0 < stamped_s - before_s <= 1.0 + 1e-3
    assert time.now_s == pytest.approx(5_001.0)
    assert time.ahead_s == pytest.approx(-by_s)
