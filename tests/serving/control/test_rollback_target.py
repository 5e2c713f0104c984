"""The rollback target: one rollout is taken back for one genuine message, and nothing else ever is."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from drift.webhooks import LONGEST_BODY, signed
from router.commands import Pause, Resume, Retry, RollBack
from router.phases import Phase
from serving.access.security_log import SecurityLog
from serving.control.api.app import ControlApi
from serving.control.api.gate import Door
from serving.control.doorman import Doorman
from serving.control.errors import RolloutMoved, StoreUnavailable
from serving.control.rollback_target import WHO, RollbackTarget
from serving.control.rolling.records import Record
from tests.serving.control.fronts import asking, front
from tests.serving.control.rolling.rooms import MODEL, STEPS, Room, fake_room

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([one]) * 32).decode()}" for one in (1, 2, 3))
PATH = "/api/v1/drift/hooks/rollback"


@dataclass
class Target:
    """A room with a rollout under way, its target, and the control API in front of it."""

    room: Room
    record: Record
    http: httpx.AsyncClient
    log: Path
    now_s: float = 1_700_001_000.0

    def message(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """What asks for the rollout to be taken back."""
        data = {
            "episode": "ep1", "model": MODEL, "cause": "candidate", "action": "rollback", "words": "Its answers moved.",
            "versions": [{"version": 1, "role": "stable"}, {"version": 2, "role": "candidate"}],
            "harm": {"shown": False}, "window": {"from_s": 0, "to_s": 1, "rows": 500}, "rollout": self.record.id,
        }  # fmt: skip
        at = datetime.fromtimestamp(self.now_s, UTC).isoformat()
        return {"type": "drift.rollback", "timestamp": at, "data": data | more}

    async def told(
        self,
        message: object = None,
        headers: Mapping[str, str] = MappingProxyType({}),
        *,
        secret: str = NEW,
        id_: str = "msg_1",
        late_s: float = 0.0,
    ) -> httpx.Response:
        """The answer to a message that was signed so."""
        body = json.dumps(self.message() if message is None else message).encode()
        said = {"content-type": "application/json", **signed([secret], id_, self.now_s - late_s, body), **headers}
        return await self.http.post(PATH, content=body, headers=said)

    async def phase(self) -> Phase:
        """Where the rollout stands."""
        return (await self.room.now(self.record)).rollout.phase

    async def rollbacks(self) -> list[str]:
        """Who took it back, by the ledger."""
        found = [one.entry for one in await self.room.entries() if one.entry.facts.get("event") == "rolled_back"]
        return [one.who for one in found]

    def refused(self) -> list[Mapping[str, Any]]:
        """Lines of the security log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> ControlApi:
    """The application, which asks everybody else for a key; behind it each test has a room of its own."""
    log = SecurityLog(str(tmp_path_factory.mktemp("door") / "security.log"), per_s=1e6)
    return front(Door(Doorman(required=True), log=log))


@pytest.fixture
def log(app: ControlApi) -> Path:
    """Its security log, with nothing in it yet."""
    found = Path(app.door.log._path)
    found.unlink(missing_ok=True)
    return found


@pytest.fixture
async def target(app: ControlApi, log: Path) -> AsyncIterator[Target]:
    """One with a rollout under way."""
    room = await fake_room()
    record = await room.start(STEPS)
    await room.tick(1)
    made = Target(room, record, httpx.AsyncClient(), log)
    takes = RollbackTarget(room.store, room.rollouts, lambda: [NEW, OLD], lambda: made.now_s)
    async with asking(app, room, target=takes) as made.http:
        yield made


async def test_a_genuine_message_takes_the_rollout_back_once(target: Target) -> None:
    """Without a key; the ledger says who asked, about which episode and why; the same message again does nothing."""
    answer = await target.told()
    assert (answer.status_code, answer.json()["done"]) == (200, True)
    assert await target.phase() is Phase.ROLLED_BACK
    again = (await target.told(late_s=200)).json()
    assert (again["done"], again["already"]) == (False, True)
    other = (await target.told(id_="msg_2")).json()
    assert (other["done"], other["already"]) == (False, True), "an operator's replay has another id"
    assert await target.rollbacks() == [WHO]
    (entry,) = [one.entry for one in await target.room.entries() if one.entry.facts.get("event") == "rolled_back"]
    assert entry.why == "episode ep1 of drift: Its answers moved."


