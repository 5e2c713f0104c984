"""Who is let in follows the store, and does not wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from serving.access.denied import Denied
from serving.access.keys import KeyRecord, Shown
from serving.access.principal import ANONYMOUS, Principal
from serving.access.roles import Role
from serving.control import doorman as module
from serving.control.doorman import Doorman
from serving.control.fake_store import FakeStore
from serving.control.key_rules import WantedKey
from serving.control.keys import KeyService


@asynccontextmanager
async def running(doorman: Doorman) -> AsyncIterator[None]:
    """While it looks again and again."""
    task = asyncio.create_task(doorman.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def soon(true: Callable[[], bool]) -> None:
    """Waits for it."""
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def made(store: FakeStore) -> tuple[KeyRecord, bytes]:
    """A key that administers, and the header that shows it."""
    key = await KeyService(store).create(WantedKey("bot", Role.ADMINISTER), who="test", wait_s=0)
    return key.record, _header(key.shown)


def _header(shown: Shown) -> bytes:
    return f"Bearer {shown.text}".encode()


async def test_a_key_is_good_soon_after_it_is_made_and_not_soon_after_it_is_taken_back() -> None:
    """Without anybody telling this process: the revision says that there is something new."""
    store = FakeStore()
    doorman = Doorman(store, required=True)
    async with running(doorman):
        record, header = await made(store)
        await soon(lambda: isinstance(doorman.ask(header), Principal))
        await KeyService(store).revoke(record.id, who="test", force=True, wait_s=0)
        await soon(lambda: isinstance(doorman.ask(header), Denied))
        assert doorman.ask(header) == Denied("revoked", "This key was taken back.", record.id)


def test_the_store_is_looked_at_more_often_than_a_second_has_parts() -> None:
    """A key that is taken back must not work for a second more, with time to spare for a slow store."""
    assert module.POLL_S <= 0.5


async def test_while_the_store_is_away_known_keys_stay_known(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is locked out by an outage, nobody is let in by one, and it is said once."""
    store = FakeStore()
    _, header = await made(store)
    doorman = Doorman(store, required=True)
    async with running(doorman):
        await soon(lambda: isinstance(doorman.ask(header), Principal))
        store.down = True
        await asyncio.sleep(3 * module.POLL_S)
        assert isinstance(doorman.ask(header), Principal)
        assert doorman.ask(None) == Denied("missing", doorman.ask(None).sentence)  # type: ignore[union-attr]
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        store.down = False
        record, another = await made_again(store)
        await soon(lambda: doorman.ask(another) == record.principal)


async def made_again(store: FakeStore) -> tuple[KeyRecord, bytes]:
    """A second key."""
    key = await KeyService(store).create(WantedKey("second", Role.OPERATE), who="test", wait_s=0)
    return key.record, _header(key.shown)


async def test_before_the_store_was_ever_read_nobody_is_let_in() -> None:
    """Where a key is asked for; where none is, everybody is."""
    store = FakeStore()
    _, header = await made(store)
    store.down = True
    doorman = Doorman(store, required=True)
    async with running(doorman):
        await asyncio.sleep(2 * module.POLL_S)
        assert isinstance(doorman.ask(header), Denied)
        assert isinstance(doorman.ask(None), Denied)
    assert Doorman(store).ask(None) is ANONYMOUS


