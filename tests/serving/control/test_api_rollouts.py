"""Rollouts over HTTP: typed, with revisions, keys of their own for POSTs, and sentences for everything refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from router.verdicts.replaying import recorded
from serving.control.api.app import create_app
from serving.control.api.desk import Desk
from serving.control.api.events import told
from serving.control.errors import StoreUnavailable
from serving.control.rolling.feed import Feed
from tests.serving.control.rolling.rooms import FLIP, MODEL, STEPS, Room, fake_room
from tests.serving.control.workshops import problem

OF_MODEL = f"/api/v1/models/{MODEL}/rollouts"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Api:
    """A room and a client of its API."""

    room: Room
    http: httpx.AsyncClient
    feed: Feed

    async def start(self, document: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """A rollout that was started."""
        answer = await self.http.post(OF_MODEL, json=document or STEPS, **more)
        assert answer.status_code == 201, answer.text
        rollout: dict[str, Any] = answer.json()["rollout"]
        return rollout

    async def ask(self, rollout: str, what: str, revision: str | None = "*", **body: Any) -> httpx.Response:  # noqa: ANN401
        """A command."""
        headers = {} if revision is None else {"If-Match": revision}
        url = f"/api/v1/rollouts/{rollout}/{what}"
        return await self.http.post(url, json=body, headers=headers, params={"wait_s": 0})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """The application on a room in memory."""
    room = await fake_room()
    feed = Feed(room.store)
    app = create_app(room.service, desk=Desk(room.rollouts, feed, room.store, room.store))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        yield Api(room, http, feed)


async def test_a_rollout_is_started_and_shown(api: Api) -> None:
    """201, where it is, its revision; then what keeps it, what comes next and when."""
    answer = await api.http.post(OF_MODEL, json={**STEPS, "why": "the new form"})
    assert answer.status_code == 201
    said = answer.json()
    rollout = said["rollout"]
    assert answer.headers["location"] == f"/api/v1/rollouts/{rollout['id']}"
    assert answer.headers["etag"] == '"1"'
    assert (said["acknowledged"], said["epoch"]) == (None, None)
    assert (rollout["phase"], rollout["stable"], rollout["candidate"]) == ("warming", 1, 2)
    await api.room.tick(1)
    await api.room.tick(2)
    await api.room.tick(2)
    shown = await api.http.get(answer.headers["location"])
    rollout = shown.json()
    assert shown.headers["etag"] == '"2"'
    assert (rollout["phase"], rollout["stage"], rollout["stage_number"], rollout["stages"]) == ("running", "1 %", 0, 3)
    assert rollout["shares"] == {"1": 990_000, "2": 10_000}
    assert (rollout["next_stage"], rollout["next_step_s"], rollout["stage_s"]) == ("stage '25 %'", 6.0, 4.0)
    assert rollout["waits"] == ["6 s of its shortest time are left"]
    assert rollout["epochs"] == [2]
    assert rollout["created_by"] == "anonymous from 127.0.0.1"


async def test_rollouts_are_listed(api: Api) -> None:
    """Of a model newest first; of all models those in progress, or all."""
    first = await api.start()
    await api.ask(first["id"], "rollback", why="no")
    second = await api.start({**STEPS, "again": True})
    of_model = (await api.http.get(OF_MODEL)).json()["rollouts"]
    assert [one["id"] for one in of_model] == [second["id"], first["id"]]
    active = (await api.http.get("/api/v1/rollouts")).json()["rollouts"]
    assert [one["id"] for one in active] == [second["id"]]
    everything = (await api.http.get("/api/v1/rollouts", params={"all": 1})).json()["rollouts"]
    assert len(everything) == 2
    problem(await api.http.get("/api/v1/models/nobody/rollouts"), 404)


async def test_a_dry_run_shows_every_stage_with_its_policy_and_starts_nothing(api: Api) -> None:
    """And what is left at the end."""
    document = {**STEPS, "shadow": {"sample": "10%", "for": "1h"}}
    answer = await api.http.post(OF_MODEL, json=document, params={"dry_run": "true"})
    assert answer.status_code == 200
    stages = answer.json()["stages"]
    assert [one["name"] for one in stages] == ["shadow", "1 %", "25 %", "watch", "the end"]
    assert stages[0]["policy"]["shadows"][0]["sample_ppm"] == 100_000
    assert stages[2]["policy"]["arms"][0]["share_ppm"] == 250_000
    assert stages[-1]["policy"]["stable"] == 2
    assert (await api.http.get("/api/v1/rollouts")).json() == {"rollouts": []}


async def test_commands_move_it_and_answer_who_runs_it(api: Api) -> None:
    """Pause, resume, shares, promote, approve, roll back, retry."""
    rollout = await api.start()
    await api.room.tick(1)
    paused = await api.ask(rollout["id"], "pause", '"2"', why="lunch")
    assert (paused.json()["rollout"]["phase"], paused.headers["etag"]) == ("paused", '"3"')
    assert (await api.ask(rollout["id"], "resume")).json()["rollout"]["phase"] == "running"
    changed = await api.http.patch(
        f"/api/v1/rollouts/{rollout['id']}", json={"shares": {"2": "12.5%"}}, headers={"If-Match": '"4"'}
    )
    said = changed.json()
    assert said["rollout"]["shares"] == {"1": 875_000, "2": 125_000}
    assert (said["epoch"], said["acknowledged"]["of"], said["rollout"]["by_hand"]) == (3, 1, True)
    assert (await api.ask(rollout["id"], "promote")).json()["rollout"]["stage"] == "25 %"
    assert (await api.ask(rollout["id"], "rollback", None, why="no")).json()["rollout"]["phase"] == "rolled back"
    assert (await api.ask(rollout["id"], "retry", again=True)).json()["rollout"]["phase"] == "warming"


async def test_an_approval_names_its_stage(api: Api) -> None:
    """By name, by number, or whichever waits; another one than waits is refused."""
    canary = {"steps": ["1%", "5%"], "needs": "minima", "hold": "1s", "approve": ["1%"]}
    rollout = await api.start({"candidate": 2, "canary": canary})
    await api.room.tick(1)
    shown = (await api.http.get(f"/api/v1/rollouts/{rollout['id']}")).json()
    assert (shown["phase"], shown["next_stage"]) == ("waiting for approval", "stage '1 %'")
    problem(await api.ask(rollout["id"], "approve", stage="9 %"), 422)
    problem(await api.ask(rollout["id"], "approve", stage=1), 409)
    done = (await api.ask(rollout["id"], "approve", '"2"', stage="1 %", why="looks good")).json()
    assert done["rollout"]["approvals"] == [{"who": "anonymous from 127.0.0.1", "revision": 2, "stage": 0}]
    problem(await api.ask(rollout["id"], "approve"), 409)


async def test_a_change_needs_its_revision_but_for_going_back(api: Api) -> None:
    """428 without one, 409 for an old one; a rollback waits for nobody."""
    rollout = await api.start()
    await api.room.tick(1)
    problem(await api.ask(rollout["id"], "pause", None), 428)
    problem(await api.ask(rollout["id"], "pause", '"1"'), 409)
    problem(await api.ask(rollout["id"], "pause", "two"), 400)
    problem(await api.ask(rollout["id"], "rollback", '"1"', why="no"), 409)
    problem(await api.ask(rollout["id"], "rollback", None, why=""), 422)
    assert (await api.ask(rollout["id"], "rollback", None, why="no")).status_code == 200
    body = problem(await api.ask(rollout["id"], "pause"), 409)
    assert body["type"] == "urn:sluice:problem:not-now"


@pytest.mark.parametrize("rollout", ["ro_000000000000", "ro_x", "x", "ro_00000000000g", "a" * 300])
async def test_an_unknown_rollout_is_a_404(api: Api, rollout: str) -> None:
    """Whatever its name looks like."""
    for answer in (
        await api.http.get(f"/api/v1/rollouts/{rollout}"),
        await api.http.get(f"/api/v1/rollouts/{rollout}/why"),
        await api.ask(rollout, "rollback", why="no"),
    ):
        assert problem(answer, 404)["type"] == "urn:sluice:problem:unknown-rollout"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"candidate": 2},
        {"canary": {"steps": ["1%"], "needs": "minima"}},
        {**STEPS, "model": "other"},
        {**STEPS, "gates": [{"type": "rollback", "url": "nowhere"}]},
        {**STEPS, "webhooks": [{"url": "https://x.example.com", "secret": "short"}]},
        {**STEPS, "plan": {}},
        {**STEPS, "automation": "wild"},
        {"candidate": 1, "canary": {"steps": ["1%"], "needs": "minima"}},
    ],
)
async def test_what_is_no_rollout_is_refused(api: Api, document: dict[str, Any]) -> None:
    """With a sentence, and nothing started."""
    problem(await api.http.post(OF_MODEL, json=document), 422)
    assert (await api.http.get("/api/v1/rollouts")).json() == {"rollouts": []}


async def test_a_second_rollout_and_a_policy_by_hand_are_refused_while_one_is_in_progress(api: Api) -> None:
    """409, with its name."""
    rollout = await api.start()
    assert rollout["id"] in problem(await api.http.post(OF_MODEL, json=STEPS), 409)["detail"]
    body = {"policy": {"stable": 1, "arms": []}}
    answer = await api.http.put(f"/api/v1/models/{MODEL}/policy", json=body, headers={"If-Match": "*"})
    assert rollout["id"] in problem(answer, 409)["detail"]


async def test_a_misplaced_secret_is_not_repeated(api: Api) -> None:
    """Neither where a document is checked nor where a rollout is refused."""
    secret = "whsec_" + "QUFB" * 8
    for said in ({"webhooks": [secret]}, {"webhooks": [{"url": "https://h.example", "secret": [secret]}]}, {secret: 1}):
        document = {"candidate": 2, "canary": {"steps": ["100%"], "needs": "minima"}, **said}
        checked = await api.http.post("/api/v1/plan/lint", json=document)
        refused = await api.http.post("/api/v1/models/digits/rollouts", json=document)
        assert checked.json()["valid"] is False
        assert refused.status_code == 422
        assert "QUFB" not in checked.text + refused.text


async def test_lint_says_all_mistakes(api: Api) -> None:
    """Without a model, and without starting anything."""
    good = (await api.http.post("/api/v1/plan/lint", json=FLIP)).json()
    assert (good["valid"], good["mistakes"], good["plan"]["kind"]) == (True, [], "blue_green")
    bad = (await api.http.post("/api/v1/plan/lint", json={"canary": {"steps": [], "needs": "minima"}, "x": 1})).json()
    assert not bad["valid"]
    assert len(bad["mistakes"]) == 2


async def test_nothing_secret_is_shown(api: Api) -> None:
    """Neither a hook's secret nor what comes after the host of an address."""
    hooks = [{"url": "https://hooks.example.com/T0/hush", "secret": SECRET}]
    gates = [{"type": "rollback", "url": "https://ci.example.com/?token=hush"}]
    rollout = await api.start({**STEPS, "webhooks": hooks, "gates": gates})
    assert rollout["webhooks"] == [{"url": "https://hooks.example.com/…", "events": []}]
    for path in (f"rollouts/{rollout['id']}", f"rollouts/{rollout['id']}/why", "ledger", "ledger/export"):
        text = (await api.http.get(f"/api/v1/{path}")).text
        assert "hush" not in text
        assert SECRET not in text


