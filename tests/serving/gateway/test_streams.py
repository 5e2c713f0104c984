"""A stream reaches the client event by event, from one version to its end, and however it ends that is counted."""

from __future__ import annotations

import asyncio

import pytest

from router.policy import WHOLE, Arm, Policy, Role, Shadow
from serving.endpoint import Endpoint
from tests.serving.gateway.failures import (
    BOTH,
    CANARY,
    CANDIDATE,
    SOON,
    STABLE,
    assert_unharmed,
    candidate_of,
    state_of,
    version_and_reason,
)
from tests.serving.gateway.rig import HEAD as NOW
from tests.serving.gateway.rig import Rig, eventually, running
from tests.serving.gateway.speakers import (
    END,
    FAILED,
    HEAD,
    LISTENS,
    PATH,
    chunk,
    ends,
    events_in,
    failure,
    hears,
    listen,
    speaker_of,
    stream,
    streams,
    token,
)
from tests.serving.gateway.upstream import CLOSES, HANGS, Reply, Then, answers
from tests.serving.gateway.wire import CHUNKED, chunks, ok, post

BODY = b'{"text_input":"x"}'
GENERATE = "/v2/models/m/generate"
SHADOW = 3
SHADOWED = Policy(STABLE, shadows=(Shadow(SHADOW),))
ONE_EVENT_THEN_SILENCE = answers(HEAD + chunk(token(1)))
STILL_S = 0.15
"""How long a model may stand still where a test waits for the end of that."""


# Its version, and what comes before its first event.


async def test_a_stream_is_counted_when_it_is_over(rig: Rig) -> None:
    """How it ended, its events, and a time for each: to the first, and from one to the next."""
    rig.upstream.usual = stream(*map(token, range(5)))
    client = await listen(rig)
    answer = await client.answer()
    assert (answer.code, answer.body) == (200, b"".join(map(token, range(5))))
    ((of, counted),) = streams(rig)
    assert of == (1, "first")
    assert (counted["ended"], counted["events"], counted["errors"]) == ({"complete": 1}, 5, 0)
    assert sum(count for _, count in counted["first"]) == 1
    assert sum(count for _, count in counted["gaps"]) == 4
    assert rig.outcomes() == {(1, "first"): {"ok": 1}}


async def test_a_stream_without_events_is_one(rig: Rig) -> None:
    """Triton answers so where a model has nothing to say: it is complete, and has no first event."""
    rig.upstream.usual = stream()
    assert (await rig.ask(post(PATH, BODY))).body == b""
    ((_, counted),) = streams(rig)
    assert (counted["ended"], counted["events"], counted["first"]) == ({"complete": 1}, 0, [])


async def test_what_is_no_stream_is_not_counted_as_one(rig: Rig) -> None:
    """A refusal of Triton's own, and all that is asked otherwise."""
    rig.upstream.script.append(answers(ok(b'{"error":"no such input"}', code="400 Bad Request")))
    assert (await rig.ask(post(PATH, BODY))).code == 400
    assert (await rig.ask(post())).code == 200
    assert not list(streams(rig))
    assert rig.outcomes() == {(1, "first"): {"ok": 1, "client_error": 1}}


async def test_a_stream_keeps_its_version() -> None:
    """A policy that sends everybody elsewhere, and a replica that leaves, are for the streams that come."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate, stable = candidate_of(rig), rig.upstream
        candidate.usual, stable.usual = LISTENS, stream(token(1))
        client = await listen(rig)
        speaker = await speaker_of(candidate)
        speaker.say(token(1))
        await hears(client, token(1))
        only_stable = [Endpoint("127.0.0.1", stable.port, 0, "m", STABLE)]
        rig.worker.swap(rig.worker.table.build(NOW, {"m": Policy(STABLE)}, only_stable))
        assert (await rig.ask(post(PATH, BODY))).one("sluice-version") == b"1"
        speaker.say(token(2))
        await hears(client, token(2))
        speaker.end()
        answer = await client.answer()
        assert (answer.one("sluice-version"), answer.body) == (b"2", token(1) + token(2))
        assert ends(rig) == {(CANDIDATE, "first"): {"complete": 1}, (STABLE, "first"): {"complete": 1}}
        assert state_of(rig, CANDIDATE)["requests"] == 1


BEFORE_ITS_FIRST_EVENT = {
    "error": stream(failure(), head=FAILED),
    "error in one read": answers(FAILED + chunk(failure()) + END),
    "error with 200": stream(failure()),
    "comment and error": stream(b": wait\n\n", failure()),
    "end": CLOSES,
    "end after its head": answers(HEAD, then=Then.CLOSE),
    "end in its first event": answers(HEAD, chunk(token(1)[:9]), then=Then.RESET),
    "silence": HANGS,
    "silence after its head": LISTENS,
    "503": answers(ok(code="503 Service Unavailable")),
    "500": answers(ok(code="500 Internal Server Error")),
}
"""How a candidate's stream fails before anybody has got anything of it."""


