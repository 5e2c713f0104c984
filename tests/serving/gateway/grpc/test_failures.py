"""What follows a failure, what a deadline does, and what a client that goes away leaves behind."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from router.policy import Policy, Shadow
from serving.endpoint import Endpoint
from serving.gateway.h2.frames import ErrorCode
from tests.serving.gateway.grpc.rig import Rig, http_of, request, running
from tests.serving.gateway.grpc.triton import aborts, infers, waits
from tests.serving.gateway.grpc.wire import Half, Mortal
from tests.serving.gateway.rig import HEAD, eventually

CANARY = Policy(1, salt="s").with_shares({2: 1_000_000})
"""Everything goes to version 2, and stable stands behind it."""
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("code", [UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN])
async def test_a_candidates_failure_is_answered_by_stable(code: grpc.StatusCode) -> None:
    """The client gets stable's answer, and the counters say how it came about."""
    async with running(policy=CANARY, replicas={1: 1, 2: 1}) as rig:
        rig.tritons[2][0].script.append(aborts(code))
        answer = await rig.infer()
        assert (answer.code, answer.head["sluice-version"], answer.head["sluice-reason"]) == (OK, "1", "fallback")
        await rig.rests()
        assert rig.outcomes()[1, "fallback"] == {"ok": 1}
        assert sum(rig.outcomes()[2, "first"].values()) == 1


async def test_an_error_that_stable_repeats_is_the_clients() -> None:
    """The first one's words, and nobody is blamed."""
    async with running(policy=CANARY, replicas={1: 1, 2: 1}) as rig:
        rig.tritons[2][0].script.append(aborts(grpc.StatusCode.INTERNAL, "of the candidate"))
        rig.tritons[1][0].script.append(aborts(grpc.StatusCode.INTERNAL, "of stable"))
        answer = await rig.infer()
        assert (answer.code, answer.words) == (grpc.StatusCode.INTERNAL, "of stable")
        assert not any(upstream.ejected for upstream in rig.worker.table.upstreams)


async def test_a_client_error_is_never_repeated() -> None:
    """It would be one at stable as well."""
    async with running(policy=CANARY, replicas={1: 1, 2: 1}) as rig:
        rig.tritons[2][0].script.append(aborts(grpc.StatusCode.INVALID_ARGUMENT))
        assert (await rig.infer()).code is grpc.StatusCode.INVALID_ARGUMENT
        assert not rig.tritons[1][0].asked


async def test_a_replica_that_is_gone_is_ejected_and_another_answers() -> None:
    """Its call never reached a model, so it goes on; the next ones go past it."""
    async with running(replicas={1: 2}) as rig:
        gone, there = rig.tritons[1]
        await gone.stop()
        for _ in range(6):
            assert (await rig.infer()).code is OK
        assert rig.gateways(gone).ejected
        assert len(there.asked) == 6


async def test_nobody_there_is_unavailable(rig: Rig) -> None:
    """With a sentence that says which version."""
    await rig.triton.stop()
    answer = await rig.infer()
    assert answer.code is UNAVAILABLE
    assert answer.words.startswith("Version 1 of model 'm' ")
    assert answer.end["retry-after"] == "1"


async def test_an_endpoint_without_a_grpc_port_is_passed_over(rig: Rig) -> None:
    """It is not blamed: over HTTP it may be well."""
    endpoint = Endpoint("127.0.0.1", http_of(rig.triton), 0, "m", 1)
    rig.worker.swap(rig.worker.table.build(HEAD, {"m": Policy(1)}, []))
    rig.worker.swap(rig.worker.table.build(HEAD, {"m": Policy(1)}, [endpoint]))
    answer = await rig.infer()
    assert (answer.code, answer.words) == (UNAVAILABLE, "Version 1 of model 'm' has no gRPC port: try again.")
    assert not any(upstream.ejected for upstream in rig.worker.table.upstreams)


async def test_a_call_whose_server_dies_is_repeated_elsewhere() -> None:
    """Once, on another replica."""
    async with running(replicas={1: 2}) as rig:
        for triton, other in (rig.tritons[1], rig.tritons[1][::-1]):
            gate = asyncio.Event()
            triton.script.append(waits(gate))
            other.script.append(waits(gate))
            call = asyncio.ensure_future(rig.infer())
            await eventually(lambda: rig.tritons[1][0].asked or rig.tritons[1][1].asked)
            break
        dying, staying = rig.tritons[1] if rig.tritons[1][0].asked else rig.tritons[1][::-1]
        await dying.stop()
        gate.set()
        assert (await call).code is OK
        assert len(staying.asked) == 1
        assert rig.outcomes()[1, "repeat"] == {"ok": 1}


