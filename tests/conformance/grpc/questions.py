"""Health, metadata, configuration, statistics, index, and what belongs to one Triton."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message
from tritonclient.grpc import service_pb2 as triton

from tests.conformance.differences import Why
from tests.conformance.grpc.calls import Own, Vector
from tests.conformance.grpc.inference import MALFORMED, UNKNOWN_MODEL, UNKNOWN_VERSION
from tests.conformance.grpc.messages import HEALTH, SERVICE, encoded, health
from tests.conformance.http.questions import index as index_document
from tests.conformance.http.questions import server as server_document

_NOT_OFFERED = Own("UNIMPLEMENTED", Why.NOT_OFFERED, "belong to one Triton")
_NO_METHOD = Own("UNIMPLEMENTED", Why.UNKNOWN_PATH, "There is no method")
_SERVING = b"\x08\x01"
_LOADS = Own("PERMISSION_DENIED", Why.LOADS, "not loaded or unloaded")


def question(name: str, method: str, request: Message | bytes = b"", gateway: Own | None = None) -> Vector:
    """A call of Triton's service."""
    sent = request if isinstance(request, bytes) else encoded(request)
    return Vector(name, f"{SERVICE}{method}", (sent,), gateway)


def questions() -> Iterator[Vector]:
    """Health and metadata."""
    yield question("live", "ServerLive")
    yield question("ready", "ServerReady")
    known = Own("OK", Why.OWN_VIEW, messages=(triton.ServerMetadataResponse(**server_document()),))
    yield question("server metadata", "ServerMetadata", gateway=known)
    yield question("model ready", "ModelReady", triton.ModelReadyRequest(name="echo"))
    yield question("model ready, of a version", "ModelReady", triton.ModelReadyRequest(name="echo", version="1"))
    yield question("model metadata", "ModelMetadata", triton.ModelMetadataRequest(name="echo"))
    of_version = triton.ModelMetadataRequest(name="echo", version="1")
    yield question("model metadata of a version", "ModelMetadata", of_version)
    compass = triton.ModelMetadataRequest(name="compass")
    yield question("model metadata, versions of the gateway", "ModelMetadata", compass, _compass())
    yield Vector("health", f"{HEALTH}Check", (health(""),))
    yield Vector("health of the service", f"{HEALTH}Check", (health("inference.GRPCInferenceService"),))
    nobody, nothing = triton.ModelReadyRequest(name="nope"), triton.ModelReadyRequest(name="echo", version="9")
    yield question("ModelReady of an unknown model", "ModelReady", nobody)
    yield question("ModelReady of an unknown version", "ModelReady", nothing)
    yield from _nowhere("ModelMetadata")


def extensions() -> Iterator[Vector]:
    """What Triton alone can be asked beside them."""
    yield question("model config", "ModelConfig", triton.ModelConfigRequest(name="compass"))
    yield question("model config of a version", "ModelConfig", triton.ModelConfigRequest(name="compass", version="1"))
    yield question("model statistics", "ModelStatistics", triton.ModelStatisticsRequest(name="idle"))
    idle = triton.ModelStatisticsRequest(name="idle", version="1")
    yield question("model statistics of a version", "ModelStatistics", idle)
    every = Own("OK", Why.OWN_VIEW, messages=(_index(),))
    yield question("index", "RepositoryIndex", gateway=every)
    yield question("index of what is ready", "RepositoryIndex", triton.RepositoryIndexRequest(ready=True), every)
    for method in ("ModelConfig", "ModelStatistics"):
        yield from _nowhere(method)
    yield question("an unknown method", "Nope", gateway=_NO_METHOD)
    yield Vector("an unknown service", "/nope.Nope/Nope", (b"",), _NO_METHOD)
    yield question("a malformed question", "ModelReady", b"\xff\xff\xff", MALFORMED)
    nobody = Own("NOT_FOUND", Why.UNKNOWN_MODEL, "There is no service 'nope'")
    yield Vector("health of an unknown service", f"{HEALTH}Check", (health("nope"),), nobody)
    watched = Own("CANCELLED", Why.MORE, messages=(_SERVING,))
    yield Vector("health, watched", f"{HEALTH}Watch", (health(""),), watched, given_up_after=1)


def not_offered() -> Iterator[Vector]:
    """What belongs to one Triton."""
    for kind in ("System", "Cuda"):
        for verb in ("Status", "Register", "Unregister"):
            request = getattr(triton, f"{kind}SharedMemory{verb}Request")(name="a")
            yield question(f"{kind}SharedMemory{verb}", f"{kind}SharedMemory{verb}", request, _NOT_OFFERED)
    yield question("TraceSetting", "TraceSetting", gateway=_NOT_OFFERED)
    yield question("LogSettings", "LogSettings", gateway=_NOT_OFFERED)
    for verb in ("Load", "Unload"):
        request = getattr(triton, f"RepositoryModel{verb}Request")(model_name="echo")
        yield question(f"RepositoryModel{verb}", f"RepositoryModel{verb}", request, _LOADS)


def _nowhere(method: str) -> Iterator[Vector]:
    kind = getattr(triton, f"{method}Request")
    yield question(f"{method} of an unknown model", method, kind(name="nope"), UNKNOWN_MODEL)
    yield question(f"{method} of an unknown version", method, kind(name="echo", version="9"), UNKNOWN_VERSION)


def _compass() -> Own:
    tensor = {"name": "fp32", "datatype": "FP32", "shape": [-1, 4]}
    said: dict[str, Any] = {"versions": ["1", "2"], "platform": "python", "inputs": [tensor], "outputs": [tensor]}
    return Own("OK", Why.VERSIONS, messages=(triton.ModelMetadataResponse(name="compass", **said),))


def _index() -> Message:
    return triton.RepositoryIndexResponse(models=index_document())
