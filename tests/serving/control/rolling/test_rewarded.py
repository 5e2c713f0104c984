"""Rollouts that are judged by feedback: it counts where it belongs, takes a canary back, and decides an A/B test."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from router.choose import Reason
from router.phases import Phase
from router.request_id import KeyRing
from serving.access.principal import ANONYMOUS
from serving.control.feedback import Feedback
from serving.control.rolling.records import Record
from serving.control.rolling.results import Results
from serving.control.rolling.rewarded import metrics_in, scope_of, segment_of
from tests.serving.control.rolling.rooms import MODEL, Room, fake_room
from tests.serving.feedback import minted, ring_of

CANARY: dict[str, Any] = {
    "candidate": 2,
    "canary": {"steps": ["50%"], "hold": "500s", "needs": "minima"},
    "judged_by": {"guardrails": [{"watches": "errors"}, {"watches": "feedback", "metric": "reward"}]},
}
TRIAL: dict[str, Any] = {
    "ab_test": {"arms": {"2": "50%"}, "for": "1d", "decide": "first", "decide_by": {"metric": "reward"}}
}
REASONS = {1: Reason.STABLE, 2: Reason.ARM}


class Saying:
    """Whoever gives feedback about a rollout's requests."""

    def __init__(self, room: Room, ring: KeyRing, now_s: float) -> None:
        self.room, self._ring, self._rng = room, ring, random.Random(4)
        self._ahead_s = now_s - room.clock.now_s  # the store's clock, which counts from 1970
        self._feedback = Feedback(room.store, {}, clock=lambda: room.clock.now_s)
        self._nonce = 0

    def item(self, record: Record, version: int, reward: float, **said: Any) -> dict[str, Any]:  # noqa: ANN401
        """About a request of now."""
        self._nonce += 1
        how = {
            "reason": REASONS[version],
            "epoch": record.epochs[-1],
            "at_s": int(self.room.clock.now_s + self._ahead_s),
            **said,
        }
        made = minted(self._ring.current, self._nonce, model=MODEL, version=version, **how)
        return {"request_id": made, "metrics": {"reward": reward}}

    async def say(self, items: Sequence[object]) -> None:
        """All of them."""
        await self._feedback.take(items, ANONYMOUS)

    async def seconds(self, record: Record, count: int, means: tuple[float, float]) -> Record:
        """So many seconds of requests, and thirty rewards of each version in each."""
        for _ in range(count):
            for version in (1, 2):
                self.room.serves(version, 30)
            items = [
                self.item(record, version, self._rng.gauss(mean, 1.0))
                for version, mean in zip((1, 2), means, strict=True)
                for _ in range(30)
            ]
            self._rng.shuffle(items)
            await self.say(items)
            await self.room.tick(1)
            if (await self.room.now(record)).rollout.over:
                break
        return await self.room.now(record)

    async def results(self, record: Record) -> Results:
        """What is known of it."""
        return await self.room.rollouts.results(record.id)


@pytest.fixture
async def saying() -> Saying:
    """A room in memory."""
    room = await fake_room()
    return Saying(room, ring_of(await room.store.ensure_keys()), await room.store.now_ms() / 1000)


async def begun(saying: Saying, document: dict[str, Any]) -> Record:
    """The rollout, in its first stage, gateways heard of."""
    record = await saying.room.start(document)
    await saying.room.tick(1)
    await saying.room.tick(1)
    return await saying.room.now(record)


async def test_a_canary_with_worse_rewards_goes_back_by_itself(saying: Saying) -> None:
    """And the ledger says for which metric."""
    record = await begun(saying, CANARY)
    after = await saying.seconds(record, 60, (1.0, 0.3))
    assert after.rollout.phase is Phase.ROLLED_BACK
    assert "'reward'" in after.rollout.cause
    assert await saying.room.shares() == {1: 1_000_000}


