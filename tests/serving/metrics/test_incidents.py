"""Small incidents of a real worker and a real store: the figures that come of them set off the alerts that are theirs.

Each scrape is recorded as if a minute lay between it and the next; what Prometheus would make of that is promtool's to
say. Nothing is waited for but the requests themselves.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from router.commands import Pause
from router.policy import OverCapacity, Policy, Shadow
from serving.control.service import ControlService
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.control.views import Wanted
from serving.endpoint import Endpoint, Load
from serving.gateway.policies import Follower
from serving.metrics.listener import CountedLog
from serving.store_keys import Keys
from tests.serving.control.rolling.rooms import MODEL, fake_room
from tests.serving.gateway.failures import CANARY, TWO, WRONG
from tests.serving.gateway.rig import HEAD as OF_RIG
from tests.serving.gateway.rig import Rig, running
from tests.serving.gateway.speakers import HEAD, chunk, listen, stream, token
from tests.serving.gateway.upstream import Then, answers
from tests.serving.gateway.wire import post
from tests.serving.metrics.promtool import promtool
from tests.serving.metrics.scrapes import Recording

_MINUTES = 13
_REQUESTS = 6
_MANY = 560


@asynccontextmanager
async def watched(rig: Rig, valkey: EmbeddedValkey) -> AsyncIterator[tuple[Recording, Follower, ControlService]]:
    """The worker's lease in a store of its own, and a control room that reads it."""
    config = rig.worker.config
    store = connect(valkey.url, config.namespace)
    follower, service = Follower(rig.worker, "127.0.0.1", rig.port), ControlService(store, {"m": {1: "static"}})
    try:
        yield Recording(service), follower, service
    finally:
        await follower.stop()
        await store.close()


async def minutes(
    rig: Rig, recording: Recording, follower: Follower, many: int = _MINUTES, requests: int = _REQUESTS
) -> None:
    """So many, with some requests in each."""
    for _ in range(many):
        for _ in range(requests):
            await rig.ask(post())
        await rig.rests()
        await follower._renew_lease()
        await recording.scrape()


def of_store(valkey: EmbeddedValkey) -> dict[str, Any]:
    """A worker's settings for a room of its own in it; nothing lapses and nothing is tried again meanwhile."""
    patient = {"lease_s": 600.0, "ejection_s": 600.0, "brake_s": 600.0}
    return {"redis_url": valkey.url, "namespace": f"test-{secrets.token_hex(6)}", **patient}


