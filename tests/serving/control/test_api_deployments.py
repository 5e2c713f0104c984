"""Servers and traffic over HTTP: versions are deployed, promoted and removed as operations, and refused at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from serving.control.valkey import EmbeddedValkey
from tests.serving.control.workshops import BASE, Room, problem, room

MODEL = "/api/v1/models/digits"


@pytest.fixture
async def here(valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    """Two registered versions, neither of which has servers; there is no gateway, and none comes."""
    monkeypatch.setattr("serving.control.flips._NO_GATEWAYS_S", 0.1)
    monkeypatch.setattr("serving.control.standing._LOOK_S", 0.02)
    monkeypatch.setattr("serving.control.conductor._TICK_S", 0.1)
    async with room(valkey.url, tmp_path) as made:
        for name in ("a", "b"):
            await made.registered(name)
        yield made


async def post(here: Room, path: str, body: object, wait_s: float = 20) -> httpx.Response:
    """Asks for long work and waits for its end."""
    return await here.http.post(f"{MODEL}/{path}", json=body, params={"wait_s": wait_s}, timeout=60)


async def state(here: Room, version: int) -> str:
    """Of a version of digits."""
    return str((await here.http.get(f"{BASE}/versions/{version}")).json()["state"])


async def test_a_deployed_version_serves_and_a_removed_one_does_not(here: Room) -> None:
    """200 with what came of it; the registry knows of both."""
    done = await post(here, "versions/1/deploy", {"options": {"replicas": 2}, "why": "to try it"})
    assert (done.status_code, done.json()["result"]["replicas"], done.json()["why"]) == (200, 2, "to try it")
    assert await state(here, 1) == "serving"
    assert "is deployed" in problem(await here.http.post(f"{BASE}/versions/1/archive", json={}), 409)["detail"]
    assert (await post(here, "versions/1/remove", {})).status_code == 200
    assert await state(here, 1) == "verified"


async def test_a_promoted_version_gets_everything(here: Room) -> None:
    """Servers first, then the traffic, then the servers of the old one go."""
    assert (await post(here, "promote", {"version": 1})).status_code == 200
    done = await post(here, "promote", {"version": 2, "why": "it is better"})
    assert done.status_code == 200, done.text
    assert (await here.http.get(f"{MODEL}/policy")).json()["policy"]["stable"] == 2
    assert (await state(here, 1), await state(here, 2)) == ("verified", "serving")
    refused = problem(await post(here, "versions/2/remove", {}), 409)
    assert "stable" in refused["detail"]


async def test_a_version_that_was_never_verified_is_not_deployed(here: Room) -> None:
    """Refused at once, without an operation."""
    await here.http.post(f"{BASE}/versions/1/archive", json={})
    problem(await post(here, "versions/1/deploy", {}, wait_s=0), 422)
    problem(await post(here, "versions/9/deploy", {}, wait_s=0), 404)
    problem(await post(here, "promote", {"version": 9}, wait_s=0), 404)
    listed = (await here.http.get("/api/v1/operations", params={"model": "digits"})).json()["operations"]
    assert {one["kind"] for one in listed} == {"register"}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("versions/1/deploy", {"options": {"replicas": 0}}, "replicas"),
        ("versions/1/deploy", {"options": {"nonsense": 1}}, "nonsense"),
        ("versions/1/deploy", {"options": {"num_gpus": 1}}, "num_gpus"),
        ("versions/0/deploy", {}, "version"),
        ("versions/x/deploy", {}, "version"),
        ("promote", {}, "version"),
        ("promote", {"version": "1"}, "version"),
        ("versions/1/remove", {"force": True}, "force"),
    ],
)
async def test_every_mistake_is_named(here: Room, path: str, body: object, says: str) -> None:
    """422 with the key."""
    assert says in problem(await post(here, path, body, wait_s=0), 422)["detail"]
