"""The registry over HTTP: versions are registered, tried, named, compared, put away, and refused in sentences."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from registry.artifacts import ArtifactStore
from registry.kinds import ArtifactKind
from registry.models import Artifact
from serving.control import bringing
from serving.control.valkey import EmbeddedValkey
from serving.settings import ModelSettings
from tests.serving.control.workshops import BASE, NARROW, SIGNATURE, Room, problem, room


@pytest.fixture
async def here(valkey: EmbeddedValkey, tmp_path: Path) -> AsyncIterator[Room]:
    """An empty registry."""
    async with room(valkey.url, tmp_path) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def empty(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    """An empty registry that stays so, for questions without a good answer."""
    async with room(valkey.url, tmp_path_factory.mktemp("empty")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def refusing(valkey: EmbeddedValkey, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    """Version 1 of digits is registered, version 7 is in the settings, and nothing else comes in."""
    declared = ModelSettings.model_validate({"name": "digits", "versions": [{"version": 7, "path": "x"}]})
    async with room(valkey.url, tmp_path_factory.mktemp("refusing"), models=(declared,)) as made:
        assert (await made.register(made.artifact("a"), number=1)).status_code == 201
        yield made


async def test_a_folder_is_enough_to_register_a_version(here: Room) -> None:
    """Kind and signature are told from the files; it is tried, and verified from its first moment."""
    response = await here.register(here.artifact(), metrics={"accuracy": 0.5}, why="the first")
    assert (response.status_code, response.headers["location"]) == (201, f"{BASE}/versions/1")
    body = response.json()
    assert (body["state"], body["kind"], body["why"]) == ("done", "register", "the first")
    assert {"model": "digits", "version": 1, "created": True}.items() <= body["result"].items()
    shown = (await here.http.get(response.headers["location"])).json()
    assert (shown["state"], shown["artifact"]["kind"]) == ("verified", ArtifactKind.TORCH_EXPORT)
    assert shown["signature"]["inputs"] == [{**SIGNATURE["inputs"][0], "optional": False}]
    assert here.digests() == [shown["artifact"]["digest"]]
    assert [spec.artifact for spec in here.trials.tried] == here.digests()


async def test_long_work_is_answered_at_once_and_can_be_watched(here: Room) -> None:
    """202 with where to look; what it does is told while it does it, and its end is what came of it."""
    here.trials.gate = asyncio.Event()
    response = await here.register(here.artifact(), wait_s=0)
    where = response.headers["location"]
    assert (response.status_code, where) == (202, f"/api/v1/operations/{response.json()['id']}")
    for _ in range(200):
        now = (await here.http.get(where)).json()
        if now["words"] == "the model loads":
            break
        await asyncio.sleep(0.02)
    assert (now["state"], now["words"]) == ("running", "the model loads")
    assert now["steps"][-1] == "trying it on a server of its own"
    here.trials.gate.set()
    ended = (await here.http.get(where, params={"wait_s": 20})).json()
    assert (ended["state"], ended["result"]["version"]) == ("done", 1)
    assert [one["id"] for one in (await here.http.get("/api/v1/operations")).json()["operations"]] == [now["id"]]


async def test_how_much_is_copied_is_told_and_is_one_step(here: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes: what was done before it stays in the record."""
    monkeypatch.setattr(bringing, "_TOLD_EVERY_S", 0.01)
    bring = here.workshop.artifacts.bring

    def slowly(*where: Any, **how: Any) -> Artifact:  # noqa: ANN401 - as bring has them
        time.sleep(0.5)
        return bring(*where, **how)

    monkeypatch.setattr(ArtifactStore, "bring", lambda _, *where, **how: slowly(*where, **how))
    steps = (await here.register(here.artifact())).json()["steps"]
    assert [("MB so far" in step, step.startswith("bringing in")) for step in steps[:1]] == [(True, True)]
    assert not [step for step in steps[1:] if "bringing in" in step]
    assert steps[-3:] == ["trying it on a server of its own", "the model loads", "recording it"]


