"""Feedback in a store: counted once, summed exactly, and forgotten when nobody can say it any more."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

import pytest

from router.verdicts.values import Values, counters, values_from
from serving.control.feedback_store import HOUR_S, InRollout, Item
from serving.control.store import Store
from tests.contracts.conftest import Bench

DAY_S = 86_400


async def _now_s(bench: Bench) -> int:
    return await bench.store.now_ms() // 1000


def _item(nonce: int, at_s: int, value: float = 1.0, *, rollout: InRollout | None = None) -> Item:
    return Item("digits", nonce, at_s, 2, "reward", counters(value), rollout=rollout)


def _sums(said: dict[str, int], prefix: str) -> Values:
    return values_from({name.removeprefix(prefix): n for name, n in said.items() if name.startswith(prefix)})


async def test_each_request_and_metric_counts_once(bench: Bench) -> None:
    """In one batch, in another, in whatever order; of another metric it is something else."""
    now_s = await _now_s(bench)
    one, other = _item(1, now_s, 0.1), _item(2, now_s - 3 * HOUR_S, 0.2)
    assert await bench.store.tell([one, other, one], {}, DAY_S) == ["accepted", "accepted", "duplicate"]
    assert await bench.store.tell([other, replace(one, metric="cost")], {}, DAY_S) == ["duplicate", "accepted"]
    sums = dict(await bench.store.feedback_sums("digits"))
    assert _sums(sums, "2|reward|") == Values.of([0.1, 0.2])
    assert _sums(sums, "2|cost|") == Values.of([0.1])
    assert dict(await bench.store.feedback_tallies()) == {"digits|accepted": 3, "digits|duplicate": 2}


async def test_what_comes_too_late_is_counted_as_that_alone(bench: Bench) -> None:
    """The horizon is measured by the store's clock, against the time in the id."""
    now_s = await _now_s(bench)
    assert await bench.store.tell([_item(1, now_s - DAY_S - 5)], {"|forged": 3}, DAY_S) == ["late"]
    assert not await bench.store.feedback_sums("digits")
    assert dict(await bench.store.feedback_tallies()) == {"digits|late": 1, "|forged": 3}


async def test_of_a_unit_the_first_value_is_compared(bench: Bench) -> None:
    """The version's sums have all of them; the rollout's say how many were passed over."""
    now_s = await _now_s(bench)
    within = InRollout("ro_1:1", 7, 3, 42)
    items = [_item(n, now_s, float(n), rollout=within) for n in (1, 2)]
    items += [
        _item(3, now_s, 3.0, rollout=within._replace(unit=43)),
        _item(4, now_s, 4.0, rollout=within._replace(unit=None)),
    ]
    assert await bench.store.tell(items, {}, DAY_S) == ["accepted"] * 4
    sums = dict(await bench.store.feedback_in("ro_1:1"))
    assert _sums(sums, "7|3|reward|") == Values.of([1.0, 3.0, 4.0])
    assert sums["again"] == 1
    assert _sums(dict(await bench.store.feedback_sums("digits")), "2|reward|").count == 4


async def test_labels_are_counted_by_what_was_predicted(bench: Bench) -> None:
    """Once for each request."""
    now_s = await _now_s(bench)
    label = Item("digits", 1, now_s, 2, "label", confusion="cat|dog")
    assert await bench.store.tell([label, replace(label, confusion="cat|cat")], {}, DAY_S) == ["accepted", "duplicate"]
    assert dict(await bench.store.feedback_sums("digits")) == {"2|label|cat|dog": 1}


async def test_values_of_any_size_and_sign_are_summed_without_rounding(bench: Bench) -> None:
    """No order changes the sums, and they are those of the decimals that were written."""
    now_s, rng = await _now_s(bench), random.Random(7)
    values = [round(rng.uniform(-1, 1) * 10 ** rng.randint(-6, 9), 9) for _ in range(700)] + [1e9, -1e9]
    items = [_item(n, now_s - n, value) for n, value in enumerate(values)]
    rng.shuffle(items)
    await bench.store.tell(items, {}, DAY_S)
    found = _sums(dict(await bench.store.feedback_sums("digits")), "2|reward|")
    exact = [Fraction(repr(value)) for value in values]
    assert Fraction(found.total, 10**9) == sum(exact)
    assert Fraction(found.squares, 10**18) == sum(one * one for one in exact)


@pytest.mark.parametrize("bench", ["valkey"], indirect=True)  # the fake keeps no memory of its own
async def test_what_was_seen_goes_when_nobody_can_say_it_any_more(bench: Bench) -> None:
    """Each hour's set expires after the horizon; the sums stay."""
    assert isinstance(bench.store, Store)
    now_s = await _now_s(bench)
    item = _item(1, now_s)
    await bench.store.tell([item], {}, DAY_S)
    redis = bench.store._redis
    left_s = await redis.ttl(bench.store.keys.feedback_seen("digits", "reward", item.hour))
    assert DAY_S < left_s <= DAY_S + 2 * HOUR_S
    assert await redis.ttl(bench.store.keys.feedback_sums("digits")) == -1


@pytest.mark.parametrize("bench", ["valkey"], indirect=True)  # the fake keeps no memory of its own
async def test_a_value_takes_as_much_memory_as_the_docs_say(bench: Bench) -> None:
    """At most 80 bytes for each (request, metric) of the horizon: docs/feedback.md promises that."""
    assert isinstance(bench.store, Store)
    now_s, rng, count = await _now_s(bench), random.Random(3), 4_000
    items = [_item(rng.getrandbits(64), now_s) for _ in range(count)]
    await bench.store.tell(items, {}, DAY_S)
    keys = {bench.store.keys.feedback_seen("digits", "reward", item.hour) for item in items}
    used = sum([await bench.store._redis.memory_usage(key, samples=0) or 0 for key in keys])
    assert used / count <= 80
