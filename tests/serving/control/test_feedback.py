"""Feedback is joined by what request ids carry, counted once, and answered item by item."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import httpx
import pytest

from router.choose import Reason
from router.epoch import NO_HEAD
from router.policy import Policy
from router.request_id import KeyRing
from router.verdicts.values import FIELDS, values_from
from serving.access.principal import ANONYMOUS, Principal
from serving.access.roles import Role
from serving.control.api import create_app
from serving.control.api.desk import Desk
from serving.control.errors import StoreUnavailable, TooOften
from serving.control.fake_store import FakeStore
from serving.control.feedback import MOST_ITEMS, Feedback
from serving.control.rolling.feed import Feed
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.control.views import Status
from serving.metrics.families import render
from serving.metrics.figure import Facts
from tests.serving.control.rolling.rooms import fake_room
from tests.serving.feedback import Mixture, cut, minted, mixture, ring_of
from tests.valkey import valkey

__all__ = ["valkey"]

DAY_S = 86_400


@dataclass
class Desked:
    """Feedback on a store in memory, with a model, and the ring that makes its ids."""

    store: FakeStore
    feedback: Feedback
    ring: KeyRing
    now_s: int

    def id(self, nonce: int, **said: Any) -> str:  # noqa: ANN401 - what an id says
        """An id of now."""
        return minted(self.ring.current, nonce, **{"at_s": self.now_s, **said})

    async def take(self, *items: object, principal: Principal = ANONYMOUS) -> list[dict[str, str]]:
        """What became of each."""
        return [
            {name: one.value for name, one in told.became.items()}
            for told in await self.feedback.take(items, principal)
        ]


@pytest.fixture
async def desk() -> Desked:
    """A model at epoch 1."""
    store = FakeStore()
    await store.change("digits", Policy(stable=1), 0, who="the test")
    ring = ring_of(await store.ensure_keys())
    return Desked(store, Feedback(store, {}, horizon_s=DAY_S), ring, await store.now_ms() // 1000)


async def test_each_item_says_what_became_of_it(desk: Desked) -> None:
    """Accepted, again, late, forged, of a model or an epoch that nobody knows, synthetic, of a bad value."""
    own = desk.id(1)
    good = {"request_id": own, "metrics": {"reward": 1}}
    forged = own[:-2] + ("AA" if own[-2:] != "AA" else "BB")
    found = await desk.take(
        good,
        {**good, "metrics": {"reward": 5, "cost": 2.5}},
        {"request_id": desk.id(2, at_s=desk.now_s - DAY_S - 10), "metrics": {"reward": 1}},
        {"request_id": forged, "metrics": {"reward": 1}},
        {"request_id": desk.id(3, model="other"), "metrics": {"reward": 1}},
        {"request_id": desk.id(4, epoch=9), "metrics": {"reward": 1}},
        {"request_id": desk.id(5, synthetic=True), "metrics": {"reward": 1}},
        {"request_id": desk.id(6), "metrics": {"reward": "much"}},
    )
    assert found == [
        {"reward": "accepted"},
        {"reward": "duplicate", "cost": "accepted"},
        {"reward": "late"},
        {"reward": "forged"},
        {"reward": "unknown"},
        {"reward": "unknown"},
        {"reward": "synthetic"},
        {"reward": "bad_value"},
    ]
    assert dict(await desk.store.feedback_tallies()) == {
        "digits|accepted": 2, "digits|duplicate": 1, "digits|late": 1, "|forged": 1, "|unknown": 1,
        "digits|unknown": 1, "digits|synthetic": 1, "digits|bad_value": 1,
    }  # fmt: skip


NO_METRICS: Sequence[Any] = (
    {}, {"": 1}, {"a b": 1}, {"label": 1}, {"r": None}, {"r": [1]}, {"r": 10**400},
)  # fmt: skip
NO_NUMBERS: Sequence[Any] = (float("nan"), float("inf"), 1e10, -1e10, {}, "1")
WRONG: Sequence[Any] = (
    None, 3, [], {}, {"request_id": 5}, {"request_id": "x" * 10_000}, {"request_id": "é" * 68},
    *({"metrics": one} for one in NO_METRICS),
    *({"metrics": {"r": one}} for one in NO_NUMBERS),
    {"metrics": {f"m{nth}": 1 for nth in range(33)}}, {"metrics": 7}, {"label": ""}, {"label": "a|b"},
    {"label": 1.5}, {"label": "x" * 65}, {"predicted": "a"}, {"metrics": {"r": 1}, "colour": "red"},
    {"label": {"a": 1}}, {"label": "\ud800"},
)  # fmt: skip
"""Items of which nothing can be counted; those that are objects get the id of an answer."""


@pytest.mark.parametrize("nth", range(len(WRONG)))
async def test_what_cannot_be_counted_is_said_and_keeps_nothing_else_from_it(desk: Desked, nth: int) -> None:
    """Beside a good item, in one batch; nothing of it is counted as a value."""
    wrong = WRONG[nth]
    item = (
        {"request_id": desk.id(1), **wrong}
        if isinstance(wrong, dict) and wrong and "request_id" not in wrong
        else wrong
    )
    told = await desk.feedback.take([item, {"request_id": desk.id(2), "metrics": {"r": 1}}], ANONYMOUS)
    assert told[0].why
    assert {one.value for one in told[0].became.values()} <= {"bad_value", "forged"}
    assert told[1].became == {"r": "accepted"}
    assert values_from(_values(await desk.store.feedback_sums("digits"), 1, "r")).count == 1


async def test_a_label_beside_a_prediction_is_a_metric_as_well(desk: Desked) -> None:
    """Whether both are the same; whole numbers and truth values are classes."""
    assert await desk.take(
        {"request_id": desk.id(1), "label": "cat", "predicted": "dog"},
        {"request_id": desk.id(2), "label": 7, "predicted": 7},
        {"request_id": desk.id(3), "label": True},
    ) == [{"correct": "accepted", "label": "accepted"}] * 2 + [{"label": "accepted"}]
    sums = await desk.store.feedback_sums("digits")
    assert (sums["1|label|dog|cat"], sums["1|label|7|7"], sums["1|label||true"]) == (1, 1, 1)
    found = values_from(_values(sums, 1, "correct"))
    assert (found.count, found.sum) == (2, 1.0)


async def test_a_narrowed_key_speaks_of_its_own_models_alone(desk: Desked) -> None:
    """Of others it hears what it hears of models that do not exist."""
    item = {"request_id": desk.id(1), "metrics": {"reward": 1}}
    narrow = Principal("k", "shop", "key", Role.PREDICT, frozenset({"fraud"}))
    assert await desk.take(item, principal=narrow) == [{"reward": "unknown"}]
    own = Principal("k", "shop", "key", Role.PREDICT, frozenset({"digits"}))
    assert await desk.take(item, principal=own) == [{"reward": "accepted"}]


async def test_keys_that_were_replaced_go_on_verifying(desk: Desked) -> None:
    """And one that was added a moment ago is looked for before an id is called forged."""
    old = {"request_id": desk.id(1), "metrics": {"reward": 1}}
    assert await desk.take(old) == [{"reward": "accepted"}]
    await asyncio.sleep(0.11)  # so often a forger makes it look
    keys = await desk.store.rotate_keys()
    new = minted(ring_of(keys).current, 2, at_s=desk.now_s)
    assert await desk.take({"request_id": new, "metrics": {"reward": 1}}) == [{"reward": "accepted"}]
    assert await desk.take(old) == [{"reward": "duplicate"}]


async def test_more_than_is_taken_in_a_second_is_refused_before_it_is_counted(desk: Desked) -> None:
    """And taken when time has passed."""
    now_s = 0.0
    feedback = Feedback(desk.store, {}, horizon_s=DAY_S, per_s=10, clock=lambda: now_s)
    items = [{"request_id": desk.id(nth), "metrics": {"reward": 1}} for nth in range(20)]
    await feedback.take(items, ANONYMOUS)
    with pytest.raises(TooOften):
        await feedback.take(items[:1], ANONYMOUS)
    now_s = 1.0
    assert len(await feedback.take(items[:10], ANONYMOUS)) == 10


async def test_a_store_that_is_away_is_said(desk: Desked) -> None:
    """Nothing is called accepted that is not kept."""
    desk.store.down = True
    with pytest.raises(StoreUnavailable):
        await desk.take({"request_id": desk.id(1), "metrics": {"reward": 1}})


def _values(sums: Any, version: int, metric: str) -> dict[str, int]:  # noqa: ANN401 - counters by name
    return {name: sums[key] for name in FIELDS if (key := f"{version}|{metric}|{name}") in sums}


# Over HTTP.


@pytest.fixture
async def http(desk: Desked) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a room in memory, with that feedback."""
    room = await fake_room()
    app = create_app(room.service, desk=Desk(room.rollouts, Feed(room.store), room.store, room.store, desk.feedback))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_one_item_and_a_batch_are_answered_alike(desk: Desked, http: httpx.AsyncClient) -> None:
    """200 with what became of each, whatever that is."""
    one = {"request_id": desk.id(1), "metrics": {"reward": 0.5}}
    answer = await http.post("/api/v1/feedback", json=one)
    assert (answer.status_code, answer.json()["counts"]) == (200, {"accepted": 1})
    answer = await http.post("/api/v1/feedback", json={"items": [one, 7, {"request_id": "no", "metrics": {"a": 1}}]})
    assert answer.status_code == 200
    assert answer.json()["counts"] == {"duplicate": 1, "bad_value": 1, "forged": 1}
    shown = (await http.get("/api/v1/models/digits/feedback")).json()
    assert shown["versions"]["1"]["metrics"]["reward"] == {"count": 1, "mean": 0.5, "sum": 0.5, "deviation": None}
    assert shown["counts"] == {"accepted": 1, "duplicate": 1}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422), ({"items": []}, 200), ({"items": None}, 422), ({"items": 3}, 422), ([], 422),
        ({"items": [1], "a": 1}, 422), ({"items": [1] * (MOST_ITEMS + 1)}, 422), ({"items": ["x" * 1_100_000]}, 413),
    ],
    ids=["nothing", "no-items", "null", "number", "list", "both", "many", "large"],
)  # fmt: skip
async def test_a_body_that_is_no_feedback_is_refused(http: httpx.AsyncClient, body: object, status: int) -> None:
    """As a whole, with a sentence; nothing is a server's error."""
    assert (await http.post("/api/v1/feedback", json=body)).status_code == status


