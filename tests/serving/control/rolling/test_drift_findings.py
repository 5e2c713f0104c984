"""What follows from findings of drift: each is heard once, webhooks are told, and a broken schema pauses a rollout."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from standardwebhooks import Webhook

from drift.settings import DriftSettings
from router.commands import Resume
from router.phases import Phase
from serving.control.drift_store import Found
from serving.control.errors import Deposed, StoreUnavailable
from serving.control.rolling.drift_findings import WHO, FindingsHeard, number_of
from serving.control.rolling.drift_incidents import Incidents
from serving.control.rolling.hooks import FOUND, PAUSES_S, Courier
from serving.control.rolling.standing import StandingHook
from tests.serving.control.rolling.rooms import STEPS, Room, delivered, fake_room
from tests.serving.drifting import BROKEN, FINDING

SECRET = "whsec_" + "c2VjcmV0IHNlY3JldCBzZWNyZXQ="
URL = "https://hooks.example.com/drift"
HOOKS = {number_of(URL): StandingHook(number_of(URL), "ops", URL, (FOUND,), (SECRET,))}


@pytest.fixture
async def room() -> Room:
    """A room in memory."""
    return await fake_room()


def hearing(room: Room) -> FindingsHeard:
    """Whoever hears there."""
    return FindingsHeard(
        room.store, room.rollouts, HOOKS, Incidents(room.store, HOOKS, DriftSettings(), room.walker)
    )  # fmt: skip


async def drift_entries(room: Room) -> list[Any]:
    """What the ledger says of findings."""
    return [one.entry for one in await room.entries() if one.entry.facts.get("what") == "finding"]


async def test_a_finding_is_in_the_ledger_and_told_once(room: Room) -> None:
    """Signed, with what moved; whoever hears again after a restart tells nothing again."""
    finding_id = await room.store.sidecar_finds(FINDING)
    assert await hearing(room).hear(room.fence) == 1
    assert await hearing(room).hear(room.fence) == 0
    courier = Courier(room.store, room.post, standing=HOOKS)
    assert [await delivered(courier, room) for _ in range(2)] == [1, 0]
    ((url, body, headers),) = room.post.sent
    assert url == URL
    said = Webhook(SECRET).verify(body, dict(headers))
    assert said["type"] == "drift.finding"
    data = said["data"]
    assert (data["model"], data["version"], data["layer"], data["finding"]) == ("digits", 2, "univariate", finding_id)
    assert (data["features"][0]["feature"], data["features"][0]["variation"]) == ("price", 0.31)
    assert (data["segment"]["name"], data["words"], data["episode"]) == ("nl", str(FINDING), "ep-1")
    assert "bars" not in json.dumps(data), "histograms stay where the finding is"
    (entry,) = await drift_entries(room)
    assert (entry.who, entry.why, entry.facts["paused"]) == (WHO, str(FINDING), "")


async def test_a_broken_schema_pauses_the_models_rollout(room: Room) -> None:
    """The ledger says why; other models' rollouts, and rollouts that are paused already, are left alone."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.store.sidecar_finds(replace(BROKEN, model="other"))
    await room.store.sidecar_finds(FINDING)
    await hearing(room).hear(room.fence)
    assert (await room.now(record)).rollout.phase is Phase.RUNNING
    await room.store.sidecar_finds(BROKEN)
    await room.store.sidecar_finds(BROKEN)
    await hearing(room).hear(room.fence)
    assert (await room.now(record)).rollout.phase is Phase.PAUSED
    pauses = [one.entry for one in await room.entries() if one.entry.facts.get("what") == "pause"]
    assert [one.who for one in pauses] == [WHO]
    assert "'colour' is in no row" in pauses[0].why
    assert sorted(one.facts["paused"] for one in await drift_entries(room)) == ["", "", "", record.id]
    await room.ask(record, Resume(who="ada"))
    assert (await room.now(record)).rollout.phase is Phase.RUNNING, "whoever looked at it may go on"


async def test_what_was_paused_and_not_noted_is_noted_later(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conductor that is killed between the two leaves the finding to the next, who pauses nothing twice."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.store.sidecar_finds(BROKEN)

    async def gone(_: object) -> None:
        raise StoreUnavailable("The store is away.")

    before = await room.store.heard_finding()
    with monkeypatch.context() as away:
        real, calls = room.store.note, 0

        async def once(beside: Any) -> Any:  # noqa: ANN401
            nonlocal calls
            calls += 1
            return await (real if beside.heard is None else gone)(beside)

        away.setattr(room.store, "note", once)
        with pytest.raises(StoreUnavailable):
            await hearing(room).hear(room.fence)
    assert await room.store.heard_finding() == before
    assert await hearing(room).hear(room.fence) == 1
    assert (await room.now(record)).rollout.phase is Phase.PAUSED
    assert len(await drift_entries(room)) == 1


async def test_whoever_no_longer_leads_hears_nothing(room: Room) -> None:
    """The finding stays for the one that does."""
    await room.store.sidecar_finds(FINDING)
    with pytest.raises(Deposed):
        await hearing(room).hear(room.fence - 1)
    assert await drift_entries(room) == []
    assert await hearing(room).hear(room.fence) == 1


async def test_a_finding_that_nobody_can_read_hides_no_other(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """It is passed over, and said so."""
    room.store._findings.append(Found("1-0", None))
    await room.store.sidecar_finds(FINDING)
    await hearing(room).hear(room.fence)
    assert len(await drift_entries(room)) == 1
    assert "the finding 1-0 is passed over" in caplog.text


async def test_a_webhook_that_fails_is_told_again_and_one_that_is_gone_from_the_settings_is_not(room: Room) -> None:
    """The queue is the rollouts' own: the same pauses, the same end."""
    await room.store.sidecar_finds(FINDING)
    await hearing(room).hear(room.fence)
    courier = Courier(room.store, room.post, room.clock, standing=HOOKS)
    room.post.status = 503
    assert await delivered(courier, room) == 1
    room.clock.now_s += PAUSES_S[0] + 1
    later = Courier(room.store, room.post, room.clock)
    assert await delivered(later, room) == 1
    assert len(room.post.sent) == 1
    assert list(await room.store.due_jobs()) == []
