"""What only the registry in Redis must do: keep to its keys, let one of two win, list at once, survive its server."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import redis.asyncio

from registry.codec import encode_standing, encode_summary, encode_version
from registry.errors import Conflict, RegistryError, StoreDamaged, StoreUnavailable, Unacceptable
from registry.lifecycle import Event, Standing, State
from registry.models import ModelName, VersionNumber
from registry.service import Registered, Registry
from registry.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from tests.registry.made import DIGITS, contents, number, version

MANY = 10_000


async def nobody(model: ModelName, asked: VersionNumber, /) -> Sequence[str]:
    """Nobody uses anything."""
    return ()


@pytest.fixture
async def store(valkey: EmbeddedValkey) -> AsyncIterator[Store]:
    """A registry in a namespace of its own."""
    store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    yield store
    await store.close()


@pytest.fixture
async def raw(valkey: EmbeddedValkey) -> AsyncIterator[redis.asyncio.Redis]:
    """The server, without the store."""
    client = redis.asyncio.Redis.from_url(valkey.url)
    yield client
    await client.aclose()


@pytest.mark.parametrize("attempt", range(5))
async def test_of_two_who_register_a_version_at_once_one_wins(
    valkey: EmbeddedValkey, store: Store, attempt: int
) -> None:
    """Two processes, two connections, one number: one version is there, and the other is told whose it is."""
    other = connect(valkey.url, store.keys.namespace)
    try:
        said = await asyncio.gather(
            *(
                Registry(one, nobody).register("digits", contents(seed), who=f"ci {seed}", number=1)
                for seed, one in enumerate((store, other))
            ),
            return_exceptions=True,
        )
    finally:
        await other.close()
    assert sorted(type(one).__name__ for one in said) == ["Conflict", "Registered"]
    [winner] = [one for one in said if isinstance(one, Registered)]
    [loser] = [one for one in said if isinstance(one, Conflict)]
    assert f"was registered by {winner.version.registered_by}" in str(loser)
    assert await store.version(DIGITS, number(1)) == winner.version
    assert len(await store.audit(before="", limit=10)) == 1


async def test_of_twenty_who_move_an_alias_at_once_one_wins(store: Store) -> None:
    """The revision that they all saw is there for one of them only."""
    registry = Registry(store, nobody)
    for seed in (1, 2):
        await registry.register("digits", contents(seed), who="ada")
    said = await asyncio.gather(
        *(registry.point("digits", "champion", 1 + n % 2, expected=0, who=f"operator {n}") for n in range(20)),
        return_exceptions=True,
    )
    assert [type(one) for one in said].count(Conflict) == 19


async def test_of_an_alias_and_a_deletion_at_once_one_wins(store: Store) -> None:
    """Whichever comes first: no alias ever points at what is gone."""
    registry = Registry(store, nobody)
    for seed in range(1, 11):
        await registry.register("digits", contents(seed), who="ada")
        said = await asyncio.gather(
            registry.point("digits", "champion", seed, expected=None, who="ada"),
            registry.move("digits", seed, Event.DELETE, expected=None, who="bob"),
            return_exceptions=True,
        )
        assert len([one for one in said if isinstance(one, RegistryError)]) == 1
    aliases = (await store.facts(DIGITS)).aliases
    alive = {one["version"] for one in await store.listed(DIGITS, below=None, limit=100)}
    assert {alias.version for alias in aliases.values()} <= alive


async def fill(store: Store, raw: redis.asyncio.Redis, versions: int) -> None:
    """Puts that many versions where commits would have put them."""
    blob, summary = encode_version(version()).decode(), encode_summary(version())
    numbers = range(1, versions + 1)
    standing = encode_standing(Standing(State.VERIFIED, 1))
    keys = {part: store.keys.of(DIGITS, part) for part in ("model", "versions", "records", "summaries", "states")}
    pipe = raw.pipeline(transaction=False)
    pipe.hset(keys["model"], mapping={"revision": 1, "newest": versions})
    pipe.zadd(keys["versions"], {str(n): n for n in numbers})
    pipe.hset(keys["records"], mapping={str(n): blob.replace('"number":1', f'"number":{n}') for n in numbers})
    pipe.hset(keys["summaries"], mapping={str(n): summary.replace("[1,", f"[{n},", 1) for n in numbers})
    pipe.hset(keys["states"], mapping={str(n): standing for n in numbers})
    await pipe.execute()


async def test_ten_thousand_versions_are_listed_in_one_round_trip(
    store: Store, raw: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: the server makes one reply of them."""
    await fill(store, raw, MANY)
    sent: list[tuple[object, ...]] = []
    send: Callable[..., Awaitable[object]] = store._redis.execute_command

    async def counting(*command: object, **options: object) -> object:
        sent.append(command)
        return await send(*command, **options)

    monkeypatch.setattr(store._redis, "execute_command", counting)
    found = await Registry(store, nobody).versions("digits", limit=MANY)
    assert [one["version"] for one in found] == list(range(MANY, 0, -1))
    assert len(sent) == 1


