"""What a worker tells of what it has counted adds up, whatever becomes of the messages and of the replicas."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from router.epoch import Head
from router.policy import Arm, Policy
from serving.endpoint import Endpoint
from serving.gateway.counters import Outcome, Role
from serving.gateway.telling import _TURNS, EVERY_S, Telling
from serving.gateway.units import second_hash
from serving.gateway.upstream import Upstream
from serving.gateway.worker import Worker
from serving.totals import Message, message_from
from tests.serving.gateway.failures import BOTH, CANARY, WRONG, candidate_of, stable_of
from tests.serving.gateway.rig import HEAD, Rig, running
from tests.serving.gateway.wire import post

HALF = Policy(1, (Arm(2, 500_000),), salt="s")


class Reader:
    """A store's stream, and who reads it; it fails as long as it is told to."""

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.away = False
        self.loses_answers = False

    async def send(self, raw: bytes) -> None:
        """One message."""
        if not self.away:
            self.heard.append(message_from(raw))
        if self.away or self.loses_answers:
            raise TimeoutError

    def sums(self) -> dict[tuple[str, int], Counter[str]]:
        """The latest totals of every series, by model and version."""
        latest = {(one.model, one.version, one.replica): one for said in self.heard for one in said.series}
        found: dict[tuple[str, int], Counter[str]] = {}
        for (model, version, _), one in latest.items():
            found.setdefault((model, version), Counter()).update(one.outcomes)
            answered = sum(one.answered.values()) + sum(one.unanswered.values())
            assert answered == sum(one.outcomes.values())
        return found

    def units(self, model: str = "m") -> dict[tuple[int, int], frozenset[str]]:
        """Every unit that was heard of, with its version and all that came of it."""
        found: dict[tuple[int, int], frozenset[str]] = {}
        for said in self.heard:
            for seen in said.units[model].seen if model in said.units else ():
                key = seen.hashed, seen.version
                found[key] = found.get(key, frozenset()) | seen.outcomes
        return found


def telling(worker: Worker, reader: Reader) -> Telling:
    """Of this worker, to this reader."""
    return Telling(worker, "g boot", reader.send)


async def ask(rig: Rig, *units: str) -> None:
    """A request for each of these units, one after the other; an empty one names none."""
    client = await rig.client()
    for unit in units:
        await client.send(post(headers=[f"sluice-unit: {unit}"] if unit else []))
        await client.answer()
    await rig.rests()


async def test_first_attempts_units_and_draws() -> None:
    """Of a candidate that fails unseen: its errors, nothing that stable answered in its place, and who was dealt."""
    reader = Reader()
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate_of(rig).usual = WRONG
        stable_of(rig)
        await ask(rig, "ann", "bob", "")
        await telling(rig.worker, reader).tell()
    [said] = reader.heard
    assert (said.gateway, said.epoch, said.whole) == ("g boot", HEAD.epoch, True)
    assert reader.sums() == {("m", 2): Counter(server_error=3)}
    assert said.drawn == {"m": {2: 1}}
    expected = {(second_hash(name), 2): frozenset({"server_error"}) for name in (b"ann", b"bob")}
    assert reader.units() == expected
    took = [seen.took for seen in said.units["m"].seen]
    assert {answered for _, answered in filter(None, took)} == {True}
    assert {bucket for bucket, _ in filter(None, took)} <= {bucket for one in said.series for bucket in one.answered}
    assert None not in took


async def test_synthetic_requests_are_nobodys() -> None:
    """A load test's requests enter no verdict, and neither do their units."""
    reader = Reader()
    async with running(policy=HALF, replicas=BOTH) as rig:
        client = await rig.client()
        await client.send(post(headers=["sluice-unit: ann", "sluice-synthetic: 1"]))
        await client.answer()
        await rig.rests()
        assert {role for _, _, _, role, _ in rig.worker.table.series()} == {Role.SYNTHETIC}
        await telling(rig.worker, reader).tell()
    assert (reader.sums(), reader.units(), reader.heard[0].drawn) == ({}, {}, {})


async def test_what_could_not_be_told_is_in_what_follows() -> None:
    """With the store away, or its answers lost, everything is there in the end, once."""
    reader = Reader()
    async with running(policy=HALF, replicas=BOTH) as rig:
        ours, names = telling(rig.worker, reader), [f"u{number}" for number in range(12)]
        for number, trouble in enumerate(("", "away", "away", "loses_answers", "loses_answers", "")):
            reader.away, reader.loses_answers = trouble == "away", trouble == "loses_answers"
            await ask(rig, *names[2 * number : 2 * number + 2], "")
            await ours.tell()
        assigned = {version: state.requests for (_, version), state in rig.worker.table.states.items()}
    assert {version: sum(count.values()) for (_, version), count in reader.sums().items()} == assigned
    assert {hashed for hashed, _ in reader.units()} == {second_hash(name.encode()) for name in names}
    assert all(seen == {"ok"} for seen in reader.units().values())
    assert sum(reader.heard[-1].drawn["m"].values()) == 6