@pytest.mark.parametrize("fails", BEFORE_ITS_FIRST_EVENT.values(), ids=BEFORE_ITS_FIRST_EVENT.keys())
async def test_stable_answers_for_a_stream_that_has_not_begun(fails: Reply) -> None:
    """However a candidate fails before its first event, the client gets stable's stream and knows of nothing."""
    async with running(policy=CANARY, replicas=BOTH, **SOON) as rig:
        candidate_of(rig).usual, rig.upstream.usual = fails, stream(token(1), token(2))
        answer = await rig.ask(post(PATH, BODY))
        assert (answer.code, answer.body) == (200, token(1) + token(2))
        assert version_and_reason(answer) == (b"1", b"fallback")
        assert [request.body for request in rig.upstream.requests] == [BODY]
        assert rig.outcomes()[STABLE, "fallback"] == {"ok": 1}
        assert rig.outcomes()[CANDIDATE, "first"].keys().isdisjoint({"ok", "client_error"})
        assert state_of(rig, CANDIDATE)["failed"] == 0
        assert ends(rig)[STABLE, "fallback"] == {"complete": 1}


async def test_an_error_that_stable_repeats_is_the_clients() -> None:
    """As Triton said it, and nobody is blamed: it is the request's own fault."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        candidate_of(rig).usual, rig.upstream.usual = stream(failure("no"), head=FAILED), stream(failure(), head=FAILED)
        answer = await rig.ask(post(PATH, BODY))
        assert (answer.code, answer.body, answer.one("sluice-version")) == (400, failure(), b"1")
        assert ends(rig) == {(CANDIDATE, "first"): {"error": 1}, (STABLE, "fallback"): {"error": 1}}
        assert state_of(rig, CANDIDATE)["failed"] == 1
        assert_unharmed(rig)


async def test_nothing_is_held_back_where_nothing_can_follow() -> None:
    """Where requests may not be sent twice the head goes out as it comes, and an error is the client's."""
    policy = Policy(STABLE, CANARY.arms, repeatable=False)
    async with running(policy=policy, replicas=BOTH) as rig:
        candidate_of(rig).usual = LISTENS
        client = await listen(rig)
        await hears(client, b"sluice-version: 2\r\n")
        (await speaker_of(candidate_of(rig))).say(failure())
        await hears(client, failure())


async def test_an_answer_to_generate_may_say_that_it_failed() -> None:
    """Triton says 400 where a model failed and where the client did; the model's own words come in chunks."""
    async with running(policy=CANARY, replicas=BOTH) as rig:
        words = b'{"error":"There is no token 1."}'
        bad = CHUNKED.replace(b"200 OK", b"400 Bad Request")
        for said in (bad + chunks(words), CHUNKED + chunks(words)):
            candidate_of(rig).script.append(answers(said))
            assert version_and_reason(await rig.ask(post(GENERATE, BODY))) == (b"1", b"fallback")
        candidate_of(rig).script.append(answers(ok(words, code="400 Bad Request")))
        answer = await rig.ask(post(GENERATE, BODY))
        assert (answer.code, answer.body, answer.one("sluice-version")) == (400, words, b"2")
        assert rig.outcomes()[CANDIDATE, "first"] == {"server_error": 2, "client_error": 1}


# How it ends.


async def test_an_error_in_mid_stream_is_a_failure(rig: Rig) -> None:
    """Of its version, though the status was 200; but nobody is ejected for what may be the request's own fault."""
    rig.upstream.usual = stream(token(1), failure())
    for _ in range(8):
        answer = await rig.ask(post(PATH, BODY))
        assert (answer.code, answer.body) == (200, token(1) + failure())
    assert rig.outcomes() == {(1, "first"): {"server_error": 8}}
    assert (state_of(rig, 1)["requests"], state_of(rig, 1)["failed"]) == (8, 8)
    ((_, counted),) = streams(rig)
    assert (counted["ended"], counted["events"], counted["errors"]) == ({"error": 8}, 16, 8)
    assert_unharmed(rig)


