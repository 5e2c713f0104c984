"""The doors of the prediction port, on a real gateway worker, and of metrics: every operation for every credential.

The control API's is in `tests.serving.control.test_gate`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from serving.access.roles import Needs, Role, gives
from serving.access.table import METRICS, PREDICTION, SYNTHETIC
from serving.access.verifier import Verifier
from serving.control.api.gate import Door
from serving.control.doorman import Doorman
from serving.control.fake_store import FakeStore
from serving.control.service import ControlService
from serving.gateway.paths import Operation, target_of
from serving.metrics.listener import Figures, create_metrics_app
from tests.serving.access.credentials import REFUSED, Credentials, credentials
from tests.serving.gateway.rig import Rig, running
from tests.serving.gateway.wire import Answer

MODEL = "m"
ROLES = frozenset(role.value for role in Role)
ASKED: dict[Operation, tuple[str, str]] = {
    Operation.LIVE: ("GET", "/v2/health/live"),
    Operation.READY: ("GET", "/v2/health/ready"),
    Operation.SERVER: ("GET", "/v2"),
    Operation.INDEX: ("POST", "/v2/repository/index"),
    Operation.LOAD: ("POST", f"/v2/repository/models/{MODEL}/load"),
    Operation.MODEL_READY: ("GET", f"/v2/models/{MODEL}/ready"),
    Operation.METADATA: ("GET", f"/v2/models/{MODEL}/versions/1"),
    Operation.CONFIG: ("GET", f"/v2/models/{MODEL}/config"),
    Operation.STATS: ("GET", f"/v2/models/{MODEL}/stats"),
    Operation.ALL_STATS: ("GET", "/v2/models/stats"),
    Operation.INFER: ("POST", f"/v2/models/{MODEL}/infer"),
    Operation.GENERATE: ("POST", f"/v2/models/{MODEL}/generate"),
    Operation.GENERATE_STREAM: ("POST", f"/v2/models/{MODEL}/generate_stream"),
    Operation.NOT_OFFERED: ("GET", "/v2/systemsharedmemory/status"),
    Operation.UNKNOWN: ("GET", "/v2/nothing"),
}
"""How each operation is asked for."""


@asynccontextmanager
async def door(known: Credentials, *, required: bool) -> AsyncIterator[Rig]:
    """A worker that knows these keys."""
    async with running(access_required=required) as rig:
        rig.worker.let_in(Verifier(known.records), {record.id for record in known.records})
        yield rig


async def ask(rig: Rig, operation: Operation, headers: dict[str, str]) -> Answer:
    """Its answer."""
    method, path = ASKED[operation]
    said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"{method} {path} HTTP/1.1\r\nHost: h\r\n{said}"
    body = "Content-Length: 2\r\n\r\n{}" if method == "POST" else "\r\n"
    return await rig.ask((head + body).encode(), method.encode())


def expected(operation: Operation, credential: str, *, required: bool, synthetic: bool = False) -> int | None:
    """The status that the table asks for; None where the answer is the one that everybody gets who may ask."""
    needs = max(PREDICTION[operation], SYNTHETIC if synthetic and operation is Operation.INFER else Needs.NOTHING)
    if needs is Needs.NOTHING or (credential == "none" and not required):
        return None
    if credential == "none" or credential in REFUSED:
        return 401
    role = Role.PREDICT if credential in {"other model", "narrow"} else Role(credential)
    about_the_model = bool(target_of(ASKED[operation][1].encode()).model)
    return 403 if gives(role) < needs or (credential == "other model" and about_the_model) else None


def test_every_operation_is_asked_here() -> None:
    """By a path that stands for it; one that is new fails here until it is."""
    assert set(ASKED) == set(Operation)
    assert {one: target_of(path.encode()).operation for one, (_, path) in ASKED.items()} == {one: one for one in ASKED}


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize("operation", Operation)
async def test_every_operation_answers_every_credential_as_the_table_says(
    operation: Operation, *, required: bool
) -> None:
    """401 with a challenge, 403, or what an open door answers; whoever is refused reaches no model."""
    known = credentials(MODEL)
    async with door(known, required=False) as rig:
        usual = await ask(rig, operation, {})
        usual_error = usual.error if usual.code >= 400 else ""
    async with door(known, required=required) as rig:
        for credential in known.shown:
            before = rig.requests
            answer = await ask(rig, operation, known.headers(credential))
            meant = expected(operation, credential, required=required)
            assert answer.code == (usual.code if meant is None else meant), (credential, answer)
            if meant is not None:
                assert rig.requests == before
                assert answer.error != usual_error
                assert (answer.one("www-authenticate") is not None) == (meant == 401)
            if meant == 401:
                assert answer.one("connection") == b"close"


async def test_a_request_marked_synthetic_needs_the_right_to_operate() -> None:
    """Whoever may mark may hide what they do from the evidence; without keys there is nobody to ask."""
    known = credentials(MODEL)
    for required in (True, False):
        async with door(known, required=required) as rig:
            for credential in known.shown:
                answer = await ask(rig, Operation.INFER, {**known.headers(credential), "sluice-synthetic": "1"})
                meant = expected(Operation.INFER, credential, required=required, synthetic=True)
                assert answer.code == (200 if meant is None else meant), (credential, answer)


async def test_what_a_key_does_not_see_is_not_named_to_it() -> None:
    """A key for another model finds neither this one's name in the index nor in what it is refused."""
    known = credentials(MODEL)
    async with door(known, required=True) as rig:
        lists = {
            name: (await ask(rig, Operation.INDEX, known.headers(name))).json for name in ("narrow", "other model")
        }
        assert [one["name"] for one in lists["narrow"]] == [MODEL]
        assert lists["other model"] == []


async def test_a_key_that_is_taken_back_is_refused_from_the_next_request_on() -> None:
    """On a connection that is open, and although its head is known by its bytes."""
    known = credentials(MODEL)
    request = f"POST /v2/models/{MODEL}/infer HTTP/1.1\r\nHost: h\r\nAuthorization: {known.shown['predict']}\r\n"
    whole = (request + "Content-Length: 2\r\n\r\n{}").encode()
    async with door(known, required=True) as rig:
        client = await rig.client()
        for _ in range(3):
            await client.send(whole)
            assert (await client.answer()).code == 200
        rest = [record for record in known.records if record.name != "predict"]
        rig.worker.let_in(Verifier(rest), {record.id for record in rest})
        await client.send(whole)
        assert (await client.answer()).code == 401
        assert await client.rest() == b""


@pytest.mark.parametrize("required", [True, False])
async def test_metrics_answer_every_credential_as_the_table_says(*, required: bool) -> None:
    """They name every model, so a key for predictions reads none; what is not in the table is nothing to anybody."""
    known = credentials(MODEL)
    figures = Figures(ControlService(FakeStore(), {}))
    app = create_metrics_app(figures, Door(Doorman(required=required, own=known.records)))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        for credential in known.shown:
            refused = credential in REFUSED or (required and credential == "none")
            for row, needs in METRICS.items():
                method, _, path = row.partition(" ")
                answer = await http.request(method, path, headers=known.headers(credential))
                allowed = credential == "none" or (credential in ROLES and gives(Role(credential)) >= needs)
                assert answer.status_code == (401 if refused else 200 if allowed else 403), (row, credential)
            for method, path in (("POST", "/metrics"), ("GET", "/"), ("GET", "/metrics/"), ("GET", "/debug")):
                answer = await http.request(method, path, headers=known.headers(credential))
                assert answer.status_code in ({401} if refused else {404, 405}), (method, path, credential)
