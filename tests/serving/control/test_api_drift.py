"""Drift over HTTP: statuses, windows, findings, and baselines, which are read before they are kept."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from drift.keys import DriftKeys
from serving.control.valkey import EmbeddedValkey
from serving.settings import ModelSettings
from tests.drift.samples import baseline
from tests.serving.control.workshops import Room, problem, room
from tests.serving.drifting import BROKEN, FINDING, STATUS, WINDOW

DRIFT = "/api/v1/drift"
OF_DEMO = f"{DRIFT}/models/demo/versions/1/baseline"
BLOB = base64.b64encode(baseline().blob).decode()


@pytest.fixture
async def here(valkey: EmbeddedValkey, tmp_path: Path) -> AsyncIterator[Room]:
    """A control room whose settings declare the versions 1 and 2 of demo."""
    versions = [{"version": 1, "path": "x"}, {"version": 2, "path": "y"}]
    declared = ModelSettings.model_validate({"name": "demo", "versions": versions})
    async with room(valkey.url, tmp_path, models=(declared,)) as made:
        yield made


async def found(here: Room, *findings: Any) -> list[str]:  # noqa: ANN401
    """What a sidecar has found; their ids."""
    key = DriftKeys(here.store.keys.namespace).findings
    redis: Any = here.store._redis
    return [(await redis.xadd(key, {"f": json.dumps(one.plain())})).decode() for one in findings]


async def got(here: Room, path: str, **params: str) -> dict[str, Any]:
    """The answer."""
    answer = await here.http.get(f"{DRIFT}{path}", params=params)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def put(here: Room, body: Any, path: str = OF_DEMO) -> httpx.Response:  # noqa: ANN401
    """A baseline that is brought."""
    return await here.http.put(path, json=body)


async def test_an_installation_without_a_sidecar_says_so(here: Room) -> None:
    """Nothing is watched, nothing was found."""
    assert await got(here, "") == {"versions": []}
    assert await got(here, "/findings") == {"findings": []}
    assert await got(here, "/baselines") == {"baselines": []}
    said = problem(await here.http.get(f"{DRIFT}/models/digits/versions/2"), 404)
    assert said["detail"] == "Nobody watches digits version 2: it has no baseline."
    assert "sluice drift baseline digits 2" in said["hint"]


async def test_how_a_version_is_watched_is_told(here: Room) -> None:
    """The status with its layers, the windows oldest first, the findings newest first."""
    keys, redis = DriftKeys(here.store.keys.namespace), here.store._redis
    await redis.hset(keys.status, "digits/2", json.dumps(STATUS.plain()))
    for first_s in (0.0, 60.0):
        window = replace(WINDOW, first_s=first_s, last_s=first_s + 60)
        await redis.rpush(keys.history("digits", 2), json.dumps(window.plain()))
    ids = await found(here, FINDING, replace(FINDING, version=1), BROKEN)
    (status,) = (await got(here, ""))["versions"]
    assert (status["drifting"], status["episode"]["id"], status["sentence"]) == (True, "ep-1", STATUS.sentence)
    assert status["samples"] == {"offered": 2_000, "dropped": 7, "lost": 1, "unreadable": 0, "pending": 3}
    assert [one["waiting"] for one in status["layers"]] == ["", "It has too few rows."]
    seen = await got(here, "/models/digits/versions/2")
    assert (seen["status"], seen["baseline"]) == (status, None)
    assert [one["first"] for one in seen["windows"]] == ["1970-01-01T00:00:00Z", "1970-01-01T00:01:00Z"]
    assert seen["windows"][0]["layers"]["univariate"]["log_sum"] == 15.25
    assert [one["id"] for one in seen["findings"]] == [ids[2], ids[0]]


async def test_findings_are_listed_in_pages_and_shown_whole(here: Room) -> None:
    """Newest first, or those after one oldest first; one by its id with its histograms."""
    ids = await found(here, FINDING, replace(FINDING, model="other"), BROKEN)
    listed = (await got(here, "/findings"))["findings"]
    assert [one["id"] for one in listed] == ids[::-1]
    assert [one["id"] for one in (await got(here, "/findings", model="other"))["findings"]] == [ids[1]]
    assert [one["id"] for one in (await got(here, "/findings", before=ids[1]))["findings"]] == [ids[0]]
    assert [one["id"] for one in (await got(here, "/findings", after=ids[0]))["findings"]] == ids[1:]
    one = await got(here, f"/findings/{ids[0]}")
    assert one == listed[2]
    assert (one["words"], one["layer"], one["rows"]) == (str(FINDING), "univariate", 1_500)
    assert one["features"][0]["bars"] == [
        {"name": "below 3", "before": 0.5, "after": 0.1},
        {"name": "3 and more", "before": 0.5, "after": 0.9},
    ]
    assert one["segment"] == {"feature": "country", "name": "nl", "share": 0.25, "inside": 0.6, "outside": 0.02}
    assert listed[0]["breaks"][0]["column"] == "colour"


async def test_findings_of_others_hide_no_later_one(here: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever follows one model gets its next finding, however many of others, or unreadable ones, come before it."""
    monkeypatch.setattr("serving.control.watched._AT_ONCE", 2)
    first, *_ = await found(here, FINDING, *[replace(FINDING, model="other")] * 5)
    await here.store._redis.xadd(DriftKeys(here.store.keys.namespace).findings, {"f": "{}"})
    last = await found(here, FINDING, FINDING, FINDING)
    after = await got(here, "/findings", after=first, model="digits", limit="2")
    assert [one["id"] for one in after["findings"]] == last[:2]


