"""The registry in Redis: the only file of this room that speaks to it, and where its errors become ours.

Whatever changes goes through one script (`commit.lua`), which writes a change and its audit entry or nothing; whatever
is listed comes from another (`list.lua`), in one reply. What a change is was decided in `registry.changes`.

Embedded Valkey, Valkey and Redis 6.2 or newer are all the same to it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from registry.changes import Answer, AuditEntry, Change, Facts, Recorded
from registry.codec import (
    decode_alias,
    decode_standing,
    decode_version,
    encode_alias,
    encode_standing,
    encode_summary,
    encode_version,
    listed_from,
)
from registry.errors import RegistryError, StoreDamaged, StoreUnavailable, Unacceptable
from registry.keys import Keys
from registry.lifecycle import Standing, State
from registry.models import Alias, AliasName, Listed, ModelListed, ModelName, Version, VersionNumber

_ANSWER_KEPT_MS = 60_000
_DISK_MS = 1_000
"""How long a change waits for the disk; shorter than the socket's timeout, or the answer would be lost with it."""
_CONNECTIONS = 16

_COMMIT = Path(__file__).with_name("commit.lua").read_text(encoding="utf-8")
_LIST = Path(__file__).with_name("list.lua").read_text(encoding="utf-8")


def connect(url: str, namespace: str, *, timeout_s: float = 3.0) -> Store:
    """A registry at that address; nothing is sent before it is first used.

    Args:
        url: redis://, rediss:// or unix://, with the password in it if there is one.
        namespace: what all of this installation's keys begin with.
        timeout_s: how long one command may take. A broken connection is tried twice more, with growing pauses.

    Raises:
        Unacceptable: the address cannot be used; its text does not repeat it, since it may hold a password.
    """
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=min(timeout_s, 1.0),
            socket_keepalive=True,
            health_check_interval=15,
            retry=Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), retries=2),
        )
        parts = urlsplit(url)
    except (ValueError, redis_errors.RedisError):
        raise Unacceptable(
            "The store's address cannot be used.", "Write it like redis://:password@host:6379/0."
        ) from None
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return Store(Redis.from_pool(pool), Keys(namespace), where)


