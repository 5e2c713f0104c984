"""Static endpoints are leased one by one: several of a version, several versions on one Triton, and one that hangs."""

from __future__ import annotations

import asyncio

import pytest

from serving.control.errors import StoreUnavailable
from serving.control.fake_store import FakeStore
from serving.control.statics import StaticKeeper, static_endpoints
from serving.endpoint import Endpoint
from serving.settings import ModelSettings, Settings


def models() -> tuple[ModelSettings, ...]:
    """Version 1 on two Tritons, version 2 on the first of them as well."""
    versions = [
        {"version": 1, "endpoints": ["127.0.0.1:9001", "127.0.0.1:9002"]},
        {"version": 2, "endpoints": ["127.0.0.1:9001"]},
    ]
    return Settings.model_validate({"models": [{"name": "m", "versions": versions}]}).models


class Tritons:
    """What somebody else runs: which endpoints answer, and which hang."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.hanging: set[str] = set()
        self.asked: list[str] = []

    async def __call__(self, endpoint: Endpoint) -> bool:
        """Whether it answers."""
        self.asked.append(endpoint.key)
        if endpoint.key in self.hanging:
            await asyncio.Event().wait()
        return endpoint.key not in self.silent


def keeper(store: FakeStore, tritons: Tritons) -> StaticKeeper:
    """Of all of them."""
    return StaticKeeper(store, static_endpoints(models()), tritons, lease_s=0.2, look_s=0.05)


async def leased(store: FakeStore) -> set[str]:
    """The keys of the endpoints that gateways would use."""
    return {one.key for one in await store.endpoints()}


async def test_every_endpoint_of_every_version_has_a_lease_of_its_own() -> None:
    """Two Tritons of one version are two endpoints, and so are two versions on one Triton."""
    store, tritons = FakeStore(), Tritons()
    await keeper(store, tritons).renew()
    assert await leased(store) == {"m/1@127.0.0.1:9001", "m/1@127.0.0.1:9002", "m/2@127.0.0.1:9001"}


async def test_a_version_that_a_triton_does_not_serve_costs_the_others_nothing() -> None:
    """What does not answer is told, and told no more when it answers again."""
    store, tritons = FakeStore(), Tritons()
    tritons.silent = {"m/2@127.0.0.1:9001"}
    statics = keeper(store, tritons)
    await statics.renew()
    assert await leased(store) == {"m/1@127.0.0.1:9001", "m/1@127.0.0.1:9002"}
    assert [one.key for one in statics.silent] == ["m/2@127.0.0.1:9001"]
    tritons.silent = set()
    await statics.renew()
    assert statics.silent == ()


async def test_a_triton_that_hangs_delays_nobody_and_is_asked_once() -> None:
    """The leases of the others go on being renewed."""
    store, tritons = FakeStore(), Tritons()
    tritons.hanging = {"m/1@127.0.0.1:9002"}
    statics = keeper(store, tritons)
    for _ in range(6):
        await statics.renew()
    assert await leased(store) == {"m/1@127.0.0.1:9001", "m/2@127.0.0.1:9001"}
    assert tritons.asked.count("m/1@127.0.0.1:9002") == 1
    assert tritons.asked.count("m/1@127.0.0.1:9001") == 6
    await statics.close()


async def test_a_store_that_is_away_is_an_error_and_asked_again() -> None:
    """Nothing hangs on it but the leases."""
    store, tritons = FakeStore(), Tritons()
    statics = keeper(store, tritons)
    store.down = True
    with pytest.raises(StoreUnavailable):
        await statics.renew()
    store.down = False
    await statics.renew()
    assert len(await leased(store)) == 3


def test_an_encrypted_triton_is_an_encrypted_endpoint() -> None:
    """Written with https:// in the settings."""
    versions = [{"version": 1, "endpoints": ["https://triton.example.com:8443", "127.0.0.1:9001"]}]
    declared = Settings.model_validate({"models": [{"name": "m", "versions": versions}]}).models
    assert [(one.host, one.http_port, one.tls) for one in static_endpoints(declared)] == [
        ("triton.example.com", 8443, True),
        ("127.0.0.1", 9001, False),
    ]
