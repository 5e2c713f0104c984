"""The client of the control API: what it asks, and how each failure reads."""

import json
import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from serving.control import client as client_module
from serving.control.api import policies, status
from serving.control.client import ControlClient, PolicyBody, shares_in_words, shares_of
from serving.errors import ControlError

POLICY: PolicyBody = {"stable": 1, "arms": [{"version": 2, "share_ppm": 100_000}], "unit_header": "sluice-unit"}
READ = {"model": "digits", "revision": 7, "epoch": 9, "policy": POLICY}
URL = "http://127.0.0.1:8080"


def client(answer: Callable[[httpx.Request], httpx.Response]) -> ControlClient:
    """A client whose requests this function answers."""
    return ControlClient(f"{URL}/", transport=httpx.MockTransport(answer))


def failure(answer: httpx.Response | Exception) -> ControlError:
    """What reading a policy raises when this is the answer."""

    def reply(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with client(reply) as control, pytest.raises(ControlError) as caught:
        control.policy("digits")
    return caught.value


def problem(status: int, **body: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    """An answer in the form of RFC 9457."""
    content = json.dumps({"type": "about:blank", "title": "Refused", "status": status, **body})
    return httpx.Response(status, content=content, headers={"content-type": "application/problem+json"})


def test_a_policy_is_read_from_its_model() -> None:
    """The model's name is one segment of the path, whatever is in it."""
    asked: list[str] = []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.raw_path.decode()}")
        return httpx.Response(200, json=READ)

    with client(reply) as control:
        assert control.policy("a/b?c")["revision"] == 7
    assert asked == ["GET /api/v1/models/a%2Fb%3Fc/policy"]


def test_a_policy_is_written_over_the_revision_that_was_read() -> None:
    """The revision goes into If-Match, quoted, and the policy into the body, under its own key."""
    asked: list[httpx.Request] = []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        done = {"of": 2, "by": 2, "expired": [], "waiting": []}
        return httpx.Response(200, json={**READ, "acknowledged": done, "durable": True, "took_ms": 1.5})

    with client(reply) as control:
        assert control.set_policy("digits", POLICY, revision=7, wait_s=0.5)["acknowledged"]["by"] == 2
    [request] = asked
    assert (request.method, request.headers["if-match"]) == ("PUT", '"7"')
    assert dict(request.url.params) == {"wait_s": "0.5"}
    assert json.loads(request.content) == {"policy": POLICY}


def test_an_explanation_is_asked_with_unit_and_headers() -> None:
    """Headers may repeat, and a unit that is not given is not sent."""
    asked: list[list[tuple[str, str]]] = []

    def reply(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params.multi_items())
        return httpx.Response(200, json={"version": 1, "reason": "stable", "bucket": None, "words": "because"})

    with client(reply) as control:
        control.explain("digits", unit="a b", headers=[("x", "1"), ("y", "2")])
        control.explain("digits")
    assert asked == [[("unit", "a b"), ("header", "x:1"), ("header", "y:2")], []]


def test_nobody_there_says_how_to_start_it() -> None:
    """A refused connection names the address and both remedies."""
    error = failure(httpx.ConnectError("refused"))
    assert error.sentence == f"nothing answers at {URL}"
    assert "`sluice up`" in error.hint
    assert "--url" in error.hint
    assert error.status is None


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (httpx.ReadTimeout("slow"), "did not answer in time"),
        (httpx.RemoteProtocolError("gone"), "broke off: gone"),
        (httpx.ReadError(""), "broke off: ReadError"),
    ],
)
def test_every_way_of_breaking_is_a_sentence(cause: Exception, words: str) -> None:
    """No error of the HTTP library reaches a person."""
    assert words in failure(cause).sentence


@pytest.mark.parametrize("asked", [{"a": math.nan}, {"a": math.inf}, {"a": "\ud800"}])
def test_what_cannot_be_sent_is_a_sentence(asked: dict[str, object]) -> None:
    """Nothing of the library that encodes it reaches a person, and nobody is asked."""
    with client(lambda _: pytest.fail("it was sent")) as control, pytest.raises(ControlError, match="cannot be sent"):
        control.answer("POST", "anything", json=asked)


def test_a_name_that_is_no_text_is_a_sentence() -> None:
    """A byte of a terminal that was no UTF-8."""
    with client(lambda _: pytest.fail("it was sent")) as control, pytest.raises(ControlError, match="is no name"):
        control.policy("digits\udc80")


def test_an_address_that_is_none_is_a_sentence() -> None:
    """As is one without a scheme."""
    with ControlClient("localhost:8080") as control, pytest.raises(ControlError, match="is no address"):
        control.status()


def test_a_problem_is_told_in_its_own_words() -> None:
    """Detail and hint of the answer become ours, and the status is kept."""
    error = failure(problem(404, detail="there is no model x", hint="there is digits"))
    assert (error.sentence, error.hint, error.status) == ("there is no model x", "there is digits", 404)
    assert failure(problem(503)).sentence == "Refused"


def test_a_change_that_came_second_says_what_is_there_now() -> None:
    """A 409 with the current policy names its revision and its shares, and that nothing was written."""
    error = failure(problem(409, detail="changed", current={"revision": 8, "policy": POLICY}))
    assert "revision 8 is 1: 90 %, 2: 10 %" in error.sentence
    assert "nothing of yours was written" in error.sentence
    assert error.status == 409
    assert failure(problem(409, detail="another rollout is active")).sentence == "another rollout is active"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"model": "digits"}),
        httpx.Response(302, headers={"location": "/"}),
        httpx.Response(500, text="oops"),
        httpx.Response(404, json={"error": "no"}),
    ],
)
def test_somebody_else_at_that_address_is_recognised(answer: httpx.Response) -> None:
    """An answer that is not in the API's form is not taken for one."""
    assert "is no control API of this release" in failure(answer).sentence


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (client_module.PolicyAnswer, policies.CurrentOut),
        (client_module.ChangeAnswer, policies.ChangedOut),
        (client_module.Acknowledged, policies.AcknowledgedOut),
        (client_module.ExplainAnswer, policies.ExplainedOut),
        (client_module.StatusAnswer, status.StatusOut),
        (client_module.GatewayStatus, status.GatewayOut),
        (client_module.ModelStatus, status.ModelOut),
        (client_module.VersionStatus, status.ServedOut),
        (client_module.PoolStatus, status.PoolOut),
        (client_module.StoreStatus, status.StoreOut),
        (PolicyBody, policies.PolicyIn),
        (client_module.ArmBody, policies.ArmIn),
    ],
)
def test_client_and_api_mean_the_same_keys(ours: Any, theirs: type[BaseModel]) -> None:  # noqa: ANN401
    """Every key that the client reads or writes is one that the API answers with or takes."""
    assert set(ours.__annotations__) <= set(theirs.model_fields)


def test_shares_are_exact() -> None:
    """Stable owns the rest, and parts per million print without rounding."""
    policy: PolicyBody = {"stable": 3, "arms": [{"version": 1, "share_ppm": 100}, {"version": 2, "share_ppm": 125_000}]}
    assert shares_of(policy) == {3: 874_900, 1: 100, 2: 125_000}
    assert shares_in_words(shares_of(policy)) == "3: 87.49 %, 1: 0.01 %, 2: 12.5 %"
