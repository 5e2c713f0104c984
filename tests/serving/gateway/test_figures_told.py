"""What a gateway's lease says of how versions answered: a candidate whose failures nobody sees is seen to fail."""

from __future__ import annotations

import secrets
from typing import Any

from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from serving.gateway.figures import braked_of, ejected_of
from serving.gateway.policies import Follower
from tests.serving.gateway.failures import BOTH, CANARY, candidate_of, stable_of
from tests.serving.gateway.rig import running
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import ok, post


async def test_the_lease_tells_how_versions_answered(valkey: EmbeddedValkey) -> None:
    """Every client got stable's answer; the candidate's first attempts are its errors, and no figure of stable's."""
    namespace = f"test-{secrets.token_hex(6)}"
    settings: dict[str, Any] = {"redis_url": valkey.url, "namespace": namespace}
    async with running(policy=CANARY, replicas=BOTH, **settings) as rig:
        candidate, _ = candidate_of(rig), stable_of(rig)
        follower, store = Follower(rig.worker, "127.0.0.1", rig.port), connect(valkey.url, namespace)
        try:
            assert (await rig.ask(post())).code == 200
            candidate.usual = answers(ok(b'{"error":"wrong"}', code="500 Internal Server Error"))
            assert (await rig.ask(post())).code == 200
            await rig.rests()
            await follower._renew_lease()
            [lease] = await store.gateways_with_figures()
        finally:
            await follower.stop()
            await store.close()
    assert lease.figures.keys() == {"m/2"}
    told = lease.figures["m/2"]
    assert (told.attempts, told.errors, told.error_share, sum(told.took.values())) == (2, 1, 0.5, 2)
    assert (told.took_ms(0.99) or 0) > 0
    assert lease.endings == {"m/2/first/ok": 1, "m/2/first/server_error": 1, "m/1/fallback/ok": 1}
    assert (lease.ejected, lease.braked) == ({"m/1": 0, "m/2": 0}, {"m/1": 0, "m/2": 0})


async def test_the_lease_tells_what_is_left_alone() -> None:
    """A server that keeps failing, and a version in whose place stable answers."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        table, [candidate] = rig.worker.table, [one for one in rig.worker.table.upstreams if one.version == 2]
        rig.worker.blame(candidate, at_once=True)
        rig.worker.brake(rig.worker.routing.models["m"].versions[2])
        assert ejected_of(table.upstreams) == {"m/1": 0, "m/2": 1}
        assert braked_of(table.states) == {"m/1": 0, "m/2": 1}
