"""Long work from the caller's side: watched to its end, through a silence of the control room, and told if it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.control import models_client
from serving.control.client import ControlClient
from serving.control.models_client import ModelsClient, OperationAnswer
from serving.errors import ControlError

BEGUN: dict[str, Any] = {
    "id": "o1", "kind": "register", "model": "digits", "version": None, "state": "waiting", "words": "", "steps": [],
    "who": "ada", "why": "", "began_at": "2026-01-01T00:00:00Z", "ended_at": None, "result": {}, "problem": None,
    "cancelled_by": "",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_client, "_WATCHED_S", 0.0)


def watched(*answers: dict[str, Any] | int | Exception) -> tuple[list[str], OperationAnswer]:
    """What is heard, and what comes of it, when the API answers like this, one after the other."""
    left: Iterator[dict[str, Any] | int | Exception] = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        said = next(left)
        if isinstance(said, Exception):
            raise said
        if isinstance(said, int):
            return httpx.Response(said, json={"title": "No", "detail": f"It is {said}."})
        return httpx.Response(200, json={**BEGUN, **said})

    heard: list[str] = []
    with ControlClient("http://sluice", transport=httpx.MockTransport(answer)) as control:
        begun = ModelsClient(control).operation("o1")
        return heard, ModelsClient(control).watch(begun, heard.append)


def test_every_line_is_heard_once() -> None:
    """Steps and what is being done now, also where several passed between two looks; begun again, they come again."""
    heard, done = watched(
        {},
        {"words": "a"},
        {"steps": ["a"], "words": "b"},
        {"steps": ["a", "b", "c"], "words": "d"},
        {"steps": ["a", "b", "c", "d"], "state": "done", "result": {"version": 3}},
    )
    assert (heard, done["result"]) == (["a", "b", "c", "d"], {"version": 3})


@pytest.mark.parametrize("silence", [503, httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
def test_a_control_room_that_comes_back_is_waited_for(silence: int | Exception) -> None:
    """What it says meanwhile is heard, and is not the end."""
    heard, done = watched({}, silence, silence, {"state": "done", "result": {"version": 3}})
    assert (len(heard), done["state"]) == (2, "done")


def test_a_refusal_ends_the_watch() -> None:
    """An operation that is forgotten is not waited for."""
    with pytest.raises(ControlError, match=r"It is 404\."):
        watched({}, 404)


def test_how_it_failed_is_told() -> None:
    """Its own sentence and hint; who cancelled it."""
    with pytest.raises(ControlError, match="it crashed") as caught:
        watched(
            {}, {"state": "failed", "problem": {"refusal": "did-not-start", "detail": "it crashed", "hint": "mend"}}
        )
    assert caught.value.hint == "mend"
    with pytest.raises(ControlError, match="bob cancelled it"):
        watched({}, {"state": "cancelled", "cancelled_by": "bob"})
