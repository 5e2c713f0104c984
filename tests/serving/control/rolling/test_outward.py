"""Gates are asked as Flagger asks them and hold a rollout; hooks are told, signed, at least once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from standardwebhooks import Webhook

from router.commands import Pause, Resume
from router.errors import PlanError
from router.phases import Phase
from router.policy import Policy
from serving.control.errors import StoreUnavailable
from serving.control.rolling.document import document_from
from serving.control.rolling.hooks import PAUSES_S, STORE_PAUSES_S, Courier
from serving.control.rolling.kept import Attempt
from serving.control.rolling.outward import Gate, GateKind, Hook, check_url, shown_url
from serving.control.rolling.sending import Sender
from serving.endpoint import Endpoint
from serving.errors import SluiceError
from serving.outgoing import CallFailed
from tests.serving.control.rolling.rooms import MODEL, STEPS, Post, Room, delivered, fake_room

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
URL = "https://ci.example.com/gate?token=hush"


@pytest.fixture
async def room() -> Room:
    """A room in memory."""
    return await fake_room()


def gated(kind: str, **more: Any) -> Mapping[str, Any]:  # noqa: ANN401
    """A canary with a gate."""
    return {**STEPS, "gates": [{"type": kind, "url": URL, "name": "ci", **more}]}


async def test_a_rollout_begins_when_its_gate_says_yes(room: Room) -> None:
    """Anything but a 2xx holds it, with the gate and its answer in a sentence that shows no path."""
    room.post.status = 403
    record = await room.start(gated("confirm-rollout", metadata={"cluster": "west"}))
    await room.tick(1)
    await room.tick(1)
    assert (await room.now(record)).rollout.phase is Phase.WARMING
    [said] = (await room.rollouts.rollout(record.id)).waits
    assert said == "the gate 'ci' at ci.example.com answered 403"
    room.post.status = 200
    await room.tick(6)
    await room.tick(1)
    assert (await room.now(record)).rollout.phase is Phase.RUNNING
    url, body, _ = room.post.sent[0]
    sent = json.loads(body)
    assert url == URL
    assert (sent["name"], sent["phase"], sent["metadata"]["cluster"]) == (MODEL, "Initializing", "west")
    assert set(sent) == {"name", "namespace", "phase", "checksum", "metadata"}


async def test_a_candidate_is_promoted_when_its_gate_says_yes(room: Room) -> None:
    """It is asked when the candidate would become stable, not before; a yes from an earlier stage is none."""
    room.post.status = 500
    record = await room.start(gated("confirm-promotion"))
    for _ in range(40):
        await room.tick(1)
    assert await room.shares() == {1: 750_000, 2: 250_000}
    assert (await room.now(record)).rollout.stage == 1
    room.post.status = 204
    for _ in range(8):
        await room.tick(1)
    assert (await room.now(record)).rollout.phase is Phase.WATCHING
    assert {json.loads(body)["phase"] for _, body, _ in room.post.sent} == {"Progressing"}


async def test_a_rollback_gate_takes_it_back(room: Room) -> None:
    """Asked all along; its yes is a rollback, with the gate as the reason."""
    room.post.status = 404
    record = await room.start(gated("rollback"))
    for _ in range(3):
        await room.tick(1)
    assert (await room.now(record)).rollout.phase is Phase.RUNNING
    room.post.status = 200
    for _ in range(8):
        await room.tick(1)
    ended = (await room.now(record)).rollout
    assert ended.phase is Phase.ROLLED_BACK
    assert "the gate 'ci' at ci.example.com answered 200" in ended.cause
    assert await room.shares() == {1: 1_000_000}


async def test_a_gate_that_cannot_be_reached_holds(room: Room) -> None:
    """Silence is not a yes."""

    async def broken(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        raise CallFailed("https://ci.example.com cannot be reached, or broke off.")

    room.post.post = broken  # type: ignore[method-assign]
    record = await room.start(gated("confirm-rollout"))
    await room.tick(1)
    await room.tick(1)
    assert any("cannot be reached" in one for one in (await room.rollouts.rollout(record.id)).waits)
    assert (await room.now(record)).rollout.phase is Phase.WARMING


async def test_a_gate_whose_call_breaks_is_asked_no_more_often_than_others(room: Room) -> None:
    """Whatever the call raises is a no: within five seconds it is asked once, not at every tick."""
    asked = 0

    async def broken(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        nonlocal asked
        asked += 1
        raise OSError("hush")

    room.post.post = broken  # type: ignore[method-assign]
    record = await room.start(gated("confirm-rollout"))
    for _ in range(16):
        await room.tick(0.25)
    assert asked == 1
    [said] = (await room.rollouts.rollout(record.id)).waits
    assert said == "the gate 'ci' at ci.example.com cannot be asked: OSError"
    await room.tick(2)
    assert asked == 2


async def test_a_delivery_whose_call_breaks_is_put_off(room: Room) -> None:
    """As one that was not answered."""

    async def broken(url: str, body: bytes, headers: Mapping[str, str]) -> int:
        raise OSError("hush")

    room.post.post = broken  # type: ignore[method-assign]
    await room.start({**STEPS, "webhooks": [{"url": "https://hooks.example.com/a", "secret": SECRET}]})
    courier = Courier(room.store, room.post)
    assert await delivered(courier, room) == 1
    assert await delivered(courier, room) == 0
    room.clock.now_s += PAUSES_S[0] + 1
    assert await delivered(courier, room) == 1


class Deaf(Post):
    """Where some servers never answer."""

    def __init__(self, *deaf: str) -> None:
        super().__init__()
        self.deaf = deaf
        self.waiting: list[str] = []

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """As the others do, or never."""
        if url.startswith(self.deaf):
            self.waiting.append(url)
            await asyncio.Event().wait()
        return await super().post(url, body, headers)


async def test_one_dead_hook_delays_nobody_else(room: Room) -> None:
    """However much it is to be told: the others hear everything at once, and it is called a few times at a time."""
    dead, alive = "https://dead.example.com/", "https://hooks.example.com/"
    for number in range(12):
        model = f"m{number}"
        await room.store.hold(Endpoint("127.0.0.1", 9_002, 0, model, 2), 1e6)
        await room.store.change(model, Policy(1, salt="s"), 0, who="settings")
        hooks = [{"url": f"{dead if number < 10 else alive}{number}", "secret": SECRET}]
        document = document_from({**STEPS, "webhooks": hooks})
        await room.rollouts.start(model, document, who="ada")
    post = Deaf(dead)
    courier = Courier(room.store, post)
    for _ in range(3):
        await courier.begin(room.fence)
        await courier.wait(0.05)
    assert sorted(url for url, _, _ in post.sent) == [f"{alive}10", f"{alive}11"]
    assert 0 < len(post.waiting) <= 4
    await courier.close()
    assert len(await room.store.due_jobs()) == 10


async def test_a_hook_is_told_one_thing_at_a_time_in_order(room: Room) -> None:
    """What happened first is heard first."""
    record = await room.start({**STEPS, "webhooks": [{"url": "https://hooks.example.com/a", "secret": SECRET}]})
    await room.tick(1)
    await room.ask(record, Pause(who="ada"))
    courier = Courier(room.store, room.post)
    assert [await delivered(courier, room) for _ in range(4)] == [1, 1, 1, 0]
    heard = [json.loads(body)["type"] for _, body, _ in room.post.sent]
    assert heard == ["rollout.started", "rollout.entered", "rollout.paused"]


async def test_what_comes_after_a_delivery_that_failed_does_not_wait_for_it(room: Room) -> None:
    """It is told again later, out of its order."""
    await room.start({**STEPS, "webhooks": [{"url": "https://hooks.example.com/a", "secret": SECRET}]})
    await room.tick(1)
    courier = Courier(room.store, room.post, room.clock)
    room.post.status = 503
    assert await delivered(courier, room) == 1
    room.post.status = 200
    assert await delivered(courier, room) == 1
    room.clock.now_s += PAUSES_S[0] + 1
    assert await delivered(courier, room) == 1
    heard = [json.loads(body)["type"] for _, body, _ in room.post.sent]
    assert heard == ["rollout.started", "rollout.entered", "rollout.started"]


async def test_a_hook_is_not_told_over_and_over_while_the_store_cannot_note_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pauses grow, the other hooks go on, and once it is noted the next thing is told at once."""

    async def unwritable(job: str, fence: int, told: Attempt | None = None) -> None:
        raise StoreUnavailable("MISCONF")

    await room.start({**STEPS, "webhooks": [{"url": "https://hooks.example.com/a", "secret": SECRET}]})
    await room.tick(1)
    courier = Courier(room.store, room.post, room.clock)
    with monkeypatch.context() as away:
        away.setattr(room.store, "end_job", unwritable)
        for pause_s in (*STORE_PAUSES_S, STORE_PAUSES_S[-1]):
            assert await delivered(courier, room) == 1
            assert [await delivered(courier, room) for _ in range(3)] == [0, 0, 0]
            room.clock.now_s += pause_s - 1
            assert await delivered(courier, room) == 0
            room.clock.now_s += 1
    assert [await delivered(courier, room) for _ in range(3)] == [1, 1, 0]
    heard = [json.loads(body)["type"] for _, body, _ in room.post.sent]
    assert heard == ["rollout.started"] * 5 + ["rollout.entered"]