async def test_a_moment_that_no_calendar_has_hides_nothing(here: Room) -> None:
    """It is shown as the nearest that one has."""
    said = json.dumps(replace(STATUS, told_s=1e300, heard_s=-1.0).plain())
    await here.store._redis.hset(DriftKeys(here.store.keys.namespace).status, "digits/2", said)
    (status,) = (await got(here, ""))["versions"]
    assert (status["told"][:10], status["heard"][:10]) == ("9999-12-31", "1970-01-01")


async def test_what_is_no_id_is_refused_and_one_that_is_not_there_is_not_its_neighbour(here: Room) -> None:
    """In every place where one may stand; the id is the finding's own."""
    for said in ("x", "1", "-", "1-x", "-1-0", "99999999999999999999-0", "1-0-0"):
        problem(await here.http.get(f"{DRIFT}/findings/{said}"), 422)
        for place in ("before", "after"):
            problem(await here.http.get(f"{DRIFT}/findings", params={place: said}), 422)
    (first,) = await found(here, FINDING)
    for other in ("1-0", f"{int(first.partition('-')[0]) + 1}-0", f"{first}7"):
        problem(await here.http.get(f"{DRIFT}/findings/{other}"), 404)


async def test_half_a_character_in_a_name_hides_no_finding(here: Room) -> None:
    """Names of columns are what strangers sent: one that no text can hold is shown with a question mark."""
    broken = replace(BROKEN.breaks[0], column="x\ud800", sentence="'x\ud800' is new.")
    await found(here, replace(BROKEN, breaks=(broken,), log_sum=float("inf")), FINDING)
    listed = (await got(here, "/findings"))["findings"]
    assert [one["breaks"] for one in listed] == [[], [{"how": "extra", "column": "x?", "sentence": "'x?' is new."}]]
    assert listed[1]["log_sum"] > 1e308


async def test_a_baseline_is_kept_shown_and_forgotten(here: Room) -> None:
    """Of a version that the settings declare; with who brought it, in the registry's audit log."""
    answer = await put(here, {"blob": BLOB, "why": "the first"})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["model"], said["version"], said["rows"], said["learned"]) == ("demo", 1, 4_000, False)
    assert said["digest"] == baseline().digest
    assert (await got(here, "/models/demo/versions/1/baseline")) == said
    assert (await got(here, "/baselines"))["baselines"] == [said]
    assert (await got(here, "/models/demo/versions/1"))["baseline"] == said
    audit = (await here.http.get("/api/v1/registry/audit")).json()["entries"][0]
    assert (audit["what"], audit["after"], audit["why"]) == ("baseline", baseline().digest, "the first")
    assert (await here.http.delete(OF_DEMO, params={"why": "of other data"})).status_code == 204
    problem(await here.http.get(OF_DEMO), 404)
    problem(await here.http.delete(OF_DEMO), 404)


async def test_what_is_no_baseline_of_that_version_is_refused(here: Room) -> None:
    """No base64, other bytes, another version's, one of a version that nobody knows; nothing is kept."""
    assert "no base64" in problem(await put(here, {"blob": "***"}), 422)["detail"]
    assert "no baseline" in problem(await put(here, {"blob": base64.b64encode(b"x" * 99).decode()}), 422)["detail"]
    broken = base64.b64encode(baseline().blob[:-8]).decode()
    assert "no baseline" in problem(await put(here, {"blob": broken}), 422)["detail"]
    other = problem(await put(here, {"blob": BLOB}, OF_DEMO.replace("/1/", "/2/")), 422)
    assert other["detail"] == "This is the baseline of demo version 1, and not of demo version 2."
    problem(await put(here, {"blob": ""}), 422)
    problem(await put(here, {}), 422)
    assert await got(here, "/baselines") == {"baselines": []}


def forged(change: Callable[[dict[str, Any]], None]) -> str:
    """The baseline's bytes with another head, in base64."""
    blob, start = baseline().blob, len(b"sluice-drift\n") + 8
    end = start + int.from_bytes(blob[start - 8 : start], "little")
    head = json.loads(blob[start:end])
    change(head["plain"])
    raw = json.dumps(head).encode()
    return base64.b64encode(blob[: start - 8] + len(raw).to_bytes(8, "little") + raw + blob[end:]).decode()


@pytest.mark.parametrize("made_at_s", [1e300, float("nan"), -1.0, 10**400], ids=["late", "nan", "early", "endless"])
async def test_a_baseline_of_no_time_is_refused(here: Room, made_at_s: float) -> None:
    """It would be shown to nobody, and hide all others."""
    blob = forged(lambda said: said.update(made_at_s=made_at_s))
    problem(await put(here, {"blob": blob}), 422)
    assert await got(here, "/baselines") == {"baselines": []}


async def test_a_baseline_of_endless_features_is_refused_before_they_are_named(here: Room) -> None:
    """A shape is a few bytes, and could say that there are more features than there is memory."""

    def change(said: dict[str, Any]) -> None:
        said["sides"]["inputs"]["schema"]["columns"][0][2] = [2**60]

    assert "at most 4,096" in problem(await put(here, {"blob": forged(change)}), 422)["detail"]
