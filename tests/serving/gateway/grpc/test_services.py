"""What the gateway answers by itself: the same over both doors; health; reflection."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2 as pb

from router.policy import Policy
from scripts.make_protos import made
from serving.access.table import PREDICTION
from serving.gateway.grpc.methods import METHODS
from serving.gateway.grpc.reflection import PROTOS, SERVICES
from serving.gateway.routing import NOWHERE
from tests.serving.gateway.grpc.rig import Rig, running, told
from tests.serving.gateway.rig import eventually

HEALTH = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


async def test_the_server_answers_as_it_does_over_http() -> None:
    """Live, ready, metadata, index and a model's readiness say the same at both doors."""
    async with running(policy=Policy(1), replicas={1: 1, 2: 1}) as rig:
        stub = rig.stub()
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert (await stub.ModelReady(pb.ModelReadyRequest(name="m"))).ready
        over_http = await asyncio.to_thread(_get, rig.http_port, "/v2")
        server = await stub.ServerMetadata(pb.ServerMetadataRequest())
        assert {"name": server.name, "version": server.version, "extensions": list(server.extensions)} == over_http
        index = await stub.RepositoryIndex(pb.RepositoryIndexRequest())
        assert [(one.name, one.version, one.state) for one in index.models] == [
            ("m", "1", "READY"), ("m", "2", "READY"),
        ]  # fmt: skip
        assert not any(triton.asked for [triton] in rig.tritons.values())
        assert (await stub.ModelReady(pb.ModelReadyRequest(name="m", version="2"))).ready
        assert len(rig.tritons[2][0].asked) == 1


def _get(port: int, path: str) -> Any:  # noqa: ANN401 (JSON)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return json.load(answer)


async def test_a_gateway_that_is_not_ready_says_no(rig: Rig) -> None:
    """As a value, for so Triton says it, of what nobody knows as well; a version that is no number is an error."""
    stub = rig.stub()
    for named in ({"name": "nobody"}, {"name": "nobody", "version": "1"}, {"name": "m", "version": "9"}):
        assert not (await stub.ModelReady(pb.ModelReadyRequest(**named))).ready
    answer = await told(stub.ModelReady(pb.ModelReadyRequest(name="m", version="x")))
    assert answer.code is grpc.StatusCode.NOT_FOUND
    rig.worker.swap(NOWHERE)
    assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live


@pytest.mark.parametrize(
    ("method", "code", "words"),
    [
        ("RepositoryModelLoad", grpc.StatusCode.PERMISSION_DENIED, "an operator's job"),
        ("RepositoryModelUnload", grpc.StatusCode.PERMISSION_DENIED, "an operator's job"),
        ("SystemSharedMemoryStatus", grpc.StatusCode.UNIMPLEMENTED, "Shared memory, trace and logging belong to one"),
        ("CudaSharedMemoryRegister", grpc.StatusCode.UNIMPLEMENTED, "Shared memory, trace and logging belong to one"),
        ("TraceSetting", grpc.StatusCode.UNIMPLEMENTED, "Shared memory, trace and logging belong to one"),
        ("LogSettings", grpc.StatusCode.UNIMPLEMENTED, "Shared memory, trace and logging belong to one"),
    ],
)
async def test_what_is_not_offered_says_so(rig: Rig, method: str, code: grpc.StatusCode, words: str) -> None:
    """With the table's code and the sentence that HTTP has."""
    request = getattr(pb, f"{method}Request")()
    answer = await told(getattr(rig.stub(), method)(request))
    assert answer.code is code
    assert words in answer.words


async def test_an_unknown_method_is_unimplemented(rig: Rig) -> None:
    """Of a service that there is, and of one that there is not."""
    for path in ("/inference.GRPCInferenceService/Nothing", "/some.Service/Method"):
        answer = await told(rig.channel().unary_unary(path)(b""))
        assert answer.code is grpc.StatusCode.UNIMPLEMENTED
        assert path in answer.words


def test_every_method_of_tritons_service_is_in_the_table() -> None:
    """And every operation in it has its rights in the table of access."""
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert {f"/{service.full_name}/{method.name}".encode() for method in service.methods} <= set(METHODS)
    assert all(method.operation in PREDICTION for method in METHODS.values())


async def test_health_is_checked(rig: Rig) -> None:
    """For the gateway and its service; of others there is no telling."""
    check = rig.channel().unary_unary(f"{HEALTH}Check")
    assert await check(b"") == SERVING
    name = b"inference.GRPCInferenceService"
    assert await check(b"\x0a%c%b" % (len(name), name)) == SERVING
    unknown = await told(check(b"\x0a\x01x"))
    assert unknown.code is grpc.StatusCode.NOT_FOUND
    rig.worker.swap(NOWHERE)
    assert await check(b"") == NOT_SERVING


async def test_health_is_watched(rig: Rig) -> None:
    """It is told at once, and whenever it changes; of an unknown service as well."""
    watch = rig.channel().unary_stream(f"{HEALTH}Watch")
    known, unknown = watch(b""), watch(b"\x0a\x01x")
    assert [await known.read(), await unknown.read()] == [SERVING, SERVICE_UNKNOWN]
    before = rig.worker.routing
    rig.worker.swap(NOWHERE)
    assert await known.read() == NOT_SERVING
    rig.worker.swap(before)
    assert await known.read() == SERVING
    known.cancel()
    unknown.cancel()
    await eventually(lambda: not rig.worker.grpc.watchers)


def test_the_descriptors_are_those_of_tritonclient() -> None:
    """What is told is what the script makes of the protos that are installed."""
    assert PROTOS.read_bytes() == made(), "run python -m scripts.make_protos"


async def test_reflection_tells_of_every_service(rig: Rig) -> None:
    """Grpcio's own client finds services, methods and messages, with everything that they import."""
    place = f"127.0.0.1:{rig.port}"

    def look() -> tuple[set[str], set[str], int]:
        with grpc.insecure_channel(place) as channel:
            found = ProtoReflectionDescriptorDatabase(channel)
            services = set(found.get_services())
            pool = DescriptorPool(found)
            service = pool.FindServiceByName("inference.GRPCInferenceService")
            message = pool.FindMessageTypeByName("inference.ModelInferRequest")
            return services, set(service.methods_by_name), len(message.fields)

    services, methods, fields = await asyncio.to_thread(look)
    assert services == set(SERVICES)
    assert "ModelStreamInfer" in methods
    assert fields == len(pb.ModelInferRequest.DESCRIPTOR.fields)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_answers_each_question(rig: Rig, version: str) -> None:
    """By file, by symbol; what is not there is an error in the answer, and the stream goes on."""
    call = rig.channel().stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.Such"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="model_config.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.ModelInferRequest.InferInputTensor"),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="inference.ModelInferRequest"),
        reflection_pb2.ServerReflectionRequest(list_services=""),
    ]

    async def asks() -> AsyncIterator[Any]:
        for one in asked:
            yield one

    answers = [answer async for answer in call(asks())]
    assert [answer.original_request for answer in answers] == asked
    assert answers[0].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
    assert [len(answer.file_descriptor_response.file_descriptor_proto) for answer in answers] == [0, 1, 2, 0, 0]
    assert answers[3].all_extension_numbers_response.base_type_name == "inference.ModelInferRequest"
    assert {one.name for one in answers[4].list_services_response.service} == set(SERVICES)