async def test_a_body_that_broke_two_replicas_is_shown_to_no_third(rig: Rig) -> None:
    """It is refused for a while, by its hash, with the table's code; another one is not."""
    async with Mortal() as one, Mortal() as other, Mortal() as third:
        mortals = [one, other, third]
        endpoints = [Endpoint("127.0.0.1", mortal.port, mortal.port, "m", 1) for mortal in mortals]
        rig.worker.swap(rig.worker.table.build(HEAD, {"m": Policy(1)}, endpoints))
        answer = await rig.infer(request(id="deadly"))
        assert answer.code is UNAVAILABLE
        assert answer.words == "Version 1 of model 'm' broke off before its answer was complete: try again."
        assert sum(mortal.died for mortal in mortals) == 2
        again = await rig.infer(request(id="deadly"))
        assert again.code is grpc.StatusCode.INVALID_ARGUMENT
        assert again.words.startswith("This body has just broken two replicas")
        assert sum(mortal.died for mortal in mortals) == 2
        assert rig.outcomes()[1, "first"]["broken"] == 1
        assert rig.outcomes()[1, "repeat"]["broken"] == 1


async def test_a_hanging_candidate_leaves_stable_time() -> None:
    """Half of what is left, then stable answers within the deadline."""
    async with running(policy=CANARY, replicas={1: 1, 2: 1}) as rig:
        rig.tritons[2][0].script.append(waits(asyncio.Event()))
        answer = await rig.infer(timeout=1.0)
        assert (answer.code, answer.head["sluice-reason"]) == (OK, "fallback")
        await eventually(lambda: rig.tritons[2][0].cancelled == 1)


@pytest.mark.parametrize("how", ["grpc-timeout", "sluice-timeout-ms"])
async def test_the_sooner_deadline_holds(rig: Rig, how: str) -> None:
    """Whichever way it is given, the model is told of it, and cancelled when it has passed."""
    rig.triton.script.append(waits(asyncio.Event()))
    given = (0.3, 60_000) if how == "grpc-timeout" else (60.0, 300)
    answer = await rig.infer(timeout=given[0], metadata=(("sluice-timeout-ms", str(given[1])),))
    assert answer.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: rig.triton.cancelled == 1)
    remaining_s = rig.triton.asked[0].remaining_s
    assert remaining_s is not None
    assert remaining_s <= 0.31
    await rig.rests()


async def test_a_client_that_cancels_frees_its_place(rig: Rig) -> None:
    """At the gateway and at the model."""
    rig.triton.script.append(waits(asyncio.Event()))
    call = rig.stub().ModelInfer(request())
    await eventually(lambda: rig.triton.asked)
    assert rig.worker.in_flight
    call.cancel()
    await rig.rests()
    await eventually(lambda: rig.triton.cancelled == 1)
    assert rig.outcomes()[1, "first"] == {"cancelled": 1}


async def test_a_client_that_goes_silent_in_mid_message_is_told() -> None:
    """Its call holds no place, and ends after a while with the sentence that HTTP has."""
    async with running(upstream_timeout_s=0.2) as rig:
        half = await Half.begin(rig.port, announced=1_000, sent=10)
        await eventually(lambda: rig.worker.grpc.unfinished)
        assert not rig.worker.in_flight
        assert b"did not arrive in time" in await half.rest()
        await half.close()


@pytest.mark.parametrize("code", [ErrorCode.CANCEL, ErrorCode.REFUSED_STREAM])
async def test_a_client_that_gives_a_half_sent_call_up_is_forgotten(
    rig: Rig, code: ErrorCode, caplog: pytest.LogCaptureFixture
) -> None:
    """For whatever reason, and that is no failure of ours."""
    half = await Half.begin(rig.port, announced=1_000, sent=10)
    await eventually(lambda: rig.worker.grpc.unfinished)
    half.give_up(code)
    await eventually(lambda: not rig.worker.grpc.unfinished)
    assert not caplog.records
    await half.close()


