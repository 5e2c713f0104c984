"""The gRPC library's client speaks to our server, and our client to the library's server."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import struct
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from serving.gateway.h2.client import ClientConnection
from serving.gateway.h2.server import ServerConnection
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import Fields, ServerStream
from tests.serving.gateway.h2.ends import Told
from tests.serving.gateway.h2.wire import ANSWER, TRAILERS

_PATIENCE_S = 20
_UNLIMITED = [("grpc.max_receive_message_length", -1)]
_MESSAGES = [b"", b"x", b"y" * 70_000, b"z" * 3_000_000]


class Service(Told):
    """Sends back what it gets: each piece at once where the method says so, or all of it in the end."""

    def __init__(self) -> None:
        super().__init__(greedy=False)
        self._streams = False
        self._held = 0

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Part of `StreamHandler`."""
        super().on_headers(fields, end=end)
        path = dict(fields)[b":path"]
        self._streams = path == b"/echo/Each"
        if path == b"/echo/Missing":
            self.stream.write_headers((*ANSWER, (b"grpc-status", b"5"), (b"grpc-message", b"no such thing")), end=True)
        elif self._streams:
            self.stream.write_headers((*ANSWER, *[field for field in fields if field[0].startswith(b"x-")]))

    def on_data(self, data: bytes) -> None:
        """Part of `StreamHandler`."""
        self._held += len(data)
        if self._streams:
            self.stream.write_data([data])
        else:
            self.body += data
        self.on_writable()

    def on_end(self) -> None:
        """Part of `StreamHandler`."""
        if self._streams:
            self.stream.write_trailers(TRAILERS)
        else:
            assert isinstance(self.stream, ServerStream)
            self.stream.write_whole(ANSWER, [self.body], TRAILERS)

    def on_writable(self) -> None:
        """Part of `StreamHandler`: what came is consumed once it is out."""
        if not self.stream.full:
            held, self._held = self._held, 0
            self.stream.consume(held)


def _begin(stream: ServerStream, _fields: Fields) -> Service:
    service = Service()
    service.stream = stream
    return service


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a server of ours."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: ServerConnection(_begin, Limits(), loop), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await asyncio.sleep(0.05)


@contextlib.contextmanager
def _channel(port: int) -> Iterator[grpc.Channel]:
    """A client of the library's, for a thread of its own."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=_UNLIMITED) as channel:
        yield channel


@pytest.fixture
def library_port() -> Iterator[int]:
    """Of a server of the library's, which sends back what it gets."""

    class Handlers(grpc.GenericRpcHandler):  # type: ignore[misc] # it has no types
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            if handler_call_details.method == "/echo/Each":
                return grpc.stream_stream_rpc_method_handler(lambda messages, _: messages)
            if handler_call_details.method == "/echo/All":
                return grpc.unary_unary_rpc_method_handler(lambda message, _: message)
            return None

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Handlers()], options=_UNLIMITED)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


async def test_calls(port: int) -> None:
    """Messages of any size come back."""

    def calls() -> None:
        with _channel(port) as channel:
            call = channel.unary_unary("/echo/All")
            assert [call(message, timeout=_PATIENCE_S) for message in _MESSAGES] == _MESSAGES

    await asyncio.to_thread(calls)


async def test_many_calls_at_once(port: int) -> None:
    """Each gets its own answer."""
    messages = [b"%d" % number * (number * 7) for number in range(300)]

    def calls() -> None:
        with _channel(port) as channel:
            call = channel.unary_unary("/echo/All")
            under_way = [call.future(message, timeout=_PATIENCE_S) for message in messages]
            assert [one.result() for one in under_way] == messages

    await asyncio.to_thread(calls)


async def test_streams(port: int) -> None:
    """A stream's messages come back one by one, in order, with what was said about it."""
    messages = [b"%d" % number * (number * 300) for number in range(50)]
    asked: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def calls() -> None:
        with _channel(port) as channel:
            method = channel.stream_stream("/echo/Each")
            answers = method(iter(asked.get, None), timeout=_PATIENCE_S, metadata=[("x-what", "this")])
            assert ("x-what", "this") in tuple(answers.initial_metadata())
            for message in messages:
                asked.put(message)
                assert next(answers) == message
            asked.put(None)
            assert list(answers) == []
            assert answers.code() is grpc.StatusCode.OK

    await asyncio.to_thread(calls)


