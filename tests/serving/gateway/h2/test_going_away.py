"""A connection's end: by the server in two steps, by the client when it has had enough, or by surprise."""

from __future__ import annotations

from serving.gateway.h2.frames import LAST_STREAM, ErrorCode
from serving.gateway.h2.settings import MAX_CONCURRENT_STREAMS
from tests.serving.gateway.h2.ends import Client, Echo, Server, Told
from tests.serving.gateway.h2.wire import (
    ACK,
    ANSWER,
    DATA,
    END,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST,
    SETTINGS,
    TRAILERS,
    data,
    frame,
    head,
    long,
    settings,
)  # fmt: skip

_ANSWER = head(1, ANSWER) + head(1, TRAILERS, end=True)


def _goaway(last: int, code: int = 0) -> bytes:
    return frame(GOAWAY, 0, 0, long(last) + long(code))


def test_two_steps() -> None:
    """Streams that were on their way are served; once the client has heard, none is taken; the last one is the end."""
    server = Server()
    server.says(head(1, end=True))
    server.end.drain()
    away, ping = server.said()
    assert (away.kind, away.number, away.code) == (GOAWAY, LAST_STREAM, ErrorCode.NO_ERROR)
    server.says(head(3, end=True))
    (second,) = server.says(frame(PING, ACK, 0, ping.payload))
    assert (second.kind, second.number) == (GOAWAY, 3)
    assert server.says(head(5, end=True)) == []
    assert len(server.handlers) == 2
    for handler in server.handlers:
        assert not server.end.ended
        handler.stream.write_headers(ANSWER, end=True)
    assert server.end.ended
    assert [each.kind for each in server.said()] == [HEADERS, HEADERS]


def test_nothing_comes_before_our_settings() -> None:
    """A connection whose client has yet to say its first words is drained once it has."""
    server = Server(greeted=False)
    server.end.drain()
    assert not server.said()
    said = server.says(PREFACE + settings())
    assert said[0].kind == SETTINGS
    assert [each.kind for each in said].index(GOAWAY) < [each.kind for each in said].index(PING)


def test_second_step_alone() -> None:
    """An idle connection ends at once."""
    server = Server(Echo)
    server.says(head(1, end=True))
    server.end.take_no_more("enough")
    (away,) = server.said()
    assert (away.number, away.payload[8:]) == (1, b"enough")
    assert server.end.ended


def test_client_is_sent_away() -> None:
    """Streams that the server has not looked at are refused, those that wait as well; the others go on."""
    client = Client(peer=((MAX_CONCURRENT_STREAMS, 2),))
    first, second, third = client.open(end=True), client.open(end=True), client.open(end=True)
    client.says(_goaway(1))
    assert [call.last_word for call in (first, second, third)] == [None, "refused", "refused"]
    assert (client.spent, client.end.spent, client.end.full) == (1, True, True)
    said = client.says(_ANSWER)
    assert (first.last_word, said[-1].kind, client.end.ended) == ("trailers", GOAWAY, True)
    assert client.spent == 1


def test_client_is_sent_away_in_two_steps() -> None:
    """The first step spends the connection, the second says what is refused."""
    client = Client()
    first, second = client.open(end=True), client.open(end=True)
    client.says(_goaway(LAST_STREAM))
    assert (first.last_word, second.last_word, client.spent) == (None, None, 1)
    client.says(_goaway(1))
    assert (first.last_word, second.last_word) == (None, "refused")


def test_client_is_sent_away_idle() -> None:
    """With nothing under way, that is the end."""
    client = Client()
    client.says(_goaway(0))
    assert client.end.ended


def test_refused_stream() -> None:
    """A stream that the server refuses was never looked at."""
    client = Client()
    call, other = client.open(end=True), client.open(end=True)
    client.says(frame(RST, 0, 1, long(ErrorCode.REFUSED_STREAM)) + frame(RST, 0, 3, long(ErrorCode.CANCEL)))
    assert (call.last_word, other.last_word) == ("refused", ErrorCode.CANCEL)


def test_numbers_run_out() -> None:
    """The last number is used, then the connection is spent, and ends with its last stream."""
    client = Client()
    client.end._next = LAST_STREAM
    call = client.open(end=True)
    assert (client.spent, call.stream.number, call.last_word) == (1, LAST_STREAM, None)
    late = client.open(end=True)
    assert late.stream.closed
    client.says(head(LAST_STREAM, ANSWER, end=True))
    assert client.end.ended