async def test_a_long_backlog_is_not_read_anew_for_each_delivery(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a second, or when all that was read is told; what is put off meanwhile is not told before its time."""
    record = await room.start({**STEPS, "webhooks": [{"url": "https://hooks.example.com/a", "secret": SECRET}]})
    for _ in range(9):
        await room.ask(record, Pause(who="ada"))
        await room.ask(record, Resume(who="ada"))
    read, due_jobs = 0, room.store.due_jobs

    async def counted() -> Sequence[str]:
        nonlocal read
        read += 1
        return cast("Sequence[str]", await due_jobs())

    monkeypatch.setattr(room.store, "due_jobs", counted)
    courier = Courier(room.store, room.post, room.clock)
    room.post.status = 503
    assert [await delivered(courier, room) for _ in range(10)] == [1] * 10
    assert read == 1
    room.clock.now_s += 1
    assert [await delivered(courier, room) for _ in range(10)] == [1] * 9 + [0]
    assert read == 3
    assert len({headers["webhook-id"] for _, _, headers in room.post.sent}) == 19


async def test_what_ends_while_the_backlog_is_read_is_not_told_twice(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's answer is of a moment when the delivery was under way."""
    await room.start({**STEPS, "webhooks": [{"url": "https://hooks.example.com/a", "secret": SECRET}]})
    post = Held()
    post.status = 503
    courier = Courier(room.store, post, room.clock)
    await courier.begin(room.fence)
    due_jobs = room.store.due_jobs

    async def late() -> Sequence[str]:
        found = cast("Sequence[str]", await due_jobs())
        post.go.set()
        while courier._under_way:
            await courier.wait(1)
        return found

    monkeypatch.setattr(room.store, "due_jobs", late)
    assert [await delivered(courier, room) for _ in range(3)] == [0, 0, 0]
    assert len(post.sent) == 1


class Held(Post):
    """Where nobody is answered before a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """As the others do, then."""
        await self.go.wait()
        return await super().post(url, body, headers)


async def test_a_deposed_conductor_leaves_its_deliveries_to_the_next(room: Room) -> None:
    """It may have told the hook; that hears it once more, under the same id."""
    await room.start({**STEPS, "webhooks": [{"url": "https://hooks.example.com/a", "secret": SECRET}]})
    courier = Courier(room.store, room.post, room.clock)
    deposed, room.fence = room.fence, room.fence - 1
    assert await delivered(courier, room) == 1
    assert len(await room.store.due_jobs()) == 1
    room.fence = deposed
    room.clock.now_s += STORE_PAUSES_S[0]
    assert await delivered(courier, room) == 1
    assert await room.store.due_jobs() == []
    assert len({headers["webhook-id"] for _, _, headers in room.post.sent}) == 1


async def test_hooks_hear_of_what_they_asked_for(room: Room) -> None:
    """Signed by the standard, with an id that stays the same; the body says what happened, and no secret."""
    hooks = [{"url": "https://hooks.example.com/a", "secret": SECRET, "events": ["paused", "rolled_back"]}]
    record = await room.start({**STEPS, "webhooks": hooks})
    await room.tick(1)
    await room.ask(record, Pause(who="ada", why="lunch"))
    courier = Courier(room.store, room.post)
    assert await delivered(courier, room) == 1
    [(url, body, headers)] = room.post.sent
    assert url == "https://hooks.example.com/a"
    said = Webhook(SECRET).verify(body, dict(headers))
    assert (said["type"], said["data"]["who"], said["data"]["why"]) == ("rollout.paused", "ada", "lunch")
    assert said["data"]["rollout"]["id"] == record.id
    assert SECRET not in body.decode()
    assert await delivered(courier, room) == 0


async def test_a_delivery_is_tried_again_with_growing_pauses_under_one_id(room: Room) -> None:
    """And given up after the last of them."""
    hooks = [{"url": "https://hooks.example.com/a", "secret": SECRET, "events": ["paused"]}]
    record = await room.start({**STEPS, "webhooks": hooks})
    await room.ask(record, Pause(who="ada"))
    room.post.status = 503
    courier = Courier(room.store, room.post)
    assert await delivered(courier, room) == 1
    assert await delivered(courier, room) == 0
    for pause_s in PAUSES_S:
        room.clock.now_s += pause_s + 1
        assert await delivered(courier, room) == 1
    room.clock.now_s += 1e6
    assert await delivered(courier, room) == 0
    assert len(room.post.sent) == len(PAUSES_S) + 1
    assert len({headers["webhook-id"] for _, _, headers in room.post.sent}) == 1


async def test_a_hook_that_is_gone_for_good_is_not_asked_again(room: Room) -> None:
    """410 says so."""
    hooks = [{"url": "https://hooks.example.com/a", "secret": SECRET}]
    await room.start({**STEPS, "webhooks": hooks})
    room.post.status = 410
    courier = Courier(room.store, room.post)
    await delivered(courier, room)
    room.clock.now_s += 1e6
    assert await delivered(courier, room) == 0


@pytest.mark.parametrize("url", ["", "ftp://x/y", "https://", "x", 3, None, "https://[::1", "http://x:0/"])
def test_what_is_no_address_is_refused_without_being_repeated(url: object) -> None:
    """It may hold a token."""
    with pytest.raises(PlanError) as refused:
        check_url(url)
    assert "token" not in str(refused.value)


@pytest.mark.parametrize("secret", ["", "abc", "whsec_", "whsec_c2hvcnQ=", "whsec_???", "whsec_" + "A" * 400])
def test_what_is_no_secret_is_refused(secret: str) -> None:
    """As Standard Webhooks have it."""
    with pytest.raises(PlanError, match="whsec_"):
        Hook("https://hooks.example.com", secret)


def test_nothing_secret_is_shown() -> None:
    """Neither the secret nor what comes after the host."""
    hook = Hook("https://user:pw@hooks.example.com/T0/hush", SECRET)
    assert SECRET not in repr(hook)
    assert shown_url(hook.url) == "https://hooks.example.com/…"
    assert "hush" not in Gate(GateKind.ROLLBACK, URL).words


def test_only_public_addresses_and_those_of_the_settings_are_called() -> None:
    """An address that came over the API must not reach what stands beside this process."""
    sender = Sender(["http://gate.internal:9000"])
    sender.check("http://gate.internal:9000/confirm")
    sender.check("https://ci.example.com/gate")
    for url in ("http://gate.internal:9001/", "http://127.0.0.1:6379/", "https://169.254.169.254/latest"):
        with pytest.raises(SluiceError):
            sender.check(url)


async def test_an_address_that_is_not_called_is_refused_at_the_start(room: Room) -> None:
    """Not when the gate would be asked."""

    def check(url: str) -> None:
        raise CallFailed("no")

    room.post.check = check  # type: ignore[method-assign]
    with pytest.raises(CallFailed):
        await room.start(gated("rollback"))
    assert (await room.store.look()).records == ()
