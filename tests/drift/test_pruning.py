"""What is known of a version goes when the version is deleted, and all of a model with its last version."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import pytest

from drift.model_watch import Deleted
from drift.sidecar import Sidecar
from registry.changes import AuditEntry, Change
from registry.lifecycle import State
from registry.models import Version, VersionNumber
from tests.drift import samples
from tests.drift.live import MODEL, Installation, arm, calm, drained, held, records, request
from tests.registry.made import contents, number

ENTRY = AuditEntry("ada", "test", MODEL, "version", None, None, "because")


async def registered(here: Installation, value: int) -> None:
    """A version in the registry."""
    revision = (await here.registry.facts(samples.MODEL)).revision
    version = Version(samples.MODEL, VersionNumber(value), contents(value), "ada", 1_700_000_000_000)
    states = {number(value): State.REGISTERED}
    await here.registry.commit(Change(samples.MODEL, revision, ENTRY, created=version, states=states))


async def deleted(here: Installation, value: int) -> None:
    """No longer."""
    revision = (await here.registry.facts(samples.MODEL)).revision
    await here.registry.commit(Change(samples.MODEL, revision, ENTRY, states={number(value): State.GONE}))


def keys_of(here: Installation) -> set[str]:
    """Everything in Redis that names the model or one of its versions."""
    found = cast("list[bytes]", here.client.keys(f"*{here.keys.namespace}*"))
    return {one.decode().rpartition(":drift:")[2] for one in found if one.decode().endswith(f":{MODEL}")}


async def test_what_is_known_of_a_deleted_version_goes(here: Installation) -> None:
    """State, history, status, and what stands beside stable; the other version is watched as before."""
    for value in (1, 2):
        await registered(here, value)
    calm(here, 10)
    for at in range(10, 20):
        here.keeper.write(request(at, 1_000.0 + at), arm(at, 1_000.0 + at))
    watch = await drained(here, await held(here))
    await deleted(here, 2)
    before = here.state()
    assert {one for one in keys_of(here) if ":2:" in one}
    await watch.tick(await records(here), 1_100.0)
    assert not {one for one in keys_of(here) if ":2:" in one}
    assert not here.client.hexists(here.keys.status, here.keys.status_field(MODEL, 2))
    assert here.state() == before
    assert here.status(1).rows > 0


async def test_a_late_sample_of_a_deleted_version_leaves_nothing_for_good(here: Installation) -> None:
    """It may be on its way still: what it leads to goes at the next look."""
    for value in (1, 2):
        await registered(here, value)
    calm(here, 2)
    watch = await drained(here, await held(here))
    await deleted(here, 2)
    here.keeper.write(request(9, 1_009.0, version=2))
    await drained(here, watch, 1_070.0)
    await watch.store(1_070.0)
    assert here.client.hexists(here.keys.status, here.keys.status_field(MODEL, 2))
    await watch.tick(await records(here), 1_140.0)
    assert not here.client.hexists(here.keys.status, here.keys.status_field(MODEL, 2))


async def test_a_model_whose_last_version_was_deleted_is_forgotten(here: Installation) -> None:
    """Its stream, its keepers, its place among the sampled; the sidecar holds it no more, and nothing ends."""
    await registered(here, 1)
    calm(here, 4)
    await drained(here, watch := await held(here))
    await deleted(here, 1)
    with pytest.raises(Deleted):
        await watch.tick(await records(here), 1_100.0)
    assert keys_of(here) == set()
    assert not here.client.sismember(here.keys.sampled, MODEL)
    assert here.client.hlen(here.keys.status) == 0


async def test_samples_that_wait_are_read_before_a_model_is_forgotten(here: Installation) -> None:
    """And a model that has a version which no registry knows is not forgotten at all."""
    await registered(here, 1)
    calm(here, 2)
    watch = await drained(here, await held(here))
    await deleted(here, 1)
    here.keeper.write(request(9, 1_009.0, version=7))
    await watch.tick(await records(here), 1_100.0)
    assert here.client.sismember(here.keys.sampled, MODEL)
    await drained(here, watch, 1_200.0)
    await watch.tick(await records(here), 1_300.0)
    assert here.status(7).sentence.startswith("Not watched: it has no baseline")


async def test_a_model_of_which_nothing_was_deleted_stays(here: Installation) -> None:
    """Though none of its versions is registered, and nothing was ever told of it."""
    here.client.sadd(here.keys.sampled, MODEL)
    watch = await held(here)
    await watch.tick(await records(here), 1_100.0)
    assert here.client.sismember(here.keys.sampled, MODEL)


async def test_whoever_does_not_hold_the_model_forgets_nothing(here: Installation) -> None:
    """Nor one whose stream is not empty."""
    calm(here, 1)
    assert await here.store.hold(MODEL, "mine", 60_000)
    assert not await here.store.forget(MODEL, "another")
    assert not await here.store.forget(MODEL, "mine")
    here.client.delete(here.keys.samples(MODEL))
    here.client.hset(here.keys.status, f"{MODEL}/x/7", "another model's")
    assert await here.store.forget(MODEL, "mine")


async def test_the_process_goes_on_when_a_model_is_deleted(here: Installation) -> None:
    """It looks after what is left, and takes the model up anew where that comes back."""
    await registered(here, 1)
    calm(here, 2)
    begin_s = time.monotonic()
    sidecar = Sidecar(here.settings, here.store, here.kept, lambda: 10_000.0 + 100 * (time.monotonic() - begin_s))
    stop = asyncio.Event()
    running = asyncio.create_task(sidecar.run(stop))
    await _until(lambda: not here.waiting and here.client.hlen(here.keys.status))
    await deleted(here, 1)
    await _until(lambda: not here.client.sismember(here.keys.sampled, MODEL))
    here.keeper.write(request(9, 1_009.0, version=2))
    await _until(lambda: not here.waiting)
    stop.set()
    await running
    assert here.status(2).version == 2


async def _until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - what is waited for is on a server
            await asyncio.sleep(0.01)