async def test_records_that_cannot_be_read_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The loop goes on, and what was known stays."""
    store = FakeStore()
    _, header = await made(store)
    doorman = Doorman(store, required=True)
    await doorman.look()
    good = store.key_records

    async def broken() -> tuple[KeyRecord, ...]:
        raise ValueError("no record")

    store.key_records = broken  # type: ignore[method-assign]
    async with running(doorman):
        record, another = await made_again(store)
        await soon(lambda: bool(caplog.records))
        assert isinstance(doorman.ask(header), Principal)
        store.key_records = good  # type: ignore[method-assign]
        await soon(lambda: doorman.ask(another) == record.principal)


async def test_a_store_that_has_forgotten_takes_nothing_back() -> None:
    """An older revision is one from before a key was taken back; a newer one than all is believed again."""
    store = FakeStore()
    doorman = Doorman(store, required=True)
    before, (record, header) = store._access, await made(store)
    with_key = store._access
    await KeyService(store).revoke(record.id, who="test", force=True, wait_s=0)
    await doorman.look()
    for older in (with_key, before):
        store._access = older
        await doorman.look()
        assert doorman.ask(header) == Denied("revoked", "This key was taken back.", record.id)
    for _ in range(3):
        newest, another = await made_again(store)
        await KeyService(store).revoke(newest.id, who="test", force=True, wait_s=0)
    newest, another = await made_again(store)
    await doorman.look()
    assert doorman.ask(another) == newest.principal


async def test_nothing_is_read_again_that_has_not_changed() -> None:
    """Ten thousand records are not fetched four times a second."""
    store = FakeStore()
    await made(store)
    doorman, reads = Doorman(store), []
    good = store.key_records

    async def counted() -> object:
        reads.append(1)
        return await good()

    store.key_records = counted  # type: ignore[method-assign, assignment]
    for _ in range(5):
        await doorman.look()
    await made_again(store)
    await doorman.look()
    assert len(reads) == 2


async def test_a_slower_look_puts_nothing_older_back() -> None:
    """One that read a key before it was taken back, and is overtaken, does not bring it back to life."""
    store = FakeStore()
    record, header = await made(store)
    doorman, read, go_on = Doorman(store, required=True), asyncio.Event(), asyncio.Event()
    good = store.jwks

    async def slow() -> str | None:
        if not read.is_set():
            read.set()
            await go_on.wait()
        return await good()

    store.jwks = slow  # type: ignore[method-assign]
    first = asyncio.create_task(doorman.look())
    await read.wait()
    await KeyService(store).revoke(record.id, who="test", force=True, wait_s=0)
    second = asyncio.create_task(doorman.look())
    await asyncio.sleep(0.05)
    go_on.set()
    await asyncio.gather(first, second)
    assert doorman.ask(header) == Denied("revoked", "This key was taken back.", record.id)


async def test_what_changes_while_it_is_read_is_read_again() -> None:
    """Records and signing keys of two revisions are not left together; a store that forgets changes nothing."""
    store = FakeStore()
    record, header = await made(store)
    doorman, good, changed = Doorman(store, required=True), store.jwks, list[object]()

    async def meanwhile() -> str | None:
        if not changed:
            changed.append(await KeyService(store).revoke(record.id, who="test", force=True, wait_s=0))
        return await good()

    store.jwks = meanwhile  # type: ignore[method-assign]
    await doorman.look()
    assert isinstance(doorman.ask(header), Denied)
    before, (_, another) = store._access, await made_again(store)

    async def forgotten() -> str | None:
        store._access = before
        return await good()

    store.jwks = forgotten  # type: ignore[method-assign]
    await doorman.look()
    assert isinstance(doorman.ask(another), Denied)


async def test_a_signing_key_that_is_not_known_is_asked_for() -> None:
    """Whoever fetches them hears of it at the next look, once however often it was shown."""
    store = FakeStore()
    doorman = Doorman(store, required=True)
    doorman._verifier = _Unknown()  # type: ignore[assignment]
    for _ in range(3):
        assert isinstance(doorman.ask(b"Bearer x"), Denied)
    assert not await store.take_wanted()
    await doorman.look()
    assert await store.take_wanted()
    await doorman.look()
    assert not await store.take_wanted()


class _Unknown:
    def verify(self, authorization: bytes | None, now_s: float) -> Denied:
        return Denied("unknown_signing_key", "It is signed by a key that is not known.")


async def test_a_key_ends_by_itself_at_its_time() -> None:
    """Without anything being read: the clock decides."""
    store, now = FakeStore(), [time.time()]
    key = await KeyService(store).create(WantedKey("short", Role.OPERATE, expires_s=now[0] + 60), who="test", wait_s=0)
    doorman = Doorman(store, clock=lambda: now[0])
    await doorman.look()
    assert doorman.ask(_header(key.shown)) == replace(key.record).principal
    now[0] += 61
    assert doorman.ask(_header(key.shown)) == Denied(
        "expired", "This key has expired: ask for a new one.", key.record.id
    )
