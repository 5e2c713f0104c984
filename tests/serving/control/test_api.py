"""Over HTTP: the contract that the CLI and the README rely on, and a sentence for every mistake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.choose import Reason
from router.policy import WHOLE
from router.request_id import KeyRing, RequestId
from serving.control.api import create_app
from serving.control.client import ControlClient
from serving.control.fake_store import FakeStore
from serving.control.service import ControlService
from serving.control.views import PoolView
from serving.endpoint import Endpoint
from serving.leases import GatewayLease
from tests.examples import examples

POLICY = "/api/v1/models/digits/policy"
DECLARED = {"digits": {1: "pool", 2: "pool"}}


@dataclass
class Api:
    """The application on a store in memory, and a client of it."""

    store: FakeStore
    service: ControlService
    http: httpx.AsyncClient

    async def put(self, body: object, **more: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own
        """A change of digits."""
        return await self.http.put(POLICY, json=body, params={"wait_s": 0}, **{"headers": {"If-Match": "*"}, **more})


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """One model, two versions that answer, the first policy."""
    store = FakeStore()
    for version in (1, 2):
        await store.hold(
            Endpoint(host="127.0.0.1", http_port=9000 + version, grpc_port=0, model="digits", version=version), 600
        )
    service = ControlService(store, DECLARED)
    await service.ensure_policy("digits", {1: WHOLE}, 1, "sluice-unit")
    transport = httpx.ASGITransport(create_app(service))
    async with httpx.AsyncClient(transport=transport, base_url="http://sluice") as http:
        yield Api(store, service, http)


def half(share_ppm: object = 500_000) -> dict[str, Any]:
    """Half of the traffic to version 2."""
    return {"policy": {"stable": 1, "arms": [{"version": 2, "share_ppm": share_ppm}]}}


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem, checked to be one."""
    body: dict[str, Any] = response.json()
    assert response.status_code == body["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail", "hint"} <= body.keys()
    assert body["detail"].endswith(".")
    assert "Traceback" not in response.text
    return body


async def test_a_policy_is_read_with_its_revision_as_etag(api: Api) -> None:
    """What GET says is what If-Match takes."""
    response = await api.http.get(POLICY)
    body = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"1"')
    assert body.keys() == {"model", "revision", "epoch", "policy"}
    assert body["policy"]["stable"] == 1
    assert body["policy"]["arms"] == []
    assert body["policy"]["unit_header"] == "sluice-unit"
    assert body["policy"]["salt"]


async def test_a_change_answers_with_what_runs_and_who_runs_it(api: Api) -> None:
    """Revision, epoch, policy, acknowledgements, durability and how long it took."""
    api.store.gateway_says(GatewayLease("g1", "b", 1, "h", 8000, 1, "d"), 600)
    response = await api.put(half(), headers={"If-Match": '"1"'})
    body = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (body["model"], body["revision"], body["epoch"], body["durable"]) == ("digits", 2, 2, True)
    assert body["policy"]["arms"] == [{"version": 2, "share_ppm": 500_000, "offset_ppm": 0, "role": "arm"}]
    assert body["acknowledged"] == {"of": 1, "by": 0, "expired": [], "waiting": ["g1"]}
    assert body["took_ms"] >= 0


async def test_a_change_without_a_revision_is_refused(api: Api) -> None:
    """Whoever has not read the policy may not overwrite it."""
    assert "ETag" in problem(await api.put(half(), headers={}), 428)["hint"]


@pytest.mark.parametrize("said", ["1", "'1'", '"x"', '"-1"', '"1", "2"', 'W/"1"', "", '""', '"1' + "0" * 40 + '"'])
async def test_a_malformed_revision_is_refused(api: Api, said: str) -> None:
    """Nothing is guessed from an If-Match that is not ours."""
    problem(await api.put(half(), headers={"If-Match": said}), 400)


