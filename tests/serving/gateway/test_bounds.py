"""What is over holds nothing: no bytes of a body that is only drained, no connection of an answered question."""

from __future__ import annotations

import asyncio
import socket

import pytest

from router.policy import WHOLE, Arm, Policy
from serving.gateway.config import WorkerConfig
from serving.gateway.exchange import Exchange
from serving.gateway.supervisor import Supervisor
from tests.serving.gateway.rig import Rig, eventually, running
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import get, ok, post

LENGTH = 8 * 1024 * 1024


def _drained(rig: Rig) -> Exchange:
    [client] = rig.worker.clients
    return client._exchanges[0]


@pytest.mark.parametrize("model", ["nobody", "m"])
async def test_a_body_that_is_only_drained(rig: Rig, model: str) -> None:
    """A request that was answered before its body had come, by the gateway or by a model, holds none of the rest."""
    rig.upstream.usual = answers(ok(), early=True)
    client = await rig.client()
    head = b"POST /v2/models/%s/infer HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % (model.encode(), LENGTH)
    await client.send(head + b" " * 300_000)
    assert (await client.answer()).code in {200, 404}
    await client.send(b" " * (LENGTH - 300_001))
    await eventually(lambda: _drained(rig).body.received == LENGTH - 1)
    assert sum(map(len, _drained(rig).body.pieces)) == 0


async def test_questions_leave_no_connections(rig: Rig) -> None:
    """However often statistics are asked for, the pool of connections to the replica does not grow."""
    rig.upstream.usual = answers(ok(b'{"model_stats":[{"name":"m","version":"1"}]}'))
    for _ in range(20):
        assert (await rig.ask(get("/v2/models/stats"), b"GET")).json == {"model_stats": [{"name": "m", "version": "1"}]}
    [upstream] = rig.worker.table.upstreams
    assert len(upstream.idle) <= 1


@pytest.mark.parametrize("said", [b"[" * 200_000, b"{}", b"not JSON", b""], ids=["deep", "empty", "none", "nothing"])
async def test_senseless_statistics(rig: Rig, said: bytes) -> None:
    """A replica whose statistics cannot be read is left out, and the client is answered."""
    rig.upstream.usual = answers(ok(said))
    assert (await rig.ask(get("/v2/models/stats"), b"GET")).json == {"model_stats": []}


@pytest.mark.parametrize("reads", [1, 2])
@pytest.mark.parametrize("verb", ["infer", "generate", "generate_stream"])
async def test_an_error_is_no_stream(verb: str, reads: int) -> None:
    """A candidate's 500 is answered by stable, in how many reads it may come and whatever was asked for."""
    policy = Policy(1, (Arm(2, WHOLE),))
    whole = ok(b'{"error":"boom"}', code="500 Internal Server Error")
    cut = whole.index(b"\r\n\r\n") + 4
    async with running(policy=policy, replicas={1: 1, 2: 1}) as rig:
        rig.upstreams[2][0].usual = answers(*([whole] if reads == 1 else [whole[:cut], whole[cut:]]))
        answer = await rig.ask(post(f"/v2/models/m/{verb}"))
    assert (answer.code, answer.one("sluice-reason")) == (200, b"fallback")


async def test_a_question_that_was_given_up() -> None:
    """A supervisor that gave up asking for a report takes the late answer for none of the next ones."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = WorkerConfig(worker="w", redis_url="redis://127.0.0.1:1/0")
        supervisor = Supervisor(listener, config, 1)
        await supervisor.start()
        worker = supervisor._workers[0]
        for _ in range(5):
            asking = asyncio.create_task(worker.report())
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        [report] = await supervisor.reports()
        assert "series" in report
        await supervisor.restart()
        assert len(supervisor._taken) == 1
        await supervisor.stop()
