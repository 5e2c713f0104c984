"""The gRPC surface as one table: which method is which operation, and how its messages come.

An operation needs the same rights, and is answered by the same version, whichever door it came by; who answers it is
decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType

from serving.gateway.grpc.messages import Named, named_in_inference, named_in_question
from serving.gateway.paths import Operation

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"
REFLECTIONS = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Kind(Enum):
    """How a method's messages come, and who answers."""

    __hash__ = object.__hash__  # as `Operation`'s
    UNARY = auto()
    """One message each way, the gateway's own answer or a version's."""
    STREAM = auto()
    """Inferences both ways, a version's answers."""
    HEALTH = auto()
    """One question, one answer or, for `Watch`, one at each change."""
    REFLECTION = auto()
    """Questions and answers in turn."""
    ALONE = auto()
    """Answered without a look at any message."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method.

    Attributes:
        operation: what it asks for.
        kind: how.
        named: reads which model it is about, from bytes and where in them its message begins; None where it names none.
    """

    operation: Operation
    kind: Kind = Kind.UNARY
    named: Callable[[bytes, int], Named] | None = None


UNKNOWN = Method(Operation.UNKNOWN, Kind.ALONE)

_INFERENCE = {
    "ServerLive": Method(Operation.LIVE),
    "ServerReady": Method(Operation.READY),
    "ServerMetadata": Method(Operation.SERVER),
    "RepositoryIndex": Method(Operation.INDEX),
    "ModelReady": Method(Operation.MODEL_READY, named=named_in_question),
    "ModelMetadata": Method(Operation.METADATA, named=named_in_question),
    "ModelConfig": Method(Operation.CONFIG, named=named_in_question),
    "ModelStatistics": Method(Operation.STATS, named=named_in_question),
    "ModelInfer": Method(Operation.INFER, named=named_in_inference),
    "ModelStreamInfer": Method(Operation.INFER, Kind.STREAM, named_in_inference),
    **dict.fromkeys(("RepositoryModelLoad", "RepositoryModelUnload"), Method(Operation.LOAD, Kind.ALONE)),
    **dict.fromkeys(
        (
            "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
            "CudaSharedMemoryStatus", "CudaSharedMemoryRegister", "CudaSharedMemoryUnregister",
            "TraceSetting", "LogSettings",
        ),
        Method(Operation.NOT_OFFERED, Kind.ALONE),
    ),
}  # fmt: skip
METHODS: Mapping[bytes, Method] = MappingProxyType(
    {
        **{f"/{INFERENCE}/{name}".encode(): method for name, method in _INFERENCE.items()},
        **{f"/{HEALTH}/{name}".encode(): Method(Operation.READY, Kind.HEALTH) for name in ("Check", "Watch")},
        **{
            f"/{service}/ServerReflectionInfo".encode(): Method(Operation.SERVER, Kind.REFLECTION)
            for service in REFLECTIONS
        },
    }
)
"""By `:path`. What is not here is not offered."""
