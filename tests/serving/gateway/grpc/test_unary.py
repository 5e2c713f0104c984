"""Calls of one message each way: what goes to a model, and what comes back."""

from __future__ import annotations

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from router.policy import Policy
from tests.serving.certificates import Files
from tests.serving.gateway.grpc.rig import Rig, request, running, told
from tests.serving.gateway.grpc.triton import aborts, answers_with

OK = grpc.StatusCode.OK


async def test_an_inference_is_answered_by_the_model(rig: Rig) -> None:
    """What the model says comes back, with what the gateway adds, and the model sees its version named."""
    answer = await rig.infer(request(id="7"), metadata=(("sluice-unit", "u"), ("x-tag", "kept")))
    assert answer.code is OK, answer.words
    assert (answer.answer.id, answer.answer.raw_output_contents[0]) == ("7", b"out")
    said = {key: answer.head[f"sluice-{key}"] for key in ("version", "reason", "epoch")}
    assert said == {"version": "1", "reason": "stable", "epoch": "42"}
    assert len(answer.head["sluice-request-id"]) > 30
    asked = rig.triton.asked[0]
    assert asked.request.model_version == "1"
    assert asked.metadata["x-tag"] == "kept"
    assert not [key for key in asked.metadata if key.startswith("sluice-")]


async def test_an_explicit_version_bypasses_the_split() -> None:
    """The message names it; the answer says so, and the message goes on byte for byte."""
    async with running(policy=Policy(1), replicas={1: 1, 2: 1}) as rig:
        answer = await rig.infer(request(model_version="2"))
        assert (answer.head["sluice-version"], answer.head["sluice-reason"]) == ("2", "pinned")
        assert rig.tritons[2][0].asked[0].request == request(model_version="2")


async def test_what_a_model_refuses_is_relayed_as_it_is(rig: Rig) -> None:
    """Status, words and the gateway's own fields, for an error of the client's."""
    rig.triton.script.append(aborts(grpc.StatusCode.INVALID_ARGUMENT, "schlecht: 5 € zu viel"))
    answer = await rig.infer()
    assert (answer.code, answer.words) == (grpc.StatusCode.INVALID_ARGUMENT, "schlecht: 5 € zu viel")
    assert ({**answer.head, **answer.end})["sluice-version"] == "1"
    assert rig.outcomes()[1, "first"] == {"client_error": 1}


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        (request("nobody"), grpc.StatusCode.NOT_FOUND, "There is no model 'nobody' here: there is m."),
        (request(), OK, ""),
        (request(model_version="9"), grpc.StatusCode.NOT_FOUND, "Model 'm' has no version '9' here: it has 1."),
        (request(model_version="x"), grpc.StatusCode.NOT_FOUND, "Model 'm' has no version 'x' here: it has 1."),
    ],
    ids=["no model", "sound", "no version", "no number"],
)
async def test_what_is_not_here_is_said_as_over_http(
    rig: Rig, asked: pb.ModelInferRequest, code: grpc.StatusCode, words: str
) -> None:
    """The table's code, and the same sentence."""
    answer = await rig.infer(asked)
    assert (answer.code, answer.words) == (code, words)