async def test_a_lost_race_shows_what_won(api: Api) -> None:
    """409 with the policy that is there now, nothing written."""
    await api.put(half(250_000))
    body = problem(await api.put(half(), headers={"If-Match": '"1"'}), 409)
    assert (body["current"]["revision"], body["current"]["policy"]["arms"][0]["share_ppm"]) == (2, 250_000)
    assert (await api.http.get(POLICY)).json()["revision"] == 2


async def test_of_twenty_changes_at_once_one_wins(api: Api) -> None:
    """One 200, nineteen 409."""
    said = await asyncio.gather(*(api.put(half(n), headers={"If-Match": '"1"'}) for n in range(20)))
    assert sorted(one.status_code for one in said) == [200, *[409] * 19]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (half(-1), 422, "share_ppm"),
        (half(WHOLE + 1), 422, "share_ppm"),
        (half(0.5), 422, "share_ppm"),
        (half("500000"), 422, "share_ppm"),
        (half(True), 422, "share_ppm"),
        (half(None), 422, "share_ppm"),
        ({}, 422, "policy: field required"),
        ([], 422, "dictionary"),
        ({"policy": {"stable": 0}}, 422, "stable"),
        ({"policy": {"stable": 1, "salt": "mine"}}, 422, "salt"),
        ({"policy": {"stable": 1, "arms": [{"version": 1, "share_ppm": 1}]}}, 422, "stable"),
        ({"policy": {"stable": 1, "arms": [{"version": 2, "share_ppm": 1}] * 2}}, 422, "twice"),
        ({"policy": {"stable": 1, "arms": [{"version": 2, "share_ppm": 1}] * 3_000}}, 413, "larger"),
        ({"policy": {"stable": 1, "arms": [{"version": 7, "share_ppm": 1}]}}, 404, "no version 7"),
        ({"policy": {"stable": 1, "unit_header": "No Header"}}, 422, "no header name"),
        ({"policy": {"stable": 1, "allow_override": "yes"}}, 422, "allow_override"),
        ({"policy": {"stable": 1}, "why": "w" * 1_001}, 422, "why"),
        ({"policy": {"stable": 10**30}}, 422, "stable"),
    ],
)
async def test_every_mistake_in_a_change_is_named(api: Api, body: object, status: int, says: str) -> None:
    """The key and what is allowed, never a guess, and nothing is written."""
    assert says in problem(await api.put(body), status)["detail"]
    assert (await api.http.get(POLICY)).json()["revision"] == 1


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"null", 422),
        (b'{"policy": {"stable": 1, "unit_header": "\\ud800"}}', 422),
        (b'{"policy": {"stable": 1}, "why": "\\ud800"}', 422),
        (b'{"policy": {"stable": 1, "\\ud800": 1}}', 422),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b'{"policy": NaN}', 422),
        (b"[" * 60_000, 400),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b'{"policy": {"stable": ' + b"9" * 5_000 + b"}}", 400),
        (b" " * 70_000, 413),
    ],
)
async def test_a_body_that_is_no_json_is_refused(api: Api, content: bytes, status: int) -> None:
    """Broken, huge and deeply nested bodies are the sender's fault and cost nothing."""
    headers = {"If-Match": "*", "Content-Type": "application/json"}
    problem(await api.http.put(POLICY, content=content, headers=headers), status)


async def test_a_body_of_another_kind_is_refused(api: Api) -> None:
    """A form is no change, whatever it says."""
    problem(await api.http.put(POLICY, data={"policy": "1"}, headers={"If-Match": "*"}), 415)
    problem(await api.http.put(POLICY, content=b"{}", headers={"If-Match": "*"}), 415)


@pytest.mark.parametrize("query", ["wait_s=-1", "wait_s=31", "wait_s=nan", "wait_s=inf", "wait_s=x", "force=maybe"])
async def test_a_wrong_query_is_named(api: Api, query: str) -> None:
    """A change waits at most half a minute."""
    response = await api.http.put(f"{POLICY}?{query}", json=half(), headers={"If-Match": "*"})
    assert query.partition("=")[0] in problem(response, 422)["detail"]


