"""What a gateway's lease says of requests that are under way, by version: what autoscaling goes by."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from router.policy import Policy
from serving.control.scaling import loads
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.gateway.policies import Follower
from tests.serving.gateway.rig import eventually, running
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import ok, post


async def test_the_lease_counts_what_is_under_way_by_version(valkey: EmbeddedValkey) -> None:
    """A version that works on nothing is left out, and it is left out again when the answers are there."""
    namespace = f"test-{secrets.token_hex(6)}"
    gate = asyncio.Event()
    settings: dict[str, Any] = {"redis_url": valkey.url, "namespace": namespace}
    async with running(policy=Policy(stable=1), replicas={1: 2, 2: 1}, **settings) as rig:
        for one in rig.upstreams[1]:
            one.usual = answers(ok(), gate=gate)
        follower = Follower(rig.worker, "127.0.0.1", rig.port)
        store = connect(valkey.url, namespace)
        try:
            clients = [await rig.client() for _ in range(3)]
            for client in clients:
                await client.send(post())
            await eventually(lambda: rig.requests == 3)
            await follower._renew_lease()
            [lease] = await store.gateways()
            assert (lease.in_flight, dict(lease.in_flight_by)) == (3, {"m/1": 3})
            assert loads([lease], []) == {("m", 1): 3}
            gate.set()
            for client in clients:
                assert (await client.answer()).code == 200
            await rig.rests()
            await follower._renew_lease()
            [lease] = await store.gateways()
            assert (dict(lease.in_flight_by), lease.requests["m/1"]) == ({}, 3)
        finally:
            await follower.stop()
            await store.close()
