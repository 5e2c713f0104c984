"""Whatever frames a peer sends, and however they are cut: no exception, no stream left behind, no rule broken by us.

FUZZ_CASES says how many streams of frames are tried; without it the same few hundred are tried every time, and the
same two thousand in the slow set.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from hpack import Encoder

from serving.gateway.h2.client import ClientConnection
from serving.gateway.h2.server import ServerConnection
from serving.gateway.h2.settings import Limits
from serving.gateway.h2.stream import Fields, ServerStream
from tests.examples import examples
from tests.serving.gateway.h2 import wire
from tests.serving.gateway.h2.ends import Told
from tests.serving.gateway.h2.wire import ANSWER, PREFACE, REQUEST, TRAILERS, Frame, read

CASES = int(os.environ.get("FUZZ_CASES") or examples(2000))
_LIMITS = Limits(
    streams=5, stream_window=65_535, connection_window=70_000, unconsumed=90_000, frame=16_384, header_list=2000,
    rapid_resets=10, idle_frames=60,
)  # fmt: skip
_FIRST_WINDOW = 65_535
_HEADS = [
    REQUEST, ANSWER, TRAILERS, (), REQUEST[:2], ((b":status", b"103"),), (*REQUEST, (b"content-length", b"5")),
    (*REQUEST, (b"a", b"x" * 1990)), (*ANSWER, (b"X", b"y")), (*REQUEST, (b"te", b"trailers"), (b"connection", b"x")),
]  # fmt: skip


class Loop:
    """A loop that does what is to be done soon when it is asked to."""

    def __init__(self) -> None:
        self.now = 100.0
        self._soon: list[Callable[[], object]] = []

    def time(self) -> float:
        """Seconds."""
        return self.now

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Part of a loop."""
        self._soon.append(callback)

    def step(self) -> None:
        """Does it."""
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()


class Wire:
    """A transport that keeps what is written, in whole frames."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed = False

    def write(self, said: bytes) -> None:
        """Part of a transport."""
        assert not self.closed
        said = said.removeprefix(PREFACE)
        if not said.startswith(b"HTTP/1.1 "):
            self.frames += read(bytes(said))

    def writelines(self, pieces: list[bytes]) -> None:
        """Part of a transport."""
        self.write(b"".join(pieces))

    def close(self) -> None:
        """Part of a transport."""
        self.closed = True

    abort = write_eof = close

    def is_closing(self) -> bool:
        """Part of a transport."""
        return self.closed

    def can_write_eof(self) -> bool:
        """Part of a transport."""
        return True

    def set_write_buffer_limits(self, high: int) -> None:
        """Part of a transport."""

    def pause_reading(self) -> None:
        """Part of a transport."""

    resume_reading = pause_reading


class Whim(Told):
    """Does one of several things with its stream.

    Args:
        whim: which.
    """

    def __init__(self, whim: int) -> None:
        super().__init__(greedy=whim % 2 == 0)
        self._whim = whim

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Answers at once, or fails, or waits."""
        super().on_headers(fields, end=end)
        if self._whim == 3:
            self.stream.write_headers(ANSWER)
            self.stream.write_data([b"x" * 40_000])
        elif self._whim == 4:
            self.stream.reset(8)
        elif self._whim == 5:
            self.stream.write_headers(ANSWER, end=True)
        if end:
            self._answer()

    def on_data(self, data: bytes) -> None:
        """Sends it back, or waits."""
        super().on_data(data)
        if self._whim == 3:
            self.stream.write_data([data])

    def on_end(self) -> None:
        """The whole answer, or the end of it."""
        super().on_end()
        self._answer()

    def on_trailers(self, fields: Fields) -> None:
        """The same."""
        super().on_trailers(fields)
        self._answer()

    def _answer(self) -> None:
        if self._whim == 3:
            self.stream.write_trailers(TRAILERS)
        elif self.stream.connection.by_server and self._whim != 6:
            self.stream.write_whole(ANSWER, [self.body, b"y" * 20_000], TRAILERS)

    def on_writable(self) -> None:
        """Nothing is owed."""
        super().on_writable()
        assert not self.stream.closed


