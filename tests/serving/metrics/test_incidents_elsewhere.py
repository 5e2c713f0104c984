"""Small incidents of what is no gateway: a conductor, the listener itself, a payload log, a drift sidecar; all real."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest

from drift.metrics import registry_of
from drift.sidecar import Sidecar
from registry.baselines import Baselines
from registry.store import connect
from router.phases import Phase
from serving.captured import Captured
from serving.control.rolling.records import Record
from serving.control.rolling.rolling import Rolling
from serving.control.rolling.standing import StandingHooks
from serving.control.valkey import EmbeddedValkey
from serving.control.webhooks import Webhooks
from serving.gateway.policies import Follower
from serving.payloads.counts import read_counts
from serving.payloads.files import place_of
from serving.payloads.sink import PayloadSink
from tests.drift.live import MODEL, Installation, moved, request
from tests.serving.certificates import Authority
from tests.serving.control.rolling.rooms import Post, Room, fake_room, valkey_room
from tests.serving.control.rolling.test_judging_on_valkey import served
from tests.serving.control.test_webhook_targets import hooked
from tests.serving.gateway.rig import running
from tests.serving.metrics.scrapes import Recording
from tests.serving.payloads.made import NOW_S, captured, rules
from tests.serving.webhook_servers import Mood

_LIMIT_S = 60.0
_MINUTES = 12


async def until(holds: Callable[[], Awaitable[object]] | Callable[[], object]) -> None:
    """Waits until it comes to hold."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            found = holds()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_gateway_that_is_late_to_go_back(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """The conductor takes a candidate back; a real worker that lives all along looks only six seconds later."""
    async with (
        valkey_room(valkey) as room,
        running(redis_url=valkey.url, namespace=room.store.keys.namespace, lease_s=600.0) as rig,
    ):
        follower, rolling = (
            Follower(rig.worker, "127.0.0.1", rig.port), Rolling(room.store, room.service.traffic, sends=Post()),
        )  # fmt: skip
        recording = Recording(room.service, rolling.rollouts)
        conducting = asyncio.create_task(rolling.loops.run())
        record = await room.start({"candidate": 2, "canary": {"steps": ["50%"], "hold": "500s", "needs": "minima"}})
        async with served(room, failed=0):
            await until(lambda: _is(room, record, Phase.RUNNING))
            await follower._look()
            await recording.scrape(3)
        async with served(room, failed=5):
            await until(lambda: _is(room, record, Phase.ROLLED_BACK))
            await asyncio.sleep(6)
            await follower._look()
            await until(lambda: sum(rolling.rollouts.figures().propagated.counts))
        await recording.scrape(3)
        conducting.cancel()
        await asyncio.gather(conducting, return_exceptions=True)
        await follower.stop()
    assert recording.sets_off({"SluiceRolledBack", "SluiceRollbackSlow"}, tmp_path) == ""


async def _is(room: Room, record: Record, phase: Phase) -> bool:
    return (await room.now(record)).rollout.phase is phase


async def test_a_certificate_that_nobody_renews(tmp_path: Path) -> None:
    """One of a month sets off nothing; it is replaced, under way, by one that has ten days left."""
    room, authority = await fake_room(), Authority(tmp_path)
    now = datetime.now(UTC)
    recording = Recording(room.service, certificate=authority.issue(until=now + timedelta(days=30)).certificate)
    await recording.scrape(_MINUTES)
    assert recording.sets_off(set(), tmp_path) == ""
    authority.issue(until=now + timedelta(days=10))
    await recording.scrape(_MINUTES)
    assert recording.sets_off({"SluiceCertificateEnds"}, tmp_path) == ""


async def test_a_payload_log_that_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that comes twice is no loss; then, where a model's files were to come to lie, is something else."""
    monkeypatch.setattr("serving.payloads.sink._TICK_S", 0.001)
    folder, room = tmp_path / "payloads", await fake_room()
    sink = PayloadSink(rules(folder), now=count(NOW_S, step=10.0).__next__)
    recording = Recording(room.service, payloads=folder)

    async def dropped(one: Captured, why: str) -> None:
        before = read_counts(folder).dropped[why]
        sink.take(one, None, None)
        await until(lambda: read_counts(folder).dropped[why] > before)
        await recording.scrape()

    sink.take(captured(), None, None)
    for _ in range(_MINUTES):
        await dropped(captured(), "twice")
    assert recording.sets_off(set(), tmp_path) == ""
    place_of(folder, "words", 1).parent.touch()
    for nonce in range(2, 2 + _MINUTES):
        await dropped(captured(nonce, model="words"), "disk")
    assert recording.sets_off({"SluicePayloadsDropped"}, tmp_path) == ""
    assert sink.finish(_LIMIT_S)


