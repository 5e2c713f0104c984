"""What is true of every store of ours in Redis: its errors are sentences of its room, and 'durable' means on disk."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio

from registry.redis_store import Errors, RedisStore, _warnings, check_age, reply
from serving.control import valkey as valkey_module
from serving.control.valkey import EmbeddedValkey

PUT = "return redis.call('SET', KEYS[1], ARGV[1])"


class RoomError(Exception):
    """What a room says no with."""


class MisaddressedError(RoomError):
    """The address."""


class UnsuitableError(RoomError):
    """The server."""


class UnavailableError(RoomError):
    """The moment."""


class DamagedError(RoomError):
    """The data."""


class UndecodableError(Exception):
    """What the room's decoders raise."""


ERRORS = Errors(
    misaddressed=MisaddressedError,
    unsuitable=UnsuitableError,
    unavailable=UnavailableError,
    damaged=DamagedError,
    meanwhile="Wait.",
    kept="whales",
    unreadable=(UndecodableError,),
)


@asynccontextmanager
async def store_at(url: str, timeout_s: float = 3.0) -> AsyncIterator[RedisStore]:
    """A store there."""
    store = RedisStore(url, ERRORS, timeout_s)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(valkey: EmbeddedValkey) -> AsyncIterator[RedisStore]:
    """A store on a real server."""
    async with store_at(valkey.url) as store:
        yield store


@pytest.fixture
async def raw(valkey: EmbeddedValkey) -> AsyncIterator[redis.asyncio.Redis]:
    """The server, without the store."""
    client = redis.asyncio.Redis.from_url(valkey.url)
    yield client
    await client.aclose()


@pytest.fixture
def key() -> str:
    """One that nobody else has."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def old_valkey(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedValkey]:
    """A server that does not know WAITAOF, as those before 7.2."""
    told = valkey_module._CONFIGURATION + 'rename-command WAITAOF ""\n'
    monkeypatch.setattr(valkey_module, "_CONFIGURATION", told)
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


async def test_what_is_on_disk_is_durable(store: RedisStore, key: str) -> None:
    """The script's answer comes with the server's word that an fsync has followed."""
    assert await store._durably(PUT, [key], ["1"]) == (b"OK", True)


@pytest.mark.parametrize(("setting", "usual"), [("appendonly", "yes"), ("appendfsync", "always")])
async def test_what_is_not_on_disk_in_time_is_not_durable(
    store: RedisStore, raw: redis.asyncio.Redis, key: str, setting: str, usual: str
) -> None:
    """It is written, and whoever asked is told that it may be forgotten."""
    await raw.config_set(setting, "no")
    try:
        assert await store._durably(PUT, [key], ["1"]) == (b"OK", False)
    finally:
        await raw.config_set(setting, usual)


async def test_a_server_that_cannot_tell_is_not_durable(old_valkey: EmbeddedValkey, key: str) -> None:
    """Without WAITAOF nobody knows, and silence is not a yes."""
    async with store_at(old_valkey.url) as store:
        assert await store._durably(PUT, [key], ["1"]) == (b"OK", False)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("WRONGPASS invalid username-password pair", "does not accept our user or password"),
        ("NOPERM no permissions", "does not let our user run a command that we need"),
        ("LOADING dataset in memory", "is still reading its data from disk"),
        ("READONLY not against a replica", "is a replica and takes no writes"),
        ("OOM command not allowed", "is out of memory"),
        ("ERR something else", "refused a command: something else"),
    ],
)
async def test_what_the_server_refuses_is_a_sentence(store: RedisStore, said: str, words: str) -> None:
    """Its own words are kept only where we have none."""
    with pytest.raises(UnavailableError) as refused:
        await store._durably("return redis.error_reply(ARGV[1])", [], [said])
    sentence, hint = refused.value.args
    assert sentence.startswith(f"The store at {store.where} {words}")
    assert hint == "Wait."


async def test_a_wrong_password_is_a_sentence(valkey: EmbeddedValkey) -> None:
    """Told apart from a server that is not there, and not repeated."""
    async with store_at(f"redis://:hunter2@127.0.0.1:{valkey.port}/0") as store:
        with pytest.raises(UnavailableError, match="does not accept our user or password") as refused:
            await store.check()
    assert "hunter2" not in str(refused.value.args)


async def test_nobody_there_is_a_sentence() -> None:
    """Port 1 is nobody's."""
    async with store_at("redis://127.0.0.1:1/0", timeout_s=0.5) as store:
        with pytest.raises(UnavailableError, match=r"redis://127\.0\.0\.1:1/0 cannot be reached"):
            await store.check()


