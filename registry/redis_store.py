"""What is true of every store of ours in Redis: how it connects, what 'on disk' means, and how its errors become ours.

Which keys there are and what they mean is each store's own, and so are the classes of its errors, which it hands in as
`Errors`. This file is in the registry because every other room that keeps something in Redis may import it from here,
and imports nothing of ours itself.

Embedded Valkey, Valkey and Redis 6.2 or newer are all the same to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from redis import exceptions as redis_errors
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from registry.redis_connections import make_cancellable

TIMEOUT_S = 3.0
"""How long one command may take, unless somebody says otherwise."""
ANSWER_KEPT_MS = 60_000
"""How long a script remembers its answer, for a client whose connection broke and that sends it again."""

_OLDEST_SERVER = (6, 2)
_DISK_MS = 1_000
"""How long a change waits for the disk; shorter than the socket's timeout, or the answer would be lost with it."""
_CONNECTIONS = 16
_WRONG_TYPE = "Operation against a key holding the wrong kind of value"


@dataclass(frozen=True, slots=True)
class Errors:
    """How one room says what is wrong with its store. Each class is called with a sentence and a hint.

    Args:
        misaddressed: the address cannot be used.
        unsuitable: the server can never do what is asked of it.
        unavailable: the server does not answer, or answers that it cannot serve now.
        damaged: the server answers, and what it holds is nothing that we wrote.
        meanwhile: the hint for as long as it is unavailable.
        kept: what the store keeps, in a word.
        unreadable: what the room's decoders raise beside ValueError, KeyError and TypeError.
    """

    misaddressed: type[Exception]
    unsuitable: type[Exception]
    unavailable: type[Exception]
    damaged: type[Exception]
    meanwhile: str
    kept: str
    unreadable: tuple[type[Exception], ...] = ()


class RedisStore:
    """A client of one Redis server; nothing is sent before it is first used.

    Args:
        url: redis://, rediss:// or unix://, with the password in it if there is one.
        errors: those of the room whose store this is.
        timeout_s: how long one command may take. A broken connection is tried twice more, with growing pauses.

    Raises:
        errors.misaddressed: its text does not repeat the address, since that may hold a password.
    """

    def __init__(self, url: str, errors: Errors, timeout_s: float) -> None:
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
            where = _without_password(url)
        except (ValueError, redis_errors.RedisError):
            raise errors.misaddressed(
                "The store's address cannot be used.", "Write it like redis://:password@host:6379/0."
            ) from None
        make_cancellable(pool)
        self._redis = Redis.from_pool(pool)
        self._errors = errors
        self._unreadable: tuple[type[Exception], ...] = (ValueError, KeyError, TypeError, *errors.unreadable)
        self.where = where
        """The address for error texts, without user and password."""

    async def close(self) -> None:
        """Gives the connections back."""
        await self._redis.aclose()

    async def check(self) -> tuple[str, ...]:
        """One sentence for each thing about the server that could cost data; none where all is well.

        Raises:
            errors.unsuitable: it is too old.
        """
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            for section in ("server", "memory", "persistence", "replication"):
                pipe.info(section)
            facts = {name: value for part in await pipe.execute() for name, value in part.items()}
        check_age(str(facts.get("redis_version", "0")), self.where, self._errors.unsuitable)
        return tuple(_warnings(facts, self._errors.kept))

    # Below: for the stores that are made of it.

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
        # A server without WAITAOF (before 7.2) or without an AOF answers with an error. On a timeout it returns, and
        # counts less.
        return answer, isinstance(confirmed, list) and confirmed[0] >= 1

    @asynccontextmanager
    async def _boundary(self) -> AsyncIterator[None]:
        """Within it, errors of the server, the network and the bytes become the room's, without any password."""
        try:
            yield
        except (redis_errors.RedisError, OSError) as error:
            raise (self._damaged(error) if _names_wrong_type(error) else self._unavailable(error)) from error
        except self._unreadable as error:
            raise self._damaged(error) from error

    def _unavailable(self, error: Exception) -> Exception:
        return self._errors.unavailable(f"The store at {self.where} {_in_words(error)}.", self._errors.meanwhile)

    def _damaged(self, error: Exception) -> Exception:
        return self._errors.damaged(f"The store at {self.where} holds what this release cannot read: {error}")


async def reply(command: Any) -> Any:  # noqa: ANN401 - redis-py types its commands for both of its clients at once
    """What the server answers to that command."""
    return await command


def check_age(version: str, where: str, unsuitable: type[Exception]) -> None:
    """Refuses a server that is too old for what is asked of it.

    Args:
        version: as INFO names it.
        where: the server's address, without a password.
        unsuitable: what is raised.
    """
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < _OLDEST_SERVER:
        raise unsuitable(
            f"The store at {where} is Redis {version}, which is too old.",
            f"Use Valkey, or Redis {'.'.join(map(str, _OLDEST_SERVER))} or newer.",
        )


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _names_wrong_type(error: Exception) -> bool:
    # redis-py has no class for it. Pipelines, and scripts on servers before 7, put words of theirs before the server's.
    return isinstance(error, redis_errors.ResponseError) and _WRONG_TYPE in str(error)


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


def _warnings(facts: Mapping[str, Any], kept: str) -> Iterable[str]:
    policy = facts.get("maxmemory_policy")
    if policy != "noeviction":
        yield f"The store's maxmemory-policy is {policy}, so a full server forgets {kept}: set it to noeviction."
    if not facts.get("aof_enabled"):
        yield "The store writes no append-only file, so a restart forgets changes: set appendonly to yes."
    if facts.get("connected_slaves") and "min_slaves_good_slaves" not in facts:
        yield "The store has replicas and does not wait for any, so a failover forgets: set min-replicas-to-write to 1."