async def test_a_webhook_that_is_given_up(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A target that fails once hears it at the next attempt; one that always fails is called for within the quarter."""
    room = await fake_room()
    async with hooked(valkey) as there:
        recording = Recording(room.service, webhooks=Webhooks(there.store, StandingHooks()))
        there.server.mood = Mood.FAILING
        await there.queue()
        await there.deliver(lambda: len(there.server.calls) == 1)
        there.server.mood = Mood.WELL
        await there.drained()
        await recording.scrape(3)
        assert recording.sets_off(set(), tmp_path) == ""
        there.server.mood = Mood.FAILING
        await there.queue()
        await there.drained()
        await recording.scrape()
        assert recording.sets_off({"SluiceWebhookGivenUp"}, tmp_path) == ""
        await recording.scrape(20)
    assert recording.sets_off(set(), tmp_path) == ""


@pytest.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Installation]:
    """An installation whose version 1 has a baseline."""
    async with installed(valkey.url) as found:
        await found.bring()
        yield found


@asynccontextmanager
async def installed(url: str, kept: Baselines | None = None) -> AsyncIterator[Installation]:
    """One on that server; its baselines are in memory, unless somebody else has them."""
    found = Installation(url)
    found.kept = kept or found.kept
    try:
        yield found
    finally:
        await found.store.close()
        found.client.close()
        found.keeper.client.close()


@asynccontextmanager
async def sidecar(here: Installation) -> AsyncIterator[Callable[[], bytes]]:
    """One at work, and what it tells Prometheus; its time goes fast."""
    begun_s, stop = time.monotonic(), asyncio.Event()
    one = Sidecar(here.settings, here.store, here.kept, lambda: 2_000.0 + 20 * (time.monotonic() - begun_s))
    registry = registry_of(one.metrics)
    working = asyncio.create_task(one.run(stop))
    try:
        yield lambda: generate_latest(registry)
    finally:
        stop.set()
        await working


def counted(said: bytes, figure: str) -> float:
    """What a scrape says of a figure of one series; 0 for none yet."""
    found = re.search(rf"^{figure}(?:{{.*}})? (\S+)$", said.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_inputs_that_have_moved(here: Installation, tmp_path: Path) -> None:
    """Calm requests set off nothing; then a feature is far from what it was."""
    room = await fake_room()
    async with sidecar(here) as said:
        recording = Recording(room.service, beside=said)
        for at in range(12):
            here.keeper.write(request(at, 1_000.0 + at))
        await until(lambda: counted(said(), "sluice_drift_windows_total") > 1)
        await recording.scrape(2)
        assert recording.sets_off(set(), tmp_path) == ""
        for at in range(12, 48):
            here.keeper.write(moved(at, 1_000.0 + at))
        await until(lambda: counted(said(), "sluice_drift_drifting"))
        await recording.scrape()
    assert recording.sets_off({"SluiceDrift"}, tmp_path) == ""


async def test_samples_that_fall_off_the_stream(here: Installation, tmp_path: Path) -> None:
    """It takes one batch at a time, and now and then there are two."""
    room, stream = await fake_room(), here.keys.samples(MODEL)
    here.keeper.write(request(0, 1_000.0))
    async with sidecar(here) as said:
        recording = Recording(room.service, beside=said)
        await until(lambda: here.waiting == 0 and counted(said(), "sluice_drift_rows_total"))
        await recording.scrape(2)
        for minute in range(_MINUTES + 1):
            if minute % 3 == 0:
                before = counted(said(), "sluice_drift_samples_lost_total")
                with here.client.pipeline(transaction=True) as at_once:
                    for nth in (1, 2):
                        at_once.xadd(stream, {"b": here.keeper.batch(request(10 * minute + nth, 1_001.0 + minute))})
                    at_once.xtrim(stream, maxlen=1, approximate=False)
                    at_once.execute()
                await until(lambda: counted(said(), "sluice_drift_samples_lost_total") > before)  # noqa: B023 - at once
                await until(lambda: here.waiting == 0)
            await recording.scrape()
    assert recording.sets_off({"SluiceDriftSamplesMissing"}, tmp_path) == ""


@pytest.mark.slow
async def test_a_sidecar_whose_store_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control room's is not: it alone cannot reach it."""
    monkeypatch.setattr("drift.sidecar._AWAY_S", 0.01)
    room, server = await fake_room(), EmbeddedValkey(tmp_path / "valkey")
    server.start()
    registry = connect(server.url, "sluice")
    try:
        async with installed(server.url, Baselines(registry)) as here, sidecar(here) as said:
            recording = Recording(room.service, beside=said)
            await until(lambda: here.client.exists(here.keys.sidecars))
            await recording.scrape(2)
            assert recording.sets_off(set(), tmp_path) == ""
            server.stop()
            for minute in range(_MINUTES + 1):
                if minute % 3 == 0:
                    before = counted(said(), "sluice_drift_store_failures_total")
                    await until(lambda: counted(said(), "sluice_drift_store_failures_total") > before)  # noqa: B023 - at once
                await recording.scrape()
    finally:
        await registry.close()
        server.stop()
    assert recording.sets_off({"SluiceDriftStoreAway"}, tmp_path) == ""