# Keys of requests.


async def test_the_same_key_takes_place_once_and_is_answered_the_same(api: Api) -> None:
    """Also where both are sent at once: one is done, and the other hears that or its answer."""
    headers = {"Idempotency-Key": "k1"}
    first = await api.http.post(OF_MODEL, json=STEPS, headers=headers)
    again = await api.http.post(OF_MODEL, json=STEPS, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len((await api.http.get(OF_MODEL)).json()["rollouts"]) == 1


async def test_the_same_key_with_another_body_is_refused(api: Api) -> None:
    """422: it was used for something else."""
    headers = {"Idempotency-Key": "k1"}
    await api.http.post(OF_MODEL, json=STEPS, headers=headers)
    problem(await api.http.post(OF_MODEL, json={**STEPS, "why": "other"}, headers=headers), 422)


async def test_what_was_refused_may_be_sent_again_under_its_key(api: Api) -> None:
    """Nothing was done, so that nothing is done twice."""
    headers = {"Idempotency-Key": "k1", "If-Match": "*"}
    rollout = await api.start()
    url = f"/api/v1/rollouts/{rollout['id']}/resume"
    problem(await api.http.post(url, json={}, headers=headers), 409)
    await api.ask(rollout["id"], "pause")
    assert (await api.http.post(url, json={}, headers=headers)).status_code == 200


async def test_what_failed_after_it_was_written_does_not_take_place_twice(api: Api) -> None:
    """The connection broke after the write: 503, and the key stays taken, for nobody can tell."""
    rollout = await api.start()
    await api.room.tick(1)
    url = f"/api/v1/rollouts/{rollout['id']}/promote"
    headers = {"Idempotency-Key": "k1", "If-Match": "*"}
    store, swap = api.room.store, api.room.store.swap

    async def broken(publication: Any) -> None:  # noqa: ANN401
        await swap(publication)
        raise StoreUnavailable("The connection broke.", "Look.")

    store.swap = broken
    problem(await api.http.post(url, json={}, headers=headers, params={"wait_s": 0}), 503)
    store.swap = swap
    there = (await api.http.get(f"/api/v1/rollouts/{rollout['id']}")).json()
    assert there["stage"] == "25 %"
    refused = await api.http.post(url, json={}, headers=headers, params={"wait_s": 0})
    assert "may have taken place" in problem(refused, 409)["detail"]
    assert (await api.http.get(f"/api/v1/rollouts/{rollout['id']}")).json()["revision"] == there["revision"]


@pytest.mark.parametrize(
    "said",
    [
        {"gates": [{"type": "rollback", "url": "https://ci.example.com/x", "name": "\ud800"}]},
        {"freezes": [{"name": "\ud800", "begins": "fri 16:00", "ends": "fri 15:59"}]},
        {"plan": {"a": json.loads("[" * 900 + "]" * 900)}},
    ],
)
async def test_what_cannot_be_written_down_is_refused_at_the_door(api: Api, said: dict[str, Any]) -> None:
    """Half a character, or lists in lists in lists: 422, nothing is started, and the linter says so as well."""
    body, headers = json.dumps({**STEPS, **said}), {"content-type": "application/json"}
    problem(await api.http.post(OF_MODEL, content=body, headers=headers), 422)
    assert (await api.http.get("/api/v1/rollouts")).json() == {"rollouts": []}
    linted = await api.http.post("/api/v1/plan/lint", content=body, headers=headers)
    assert (linted.status_code, linted.json()["valid"]) == (200, False)


async def test_keys_that_race_do_it_once(api: Api) -> None:
    """Twenty at once: one change, and every answer is that change or says that it is under way."""
    rollout = await api.start()
    await api.room.tick(1)
    headers = {"Idempotency-Key": "k1", "If-Match": "*"}
    url = f"/api/v1/rollouts/{rollout['id']}/promote"
    answers = await asyncio.gather(
        *(api.http.post(url, json={}, headers=headers, params={"wait_s": 0}) for _ in range(20))
    )
    assert {one.status_code for one in answers} <= {200, 409}
    assert len({one.text for one in answers if one.status_code == 200}) == 1
    assert (await api.http.get(f"/api/v1/rollouts/{rollout['id']}")).json()["stage"] == "25 %"


@pytest.mark.parametrize("key", ["", "a b", "k" * 129])
async def test_what_is_no_key_is_refused(api: Api, key: str) -> None:
    """Rather than ignored: the caller relies on it."""
    problem(await api.http.post(OF_MODEL, json=STEPS, headers={"Idempotency-Key": key}), 422)


# The ledger, epochs, events, stops.


async def test_why_tells_it_and_has_the_entries(api: Api) -> None:
    """Of this rollout alone, oldest first."""
    rollout = await api.start()
    await api.room.tick(1)
    await api.ask(rollout["id"], "rollback", why="errors")
    said = (await api.http.get(f"/api/v1/rollouts/{rollout['id']}/why")).json()
    assert len(said["story"]) == len(said["entries"]) == 3
    assert "because errors" in said["story"][-1]
    assert said["entries"][-1]["facts"]["epoch"] == 3


async def test_the_ledger_is_filtered_and_exported(api: Api) -> None:
    """By model and rollout, after an id, and whole as lines of JSON."""
    rollout = await api.start()
    await api.room.tick(1)
    found = (await api.http.get("/api/v1/ledger", params={"rollout": rollout["id"]})).json()["entries"]
    assert [one["facts"]["event"] for one in found] == ["entered", "started"]
    later = (await api.http.get("/api/v1/ledger", params={"after": found[-1]["id"]})).json()["entries"]
    assert [one["id"] for one in later] == [found[0]["id"]]
    assert (await api.http.get("/api/v1/ledger", params={"model": "other"})).json()["entries"] == []
    problem(await api.http.get("/api/v1/ledger", params={"after": "yesterday"}), 422)
    export = await api.http.get("/api/v1/ledger/export")
    assert export.headers["content-type"].startswith("application/x-ndjson")
    assert [json.loads(line)["kind"] for line in export.text.splitlines()] == ["policy", "rollout", "rollout"]


async def test_epochs_and_gateways(api: Api) -> None:
    """The head with its line, newest first, and who runs it."""
    await api.start()
    await api.room.tick(1)
    epochs = (await api.http.get("/api/v1/epochs", params={"limit": 1})).json()
    assert (epochs["epoch"], [one["epoch"] for one in epochs["lineage"]]) == (2, [2])
    await api.room.follow()
    gateways = (await api.http.get("/api/v1/gateways")).json()
    assert [(one["id"], one["current"]) for one in gateways["gateways"]] == [("g1", True)]


async def test_events_are_told_as_they_happen(api: Api) -> None:
    """With ids; who comes back with the last of them hears what was missed first, and nothing twice."""
    await api.start()
    [entered] = [one for one in await api.room.entries() if one.entry.kind == "rollout"]

    async def stays() -> bool:
        return False

    heard = told(api.feed, await api.feed.newest(), entered.id, stays)
    assert (await anext(heard)).startswith("retry: ")
    await api.room.tick(1)
    first = await asyncio.wait_for(anext(heard), 5)
    assert "event: rollout.entered\n" in first
    assert json.loads(first.split("data: ")[1])["facts"]["epoch"] == 2
    await api.room.rollouts.stop([MODEL], who="ada", why="", wait_s=0)
    kinds = [(await asyncio.wait_for(anext(heard), 5)).splitlines()[1] for _ in range(3)]
    assert kinds == ["event: stop", "event: stop", "event: rollout.stopped"]
    await heard.aclose()  # type: ignore[attr-defined]
    assert not api.feed._listeners
    await api.feed.close()


async def test_an_event_id_that_is_none_is_refused(api: Api) -> None:
    """Before the answer begins."""
    problem(await api.http.get("/api/v1/events", headers={"Last-Event-ID": "yesterday"}), 422)


async def test_break_glass(api: Api) -> None:
    """One model, then all; taken back, rollouts may start again."""
    rollout = await api.start()
    await api.room.tick(1)
    said = (await api.http.post(f"/api/v1/models/{MODEL}/stop", json={"why": "smoke"}, params={"wait_s": 0})).json()
    assert (said["stopped"], said["rolled_back"], said["epoch"]) == ([MODEL], [rollout["id"]], 3)
    assert problem(await api.http.post(OF_MODEL, json={**STEPS, "again": True}), 409)
    assert (await api.http.post("/api/v1/stop", json={}, params={"wait_s": 0})).status_code == 200
    problem(await api.http.post(f"/api/v1/models/{MODEL}/unstop", json={}), 409)
    assert (await api.http.post("/api/v1/unstop", json={})).json() == {"unstopped": ["*", MODEL]}
    await api.start({**STEPS, "again": True})
    problem(await api.http.post("/api/v1/models/nobody/stop", json={}), 404)


async def test_a_store_that_is_away_is_a_503_everywhere(api: Api) -> None:
    """Never a traceback."""
    rollout = await api.start()
    api.room.store.down = True
    for path in (OF_MODEL, "/api/v1/rollouts", f"/api/v1/rollouts/{rollout['id']}", "/api/v1/epochs", "/api/v1/events"):
        problem(await api.http.get(path), 503)
    problem(await api.ask(rollout["id"], "rollback", why="no"), 503)
    problem(await api.http.post("/api/v1/stop", json={}), 503)


async def test_verdicts_and_what_they_rest_on_can_be_read(api: Api) -> None:
    """Of each candidate what is known, in words and numbers; its blocks are lines that a replay reads."""
    rollout = await api.start({"candidate": 2, "canary": {"steps": ["50%"], "hold": "1h", "needs": "minima"}})
    path = f"/api/v1/rollouts/{rollout['id']}"
    assert (await api.http.get(path)).json()["verdicts"] == {}
    await api.room.tick(1)
    for _ in range(6):
        api.room.serves(2, 30, failed=1)
        api.room.serves(1, 30)
        await api.room.tick(1)
    verdict = (await api.http.get(path)).json()["verdicts"]["2"]
    assert (verdict["decision"], verdict["guardrails"][0]["name"]) == ("not_yet", "errors")
    assert verdict["guardrails"][0]["candidate"]["events"] >= 4
    answer = await api.http.get(f"{path}/blocks")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0] == {"ramped": [500_000, 500_000]}
    assert len([*recorded(answer.text.splitlines())]) == len(lines) > 4
    problem(await api.http.get(f"{path}/blocks", params={"version": 7}), 422)
    problem(await api.http.get("/api/v1/rollouts/ro_000000000000/blocks"), 404)
