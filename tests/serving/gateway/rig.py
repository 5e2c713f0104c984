"""A real worker on a free port with scripted upstreams behind it, and a client that counts bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Self

from router.epoch import Head
from router.policy import Policy
from router.request_id import Key, KeyRing, RequestId
from serving.endpoint import Endpoint
from serving.gateway.config import WorkerConfig
from serving.gateway.upstream import Upstream
from serving.gateway.worker import Worker
from tests.serving.certificates import Files
from tests.serving.gateway.upstream import ScriptedUpstream
from tests.serving.gateway.wire import Answer, Answers

SECRET = bytes(range(32))
KEY_ID = 7
HEAD = Head(42, "digest", "parent")
PATIENCE_S = 5.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


async def eventually(holds: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Waits until it comes to hold; fails where it does not."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "it never came to hold"
        await asyncio.sleep(0.002)


def read_id(answer: Answer) -> RequestId:
    """The request id of an answer, verified."""
    return KeyRing({KEY_ID: SECRET}, KEY_ID).read((answer.one("sluice-request-id") or b"").decode())


class Client:
    """A connection to the gateway, bytes in and bytes out."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.data = b""
        self.interim: list[Answer] = []
        self.ended = False
        self.reset = False

    @classmethod
    async def connect(cls, port: int, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None) -> Self:
        """A connection; with a small buffer it is full soon."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        name = None if tls is None else "127.0.0.1"
        return cls(*await asyncio.open_connection(sock=sock, limit=1024, ssl=tls, server_hostname=name))

    async def send(self, data: bytes) -> None:
        """These bytes, as soon as there is room for them."""
        self._writer.write(data)
        await self._writer.drain()

    async def half_close(self) -> None:
        """Sends no more, and goes on reading."""
        await self._writer.drain()
        self._writer.write_eof()

    def close(self, *, reset: bool = False) -> None:
        """Goes away, with a reset if so told."""
        if reset and not self._writer.is_closing():
            with contextlib.suppress(OSError):
                sock = self._writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._writer.transport.abort()
        else:
            self._writer.close()

    async def answer(self, method: bytes = b"POST") -> Answer:
        """The next answer, whole; interim ones are kept aside."""
        coming, self.data = Answers(self.data, method), b""
        while True:
            answer = coming.next(ended=self.ended)
            if answer is None:
                assert not self.ended, f"the connection ended after {bytes(coming.data[:300])!r}"
                await self._read()
                coming.data += self.data
                self.data = b""
            elif answer.code < 200:
                self.interim.append(answer)
            else:
                self.data = bytes(coming.data)
                return answer

    async def rest(self) -> bytes:
        """Everything until the connection ends."""
        while not self.ended:
            await self._read()
        return self.data

    async def some(self) -> bytes:
        """What is there, at least a byte of it."""
        while not self.data:
            await self._read()
        data, self.data = self.data, b""
        return data

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                data = await self._reader.read(65536)
        except TimeoutError:
            raise
        except OSError:  # uvloop says so, too, when it ends a connection that is gone by then
            data = b""
            self.reset = True
        self.data += data
        self.ended = self.ended or not data


@dataclass
class Rig:
    """A worker and its surroundings.

    Attributes:
        worker: under test.
        port: where it listens.
        upstreams: by version, its replicas.
        complaints: what reached the loop's exception handler: must stay empty.
        tls: what encrypts both sides; None in the clear.
    """

    worker: Worker
    port: int
    upstreams: Mapping[int, list[ScriptedUpstream]]
    complaints: list[Mapping[str, Any]] = field(default_factory=list)
    tls: Files | None = None
    _clients: list[Client] = field(default_factory=list)

    @property
    def upstream(self) -> ScriptedUpstream:
        """The first replica of the lowest version."""
        return self.upstreams[min(self.upstreams)][0]

    @property
    def requests(self) -> int:
        """How many complete requests have reached a model."""
        return sum(len(upstream.requests) for replicas in self.upstreams.values() for upstream in replicas)

    async def client(self, *, receive_buffer: int | None = None) -> Client:
        """A new connection."""
        tls = None if self.tls is None else self.tls.client()
        client = await Client.connect(self.port, receive_buffer=receive_buffer, tls=tls)
        self._clients.append(client)
        return client

    async def ask(self, request: bytes, method: bytes = b"POST") -> Answer:
        """The answer to one request on a connection of its own."""
        client = await self.client()
        await client.send(request)
        answer = await client.answer(method)
        client.close()
        return answer

    def gateways(self, scripted: ScriptedUpstream) -> Upstream:
        """The same replica from the gateway's side."""
        return next(one for one in self.worker.table.upstreams if one.port == scripted.port)

    async def kill(self, scripted: ScriptedUpstream) -> None:
        """Nobody listens there from here on, and the gateway has no connection left to it."""
        await eventually(lambda: scripted.accepted)
        scripted.stop()
        await eventually(lambda: not self.gateways(scripted).idle)

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
        return len(self.worker.in_flight) + sum(upstream.in_flight for upstream in self.worker.table.upstreams)

    async def end(self) -> None:
        """Drops all clients; every place must come free."""
        for client in self._clients:
            client.close(reset=True)
        await eventually(lambda: not self.worker.clients)
        await self.rests()
        assert not self.complaints, self.complaints


@asynccontextmanager
async def running(
    *,
    policy: Policy | None = None,
    replicas: Mapping[int, int] = MappingProxyType({1: 1}),
    tls: Files | None = None,
    **limits: Any,  # noqa: ANN401 (of the configuration)
) -> AsyncIterator[Rig]:
    """A worker for model `m`: how many upstreams each version has, its policy, what encrypts it, and its limits."""
    loop = asyncio.get_running_loop()
    complaints: list[Mapping[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    async with contextlib.AsyncExitStack() as stack:
        upstreams = {
            version: [await stack.enter_async_context(ScriptedUpstream(tls)) for _ in range(count)]
            for version, count in replicas.items()
        }
        worker = Worker(WorkerConfig(worker="test", **{**_encrypted(tls), **limits}), loop)
        worker.key = Key(KEY_ID, SECRET)
        endpoints = [
            Endpoint("127.0.0.1", one.port, 0, "m", version, tls=tls is not None)
            for version, some in upstreams.items()
            for one in some
        ]
        worker.swap(worker.table.build(HEAD, {"m": policy or Policy(min(replicas))}, endpoints))
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        worker.listen(listener)
        rig = Rig(worker, port, upstreams, complaints, tls)
        try:
            yield rig
            await rig.end()
        finally:
            await shut(worker)


def _encrypted(tls: Files | None) -> dict[str, Any]:
    if tls is None:
        return {}
    return {"tls_certificate": str(tls.certificate), "tls_key": str(tls.key), "triton_ca_file": str(tls.authority)}


async def shut(worker: Worker) -> None:
    """Ends a worker without manners, and waits for its connections to be gone: TLS takes some turns of the loop."""
    worker.stop_listening()
    for client in list(worker.clients):
        client.cut()
    for upstream in worker.table.upstreams:
        upstream.retire()
    await eventually(lambda: not worker.clients and not worker.grpc.lines)
    await asyncio.sleep(0.01)
