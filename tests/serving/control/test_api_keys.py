"""API keys over HTTP: shown once, named once, taken back everywhere, and never to be found in what is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from serving.access.keys import parse
from serving.access.principal import Limits
from serving.control.api import create_app
from serving.control.api.gate import Door
from serving.control.doorman import Doorman
from serving.control.fake_store import FakeStore
from serving.control.keys import KeyService
from serving.control.service import ControlService
from serving.leases import GatewayLease

KEYS = "/api/v1/keys"
NOW_S = 1_800_000_000.0


@dataclass
class Api:
    """The application on a store in memory, and a client of it."""

    store: FakeStore
    http: httpx.AsyncClient

    async def make(self, name: str = "web-shop", **more: Any) -> httpx.Response:  # noqa: ANN401 - JSON
        """A key."""
        return await self.http.post(KEYS, json={"name": name, "role": "predict", **more}, params={"wait_s": 0})

    async def made(self, name: str = "web-shop", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """The answer, where it was made."""
        response = await self.make(name, **more)
        assert response.status_code == 201, response.text
        body: dict[str, Any] = response.json()
        return body

    def gateway(self, name: str, access: int) -> None:
        """A gateway that goes by this revision."""
        self.store.gateway_says(replace(LEASE, id=name, access=access), 600)


LEASE = GatewayLease("g", "b", 1, "h", 8000, 0, "")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """No keys yet."""
    store = FakeStore()
    keys = KeyService(store, now=lambda: NOW_S)
    transport = httpx.ASGITransport(create_app(ControlService(store), key_service=keys))
    async with httpx.AsyncClient(transport=transport, base_url="http://sluice") as http:
        yield Api(store, http)


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem, checked to be one."""
    body: dict[str, Any] = response.json()
    assert response.status_code == body["status"] == status, body
    assert response.headers["content-type"] == "application/problem+json"
    assert body["detail"].endswith(".")
    return body


async def test_a_key_is_shown_once_and_nothing_may_keep_the_answer(api: Api) -> None:
    """The answer to whoever made it has it; no list, no ledger and no record ever has it again."""
    response = await api.make(models=["digits"], expires="90d", limits={"rate_per_s": 5.5, "in_flight": 3})
    body = response.json()
    shown = parse(body["key"])
    assert shown is not None
    assert (response.status_code, response.headers["cache-control"]) == (201, "no-store")
    assert (body["id"], body["name"], body["role"], body["models"]) == (shown.id, "web-shop", "predict", ["digits"])
    assert body["expires"] == "2027-04-15T08:00:00Z"
    assert body["limits"] == {"rate_per_s": 5.5, "burst": None, "in_flight": 3, "max_body": None}
    assert body["acknowledged"] == {"of": 0, "by": 0, "expired": [], "waiting": []}
    kept = (await api.store.access()).records[shown.id]
    assert kept.matches(shown)
    assert kept.principal.limits == Limits(rate_per_s=5.5, in_flight=3)
    listed, ledger = await api.http.get(KEYS, params={"all": 1}), await api.http.get("/api/v1/ledger")
    for text in (listed.text, ledger.text, str(kept.encode())):
        assert shown.secret not in text
    for text in (listed.text, ledger.text):
        assert shown.digest not in text
        assert shown.id in text