async def test_a_full_gateway_says_so() -> None:
    """One more than may be in flight is turned away at once."""
    async with running(max_in_flight=1) as rig:
        gate = asyncio.Event()
        rig.triton.script.append(waits(gate))
        first = asyncio.ensure_future(rig.infer())
        await eventually(lambda: rig.triton.asked)
        answer = await rig.infer()
        assert (answer.code, answer.words) == (UNAVAILABLE, "The gateway is full: try again in a second.")
        gate.set()
        assert (await first).code is OK


async def test_shadows_get_copies_of_the_message() -> None:
    """Afterwards, for their own version; what they answer is counted and nobody's."""
    async with running(policy=Policy(1, shadows=(Shadow(2, 1_000_000),)), replicas={1: 1, 2: 1}) as rig:
        rig.tritons[2][0].script.append(aborts(grpc.StatusCode.INTERNAL))
        for _ in range(3):
            assert (await rig.infer(request(id="x"), metadata=(("x-tag", "t"),))).head["sluice-version"] == "1"
        await eventually(lambda: len(rig.tritons[2][0].asked) == 3)
        await rig.rests()
        copy = rig.tritons[2][0].asked[0]
        assert (copy.request, copy.metadata["x-tag"]) == (request(id="x", model_version="2"), "t")
        assert rig.outcomes()[2, "shadow"] == {"ok": 2, "server_error": 1}


async def test_a_compressed_message_is_copied_in_the_clear() -> None:
    """The copy names another version, so it cannot be the same bytes."""
    async with running(policy=Policy(1, shadows=(Shadow(2, 1_000_000),)), replicas={1: 1, 2: 1}) as rig:
        asked = request(raw_input_contents=[bytes(5_000)])
        assert (await rig.infer(asked, compression=grpc.Compression.Gzip)).code is OK
        await eventually(lambda: rig.tritons[2][0].asked)
        assert rig.tritons[2][0].asked[0].request.raw_input_contents[0] == bytes(5_000)


async def test_a_replaced_replica_is_left_after_its_last_call(rig: Rig) -> None:
    """A call under way ends well, the next goes to the new one."""
    gate = asyncio.Event()
    rig.triton.script.append(waits(gate))
    first = asyncio.ensure_future(rig.infer())
    await eventually(lambda: rig.triton.asked)
    old = rig.gateways(rig.triton)
    rig.worker.swap(rig.worker.table.build(HEAD, {"m": Policy(1)}, []))
    assert old.closed
    assert (await rig.infer()).code is UNAVAILABLE
    gate.set()
    answer = await first
    assert answer.code is OK
    assert answer.answer == infers(request(model_version="1"))


async def test_a_draining_worker_finishes_what_it_has(rig: Rig) -> None:
    """Clients are asked to go elsewhere, calls under way end well, and then it is over."""
    gate = asyncio.Event()
    rig.triton.script.append(waits(gate))
    channel = rig.channel()
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(request().SerializeToString())
    await eventually(lambda: rig.triton.asked)
    draining = asyncio.ensure_future(rig.worker.drain())
    await asyncio.sleep(0.1)
    assert not draining.done()
    gate.set()
    assert await call
    async with asyncio.timeout(5):
        await draining
    assert not rig.worker.grpc.lines


async def test_a_deadline_that_the_model_kept_first_is_no_error_of_its_own(rig: Rig) -> None:
    """A server that gives up at the client's deadline, a moment before we do, was late; nobody in a hurry ejects it."""
    for _ in range(20):
        rig.triton.script.append(aborts(grpc.StatusCode.DEADLINE_EXCEEDED, "too late"))
        answer = await rig.infer(timeout=0.09)
        assert answer.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await rig.rests()
    assert rig.outcomes()[1, "first"] == {"late": 20}
    assert (await rig.infer()).code is OK


async def test_stable_answers_where_there_is_time_left_after_a_candidate_gave_up() -> None:
    """As it does where the gateway itself gave the candidate up; it counts as late."""
    async with running(policy=CANARY, replicas={1: 1, 2: 1}) as rig:
        rig.tritons[2][0].script.append(aborts(grpc.StatusCode.DEADLINE_EXCEEDED))
        answer = await rig.infer(timeout=30.0)
        assert (answer.code, answer.head["sluice-reason"]) == (OK, "fallback")
        await rig.rests()
        assert rig.outcomes()[2, "first"] == {"late": 1}
