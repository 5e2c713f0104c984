"""ModelStreamInfer: each message where it belongs, in order, and a proper end whatever happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb

from router.policy import Policy, Shadow
from serving.endpoint import Endpoint
from tests.serving.gateway.grpc.rig import Rig, request, running
from tests.serving.gateway.grpc.triton import FakeTriton, infers
from tests.serving.gateway.grpc.wire import Mortal
from tests.serving.gateway.rig import HEAD, eventually

OK = grpc.StatusCode.OK


async def three(asked: Any) -> AsyncIterator[Any]:  # noqa: ANN401 (protobuf has no types here)
    """A decoupled model: three answers to each request."""
    for number in range(3):
        yield pb.ModelStreamInferResponse(infer_response=infers(asked, b"%d" % number))
        await asyncio.sleep(0.001)


async def gathered(call: Any) -> list[Any]:  # noqa: ANN401
    """All answers of a stream."""
    async with asyncio.timeout(10):
        return [answer async for answer in call]


async def ended(call: Any) -> tuple[grpc.StatusCode, str]:  # noqa: ANN401
    """How a stream ends that does not end well."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        await gathered(call)
    return await call.code(), await call.details() or ""


async def sends(*asked: Any) -> AsyncIterator[Any]:  # noqa: ANN401
    """A client's side of a stream."""
    for one in asked:
        yield one


async def test_messages_are_answered_in_order(rig: Rig) -> None:
    """On one upstream stream, which names the version in each message and says so in its head."""
    call = rig.stub().ModelStreamInfer(sends(*(request(id=str(number)) for number in range(50))))
    answers = await gathered(call)
    assert [answer.infer_response.id for answer in answers] == [str(number) for number in range(50)]
    head = dict(await call.initial_metadata())
    assert (head["sluice-version"], head["sluice-reason"]) == ("1", "stable")
    assert await call.code() is OK
    assert {one.request.model_version for one in rig.triton.asked} == {"1"}
    assert rig.triton.done == 1
    await rig.rests()
    assert rig.outcomes()[1, "first"] == {"ok": 1}
    assert rig.worker.table.totals() == {"m/1": 1}


async def test_a_decoupled_model_answers_several_times(rig: Rig) -> None:
    """Each request has all of its answers, and each counts as an event."""
    rig.triton.answers_to = three
    answers = await gathered(rig.stub().ModelStreamInfer(sends(request(id="a"), request(id="b"))))
    assert [(one.infer_response.id, one.infer_response.raw_output_contents[0]) for one in answers] == [
        (name, b"%d" % number) for name in "ab" for number in range(3)
    ]
    await rig.rests()
    report: Any = rig.worker.report()
    assert report["series"][0]["streams"]["events"] == 6
    assert report["series"][0]["streams"]["ended"] == {"complete": 1}


async def test_each_message_is_chosen_by_its_model() -> None:
    """One upstream stream for each version; a message that names a version bypasses the split."""
    async with running(policy=Policy(1), replicas={1: 1, 2: 1}) as rig, FakeTriton() as other:
        endpoints = [
            *(Endpoint("127.0.0.1", one.port, one.port, "m", version) for version, [one] in rig.tritons.items()),
            Endpoint("127.0.0.1", other.port, other.port, "n", 7),
        ]
        rig.worker.swap(rig.worker.table.build(HEAD, {"m": Policy(1), "n": Policy(7)}, endpoints))
        asked = [request("m"), request("n"), request("m", model_version="2"), request("n"), request("m")]
        answers = await gathered(rig.stub().ModelStreamInfer(sends(*asked)))
        assert sorted((one.infer_response.model_name, one.infer_response.model_version) for one in answers) == [
            ("m", "1"), ("m", "1"), ("m", "2"), ("n", "7"), ("n", "7"),
        ]  # fmt: skip
        assert [one.done for one in (rig.tritons[1][0], rig.tritons[2][0], other)] == [1, 1, 1]


async def test_the_unit_is_fixed_when_the_stream_opens() -> None:
    """Every message of one stream goes to the same arm, and streams without a unit are split."""
    policy = Policy(1, salt="s").with_shares({2: 500_000})
    async with running(policy=policy, replicas={1: 1, 2: 1}) as rig:
        seen: list[str] = []
        stub = rig.stub()
        for _ in range(24):
            answers = await gathered(stub.ModelStreamInfer(sends(*(request() for _ in range(4)))))
            versions = {answer.infer_response.model_version for answer in answers}
            assert len(versions) == 1
            seen += versions
        assert set(seen) == {"1", "2"}