async def test_an_error_in_mid_stream_is_no_sign_of_health(rig: Rig) -> None:
    """Failures before it stay in a row with those after it."""
    rig.upstream.script.extend([CLOSES, CLOSES, stream(token(1), failure()), CLOSES, CLOSES, CLOSES])
    for _ in range(4):
        await rig.ask(post(PATH, BODY))
    assert rig.gateways(rig.upstream).ejected


async def test_a_client_that_hangs_up_on_an_error(rig: Rig) -> None:
    """Has had an error all the same."""
    rig.upstream.usual = LISTENS
    client = await listen(rig)
    (await speaker_of(rig.upstream)).say(token(1), failure())
    await hears(client, failure())
    client.close()
    await rig.rests()
    assert ends(rig) == {(1, "first"): {"error": 1}}
    assert rig.outcomes() == {(1, "first"): {"server_error": 1}}
    assert state_of(rig, 1)["failed"] == 1


@pytest.mark.parametrize("reset", [True, False])
async def test_a_client_that_goes_away(rig: Rig, *, reset: bool) -> None:
    """The model's connection is closed, which cancels it there; the place is free, and nobody has failed.

    The model says nothing more, and a client that only closes could still be reading: it is asked.
    """
    rig.upstream.usual = LISTENS
    client = await listen(rig)
    (await speaker_of(rig.upstream)).say(token(1))
    await hears(client, token(1))
    client.close(reset=reset)
    await eventually(lambda: not rig.upstream.connections)
    await rig.rests()
    assert ends(rig) == {(1, "first"): {"cancelled": 1}}
    assert state_of(rig, 1)["failed"] == 0
    assert_unharmed(rig)


async def test_a_client_that_sends_no_more_and_reads_on(rig: Rig) -> None:
    """Gets its stream; the comments by which it is asked whether it reads are no events, and are in no event."""
    rig.upstream.usual = LISTENS
    client = await listen(rig)
    speaker = await speaker_of(rig.upstream)
    speaker.say(token(1))
    await hears(client, token(1))
    await client.half_close()
    await hears(client, b":\n\n")
    speaker.say(token(2)[:9])
    await hears(client, token(2)[:9])
    for one in rig.worker.clients:
        one.probe()
    speaker.say(token(2)[9:])
    speaker.end()
    answer = await client.answer()
    assert answer.body.replace(b":\n\n", b"") == token(1) + token(2)
    assert ends(rig) == {(1, "first"): {"complete": 1}}


async def test_a_model_that_breaks_off(rig: Rig) -> None:
    """The client is told by a last event, and gets no end: it knows that this was not all. It is the model's fault."""
    rig.upstream.usual = LISTENS
    for number in range(5):
        client = await listen(rig)
        speaker = await speaker_of(rig.upstream, after=number)
        speaker.say(token(1))
        await hears(client, token(1))
        speaker.leave()
        data = await client.rest()
        assert not client.reset
        assert events_in(data)[1:] == [
            failure("Version 1 of model 'm' broke off before its answer was complete: try again.").replace(
                b'{"error":', b'{"error": '
            )
        ]
        assert not data.endswith(END)
    assert ends(rig) == {(1, "first"): {"broken": 5}}
    assert state_of(rig, 1)["failed"] == 5
    assert rig.gateways(rig.upstream).ejected


@pytest.mark.parametrize("said", [token(1)[:20], b"data: 1\n", b"x" * 100_000], ids=["event", "line", "long event"])
async def test_nothing_is_put_into_an_event(rig: Rig, said: bytes) -> None:
    """Where the model breaks off in the middle of one, a reset says that this was not all."""
    rig.upstream.usual = LISTENS
    client = await listen(rig)
    speaker = await speaker_of(rig.upstream)
    speaker.say(token(1), said)
    await hears(client, said[-20:])
    speaker.leave()
    assert b"broke off" not in await client.rest()
    assert client.reset


async def test_an_http_1_0_client_is_reset(rig: Rig) -> None:
    """For the end of the connection is how a stream ends well."""
    rig.upstream.usual = LISTENS
    client = await rig.client()
    await client.send(post(PATH, BODY).replace(b"HTTP/1.1", b"HTTP/1.0"))
    speaker = await speaker_of(rig.upstream)
    speaker.say(token(1))
    await hears(client, token(1))
    speaker.leave()
    await client.rest()
    assert client.reset