async def test_json_that_is_none_is_no_traceback(http: httpx.AsyncClient) -> None:
    """NaN, nesting without end, half a document."""
    headers = {"content-type": "application/json"}
    half = '{"items": [{"request_id": "\\ud800", "metrics": {"\\ud801": 1, "\\ud802": "\\ud803"}, "label": "\\ud804"}]}'
    nan = '{"request_id": "x", "metrics": {"r": NaN}}'
    for text in (half, half.replace("metrics", "\\ud805"), nan, '{"items": [', "[" * 50_000):
        assert (await http.post("/api/v1/feedback", content=text, headers=headers)).status_code < 500


# Across a restart.


async def _sent(url: str, namespace: str, batches: list[list[dict[str, Any]]]) -> None:
    """A control room that takes these batches, several at a time, and ends."""
    store = connect(url, namespace)
    feedback = Feedback(store, {}, horizon_s=DAY_S, per_s=1e9)
    try:
        for begin in range(0, len(batches), 4):
            await asyncio.gather(*(feedback.take(one, ANONYMOUS) for one in batches[begin : begin + 4]))
    finally:
        await store.close()


async def _exact(url: str, count: int) -> None:
    namespace = f"test-{secrets.token_hex(6)}"
    store = connect(url, namespace)
    await store.change("digits", Policy(stable=1), 0, who="the test")
    ring, now_s = ring_of(await store.ensure_keys()), await store.now_ms() // 1000
    mixed = mixture(ring, count, now_s=now_s, horizon_s=DAY_S)
    batches = cut(mixed.items, 500)
    half = len(batches) // 2
    await _sent(url, namespace, batches[:half])
    await _sent(url, namespace, batches[half:])  # another control room, which knows nothing but the store
    await _compare(store, mixed)
    again = batches[half - 1]  # a client that is unsure sends its last batch again
    await _sent(url, namespace, [again])
    after = await store.feedback_sums("digits")
    assert _totals(after) == mixed.sums
    await store.close()