async def test_a_trial_that_fails_leaves_nothing(here: Room) -> None:
    """The server's own words in a 422, no version, no artifact."""
    here.trials.refusal = "Unknown error: no kernel for this"
    body = problem(await here.register(here.artifact()), 422)
    assert "no kernel for this" in body["detail"]
    assert here.digests() == []
    problem(await here.http.get(f"{BASE}/versions"), 404)
    here.trials.refusal = ""
    assert await here.registered() == 1


async def test_a_trial_that_fails_leaves_what_another_version_is_made_of(here: Room) -> None:
    """The same files under another signature: refused, and the first version goes on being whole."""
    await here.registered("a")
    kept = here.digests()
    here.trials.refusal = "it crashed"
    response = await here.register(here.artifact("a", content=b"a"), metrics={"accuracy": 0.1})
    problem(response, 422)
    assert here.digests() == kept
    here.trials.refusal = ""
    assert (await _verified(here, 1)).status_code == 200


async def test_a_registration_that_is_cancelled_leaves_nothing(here: Room) -> None:
    """The trial ends, the artifact goes, and nobody is told of a version."""
    here.trials.gate = asyncio.Event()
    where = (await here.register(here.artifact(), wait_s=0)).headers["location"]
    await asyncio.wait_for(here.trials.begun.wait(), 20)
    assert (await here.http.delete(where)).status_code == 202
    ended = (await here.http.get(where, params={"wait_s": 20})).json()
    assert (ended["state"], ended["cancelled_by"]) == ("cancelled", "anonymous from 127.0.0.1")
    assert here.digests() == []


async def test_registering_again_finds_what_is_there(here: Room) -> None:
    """The same contents by the same number, or by none: 200, no second version, no second trial."""
    await here.registered("a", number=4)
    await here.registered("b")
    for more in ({}, {"number": 4}):
        response = await here.register(here.artifact("a", content=b"a"), **more)
        assert response.status_code == 200, response.text
        assert (response.json()["result"]["version"], response.json()["result"]["created"]) == (4, False)
    assert len(here.trials.tried) == 2


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"number": 1}, 409, "digits version 1 was registered by"),
        ({"number": 7}, 409, "digits version 7 is in the settings"),
        ({"parent": 9}, 404, "no version 9"),
        ({"serves": 9}, 404, "no version 9"),
        ({"serves": 1, "signature": NARROW}, 422, "cannot serve the clients of digits version 1"),
        ({"source": "/etc"}, 422, "not admitted"),
        ({"source": "s3://bucket/x"}, 422, "not admitted"),
        ({"source": "a::b"}, 422, "no address"),
        ({"kind": "onnx"}, 422, "declared as onnx"),
        ({"kind": "exe"}, 422, "kind"),
        ({"signature": {"inputs": [], "outputs": []}}, 422, "0 inputs"),
        ({"example": {"inputs": [{"name": "other", "datatype": "FP32", "shape": [64]}]}}, 422, "does not fit"),
        ({"metrics": {"a": "b"}}, 422, "metrics"),
        ({"number": 0}, 422, "number"),
        ({"options": {"replicas": 0}}, 422, "replicas"),
        ({"nonsense": 1}, 422, "nonsense"),
        ({"digest": "0" * 64}, 422, "its SHA-256 must be 0000"),
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be_registered_is_told_at_once(
    refusing: Room, more: dict[str, Any], status: int, says: str
) -> None:
    """Before anything is copied, with what is wrong; only the digest needs the bytes."""
    before = refusing.digests()
    wait_s = 20 if "digest" in more else 0
    response = await refusing.register(**{"source": refusing.artifact("b", content=b"b"), "wait_s": wait_s, **more})
    assert says in problem(response, status)["detail"]
    assert refusing.digests() == before


