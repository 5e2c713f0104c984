"""A real worker with its gRPC port, fake Tritons behind it, and a client of grpcio in front."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from router.policy import Policy
from router.request_id import Key
from serving.endpoint import Endpoint
from serving.gateway.config import WorkerConfig
from serving.gateway.upstream import Upstream
from serving.gateway.worker import Worker
from tests.serving.certificates import Files
from tests.serving.gateway.grpc.triton import UNLIMITED, FakeTriton
from tests.serving.gateway.rig import HEAD, KEY_ID, PATIENCE_S, SECRET, eventually, shut


def request(model: str = "m", **fields: Any) -> Any:  # noqa: ANN401 (protobuf has no types here)
    """An inference request."""
    return pb.ModelInferRequest(model_name=model, **fields)


@dataclass
class Told:
    """A call's answer.

    Attributes:
        answer: the message; None where there is none.
        head: the initial metadata.
        end: the trailing metadata.
        code: the status.
        words: that go with it.
    """

    answer: Any
    head: dict[str, str]
    end: dict[str, str]
    code: grpc.StatusCode
    words: str


@dataclass
class Rig:
    """A worker and its surroundings.

    Attributes:
        worker: under test.
        port: its gRPC port.
        http_port: its HTTP port.
        tritons: by version, its replicas.
        complaints: what reached the loop's exception handler: must stay empty.
    """

    worker: Worker
    port: int
    http_port: int
    tritons: Mapping[int, list[FakeTriton]]
    complaints: list[Mapping[str, Any]] = field(default_factory=list)
    tls: Files | None = None
    _channels: list[Any] = field(default_factory=list)

    @property
    def triton(self) -> FakeTriton:
        """The first replica of the lowest version."""
        return self.tritons[min(self.tritons)][0]

    def channel(self, *options: tuple[str, Any]) -> Any:  # noqa: ANN401
        """A new channel to the gateway."""
        place, given = f"127.0.0.1:{self.port}", (*UNLIMITED, ("grpc.use_local_subchannel_pool", 1), *options)
        if self.tls is None:
            channel = grpc.aio.insecure_channel(place, options=given)
        else:
            trusted = grpc.ssl_channel_credentials(self.tls.authority.read_bytes())
            channel = grpc.aio.secure_channel(place, trusted, options=given)
        self._channels.append(channel)
        return channel

    def stub(self) -> Any:  # noqa: ANN401
        """Triton's service, through the gateway."""
        return service_pb2_grpc.GRPCInferenceServiceStub(self.channel())

    async def infer(self, asked: Any = None, method: str = "ModelInfer", **given: Any) -> Told:  # noqa: ANN401
        """One call, whatever becomes of it."""
        return await told(getattr(self.stub(), method)(request() if asked is None else asked, **given))

    def gateways(self, triton: FakeTriton) -> Upstream:
        """The same replica from the gateway's side."""
        return next(one for one in self.worker.table.upstreams if one.grpc_port == triton.port)

    def outcomes(self) -> dict[tuple[int, str], Counter[str]]:
        """What the worker reports of its attempts, by version and role."""
        counted: dict[tuple[int, str], Counter[str]] = {}
        report: Any = self.worker.report()
        for series in report["series"]:
            counted.setdefault((series["version"], series["role"]), Counter()).update(series["outcomes"])
        return counted

    async def rests(self) -> None:
        """Waits until nothing is in flight anywhere."""
        await eventually(lambda: self._in_flight() == 0)

    def _in_flight(self) -> int:
        worker = self.worker
        waiting = len(worker.in_flight) + len(worker.shadows) + len(worker.grpc.unfinished)
        return waiting + sum(upstream.in_flight for upstream in worker.table.upstreams)

    async def end(self) -> None:
        """Drops all clients; every place must come free."""
        for channel in self._channels:
            await channel.close()
        await self.rests()
        await eventually(lambda: not any(line.streams for line in self.worker.grpc.lines))
        assert not self.complaints, self.complaints


async def told(call: Any) -> Told:  # noqa: ANN401
    """What comes of a unary call of grpc.aio."""
    answer = None
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(grpc.aio.AioRpcError):
            answer = await call
        head, end = await call.initial_metadata(), await call.trailing_metadata()
        return Told(answer, _texts(head), _texts(end), await call.code(), await call.details())


def _texts(metadata: Any) -> dict[str, str]:  # noqa: ANN401
    return {key: value for key, value in metadata or () if isinstance(value, str)}


@asynccontextmanager
async def running(
    *,
    policy: Policy | None = None,
    replicas: Mapping[int, int] = MappingProxyType({1: 1}),
    tls: Files | None = None,
    **limits: Any,  # noqa: ANN401 (of the configuration)
) -> AsyncIterator[Rig]:
    """A worker for model `m`: how many replicas each version has, its policy, what encrypts it, and its limits."""
    loop = asyncio.get_running_loop()
    complaints: list[Mapping[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    async with contextlib.AsyncExitStack() as stack:
        tritons = {
            version: [await stack.enter_async_context(FakeTriton(tls)) for _ in range(count)]
            for version, count in replicas.items()
        }
        worker = Worker(WorkerConfig(worker="test", **{**_encrypted(tls), **limits}), loop)
        worker.key = Key(KEY_ID, SECRET)
        endpoints = [
            Endpoint("127.0.0.1", http_of(one), one.port, "m", version, tls=tls is not None)
            for version, some in tritons.items()
            for one in some
        ]
        worker.swap(worker.table.build(HEAD, {"m": policy or Policy(min(replicas))}, endpoints))
        listener, grpc_listener = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
        ports = listener.getsockname()[1], grpc_listener.getsockname()[1]
        worker.listen(listener, grpc=grpc_listener)
        rig = Rig(worker, ports[1], ports[0], tritons, complaints, tls)
        try:
            yield rig
            await rig.end()
        finally:
            worker.grpc.cut()
            await shut(worker)


def http_of(triton: FakeTriton) -> int:
    """An HTTP port for its endpoint, where nobody listens; it tells one replica from the other."""
    return triton.port


def _encrypted(tls: Files | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {"tls_certificate": str(tls.certificate), "tls_key": str(tls.key), "triton_ca_file": str(tls.authority)}
