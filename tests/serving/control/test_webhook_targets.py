"""Deliveries to a real server from a real store: whatever ails a target, it hears all of it once it is well."""

from __future__ import annotations

import base64
import random
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from serving.control.errors import StoreUnavailable
from serving.control.publication import Beside, Job, LedgerEntry
from serving.control.rolling import hooks as hooks_module
from serving.control.rolling.hooks import DRIFT, JITTER, Courier
from serving.control.rolling.kept import Became
from serving.control.rolling.sending import Sender
from serving.control.rolling.standing import StandingHook
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.control.webhooks import Webhooks
from tests.serving.webhook_servers import Mood, Server, served

OLD, NEW = (f"whsec_{base64.b64encode(bytes([one]) * 32).decode()}" for one in (1, 2))
PAUSES_S = (0.05, 0.1, 0.1, 0.2)
"""Ten minutes and more, shortened."""
PATIENCE_S = 60.0


@dataclass
class Room:
    """A store, a target, and whoever leads."""

    store: Store
    server: Server
    pauses_s: Sequence[float] = PAUSES_S
    hooks: dict[int, StandingHook] = field(default_factory=dict)
    fence: int = 0
    couriers: int = 0
    sender: Sender | None = None

    async def lead(self) -> None:
        """Another conductor takes over."""
        self.couriers += 1
        await self.store.resign(f"c{self.couriers - 1}")
        self.fence = await self.store.lead(f"c{self.couriers}", 1e6) or 0

    def courier(self, store: Any = None) -> Courier:  # noqa: ANN401 - a store that breaks
        """One that delivers there."""
        self.sender = self.sender or Sender([self.server.url])
        store = store or self.store
        return Courier(store, self.sender, standing=self.hooks, pauses_s=self.pauses_s, draws=random.Random(1))

    async def queue(self, count: int = 1) -> list[str]:
        """So many messages; their keys, by which a target does each once."""
        for nth in range(count):
            facts = {"event": "retrain", **_told(f"ep{nth}-{secrets.token_hex(4)}")}
            await self.store.note(Beside(entries=(LedgerEntry(DRIFT, "a", "b", facts),), jobs=(Job(0, DRIFT, 7),)))
        entries = (await self.store.ledger(count))[::-1]
        return [f"drift.retrain/{one.entry.facts['episode']}" for one in entries]

    async def deliver(self, until: Callable[[], bool]) -> None:
        """Delivers until then."""
        courier, end_s = self.courier(), time.monotonic() + PATIENCE_S
        try:
            while not until():
                assert time.monotonic() < end_s, "it took too long"
                await courier.begin(self.fence)
                await courier.wait(0.02)
            while courier._under_way:
                await courier.wait(0.02)
        finally:
            await courier.close()

    async def drained(self) -> None:
        """Delivers until nothing waits."""
        courier, end_s = self.courier(), time.monotonic() + PATIENCE_S
        while await self.store.waiting(99) or courier._under_way:
            assert time.monotonic() < end_s, "it took too long"
            await courier.begin(self.fence)
            await courier.wait(0.02)
        await courier.close()


def _told(episode: str) -> dict[str, Any]:
    return {
        "episode": episode, "model": "digits", "cause": "inputs", "action": "retrain", "words": "The inputs moved.",
        "harm": {"shown": True}, "window": {"from_s": 0, "to_s": 1, "rows": 500},
    }  # fmt: skip