async def _compare(store: Store, mixed: Mixture) -> None:
    assert _totals(await store.feedback_sums("digits")) == mixed.sums
    kinds: dict[str, int] = {}
    for name, number in (await store.feedback_tallies()).items():
        kind = name.rpartition("|")[2]
        kinds[kind] = kinds.get(kind, 0) + number
    assert kinds == dict(mixed.kinds)


def _totals(sums: Any) -> dict[tuple[int, str], tuple[int, Fraction, Fraction]]:  # noqa: ANN401 - counters by name
    found = {}
    for version in (1, 2):
        for metric in ("reward", "click"):
            values = values_from(_values(sums, version, metric))
            found[version, metric] = (values.count, Fraction(values.total, 10**9), Fraction(values.squares, 10**18))
    return found


async def test_every_metric_is_exact_across_a_restart(valkey: EmbeddedValkey) -> None:
    """Duplicates, out of order, forged, late, of models that nobody knows: counted and summed as if each came once."""
    await _exact(valkey.url, 2_000)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_every_metric_of_100_000_is_exact_across_a_restart(valkey: EmbeddedValkey) -> None:
    """The same of a hundred thousand request ids."""
    await _exact(valkey.url, 100_000)


async def test_by_lot_alone_is_compared(desk: Desked) -> None:
    """Without a rollout nothing is kept of one, whatever the reason."""
    assert await desk.take({"request_id": desk.id(1, reason=Reason.PINNED), "metrics": {"reward": 1}}) == [
        {"reward": "accepted"}
    ]
    assert not desk.store._within


async def test_prometheus_has_its_figures(desk: Desked) -> None:
    """What became of values, how many were accepted of each metric, and what they add up to."""
    item = {"request_id": desk.id(1), "metrics": {"reward": -2.5}}
    await desk.take(item, item, {"request_id": "no", "metrics": {"reward": 1}})
    status = Status(NO_HEAD, (), (), (), (), reachable=True, warnings=())
    facts = Facts("1", status, feedback=await desk.feedback.heard())
    lines = render(facts).decode().splitlines()
    assert 'sluice_feedback_total{kind="duplicate",model="digits"} 1.0' in lines
    assert 'sluice_feedback_total{kind="forged",model=""} 1.0' in lines
    assert 'sluice_feedback_values_total{metric="reward",model="digits",version="1"} 1.0' in lines
    assert 'sluice_feedback_values_amount{metric="reward",model="digits",version="1"} -2.5' in lines