@pytest.mark.parametrize("size", [100_000, 3_000_000, 20_000_000])
async def test_large_messages_pass_both_ways(rig: Rig, size: int) -> None:
    """Whole, and at the limits of grpcio's defaults and of any window."""
    data = bytes(range(256)) * (size // 256)
    rig.triton.script.append(answers_with(data))
    answer = await rig.infer(request(raw_input_contents=[data]))
    assert answer.code is OK, answer.words
    assert answer.answer.raw_output_contents[0] == data
    assert rig.triton.asked[0].request.raw_input_contents[0] == data


async def test_a_message_over_the_limit_is_refused_by_its_length() -> None:
    """With the sentence that HTTP has for it, and nothing reaches a model."""
    async with running(max_body=50_000) as rig:
        answer = await rig.infer(request(raw_input_contents=[bytes(60_000)]))
        assert answer.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "the gateway takes 50000 at most" in answer.words
        assert not rig.triton.asked
        assert (await rig.infer()).code is OK


async def test_what_all_calls_hold_has_a_limit() -> None:
    """A large message that does not fit beside another is turned away as when the gateway is full; alone it passes."""
    async with running(max_held=4_000_000) as rig:
        assert rig.worker.grpc.hold(3_000_000)
        answer = await rig.infer(request(raw_input_contents=[bytes(2_000_000)]))
        assert answer.code is grpc.StatusCode.UNAVAILABLE
        assert answer.words == "The gateway is full: try again in a second."
        rig.worker.grpc.release(3_000_000)
        assert (await rig.infer(request(raw_input_contents=[bytes(8_000_000)]))).code is OK


@pytest.mark.parametrize("coding", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_are_read_and_answered(rig: Rig, coding: grpc.Compression) -> None:
    """The model's name is found in them, whether or not they have to be changed."""
    for version in ("", "1"):
        asked = request(model_version=version, raw_input_contents=[bytes(5_000)])
        answer = await rig.infer(asked, compression=coding)
        assert answer.code is OK, answer.words
        assert rig.triton.asked[-1].request == request(model_version="1", raw_input_contents=[bytes(5_000)])


async def test_a_compressed_message_may_not_grow_beyond_the_limit() -> None:
    """It is inflated so far and no further."""
    async with running(max_body=50_000) as rig:
        bomb = request(raw_input_contents=[bytes(1_000_000)])
        answer = await rig.infer(bomb, compression=grpc.Compression.Gzip)
        assert (answer.code, answer.words) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED, "The body is larger than 50000 bytes: send less.",
        )  # fmt: skip


async def test_many_calls_share_one_connection_each_way(rig: Rig) -> None:
    """Each gets its own answer, and nothing is left behind."""
    stub = rig.stub()
    calls = [stub.ModelInfer(request(id=str(number))) for number in range(300)]
    assert [(await call).id for call in calls] == [str(number) for number in range(300)]
    assert len(rig.worker.grpc.lines) == 1
    assert rig.worker.table.totals() == {"m/1": 300}


async def test_over_tls(files: Files) -> None:
    """Both legs encrypted, by ALPN h2."""
    async with running(tls=files) as rig:
        assert (await rig.infer()).code is OK


async def test_a_question_about_a_model_goes_to_the_version_that_would_answer() -> None:
    """Metadata with every version that is routed to, configuration and statistics as they are."""
    async with running(policy=Policy(2), replicas={1: 1, 2: 1}) as rig:
        stub = rig.stub()
        metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name="m"))
        assert (metadata.name, list(metadata.versions), metadata.platform) == ("m", ["1", "2"], "python")
        config = await stub.ModelConfig(pb.ModelConfigRequest(name="m", version="1"))
        assert config.config.backend == "python"
        stats = await stub.ModelStatistics(pb.ModelStatisticsRequest(name="m"))
        assert [one.version for one in stats.model_stats] == ["2"]
        assert [one.method for one in rig.tritons[2][0].asked] == ["ModelMetadata", "ModelStatistics"]
        assert [one.request.version for one in rig.tritons[2][0].asked] == ["2", "2"]
        everything = await stub.ModelStatistics(pb.ModelStatisticsRequest())
        assert sorted(one.version for one in everything.model_stats) == ["1", "2"]


async def test_a_unit_in_metadata_sticks() -> None:
    """The same unit is in the same arm over gRPC as over HTTP, and the policy's shares hold."""
    policy = Policy(1, salt="s").with_shares({2: 500_000})
    async with running(policy=policy, replicas={1: 1, 2: 1}) as rig:
        stub = rig.stub()
        versions = {}
        for unit in map(str, range(40)):
            first, second = [
                await told(stub.ModelInfer(request(), metadata=(("sluice-unit", unit),))) for _ in range(2)
            ]
            assert first.head["sluice-version"] == second.head["sluice-version"]
            versions[unit] = first.head["sluice-version"]
        assert set(versions.values()) == {"1", "2"}


async def test_a_sequence_stays_at_one_replica() -> None:
    """Whatever number or name it has; another may be elsewhere."""
    async with running(replicas={1: 3}) as rig:
        stub = rig.stub()
        for number in range(1, 13):
            for parameter in ({"int64_param": number}, {"string_param": f"s{number}"}, {"uint64_param": number}):
                for _ in range(3):
                    await stub.ModelInfer(request(id=str(parameter), parameters={"sequence_id": parameter}))
        kept = [{one.request.id for one in triton.asked} for triton in rig.tritons[1]]
        assert all(kept)
        assert sum(map(len, kept)) == len(set.union(*kept))
