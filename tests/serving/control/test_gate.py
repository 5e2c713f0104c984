"""The control API's door: every operation for every credential as the table says, before a body is read."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute

from serving.access.denied import Denied
from serving.access.principal import Principal
from serving.access.roles import Needs, Role, gives
from serving.access.security_log import SecurityLog
from serving.access.table import CONTROL
from serving.access.verifier import Verifier
from serving.control.api import create_app
from serving.control.api.gate import CHALLENGE, Door, Gate, Table
from serving.control.doorman import Doorman
from serving.control.fake_store import FakeStore
from serving.control.keys import KeyService
from serving.control.service import ControlService
from serving.control.valkey import EmbeddedValkey
from tests.serving.access.credentials import REFUSED, Credentials, credentials
from tests.serving.control.operations import ENDLESS, operations_of, path_of, status_of
from tests.serving.control.workshops import problem, room

WHOAMI = "/api/v1/whoami"
LEDGER = "/api/v1/ledger"


class Knows(Doorman):
    """Lets in who has a good key of these, and everybody who shows nothing unless it is required."""

    def __init__(self, known: Credentials, *, required: bool = True) -> None:
        super().__init__(_Kept(known), required=required)


class _Kept(FakeStore):
    def __init__(self, known: Credentials) -> None:
        super().__init__()
        self.known = known

    async def access_revision(self) -> int:
        return 1

    async def key_records(self) -> Any:  # noqa: ANN401 - a sequence of records
        return self.known.records


def expected(needs: Needs, credential: str, *, required: bool) -> int | None:
    """The status that the table asks for; None where the answer is the application's."""
    if needs is Needs.NOTHING or (credential == "none" and not required):
        return None
    if credential == "none" or credential in REFUSED:
        return 401
    role = Role.PREDICT if credential in {"other model", "narrow"} else Role(credential)
    return None if gives(role) >= needs else 403


