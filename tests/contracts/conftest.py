"""The stores that a contract is tried on: in memory, and in a real Valkey."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import pytest

from registry.fake_store import FakeStore as FakeRegistryStore
from registry.store import Store as RegistryStore
from registry.store import connect as connect_registry
from serving.control.fake_store import FakeStore
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.diffs import Diff
from serving.leases import GatewayLease, Recovery
from serving.store_keys import Keys
from tests.valkey import Gateway, valkey

__all__ = ["AnyRegistryStore", "Bench", "bench", "registry_store", "valkey"]

AnyRegistryStore = RegistryStore | FakeRegistryStore


class GatewaySide(Protocol):
    """What a gateway does to a store."""

    def gateway_says(self, lease: GatewayLease, ttl_s: float) -> None:
        """Renews its lease."""

    def gateway_hands_back(self, recovery: Recovery) -> None:
        """Keeps what it runs where the store may have forgotten it."""

    async def gateway_tells(self, said: bytes) -> None:
        """Tells what it has counted."""

    async def keeper_leaves(self, gateway: str, diff: Diff) -> None:
        """Leaves what its keeper has found."""


@dataclass
class Bench:
    """A store under test, and the gateways' side of it."""

    store: Store | FakeStore
    gateway: GatewaySide


@pytest.fixture(params=["fake", "valkey"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """An empty store: the fake one, and one in a namespace of its own on a real server."""
    if request.param == "fake":
        fake = FakeStore()
        yield Bench(fake, fake)
        return
    server: EmbeddedValkey = request.getfixturevalue("valkey")
    namespace = f"test-{secrets.token_hex(6)}"
    store = connect(server.url, namespace)
    gateway = Gateway(server.url, Keys(namespace))
    yield Bench(store, gateway)
    gateway.close()
    await store.close()


@pytest.fixture(params=["fake", "valkey"])
async def registry_store(request: pytest.FixtureRequest) -> AsyncIterator[AnyRegistryStore]:
    """An empty registry: the fake one, and one in a namespace of its own on a real server."""
    if request.param == "fake":
        yield FakeRegistryStore()
        return
    server: EmbeddedValkey = request.getfixturevalue("valkey")
    store = connect_registry(server.url, f"test-{secrets.token_hex(6)}")
    yield store
    await store.close()
