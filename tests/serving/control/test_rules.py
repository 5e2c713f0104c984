"""Rules, sources of units and shadows through the control API: set, kept, refused with a sentence, and explained."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given

from router.choose import Facts, choose
from router.codec import policy_as_dict, policy_from_dict
from router.match import Match, Said
from router.policy import WHOLE, Policy, Rule, Shadow
from router.unit import FieldSource, JsonSource
from serving.control.api import create_app
from serving.control.api.policies import PolicyIn
from serving.control.explaining import explained
from serving.control.fake_store import FakeStore
from serving.control.service import ControlService, Wanted, next_policy
from serving.endpoint import Endpoint
from serving.leases import GatewayLease
from tests.router.cases import policies

PATH = "/api/v1/models/digits"
GOLD: dict[str, Any] = {"version": 2, "when": [{"name": "x-tier", "values": ["gold"]}]}
FULL: dict[str, Any] = {
    "rules": [
        GOLD,
        {
            "version": 3,
            "when": [
                {"name": "x-tier", "how": "prefix", "values": ["g", "s"], "place": "header"},
                {"name": "x-v", "how": "regex", "values": [r"v\d+"], "place": "metadata"},
                {"name": "country", "how": "in", "values": ["de", "fr"]},
            ],
        },
    ],
    "unit_sources": [{"name": "x-user"}, {"json": "$.user.id"}, {"json": "$.a[0]", "max_bytes": 1_000}],
    "shadows": [{"version": 3, "sample_ppm": 10_000, "when": GOLD["when"], "max_per_s": 5, "max_in_flight": 2}],
}


@pytest.fixture
async def store() -> FakeStore:
    """Versions 1 to 3 of digits answer."""
    store = FakeStore()
    for version in (1, 2, 3):
        await store.hold(Endpoint("127.0.0.1", 9000 + version, 0, "digits", version), 600)
    return store


@pytest.fixture
async def http(store: FakeStore) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application; digits has its first policy, and a version 4 without an endpoint."""
    service = ControlService(store, {"digits": dict.fromkeys((1, 2, 3, 4), "pool")})
    await service.ensure_policy("digits", {1: WHOLE}, 1, "sluice-unit")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(service)), base_url="http://sluice") as http:
        yield http


async def put(http: httpx.AsyncClient, status: int = 200, **policy: object) -> dict[str, Any]:
    """What a change of the policy is answered with."""
    body = {"policy": {"stable": 1, **policy}}
    answer = await http.put(f"{PATH}/policy", json=body, params={"wait_s": 0}, headers={"If-Match": "*"})
    assert answer.status_code == status, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def ask(http: httpx.AsyncClient, status: int = 200, **asked: object) -> dict[str, Any]:
    """What a question about a request is answered with."""
    headers = {"Content-Type": "application/json"}  # escaped to ASCII, so that half a character can be sent
    answer = await http.post(f"{PATH}/explain", content=json.dumps(asked), headers=headers)
    assert answer.status_code == status, answer.text
    said: dict[str, Any] = answer.json()
    return said


# What follows.


def test_what_is_not_named_is_carried_over() -> None:
    """Setting shares by hand, or another stable version, changes neither rules nor sources nor shadows."""
    before = Policy(
        1,
        salt="s",
        rules=(Rule(2, (Match("x-tier", ("gold",)),)),),
        unit_sources=(FieldSource("x-user"), JsonSource("$.user")),
        shadows=(Shadow(3, 10, when=(Match("a", ("b",)),), max_per_s=1),),
    )
    for wanted in (Wanted(1, {2: 500_000}), Wanted(2, {1: 1}), Wanted(2)):
        after = next_policy(before, wanted)
        assert (after.rules, after.unit_sources, after.shadows) == (before.rules, before.unit_sources, before.shadows)
    emptied = next_policy(before, Wanted(1, rules=(), unit_sources=(), shadows=()))
    assert emptied == Policy(1, salt="s")


@given(policies)
def test_the_api_takes_the_codecs_form(policy: Policy) -> None:
    """What a policy says of itself can be sent back: rules, sources and shadows mean the same."""
    said = policy_as_dict(policy)
    taken = PolicyIn.model_validate(
        {"stable": 1, **{name: said.get(name, []) for name in ("rules", "unit_sources", "shadows")}}
    )
    assert tuple(one.made() for one in taken.rules or ()) == policy.rules
    assert tuple(one.made() for one in taken.unit_sources or ()) == policy.unit_sources
    assert tuple(one.made() for one in taken.shadows or ()) == policy.shadows


# Setting.