async def test_numbers_of_the_settings_are_passed_over(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """The first number that is free lies above all of them."""
    declared = ModelSettings.model_validate({"name": "digits", "versions": [{"version": 2, "path": "x"}]})
    async with room(valkey.url, tmp_path, models=(declared,)) as here:
        assert await here.registered() == 3


async def test_a_candidate_must_serve_the_clients_of_the_stable_version(here: Room) -> None:
    """Nobody has to name it: what the policy has as stable counts, unless it is forced."""
    assert await here.registered("a") == 1
    await here.ready(1)
    assert (await here.policy(1)).status_code == 200
    narrow = here.artifact("n", content=b"n", signature=NARROW)
    assert "clients of digits version 1" in problem(await here.register(narrow, wait_s=0), 422)["detail"]
    assert (await here.register(narrow, force=True)).status_code == 201


async def test_a_pickle_is_no_artifact_unless_the_settings_say_so(here: Room) -> None:
    """The sentence says what is wrong with it, and what to use."""
    folder = here.artifact("p")
    (folder / "model.pt2").rename(folder / "model.pkl")
    body = problem(await here.register(folder), 422)
    assert "pickle" in body["detail"]
    assert "skops" in body["hint"]


async def test_corrupt_bytes_are_never_verified(here: Room) -> None:
    """Both digests are told, and the state stays what it was."""
    await here.registered()
    [digest] = here.digests()
    (here.kept / digest / "model.pt2").write_bytes(b"Program")
    body = problem(await _verified(here, 1), 422)
    assert body["type"].endswith(":corrupted")
    assert digest in body["detail"]
    assert body["detail"].count("0") + len(body["detail"]) > 128


async def test_a_version_that_comes_back_is_tried_again(here: Room) -> None:
    """Archived → registered → verified; a second time changes nothing."""
    await here.registered()
    assert (await _moved(here, 1, "archive")).json()["state"] == "archived"
    assert (await _moved(here, 1, "restore")).json()["state"] == "registered"
    for _ in range(2):
        assert (await _verified(here, 1)).json()["result"]["throughput"] == 800.0
        assert (await here.http.get(f"{BASE}/versions/1")).json()["state"] == "verified"
    await _moved(here, 1, "archive")
    assert "'verify'" in problem(await _verified(here, 1), 422)["detail"]


async def test_registering_what_was_restored_verifies_it(here: Room) -> None:
    """The same contents are found, tried, and verified under their old number."""
    await here.registered("a")
    await _moved(here, 1, "archive")
    await _moved(here, 1, "restore")
    response = await here.register(here.artifact("a", content=b"a"))
    assert (response.status_code, response.json()["result"]["version"]) == (200, 1)
    assert (await here.http.get(f"{BASE}/versions/1")).json()["state"] == "verified"


async def test_an_alias_moves_for_whoever_knows_where_it_is(here: Room) -> None:
    """Without a revision 428, with an old one 409, with the right one it moves and says its new one."""
    await here.registered("a")
    await here.registered("b")
    alias = f"{BASE}/aliases/production"
    problem(await here.http.put(alias, json={"version": 1}), 428)
    problem(await here.http.put(alias, json={"version": 1}, headers={"If-Match": '"3"'}), 409)
    first = await here.http.put(alias, json={"version": 1}, headers={"If-Match": '"0"'})
    assert first.status_code == 200
    read = await here.http.get(alias)
    assert read.headers["etag"] == first.headers["etag"] == f'"{first.json()["revision"]}"'
    moved = await here.http.put(alias, json={"version": 2}, headers={"If-Match": read.headers["etag"]})
    assert moved.json()["version"] == 2
    assert (
        "points at version 2"
        in problem(await here.http.put(alias, json={"version": 1}, headers={"If-Match": read.headers["etag"]}), 409)[
            "detail"
        ]
    )
    assert (await here.http.get(f"{BASE}/versions/production")).json()["aliases"] == ["production"]
    assert (await here.http.get(f"{BASE}/aliases")).json()["aliases"] == [moved.json()]
    problem(await here.http.delete(alias), 428)
    assert (await here.http.delete(alias, headers={"If-Match": moved.headers["etag"]})).status_code == 204
    problem(await here.http.get(alias), 404)


async def test_of_twenty_moves_of_an_alias_one_wins(here: Room) -> None:
    """One 200, nineteen 409."""
    await here.registered("a")
    there_is_none = {"If-Match": '"0"'}
    said = await asyncio.gather(
        *(here.http.put(f"{BASE}/aliases/x", json={"version": 1}, headers=there_is_none) for _ in range(20))
    )
    assert sorted(one.status_code for one in said) == [200, *[409] * 19]


async def test_a_version_in_use_is_not_put_away_and_its_users_are_named(here: Room) -> None:
    """Alias, stable, share: each in a sentence; with all of them gone it goes."""
    for name in ("a", "b"):
        await here.registered(name)
    await here.ready(1, 2)
    await here.http.put(f"{BASE}/aliases/production", json={"version": 1}, headers={"If-Match": "*"})
    assert (await here.policy(1, v2=100_000)).status_code == 200
    detail = problem(await _moved(here, 1, "archive"), 409)["detail"]
    assert "alias production" in detail
    assert "stable version of digits, with 90 %" in detail
    assert "gets 10 % of the traffic" in problem(await _moved(here, 2, "archive"), 409)["detail"]
    assert (await here.policy(1, v2=0)).status_code == 200
    assert (await _moved(here, 2, "archive")).status_code == 200


async def test_a_registered_version_that_nobody_deployed_is_not_somebody_elses(here: Room) -> None:
    """Only what the settings declare is static."""
    await here.registered()
    await here.ready(1)
    assert (await here.policy(1)).status_code == 200
    [model] = (await here.http.get("/api/v1/status")).json()["models"]
    assert [(one["version"], one["source"]) for one in model["versions"]] == [(1, "pool")]


async def test_a_version_under_work_is_not_put_away(here: Room) -> None:
    """The operation is named."""
    await here.registered()
    here.trials.gate = asyncio.Event()
    begun = (await _verified(here, 1, wait_s=0)).json()
    assert begun["id"] in problem(await _moved(here, 1, "archive"), 409)["detail"]
    here.trials.gate.set()
    await here.http.get(f"/api/v1/operations/{begun['id']}", params={"wait_s": 20})
    assert (await _moved(here, 1, "archive")).status_code == 200


async def test_a_version_that_is_away_gets_no_traffic(here: Room) -> None:
    """Neither archived nor merely registered, whatever is forced."""
    await here.registered("a")
    await here.registered("b")
    await here.ready(1, 2)
    await _moved(here, 2, "archive")
    assert "version 2 is archived" in problem(await here.policy(1, v2=1), 422)["detail"]
    await _moved(here, 2, "restore")
    assert "version 2 is registered" in problem(await here.policy(2), 422)["detail"]
    assert (await _verified(here, 2)).status_code == 200
    assert (await here.policy(1, v2=1)).status_code == 200


async def test_moves_compete_on_the_revision_that_they_name(here: Room) -> None:
    """An old ETag is 409, no ETag is whatever is there, one that is none is 400."""
    await here.registered()
    read = await here.http.get(f"{BASE}/versions/1")
    await _moved(here, 1, "archive")
    old = {"If-Match": read.headers["etag"]}
    problem(await here.http.post(f"{BASE}/versions/1/restore", json={}, headers=old), 409)
    problem(await here.http.post(f"{BASE}/versions/1/restore", json={}, headers={"If-Match": "x"}), 400)
    assert (await _moved(here, 1, "restore")).status_code == 200


async def test_only_what_was_put_away_is_deleted_and_its_number_stays_taken(here: Room) -> None:
    """204, then 404; registering under that number is 409 for ever."""
    await here.registered("a")
    assert "'delete'" in problem(await here.http.delete(f"{BASE}/versions/1"), 422)["detail"]
    await _moved(here, 1, "archive")
    assert (await here.http.delete(f"{BASE}/versions/1", params={"why": "old"})).status_code == 204
    problem(await here.http.get(f"{BASE}/versions/1"), 404)
    assert "never used twice" in problem(await here.register(here.artifact("b"), number=1), 409)["detail"]
    assert await here.registered("b") == 2


async def test_a_change_must_come_as_json(here: Room) -> None:
    """A form that a web page could send without asking changes nothing."""
    await here.registered()
    headers = {"content-type": "text/plain"}
    for path in ("versions", "versions/1/archive", "versions/1/verify", "import"):
        problem(await here.http.post(f"{BASE}/{path}", content=b"{}", headers=headers), 415)
    problem(await here.http.post("/api/v1/models/digits/promote", content=b"{}", headers=headers), 415)


async def test_lists_come_in_pages(here: Room) -> None:
    """By name and by number, each page saying where the next one begins; the last says none."""
    for name in ("a", "b", "c"):
        await here.registered(name)
    page = (await here.http.get(f"{BASE}/versions", params={"limit": 2})).json()
    assert ([one["version"] for one in page["versions"]], page["next"]) == ([3, 2], 2)
    page = (await here.http.get(f"{BASE}/versions", params={"limit": 2, "below": 2})).json()
    assert ([one["version"] for one in page["versions"]], page["next"]) == ([1], None)
    assert page["versions"][0]["state"] == "verified"
    models = (await here.http.get("/api/v1/registry/models", params={"limit": 1})).json()
    assert (models["models"][0]["newest"], models["next"]) == (3, "digits")
    assert (await here.http.get("/api/v1/registry/models", params={"after": "digits"})).json()["models"] == []


async def test_what_differs_is_told_part_by_part(here: Room) -> None:
    """Metrics with their change, signatures with the reason why one cannot stand in for the other."""
    await here.registered("a", metrics={"accuracy": 0.5})
    narrow = here.artifact("b", content=b"b", signature=NARROW)
    assert (await here.register(narrow, metrics={"accuracy": 0.75})).status_code == 201
    body = (await here.http.get(f"{BASE}/diff", params={"before": "1", "after": "2"})).json()
    assert body["metrics"] == [{"name": "accuracy", "before": 0.5, "after": 0.75, "change": 0.25}]
    assert (body["differs"], len(body["objections"])) == (True, 1)
    problem(await here.http.get(f"{BASE}/diff", params={"before": "1", "after": "9"}), 404)


async def test_the_configuration_can_be_read(here: Room) -> None:
    """As Triton reads it, with name and number of the version."""
    await here.registered()
    response = await here.http.get(f"{BASE}/versions/1/config")
    assert response.headers["content-type"].startswith("text/plain")
    assert 'name: "digits"' in response.text
    assert "dims: 64" in response.text.replace("dims: [ 64 ]", "dims: 64").replace("dims: [64]", "dims: 64")


async def test_the_configuration_is_the_one_that_is_served(here: Room) -> None:
    """With the options that the version was deployed with; before that with the defaults."""
    await here.registered()
    where = f"{BASE}/versions/1/config"
    assert "max_batch_size: 64" in (await here.http.get(where)).text
    deployed = await here.http.post(
        "/api/v1/models/digits/versions/1/deploy",
        json={"options": {"max_batch_size": 7, "instance_count": 3}},
        params={"wait_s": 20},
    )
    assert deployed.status_code == 200, deployed.text
    text = (await here.http.get(where)).text
    assert ("max_batch_size: 7" in text, "count: 3" in text) == (True, True), text


async def test_versions_of_the_settings_have_a_configuration_too(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """With the settings' options, as long as the folder is there; of somebody else's Triton nothing is known."""
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "model.pt2").write_bytes(b"program")
    (folder / "signature.json").write_text(json.dumps(SIGNATURE))
    declared = ModelSettings.model_validate(
        {
            "name": "digits",
            "versions": [
                {"version": 7, "path": str(folder), "max_batch_size": 5},
                {"version": 8, "endpoints": ["127.0.0.1:9"]},
            ],
        }
    )
    async with room(valkey.url, tmp_path, models=(declared,)) as here:
        text = (await here.http.get(f"{BASE}/versions/7/config")).text
        assert ('name: "digits"' in text, "max_batch_size: 5" in text) == (True, True), text
        body = problem(await here.http.get(f"{BASE}/versions/8/config"), 404)
        assert "somebody else's Triton" in body["detail"]
        problem(await here.http.get(f"{BASE}/versions/9/config"), 404)
        shutil.rmtree(folder)
        body = problem(await here.http.get(f"{BASE}/versions/7/config"), 422)
        assert "digits version 7 cannot be read" in body["detail"]


async def test_the_audit_log_says_who_did_what(here: Room) -> None:
    """Newest first, in pages."""
    await here.registered(why="the first")
    await here.http.put(f"{BASE}/aliases/x", json={"version": 1, "why": "good"}, headers={"If-Match": "*"})
    first = (await here.http.get("/api/v1/registry/audit", params={"limit": 1})).json()
    [entry] = first["entries"]
    assert (entry["what"], entry["why"], entry["who"]) == ("alias", "good", "anonymous from 127.0.0.1")
    second = (await here.http.get("/api/v1/registry/audit", params={"before": first["next"]})).json()
    assert [(one["what"], one["why"]) for one in second["entries"]] == [("register", "the first")]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/operations/none",
        f"{BASE}/versions",
        f"{BASE}/versions/9",
        f"{BASE}/versions/production",
        f"{BASE}/versions/9/config",
        f"{BASE}/diff?before=1&after=2",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_is_not_there_is_a_problem(empty: Room, path: str) -> None:
    """404 in the form of all refusals."""
    problem(await empty.http.get(path), 404)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/registry/models/%20/versions",
        f"{BASE}/versions/0",
        f"{BASE}/versions/+1",
        f"{BASE}/versions?limit=0",
        f"{BASE}/versions?limit=10001",
        f"{BASE}/versions?below=0",
        f"{BASE}/aliases/1",
        "/api/v1/registry/audit?before=x",
        "/api/v1/operations?limit=0",
        "/api/v1/operations/0123456789abcdef?wait_s=31",
    ],
)
@pytest.mark.asyncio(loop_scope="module")
async def test_what_cannot_be_is_a_problem(empty: Room, path: str) -> None:
    """422 in the form of all refusals."""
    problem(await empty.http.get(path), 422)


async def _verified(here: Room, version: int, wait_s: float = 20) -> httpx.Response:
    return await here.http.post(f"{BASE}/versions/{version}/verify", json={}, params={"wait_s": wait_s}, timeout=60)


async def _moved(here: Room, version: int, event: str) -> httpx.Response:
    return await here.http.post(f"{BASE}/versions/{version}/{event}", json={"why": "a test"})


@pytest.mark.asyncio(loop_scope="module")
async def test_the_description_says_what_runs_code_and_what_refusals_are(empty: Room) -> None:
    """Whoever reads it knows that registering is running; every path's refusals are problem details."""
    described = (await empty.http.get("/openapi.json")).json()
    assert "runs its author's code" in described["info"]["description"]
    assert "run their author's code" in described["components"]["schemas"]["RegisterIn"]["description"]
    for path, operations in described["paths"].items():
        for operation in operations.values():
            if path.startswith("/api/"):
                assert list(operation["responses"]["4XX"]["content"]) == ["application/problem+json"], path
