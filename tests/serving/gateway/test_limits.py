"""What a key may use up is kept to within the bound that is stated, whoever asks when and whatever is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access.principal import Limits, Principal
from serving.access.roles import Role
from serving.errors import Refusal
from serving.gateway.limits import FRESH_MS, LEAST_BUCKET_S, SYNC_S, Ask, Meter, Meters, Shared, Told
from tests.serving.gateway.callers import caller, lets_in
from tests.serving.gateway.rig import Rig, eventually
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import chunks, get, ok, post


@dataclass
class Bucket:
    """The script in the store, as a model: `limits.lua`, line by line."""

    tokens: float | None = None
    at_s: float = 0.0
    said: dict[int, tuple[int, float]] = field(default_factory=dict)

    def settle(self, worker: int, ask: Ask, now_s: float) -> Told:
        """One call."""
        tokens = ask.bucket if self.tokens is None else self.tokens
        tokens = min(ask.bucket, tokens + max(0.0, now_s - self.at_s) * ask.rate_per_s)
        granted = min(ask.want, max(0.0, tokens))
        if granted > 0:
            granted = int(granted * 1000) / 1000
        self.tokens, self.at_s = min(ask.bucket, tokens - granted), now_s
        fresh = {name: one for name, one in self.said.items() if (now_s - one[1]) * 1000 < FRESH_MS}
        self.said = {**fresh, worker: (ask.in_flight, now_s)}
        return Told(granted, sum(count for name, (count, _) in self.said.items() if name != worker))


def meters(limits: Limits, count: int) -> list[Meter]:
    """One key's meters at as many workers."""
    found = []
    for _ in range(count):
        shared = Shared()
        shared.workers = count
        found.append(Meter("k", limits, shared))
    return found


_events = st.sampled_from(["enter", "enter", "burst", "sync", "lost", "dies"])
_steps = st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 4), _events), max_size=120)


@given(rate=st.floats(0.1, 2_000), burst=st.none() | st.integers(1, 500), count=st.integers(1, 5), steps=_steps)
def test_the_bound(rate: float, burst: int | None, count: int, steps: list[tuple[float, int, str]]) -> None:
    """However requests come and syncs go, answers are lost and workers die: no more than the bound is ever admitted."""
    some = meters(Limits(rate, burst), count)
    bucket, batch, born = some[0].bucket, some[0].batch, count
    store, admitted, now_s = Bucket(), 0, 0.0
    for after_s, place, what in steps:
        now_s += after_s
        worker = place % count
        meter = some[worker]
        if what in {"enter", "burst"}:
            for _ in range(1 if what == "enter" else 100):
                if meter.enter() is None:
                    admitted += 1
                    meter.leave()
        elif what == "dies":
            some[worker] = meters(Limits(rate, burst), count)[0]
            born += 1
        else:
            told = store.settle(worker, meter.ask(), now_s)
            if what == "sync":
                meter.take(told)
        assert admitted <= rate * now_s + bucket + born * batch + 1e-6


@given(rate=st.floats(1, 500), count=st.integers(1, 4), seconds=st.integers(2, 20))
def test_what_is_allowed_is_let_through(rate: float, count: int, seconds: int) -> None:
    """Workers that are asked for far too much, all the time, let through the rate at least, over some seconds."""
    some, store, admitted = meters(Limits(rate), count), Bucket(), 0
    for step in range(int(seconds / SYNC_S)):
        for worker, meter in enumerate(some):
            for _ in range(int(rate * SYNC_S) + 2):
                if meter.enter() is None:
                    admitted += 1
                    meter.leave()
            meter.take(store.settle(worker, meter.ask(), step * SYNC_S))
    assert admitted >= rate * (seconds - SYNC_S) - 1


@given(rate=st.floats(2, 1_000), share=st.floats(0.1, 0.95))
def test_who_keeps_to_the_rate_is_not_refused(rate: float, share: float) -> None:
    """A client that sends evenly, at less than the rate, is never refused."""
    [meter], store, now_s, synced_s = meters(Limits(rate), 1), Bucket(), 0.0, 0.0
    for _ in range(200):
        now_s += 1 / (rate * share)
        while synced_s + SYNC_S <= now_s:
            synced_s += SYNC_S
            meter.take(store.settle(0, meter.ask(), synced_s))
        assert meter.enter() is None
        meter.leave()


