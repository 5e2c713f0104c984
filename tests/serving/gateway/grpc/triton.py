"""A Triton that is none: the inference service of grpcio, which answers as it is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
from tritonclient.grpc import service_pb2 as pb

from tests.serving.certificates import Files

SERVICE = "inference.GRPCInferenceService"
UNLIMITED = (
    ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0),
)  # fmt: skip
Context = Any  # grpc.aio.ServicerContext, whose parameters no handler here has
Does = Callable[[Any, Context], Awaitable[Any]]


@dataclass(frozen=True)
class Asked:
    """One call that came.

    Attributes:
        method: its short name.
        request: the message; of a stream, each is one of these.
        metadata: by key.
        remaining_s: of its deadline, None for none.
    """

    method: str
    request: Any
    metadata: Mapping[str, str]
    remaining_s: float | None


def infers(request: Any, outputs: bytes = b"out") -> Any:  # noqa: ANN401 (protobuf has no types here)
    """The plain answer to an inference."""
    return pb.ModelInferResponse(
        model_name=request.model_name, model_version=request.model_version, id=request.id, raw_output_contents=[outputs]
    )


@dataclass
class FakeTriton:
    """A server on a port of its own.

    Attributes:
        asked: every call and every message of a stream, in order.
        script: what is done about the next inferences; where it is empty, they are answered plainly.
        answers_to: what each message of a stream is answered with.
        cancelled: calls whose client went away.
        done: calls that are over.
    """

    tls: Files | None = None
    asked: list[Asked] = field(default_factory=list)
    script: deque[Does] = field(default_factory=deque)
    answers_to: Callable[[Any], AsyncIterator[Any]] | None = None
    cancelled: int = 0
    done: int = 0
    port: int = 0
    _server: Any = None

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    async def listen(self) -> None:
        """Takes calls, on the same port as before."""
        self._server = grpc.aio.server(options=UNLIMITED)
        handlers = {name: self._unary(name, *types) for name, types in _UNARY.items()}
        handlers["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(
            self._stream, pb.ModelInferRequest.FromString, pb.ModelStreamInferResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        place = f"127.0.0.1:{self.port}"
        if self.tls is None:
            self.port = self._server.add_insecure_port(place)
        else:
            pair = (self.tls.key.read_bytes(), self.tls.certificate.read_bytes())
            self.port = self._server.add_secure_port(place, grpc.ssl_server_credentials((pair,)))
        await self._server.start()

    async def stop(self, grace_s: float = 0.0) -> None:
        """Takes no more, and breaks off what is under way."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(grace_s)

    def _unary(self, name: str, asked: Any, answered: Any) -> Any:  # noqa: ANN401
        async def handle(request: Any, context: Context) -> Any:  # noqa: ANN401
            self._note(name, request, context)
            try:
                return await self._answer(name, request, context)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            finally:
                self.done += 1

        return grpc.unary_unary_rpc_method_handler(handle, asked.FromString, answered.SerializeToString)

    async def _answer(self, name: str, request: Any, context: Context) -> Any:  # noqa: ANN401
        if name == "ModelInfer":
            does = self.script.popleft() if self.script else None
            return infers(request) if does is None else await does(request, context)
        if name == "ModelReady":
            return pb.ModelReadyResponse(ready=True)
        if name == "ModelMetadata":
            return pb.ModelMetadataResponse(name=request.name, versions=[request.version], platform="python")
        if name == "ModelConfig":
            return pb.ModelConfigResponse(config={"name": request.name, "backend": "python"})
        stats = {"name": request.name, "version": request.version, "inference_count": 5}
        return pb.ModelStatisticsResponse(model_stats=[stats])

    async def _stream(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        try:
            async for request in requests:
                self._note("ModelStreamInfer", request, context)
                if self.answers_to is None:
                    yield pb.ModelStreamInferResponse(infer_response=infers(request))
                else:
                    async for answer in self.answers_to(request):
                        yield answer
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.done += 1

    def _note(self, name: str, request: Any, context: Context) -> None:  # noqa: ANN401
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        self.asked.append(Asked(name, request, metadata, context.time_remaining()))


_UNARY = {
    "ModelInfer": (pb.ModelInferRequest, pb.ModelInferResponse),
    "ModelReady": (pb.ModelReadyRequest, pb.ModelReadyResponse),
    "ModelMetadata": (pb.ModelMetadataRequest, pb.ModelMetadataResponse),
    "ModelConfig": (pb.ModelConfigRequest, pb.ModelConfigResponse),
    "ModelStatistics": (pb.ModelStatisticsRequest, pb.ModelStatisticsResponse),
}


def aborts(code: grpc.StatusCode, words: str = "the model says so") -> Does:
    """Answers with this status."""

    async def does(_request: Any, context: Context) -> Any:  # noqa: ANN401
        await context.abort(code, words)

    return does


def waits(gate: asyncio.Event) -> Does:
    """Answers once the gate is open."""

    async def does(request: Any, _context: Context) -> Any:  # noqa: ANN401
        await gate.wait()
        return infers(request)

    return does


def answers_with(outputs: bytes) -> Does:
    """Answers with this output."""

    async def does(request: Any, _context: Context) -> Any:  # noqa: ANN401
        return infers(request, outputs)

    return does