async def test_sequences_on_one_stream_go_to_their_replicas() -> None:
    """Each message of a sequence reaches the replica that keeps it, from whichever stream."""
    async with running(replicas={1: 3}) as rig:
        stub = rig.stub()
        for _ in range(2):
            asked = [request(id=str(n), parameters={"sequence_id": {"int64_param": n}}) for n in range(1, 16)]
            assert len(await gathered(stub.ModelStreamInfer(sends(*asked, *asked)))) == 30
        kept = [{one.request.id for one in triton.asked} for triton in rig.tritons[1]]
        assert all(kept)
        assert sum(map(len, kept)) == 15


async def test_a_message_that_goes_nowhere_is_answered_with_an_error(rig: Rig) -> None:
    """As Triton does: the stream goes on, and the error has the message's id."""
    asked = [request(id="1"), request("nobody", id="2"), request(id="3")]
    answers = await gathered(rig.stub().ModelStreamInfer(sends(*asked)))
    errors = [one for one in answers if one.error_message]
    assert [(one.error_message, one.infer_response.id) for one in errors] == [
        ("There is no model 'nobody' here: there is m.", "2")
    ]
    assert {one.infer_response.id for one in answers} == {"1", "2", "3"}


async def test_errors_are_statuses_where_the_client_asks_for_that(rig: Rig) -> None:
    """`triton_grpc_error: true` ends the stream with the table's code."""
    call = rig.stub().ModelStreamInfer(sends(request("nobody")), metadata=(("triton_grpc_error", "true"),))
    assert (await ended(call))[0] is grpc.StatusCode.NOT_FOUND


async def test_nobody_there_is_said_message_by_message(rig: Rig) -> None:
    """No model has seen them, and another model's could still be answered."""
    await rig.triton.stop()
    answers = await gathered(rig.stub().ModelStreamInfer(sends(request(id="1"), request(id="2"))))
    assert [one.infer_response.id for one in answers] == ["1", "2"]
    assert all("Version 1 of model 'm'" in one.error_message for one in answers)


async def test_a_candidate_that_cannot_be_reached_is_stood_in_for_by_stable() -> None:
    """As for any request that has reached no model."""
    policy = Policy(1, salt="s").with_shares({2: 1_000_000})
    async with running(policy=policy, replicas={1: 1, 2: 1}) as rig:
        await rig.tritons[2][0].stop()
        answers = await gathered(rig.stub().ModelStreamInfer(sends(request(), request())))
        assert [one.infer_response.model_version for one in answers] == ["1", "1"]


async def test_an_upstream_lost_in_mid_stream_is_a_status(rig: Rig) -> None:
    """UNAVAILABLE, with the sentence that says who broke off; what had come before is there."""
    open_ = asyncio.Event()

    async def asks() -> AsyncIterator[Any]:
        yield request()
        await open_.wait()

    call = rig.stub().ModelStreamInfer(asks())
    assert (await call.read()).infer_response.model_version == "1"
    [line] = rig.gateways(rig.triton).lines._lines  # type: ignore[union-attr]
    line.close()
    async with asyncio.timeout(10):
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
        assert "broke off before its answer was complete" in await call.details()
    open_.set()
    await asyncio.sleep(0.01)
    await rig.rests()
    assert rig.outcomes()[1, "first"] == {"broken": 1}


async def test_a_server_that_dies_of_every_message_ends_the_stream(rig: Rig) -> None:
    """With a status, after one repeat at most."""
    async with Mortal() as one, Mortal() as other:
        endpoints = [Endpoint("127.0.0.1", mortal.port, mortal.port, "m", 1) for mortal in (one, other)]
        rig.worker.swap(rig.worker.table.build(HEAD, {"m": Policy(1)}, endpoints))
        code, _ = await ended(rig.stub().ModelStreamInfer(sends(request(id="deadly"))))
        assert code is grpc.StatusCode.UNAVAILABLE
        assert one.died + other.died <= 2


async def test_half_an_answer_of_a_server_that_broke_is_not_put_before_the_next_ones(rig: Rig) -> None:
    """Who is asked in its place begins anew."""
    async with Mortal(b"\0\0\0\0\xffhalf") as mortal:
        endpoints = [
            Endpoint("127.0.0.1", mortal.port, mortal.port, "m", 2),
            Endpoint("127.0.0.1", rig.triton.port, rig.triton.port, "m", 1),
        ]
        policy = Policy(1, salt="s").with_shares({2: 1_000_000})
        rig.worker.swap(rig.worker.table.build(HEAD, {"m": policy}, endpoints))
        [answer] = await gathered(rig.stub().ModelStreamInfer(sends(request(id="deadly"))))
        assert (mortal.died, answer.infer_response) == (1, infers(request(id="deadly", model_version="1")))


