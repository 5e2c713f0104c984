"""The store as a gateway's worker sees it: what it reads there, what it leaves there, and how that fails.

The one file of the gateway that speaks to Redis. What is read comes back as it came, bytes and all: what it means, and
what follows, is the business of whoever asks. Each of three conversations has a connection of its own, so that none
waits behind another: looks, what keys use up, and the totals.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from registry.redis_connections import make_cancellable
from serving.gateway.config import WorkerConfig
from serving.gateway.limits import FRESH_MS, SCRIPT, Ask, Told
from serving.gateway.running import Seen
from serving.leases import GatewayLease, Recovery
from serving.store_keys import Keys

_TIMEOUT_S: Final = 2.0
_LIMITS_TIMEOUT_S: Final = 0.25
_MOST_TOTALS: Final = 10_000
"""Messages that the stream holds, about: some minutes' worth of several workers."""
_ASKED_AT_ONCE: Final = 100


class AwayError(OSError):
    """The store cannot be reached, or does not answer in time."""


class UnusableError(ValueError):
    """The store answers with an error: what it has is of another kind than what was asked for."""


class Store:
    """One worker's connections to it.

    Args:
        config: of the worker: where the store is, and whose names are used.
    """

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._keys = Keys(config.namespace)
        self.looks = self._client(_TIMEOUT_S)
        self.limits = self._client(_LIMITS_TIMEOUT_S)
        self.totals = self._client(_TIMEOUT_S)

    def _client(self, timeout_s: float) -> redis.Redis:
        config = self._config
        tls = json.loads(config.redis_tls) if config.redis_tls else {}
        client = redis.Redis.from_url(
            config.redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, health_check_interval=15,
            retry=Retry(NoBackoff(), 1),  # a broken connection is tried anew at once; the next poll is the patience
            **tls,
        )  # fmt: skip
        make_cancellable(client.connection_pool)
        return client

    async def close(self) -> None:
        """Gives the connections back."""
        for client in (self.looks, self.limits, self.totals):
            await client.aclose()

    # What a look reads. All of it raises AwayError or UnusableError.

    async def look(self, epoch: int) -> Seen:
        """What may have changed, and what the store remembers of this epoch."""
        keys = self._keys
        async with _translated(), self.looks.pipeline(transaction=False) as pipe:
            pipe.hgetall(keys.head)
            pipe.hget(keys.lineage, str(epoch))
            pipe.smembers(keys.endpoints)
            pipe.hgetall(keys.id_keys)
            pipe.get(keys.access_revision)
            pipe.scard(keys.gateways)
            return Seen(*map(_told, await pipe.execute(raise_on_error=False)))

    async def head(self) -> Mapping[bytes, bytes]:
        """The head that is shown."""
        return cast("Mapping[bytes, bytes]", await _answer(self.looks.hgetall(self._keys.head)))

    async def gateways(self) -> list[bytes]:
        """The leases of all gateways."""
        members = await _answer(self.looks.smembers(self._keys.gateways))
        return await self._those_of([self._keys.gateway(member.decode()) for member in members])

    async def snapshot(self, digest: str) -> bytes | None:
        """The snapshot of this digest; None where it is missing."""
        return cast("bytes | None", await _answer(self.looks.get(self._keys.snapshot(digest))))

    async def policies(self, digests: Sequence[str]) -> AsyncIterator[tuple[str, bytes | None]]:
        """Policies by digest; None for those that are missing."""
        for start in range(0, len(digests), _ASKED_AT_ONCE):
            some = digests[start : start + _ASKED_AT_ONCE]
            blobs = await _answer(self.looks.mget([self._keys.policy(digest) for digest in some]))
            for digest, blob in zip(some, blobs, strict=True):
                yield digest, blob

    async def endpoints(self, members: Iterable[bytes]) -> list[bytes]:
        """The leases of the endpoints of these keys, as far as they have not lapsed."""
        return await self._those_of(sorted(members))

    async def _those_of(self, keys: Sequence[str | bytes]) -> list[bytes]:
        values = await _answer(self.looks.mget(keys)) if keys else []
        return [value for value in values if value is not None]

    async def credentials(self) -> tuple[bytes | None, list[bytes], bytes | None]:
        """The revision of who is let in, the records of all keys, and the keys that tokens are signed with."""
        keys = self._keys
        async with _translated(), self.looks.pipeline(transaction=True) as pipe:
            pipe.get(keys.access_revision)
            pipe.hvals(keys.access_keys)
            pipe.get(keys.access_jwks)
            revision, records, jwks = await pipe.execute()
            return revision, records, jwks

    async def listen(self, heard: Callable[[], None], patience_s: float) -> None:
        """Calls `heard` at once and at each notification, until the connection breaks (AwayError, UnusableError).

        Args:
            heard: is told that there may be something new.
            patience_s: how long one wait for a notification may take.
        """
        keys = self._keys
        async with _translated(), self.looks.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(keys.epochs, keys.endpoint_changes, keys.access_changes)
            heard()  # what was said before this is not heard again
            while True:
                if await channel.get_message(timeout=patience_s):
                    heard()

    # What it leaves there.

    async def renew(self, lease: GatewayLease, recovery: Recovery | None) -> None:
        """The worker's lease for another while; what it runs as well, where the store may have forgotten that.

        All or nothing, and for equally long: what is waited for stands beside the lease, and neither may be ahead.
        """
        keys, ttl_ms = self._keys, int(self._config.lease_s * 1000)
        async with _translated(), self.looks.pipeline(transaction=True) as pipe:
            pipe.set(keys.gateway_figures(lease.id), lease.encode_figures(), px=ttl_ms)
            pipe.set(keys.gateway(lease.id), lease.encode(), px=ttl_ms)
            pipe.set(keys.gateway_applied(lease.id), lease.applied.encode(), px=ttl_ms)
            pipe.sadd(keys.gateways, lease.id)
            if recovery is not None:
                pipe.set(keys.recovery(recovery.head.digest), recovery.encode(), px=ttl_ms * 10)
            await pipe.execute()

    async def leave(self) -> None:
        """Gives the lease back; a store that is away will see it lapse."""
        worker, keys = self._config.worker, self._keys
        left = keys.gateway(worker), keys.gateway_applied(worker), keys.gateway_figures(worker)
        with contextlib.suppress(OSError, UnusableError):
            await _answer(self.looks.delete(*left))

    async def wish_for_signing_keys(self, for_s: float) -> None:
        """Lets the control room know that a token's signing key is missing; a store that is away does not."""
        with contextlib.suppress(OSError, UnusableError):
            await _answer(self.looks.set(self._keys.access_wanted, "1", px=int(for_s * 1000), nx=True))

    async def settle(self, asks: Sequence[Ask]) -> Sequence[Told]:
        """Asks for what keys use up; raises OSError where the store does not answer."""
        worker = self._config.worker
        try:
            async with _translated(), self.limits.pipeline(transaction=False) as pipe:
                for ask in asks:
                    key, numbers = self._keys.limit(ask.key_id), (ask.want, ask.rate_per_s, ask.bucket, ask.in_flight)
                    pipe.eval(SCRIPT, 1, key, worker, *map(str, numbers), str(FRESH_MS))
                return [Told(float(granted), int(elsewhere)) for granted, _, elsewhere in await pipe.execute()]
        except UnusableError as error:
            raise OSError(str(error)) from error

    async def tell(self, message: bytes) -> None:
        """One more message for the stream of totals.

        Raises:
            AwayError, UnusableError: nobody knows whether it came.
        """
        stream = self._keys.totals
        await _answer(self.totals.xadd(stream, {"m": message}, maxlen=_MOST_TOTALS, approximate=True))


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise AwayError(str(error)) from error
    except RedisError as error:
        raise UnusableError(str(error)) from error


def _told(value: Any) -> Any:  # noqa: ANN401 (of whatever kind)
    """An error that came in the place of a value, in our words."""
    return UnusableError(str(value)) if isinstance(value, RedisError) else value


async def _answer(asked: Awaitable[Any] | Any) -> Any:  # noqa: ANN401 (redis-py types each command as both)
    async with _translated():
        return await cast("Awaitable[Any]", asked)