async def test_calm(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Requests that are answered set off nothing, and the scrape is as promtool wants it."""
    async with running(replicas=TWO, **of_store(valkey)) as rig, watched(rig, valkey) as (recording, follower, _):
        await minutes(rig, recording, follower)
        assert recording.sets_off(set(), tmp_path) == ""
    assert b'outcome="ok"' in recording.newest
    assert promtool("check", "metrics", given=recording.newest) == ""


@pytest.mark.parametrize(
    ("every", "replicas", "alerts"),
    [
        pytest.param(6, 1, {"SluiceAttemptsFail"}, id="now and then"),
        pytest.param(1, 1, {"SluiceReplicaEjected"}, id="always: its server is left alone"),
        pytest.param(1, 2, {"SluiceReplicaEjected", "SluiceVersionBraked"}, id="always, on both servers: it is braked"),
    ],
)
async def test_a_candidate_that_fails(
    valkey: EmbeddedValkey, tmp_path: Path, every: int, replicas: int, alerts: set[str]
) -> None:
    """Clients get stable's answers; what the gateway does about it depends on how often it is."""
    async with (
        running(policy=CANARY, replicas={1: 1, 2: replicas}, **of_store(valkey)) as rig,
        watched(rig, valkey) as (recording, follower, _),
    ):
        good = rig.upstreams[2][0].usual
        await minutes(rig, recording, follower, 2)
        for number in range(_MINUTES * _REQUESTS):
            for upstream in rig.upstreams[2]:
                upstream.usual = WRONG if number % every == 0 else good
            assert (await rig.ask(post())).code == 200
            if number % _REQUESTS == 0:
                await minutes(rig, recording, follower, 1, requests=0)
        assert recording.sets_off(alerts, tmp_path) == ""


async def test_streams_that_break_off(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Every second one, after its first event: its client sees that, though whoever asks for no stream sees nothing."""
    whole, cut = stream(token(1)), answers(HEAD, chunk(token(1)), then=Then.RESET)
    async with running(**of_store(valkey)) as rig, watched(rig, valkey) as (recording, follower, _):
        good = rig.upstream.usual
        await minutes(rig, recording, follower, 2)
        for _ in range(_MINUTES):
            for rig.upstream.usual in (whole, cut):
                client = await listen(rig, headers=["Connection: close"])
                assert token(1) in await client.rest()
            rig.upstream.usual = good
            await minutes(rig, recording, follower, 1, requests=5 * _REQUESTS)
        assert recording.sets_off({"SluiceStreamsFail"}, tmp_path) == ""


@pytest.mark.slow
async def test_more_versions_than_a_figure_takes(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A histogram counts as what it costs: of so many versions that were asked some are missing, and are counted."""
    async with running(**of_store(valkey)) as rig, watched(rig, valkey) as (recording, follower, _):
        versions = range(1, _MANY + 1)
        endpoints = [Endpoint("127.0.0.1", rig.upstream.port, 0, "m", version) for version in versions]
        rig.worker.swap(rig.worker.table.build(OF_RIG, {"m": Policy(1)}, endpoints))
        for version in versions:
            assert (await rig.ask(post(f"/v2/models/m/versions/{version}/infer"))).code == 200
        await minutes(rig, recording, follower, 12, requests=0)
        assert b'sluice_series_left_out{figure="sluice_attempt_duration_seconds"} ' in recording.newest
        assert recording.sets_off({"SluiceSeriesLeftOut"}, tmp_path) == ""


async def test_a_server_that_is_gone(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """The other one answers; the first is left alone."""
    async with running(replicas=TWO, **of_store(valkey)) as rig, watched(rig, valkey) as (recording, follower, _):
        await minutes(rig, recording, follower, 2)
        await rig.kill(rig.upstreams[1][0])
        await minutes(rig, recording, follower)
        assert recording.sets_off({"SluiceReplicaEjected"}, tmp_path) == ""


async def test_a_gateway_that_leaves(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """The store answers, and nobody holds a lease in it."""
    async with running(**of_store(valkey)) as rig, watched(rig, valkey) as (recording, follower, _):
        await minutes(rig, recording, follower, 3)
        await follower._store.leave()
        for _ in range(4):
            await recording.scrape()
        assert recording.sets_off({"SluiceNoGateway"}, tmp_path) == ""


async def test_a_share_without_a_server(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A policy was forced through for a version that nobody serves."""
    async with running(**of_store(valkey)) as rig, watched(rig, valkey) as (recording, follower, service):
        await service.set_policy("m", Wanted(1), 0, who="somebody", wait_s=0, force=True)
        await minutes(rig, recording, follower, 4)
        assert recording.sets_off({"SluiceVersionWithoutServers"}, tmp_path) == ""


async def test_gateways_and_the_store_disagree(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """A gateway that does not look is behind; one that looks into a store which forgot holds back."""
    settings = of_store(valkey)
    async with running(**settings) as rig, watched(rig, valkey) as (recording, follower, service):
        store = connect(valkey.url, settings["namespace"])
        await store.hold(Endpoint("127.0.0.1", rig.upstream.port, 0, "m", 1), 600)
        await service.set_policy("m", Wanted(1), 0, who="somebody", wait_s=0)
        await follower._look()
        await service.set_policy("m", Wanted(1, allow_override=True), 1, who="somebody", wait_s=0)
        await minutes(rig, recording, follower, 4)
        assert recording.sets_off({"SluiceGatewayBehind"}, tmp_path) == ""
        await follower._look()
        await minutes(rig, recording, follower, 4)
        assert recording.sets_off(set(), tmp_path) == ""
        await store.close()
        with redis.Redis.from_url(valkey.url) as direct:
            direct.delete(Keys(settings["namespace"]).head)
        for _ in range(4):
            await follower._look()
            await recording.scrape()
        assert recording.sets_off({"SluiceGatewayHeld"}, tmp_path) == ""


async def test_copies_that_nobody_makes_and_nobody_keeps(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """The shadow's budget is a copy in a second, and the keeper is away."""
    shadowed = Policy(1, shadows=(Shadow(2, max_per_s=1),))
    replicas, keeper = {1: 1, 2: 1}, str(tmp_path / "nobody")
    async with (
        running(policy=shadowed, replicas=replicas, keeper_socket=keeper, **of_store(valkey)) as rig,
        watched(rig, valkey) as (recording, follower, _),
    ):
        rig.worker.table.states["m", 2].ration._tokens = 1.0
        for _ in range(14):
            await minutes(rig, recording, follower, 1)
            rig.worker.table.states["m", 2].ration._at -= 1.0
        assert recording.sets_off({"SluiceCopiesShed", "SluiceNotCaptured"}, tmp_path) == ""


async def test_a_rollout_that_goes_back_by_itself(tmp_path: Path) -> None:
    """Within a quarter of an hour after that, and no longer."""
    room = await fake_room()
    recording = Recording(room.service, room.rollouts)
    await room.start({"candidate": 2, "canary": {"steps": ["50%"], "hold": "500s", "needs": "minima"}})
    for second in range(60):
        room.serves(1, 50)
        room.serves(2, 25, failed=25)
        await room.tick(1)
        if second % 20 == 0:
            await recording.scrape()
    await recording.scrape()
    assert recording.sets_off({"SluiceRolledBack"}, tmp_path) == ""
    for _ in range(20):
        await recording.scrape()
    assert recording.sets_off(set(), tmp_path) == ""


async def test_a_rollout_that_nobody_looks_after(tmp_path: Path) -> None:
    """It is paused, and stays so."""
    room = await fake_room()
    recording = Recording(room.service, room.rollouts)
    record = await room.start({"candidate": 2, "canary": {"steps": ["50%"], "hold": "500s", "needs": "minima"}})
    await room.tick(1)
    await recording.scrape()
    await room.ask(record, Pause(who="ada"))
    await room.tick(1)
    for _ in range(32):
        await recording.scrape()
    assert recording.sets_off({"SluiceRolloutWaits"}, tmp_path) == ""


async def test_a_version_that_carries_less_than_its_share(tmp_path: Path) -> None:
    """The policy clamps: of a thousand requests in a second it carries a hundred."""
    room = await fake_room()
    clamps = Wanted(1, over_capacity=OverCapacity.CLAMP)
    await room.service.set_policy(MODEL, clamps, None, who="ada", wait_s=0)
    await room.store.hold(Endpoint("127.0.0.1", 9_002, 0, MODEL, 2), 1e6, Load(0, 100))
    for total in (0, 5_000):
        room.requests[f"{MODEL}/1"] = total
        await room.follow()
        room.service.rates = room.service.rates.with_totals(await room.store.gateways(), room.clock())
        room.clock.now_s += 5
    recording = Recording(room.service, room.rollouts)
    await room.start({"candidate": 2, "canary": {"steps": ["1%", "50%"], "needs": "minima", "hold": "10s"}})
    for _ in range(30):
        await room.tick(1)
    for _ in range(12):
        await recording.scrape()
    assert recording.sets_off({"SluiceShareCut"}, tmp_path) == ""


async def test_somebody_who_is_refused_again_and_again(tmp_path: Path) -> None:
    """Two attempts in a second; what is refused now and then sets off nothing."""
    room = await fake_room()
    log = CountedLog(str(tmp_path / "security.log"))
    recording = Recording(room.service, logs=[log])
    for often, alerts in ((2, set[str]()), (120, {"SluiceAttemptsRefused"})):
        for _ in range(12):
            for _ in range(often):
                log.refused("control", "192.0.2.7", "wrong", "GET /api/v1/status")
            await recording.scrape()
        assert recording.sets_off(alerts, tmp_path) == ""


async def test_a_control_room_that_is_gone(tmp_path: Path) -> None:
    """Prometheus has nothing, for longer than it looks back."""
    room = await fake_room()
    recording = Recording(room.service)
    for _ in range(3):
        await recording.scrape()
    for _ in range(4):
        recording.nobody_answers()
    assert recording.sets_off({"SluiceAbsent"}, tmp_path) == ""


async def test_a_store_that_is_away(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Nothing else is known then, and nothing else is said."""
    store = connect(valkey.url.replace(f":{valkey.port}/", ":1/"), "test")
    recording = Recording(ControlService(store))
    for _ in range(3):
        await recording.scrape()
    await store.close()
    assert recording.sets_off({"SluiceStoreUnreachable"}, tmp_path) == ""