async def test_a_version_that_nobody_serves_needs_force(api: Api) -> None:
    """422 with the way out in its hint."""
    api.store._endpoints.clear()
    assert "force=true" in problem(await api.put(half()), 422)["hint"]
    response = await api.http.put(f"{POLICY}?force=true&wait_s=0", json=half(), headers={"If-Match": "*"})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/api/v1/nothing", "/api/v1/models/none/policy", "/api/v1/models/none/explain", "/api/v1/requests/x"]
)
async def test_what_is_not_there_is_a_problem_too(api: Api, path: str) -> None:
    """404 in the same form as every other refusal."""
    problem(await api.http.get(path), 404)


async def test_a_wrong_method_is_a_problem_too(api: Api) -> None:
    """405 in the same form."""
    problem(await api.http.delete(POLICY), 405)


async def test_a_store_that_is_away_is_503_with_a_time(api: Api) -> None:
    """The status answers still, and says so."""
    api.store.down = True
    for response in (await api.http.get(POLICY), await api.put(half()), await api.http.get("/api/v1/ledger")):
        problem(response, 503)
        assert int(response.headers["retry-after"]) >= 1
    status = (await api.http.get("/api/v1/status")).json()
    assert status["store"]["reachable"] is False
    assert len(status["store"]["warnings"]) == 1
    assert (await api.http.get("/healthz")).status_code == 200


async def test_the_status_has_the_shape_that_the_cli_reads(api: Api) -> None:
    """Every key of the contract, with its value."""
    head = await api.store.head()
    api.store.gateway_says(
        GatewayLease("g1", "b", 1, "h", 8000, head.epoch, head.digest, requests={"digits/1": 3}), 600
    )
    api.store.gateway_says(GatewayLease("g2", "b", 1, "h", 8000, 9, "other", held="it forgot"), 600)
    api.service.pools = (PoolView("digits", 1, "RUNNING", digest="abc", ready=1, wanted=2, last_crash_ms=0),)
    status = (await api.http.get("/api/v1/status")).json()
    assert (status["epoch"], status["digest"], status["store"]) == (1, head.digest, {"reachable": True, "warnings": []})
    assert [(one["id"], one["current"], one["held"]) for one in status["gateways"]] == [
        ("g1", True, None),
        ("g2", False, "it forgot"),
    ]
    assert status["gateways"][0]["requests"] == {"digits/1": 3}
    assert status["endpoints"][0] == {
        "model": "digits",
        "version": 1,
        "host": "127.0.0.1",
        "http_port": 9001,
        "grpc_port": 0,
    }
    assert status["models"] == [
        {
            "name": "digits",
            "revision": 1,
            "stable": 1,
            "shares": {"1": WHOLE},
            "versions": [{"version": n, "ready": 1, "source": "pool", "asleep": False} for n in (1, 2)],
        }
    ]
    [pool] = status["pools"]
    assert (pool["model"], pool["version"], pool["state"], pool["digest"]) == ("digits", 1, "RUNNING", "abc")
    assert (pool["ready"], pool["wanted"], pool["last_crash_at"]) == (1, 2, "1970-01-01T00:00:00Z")
    assert (await api.http.get("/api/v1/models")).json() == {"models": status["models"]}


async def test_explain_takes_a_unit_or_headers(api: Api) -> None:
    """The same answer by either way; a header that is none is named."""
    await api.put(half())
    path = "/api/v1/models/digits/explain"
    by_unit = (await api.http.get(path, params={"unit": "ada"})).json()
    by_header = (await api.http.get(path, params={"header": ["X-Other: 1", "Sluice-Unit: ada"]})).json()
    assert by_unit == by_header
    assert by_unit.keys() == {"version", "reason", "bucket", "words"}
    assert (await api.http.get(path)).json()["version"] is None
    problem(await api.http.get(path, params={"header": "no colon"}), 422)
    problem(await api.http.get(path, params={"header": "sluice-version: two"}), 422)


