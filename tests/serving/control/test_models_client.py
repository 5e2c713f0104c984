"""Long work from the caller's side: watched to its end, through a silence of the control room, and told if it fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.control import models_client
from serving.control.client import ControlClient
from serving.control.models_client import Cancelled, ModelsClient, OperationAnswer
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


def test_what_follows_the_hundredth_step_is_heard() -> None:
    """The record keeps its last hundred: each look is compared with the one before, whatever has been forgotten."""
    lines = [f"line {number}" for number in range(130)]
    looks = [{"steps": lines[max(0, now - 100) : now], "words": lines[now]} for now in range(1, 130)]
    heard, _ = watched({"words": lines[0]}, *looks, {"steps": lines[30:], "state": "done"})
    assert heard == lines


def test_more_than_a_record_holds_between_two_looks_is_told_as_far_as_it_is_there() -> None:
    """What was forgotten meanwhile nobody knows; the rest is heard."""
    later = [f"later {number}" for number in range(100)]
    heard, _ = watched(
        {"steps": ["a"], "words": "b"}, {"steps": later, "words": "c"}, {"steps": later, "state": "done"}
    )
    assert heard == ["a", "b", *later, "c"]


def test_that_it_began_again_is_heard() -> None:
    """With everything that it then does once more."""
    heard, _ = watched(
        {"steps": ["a"], "words": "b"},
        {"steps": ["begun again"], "words": ""},
        {"steps": ["begun again"], "words": "a"},
        {"steps": ["begun again", "a"], "state": "done"},
    )
    assert heard == ["a", "b", "begun again", "a"]


def test_how_far_one_step_is_is_heard_although_it_becomes_no_step() -> None:
    """The line that takes another one's place."""
    heard, _ = watched(
        {"words": "copying"},
        {"words": "copying: 1 MB"},
        {"words": "copying: 1 MB"},
        {"words": "copying: 2 MB"},
        {"steps": ["copying: 2 MB"], "words": "trying"},
        {"steps": ["copying: 2 MB", "trying"], "state": "done"},
    )
    assert heard == ["copying", "copying: 1 MB", "copying: 2 MB", "trying"]


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
    with pytest.raises(Cancelled, match="bob cancelled it"):
        watched({}, {"state": "cancelled", "cancelled_by": "bob"})
