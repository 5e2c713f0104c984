"""What is called over gRPC, and a single call whose answer is looked at.

h2load counts answers by their HTTP status, which is 200 for a call that failed, too: what became of it stands in the
trailer `grpc-status`. So before and after each measurement one call is made with grpcio, which holds answer and status
against what they should be. It also says how many bytes an answer has, so that one that is missing shows in a total.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import grpc
import numpy as np
from tritonclient.grpc.service_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse

from loadtests.compare.errors import Void
from loadtests.compare.payloads import MODEL

_SERVICE = "/inference.GRPCInferenceService/"
_PREFIX_BYTES = 5
"""Before each message: whether it is compressed, and its length."""
_TIMEOUT_S = 10.0
_NO_LIMIT = -1
_OPTIONS = (
    ("grpc.max_receive_message_length", _NO_LIMIT),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        name: what the table calls it.
        request: its one message, serialized.
        output: the bytes of the tensor in each answer.
        answers: how many messages come back; None for a method that gives one and is no stream.
        shared: whether all calls in flight share one connection, as those of one gRPC channel do; otherwise each has
            a connection of its own, as those of many clients have.
    """

    name: str
    request: bytes
    output: bytes
    answers: int | None = None
    shared: bool = False

    @property
    def path(self) -> str:
        """Service and method."""
        return _SERVICE + ("ModelInfer" if self.answers is None else "ModelStreamInfer")

    @property
    def body(self) -> bytes:
        """The request as it travels in HTTP/2."""
        return struct.pack(">BI", 0, len(self.request)) + self.request


def unary(name: str, count: int, *, shared: bool = False) -> Call:
    """A row of so many floats; the answer is the same."""
    tensor = _row(count)
    return Call(name, _request(tensor, [1, count]).SerializeToString(), tensor.tobytes(), shared=shared)


def stream(name: str, count: int, answers: int) -> Call:
    """So many floats, which come back so often."""
    tensor = _row(count)
    request = _request(tensor, [count])
    request.inputs.add(name="n", datatype="INT32", shape=[1])
    request.raw_input_contents.append(struct.pack("<i", answers))
    return Call(name, request.SerializeToString(), tensor.tobytes(), answers)


def ask(address: str, call: Call) -> int:
    """Makes the call once; how many bytes of HTTP/2 data its answers have.

    Raises:
        Void: it failed, or an answer is not what it should be.
    """
    with grpc.insecure_channel(address, _OPTIONS) as channel:
        try:
            messages = tuple(_answers(channel, call))
        except grpc.RpcError as error:
            raise Void(f"{call.name} at {address}: {error.code().name}, {error.details()}") from error
    expected = 1 if call.answers is None else call.answers
    wrong = [message for message in messages if _tensor(call, message) != call.output]
    if wrong or len(messages) != expected:
        raise Void(f"{call.name} at {address}: {len(messages)} answers of {expected}, {len(wrong)} of them wrong")
    return sum(_PREFIX_BYTES + len(message) for message in messages)


def _answers(channel: grpc.Channel, call: Call) -> Iterator[bytes]:
    """The messages as they come, as bytes."""
    if call.answers is None:
        yield channel.unary_unary(call.path)(call.request, timeout=_TIMEOUT_S)
    else:
        yield from channel.stream_stream(call.path)(iter([call.request]), timeout=_TIMEOUT_S)


def _tensor(call: Call, message: bytes) -> bytes | None:
    """What the answer holds; None where it is an error, which a stream says in a message of its own."""
    if call.answers is None:
        answer = ModelInferResponse.FromString(message)
    else:
        in_stream = ModelStreamInferResponse.FromString(message)
        if in_stream.error_message:
            return None
        answer = in_stream.infer_response
    return b"".join(answer.raw_output_contents)


def _row(count: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.arange(count, dtype=np.float32) + np.float32(0.5)


def _request(tensor: np.ndarray[tuple[int], np.dtype[np.float32]], shape: list[int]) -> ModelInferRequest:
    request = ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="x", datatype="FP32", shape=shape)
    request.raw_input_contents.append(tensor.tobytes())
    return request


CALLS: Mapping[str, Call] = {
    call.name: call
    for call in (
        unary("grpc", 8),
        unary("grpc-shared", 8, shared=True),
        unary("grpc-1MB", 262_144),
        stream("grpc-stream", 8, 100),
    )
}
