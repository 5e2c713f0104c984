"""The trainer's door: what is genuine is written down and answered at once, once; the rest is refused in words."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from drift.webhooks import Action, ActionTold, Cause, Harm, Part, VersionTold, WindowTold, signed, window_path
from serving.errors import SettingsError
from serving.trainer.app import HOOK, create_app
from serving.trainer.diary import Diary, Episode
from serving.trainer.worker import Worker

SECRET, OLD, OTHER = (f"whsec_{base64.b64encode(letter * 32).decode()}" for letter in (b"a", b"b", b"c"))
NOW_S = 1_800_000_000.0
TOLD = ActionTold(
    episode="ep-1",
    model="digits",
    cause=Cause.INPUTS,
    action=Action.RETRAIN,
    words="The inputs of digits have moved.",
    versions=(VersionTold(version=2, role=Part.CANDIDATE), VersionTold(version=1, role=Part.STABLE)),
    harm=Harm(shown=True),
    window=WindowTold(from_s=1.0, to_s=2.0, rows=400, parquet=window_path("ep-1")),
)


class Nothing:
    """Does nothing."""

    def after(self, episode: Episode) -> Episode:
        """The same."""
        return episode


def message(kind: str = "drift.retrain", **more: Any) -> bytes:  # noqa: ANN401 - fields of the data
    """A message as it is sent."""
    data = {"words": "a test"} if kind == "drift.test" else {**TOLD.model_dump(mode="json"), **more}
    return json.dumps({"type": kind, "timestamp": "2027-01-15T08:00:00+00:00", "data": data}).encode()


class Door:
    """The application, and what it has written down.

    Args:
        folder: of its diary.
    """

    def __init__(self, folder: Path) -> None:
        self.worker = Worker(Diary(folder), Nothing())
        self.secrets: tuple[str, ...] = (SECRET, OLD)
        app = create_app(self.worker, "digits", self._read, lambda: NOW_S)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")

    async def post(self, body: bytes, secret: str = SECRET, at_s: float = NOW_S, id_: str = "msg_1") -> httpx.Response:
        """The answer to a delivery."""
        return await self.http.post(HOOK, content=body, headers=signed([secret], id_, at_s, body))

    def _read(self) -> tuple[str, ...]:
        if not self.secrets:
            raise SettingsError("drift.secret cannot be read.")
        return self.secrets


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    """One with an empty diary."""
    door = Door(tmp_path)
    async with door.http:
        yield door


async def test_an_episode_is_written_down_before_it_is_answered(door: Door, tmp_path: Path) -> None:
    """202 the first time; tried again, signed anew and replayed under another id, it is the same episode."""
    first = await door.post(message())
    assert (first.status_code, first.json()) == (202, {"words": "heard"})
    [kept] = Diary(tmp_path).episodes
    assert kept == Episode("ep-1", "digits", "inputs", 1, window_path("ep-1"), NOW_S, moved_s=NOW_S)
    for answer in (
        await door.post(message(), at_s=NOW_S + 60),
        await door.post(message(), OLD, id_="msg_2"),
        await door.post(message(cause="labels")),
    ):
        assert (answer.status_code, answer.json()) == (200, {"words": "heard before"})
    assert Diary(tmp_path).episodes == (kept,)
    status = (await door.http.get("/status")).json()
    assert [(one["id"], one["step"]) for one in status["episodes"]] == [("ep-1", "received")]


async def test_what_is_forged_stale_or_no_message_is_refused(door: Door) -> None:
    """In a sentence, and nothing is written down."""
    unsigned = await door.http.post(HOOK, content=message())
    answers = {
        "forged": await door.post(message(), OTHER),
        "unsigned": unsigned,
        "stale": await door.post(message(), at_s=NOW_S - 301),
        "early": await door.post(message(), at_s=NOW_S + 301),
        "malformed": await door.post(b'{"type": "drift.retrain"}'),
        "not JSON": await door.post(b"retrain!"),
        "long": await door.post(b" " * 262_145),
    }
    statuses = {name: answer.status_code for name, answer in answers.items()}
    assert statuses == {
        "forged": 401, "unsigned": 401, "stale": 401, "early": 401, "malformed": 400, "not JSON": 400, "long": 413
    }  # fmt: skip
    assert all(len(answer.json()["words"]) > 20 for answer in answers.values())
    assert door.worker.episodes == ()


@pytest.mark.parametrize("body", [message("drift.test"), message("drift.notify"), message(model="fraud")])
async def test_what_asks_for_no_training_here_is_taken_and_left(door: Door, body: bytes) -> None:
    """200, so that it is not sent for hours; other messages and other models are not ours."""
    assert (await door.post(body)).status_code == 200
    assert door.worker.episodes == ()


async def test_secrets_that_cannot_be_read_are_no_fault_of_the_sender(door: Door) -> None:
    """503: it is sent again."""
    door.secrets = ()
    answer = await door.post(message())
    assert (answer.status_code, answer.json()["words"]) == (503, "drift.secret cannot be read.")
    door.secrets = (SECRET,)
    assert (await door.post(message())).status_code == 202


async def test_the_newest_hundred_are_shown(door: Door) -> None:
    """All are known for good, and that may be many."""
    for nth in range(103):
        door.worker.hear(Episode(f"ep-{nth}", "digits", "inputs", 1, "", NOW_S + nth))
    shown = (await door.http.get("/status")).json()["episodes"]
    assert [one["id"] for one in shown] == [f"ep-{nth}" for nth in range(3, 103)]


async def test_it_says_that_it_lives(door: Door) -> None:
    """For whoever supervises it."""
    assert (await door.http.get("/healthz")).json() == {"status": "live"}