async def test_a_model_that_falls_silent() -> None:
    """The stream ends as one that is late, the client is told, and it is the model's fault."""
    async with running(upstream_timeout_s=STILL_S) as rig:
        rig.upstream.usual = ONE_EVENT_THEN_SILENCE
        clients = [await listen(rig) for _ in range(5)]
        for client in clients:
            data = await client.rest()
            assert b"did not answer within the request's deadline" in events_in(data)[1]
            assert not client.reset
        assert ends(rig) == {(1, "first"): {"late": 5}}
        assert rig.gateways(rig.upstream).ejected


async def test_a_clients_own_deadline() -> None:
    """Ends a stream however it moves, and blames nobody."""
    async with running() as rig:
        rig.upstream.usual = ONE_EVENT_THEN_SILENCE
        client = await listen(rig, headers=["sluice-timeout-ms: 60"])
        assert len(events_in(await client.rest())) == 2
        assert ends(rig) == {(1, "first"): {"late": 1}}
        assert_unharmed(rig)


async def test_a_slow_model_is_not_late() -> None:
    """The limit is on standing still: a stream may take as long as it moves."""
    async with running(upstream_timeout_s=STILL_S) as rig:
        rig.upstream.usual = LISTENS
        client = await listen(rig)
        speaker = await speaker_of(rig.upstream)
        for number in range(8):
            speaker.say(token(number))
            await asyncio.sleep(0.05)
        speaker.end()
        assert len(events_in((await client.answer()).body)) == 8
        assert ends(rig) == {(1, "first"): {"complete": 1}}


# A client that does not read.

MEBIBYTE = chunk(b"data: " + b"x" * (1024 * 1024 - 8) + b"\n\n")


async def test_a_client_that_never_reads() -> None:
    """The model is made to wait, then the client is let go of; nobody else is to blame."""
    async with running(upstream_timeout_s=0.5) as rig:
        rig.upstream.usual = LISTENS
        await listen(rig, receive_buffer=4096)
        speaker = await speaker_of(rig.upstream)
        speaker.transport.write(MEBIBYTE * 40)
        (client,) = rig.worker.clients
        await eventually(lambda: client.full)
        assert client.unread > 0
        assert speaker.transport.get_write_buffer_size() > 20 * len(MEBIBYTE)
        await eventually(lambda: not rig.worker.clients)
        await rig.rests()
        assert ends(rig) == {(1, "first"): {"cancelled": 1}}
        assert state_of(rig, 1)["failed"] == 0
        assert_unharmed(rig)


async def test_a_client_that_reads_slowly_gets_all_of_it() -> None:
    """However long its buffers take to empty, it is waited for as long as it takes anything at all."""
    async with running(upstream_timeout_s=0.3) as rig:
        rig.upstream.usual = answers(HEAD, MEBIBYTE * 4, END)
        client = await listen(rig, receive_buffer=65536)
        got, (connection,) = bytearray(), rig.worker.clients
        async with asyncio.timeout(30):
            while END not in got[-20:]:
                got += await client.some()
                await asyncio.sleep(0.02 if connection.full else 0)
        assert len(got) > 4 * len(MEBIBYTE)
        await rig.rests()
        assert ends(rig) == {(1, "first"): {"complete": 1}}


async def test_half_a_request_and_silence() -> None:
    """It takes no place at a model, and is told so when its time is up."""
    async with running(upstream_timeout_s=0.1) as rig:
        client = await rig.client()
        await client.send(post(PATH, BODY)[:-5])
        answer = await client.answer()
        assert (answer.code, answer.one("connection")) == (400, b"close")
        assert await client.rest() == b""
        assert not rig.upstream.heads


# When the gateway stops.


async def test_draining_waits_for_streams() -> None:
    """One that comes to its end in time is complete."""
    async with running(drain_limit_s=5.0) as rig:
        rig.upstream.usual = LISTENS
        client = await listen(rig)
        speaker = await speaker_of(rig.upstream)
        speaker.say(token(1))
        await hears(client, token(1))
        draining = asyncio.create_task(rig.worker.drain())
        await eventually(lambda: rig.worker.draining)
        speaker.say(token(2))
        await hears(client, token(2))
        assert not draining.done()
        speaker.end()
        assert events_in((await client.answer()).body) == [token(1), token(2)]
        await draining
        assert ends(rig) == {(1, "first"): {"complete": 1}}