def test_waiting() -> None:
    """Streams beyond the server's limit wait their turn, with what was written so far, and may be given up."""
    client = Client(peer=((MAX_CONCURRENT_STREAMS, 1),))
    client.open(end=True)
    assert (client.end.full, client.end.spent) == (True, False)
    second, third, fourth = client.open(), client.open(end=True), client.open(pieces=[b"x"], end=True)
    second.stream.write_data([b"abc"])
    second.stream.write_end()
    assert len(client.end.waiting) == 3
    third.stream.reset(ErrorCode.CANCEL)
    assert len(client.end.waiting) == 2
    assert [each.stream for each in client.said()] == [1]
    said = client.says(_ANSWER)
    assert [(each.kind, each.flags & END, each.stream) for each in said] == [(HEADERS, 0, 3), (DATA, END, 3)]
    assert said[-1].payload == b"abc"
    said = client.says(settings((MAX_CONCURRENT_STREAMS, 5)))
    assert [(each.kind, each.stream) for each in said[1:]] == [(HEADERS, 5), (DATA, 5)]
    assert (client.end.full, client.end.spent) == (False, False)
    assert third.last_word is None
    assert fourth.stream.number == 5


def test_nothing_to_say_while_waiting() -> None:
    """A stream that waited and has no body is one frame."""
    client = Client(peer=((MAX_CONCURRENT_STREAMS, 1),))
    client.open(end=True)
    client.open(end=True)
    client.said()
    assert [(each.kind, each.flags & END) for each in client.says(_ANSWER)] == [(HEADERS, END)]


def test_lost() -> None:
    """When the transport goes, whoever had a stream does not know, and whoever waited was never heard."""
    client = Client(peer=((MAX_CONCURRENT_STREAMS, 1),))
    call, waiting = client.open(end=True), client.open(end=True)
    client.end.lose()
    assert (call.last_word, waiting.last_word, client.spent) == ("lost", "refused", 1)
    assert client.open().stream.closed


def test_client_goes() -> None:
    """A client that says goodbye gets its answers."""
    server = Server()
    server.says(head(1, end=True) + _goaway(0))
    server.stream.write_whole(ANSWER, [b"x"], TRAILERS)
    assert [each.kind for each in server.said()] == [HEADERS, DATA, HEADERS]


def test_ask() -> None:
    """A PING of ours is answered by its echo and by nothing else; there is one at a time."""
    server = Server()
    server.end.ask(5.0)
    server.end.ask(6.0)
    (ping,) = server.said()
    server.says(frame(PING, ACK, 0, b"whatever"))
    assert server.end.asked_at == 5.0
    server.says(frame(PING, ACK, 0, ping.payload))
    assert server.end.asked_at is None


def test_everything_after_the_end() -> None:
    """A stream that is over takes whatever is asked of it, and does nothing."""
    server = Server()
    server.says(head(1) + frame(RST, 0, 1, long(8)))
    stream = server.stream
    stream.write_headers(ANSWER)
    stream.write_data([b"x"])
    stream.write_trailers(TRAILERS)
    stream.write_end()
    stream.consume(5)
    stream.reset(8)
    assert server.said() == []
    assert server.handlers[0].last_word == ErrorCode.CANCEL


def test_one_look_for_many_words() -> None:
    """What is said while bytes are read needs no call; what is said at other times needs one for all of it."""
    server = Server()
    server.end.awake = True  # as whoever feeds it says
    server.says(head(1, end=True) + head(3, end=True))
    assert server.outputs <= 1
    before = server.outputs
    for handler in server.handlers:
        handler.stream.write_headers(ANSWER, end=True)
    assert server.outputs == before + 1


def test_trailers_after_what_is_pending() -> None:
    """Trailers wait for the data before them."""
    server = Server(Told, peer=((4, 3),))
    server.says(head(1, end=True))
    server.stream.write_whole(ANSWER, [b"abc", b"def"], TRAILERS)
    assert [each.payload for each in server.said()[1:]] == [b"abc"]
    said = server.says(frame(8, 0, 1, long(5000)))
    assert [(each.kind, each.flags & END) for each in said] == [(DATA, 0), (HEADERS, END)]


def test_data_in_pieces_of_a_read() -> None:
    """A frame of data is handed on as it comes."""
    server = Server()
    raw = head(1) + data(1, b"abcdef", end=True)
    handler = None
    for at in range(len(raw)):
        server.says(raw[at : at + 1])
        handler = server.handlers[0] if server.handlers else None
        if handler is not None:
            assert raw[: at + 1].endswith(handler.body)
    assert handler is not None
    assert (handler.body, handler.last_word) == (b"abcdef", "end")