class Store:
    """One installation's registry on one Redis server. Make it with `connect`.

    Args:
        client: connected lazily.
        keys: what its keys are called.
        where: the address for error texts, without user and password.
    """

    def __init__(self, client: Redis, keys: Keys, where: str) -> None:
        self._redis = client
        self.keys = keys
        self.where = where

    async def close(self) -> None:
        """Gives the connections back."""
        await self._redis.aclose()

    async def facts(self, model: ModelName, numbers: Iterable[VersionNumber] = ()) -> Facts:
        """What is held of the model and of these versions, at one moment."""
        asked = sorted(set(numbers))
        # HMGET wants one field at least; no version is called nothing.
        fields = [str(int(number)) for number in asked] or [""]
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hmget(self.keys.of(model, "model"), ["revision", "newest"])
            pipe.hgetall(self.keys.of(model, "aliases"))
            pipe.hmget(self.keys.of(model, "states"), fields)
            pipe.hmget(self.keys.of(model, "summaries"), fields)
            pipe.time()
            (revision, newest), aliases, states, summaries, (seconds, micros) = await pipe.execute()
            said = {n: s.decode() for n, s in zip(asked, states, strict=False) if s is not None}
            listed = {n: s for n, s in zip(asked, summaries, strict=False) if s is not None}
            return Facts(
                model=model,
                revision=int(revision or 0),
                newest=int(newest or 0),
                aliases=_aliases_from(aliases),
                standings={number: decode_standing(text) for number, text in said.items()},
                listed={number: listed_from(json.loads(text), said[number]) for number, text in listed.items()},
                now_ms=seconds * 1000 + micros // 1000,
            )

    async def commit(self, change: Change) -> Answer:
        """Writes all of a change if the model is still at the expected revision, else nothing."""
        keys = self.keys
        names = [
            *(keys.of(change.model, "model"), keys.models, keys.of(change.model, "versions"), keys.audit),
            keys.answer(secrets.token_urlsafe(12)),
            *(keys.of(change.model, part) for part in ("records", "summaries", "states", "aliases")),
        ]
        written, durable = await self._durably(_COMMIT, names, [json.dumps(self._said(change))])
        return Answer(done=written == 1, durable=written == 1 and durable)

    async def version(self, model: ModelName, number: VersionNumber) -> Version | None:
        """The version of that number, None where there is none."""
        async with self._boundary():
            blob = await _reply(self._redis.hget(self.keys.of(model, "records"), str(int(number))))
            return None if blob is None else decode_version(blob)

    async def listed(self, model: ModelName, *, below: int | None, limit: int) -> Sequence[Listed]:
        """A page of the model's versions, the highest number first, in one round trip.

        Args:
            model: whose.
            below: only numbers less than this one; None for all.
            limit: how many at most.
        """
        names = [self.keys.of(model, part) for part in ("versions", "summaries", "states")]
        async with self._boundary():
            highest = "+inf" if below is None else f"({below}"
            said = await _reply(self._redis.eval(_LIST, len(names), *names, highest, str(limit)))
            return [listed_from(summary, standing) for summary, standing in json.loads(said)]

    async def models(self, *, after: str, limit: int) -> Sequence[ModelListed]:
        """A page of the models by name, in two round trips; only those whose name sorts after the given one."""
        async with self._boundary():
            least = f"({after}" if after else "-"
            found = await _reply(self._redis.zrangebylex(self.keys.models, least, "+", start=0, num=limit))
            names = [ModelName(name.decode()) for name in found]
            pipe = self._redis.pipeline(transaction=True)
            for name in names:
                pipe.hmget(self.keys.of(name, "model"), ["revision", "newest"])
                pipe.zcard(self.keys.of(name, "versions"))
                pipe.hgetall(self.keys.of(name, "aliases"))
            said = iter(await pipe.execute() if names else ())
            return [_model_listed(name, *three) for name, *three in zip(names, said, said, said, strict=True)]

    async def audit(self, *, before: str, limit: int) -> Sequence[Recorded]:
        """A page of the audit log, newest first; only entries older than the given id, all where it is empty."""
        async with self._boundary():
            newest = f"({before}" if before else "+"
            found = await _reply(self._redis.xrevrange(self.keys.audit, max=newest, count=limit))
            return [_recorded(entry_id.decode(), fields[b"entry"]) for entry_id, fields in found]

    # Below: how to speak to the server.

    def _said(self, change: Change) -> dict[str, Any]:
        created = change.created
        gone = [str(int(number)) for number, state in change.states.items() if state is State.GONE]
        records, summaries = (self.keys.of(change.model, part) for part in ("records", "summaries"))
        return {
            "expected": str(change.expected),
            "revision": str(change.revision),
            "model": str(change.model),
            "created": [str(int(created.number))] if created else [],
            "removed": gone,
            "puts": list(self._puts(change)),
            "drops": [
                *([key, number] for number in gone for key in (records, summaries)),
                *([self.keys.of(change.model, "aliases"), name] for name, to in change.aliases.items() if to is None),
            ],
            "entry": json.dumps(asdict(change.entry), sort_keys=True),
            "answer_kept_ms": _ANSWER_KEPT_MS,
        }

    def _puts(self, change: Change) -> Iterable[tuple[str, str, str]]:
        """Key of a hash, field and value of all that it writes."""
        if change.created:
            number = str(int(change.created.number))
            yield self.keys.of(change.model, "records"), number, encode_version(change.created).decode()
            yield self.keys.of(change.model, "summaries"), number, encode_summary(change.created)
        for version, state in change.states.items():
            standing = encode_standing(Standing(state, change.revision))
            yield self.keys.of(change.model, "states"), str(int(version)), standing
        for name, target in change.aliases.items():
            if target is not None:
                yield self.keys.of(change.model, "aliases"), name, encode_alias(Alias(target, change.revision))

    async def _durably(self, script: str, keys: Sequence[str], said: Sequence[str]) -> tuple[Any, bool]:
        """The script's answer, and whether what it wrote is confirmed to be on disk.

        Both commands travel on one connection, for WAITAOF waits for what its own connection wrote.
        """
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            pipe.eval(script, len(keys), *keys, *said)
            pipe.execute_command("WAITAOF", 1, 0, _DISK_MS)
            answer, confirmed = await pipe.execute(raise_on_error=False)
            if isinstance(answer, Exception):
                raise answer
        # A server without WAITAOF or without an AOF answers with an error. On a timeout it returns, and counts less.
        return answer, isinstance(confirmed, list) and confirmed[0] >= 1

    @asynccontextmanager
    async def _boundary(self) -> AsyncIterator[None]:
        """Within it, errors of the server, the network and the bytes become ours, without any password."""
        try:
            yield
        except (redis_errors.RedisError, OSError) as error:
            raise StoreUnavailable(
                f"The store at {self.where} {_in_words(error)}.",
                "Whatever serves goes on; registering and changing has to wait until it is back.",
            ) from error
        except (ValueError, KeyError, TypeError, RegistryError) as error:
            raise StoreDamaged(f"The store at {self.where} holds what this release cannot read: {error}") from error


async def _reply(command: Any) -> Any:  # noqa: ANN401 - redis-py types its commands for both of its clients at once
    return await command


def _aliases_from(said: Mapping[bytes, bytes]) -> Mapping[AliasName, Alias]:
    return {AliasName(name.decode()): decode_alias(text.decode()) for name, text in said.items()}


def _model_listed(
    name: ModelName, numbers: Sequence[bytes | None], versions: int, aliases: Mapping[bytes, bytes]
) -> ModelListed:
    revision, newest = (int(number or 0) for number in numbers)
    return ModelListed(name, revision, versions, newest, _aliases_from(aliases))


def _recorded(entry_id: str, said: bytes) -> Recorded:
    return Recorded(entry_id, int(entry_id.partition("-")[0]), AuditEntry(**json.loads(said)))


def _in_words(error: Exception) -> str:
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return words
    return f"refused a command: {error}"


# The order counts: the first that fits is taken, and redis-py's network errors are each other's children.
_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.AuthenticationError, "does not accept our user or password"),
    (redis_errors.AuthorizationError, "does not let our user connect"),
    (redis_errors.NoPermissionError, "does not let our user run a command that we need"),
    (redis_errors.BusyLoadingError, "is still reading its data from disk"),
    (redis_errors.ReadOnlyError, "is a replica and takes no writes"),
    (redis_errors.OutOfMemoryError, "is out of memory"),
    (redis_errors.TimeoutError, "did not answer in time"),
    (redis_errors.ConnectionError, "cannot be reached"),
    (OSError, "cannot be reached"),
)
