"""Deliveries over HTTP and from the command line's side: shown without secrets, replayed and tested with a word."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.control.api.app import ControlApi
from serving.control.publication import Beside, Job, LedgerEntry
from serving.control.rolling.hooks import DRIFT, PAUSES_S, Courier, message_id
from serving.control.rolling.standing import SecretFile, Standing, StandingHooks
from serving.control.webhooks import Webhooks
from tests.serving.control.fronts import asking, front
from tests.serving.control.rolling.rooms import STEPS, Room, delivered, fake_room
from tests.serving.control.workshops import problem

SECRET = f"whsec_{base64.b64encode(b's' * 32).decode()}"
URL = "https://hooks.example.com/T0/hush?token=hush"
PATH = "/api/v1/drift/webhooks"


@dataclass
class Here:
    """A room, its courier, and the API in front of it."""

    room: Room
    http: httpx.AsyncClient
    courier: Courier

    async def got(self, path: str = "") -> Any:  # noqa: ANN401
        """The answer, in which nothing is that is nobody's business."""
        answer = await self.http.get(f"{PATH}{path}")
        assert answer.status_code == 200, answer.text
        assert "hush" not in answer.text
        assert SECRET not in answer.text
        return answer.json()

    async def asked(self, path: str, **body: Any) -> Any:  # noqa: ANN401
        """The answer to a POST."""
        answer = await self.http.post(f"{PATH}{path}", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    async def given_up(self, count: int = 1) -> None:
        """So many dead letters."""
        for _ in range(count):
            facts = {"event": "alert", "words": "w"}
            await self.room.store.note(Beside(entries=(LedgerEntry(DRIFT, "a", "b", facts),), jobs=(Job(0, DRIFT, 1),)))
        self.room.post.status = 410
        for _ in range(count):
            await delivered(self.courier, self.room)
        self.room.post.status = 200


@pytest.fixture(scope="module")
def app() -> ControlApi:
    """The application, behind which each test has a room of its own."""
    return front()


@pytest.fixture
async def here(app: ControlApi, tmp_path: Path) -> AsyncIterator[Here]:
    """One whose settings name two webhooks."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    every = (
        Standing(1, "ops", URL, ("drift.alert", "drift.finding"), SecretFile(file)),
        Standing(2, "", "http://127.0.0.1:9000/hush", ("drift.retrain",), SecretFile(file), ours=True),
    )
    hooks = StandingHooks(every)
    room = await fake_room()
    async with asking(app, room, webhooks=Webhooks(room.store, hooks)) as http:
        yield Here(room, http, Courier(room.store, room.post, room.clock, standing=hooks))


async def test_what_there_is_is_shown_without_what_is_secret(here: Here) -> None:
    """Webhooks as far as the host; deliveries that wait, were given up, and their attempts."""
    seen = await here.got()
    assert seen["webhooks"] == [
        {
            "name": "ops", "url": "https://hooks.example.com/…", "events": ["drift.alert", "drift.finding"],
            "ours": False, "secrets": 1,
        },
        {
            "name": "", "url": "http://127.0.0.1:9000/…", "events": ["drift.retrain"], "ours": True, "secrets": 1,
        },
    ]  # fmt: skip
    assert (seen["waiting"], seen["dead"], seen["tried"], seen["dropped"]) == ([], [], [], 0)
    await here.given_up()
    (message,) = [one["id"] for one in (await here.got())["dead"]]
    seen = await here.got()
    assert (seen["dead"][0]["failed"], seen["dead"][0]["tries"], seen["dead"][0]["type"]) == ("410", 1, "drift.alert")
    assert [(one["id"], one["became"], one["hook"]) for one in seen["tried"]] == [
        (message, "dead", "https://hooks.example.com/…")
    ]
    one = await here.got(f"/{message}")
    assert (one["message"]["type"], one["message"]["data"]["words"]) == ("drift.alert", "w")
    assert (one["waiting"], one["dead"]["id"], len(one["attempts"])) == (None, message, 1)


async def test_deliveries_of_rollouts_are_shown_as_well(here: Here) -> None:
    """It is one queue."""
    hooks = [{"url": "https://hooks.example.com/hush", "secret": SECRET}]
    record = await here.room.start({**STEPS, "webhooks": hooks})
    (one,) = (await here.got())["waiting"]
    assert (one["type"], one["id"].endswith(f"_{record.id}_0")) == ("rollout.started", True)
    assert (await here.got(f"/{one['id']}"))["message"]["data"]["rollout"]["id"] == record.id


@pytest.mark.parametrize("entry", ["{", "[]", "{}", '{"kind": "drift", "who": "a", "why": "b", "facts": 5}'])
async def test_an_entry_that_nobody_can_read_hides_no_other(here: Here, entry: str) -> None:
    """The list has it without its type; it alone is refused, in a sentence, and is put off when it is told."""
    ids = (await here.asked("/test", to=""))["ids"]
    jobs = here.room.store._jobs
    job = next(iter(jobs))
    jobs[job] = (entry, *jobs[job][1:])
    waiting = {one["id"]: one["type"] for one in (await here.got())["waiting"]}
    assert waiting == {message_id(job): "", **{one: "drift.test" for one in ids if one != message_id(job)}}
    said = problem(await here.http.get(f"{PATH}/{message_id(job)}"), 503)
    assert "cannot be read" in said["detail"]
    await delivered(here.courier, here.room)
    failed = [one["failed"] for one in (await here.got())["tried"] if one["id"] == message_id(job)]
    assert failed == ["its entry cannot be read"]


async def test_a_dead_letter_is_replayed_by_its_id(here: Here) -> None:
    """It is told under the same id, and the ledger says who asked and why."""
    await here.given_up()
    (message,) = [one["id"] for one in (await here.got())["dead"]]
    assert await here.asked(f"/{message}/replay", why="mended") == {"became": {message: "replayed"}}
    assert (await here.got())["dead"] == []
    assert await here.asked(f"/{message}/replay") == {"became": {message: "hurried"}}
    assert await delivered(here.courier, here.room) == 1
    assert {headers["webhook-id"] for _, _, headers in here.room.post.sent} == {message}
    assert (await here.got(f"/{message}"))["attempts"][0]["became"] == "delivered"
    said = [one.entry for one in await here.room.entries() if one.entry.facts.get("event") == "replay"]
    assert [one.why for one in said] == ["mended", "1 deliveries are told once more"]
    assert said[0].who.startswith("anonymous")


async def test_every_dead_letter_is_replayed(here: Here) -> None:
    """At once; a second time there is none."""
    await here.given_up(3)
    ids = {one["id"] for one in (await here.got())["dead"]}
    assert await here.asked("/replay") == {"became": dict.fromkeys(ids, "replayed")} != {"became": {}}
    assert await here.asked("/replay") == {"became": {}}


async def test_what_waits_for_hours_is_tried_at_once(here: Here) -> None:
    """An operator who has mended the target need not wait."""
    await here.asked("/test", to="ops")
    here.room.post.status = 503
    for pause_s in (0.0, *PAUSES_S[:4]):
        here.room.clock.now_s += pause_s + 1
        await delivered(here.courier, here.room)
    here.room.post.status = 200
    assert await delivered(here.courier, here.room) == 0
    (one,) = (await here.got())["waiting"]
    assert one["tries"] == 5
    assert (await here.asked(f"/{one['id']}/replay"))["became"] == {one["id"]: "hurried"}
    here.room.clock.now_s += 1.5
    assert await delivered(here.courier, here.room) == 1


@pytest.mark.parametrize(
    ("to", "urls"),
    [
        ("", [URL, "http://127.0.0.1:9000/hush"]), ("ops", [URL]), (URL, [URL]), ("https://hooks.example.com/…", [URL]),
        ("self", ["http://127.0.0.1:9000/hush"]),
    ],
)  # fmt: skip
async def test_a_test_is_told_to_whom_it_names(here: Here, to: str, urls: list[str]) -> None:
    """By name, address, or what is shown of it; whatever events the webhook hears."""
    ids = (await here.asked("/test", to=to))["ids"]
    while await delivered(here.courier, here.room):
        pass
    assert sorted(url for url, _, _ in here.room.post.sent) == sorted(urls)
    assert {headers["webhook-id"] for _, _, headers in here.room.post.sent} == set(ids)
    assert {json.loads(body)["type"] for _, body, _ in here.room.post.sent} == {"drift.test"}


async def test_who_is_not_there_is_told_nothing(here: Here) -> None:
    """The sentence names those that are, and repeats no address."""
    said = problem(await here.http.post(f"{PATH}/test", json={"to": "https://other.example.com/hush"}), 404)
    assert "There are: ops, http://127.0.0.1:9000/…." in said["hint"]
    assert "hush" not in json.dumps(said)


@pytest.mark.parametrize("message", ["x", "msg_", "msg_1-0_drift_", "msg_1-0_ro_1_0", "msg_1-0_drift_1_2"])
async def test_what_is_no_id_is_said_to_be_none(here: Here, message: str) -> None:
    """422, for reading as for replaying."""
    for answer in (await here.http.get(f"{PATH}/{message}"), await here.http.post(f"{PATH}/{message}/replay", json={})):
        assert "no id of a delivery" in problem(answer, 422)["detail"]


async def test_an_entry_that_was_never_a_delivery_is_none_to_replay(here: Here) -> None:
    """Whatever the ledger has under that id: nothing is sent that nobody queued."""
    await here.room.store.note(Beside(entries=(LedgerEntry("key", "ada", "made a key", {}),)))
    (newest,) = await here.room.store.ledger(1)
    message = f"msg_{newest.id}_drift_1"
    problem(await here.http.post(f"{PATH}/{message}/replay", json={}), 404)
    problem(await here.http.get(f"{PATH}/{message}"), 404)
    assert (await here.got())["waiting"] == []


async def test_a_request_with_a_key_of_its_own_takes_place_once(here: Here) -> None:
    """As everywhere."""
    headers = {"idempotency-key": "k1"}
    first, second = [await here.http.post(f"{PATH}/test", json={}, headers=headers) for _ in range(2)]
    assert first.json() == second.json()
    assert len((await here.got())["waiting"]) == 2