async def test_a_canary_with_the_same_rewards_stays(saying: Saying) -> None:
    """What it is told stands in its results, with an interval around no difference."""
    record = await begun(saying, CANARY)
    after = await saying.seconds(record, 30, (1.0, 1.0))
    assert after.rollout.phase is Phase.RUNNING
    [metric] = (await saying.results(record)).metrics
    [arm] = metric.candidates
    assert (metric.stable.values.count, arm.values.count) == (900, 900)
    assert arm.effect is not None
    assert arm.effect.interval is not None
    assert arm.effect.interval[0] < 0 < arm.effect.interval[1]
    assert arm.effect.shown == ""


async def test_an_ab_test_is_decided_by_its_metric(saying: Saying) -> None:
    """For the better version, before its time is over; worse errors are another matter."""
    record = await begun(saying, TRIAL)
    after = await saying.seconds(record, 60, (0.0, 0.8))
    assert after.rollout.phase is Phase.PROMOTED
    assert await saying.room.shares() == {2: 1_000_000}
    found = await saying.results(record)
    assert found.winner == 2
    assert found.words[0] == "The evidence names version 2."


async def test_without_a_difference_it_is_said_what_it_would_take(saying: Saying) -> None:
    """In values, and in time at the present rate."""
    record = await begun(saying, TRIAL)
    after = await saying.seconds(record, 30, (0.5, 0.5))
    assert after.rollout.phase is Phase.RUNNING
    found = await saying.results(record)
    assert found.winner is None
    assert any("not decided" in words for words in found.words)
    assert any("more values" in words and "at the present rate" in words for words in found.words)


async def test_feedback_of_one_arm_only_is_not_trusted(saying: Saying) -> None:
    """Where the candidate's users say little, what they say decides nothing and takes nothing back."""
    record = await begun(saying, CANARY)
    for second in range(30):
        worse = 2.0 if second > 5 else 0.0
        for version in (1, 2):
            saying.room.serves(version, 30)
        items = [saying.item(record, 1, 1.0 + nth % 2) for nth in range(30)]
        await saying.say([*items, *(saying.item(record, 2, 1.0 + nth % 2 - worse) for nth in range(10))])
        await saying.room.tick(1)
    after = await saying.room.now(record)
    assert after.rollout.phase is Phase.RUNNING
    found = await saying.results(record)
    assert any("did not have feedback alike" in words for words in found.words)


async def test_only_what_was_dealt_by_lot_within_the_rollout_is_compared(saying: Saying) -> None:
    """Not what a rule or a client chose, nor what was asked before it began; a unit's first value alone."""
    record = await begun(saying, CANARY)
    epoch = record.epochs[0]
    await saying.say(
        [
            saying.item(record, 2, 1.0),
            saying.item(record, 2, 1.0, reason=Reason.RULE),
            saying.item(record, 2, 1.0, reason=Reason.PINNED),
            saying.item(record, 1, 1.0, epoch=epoch - 1),
            saying.item(record, 2, 1.0, unit="ada"),
            saying.item(record, 2, 5.0, unit="ada"),
            saying.item(record, 1, 2.0, assigned=2, reason=Reason.FALLBACK),
        ]
    )
    sums = await saying.room.store.feedback_in(scope_of(record))
    by = metrics_in(sums)["reward"][epoch]
    assert {version: (values.count, values.sum) for version, values in by.items()} == {2: (3, 4.0)}
    assert sums["again"] == 1
    assert (await saying.room.store.feedback_sums(MODEL))["1|reward|n"] == 2


async def test_a_request_belongs_to_the_segment_of_its_epoch(saying: Saying) -> None:
    """The newest epoch of the rollout's that is not after its own; none before the first, nor after the end."""
    record = replace(await begun(saying, CANARY), epochs=(5, 8))
    assert [segment_of(record, epoch) for epoch in (4, 5, 7, 8, 99)] == [None, 5, 5, 8, 8]


async def test_a_metric_that_nobody_is_judged_by_has_totals(saying: Saying) -> None:
    """And the results say so."""
    record = await begun(saying, {"candidate": 2, "canary": {"steps": ["50%"], "hold": "500s", "needs": "minima"}})
    await saying.seconds(record, 3, (1.0, 1.0))
    found = await saying.results(record)
    assert [one.metric for one in found.metrics] == ["reward"]
    assert found.metrics[0].candidates[0].effect is None
    assert any("totals only" in words for words in found.words)