async def test_a_message_that_is_replayed_leaves_a_trace(target: Target, caplog: pytest.LogCaptureFixture) -> None:
    """By the key that it had, and by the ledger where that was forgotten; the log and the answer say so."""
    caplog.set_level(logging.INFO, "serving.control.rollback_target")
    first = (await target.told()).json()
    caplog.clear()
    again = (await target.told(id_="msg_2")).json()
    target.room.store._came.clear()
    forgotten = (await target.told(id_="msg_3")).json()
    assert again["words"] == f"Heard before: {first['words']}"
    assert forgotten["words"] == f"Heard before: The rollout {target.record.id} was taken back."
    assert [one.getMessage() for one in caplog.records] == [
        f"drift.rollback/ep1, msg_2: {again['words']}", f"drift.rollback/ep1, msg_3: {forgotten['words']}"
    ]  # fmt: skip


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_either_secret_will_do_while_one_is_replaced(target: Target, secret: str) -> None:
    """As the sender has taken up the new one, or has not yet."""
    assert (await target.told(secret=secret)).json()["done"]


async def test_a_forged_message_is_refused_and_written_down(target: Target) -> None:
    """Whoever has no secret gets 401, whatever the message says, and the rollout goes on."""
    forged = [
        await target.told(secret=OTHER),
        await target.told(headers={"webhook-id": "msg_9"}),
        await target.told(headers={"webhook-timestamp": str(int(target.now_s) + 1)}),
        await target.told(headers={"webhook-signature": "v1,AAAA"}),
        await target.told(headers={"webhook-signature": ""}),
        await target.http.post(PATH, json=target.message()),
        await target.http.post(PATH, json=target.message(), headers={"authorization": "Bearer sluice_0_x"}),
    ]
    assert [one.status_code for one in forged] == [401] * 7
    assert all("rollout" not in one.text for one in forged), "who is nobody is told nothing"
    assert await target.phase() is Phase.RUNNING
    said = target.refused()
    assert {(one["kind"], one["operation"], one["door"]) for one in said} == {
        ("webhook_forged", f"POST {PATH}", "control")
    }
    assert len(said) == 7


@pytest.mark.parametrize("late_s", [301.0, -301.0, 86_400.0])
async def test_a_stale_message_is_refused_and_written_down(target: Target, late_s: float) -> None:
    """Genuine, and from another time: somebody has overheard it, or a clock is wrong."""
    answer = await target.told(late_s=late_s)
    assert answer.status_code == 401
    assert "300 s are tolerated" in answer.json()["detail"]
    assert await target.phase() is Phase.RUNNING
    assert [one["kind"] for one in target.refused()] == ["webhook_stale"]


@pytest.mark.parametrize("message", [[], {"type": "rollout.started", "timestamp": "x", "data": {}}, "x", 5])
async def test_a_genuine_message_of_another_kind_is_refused_in_a_sentence(target: Target, message: object) -> None:
    """422, not a failure of ours."""
    answer = await target.told(message)
    assert answer.status_code == 422
    assert "no message of drift" in answer.json()["detail"]


@pytest.mark.parametrize("kind", ["drift.retrain", "drift.alert", "drift.notify", "drift.paused", "drift.recommend"])
async def test_other_actions_are_heard_and_nothing_is_done(target: Target, kind: str) -> None:
    """With a 2xx, so that nobody sends them for hours."""
    answer = await target.told(target.message() | {"type": kind})
    assert (answer.status_code, answer.json()["done"]) == (200, False)
    assert await target.phase() is Phase.RUNNING


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"rollout": ""}, "names no rollout"),
        ({"rollout": "ro_000000000000"}, "There is no rollout"),
        ({"rollout": "../../x"}, "There is no rollout"),
        ({"model": "other"}, "and the message is about other"),
        ({"versions": [{"version": 3, "role": "candidate"}]}, "does not try version 3"),
        ({"versions": [{"version": 1, "role": "candidate"}]}, "does not try version 1"),
        ({"versions": []}, "names no candidate"),
    ],
)
async def test_a_rollout_that_is_not_the_one_in_question_is_left_alone(
    target: Target, more: dict[str, Any], words: str
) -> None:
    """That will not be otherwise later: it is answered well, and the ledger says why nothing was done."""
    answer = await target.told(target.message(**more))
    assert (answer.status_code, answer.json()["done"]) == (200, False)
    assert words in answer.json()["words"]
    assert await target.phase() is Phase.RUNNING
    entries = [one.entry for one in await target.room.entries() if one.entry.facts.get("event") == "target"]
    assert [(one.who, one.facts["episode"]) for one in entries] == [(WHO, "ep1")]
    assert words in entries[0].why