@pytest.mark.parametrize("required", [True, False])
async def test_every_operation_answers_every_credential_as_the_table_says(
    valkey: EmbeddedValkey, tmp_path: Path, *, required: bool
) -> None:
    """On the whole application: 401, 403, or an answer of its own, which is never one of these and never ours."""
    known = credentials()
    wrong = []
    async with room(valkey.url, tmp_path, credentials=known) as here:
        here.app.state.doorman.required = required
        for operation in sorted(operations_of(here.app)):
            method, path = path_of(operation)
            needs = CONTROL[operation.replace("HEAD ", "GET ")]
            for credential in known.shown:
                headers = known.headers(credential)
                if operation in ENDLESS:
                    status = await status_of(here.app, operation, headers)
                else:
                    asked = await here.http.request(method, path, params={"wait_s": 0}, content=b"{}", headers=headers)
                    status = asked.status_code
                meant = expected(needs, credential, required=required)
                if not (status == meant if meant else status not in {401, 403, *range(500, 600)}):
                    wrong.append((operation, credential, meant, status))
    assert not wrong


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Credentials, Path]]:
    """A client of an application that lets nobody in without a key, what may be shown, and the security log."""
    known, log = credentials(), tmp_path / "security.log"
    doorman = Knows(known)
    await doorman.look()
    store = FakeStore()
    app = create_app(
        ControlService(store, {}), door=Door(doorman, log=SecurityLog(str(log))), key_service=KeyService(store)
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice") as http:
        yield http, known, log


Guarded = tuple[httpx.AsyncClient, Credentials, Path]


async def test_a_refusal_says_what_to_do_and_how(guarded: Guarded) -> None:
    """401 with a challenge and where a key goes; 403 with the role that is needed and the one that was shown."""
    http, known, _ = guarded
    answer = await http.get(LEDGER)
    body = problem(answer, 401)
    assert answer.headers["www-authenticate"] == CHALLENGE["WWW-Authenticate"]
    assert "SLUICE_KEY" in body["hint"]
    assert answer.headers["connection"] == "close"
    lacking = await http.get(LEDGER, headers=known.headers("predict"))
    assert "needs the role operate, and predict has the role predict" in problem(lacking, 403)["detail"]
    assert "www-authenticate" not in lacking.headers


async def test_an_outsider_does_not_learn_which_keys_there_are(guarded: Guarded) -> None:
    """An unknown id, a wrong secret and something like a key are answered by the same sentence."""
    http, known, _ = guarded
    shown = [known.headers("wrong"), known.headers("wrong secret"), {"Authorization": "Bearer sluice_0_0"}]
    said = {(await http.get(LEDGER, headers=one)).text for one in shown}
    assert len(said) == 1


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1/nothing", "/api/v1/keys/", "/docs/oauth2-redirect", "/redoc"])
async def test_what_is_not_there_is_told_only_to_those_who_are_let_in(guarded: Guarded, path: str) -> None:
    """401 to a stranger, whatever the path; 404 (or the way to it) to a key."""
    http, known, _ = guarded
    problem(await http.get(path), 401)
    assert (await http.get(path, headers=known.headers("predict"))).status_code in {404, 307}


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
async def test_a_method_that_is_not_there_is_no_way_in(guarded: Guarded, method: str) -> None:
    """401, then 405 with what is allowed: no method answers without a row."""
    http, known, _ = guarded
    problem(await http.request(method, LEDGER), 401)
    answer = await http.request(method, LEDGER, headers=known.headers("administer"))
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_head_goes_by_the_row_of_get(guarded: Guarded) -> None:
    """A head of the ledger is as much of a secret as the ledger."""
    http, known, _ = guarded
    assert (await http.head(LEDGER)).status_code == 401
    assert (await http.head(LEDGER, headers=known.headers("predict"))).status_code == 403
    assert (await http.head("/openapi.json")).status_code == 200


async def test_two_authorizations_are_none(guarded: Guarded) -> None:
    """Which of them somebody before us has checked cannot be known."""
    http, known, _ = guarded
    good = known.shown["administer"]
    assert good is not None
    answer = await http.get(LEDGER, headers=[("Authorization", good), ("Authorization", good)])
    assert "more than one" in problem(answer, 401)["detail"]


async def test_an_operation_without_a_row_is_let_through_for_nobody(guarded: Guarded) -> None:
    """Whoever adds an endpoint and forgets the table finds it shut, even for those who administer, and not broken."""
    http, known, _ = guarded
    app: Any = http._transport.app  # type: ignore[attr-defined]  # httpx names no type for it

    async def secret() -> str:
        return "secret"

    for path in ("/api/v1/new", "/healthz2", "/api/v1/keys/{key_id}/secret"):
        app.add_api_route(path, secret, methods=["GET", "POST"])
    for path in ("/api/v1/new", "/healthz2", "/api/v1/keys/1/secret"):
        for credential, status in {"administer": 403, "predict": 403, "none": 401}.items():
            for method in ("GET", "POST"):
                answer = await http.request(method, path, headers=known.headers(credential))
                assert problem(answer, status)
                assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/healthz%0A", "/docs%0A", "/api/v1/keys%0A", "//api/v1/keys", "/API/v1/keys"])
async def test_a_path_that_only_looks_like_one_opens_nothing(guarded: Guarded, path: str) -> None:
    """Routers differ in what they take for a path's end; where the table and the router disagree, nobody passes."""
    http, known, _ = guarded
    assert (await http.get(path)).status_code == 401
    assert (await http.get(path, headers=known.headers("predict"))).status_code in {403, 404}


async def test_whoever_is_refused_is_written_down_without_what_they_showed(guarded: Guarded) -> None:
    """Kind, address, operation and the key's id; neither the secret nor the query."""
    http, known, log = guarded
    for credential in ("none", "malformed", "wrong", "wrong secret", "expired", "revoked", "predict"):
        await http.get(LEDGER, params={"limit": 7}, headers=known.headers(credential))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [one["kind"] for one in lines] == ["missing", "malformed", "wrong", "wrong", "expired", "revoked", "role"]
    assert {(one["door"], one["address"], one["operation"]) for one in lines} == {
        ("control", "127.0.0.1", "GET /api/v1/ledger")
    }
    assert [bool(one["key"]) for one in lines] == [False, False, False, True, True, True, True]
    for said in filter(None, known.shown.values()):
        assert said.split("_", 2)[-1] not in log.read_text()  # the secret itself may have underscores


async def test_a_wrong_key_is_refused_even_where_none_is_asked_for() -> None:
    """Whoever shows a key believes that it works; without one everybody on loopback is let in."""
    known = credentials()
    doorman = Knows(known, required=False)
    await doorman.look()
    app = create_app(ControlService(FakeStore(), {}), door=Door(doorman))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice") as http:
        assert (await http.get(LEDGER)).status_code == 200
        for credential in REFUSED:
            assert (await http.get(LEDGER, headers=known.headers(credential))).status_code == 401
        problem(await http.get(LEDGER, headers=known.headers("predict")), 403)


async def test_a_token_without_a_role_is_forbidden_rather_than_unknown() -> None:
    """It is a good one, so a login that is asked for again would not help."""

    class Role403(Doorman):
        def ask(self, authorization: bytes | None) -> Principal | Denied:
            return Denied("not_allowed", "The token names no role.")

    app = create_app(ControlService(FakeStore(), {}), door=Door(Role403(required=True)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sluice") as http:
        answer = await http.get(LEDGER)
    assert problem(answer, 403)["detail"] == "The token names no role."
    assert "www-authenticate" not in answer.headers


async def test_nothing_of_a_body_is_read_for_a_refusal() -> None:
    """The gate answers without having asked for a single piece."""

    async def app(*_: object) -> None:
        raise AssertionError

    sent: list[Mapping[str, Any]] = []

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        sent.append(message)

    async def receive() -> Any:  # noqa: ANN401 - ASGI's
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/api/v1/keys", "headers": [(b"content-length", b"9")]}
    await Gate(app, Door(Doorman(required=True)), [])(scope, receive, send)
    assert sent[0]["status"] == 401


async def test_an_answer_without_an_end_ends_with_the_key() -> None:
    """Whoever listens when their key is taken back hears nothing more: the stream ends in order, and it is noted."""
    known = credentials()
    doorman = Knows(known)
    await doorman.look()
    goes_on, gone = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"before"
        await goes_on.wait()
        try:
            while True:
                yield b"after"
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    async def stream() -> StreamingResponse:
        return StreamingResponse(pieces())

    app = create_app(ControlService(FakeStore(), {}), door=Door(doorman))
    app.router.routes.insert(0, APIRoute(LEDGER, stream))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://sluice", headers=known.headers("operate")
    ) as http:
        asking = asyncio.create_task(http.get(LEDGER))
        await asyncio.sleep(0.05)
        doorman._verifier = Verifier(())
        goes_on.set()
        answer = await asyncio.wait_for(asking, 10)
        await asyncio.wait_for(gone.wait(), 10)
    assert (answer.status_code, answer.content) == (200, b"before")


async def test_a_key_that_is_taken_back_at_one_room_opens_nothing_at_another(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    """Nobody tells the other one: it reads the revision again and again."""
    known, namespace = credentials(), f"test-{secrets.token_hex(6)}"
    async with (
        room(valkey.url, tmp_path / "a", credentials=known, namespace=namespace) as here,
        room(valkey.url, tmp_path / "b", credentials=known, namespace=namespace) as there,
    ):
        headers = known.headers("operate")
        assert (await there.http.get(LEDGER, headers=headers)).status_code == 200
        key_id = next(one.id for one in known.records if one.name == "operate")
        gone = await here.http.delete(
            f"/api/v1/keys/{key_id}", params={"wait_s": 0}, headers=known.headers("administer")
        )
        assert gone.status_code == 200, gone.text
        async with asyncio.timeout(10):
            while (await there.http.get(LEDGER, headers=headers)).status_code == 200:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.005)
        assert "taken back" in problem(await there.http.get(LEDGER, headers=headers), 401)["detail"]


async def test_the_ledger_names_who_it_was_and_from_where(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """The key's name and id, and the socket's address; a header that claims another has no say."""
    known = credentials()
    async with room(valkey.url, tmp_path, credentials=known) as here:
        await here.service.ensure_policy("digits", {1: 1_000_000}, 1, "sluice-unit")
        forged = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "If-Match": "*"}
        answer = await here.http.put(
            "/api/v1/models/digits/policy",
            json={"policy": {"stable": 1}},
            params={"wait_s": 0, "force": "true"},
            headers=known.headers("operate") | forged,
        )
        assert answer.status_code == 200, answer.text
        ledger = await here.http.get(LEDGER, headers=known.headers("operate"))
        key_id = next(one.id for one in known.records if one.name == "operate")
        assert ledger.json()["entries"][0]["who"] == f"key operate ({key_id}) from 127.0.0.1"


def test_of_several_rows_the_strictest_counts() -> None:
    """A literal path and a template that fits it as well."""
    table = Table({"GET /a/{x}": Needs.PREDICT, "GET /a/b": Needs.ADMINISTER, "POST /a/{x}": Needs.OPERATE})
    assert table.needs("GET", "/a/b") is Needs.ADMINISTER
    assert table.needs("HEAD", "/a/c") is Needs.PREDICT
    assert table.needs("GET", "/a/b/c") is None
    assert table.needs("GET", "/a/") is None
    assert table.needs("PUT", "/a/b") is None