async def test_silence_is_a_sentence() -> None:
    """A server that takes connections and says nothing is waited for no longer than was said."""

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, store_at(f"redis://127.0.0.1:{port}", timeout_s=0.1) as store:
        with pytest.raises(UnavailableError, match="did not answer in time"):
            await store.check()


async def alone(store: RedisStore, key: str) -> None:
    """Reads a hash with one command."""
    async with store._boundary():
        await reply(store._redis.hgetall(key))


async def in_a_pipeline(store: RedisStore, key: str) -> None:
    """Reads it among others."""
    async with store._boundary():
        pipe = store._redis.pipeline(transaction=True)
        pipe.hgetall(key)
        await pipe.execute()


async def in_a_script(store: RedisStore, key: str) -> None:
    """Reads it on the server."""
    await store._durably("return redis.call('HGETALL', KEYS[1])", [key], [])


@pytest.mark.parametrize("read", [alone, in_a_pipeline, in_a_script])
async def test_a_key_of_another_type_is_damage(
    store: RedisStore, raw: redis.asyncio.Redis, key: str, read: Callable[[RedisStore, str], Awaitable[None]]
) -> None:
    """The server answers well; what it holds is nothing that we wrote. Waiting will not mend it, so no hint says so."""
    await raw.set(key, "not a hash")
    with pytest.raises(DamagedError, match="holds what this release cannot read") as refused:
        await read(store, key)
    assert len(refused.value.args) == 1


@pytest.mark.parametrize("kind", [ValueError, KeyError, TypeError, UndecodableError])
async def test_bytes_that_cannot_be_decoded_are_damage(store: RedisStore, kind: type[Exception]) -> None:
    """Whatever a decoder raises, the room's own error for it included."""
    with pytest.raises(DamagedError, match="cannot read"):
        async with store._boundary():
            raise kind("no")


async def test_a_mistake_of_ours_stays_what_it_is(store: RedisStore) -> None:
    """What neither the server nor the bytes have done is not blamed on them."""
    with pytest.raises(ZeroDivisionError):
        async with store._boundary():
            raise ZeroDivisionError


@pytest.mark.parametrize("url", ["http://:hunter2@127.0.0.1", "redis://:hunter2@127.0.0.1:port/0", "127.0.0.1"])
def test_an_address_that_is_none_is_refused_at_the_door(url: str) -> None:
    """In the room's own error, without the password."""
    with pytest.raises(MisaddressedError) as refused:
        RedisStore(url, ERRORS, 1.0)
    assert "hunter2" not in str(refused.value.args)


async def test_a_warning_names_what_the_room_keeps(store: RedisStore, raw: redis.asyncio.Redis) -> None:
    """So that an operator who has two stores on one server knows what each would lose."""
    assert await store.check() == ()
    await raw.config_set("maxmemory-policy", "allkeys-lru")
    try:
        [warning] = await store.check()
    finally:
        await raw.config_set("maxmemory-policy", "noeviction")
    assert "forgets whales" in warning


@pytest.mark.parametrize(("facts", "warnings"), [({}, 1), ({"min_slaves_good_slaves": 1}, 0)])
def test_replicas_that_are_not_waited_for_are_told_about(facts: dict[str, int], warnings: int) -> None:
    """A failover would forget what no replica has."""
    well_kept = {"maxmemory_policy": "noeviction", "aof_enabled": 1, "connected_slaves": 1}
    assert len(list(_warnings(well_kept | facts, "whales"))) == warnings


def test_a_server_that_is_too_old_is_refused() -> None:
    """Redis 6.0 cannot do what is asked of it, 6.2 can."""
    check_age("6.2.0", "redis://h", UnsuitableError)
    check_age("10.0", "redis://h", UnsuitableError)
    with pytest.raises(UnsuitableError, match="too old"):
        check_age("6.0.16", "redis://h", UnsuitableError)