async def test_what_an_operator_took_back_first_is_over(target: Target) -> None:
    """Nothing is to be done, and it is no second rollback."""
    await target.room.ask(target.record, RollBack(who="ada", why="no"))
    answer = (await target.told()).json()
    assert (answer["done"], answer["already"]) == (False, False)
    assert "is over" in answer["words"]
    assert await target.rollbacks() == ["ada"]


async def test_a_paused_rollout_is_taken_back_as_well(target: Target) -> None:
    """Its candidate still has traffic."""
    await target.room.ask(target.record, Pause(who="ada"))
    assert (await target.told()).json()["done"]


async def test_an_attempt_that_began_since_is_another_one(target: Target) -> None:
    """An operator who retries has seen the drift: what was decided before is over, what is decided now is not."""
    before = target.message(episode="ep0")
    await target.room.ask(target.record, RollBack(who="ada", why="no"))
    target.room.clock.now_s += 5_000
    target.now_s += 5_000
    await target.room.ask(target.record, Retry(who="ada", why="mended", again=True))
    await target.room.tick(1)
    answer = (await target.told(before)).json()
    assert (answer["done"], "begun again since" in answer["words"]) == (False, True)
    target.now_s += 1_700_000_000.0
    assert (await target.told(target.message(episode="ep2"))).json()["done"]


async def test_a_message_that_comes_again_after_a_retry_takes_nothing_back(target: Target) -> None:
    """Also where nobody remembers the message: the ledger's entry of the rollback names the episode."""
    assert (await target.told()).json()["done"]
    await target.room.ask(target.record, Retry(who="ada", why="mended", again=True))
    await target.room.tick(1)
    target.room.store._came.clear()
    assert (await target.told()).json()["already"]
    assert await target.phase() is not Phase.ROLLED_BACK


async def test_whoever_is_killed_between_doing_and_keeping_it_does_nothing_twice(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is sent again, since nobody answered; and is known by the ledger."""

    async def gone(*_: object) -> None:
        raise StoreUnavailable("The store is away.")

    with monkeypatch.context() as away:
        away.setattr(target.room.store, "keep_message", gone)
        assert (await target.told()).status_code == 503
    assert await target.phase() is Phase.ROLLED_BACK
    assert (await target.told()).json()["already"]
    assert await target.rollbacks() == [WHO]


async def test_a_rollout_that_moves_meanwhile_is_looked_at_again(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the command anybody may have been faster."""
    real, moves = target.room.rollouts.ask, 2

    async def moved(rollout_id: str, command: Any, **more: Any) -> Any:  # noqa: ANN401
        nonlocal moves
        if moves:
            moves -= 1
            await real(rollout_id, lambda _: Pause(who="ada") if moves else Resume(who="ada"), expected=None, wait_s=0)
        return await real(rollout_id, command, **more)

    monkeypatch.setattr(target.room.rollouts, "ask", moved)
    assert (await target.told()).json()["done"]
    assert await target.rollbacks() == [WHO]


async def test_a_rollout_that_keeps_moving_is_asked_for_again_later(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """409: whoever sent it tries again."""

    async def moved(*_: Any, **__: Any) -> Any:  # noqa: ANN401
        raise RolloutMoved("It moved.")

    monkeypatch.setattr(target.room.rollouts, "ask", moved)
    assert (await target.told()).status_code == 409
    assert await target.phase() is Phase.RUNNING


async def test_a_body_has_an_end(target: Target) -> None:
    """However well it is signed."""
    answer = await target.told(target.message(words="x" * LONGEST_BODY))
    assert answer.status_code == 413


async def test_a_body_of_another_type_is_refused(target: Target) -> None:
    """A page elsewhere can send it without being asked."""
    assert (await target.told(headers={"content-type": "text/plain"})).status_code == 415


async def test_a_message_to_a_room_without_a_secret_finds_nothing(app: ControlApi) -> None:
    """Nobody may ask without a key where nobody has a secret."""
    async with asking(app, await fake_room()) as http:
        assert (await http.post(PATH, json={})).status_code == 404
