"""Bodies whose length is known go past the parsers: where they end, and what comes after them, stays the same."""

from __future__ import annotations

import asyncio

import pytest

from tests.serving.gateway.rig import Rig, eventually
from tests.serving.gateway.upstream import ECHOES, Then, answers
from tests.serving.gateway.wire import get, ok, post

LARGE = bytes(range(256)) * 4_000  # 1 MB


@pytest.mark.parametrize("cut", [1, 1_000, len(LARGE) - 1])
async def test_requests_behind_a_large_one_are_found(rig: Rig, cut: int) -> None:
    """The next ones begin in the read that ends the body, or in the one after it."""
    rig.upstream.usual = ECHOES
    client = await rig.client()
    behind = post(body=b"second") + get("/v2/health/live") + post(body=b"fourth")
    sent = post(body=LARGE) + behind
    place = len(sent) - len(behind) - cut
    for piece in (sent[:place], sent[place : place + cut], sent[place + cut :]):
        await client.send(piece)
        await asyncio.sleep(0.01)
    assert [(await client.answer()).body for _ in range(2)] == [LARGE, b"second"]
    assert (await client.answer(b"GET")).code == 200
    assert (await client.answer()).body == b"fourth"
    assert [len(one.body) for one in rig.upstream.requests] == [len(LARGE), 6, 6]


async def test_nothing_behind_the_last_request_is_read(rig: Rig) -> None:
    """A large request that closes the connection is its last, whatever is sent behind it."""
    rig.upstream.usual = ECHOES
    client = await rig.client()
    await client.send(post(body=LARGE, headers=["Connection: close"]) + post(body=b"unasked"))
    assert (await client.answer()).body == LARGE
    await client.rest()
    assert [len(one.body) for one in rig.upstream.requests] == [len(LARGE)]


async def test_a_large_body_that_breaks_off_is_no_request(rig: Rig) -> None:
    """Half of it and then the end: the model never saw a whole one, and the gateway rests."""
    client = await rig.client()
    await client.send(post(body=LARGE)[:-100])
    await eventually(lambda: rig.upstream.heads)
    client.close()
    await rig.rests()
    assert rig.upstream.requests == []


async def test_large_answers_use_one_connection(rig: Rig) -> None:
    """Each ends where its length says, and the connection serves the next."""
    rig.upstream.usual = ECHOES
    client = await rig.client()
    for body in (LARGE, b"small", LARGE[:300_000], b"", LARGE):
        await client.send(post(body=body))
        assert (await client.answer()).body == body
    assert rig.upstream.accepted == 1


async def test_an_upstream_that_says_more_than_its_length_is_trusted_no_further(rig: Rig) -> None:
    """The client gets the answer and none of the surplus; the connection is not used again."""
    rig.upstream.script.append(answers(ok(LARGE)[:-50_000], LARGE[-50_000:] + b"surplus"))
    client = await rig.client()
    await client.send(post(body=b"first"))
    assert (await client.answer()).body == LARGE
    rig.upstream.usual = ECHOES
    await client.send(post(body=b"second"))
    assert (await client.answer()).body == b"second"
    assert rig.upstream.accepted == 2


async def test_a_large_answer_that_breaks_off_is_cut(rig: Rig) -> None:
    """The client must see that it is not whole."""
    rig.upstream.script.append(answers(ok(LARGE)[:-1], then=Then.CLOSE))
    client = await rig.client()
    await client.send(post(body=b"x"))
    await client.rest()
    assert client.reset