async def test_draining_ends_what_takes_too_long() -> None:
    """Streams get a last event and no end, a request that has no answer yet gets a 503, and nobody is to blame."""
    async with running(drain_limit_s=0.1) as rig:
        rig.upstream.script.extend([ONE_EVENT_THEN_SILENCE, HANGS])
        client, other = await listen(rig), await rig.client()
        await hears(client, token(1))
        await other.send(post())
        await eventually(lambda: len(rig.worker.in_flight) == 2)
        await rig.worker.drain()
        data = await client.rest()
        assert b"The gateway is being stopped" in events_in(data)[1]
        assert not data.endswith(END)
        assert not client.reset
        assert (await other.answer()).code == 503
        assert ends(rig) == {(1, "first"): {"drained": 1}}
        assert_unharmed(rig)


# Copies.


async def test_a_copied_stream_is_counted_and_thrown_away() -> None:
    """With the same figures as the one that somebody gets."""
    async with running(policy=SHADOWED, replicas={STABLE: 1, SHADOW: 1}) as rig:
        rig.upstream.usual = stream(token(1), token(2))
        rig.upstreams[SHADOW][0].script.extend([stream(*map(token, range(9))), stream(token(1), failure())])
        for _ in range(2):
            assert events_in((await rig.ask(post(PATH, BODY))).body) == [token(1), token(2)]
        await eventually(lambda: not rig.worker.shadows)
        assert ends(rig)[SHADOW, "shadow"] == {"complete": 1, "error": 1}
        assert rig.outcomes()[SHADOW, "shadow"] == {"ok": 1, "server_error": 1}
        counted = dict(streams(rig))[SHADOW, "shadow"]
        assert (counted["events"], counted["errors"]) == (11, 1)


async def test_a_copied_stream_holds_up_nobody() -> None:
    """The client's stream is the same; the copy may go on as long as it moves, but not for ever."""
    async with running(policy=SHADOWED, replicas={STABLE: 1, SHADOW: 1}, upstream_timeout_s=0.3) as rig:
        rig.upstream.usual = stream(token(1))
        rig.upstreams[SHADOW][0].usual = LISTENS
        assert (await rig.ask(post(PATH, BODY))).body == token(1)
        speaker = await speaker_of(rig.upstreams[SHADOW][0])
        began = rig.worker.loop.time()
        while rig.worker.shadows:
            lasted_s = rig.worker.loop.time() - began
            speaker.say(token(1))
            await asyncio.sleep(0.02)
        assert lasted_s > 2 * rig.worker.config.upstream_timeout_s
        assert ends(rig)[SHADOW, "shadow"] == {"late": 1}


async def test_a_copied_stream_that_falls_silent_is_given_up() -> None:
    """As one that somebody gets."""
    async with running(policy=SHADOWED, replicas={STABLE: 1, SHADOW: 1}, upstream_timeout_s=STILL_S) as rig:
        rig.upstream.usual = stream(token(1))
        rig.upstreams[SHADOW][0].usual = ONE_EVENT_THEN_SILENCE
        assert (await rig.ask(post(PATH, BODY))).body == token(1)
        await eventually(lambda: not rig.worker.shadows)
        assert ends(rig)[SHADOW, "shadow"] == {"late": 1}


async def test_a_copy_of_generate_may_say_that_it_failed() -> None:
    """As an answer that somebody gets."""
    async with running(policy=SHADOWED, replicas={STABLE: 1, SHADOW: 1}) as rig:
        failed = CHUNKED.replace(b"200 OK", b"400 Bad Request"), chunk(b'{"error":'), chunks(b'"There is no token 1."}')
        rig.upstreams[SHADOW][0].usual = answers(*failed)
        assert (await rig.ask(post(GENERATE, BODY))).code == 200
        await eventually(lambda: not rig.worker.shadows)
        assert rig.outcomes()[SHADOW, "shadow"] == {"server_error": 1}


@pytest.mark.parametrize("share", [0, WHOLE // 2, WHOLE])
async def test_streams_are_split_as_the_policy_says(share: int) -> None:
    """By units, each of which keeps its version, for generate as for generate_stream."""
    policy = Policy(STABLE, (Arm(CANDIDATE, share, role=Role.CANARY),) if share else ())
    async with running(policy=policy, replicas=BOTH) as rig:
        for replicas in rig.upstreams.values():
            replicas[0].usual = stream(token(1))
        client = await rig.client()
        found: dict[int, bytes | None] = {}
        for path in (PATH, GENERATE, PATH):
            for unit in range(20):
                await client.send(post(path, BODY, [f"sluice-unit: user-{unit}"]))
                version = (await client.answer()).one("sluice-version")
                assert found.setdefault(unit, version) == version
        assert set(found.values()) == {0: {b"1"}, WHOLE // 2: {b"1", b"2"}, WHOLE: {b"2"}}[share]
