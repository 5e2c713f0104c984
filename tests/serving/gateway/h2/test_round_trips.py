"""What is said on one side arrives on the other, however it is cut and whatever the windows are."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.h2.settings import INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, Limits
from serving.gateway.h2.stream import Fields
from tests.examples import examples
from tests.serving.gateway.h2.ends import Client, Echo, Server, Told, taken
from tests.serving.gateway.h2.wire import ANSWER, REQUEST, TRAILERS
from tests.serving.gateway.h2.wire import settings as settings_frame

_LIMITS = Limits(stream_window=65_535, connection_window=70_000, frame=16_384)
_SIZES = st.sampled_from([0, 1, 50, 3000, 16_385, 80_000])
_BODIES = st.lists(st.lists(_SIZES, max_size=3), min_size=1, max_size=3)
_WORD = st.from_regex(rb"[a-z]{1,9}", fullmatch=True)
_MORE = st.lists(st.tuples(_WORD.map(b"x-".__add__), _WORD), max_size=5)


class Slow(Told):
    """Consumes only when it is told to."""

    def __init__(self) -> None:
        super().__init__(greedy=False)


def _carry(client: Client, server: Server, step: int) -> None:
    """Carries bytes to and fro, so many at once, until nobody has anything more to say."""
    both: list[tuple[Client | Server, Client | Server]] = [(client, server), (server, client)]
    while sum(_carry_over(one, other, step) for one, other in both):
        pass


def _carry_over(one: Client | Server, other: Client | Server, step: int) -> bool:
    said = taken(one.end)
    for at in range(0, len(said), step):
        other.end.receive(said[at : at + step], 100.0)
    return bool(said)


@settings(max_examples=examples(200), deadline=None)
@given(
    bodies=_BODIES,
    more=_MORE,
    step=st.sampled_from([59, 999, 9_999, 65_536, 10**7]),
    changes=st.lists(st.tuples(st.sampled_from([0, 1, 5000, 100_000]), st.sampled_from([16_384, 40_000])), max_size=3),
)
def test_calls(
    bodies: list[list[int]], more: list[tuple[bytes, bytes]], step: int, changes: list[tuple[int, int]]
) -> None:
    """Every call gets its own body back, whole and in order, and nothing is left of it on either side."""
    takes = Limits(stream_window=100_000, connection_window=70_000, frame=40_000)
    server, client = Server(Echo, _LIMITS, greeted=False), Client(takes)
    server.end.receive(client.greeting, 100.0)
    fields: Fields = (*REQUEST, *more)
    said = [[bytes([size % 251]) * size for size in sizes] for sizes in bodies]
    calls = [client.open(fields, pieces, end=True) for pieces in said]
    for window, frame in [*changes, (65_535, 16_384)]:
        _carry_over(client, server, step)
        server.end.receive(settings_frame((INITIAL_WINDOW_SIZE, window), (MAX_FRAME_SIZE, frame)), 100.0)
        _carry_over(server, client, step)
    _carry(client, server, step)
    for call, pieces, handler in zip(calls, said, server.handlers, strict=True):
        assert handler.head == fields
        assert call.body == b"".join(pieces)
        assert (call.head, call.trailers, call.last_word) == (ANSWER, TRAILERS, "trailers")
        assert call.stream.closed
        assert handler.stream.closed
    _nothing_left(client, server)


def _nothing_left(client: Client, server: Server) -> None:
    for end in (client.end, server.end):
        assert not end.streams
        assert not end.blocked
        assert not end._unconsumed
        assert not end.ended


@settings(max_examples=examples(50), deadline=None)
@given(size=st.integers(100_000, 300_000), bites=st.lists(st.integers(1, 50_000), min_size=1, max_size=20))
def test_back_pressure(size: int, bites: list[int]) -> None:
    """No more comes than was consumed and the window holds; all of it comes in the end."""
    server, client = Server(Slow, _LIMITS, greeted=False), Client(_LIMITS)
    server.end.receive(client.greeting, 100.0)
    call = client.open(REQUEST, [b"x" * size], end=True)
    _carry(client, server, 10**7)
    handler, consumed = server.handlers[0], 0
    assert call.stream.full
    for bite in bites:
        assert len(handler.body) <= consumed + _LIMITS.stream_window
        bitten = min(bite, len(handler.body) - consumed)
        consumed += bitten
        handler.stream.consume(bitten)
        _carry(client, server, 10**7)
    handler.stream.consume(len(handler.body) - consumed)
    while len(handler.body) < size:
        before = len(handler.body)
        _carry(client, server, 10**7)
        handler.stream.consume(len(handler.body))
        assert len(handler.body) > before or handler.stream.unconsumed == 0
    assert call.writable
    assert handler.last_word == "end"


def test_taking_turns() -> None:
    """Streams that wait for the connection's window share it when it opens."""
    limits = Limits(stream_window=1_000_000, connection_window=65_535)
    server, client = Server(Slow, limits, greeted=False), Client(_LIMITS)
    server.end.receive(client.greeting, 100.0)
    client.end.receive(taken(server.end), 100.0)
    for _ in range(3):
        client.open(REQUEST, [b"x" * 200_000], end=True)
    for _ in range(8):
        _carry_over(client, server, 10**7)
        _carry_over(server, client, 10**7)
    got = [len(handler.body) for handler in server.handlers]
    assert min(got[1:]) > 0
    _carry(client, server, 10**7)
    assert [len(handler.body) for handler in server.handlers] == [200_000] * 3