async def test_a_stream_is_one_draw_of_each_model_however_often_it_is_sent_on(rig: Rig) -> None:
    """It is dealt once, when it opens: its messages are no further draws, though each finds nobody there."""
    policy = Policy(1, salt="s").with_shares({2: 500_000})
    rig.worker.swap(rig.worker.table.build(HEAD, {"m": policy}, []))
    for streams in (1, 2):
        asked = [request(id=str(number)) for number in range(5)]
        answers = await gathered(rig.stub().ModelStreamInfer(sends(*asked)))
        assert len(answers) == 5
        assert sum(rig.worker.table.dealt["m"].drawn.values()) == streams


async def test_a_client_that_cancels_ends_the_upstream_stream(rig: Rig) -> None:
    """And frees its place."""
    forever = asyncio.Event()

    async def never(_asked: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        await forever.wait()
        yield None

    rig.triton.answers_to = never
    call = rig.stub().ModelStreamInfer(sends(request()))
    await eventually(lambda: rig.triton.asked)
    assert rig.worker.in_flight
    call.cancel()
    await eventually(lambda: rig.triton.cancelled == 1)
    await rig.rests()
    assert rig.outcomes()[1, "first"] == {"cancelled": 1}


async def test_a_slow_reader_holds_the_model_back() -> None:
    """What the client does not read stays with the model's server; memory here stays small; then all of it comes."""
    async with running() as rig:
        sent = 0

        async def floods(asked: Any) -> AsyncIterator[Any]:  # noqa: ANN401
            nonlocal sent
            for _ in range(200):
                yield pb.ModelStreamInferResponse(infer_response=infers(asked, bytes(400_000)))
                sent += 1

        rig.triton.answers_to = floods
        call = rig.stub().ModelStreamInfer(sends(request()))
        await eventually(lambda: sent)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 190
        assert len(await gathered(call)) == 200


async def test_a_large_message_passes(rig: Rig) -> None:
    """Larger than any window, both ways."""

    async def echoes(asked: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        yield pb.ModelStreamInferResponse(infer_response=infers(asked, asked.raw_input_contents[0]))

    rig.triton.answers_to = echoes
    data = bytes(range(256)) * 40_000
    asked = [request(raw_input_contents=[data]) for _ in range(3)]
    answers = await gathered(rig.stub().ModelStreamInfer(sends(*asked)))
    assert [one.infer_response.raw_output_contents[0] == data for one in answers] == [True] * 3


async def test_a_deadline_ends_the_stream(rig: Rig) -> None:
    """The client's own, which the model's server is told of."""
    forever = asyncio.Event()

    async def never(_asked: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        await forever.wait()
        yield None

    rig.triton.answers_to = never
    call = rig.stub().ModelStreamInfer(sends(request()), metadata=(("sluice-timeout-ms", "200"),))
    assert (await ended(call))[0] is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: rig.triton.cancelled == 1)


async def test_an_answer_that_carries_an_error_is_a_failure(rig: Rig) -> None:
    """Although the stream's status is OK."""

    async def fails(_asked: Any) -> AsyncIterator[Any]:  # noqa: ANN401
        yield pb.ModelStreamInferResponse(error_message="out of memory")

    rig.triton.answers_to = fails
    [answer] = await gathered(rig.stub().ModelStreamInfer(sends(request())))
    assert answer.error_message == "out of memory"
    await rig.rests()
    assert rig.outcomes()[1, "first"] == {"server_error": 1}


async def test_shadows_get_a_copy_of_each_message() -> None:
    """On streams of their own, which hold up nobody."""
    async with running(policy=Policy(1, shadows=(Shadow(2, 1_000_000),)), replicas={1: 1, 2: 1}) as rig:
        answers = await gathered(rig.stub().ModelStreamInfer(sends(*(request(id=str(n)) for n in range(5)))))
        assert len(answers) == 5
        await eventually(lambda: len(rig.tritons[2][0].asked) == 5)
        await rig.rests()
        assert {one.request.model_version for one in rig.tritons[2][0].asked} == {"2"}
        assert rig.outcomes()[2, "shadow"] == {"ok": 5}


async def test_an_empty_stream_ends_well(rig: Rig) -> None:
    """Nothing was asked, so nothing is answered."""
    call = rig.stub().ModelStreamInfer(sends())
    assert await gathered(call) == []
    assert await call.code() is OK
