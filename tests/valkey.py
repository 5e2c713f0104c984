"""A real Valkey for tests, and what a gateway would write into it. Import the fixture in a conftest to use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from serving.control.valkey import EmbeddedValkey
from serving.diffs import Diff
from serving.leases import GatewayLease, Recovery
from serving.store_keys import Keys


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A server of its own on a free port, gone with the session."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Gateway:
    """The writing half of a gateway: it renews leases and hands back what it runs.

    Args:
        url: of the server.
        keys: of the installation.
    """

    def __init__(self, url: str, keys: Keys) -> None:
        self._redis = redis.Redis.from_url(url)
        self._keys = keys

    def gateway_says(self, lease: GatewayLease, ttl_s: float) -> None:
        """Renews its lease."""
        keys, ttl_ms = self._keys, round(ttl_s * 1000)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.set(keys.gateway_figures(lease.id), lease.encode_figures(), px=ttl_ms)
            pipe.set(keys.gateway(lease.id), lease.encode(), px=ttl_ms)
            pipe.set(keys.gateway_applied(lease.id), lease.applied.encode(), px=ttl_ms)
            pipe.sadd(keys.gateways, lease.id)
            pipe.execute()

    def gateway_hands_back(self, recovery: Recovery) -> None:
        """Keeps what it runs where the store may have forgotten it."""
        self._redis.set(self._keys.recovery(recovery.head.digest), recovery.encode(), px=60_000)

    async def gateway_tells(self, said: bytes) -> None:
        """Tells what it has counted."""
        self._redis.xadd(self._keys.totals, {"m": said}, maxlen=10_000, approximate=True)

    async def keeper_leaves(self, gateway: str, diff: Diff) -> None:
        """Leaves what its keeper has found."""
        totals = diff.totals
        self._redis.hset(self._keys.diff(totals.model, totals.candidate, totals.salt), gateway, diff.encode())

    def close(self) -> None:
        """Gives the connection back."""
        self._redis.close()
