"""What a run asks of others: whatever they answer, it is understood or refused in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from loadtests.installation import Failed
from loadtests.load.control import Control
from loadtests.load.spec import Place
from tests.loadtests.load.places import MODEL, Gateway, served


@contextmanager
def asked(gateway: Gateway) -> Iterator[Control]:
    """The gateway's control API."""
    with served(gateway), Control(Place(gateway.url, control_url=gateway.url), MODEL) as control:
        yield control


def test_a_rollout_that_somebody_else_took_back_is_no_mistake() -> None:
    """A verdict, or an operator, was faster: nothing is in progress any more."""
    with asked(Gateway(refuses_changes=True, phases=["running", "rolled back"])) as control, control.rollout(2) as ran:
        assert ran == "ro_1"


def test_a_rollout_that_cannot_be_taken_back_is_told() -> None:
    """It is still in progress, and somebody has to know which."""
    with (
        asked(Gateway(refuses_changes=True)) as control,
        pytest.raises(Failed, match=r"ro_1 is still in progress.*may not operate"),
        control.rollout(2),
    ):
        pass


def test_a_rollout_that_ends_before_it_runs_is_not_waited_for() -> None:
    """It failed while it was warming up: the sentence says so at once."""
    with (
        asked(Gateway(phases=["warming", "failed"])) as control,
        pytest.raises(Failed, match="ro_1 is failed, and was to be running"),
        control.rollout(2),
    ):
        pass


@pytest.mark.parametrize("body", [b"[1]", b"null", b'{"other": 1}', b"<html>", b""])
def test_answers_of_somebody_else_are_a_sentence(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON of another kind, and none: no traceback."""
    answered = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
    with Control(Place("http://h", control_url="http://h"), MODEL) as control:
        monkeypatch.setattr(control, "_http", httpx.Client(transport=answered))
        for ask in (control.metadata, control.policy, lambda: control.ready(1)):
            with pytest.raises(Failed, match="is this the right address"):
                ask()


def test_a_pinned_run_asks_what_that_version_takes() -> None:
    """Another version may take something else."""
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(200, json={"inputs": []})

    with Control(Place("http://h", control_url="http://h"), MODEL) as control:
        control._http = httpx.Client(transport=httpx.MockTransport(answer))
        control.metadata(7)
        control.metadata()
    assert seen == [f"/v2/models/{MODEL}/versions/7", f"/v2/models/{MODEL}"]
