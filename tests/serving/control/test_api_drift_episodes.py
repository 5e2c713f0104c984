"""Episodes of drift over HTTP: listed, shown, approved, acknowledged, silenced; refused in a sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from drift.attribution import Act
from drift.reading import Layer
from drift.webhooks import ActionTold
from serving.control.api import create_app
from serving.control.api.desk import Desk
from serving.control.rolling.feed import Feed
from tests.drift.incidents import MODEL, STABLE, finding, status
from tests.serving.control.rolling.test_drift_incidents import Desk as Drifting
from tests.serving.control.rolling.test_drift_incidents import desk

EPISODES = "/api/v1/drift/episodes"


@pytest.fixture
async def here() -> Drifting:
    """A model whose labels show harm; what follows waits for an approval."""
    made = await desk(Act.APPROVE)
    await made.finds(finding(STABLE, Layer.LABELS))
    return made


@pytest.fixture
async def http(here: Drifting) -> AsyncIterator[httpx.AsyncClient]:
    """Its control API."""
    room = here.room
    app = create_app(
        room.service, desk=Desk(room.rollouts, Feed(room.store), room.store, room.store, episodes=here.episodes)
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice") as client:
        yield client


async def said(answer: httpx.Response, code: int = 200) -> dict[str, Any]:
    """What it says."""
    assert answer.status_code == code, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_an_episode_from_its_first_finding_to_its_action(here: Drifting, http: httpx.AsyncClient) -> None:
    """What happens now is said at each step; what webhooks would be told is in their own shape."""
    (one,) = (await said(await http.get(EPISODES)))["episodes"]
    assert (one["model"], one["cause"], one["action"], one["closed"]) == (MODEL, None, "nothing", None)
    assert one["next"] == "All versions are looked at before anybody is blamed."
    assert [(raised["version"], raised["layer"]) for raised in one["raised"]] == [(1, "labels")]
    await here.look(status(STABLE, 12, Layer.LABELS))
    waits = await said(await http.get(f"{EPISODES}/{one['id']}"))
    assert (waits["cause"], waits["action"], waits["pending"]) == ("labels", "retrain", "retrain")
    assert waits["next"] == f"It waits for an approval: sluice drift approve {one['id']}"
    assert ActionTold.model_validate(waits["data"]).harm.shown
    done = await said(await http.post(f"{EPISODES}/{one['id']}/approve", json={"why": "so it is"}))
    assert (done["acted"], done["pending"]) == ("retrain", "nothing")
    assert "told to retrain" in done["next"]
    again = await said(await http.post(f"{EPISODES}/{one['id']}/approve", json={}), 409)
    assert "waits for an approval" in again["detail"]


async def test_an_approval_that_is_sent_twice_takes_place_once(here: Drifting, http: httpx.AsyncClient) -> None:
    """With a key of its own, and is answered the same again."""
    await here.look(status(STABLE, 12, Layer.LABELS))
    path = f"{EPISODES}/{(await here.one()).identity}/approve"
    answers = [await http.post(path, json={}, headers={"idempotency-key": "one"}) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert await here.kinds() == ["drift.recommend", "drift.retrain"]


async def test_operators_say_their_word(here: Drifting, http: httpx.AsyncClient) -> None:
    """Who, why and until when are shown; a model is silenced by its name."""
    episode = f"{EPISODES}/{(await here.one()).identity}"
    mine = await said(await http.post(f"{episode}/acknowledge", json={"why": "the migration"}))
    assert mine["acknowledged"]["why"] == "the migration"
    assert mine["next"].endswith("has it in hand.")
    assert (await said(await http.post(f"{episode}/acknowledge", json={"undo": True})))["acknowledged"] is None
    silent = await said(await http.post(f"{episode}/silence", json={"for_s": 60}))
    assert silent["silenced"]["until"] is not None
    assert silent["next"].startswith("Silent until ")
    assert (await said(await http.post(f"{episode}/silence", json={"for_s": 0})))["silenced"] is None
    await said(await http.post(f"/api/v1/drift/models/{MODEL}/silence", json={"for_s": 60, "why": "known"}))
    silences = (await said(await http.get("/api/v1/drift/silences")))["silences"]
    assert silences[MODEL]["why"] == "known"
    assert (await said(await http.get(episode)))["silenced"]["why"] == "known"
    gone = await said(await http.post(f"/api/v1/drift/models/{MODEL}/silence", json={"for_s": 0}))
    assert gone == {"model": MODEL, "silence": None}
    events = [one["facts"].get("event") for one in (await said(await http.get("/api/v1/ledger")))["entries"]]
    assert [one for one in events if one in {"acknowledged", "silenced", "unsilenced"}] == [
        "unsilenced", "silenced", "unsilenced", "silenced", "acknowledged", "acknowledged",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/episodes/ep_0123456789abcdef/approve", {}, 404),
        ("/episodes/..%2Fx/silence", {"for_s": 60}, 404),
        ("/episodes/ep_1/acknowledge", {"undo": "yes"}, 422),
        ("/models/nobody/silence", {"for_s": 60}, 404),
        (f"/models/{MODEL}/silence", {"for_s": -1}, 422),
        (f"/models/{MODEL}/silence", {"for_s": 1e9}, 422),
        (f"/models/{MODEL}/silence", {}, 422),
    ],
)
async def test_what_cannot_be_is_refused(http: httpx.AsyncClient, path: str, body: dict[str, Any], code: int) -> None:
    """In a sentence, and nothing is written."""
    answer = await http.post(f"/api/v1/drift{path}", json=body)
    assert answer.status_code == code, answer.text
    assert answer.json()["detail"]
    assert (await said(await http.get("/api/v1/drift/silences")))["silences"] == {}


async def test_a_room_without_episodes_says_so(here: Drifting) -> None:
    """And where they are."""
    room = here.room
    app = create_app(room.service, desk=Desk(room.rollouts, Feed(room.store), room.store, room.store))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice") as client:
        refused = await said(await client.get(EPISODES), 422)
    assert refused["detail"] == "This control room keeps no episodes of drift."