def test_the_first_requests_wait_for_nobody() -> None:
    """A batch is let in before the store has said a word: a bucket is divided among the workers."""
    meter = meters(Limits(10.0, 20), 2)[0]
    assert [meter.enter() is None for _ in range(12)] == [True] * 10 + [False] * 2
    assert meter.rate_limited == 2


def test_what_is_left_is_given_back() -> None:
    """A key that falls silent gives back what it has in hand, once, and is forgotten by the loop."""
    [meter], store = meters(Limits(10.0, 20), 1), Bucket()
    meter.enter()
    meter.leave()
    meter.take(store.settle(0, meter.ask(), 0.0))
    assert meter.reserve > 0
    meter.take(store.settle(0, meter.ask(), 0.1))
    assert (meter.reserve, meter.active) == (0.0, False)
    assert store.tokens == pytest.approx(20 - 1 + 1, abs=0.01)


@pytest.mark.parametrize(("rate", "wait_s"), [(100.0, 1), (1.0, 1), (0.5, 2), (0.1, 10), (0.001, 1000)])
def test_when_to_come_back(rate: float, wait_s: int) -> None:
    """Retry-After is how long a token takes to come, in whole seconds, and one at least."""
    [meter] = meters(Limits(rate), 1)
    while (bad := meter.enter()) is None:
        pass
    assert (bad.kind, bad.retry_after_s) == (Refusal.RATE_LIMITED, wait_s)


def test_nobody_is_sent_away_for_more_than_a_day() -> None:
    """However much is owed at however low a rate."""
    [meter] = meters(Limits(0.001, 2**40), 1)
    meter.reserve = -1e300
    bad = meter.enter()
    assert bad is not None
    assert bad.retry_after_s == 86_400


@pytest.mark.parametrize("rate", [0, -1.0, 0.000_999, 5e-324, 10**400, 2.0**41, float("nan"), float("inf"), True, "5"])
def test_what_is_no_rate(rate: float) -> None:
    """Of less than 0.001 a second nobody could say when the next one comes; a number of any size is answered."""
    with pytest.raises(ValueError, match="is no rate"):
        Limits(rate)


def test_short_bursts_are_not_told_apart() -> None:
    """A bucket holds what comes in between two syncs, or a high rate could never be reached."""
    [meter] = meters(Limits(1_000.0, 1), 1)
    assert meter.bucket == 1_000 * LEAST_BUCKET_S


def test_in_flight_elsewhere() -> None:
    """Requests in flight at other workers count as of the last sync; those of a worker that is silent do not."""
    (one, other), store = meters(Limits(in_flight=3), 2), Bucket()
    assert [one.enter() is None for _ in range(4)] == [True, True, True, False]
    one.take(store.settle(0, one.ask(), 0.0))
    assert other.enter() is None  # it has not heard
    other.take(store.settle(1, other.ask(), 0.0))
    refused = other.enter()
    assert refused is not None
    assert (refused.kind, other.in_flight_limited) == (Refusal.RATE_LIMITED, 1)
    one.leave()
    one.leave()
    one.take(store.settle(0, one.ask(), 0.1))
    other.take(store.settle(1, other.ask(), 0.1))
    assert other.enter() is None
    other.take(store.settle(1, other.ask(), 0.2 + FRESH_MS / 1000))
    assert other._room == 3


def test_what_was_elsewhere_long_ago() -> None:
    """Who comes back after a silence is not refused for what others had in flight before it."""
    (one, other), store = meters(Limits(in_flight=3), 2), Bucket()
    assert [one.enter() for _ in range(2)] == [None, None]
    one.take(store.settle(0, one.ask(), 0.0))
    assert other.enter() is None
    other.leave()
    for now_s in (0.1, 0.2):
        other.take(store.settle(1, other.ask(), now_s))
    assert not other.active
    for _ in range(2):
        one.leave()
    one.take(store.settle(0, one.ask(), 0.3))
    assert [other.enter() is None for _ in range(4)] == [True] * 3 + [False]


