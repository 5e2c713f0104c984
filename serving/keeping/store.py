"""The store as a keeper sees it: totals and samples go into streams, findings are left beside them.

The room's one file for Redis.

What is told are running totals and findings as a whole, so whatever is lost on the way is told again by what follows.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from drift.keys import DriftKeys
from registry.keys import Keys as RegistryKeys
from registry.redis_connections import make_cancellable
from serving.diffs import Diff, diff_from
from serving.keeping.config import KeeperConfig
from serving.pair_totals import PairTotals
from serving.store_keys import Keys

_log = logging.getLogger(__name__)
_TIMEOUT_S: Final = 2.0
_MOST_TOLD: Final = 10_000
"""Messages that the stream holds, about."""
KEPT_MS: Final = 7 * 24 * 60 * 60 * 1000
MOST_KEEPERS: Final = 64
"""Gateways whose findings of one series are sure to stand beside each other.

Where there are more when a keeper begins a series, those that were silent for longest make room. One that is alive
leaves all of its own again with the next pair that it compares; what a gateway that is gone had found is lost then.
"""
_MOST_NAMED: Final = 5
"""In the sentence that says who made room."""


class AwayError(OSError):
    """The store cannot be reached, does not answer in time, or answers with an error."""


class Store:
    """One keeper's connection to it.

    Args:
        config: of the keeper.
    """

    def __init__(self, config: KeeperConfig) -> None:
        self._keys = Keys(config.namespace)
        self._drift = DriftKeys(config.namespace)
        self._registry = RegistryKeys(config.namespace)
        self._gateway = config.gateway
        tls = json.loads(config.redis_tls) if config.redis_tls else {}
        self._redis = redis.Redis.from_url(
            config.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, health_check_interval=15,
            retry=Retry(NoBackoff(), 1), **tls,
        )  # fmt: skip
        make_cancellable(self._redis.connection_pool)

    async def tell(self, message: bytes) -> None:
        """One more message of totals.

        Raises:
            AwayError: nobody knows whether it came.
        """
        await _answer(self._redis.xadd(self._keys.pairs, {"m": message}, maxlen=_MOST_TOLD, approximate=True))

    async def sample(self, model: str, batch: bytes, most: int) -> None:
        """One more entry of a model's stream of samples, of which only the last `most` are kept.

        Raises:
            AwayError: nobody knows whether it came.
        """
        stream = self._drift.samples(model)
        async with _translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.xadd(stream, {"b": batch}, maxlen=most, approximate=False)
            pipe.pexpire(stream, KEPT_MS)
            pipe.sadd(self._drift.sampled, model)
            await pipe.execute()

    async def watched(self) -> frozenset[str]:
        """Models of which a version has a baseline.

        Raises:
            AwayError: it cannot be asked.
        """
        fields = cast("list[bytes]", await _answer(self._redis.hkeys(self._registry.baselines)))
        return frozenset(name.decode(errors="replace").rpartition("/")[0] for name in fields)

    async def leave(self, diff: Diff) -> None:
        """Leaves what was found where it is looked for, in the place of what this gateway's keeper left before.

        Raises:
            AwayError: nobody knows whether it came.
        """
        key = self._key(diff.totals)
        async with _translated(), self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(key, self._gateway, diff.encode())
            pipe.pexpire(key, KEPT_MS)
            await pipe.execute()

    async def left(self, totals: PairTotals) -> Diff | None:
        """What this gateway's keeper left of that series before; None where there is nothing that can be read.

        Others' that are too many are taken away, the oldest first.

        Raises:
            AwayError: it cannot be asked.
        """
        found = cast("dict[bytes, bytes]", await _answer(self._redis.hgetall(self._key(totals))))
        diffs = {name: _read(raw) for name, raw in found.items()}
        own = self._gateway.encode()
        others = [name for name in diffs if name != own]
        others.sort(key=lambda name: 0.0 if (one := diffs[name]) is None else one.at_s)
        if beyond := others[: max(0, len(others) - MOST_KEEPERS + 1)]:
            await _answer(self._redis.hdel(self._key(totals), *beyond))
            named = ", ".join(name.decode(errors="replace") for name in beyond[:_MOST_NAMED])
            _log.warning(
                "more than %d gateways have findings about version %d of %s: those of %d, silent for longest, made "
                "room and are missing from 'sluice rollout diff' until they compare more: %s",
                *(MOST_KEEPERS, totals.candidate, totals.model, len(beyond), named),
            )
        mine = diffs.get(own)
        return mine if mine is not None and mine.totals.stable == totals.stable else None

    async def close(self) -> None:
        """Gives the connection back."""
        await self._redis.aclose()

    def _key(self, totals: PairTotals) -> str:
        return self._keys.diff(totals.model, totals.candidate, totals.salt)


def _read(raw: bytes) -> Diff | None:
    try:
        return diff_from(raw)
    except ValueError as error:
        _log.warning("findings cannot be read, and are begun anew: %s", str(error)[:200])
        return None


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise AwayError(f"the store is away ({type(error).__name__})") from error


async def _answer(asked: Awaitable[Any] | Any) -> Any:  # noqa: ANN401 (redis-py types each command as both)
    async with _translated():
        return await cast("Awaitable[Any]", asked)