async def test_errors(port: int) -> None:
    """A status without a message arrives."""

    def calls() -> None:
        with _channel(port) as channel, pytest.raises(grpc.RpcError) as error:
            channel.unary_unary("/echo/Missing")(b"x", timeout=_PATIENCE_S)
        assert (error.value.code(), error.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")

    await asyncio.to_thread(calls)


async def test_cancelling(port: int) -> None:
    """Calls that are cancelled disturb no others."""

    def calls() -> None:
        with _channel(port) as channel:
            for _ in range(20):
                answers = channel.stream_stream("/echo/Each")(iter([b"x" * 100_000] * 3), timeout=_PATIENCE_S)
                assert next(answers)
                answers.cancel()
            assert channel.unary_unary("/echo/All")(b"still", timeout=_PATIENCE_S) == b"still"

    await asyncio.to_thread(calls)


class Caller(Told):
    """Waits for the last word."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    def on_trailers(self, fields: Fields) -> None:
        """Part of `StreamHandler`."""
        super().on_trailers(fields)
        self.over.set()

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Part of `StreamHandler`."""
        super().on_headers(fields, end=end)
        if end:
            self.over.set()

    def on_lost(self) -> None:
        """Part of `ClientHandler`."""
        super().on_lost()
        self.over.set()


async def _dialled(port: int) -> ClientConnection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: ClientConnection(Limits(keepalive_s=0), loop), "127.0.0.1", port
    )
    return connection


async def _call(connection: ClientConnection, path: bytes, messages: list[bytes]) -> Caller:
    caller = Caller()
    head: Fields = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"here"), (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
    )  # fmt: skip
    pieces = [piece for message in messages for piece in (struct.pack(">BL", 0, len(message)), message)]
    caller.stream = connection.open(head, caller, pieces, end=True)
    async with asyncio.timeout(_PATIENCE_S):
        await caller.over.wait()
    return caller


async def test_our_calls(library_port: int) -> None:
    """Messages of any size come back to us, too."""
    connection = await _dialled(library_port)
    for message in _MESSAGES:
        caller = await _call(connection, b"/echo/All", [message])
        assert caller.body[5:] == message
        assert dict(caller.trailers)[b"grpc-status"] == b"0"
    connection.close()


async def test_our_streams(library_port: int) -> None:
    """Streams as well, many at once on one connection."""
    connection = await _dialled(library_port)
    messages = [b"%d" % number * 1000 for number in range(60)]
    callers = await asyncio.gather(*[_call(connection, b"/echo/Each", messages) for _ in range(20)])
    expected = b"".join(struct.pack(">BL", 0, len(message)) + message for message in messages)
    assert {caller.body for caller in callers} == {expected}
    assert connection.streams == 0
    connection.close()


async def test_our_errors(library_port: int) -> None:
    """An answer that is its trailers only is a head that ends."""
    connection = await _dialled(library_port)
    caller = await _call(connection, b"/echo/Nothing", [b"x"])
    assert dict(caller.head)[b"grpc-status"] == b"12"
    assert caller.last_word == "head"
    connection.close()


async def test_closing(library_port: int) -> None:
    """Who closes a connection in the middle of a call is told that it is lost."""
    connection = await _dialled(library_port)
    caller = Caller()
    caller.stream = connection.open(((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/echo/Each")), caller)
    connection.close()
    assert caller.last_word == "lost"
    assert connection.spent
    assert connection.gone


async def test_ours_to_ours(port: int) -> None:
    """Both ends are ours."""
    connection = await _dialled(port)
    caller = await _call(connection, b"/echo/All", [b"x" * 2_000_000])
    assert caller.body[5:] == b"x" * 2_000_000
    connection.close()