async def test_a_policy_is_set_in_full_and_read_back(http: httpx.AsyncClient) -> None:
    """Usual values may be left out, and what is shown can be sent again."""
    shown = (await put(http, **FULL))["policy"]
    assert shown["rules"][0]["when"] == [{"place": "any", "name": "x-tier", "how": "equals", "values": ["gold"]}]
    assert shown["unit_sources"][1] == {"json": "$.user.id", "max_bytes": 65_536}
    assert shown["shadows"][0]["salt"] == "shadow"
    assert policy_from_dict(shown).rules[1].version == 3
    again = await put(http, **{name: shown[name] for name in FULL})
    assert {name: again["policy"][name] for name in FULL} == {name: shown[name] for name in FULL}
    kept = await put(http, arms=[{"version": 2, "share_ppm": 5}])
    assert {name: kept["policy"][name] for name in FULL} == {name: shown[name] for name in FULL}
    assert (await put(http, rules=[], unit_sources=[], shadows=[]))["policy"]["rules"] == []


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"rules": [{"version": 2, "when": []}]}, "rules.0.when"),
        ({"rules": [{"version": 2, "when": [{"name": "X-Tier", "values": ["a"]}]}]}, "no header name"),
        ({"rules": [{"version": 2, "when": [{"name": "a", "values": []}]}]}, "rules.0.when.0.values"),
        ({"rules": [{"version": 2, "when": [{"name": "a", "values": ["a", "b"]}]}]}, "use 'in' for several"),
        ({"rules": [{"version": 2, "when": [{"name": "a", "values": ["a", "a"], "how": "in"}]}]}, "different values"),
        ({"rules": [{"version": 2, "when": [{"name": "a", "values": ["("], "how": "regex"}]}]}, "the pattern '('"),
        ({"rules": [{"version": 2, "when": [{"name": "a", "values": ["a"], "how": "like"}]}]}, "rules.0.when.0.how"),
        ({"rules": [{"version": 2, "when": [{"name": "a", "values": ["a"], "not": 1}]}]}, "not: extra inputs"),
        ({"rules": [{"version": "2", "when": GOLD["when"]}]}, "rules.0.version"),
        ({"rules": [GOLD] * 65}, "rules: list should have at most 64"),
        ({"rules": "gold"}, "rules"),
        ({"unit_sources": [{"json": "user"}]}, "no place in a body"),
        ({"unit_sources": [{"json": "$.a", "max_bytes": 2_000_000}]}, "max_bytes"),
        ({"unit_sources": [{"json": "$.a", "name": "b"}]}, "name: extra inputs"),
        ({"unit_sources": [{"name": "a"}, {"name": "a"}]}, "each named once"),
        ({"unit_sources": [{}]}, "name: field required"),
        ({"unit_sources": ["x-user"]}, "unit_sources.0"),
        ({"shadows": [{"version": 2}, {"version": 2, "salt": "t"}]}, "a shadow twice"),
        ({"shadows": [{"version": 2, "max_per_s": 0}]}, "max_per_s"),
        ({"shadows": [{"version": 2, "max_in_flight": True}]}, "max_in_flight"),
        ({"shadows": [{"version": 2, "sample": "10%"}]}, "sample: extra inputs"),
        ({"shadows": [{"version": 2, "salt": "a\0"}]}, "no NUL"),
        ({"shadows": [{"version": 2}], "repeatable": False}, "leave the shadows out"),
    ],
)
async def test_every_mistake_has_a_sentence(http: httpx.AsyncClient, policy: Mapping[str, Any], words: str) -> None:
    """It says what is wrong and where, and nothing was changed."""
    said = await put(http, 422, **policy)
    assert words in said["detail"]
    assert said["detail"].endswith(".")
    assert (await http.get(f"{PATH}/policy")).json()["revision"] == 1


async def test_a_rule_for_a_version_that_nobody_serves_is_refused(http: httpx.AsyncClient) -> None:
    """As a share of it would be; a shadow without servers harms nobody, an unknown version is none."""
    asleep = {**GOLD, "version": 4}
    assert "version 4 of digits has no endpoint" in (await put(http, 422, rules=[asleep]))["detail"].replace("V", "v")
    assert "no version 9" in (await put(http, 404, rules=[{**GOLD, "version": 9}]))["detail"]
    assert "no version 9" in (await put(http, 404, shadows=[{"version": 9}]))["detail"]
    await put(http, shadows=[{"version": 4}])


async def test_an_old_gateway_keeps_rules_from_being_published(http: httpx.AsyncClient, store: FakeStore) -> None:
    """A live lease that reads less than the policy needs is named; a policy without any of it is published."""
    store.gateway_says(GatewayLease("old", "b", 1, "h", 8000, 1, "d", reader=1), 600)
    said = await put(http, 409, rules=[GOLD])
    assert "old" in said["detail"]
    await put(http, arms=[{"version": 2, "share_ppm": 5}])