@pytest.fixture
async def room(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """One whose target is well."""
    async with hooked(valkey) as made:
        yield made


@asynccontextmanager
async def hooked(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """One in a namespace of its own, whose target is well."""
    store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    with served(OLD) as server:
        made = Room(store, server)
        made.hooks[7] = StandingHook(7, "trainer", server.url, ("drift.retrain",), (OLD,))
        await made.lead()
        yield made
    await store.close()


async def test_a_target_that_was_down_hears_everything_once_it_is_up(room: Room) -> None:
    """Nobody listened for some attempts; then each message arrives, signed, under the id that it had all along."""
    room.server.down()
    keys = await room.queue(2)
    room.pauses_s = (0.05,) * 1_000
    courier = room.courier()
    while len(await room.store.tried(99)) < 6:
        await courier.begin(room.fence)
        await courier.wait(0.02)
    await courier.close()
    room.server.up()
    await room.drained()
    assert sorted(room.server.processed) == sorted(keys)
    assert (len(room.server.calls), room.server.forged) == (2, 0)
    tried = await room.store.tried(99)
    assert [one.became for one in tried].count(Became.DELIVERED) == 2
    assert all("cannot be reached" in one.attempt.failed for one in tried if one.became is Became.WAITS)
    assert all(one.attempt.hook == room.hooks[7].shown for one in tried), "neither path nor query"


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        (Mood.FAILING, "500"),
        (Mood.REDIRECTING, "answers with a redirect (307), and none is followed"),
        (Mood.BREAKING, "HTTP"),
        (Mood.HANGING, "no answer within 0.3 s"),
        (Mood.ENDLESS, "no answer within 0.3 s"),
        (Mood.HUGE, "more than 65,536 bytes"),
    ],
)
async def test_a_target_that_is_ill_hears_everything_once_it_is_well(
    room: Room, mood: Mood, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt ends in its time, and is told why it failed; all have one id."""
    if mood in {Mood.HANGING, Mood.ENDLESS}:
        monkeypatch.setattr(hooks_module, "_TIMEOUT_S", 0.3)
    room.pauses_s = (0.05,) * 1_000
    room.server.mood = mood
    (key,) = await room.queue()
    await room.deliver(lambda: len(room.server.calls) >= 2)
    assert len({one.id for one in room.server.calls}) == 1
    assert any(words in one.attempt.failed for one in await room.store.tried(99))
    monkeypatch.undo()
    room.server.mood = Mood.WELL
    await room.drained()
    assert room.server.processed == {key: 1}
    assert (await room.store.tried(1))[0].became is Became.DELIVERED


async def test_each_attempt_is_signed_with_a_time_of_its_own(room: Room) -> None:
    """Else a target that is well after ten minutes would hold it for overheard."""
    room.pauses_s = (1.0 / (1 - JITTER) + 0.1,)
    room.server.mood = Mood.FAILING
    await room.queue()
    await room.deliver(lambda: len(room.server.calls) >= 2)
    first, second = room.server.calls
    assert first.id == second.id
    assert second.sent_s > first.sent_s


async def test_a_slow_target_is_waited_for(room: Room) -> None:
    """It is heard, and called once."""
    room.server.mood = Mood.SLOW
    (key,) = await room.queue()
    await room.drained()
    assert (room.server.processed, len(room.server.calls)) == ({key: 1}, 1)


async def test_what_was_given_up_is_replayed_and_processed_once(room: Room) -> None:
    """After the last pause it is a dead letter with its reason; a replay delivers it under the same id."""
    room.server.mood = Mood.FAILING
    keys = await room.queue(2)
    await room.drained()
    dead = await room.store.dead_letters(9)
    assert [(one.tries, one.last.failed) for one in dead] == [(len(PAUSES_S) + 1, "500")] * 2
    ids = {one.id for one in room.server.calls}
    room.server.mood = Mood.WELL
    operators = Webhooks(room.store, room.hooks)  # type: ignore[arg-type]
    await operators.replay_all(who="ada", why="mended")
    await room.drained()
    assert sorted(room.server.processed) == sorted(keys)
    assert {one.id for one in room.server.calls} == ids
    assert list(await room.store.dead_letters(9)) == []
    (told, *_) = room.server.calls
    await operators.replay(told.id, who="ada")
    await room.drained()
    assert room.server.calls[-1].id == told.id, "also what arrived may be told once more"
    assert sorted(room.server.processed) == sorted(keys)
    said = [one.entry for one in await room.store.ledger(2)]
    assert [(one.who, one.facts["event"]) for one in said] == [("ada", "replay")] * 2


async def test_a_secret_is_replaced_while_deliveries_go_on(room: Room) -> None:
    """Sender first or target first: nothing is refused."""
    hook = room.hooks[7]
    keys = await room.queue()
    room.hooks[7] = StandingHook(7, hook.name, hook.url, hook.events, (NEW, OLD))
    await room.drained()
    room.server.secrets = (NEW, OLD)
    keys += await room.queue()
    await room.drained()
    room.hooks[7] = StandingHook(7, hook.name, hook.url, hook.events, (NEW,))
    keys += await room.queue()
    await room.drained()
    assert (sorted(room.server.processed), room.server.forged) == (sorted(keys), 0)


async def test_a_target_with_another_secret_refuses_and_hears_it_once_that_is_mended(room: Room) -> None:
    """What is refused is tried again, as what fails is."""
    room.server.secrets = (NEW,)
    room.pauses_s = (0.05,) * 1_000
    (key,) = await room.queue()
    await room.deliver(lambda: room.server.forged >= 2)
    room.server.secrets = (NEW, OLD)
    await room.drained()
    assert room.server.processed == {key: 1}


class Dying:
    """A store in front of a process that is killed at its nth call, before or after the store has done it.

    Args:
        store: the real one.
        at: the call at which it dies.
        after: whether the store still does it.
    """

    def __init__(self, store: Store, at: int, *, after: bool) -> None:
        self._store, self._at, self._after = store, at, after
        self._calls = 0
        self.last = ""
        """The call at which it died; empty where it was never made."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        real = getattr(self._store, name)

        async def call(*given: Any) -> Any:  # noqa: ANN401
            self._calls += 1
            dies = self._calls == self._at
            if dies:
                self.last = name
            if self._calls > self._at or (dies and not self._after):
                raise StoreUnavailable("dead")
            found = await real(*given)
            if dies:
                raise StoreUnavailable("dead")
            return found

        return call


@pytest.mark.parametrize("mood", [Mood.FAILING, Mood.WELL])
@pytest.mark.parametrize("after", [False, True])
async def test_whoever_is_killed_at_any_step_loses_nothing_and_has_nothing_done_twice(
    room: Room, mood: Mood, *, after: bool
) -> None:
    """At each call of the store in turn, before it or after it: the next conductor tells what is left."""
    room.pauses_s = (0.02,) * 100
    at, died_at = 1, set()
    while True:
        keys = await room.queue(2)
        room.server.mood = mood
        dying = Dying(room.store, at, after=after)
        courier = room.courier(dying)
        for _ in range(6):
            with suppress(StoreUnavailable):
                await courier.begin(room.fence)
            while courier._under_way:
                await courier.wait(1)
        await courier.close()
        room.server.mood = Mood.WELL
        await room.lead()
        await room.drained()
        assert [room.server.processed[key] for key in keys] == [1, 1], at
        if not dying.last:
            break
        died_at.add(dying.last)
        at += 1
    assert died_at == {"due_jobs", "jobs", "end_job" if mood is Mood.WELL else "put_off_job"}
    assert list(await room.store.dead_letters(1)) == []
    came = Counter((one.key, one.id) for one in room.server.calls)
    assert len(came) == len({key for key, _ in came}), "told again under the id that it had"
    if not after:
        assert max(came.values()) > 1, "what arrived, and was not noted, is told again"


async def test_pauses_are_drawn_shorter_by_a_quarter_at_most(room: Room) -> None:
    """Those who failed together are not tried again together."""
    room.server.mood = Mood.FAILING
    room.pauses_s = (1_000.0,)
    await room.queue(12)
    await room.deliver(lambda: len(room.server.calls) >= 12)
    now_ms = await room.store.now_ms()
    waits_s = [(one.next_ms - now_ms) / 1000 for one in await room.store.waiting(99)]
    assert len(waits_s) == 12
    assert max(waits_s) <= 1_000
    assert min(waits_s) >= 1_000 * (1 - JITTER) - PATIENCE_S
    assert max(waits_s) - min(waits_s) > 60