def test_what_is_full_elsewhere_is_watched() -> None:
    """Where others have all places it goes on asking, so that its no is of now, and ends as soon as theirs do."""
    (one, other), store = meters(Limits(in_flight=3), 2), Bucket()
    assert [one.enter() for _ in range(3)] == [None] * 3
    one.take(store.settle(0, one.ask(), 0.0))
    assert other.enter() is None
    other.leave()
    for now_s in (0.1, 0.2):
        other.take(store.settle(1, other.ask(), now_s))
        assert other.active
    assert other.enter() is not None
    for _ in range(3):
        one.leave()
    one.take(store.settle(0, one.ask(), 0.3))
    other.take(store.settle(1, other.ask(), 0.3))
    assert other.enter() is None


def test_who_was_alone_before_a_silence_has_all_places_again() -> None:
    """The share of a time when the store was away is not what holds later."""
    meter = meters(Limits(in_flight=4), 4)[0]
    meter.go_alone(0.0)
    meter.come_back()
    assert [meter.enter() is None for _ in range(4)] == [True] * 4


@given(steps=st.lists(st.floats(0.01, 3), max_size=50), workers=st.integers(1, 4))
def test_alone(steps: list[float], workers: int) -> None:
    """While the store is away a worker lets in its share of the rate and of the bucket, and a batch of debt."""
    meter, now_s, admitted = meters(Limits(20.0), workers)[0], 0.0, 0
    for after_s in steps:
        now_s += after_s
        meter.go_alone(now_s)
        while meter.enter() is None:
            admitted += 1
            meter.leave()
        assert admitted <= 20.0 / workers * now_s + 20.0 / workers + meter.batch + 1e-6


def test_alone_in_flight() -> None:
    """While the store is away each worker has its share of the places, one at least."""
    meter = meters(Limits(in_flight=5), 2)[0]
    meter.go_alone(0.0)
    assert [meter.enter() is None for _ in range(3)] == [True, True, False]


async def test_the_loop() -> None:
    """The store is asked while a key is in use and not otherwise; without it the worker goes on alone, and returns."""
    some, store, asked, away = Meters(), Bucket(), 0, False

    async def settle(asks: Sequence[Ask]) -> list[Told]:
        nonlocal asked
        asked += 1
        if away:
            raise OSError("away")
        return [store.settle(0, ask, asyncio.get_running_loop().time()) for ask in asks]

    task = asyncio.create_task(some.run(settle))
    meter = some.of(Principal("k", "k", "key", Role.PREDICT, limits=Limits(100.0)))
    await asyncio.sleep(0.05)
    assert asked == 0
    meter.enter()
    await eventually(lambda: meter.reserve > 0)
    meter.leave()
    await eventually(lambda: not meter.active)
    before = asked
    await asyncio.sleep(3 * SYNC_S)
    assert asked == before
    away = True
    meter.enter()
    await eventually(lambda: meter._alone_at is not None)
    away = False
    await eventually(lambda: meter._alone_at is None)
    task.cancel()


def test_meters_outlive_verifiers() -> None:
    """A key that is read anew keeps what it has used up; one with other limits begins anew; one that is gone goes."""
    some = Meters()
    one = some.of(Principal("k", "k", "key", Role.PREDICT, limits=Limits(5.0)))
    assert some.of(Principal("k", "k", "key", Role.PREDICT, limits=Limits(5.0))) is one
    assert some.of(Principal("k", "k", "key", Role.PREDICT, limits=Limits(6.0))) is not one
    some.keep({"k", "other"})
    assert [row["key"] for row in some.report()] == ["k"]
    some.keep(set())
    assert some.report() == []


# On the prediction port.


