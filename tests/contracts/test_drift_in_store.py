"""What the control room relies on in any store of findings: read from either end, and each heard once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from drift.findings import Finding
from drift.keys import DriftKeys
from drift.status import Status, WindowSeen
from serving.control.drift_store import Found
from serving.control.fake_store import FakeStore
from serving.control.publication import Beside, HeardFinding, Job, LedgerEntry, Refused
from serving.control.store import Store
from tests.contracts.conftest import Bench
from tests.serving.drifting import FINDING, STATUS, WINDOW

ENTRY = LedgerEntry("drift", "drift", "because", {"model": "digits"})


async def found(store: Store | FakeStore, finding: Finding) -> str:
    """What a sidecar writes where it has found something; its id."""
    if isinstance(store, FakeStore):
        return await store.sidecar_finds(finding)
    key = DriftKeys(store.keys.namespace).findings
    said: Any = await store._redis.xadd(key, {"f": json.dumps(finding.plain())})
    return str(said.decode())


async def told(store: Store | FakeStore, status: Status, *windows: WindowSeen) -> None:
    """What a sidecar writes of a version."""
    if isinstance(store, FakeStore):
        await store.sidecar_tells(status)
        for window in windows:
            await store.sidecar_sees(status.model, status.version, window)
        return
    keys = DriftKeys(store.keys.namespace)
    await store._redis.hset(keys.status, f"{status.model}/{status.version}", json.dumps(status.plain()))
    for window in windows:
        await store._redis.rpush(keys.history(status.model, status.version), json.dumps(window.plain()))


async def test_an_empty_store_has_nothing(bench: Bench) -> None:
    """Where no sidecar ever ran, nothing fails."""
    store = bench.store
    assert list(await store.drift_statuses()) == []
    assert list(await store.drift_windows("digits", 1)) == []
    assert list(await store.drift_findings(10)) == []
    assert list(await store.drift_findings_after("", 10)) == []
    assert await store.heard_finding() == ""


async def test_what_a_sidecar_writes_is_read_back(bench: Bench) -> None:
    """Statuses by model and version, windows oldest first."""
    later = replace(WINDOW, first_s=WINDOW.last_s, last_s=WINDOW.last_s + 60)
    await told(bench.store, STATUS, WINDOW, later)
    await told(bench.store, replace(STATUS, version=1))
    assert [one.version for one in await bench.store.drift_statuses()] == [1, STATUS.version]
    assert list(await bench.store.drift_windows(STATUS.model, STATUS.version)) == [WINDOW, later]


async def test_findings_are_read_from_either_end(bench: Bench) -> None:
    """Newest first in pages, or oldest first after one that was seen."""
    store = bench.store
    ids = [await found(store, replace(FINDING, version=nth)) for nth in range(1, 6)]
    assert [one.id for one in await store.drift_findings(2)] == ids[:2:-1]
    assert [one.id for one in await store.drift_findings(10, ids[2])] == ids[1::-1]
    assert [one.id for one in await store.drift_findings_after(ids[2], 10)] == ids[3:]
    assert [one.id for one in await store.drift_findings_after("", 2)] == ids[:2]
    (one,) = await store.drift_findings_after(ids[3], 1)
    assert one == Found(ids[4], replace(FINDING, version=5))


async def test_a_finding_is_heard_once(bench: Bench) -> None:
    """Its entry and its deliveries are written with it; whoever comes second writes nothing."""
    store = bench.store
    ids = [await found(store, FINDING) for _ in range(2)]
    heard = Beside(entries=(ENTRY,), jobs=(Job(0, "drift", 3),), heard=HeardFinding("", ids[0]))
    assert (await store.note(heard)).done
    again = await store.note(replace(heard, nonce="another"))
    assert (again.done, again.refused, again.by) == (False, Refused.HEARD, ids[0])
    assert await store.heard_finding() == ids[0]
    assert len(await store.ledger(10)) == 1
    (job,) = await store.due_jobs()
    assert job.endswith("/drift/3")
    assert (await store.note(replace(heard, heard=HeardFinding(ids[0], ids[1]), nonce="next"))).done
    assert await store.heard_finding() == ids[1]


async def test_who_no_longer_leads_hears_nothing(bench: Bench) -> None:
    """A deposed conductor's finding stays for the one that leads now."""
    store = bench.store
    first = await found(store, FINDING)
    fence = await store.lead("one", 60)
    assert fence is not None
    refused = await store.note(Beside(entries=(ENTRY,), fence=fence - 1, heard=HeardFinding("", first)))
    assert (refused.done, refused.refused) == (False, Refused.DEPOSED)
    assert await store.heard_finding() == ""


NO_NUMBER = json.dumps({**FINDING.plain(), "changes": [{**FINDING.plain()["changes"][0], "share": None}]}).encode()


@pytest.mark.parametrize(
    "said", [b"", b"no JSON", b"[1]", b'{"model": "digits"}', pytest.param(NO_NUMBER, id="no number")]
)
async def test_what_nobody_can_read_hides_nothing_else(bench: Bench, said: bytes) -> None:
    """A finding, a status and a window of another release: the others are there, and the status says so."""
    store = bench.store
    if isinstance(store, FakeStore):
        store._findings.append(Found("1-0", None))
    else:
        keys = DriftKeys(store.keys.namespace)
        await store._redis.xadd(keys.findings, {"f": said})
        await store._redis.hset(keys.status, "digits/7", said)
        await store._redis.rpush(keys.history(STATUS.model, STATUS.version), said)
    await told(store, STATUS, WINDOW)
    last = await found(store, FINDING)
    first, second = await store.drift_findings_after("", 10)
    assert (first.finding, second) == (None, Found(last, FINDING))
    assert list(await store.drift_windows(STATUS.model, STATUS.version)) == [WINDOW]
    statuses = {one.version: one.sentence for one in await store.drift_statuses()}
    assert statuses[STATUS.version] == STATUS.sentence
    if not isinstance(store, FakeStore):
        assert "cannot be read" in statuses[7]