async def test_brakes_are_told_until_that_has_arrived() -> None:
    """Which version, since when, and for how long."""
    reader = Reader()
    async with running(policy=CANARY, replicas=BOTH, brake_s=7.0) as rig:
        ours = telling(rig.worker, reader)
        rig.worker.brake(rig.worker.routing.models["m"].versions[2])
        rig.worker.brake(rig.worker.routing.models["m"].versions[2])
        reader.away = True
        await ours.tell()
        reader.away = False
        rig.worker.brake(rig.worker.routing.models["m"].versions[1])
        await ours.tell(whole=True)
        await ours.tell(whole=True)
        now = rig.worker.wall_s
    told, after = (said.braked for said in reader.heard)
    assert [(one.model, one.version, one.for_s) for one in told] == [("m", 2, 7.0), ("m", 1, 7.0)]
    assert all(abs(one.at_s - now) < 60 for one in told)
    assert after == ()


async def test_a_brake_follows_failures_in_a_row() -> None:
    """A candidate with replicas enough to be asked is braked by what its first attempts come to, and that is told."""
    reader = Reader()
    async with running(policy=CANARY, replicas={1: 1, 2: 3}) as rig:
        stable_of(rig)
        for scripted in rig.upstreams[2]:
            scripted.usual = WRONG
        await ask(rig, *[""] * 30)
        await telling(rig.worker, reader).tell()
        assert rig.worker.table.states["m", 2].straight > 0
    [told] = reader.heard[0].braked
    assert (told.model, told.version) == ("m", 2)


async def test_silence_of_traffic_is_not_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing new there is a message a second all the same, and one in ten seconds that has everything."""
    reader = Reader()
    async with running(policy=HALF, replicas=BOTH) as rig:
        await ask(rig, "ann")
        now = rig.worker.loop.time()
        monkeypatch.setattr(rig.worker, "loop", _Clock(lambda: now))
        ours = telling(rig.worker, reader)
        for _ in range(24):
            await ours.tell()
            now += EVERY_S
        monkeypatch.undo()
    assert [bool(said.series) for said in reader.heard] == [True] + [False] * 9 + [True] + [False]
    assert [said.whole for said in reader.heard] == [bool(said.series) for said in reader.heard]


class _Clock:
    """A loop, as far as a message looks at it."""

    def __init__(self, time: Callable[[], float]) -> None:
        self.time = time


async def test_a_replica_that_comes_back_goes_on_counting() -> None:
    """Totals of one address never fall: not when the replica goes, nor when another is there, nor while it finishes."""
    reader = Reader()
    async with running(policy=HALF, replicas=BOTH) as rig:
        ours, table = telling(rig.worker, reader), rig.worker.table
        here = [Endpoint(one.host, one.port, 0, one.model, one.version) for one in table.upstreams]
        for step in range(6):
            await ask(rig, *[f"u{step}{number}" for number in range(6)])
            if step % 2:
                rig.worker.swap(table.build(HEAD, {"m": HALF}, []))
            await ours.tell(whole=step == 3)
            if step == 3:
                table.fold_gone()
            rig.worker.swap(table.build(HEAD, {"m": HALF}, here))
            await ours.tell()
            table.fold_gone()
        await ours.tell()
    seen: dict[tuple[int, str], Counter[str]] = {}
    for said in reader.heard:
        for one in said.series:
            before = seen.get((one.version, one.replica), Counter())
            assert not before - Counter(one.outcomes)
            seen[one.version, one.replica] = Counter(one.outcomes)
    assert sum(sum(count.values()) for count in reader.sums().values()) == 36
    assert len(seen) == 2


async def test_models_with_nothing_to_compare_take_turns() -> None:
    """They are told within two seconds, or at once where the epoch has changed; others every time."""
    reader = Reader()
    names = [f"model-{number}" for number in range(40)]
    async with running() as rig:
        table, single = rig.worker.table, Policy(1)
        policies = {name: HALF if name == "model-0" else single for name in names}
        places = [Endpoint("127.0.0.1", 1, 0, name, 1) for name in names]

        def at(epoch: int) -> None:
            rig.worker.swap(table.build(Head(epoch, "", ""), policies, places))

        def count() -> None:
            for upstream in table.upstreams:
                _count(upstream)

        at(43)
        ours = telling(rig.worker, reader)
        count()
        await ours.tell()
        assert {one.model for one in reader.heard[-1].series} == set(names)
        reader.heard.clear()
        count()
        for _ in range(_TURNS):
            await ours.tell()
        told = Counter(one.model for said in reader.heard for one in said.series)
        assert told == Counter(names)
        assert len(reader.heard) > 1
        assert "model-0" in {one.model for one in reader.heard[0].series}
        count()
        at(44)
        await ours.tell()
        assert ({one.model for one in reader.heard[-1].series}, reader.heard[-1].whole) == (set(names), True)
        table.build(HEAD, {}, [])


def _count(upstream: Upstream) -> None:
    upstream.count(Role.FIRST, Outcome.OK, 0.01)


async def test_a_message_that_cannot_be_made_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one of them, the next one is sent."""
    reader = Reader()
    async with running(policy=HALF, replicas=BOTH) as rig:
        ours = telling(rig.worker, reader)
        calls = 0

        async def fails_once(raw: bytes) -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise RuntimeError
            await reader.send(raw)

        monkeypatch.setattr(ours, "_send", fails_once)
        task = asyncio.create_task(ours.run())
        async with asyncio.timeout(10):
            while not reader.heard:  # noqa: ASYNC110 (there is nothing to be told by)
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
    assert reader.heard[0].whole