# Explaining.


async def test_explain_knows_rules_by_headers(http: httpx.AsyncClient) -> None:
    """By the query as by the body; without a unit, too, for a rule needs none."""
    await put(http, rules=[GOLD])
    by_query = (await http.get(f"{PATH}/explain", params={"header": "X-Tier: gold"})).json()
    assert by_query == await ask(http, headers={"X-Tier": " gold "}) == await ask(http, headers={"x-tier": "gold"})
    assert (by_query["version"], by_query["reason"], by_query["bucket"]) == (2, "rule", None)
    assert by_query["words"].startswith("Rule 1 of 1 applies (x-tier is 'gold'), so version 2 answers.")
    assert "No rule applies" in (await ask(http, unit="ada", headers={"x-tier": "iron"}))["words"]
    odds = await ask(http, headers={"x-tier": "iron"})
    assert (odds["version"], "No rule applies (there are 1)." in odds["words"]) == (None, True)


async def test_explain_tells_metadata_from_headers(http: httpx.AsyncClient) -> None:
    """A request over gRPC has metadata and no headers."""
    await put(http, rules=[{"version": 2, "when": [{**GOLD["when"][0], "place": "metadata"}]}])
    assert (await ask(http, headers={"x-tier": "gold"}, grpc=True))["reason"] == "rule"
    assert (await ask(http, headers={"x-tier": "gold"}))["reason"] == "random"


async def test_explain_finds_the_unit_where_the_policy_does(http: httpx.AsyncClient) -> None:
    """In the header, in further fields, in the body; an empty one is none; the odds say where it was looked for."""
    sources = [{"name": "x-user"}, {"json": "$.user.id", "max_bytes": 40}]
    await put(http, arms=[{"version": 2, "share_ppm": 500_000}], unit_sources=sources)
    by_unit = await ask(http, unit="7")
    assert by_unit["bucket"] is not None
    same: list[dict[str, Any]] = [
        {"headers": {"sluice-unit": "7"}},
        {"headers": {"x-user": "7", "sluice-unit": ""}},
        {"body": {"user": {"id": 7}}},
        {"unit": "", "body": {"user": {"id": "7"}}},
        {"headers": {"x-user": "7"}, "body": {"user": {"id": "8"}}},
    ]
    for asked in same:
        assert await ask(http, **asked) == by_unit
    none: list[dict[str, Any]] = [
        {}, {"unit": ""}, {"body": {"user": {"id": 7}, "more": "x" * 40}}, {"body": "\ud800"},
    ]  # fmt: skip
    for asked in none:
        odds = await ask(http, **asked)
        assert odds["version"] is None
        assert "Without a unit (sluice-unit or x-user or $.user.id)" in odds["words"]


@pytest.mark.parametrize(
    "asked",
    [
        {"units": "x"}, {"headers": ["a:b"]}, {"headers": {"a": 1}}, {"grpc": 1}, {"unit": "x" * 1_025},
        {"headers": {"sluice-version": "two"}}, {"unit": "\ud800"}, {"headers": {"a": "\ud800"}},
        {"headers": {"\ud800": "a"}}, {"headers": {f"h{n}": "v" for n in range(101)}},
    ],
)  # fmt: skip
async def test_a_question_that_cannot_be_read_is_refused(http: httpx.AsyncClient, asked: Mapping[str, Any]) -> None:
    """With a sentence, and never with a failure of the server's."""
    assert (await ask(http, 422, **asked))["detail"].endswith(".")


async def test_a_question_of_an_unknown_model(http: httpx.AsyncClient) -> None:
    """404, as for everything about it; what is no JSON is refused before."""
    assert (await http.post("/api/v1/models/none/explain", json={})).status_code == 404
    assert (await http.post(f"{PATH}/explain", content=b"x=1")).status_code == 415


@given(policies)
def test_what_is_explained_is_what_is_chosen(policy: Policy) -> None:
    """For any policy, with a unit or where none is needed, the version and reason are those of `choose`."""
    headers = {"x": "a", policy.unit_header: "ada"}
    said = Said({name.encode(): value.encode() for name, value in headers.items()})
    choice = choose(policy, Facts(b"ada", said=said))
    told = explained(policy, None, headers)
    assert (told.version, told.reason, told.bucket) == (choice.version, choice.reason.value, choice.bucket)


def test_nobody_is_promised_a_copy_that_is_drawn() -> None:
    """Without a unit only what is copied for everybody is certain."""
    shadows = (Shadow(3, WHOLE - 1), Shadow(4))
    policy = Policy(1, rules=(Rule(2, (Match("a", ("b",)),)),), shadows=shadows)
    assert explained(policy, None, {"a": "b"}).words.endswith("Beside that, a copy goes to version 4.")