async def test_over_the_rate(rig: Rig) -> None:
    """Over the rate a request is told when to come back, reaches no model, and the connection stays; others go on."""
    slow, free = caller(limits=Limits(0.1, 3)), caller()
    lets_in(rig.worker, slow, free)
    client = await rig.client()
    await client.send(post(headers=[slow.header]) * 5)
    found = [await client.answer() for _ in range(5)]
    assert [answer.code for answer in found] == [200, 200, 200, 429, 429]
    assert found[3].one("retry-after") == b"10"
    assert "0.1 requests per second" in found[3].error
    assert rig.requests == 3
    await client.send(post(headers=[free.header]))
    assert (await client.answer()).code == 200
    assert (await rig.ask(get("/v2/health/ready", [slow.header]), b"GET")).code == 200
    assert rig.worker.meters.report() == [
        {"key": slow.shown.id, "rate_limited": 2, "in_flight_limited": 0, "too_large": 0}
    ]


async def test_too_many_in_flight(rig: Rig) -> None:
    """A place is taken by each request that is not answered, and comes free however that ends."""
    who = caller(limits=Limits(in_flight=2))
    lets_in(rig.worker, who)
    gate = asyncio.Event()
    rig.upstream.script.extend([answers(ok()[:-1], ok()[-1:], gate=gate)] * 2)
    busy = [await rig.client() for _ in range(2)]
    for client in busy:
        await client.send(post(headers=[who.header]))
    await eventually(lambda: len(rig.upstream.heads) == 2)
    answer = await rig.ask(post(headers=[who.header]))
    assert (answer.code, answer.one("retry-after")) == (429, b"1")
    busy[0].close(reset=True)
    await eventually(lambda: len(rig.worker.in_flight) == 1)
    assert (await rig.ask(post(headers=[who.header]))).code == 200
    gate.set()
    assert (await busy[1].answer()).code == 200
    for request in (post("/v2/models/nobody/infer", headers=[who.header]), post(body=b"[" * 600, headers=[who.header])):
        for _ in range(4):
            assert (await rig.ask(request)).code in {404, 400}
    [report] = rig.worker.meters.report()
    assert report["in_flight_limited"] == 1
    assert rig.worker.meters.of(who.record.principal).in_flight == 0


async def test_what_is_refused_is_read_no_further_than_the_key_may_send(rig: Rig) -> None:
    """Over the rate a body is drained so that the connection may stay, but no more of it than the key's own limit."""
    who = caller(limits=Limits(0.1, 1, max_body=1_000))
    lets_in(rig.worker, who)
    client = await rig.client()
    await client.send(post(headers=[who.header]))
    assert (await client.answer()).code == 200
    await client.send(post(headers=[who.header], chunked=[b"{}"]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    assert (await client.answer()).code == 429
    await client.send(chunks(b"x" * 900)[:-5])
    await client.send(chunks(b"x" * 200)[:-5])
    async with asyncio.timeout(5):
        assert await client.rest() == b""


async def test_too_large(rig: Rig) -> None:
    """A body over the key's limit is refused by its length, or as soon as it has grown over it."""
    who, wide = caller(limits=Limits(max_body=1_000)), caller(limits=Limits(max_body=10**9))
    lets_in(rig.worker, who, wide)
    assert (await rig.ask(post(body=b" " * 998 + b"{}", headers=[who.header]))).code == 200
    head = post(body=b"x" * 1_001, headers=[who.header]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    assert (await rig.ask(head)).code == 413  # not a byte of the body is there
    client = await rig.client()
    await client.send(post(headers=[who.header], chunked=[b"{}"]).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
    await client.send(chunks(b"x" * 900)[:-5])
    await client.send(chunks(b"x" * 200)[:-5])
    answer = await client.answer()
    assert (answer.code, answer.one("connection")) == (413, b"close")
    assert "1000 bytes" in answer.error
    [report] = rig.worker.meters.report()
    assert report["too_large"] == 2
    over = post(headers=[wide.header, "Content-Length: 99999999999"]).replace(b"Content-Length: 2\r\n", b"")
    assert (await rig.ask(over)).code == 413  # the gateway's own limit is never widened
    assert rig.requests == 1
