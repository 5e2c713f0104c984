"""Shares and salts of rollouts over HTTP: nothing is guessed, and each rollout deals out by a salt of its own."""

from __future__ import annotations

import json

import pytest

from serving.control.rolling.document_schema import DOCUMENT_SCHEMA
from serving.figures import Figures
from serving.leases import GatewayLease
from tests.serving.control.rolling.rooms import MODEL, STEPS
from tests.serving.control.test_api_rollouts import OF_MODEL, Api, api

__all__ = ["api"]

SENTENCE = "write '10%' or '100000ppm'"


@pytest.mark.parametrize("bare", [10, 12.5, 100_000, "10", "12.5"])
async def test_a_share_without_its_unit_changes_nothing(api: Api, bare: float | str) -> None:
    """Ten could be ten per cent or ten in a million: 422 and a sentence that says how to write it."""
    rollout = await api.start()
    await api.room.tick(1)
    answer = await api.http.patch(
        f"/api/v1/rollouts/{rollout['id']}", json={"shares": {"2": bare}}, headers={"If-Match": "*"}
    )
    assert (answer.status_code, SENTENCE in answer.text.replace('\\"', '"')) == (422, True), answer.text
    assert await api.room.shares() == {1: 990_000, 2: 10_000}


async def test_a_share_of_nothing_needs_no_unit(api: Api) -> None:
    """0 is 0 in every unit."""
    rollout = await api.start()
    await api.room.tick(1)
    answer = await api.http.patch(
        f"/api/v1/rollouts/{rollout['id']}", json={"shares": {"2": 0}}, headers={"If-Match": "*"}
    )
    assert answer.json()["rollout"]["shares"] == {"1": 1_000_000, "2": 0}


@pytest.mark.parametrize(
    "document",
    [
        {"candidate": 2, "canary": {"steps": [5, "50%"]}},
        {"ab_test": {"arms": {"2": 10}, "for": "1d"}},
        {"shadow": {"version": 2, "sample": 100_000}},
        {"plan": {"form": 1, "end": "restore", "stages": [{"name": "a", "shares": {"2": 10}}]}},
    ],
    ids=["canary", "a/b", "shadow", "plan"],
)
async def test_a_document_has_units_as_well(api: Api, document: dict[str, object]) -> None:
    """When it is started and when it is looked at, in strategies and in whole plans."""
    answer = await api.http.post(OF_MODEL, json=document)
    assert (answer.status_code, SENTENCE in answer.json()["detail"]) == (422, True), answer.text
    [mistake] = (await api.http.post("/api/v1/plan/lint", json=document)).json()["mistakes"]
    assert SENTENCE in mistake


async def test_a_plan_that_is_shown_can_be_handed_in_again(api: Api) -> None:
    """Its shares have their unit."""
    rollout = await api.start()
    plan = (await api.http.get(f"/api/v1/rollouts/{rollout['id']}")).json()["plan"]
    assert plan["stages"][0]["shares"] == {"2": "1%"}
    assert (await api.http.post("/api/v1/plan/lint", json={"plan": plan})).json()["mistakes"] == []


async def test_each_rollout_draws_its_own_salt_and_keeps_it(api: Api) -> None:
    """It is in its plan from the start, in every policy that it sets, and named by its id; the model's comes back."""
    before = (await api.room.service.current(MODEL)).policy.salt
    salts = []
    for again in (False, True):
        rollout = await api.start({**STEPS, "again": again})
        await api.room.tick(1)
        shown = (await api.http.get(f"/api/v1/rollouts/{rollout['id']}")).json()
        assert shown["plan"]["salt"] == rollout["id"] == (await api.room.service.current(MODEL)).policy.salt
        await api.ask(rollout["id"], "rollback", why="a tour")
        assert (await api.room.service.current(MODEL)).policy.salt == before
        salts.append(shown["plan"]["salt"])
    assert len({*salts, before}) == 3


async def test_a_salt_is_named_by_whoever_wants_the_same_units_again(api: Api) -> None:
    """Then a dry run has nothing to say of it; where it is left out, it says that one is drawn."""
    named = await api.http.post(OF_MODEL, json={**STEPS, "salt": "spring"}, params={"dry_run": "true"})
    assert (named.json()["notes"], named.json()["stages"][0]["policy"]["salt"]) == ([], "spring")
    drawn = await api.http.post(OF_MODEL, json=STEPS, params={"dry_run": "true"})
    assert [note for note in drawn.json()["notes"] if note.startswith("a salt of its own is drawn when it starts")]
    assert (await api.start({**STEPS, "salt": "spring"}))["plan"]["salt"] == "spring"


async def test_how_versions_answer_is_shown_beside_their_shares(api: Api) -> None:
    """Requests per second, errors and latency of the last seconds, from what gateways count."""
    rollout = await api.start()
    for second, count in enumerate((0, 200, 400)):
        figures = {f"{MODEL}/2": Figures(count, count // 4, {4_096: count}), "other/2": Figures(9_000)}
        lease = GatewayLease("g", "b", 7, "h", 8000, 1, "d", figures=figures)
        api.room.service.rates = api.room.service.rates.with_figures([lease], float(second))
    shown = (await api.http.get(f"/api/v1/rollouts/{rollout['id']}")).json()
    assert shown["lately"].keys() == {"2"}
    assert (shown["lately"]["2"]["requests_per_s"], shown["lately"]["2"]["error_share"]) == (200.0, 0.25)
    assert shown["lately"]["2"]["p50_ms"] == pytest.approx(4.6, rel=0.2)


def test_the_schema_has_no_bare_share() -> None:
    """So that an editor says it while the file is written."""
    assert json.loads(json.dumps(DOCUMENT_SCHEMA["$defs"]["share"]["anyOf"][0])) == {"const": 0}