async def test_nothing_secret_reaches_a_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever is logged while keys are made, refused and taken back."""
    caplog.set_level(logging.DEBUG)
    body = await api.made()
    await api.make()
    await api.http.delete(f"{KEYS}/{body['id']}")
    refused = await api.make(body["key"])
    assert body["key"].rpartition("_")[2] not in caplog.text
    assert body["key"] not in problem(refused, 422)["detail"]


async def test_the_ledger_says_who_made_and_who_revoked_a_key(api: Api) -> None:
    """With the identity and the address, the facts and the reason."""
    body = await api.made(models=["digits"])
    await api.http.request("DELETE", f"{KEYS}/{body['id']}", json={"why": "it leaked"})
    revoked, created = await api.store.ledger(2)
    assert (created.entry.kind, created.entry.who) == ("key", "anonymous from 127.0.0.1")
    assert created.entry.facts["what"] == "created"
    assert created.entry.facts["models"] == ["digits"]
    assert (revoked.entry.kind, revoked.entry.why, revoked.entry.facts["key"]) == ("key", "it leaked", body["id"])


async def test_of_two_keys_of_one_name_made_at_once_one_is_made(api: Api) -> None:
    """One 201, and a 409 that says which key has the name."""
    said = await asyncio.gather(*(api.make("twin") for _ in range(2)))
    assert sorted(one.status_code for one in said) == [201, 409]
    refused = problem(next(one for one in said if one.status_code == 409), 409)
    [kept] = (await api.store.access()).records.values()
    assert kept.id in refused["detail"]
    assert "another name" in refused["hint"]


async def test_a_name_is_free_again_once_its_key_is_revoked(api: Api) -> None:
    """Names of keys that are in force are unique, and only these."""
    first = await api.made()
    await api.http.delete(f"{KEYS}/{first['id']}")
    second = await api.made()
    shown = (await api.http.get(KEYS)).json()["keys"]
    every = (await api.http.get(KEYS, params={"all": "true"})).json()["keys"]
    assert [one["id"] for one in shown] == [second["id"]]
    assert {(one["id"], one["state"]) for one in every} == {(first["id"], "revoked"), (second["id"], "in force")}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "", "role": "predict"}, "name"),
        ({"name": "-x", "role": "predict"}, "is no name of a key"),
        ({"name": "a\nb", "role": "predict"}, "is no name of a key"),
        ({"name": "a", "role": "root"}, "role"),
        ({"name": "a", "role": "operate", "models": ["digits"]}, "not limited to models"),
        ({"name": "a", "role": "predict", "models": []}, "models"),
        ({"name": "a", "role": "predict", "models": ["../x"]}, "no name of a model"),
        ({"name": "a", "role": "predict", "expires": "soon"}, "no time at which"),
        ({"name": "a", "role": "predict", "expires": "2001-01-01"}, "is over"),
        ({"name": "a", "role": "predict", "expires": "999999999w"}, "100 years"),
        ({"name": "a", "role": "predict", "expires": "0001-01-01T00:00:00+23:59"}, "."),
        ({"name": "a", "role": "predict", "limits": {"rate_per_s": 0}}, "rate_per_s"),
        ({"name": "a", "role": "predict", "limits": {"burst": 3}}, "a burst goes with a rate"),
        ({"name": "a", "role": "predict", "limits": {"in_flight": True}}, "in_flight"),
        ({"name": "a", "role": "predict", "limits": {"rate": 3}}, "rate"),
        ({"name": "admin key of the settings", "role": "administer"}, "cannot be called"),
        ({"name": "a", "role": "predict", "key": "x"}, "key"),
    ],
)
async def test_what_cannot_be_a_key_is_refused_in_a_sentence(api: Api, body: dict[str, Any], words: str) -> None:
    """And nothing is written."""
    assert words in problem(await api.http.post(KEYS, json=body), 422)["detail"]
    assert (await api.store.access()).records == {}


async def test_a_change_is_sent_as_json(api: Api) -> None:
    """A form of another site cannot make a key, or rotate one."""
    for path in (KEYS, "/api/v1/request-id-keys"):
        assert (await api.http.post(path, content=b"{}", headers={"content-type": "text/plain"})).status_code == 415


async def test_revoking_says_which_gateways_know(api: Api) -> None:
    """N of N; those that go by an older revision are named."""
    body = await api.made()
    api.gateway("g1", 2)
    api.gateway("g2", 3)
    api.gateway("g3", 1)
    answer = (await api.http.delete(f"{KEYS}/{body['id']}", params={"wait_s": 0})).json()
    assert answer["acknowledged"] == {"of": 3, "by": 2, "expired": [], "waiting": ["g3"]}
    assert (answer["state"], answer["durable"], answer["took_ms"] >= 0) == ("revoked", True, True)


async def test_revoking_waits_for_three_gateways(api: Api) -> None:
    """The answer comes when the last of them has said so."""
    body = await api.made()
    for name in ("g1", "g2", "g3"):
        api.gateway(name, 1)
    asked = asyncio.create_task(api.http.delete(f"{KEYS}/{body['id']}", params={"wait_s": 30}))
    for name in ("g1", "g2", "g3"):
        await asyncio.sleep(0.05)
        assert not asked.done()
        api.gateway(name, 2)
    assert (await asked).json()["acknowledged"] == {"of": 3, "by": 3, "expired": [], "waiting": []}


async def test_a_second_revocation_answers_the_same(api: Api) -> None:
    """The same key, revoked at the same moment; the gateways are asked again, and the ledger says it once."""
    body = await api.made()
    first = (await api.http.delete(f"{KEYS}/{body['id']}")).json()
    again = (await api.http.delete(f"{KEYS}/{body['id']}")).json()
    untold = {"took_ms", "durable"}
    assert {k: v for k, v in again.items() if k not in untold} == {k: v for k, v in first.items() if k not in untold}
    assert again["durable"] is None
    assert len(await api.store.ledger(10)) == 2


async def test_an_unknown_key_cannot_be_revoked(api: Api) -> None:
    """404 for an id that nobody has, and 422, which does not repeat it, for what is no id."""
    assert problem(await api.http.delete(f"{KEYS}/{'0' * 12}"), 404)["type"] == "urn:sluice:problem:unknown-key"
    body = await api.made()
    assert body["key"] not in problem(await api.http.delete(f"{KEYS}/{body['key']}"), 422)["detail"]


async def test_the_last_key_that_administers_stays_unless_somebody_insists(api: Api) -> None:
    """Nobody could let anybody in any more."""
    first = await api.made("first", role="administer")
    second = await api.made("second", role="administer")
    assert (await api.http.delete(f"{KEYS}/{first['id']}")).status_code == 200
    refused = problem(await api.http.delete(f"{KEYS}/{second['id']}"), 409)
    assert "the last one" in refused["detail"]
    assert "force" in refused["hint"]
    assert (await api.http.delete(f"{KEYS}/{second['id']}", params={"force": 1})).status_code == 200


async def test_a_reason_that_has_a_key_in_it_is_not_kept(api: Api) -> None:
    """The ledger is shown to people who may not have it."""
    body = await api.made()
    why = {"why": f"found {body['key']} in a chat"}
    response = await api.http.request("DELETE", f"{KEYS}/{body['id']}", json=why)
    assert body["key"] not in problem(response, 422)["detail"]


async def test_whoami_is_nobody_where_nobody_is_asked(api: Api) -> None:
    """As on loopback without keys."""
    anonymous = (await api.http.get("/api/v1/whoami")).json()
    assert (anonymous["kind"], anonymous["name"], anonymous["role"]) == ("anonymous", "anonymous", "administer")


async def test_a_key_that_was_made_opens_the_door_until_it_is_revoked(api: Api) -> None:
    """At this API from one answer to the next: its owner is told who they are, and then is refused."""
    admin = await api.made("root", role="administer")
    doorman, keys = Doorman(api.store, required=True, clock=lambda: NOW_S), KeyService(api.store, now=lambda: NOW_S)
    await doorman.look()
    app = create_app(ControlService(api.store), door=Door(doorman), key_service=keys)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        http.headers["authorization"] = f"Bearer {admin['key']}"
        wanted = {"name": "shop", "role": "predict", "models": ["digits"], "expires": "1h", "limits": {"rate_per_s": 2}}
        body = (await http.post(KEYS, json=wanted)).json()
        theirs = {"authorization": f"Bearer {body['key']}"}
        said = (await http.get("/api/v1/whoami", headers=theirs)).json()
        assert (await http.delete(f"{KEYS}/{body['id']}")).status_code == 200
        assert (await http.get("/api/v1/whoami", headers=theirs)).status_code == 401
    assert said == {
        "id": body["id"],
        "name": "shop",
        "kind": "key",
        "role": "predict",
        "models": ["digits"],
        "limits": {"rate_per_s": 2.0, "burst": None, "in_flight": None, "max_body": None},
        "expires": "2027-01-15T09:00:00Z",
    }


async def test_the_key_of_request_ids_is_replaced(api: Api) -> None:
    """The new one signs, the old ones are kept, and the ledger says who did it, without any secret."""
    before = await api.store.ensure_keys()
    answer = (await api.http.post("/api/v1/request-id-keys", json={"why": "a backup was lost"})).json()
    after = await api.store.id_keys()
    assert after is not None
    assert answer == {"current": after.current, "kept": 2}
    assert after.current != before.current
    [entry] = await api.store.ledger(5)
    assert (entry.entry.kind, entry.entry.why) == ("key", "a backup was lost")
    assert entry.entry.who == "anonymous from 127.0.0.1"
    assert set(entry.entry.facts) == {"what"}


async def test_a_store_that_is_away_is_told(api: Api) -> None:
    """503, and no key that nobody would know of."""
    api.store.down = True
    for response in (await api.make(), await api.http.get(KEYS), await api.http.delete(f"{KEYS}/{'0' * 12}")):
        assert problem(response, 503)["type"] == "urn:sluice:problem:store-unreachable"