async def test_a_request_id_is_decoded(api: Api) -> None:
    """What happened to one request, from its id alone."""
    keys = await api.store.ensure_keys()
    key = KeyRing(keys.secrets, keys.current).current
    text = key.mint(RequestId(1, key.model_hash("digits"), 2, 1, 7, 1_700_000_000, 4, Reason.FALLBACK, has_unit=True))
    assert (await api.http.get(f"/api/v1/requests/{text}")).json() == {
        "request_id": text,
        "model": "digits",
        "assigned": 2,
        "answered": 1,
        "epoch": 7,
        "reason": "fallback",
        "at": "2023-11-14T22:13:20Z",
        "has_unit": True,
        "synthetic": False,
    }


async def test_the_ledger_says_who_and_why(api: Api) -> None:
    """Newest first, no more than asked for."""
    await api.put({**half(), "why": "it is better"})
    [entry] = (await api.http.get("/api/v1/ledger", params={"limit": 1})).json()["entries"]
    assert (entry["kind"], entry["why"], entry["facts"]["revision"]) == ("policy", "it is better", 2)
    assert entry["who"].startswith("anonymous from ")
    problem(await api.http.get("/api/v1/ledger", params={"limit": 0}), 422)


async def test_the_documentation_shows_the_problems(api: Api) -> None:
    """OpenAPI names our refusals, not the framework's."""
    described = (await api.http.get("/openapi.json")).json()
    assert "HTTPValidationError" not in described["components"]["schemas"]
    assert "4XX" in described["paths"]["/api/v1/models/{model}/policy"]["put"]["responses"]
    assert (await api.http.get("/docs")).status_code == 200


async def test_the_client_understands_the_api(api: Api) -> None:
    """What the commands call is what is answered."""
    answers = {
        "/api/v1/status": await api.http.get("/api/v1/status"),
        POLICY: await api.http.get(POLICY),
        "/api/v1/models/digits/explain": await api.http.get("/api/v1/models/digits/explain", params={"unit": "u"}),
    }

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=answers[request.url.path].content)

    with ControlClient("http://sluice", transport=httpx.MockTransport(answer)) as client:
        assert client.status()["epoch"] == 1
        assert client.policy("digits")["revision"] == 1
        assert client.explain("digits", unit="u")["version"] == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
near_policies = st.fixed_dictionaries(
    {},
    optional={
        "stable": st.sampled_from([1, 2]) | json_values,
        "arms": st.lists(
            st.fixed_dictionaries(
                {"version": st.integers(-1, 4) | json_values, "share_ppm": st.integers(-1, WHOLE + 1) | json_values}
            ),
            max_size=4,
        )
        | json_values,
        "unit_header": st.text(max_size=8) | json_values,
        "allow_override": json_values,
    },
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(150), deadline=None)
@given(
    body=st.fixed_dictionaries({"policy": near_policies}, optional={"why": st.text() | json_values}) | json_values,
    if_match=st.sampled_from(["*", '"1"']) | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
    model=st.just("digits") | st.text(min_size=1, max_size=8),
)
def test_nothing_that_is_sent_is_our_fault(body: object, if_match: str, model: str) -> None:
    """Whatever a change looks like, the answer is 200 or a problem of the sender's, never 5xx."""

    async def send() -> httpx.Response:
        store = FakeStore()
        service = ControlService(store, DECLARED)
        await service.ensure_policy("digits", {1: WHOLE}, 1, "sluice-unit")
        transport = httpx.ASGITransport(create_app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://sluice") as http:
            return await http.put(
                f"/api/v1/models/{quote(model, safe='')}/policy",
                json=body,
                params={"force": "true", "wait_s": "0"},
                headers={"If-Match": if_match},
            )

    try:
        response = asyncio.run(send())
    except (ValueError, httpx.InvalidURL):  # NaN and lone surrogates: httpx itself refuses to send them
        return
    assert response.status_code == 200 or problem(response, response.status_code)["status"] < 500