async def test_all_keys_share_a_slot(store: Store, raw: redis.asyncio.Redis) -> None:
    """On a cluster of servers one script may touch them all: each begins with the namespace in braces."""
    registry = Registry(store, nobody)
    await registry.register("digits", contents(1), who="ada")
    await registry.point("digits", "champion", 1, expected=0, who="ada")
    ours = [key async for key in raw.scan_iter(match=f"*{store.keys.namespace}*")]
    assert len(ours) >= 8
    assert all(key.startswith(f"{{{store.keys.namespace}}}:registry:".encode()) for key in ours)


async def test_a_command_that_is_sent_twice_is_one_change(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose connection broke sends it again, and must not lose against itself."""
    durably = store._durably

    async def twice(script: str, keys: Sequence[str], said: Sequence[str]) -> tuple[object, bool]:
        await durably(script, keys, said)
        return await durably(script, keys, said)

    monkeypatch.setattr(store, "_durably", twice)
    made = await Registry(store, nobody).register("digits", contents(1), who="ada")
    assert (made.created, made.durable) == (True, True)
    assert len(await store.audit(before="", limit=10)) == 1


async def test_a_server_that_may_forget_is_told_about(store: Store, raw: redis.asyncio.Redis) -> None:
    """Without an append-only file nothing is confirmed to be on disk."""
    await raw.config_set("appendonly", "no")
    try:
        made = await Registry(store, nobody).register("digits", contents(1), who="ada")
    finally:
        await raw.config_set("appendonly", "yes")
    assert (made.created, made.durable) == (True, False)


@pytest.mark.parametrize("part", ["records", "states", "summaries"])
async def test_what_nobody_of_ours_wrote_is_damage(store: Store, raw: redis.asyncio.Redis, part: str) -> None:
    """It is told as such, and not taken for a version."""
    registry = Registry(store, nobody)
    await registry.register("digits", contents(1), who="ada")
    await raw.hset(store.keys.of(DIGITS, part), "1", '{"reader":1}')
    with pytest.raises(StoreDamaged, match="cannot read"):
        await registry.show("digits", 1)


async def test_a_killed_server_is_found_again_with_everything(tmp_path: Path) -> None:
    """While it is away every call says so in a sentence; when it is back, nothing that was acknowledged is missing."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    store = connect(server.url, "sluice", timeout_s=1.0)
    registry = Registry(store, nobody)
    try:
        made = await registry.register("digits", contents(1), who="ada")
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await registry.show("digits", 1)
        with pytest.raises(StoreUnavailable):
            await registry.register("digits", contents(2), who="ada")
        server.ensure_running()
        assert (await registry.show("digits", 1)).version == made.version
        assert (await registry.register("digits", contents(2), who="ada")).version.number == 2
    finally:
        await store.close()
        server.stop()


async def test_no_error_shows_the_password(valkey: EmbeddedValkey) -> None:
    """Whatever is wrong with an address, its password stays out of the text and of what caused it."""
    for url in (
        f"redis://:hunter2-secret@127.0.0.1:{valkey.port}/0",
        "redis://:hunter2-secret@127.0.0.1:1/0",
        "redis://user:hunter2-secret@127.0.0.1:port/0",
        "redis://:hunter2/secret@127.0.0.1:6379/0",
        "http://:hunter2-secret@127.0.0.1",
    ):
        with pytest.raises(RegistryError) as refused:
            await connect(url, "sluice", timeout_s=1.0).facts(DIGITS)
        error: BaseException | None = refused.value
        while error is not None:
            assert "hunter2" not in f"{error} {error!r} {error.args}"
            error = error.__cause__
    with pytest.raises(Unacceptable, match="is no namespace"):
        connect("redis://127.0.0.1", "a:b")