class Script:
    """What a peer sends: mostly good frames in a good order, now and then a bad one, in pieces of any size.

    Args:
        draw: where the choices come from.
        wildness: the share of frames that are bad.
        heads: what streams begin with.
    """

    def __init__(self, draw: random.Random, wildness: float, heads: list[Fields]) -> None:
        self._draw = draw
        self._wildness = wildness
        self._heads = heads
        self._encoder = Encoder()
        self._next = 1
        self._open: list[int] = []

    def pieces(self, first: bytes) -> list[bytes]:
        """All of it."""
        draw = self._draw
        raw = bytearray(first) + b"".join(self._frame() for _ in range(draw.randint(0, 40)))
        if raw and draw.random() < self._wildness * 5:
            raw[draw.randrange(len(raw))] = draw.randrange(256)
        cuts = sorted(draw.randint(0, len(raw)) for _ in range(draw.choice([0, 1, 3, 20])))
        return [bytes(raw[start:end]) for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    def _frame(self) -> bytes:
        if self._draw.random() < self._wildness:
            return self._bad()
        if not self._open:
            return self._begin()
        choices = [self._begin, self._data, self._data, self._data, self._window, self._end, self._control]
        return self._draw.choice(choices)()

    def _begin(self) -> bytes:
        number, self._next = self._next, self._next + 2
        end = self._draw.random() < 0.2
        if not end:
            self._open.append(number)
        return self._head(number, self._draw.choice(self._heads), end=end)

    def _head(self, number: int, fields: Fields, *, end: bool) -> bytes:
        raw = self._encoder.encode(list(fields), huffman=self._draw.random() < 0.5)
        cut = self._draw.choice([len(raw), len(raw), self._draw.randint(0, len(raw))])
        flags = wire.END if end else 0
        if cut == len(raw):
            return wire.frame(wire.HEADERS, wire.END_HEADERS | flags, number, raw)
        rest = wire.frame(wire.CONTINUATION, wire.END_HEADERS, number, raw[cut:])
        return wire.frame(wire.HEADERS, flags, number, raw[:cut]) + rest

    def _data(self) -> bytes:
        draw, number = self._draw, self._draw.choice(self._open)
        payload = bytes(draw.choice([0, 1, 5, 100, 4000, 16_000]))
        if draw.random() < 0.2:
            return wire.frame(wire.DATA, wire.PADDED, number, b"\x07" + payload + bytes(7))
        return wire.data(number, payload)

    def _end(self) -> bytes:
        draw = self._draw
        number = self._open.pop(draw.randrange(len(self._open)))
        return draw.choice([
            wire.data(number, b"end", end=True), wire.data(number, end=True),
            self._head(number, ((b"grpc-status", b"0"), (b"n", b"%d" % number)), end=True),
            wire.frame(wire.RST, 0, number, wire.long(draw.randint(0, 14))),
        ])  # fmt: skip

    def _window(self) -> bytes:
        draw = self._draw
        number = draw.choice([0, draw.choice(self._open), draw.randrange(1, self._next, 2)])
        return wire.frame(wire.WINDOW, 0, number, wire.long(draw.choice([1, 1000, 20_000, 1_000_000])))

    def _control(self) -> bytes:
        draw = self._draw
        return draw.choice([
            wire.frame(wire.PING, draw.randint(0, 1), 0, draw.choice([b"\0there?\0", b"\0drains\0", b"whatever"])),
            wire.settings((4, draw.choice([0, 10, 65_535, 1_000_000]))),
            wire.settings((5, draw.choice([16_384, 100_000])), (3, draw.choice([0, 1, 100]))),
            wire.frame(wire.SETTINGS, wire.ACK),
            wire.frame(wire.PRIORITY, 0, draw.choice(self._open), bytes(5)),
            wire.frame(99, 7, 8, b"?"),
        ])  # fmt: skip

    def _bad(self) -> bytes:
        draw = self._draw
        number = draw.choice([0, 1, 2, 3, 5, 99, self._next, (1 << 31) - 1, 1 << 31])
        return draw.choice([
            wire.frame(draw.randint(0, 12), draw.randrange(256), number, draw.randbytes(draw.randint(0, 30))),
            self._head(number, draw.choice(_HEADS), end=draw.random() < 0.5),
            wire.data(number, bytes(draw.choice([0, 10, 16_384])), end=draw.random() < 0.5),
            wire.frame(wire.RST, 0, number, wire.long(draw.choice([0, 7, 8]))),
            wire.frame(wire.WINDOW, 0, number, wire.long(draw.choice([0, (1 << 31) - 1, 1 << 31]))),
            wire.frame(wire.GOAWAY, 0, 0, wire.long(number) + wire.long(0)),
            wire.settings((draw.randint(0, 7), draw.choice([0, 1, 2, 1 << 31, (1 << 32) - 1]))),
            draw.randbytes(draw.randint(0, 20)),
        ])  # fmt: skip


def _seeds() -> Iterator[int]:
    """Of as many cases as are to be tried: always the same, or where their number was asked for, never the same."""
    first = random.SystemRandom().randrange(1 << 40) if "FUZZ_CASES" in os.environ else 0
    return iter(range(first, first + CASES))


@pytest.mark.timeout(60 + CASES // 20)
def test_any_client() -> None:
    """Whatever a client sends to a server."""
    reached: Counter[object] = Counter()
    for seed in _seeds():
        draw = random.Random(seed)
        script = Script(draw, draw.choice([0, 0.02, 0.1]), [REQUEST, REQUEST, REQUEST, *_HEADS])
        pieces = script.pieces(draw.choice([PREFACE, PREFACE, PREFACE, PREFACE[:9]]) + wire.settings())
        try:
            reached += _play_client(pieces, [draw.randint(0, 6) for _ in range(5)])
        except Exception as error:
            raise AssertionError(f"seed {seed}: {pieces!r:.3000}") from error
    assert reached.keys() >= {wire.DATA, wire.HEADERS, wire.RST, wire.WINDOW, wire.GOAWAY, "trailers", "end", "full"}


def _play_client(pieces: list[bytes], whims: list[int]) -> Counter[object]:
    loop, transport, handlers = Loop(), Wire(), list[Whim]()

    def begin(stream: ServerStream, _fields: Fields) -> Whim:
        handler = Whim(whims[len(handlers) % len(whims)])
        handler.stream = stream
        handlers.append(handler)
        return handler

    connection = ServerConnection(begin, _LIMITS, cast("asyncio.AbstractEventLoop", loop))
    connection.connection_made(cast("asyncio.Transport", transport))
    full = 0
    for at, piece in enumerate(pieces):
        connection.data_received(piece)
        loop.now += 0.01
        loop.step()
        full += any(handler.stream.full for handler in handlers)
        assert connection.streams <= _LIMITS.streams
        if at == 2 and whims[0] == 0:
            connection.drain()
    _check_windows(transport.frames, pieces)
    _check_answers(transport.frames)
    _end(connection, loop)
    for handler in handlers:
        _check_told(handler)
    words = [word for handler in handlers for word in handler.last_words]
    return Counter[object](each.kind for each in transport.frames) + Counter(words) + Counter({"full": full})


@pytest.mark.timeout(60 + CASES // 20)
def test_any_server() -> None:
    """Whatever a server sends to a client."""
    reached: Counter[object] = Counter()
    for seed in _seeds():
        draw = random.Random(seed)
        script = Script(draw, draw.choice([0, 0.02, 0.1]), [ANSWER, ANSWER, ANSWER, ANSWER, *_HEADS])
        pieces = script.pieces(wire.settings((3, 30)))
        try:
            reached += _play_server(pieces, draw)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {pieces!r:.3000}") from error
    assert reached.keys() >= {wire.DATA, wire.RST, wire.GOAWAY, "trailers", "end", "head", "refused", "lost", "full"}


def _play_server(pieces: list[bytes], draw: random.Random) -> Counter[object]:
    loop, transport, spent = Loop(), Wire(), list[ClientConnection]()
    connection = ClientConnection(_LIMITS, cast("asyncio.AbstractEventLoop", loop), on_spent=spent.append)
    connection.connection_made(cast("asyncio.Transport", transport))
    handlers: list[Whim] = []
    full = 0
    for piece in pieces:
        for _ in range(draw.choice([0, 3, 10])):
            handler = Whim(draw.choice([0, 1, 2, 4]))
            handler.stream = connection.open(REQUEST, handler, [b"x" * 30_000], end=draw.random() < 0.7)
            handlers.append(handler)
            if draw.random() < 0.1:
                handler.stream.reset(8)
        loop.step()
        connection.data_received(piece)
        loop.now += 0.01
        loop.step()
        full += any(handler.stream.full for handler in handlers)
    _check_windows(transport.frames, pieces)
    _end(connection, loop)
    assert len(spent) == 1
    for handler in handlers:
        _check_told(handler, alone=True)
    words = [word for handler in handlers for word in handler.last_words]
    return Counter[object](each.kind for each in transport.frames) + Counter(words) + Counter({"full": full})


def _end(connection: ServerConnection | ClientConnection, loop: Loop) -> None:
    """The transport goes, and takes everything along."""
    connection.connection_lost(None)
    loop.step()
    loop.step()
    assert not connection.end.streams
    assert not connection.end.blocked
    assert not connection.end._unconsumed


def _check_told(handler: Told, *, alone: bool = False) -> None:
    """Nobody is told of two ends; a server may hear that its client gives up on an answer."""
    ends, words = {"head", "end", "trailers"}, handler.last_words
    assert handler.stream.closed
    if alone or not words or words[0] not in ends:
        assert len(words) <= 1
    else:
        assert len(words) <= 2
        assert ends.isdisjoint(words[1:])


def _check_windows(said: list[Frame], pieces: list[bytes]) -> None:
    """No more DATA than the connection's window can have held, if all that looks like an update was one."""
    raw = b"".join(pieces)
    if not any(each.kind == wire.DATA for each in said):
        return
    opened = raw.count(b"\0\0\x04\x08") * ((1 << 31) - 1)
    assert sum(len(each.payload) for each in said if each.kind == wire.DATA) <= _FIRST_WINDOW + opened


def _check_answers(said: list[Frame]) -> None:
    """Each stream has a head, then data, then one end; nothing follows GOAWAY with an error."""
    ended: Counter[int] = Counter()
    begun: set[int] = set()
    for at, each in enumerate(said):
        if each.kind == wire.GOAWAY and each.code:
            assert at == len(said) - 1
        if each.kind == wire.HEADERS:
            assert not ended[each.stream]
            begun.add(each.stream)
        elif each.kind == wire.DATA:
            assert each.stream in begun
            assert not ended[each.stream]
        if each.kind in {wire.HEADERS, wire.DATA} and each.flags & wire.END:
            ended[each.stream] += 1
    assert not ended or max(ended.values()) == 1
