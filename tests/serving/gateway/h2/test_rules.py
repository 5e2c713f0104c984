"""Who breaks a rule of RFC 9113 is told which, and loses the stream or the connection, as the RFC says."""

from __future__ import annotations

import pytest

from serving.gateway.h2.frames import ErrorCode
from serving.gateway.h2.settings import (
    ENABLE_PUSH,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    Limits,
)
from tests.serving.gateway.h2.ends import Client, Echo, Server, Told
from tests.serving.gateway.h2.wire import (
    ACK,
    ANSWER,
    CONTINUATION,
    DATA,
    END,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PUSH,
    REQUEST,
    RST,
    SETTINGS,
    TRAILERS,
    WINDOW,
    block,
    data,
    fields_of,
    frame,
    head,
    long,
    settings,
)  # fmt: skip

PROTOCOL, SIZE, FLOW = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR, ErrorCode.FLOW_CONTROL_ERROR
CLOSED, COMPRESSION, CALM = ErrorCode.STREAM_CLOSED, ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM
_BLOCK = block(REQUEST)

CONNECTION_ERRORS = {
    "DATA on stream 0": (data(0, b"x"), PROTOCOL),
    "DATA on an idle stream": (data(1, b"x"), PROTOCOL),
    "DATA on a stream of ours": (data(2, b"x"), PROTOCOL),
    "DATA with too much padding": (head(1) + frame(DATA, PADDED, 1, b"\x05abcd"), PROTOCOL),
    "DATA without its padding": (head(1) + frame(DATA, PADDED, 1), PROTOCOL),
    "HEADERS on stream 0": (head(0), PROTOCOL),
    "HEADERS on an even stream": (head(2), PROTOCOL),
    "HEADERS with too much padding": (frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + _BLOCK), PROTOCOL),
    "HEADERS without their priority": (frame(HEADERS, END_HEADERS | PRIORITISED, 1, b"\0\0\0"), SIZE),
    "HEADERS that cannot be decoded": (frame(HEADERS, END_HEADERS, 1, b"\xff"), COMPRESSION),
    "HEADERS from an empty table": (frame(HEADERS, END_HEADERS, 1, b"\xbe"), COMPRESSION),
    "HEADERS with a huge table": (frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x03" + _BLOCK), COMPRESSION),
    "HEADERS within a head": (frame(HEADERS, 0, 1, _BLOCK) + head(3), PROTOCOL),
    "DATA within a head": (frame(HEADERS, 0, 1, _BLOCK) + data(1), PROTOCOL),
    "an unknown frame within a head": (frame(HEADERS, 0, 1, _BLOCK) + frame(99), PROTOCOL),
    "another's CONTINUATION": (frame(HEADERS, 0, 1, _BLOCK) + frame(CONTINUATION, END_HEADERS, 3), PROTOCOL),
    "CONTINUATION of nothing": (head(1) + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL),
    "PRIORITY on stream 0": (frame(PRIORITY, 0, 0, bytes(5)), PROTOCOL),
    "RST_STREAM on stream 0": (frame(RST, 0, 0, long(8)), PROTOCOL),
    "RST_STREAM on an idle stream": (frame(RST, 0, 1, long(8)), PROTOCOL),
    "RST_STREAM of three bytes": (head(1) + frame(RST, 0, 1, b"abc"), SIZE),
    "SETTINGS on a stream": (frame(SETTINGS, 0, 1), PROTOCOL),
    "SETTINGS of five bytes": (frame(SETTINGS, 0, 0, bytes(5)), SIZE),
    "SETTINGS acknowledged with words": (frame(SETTINGS, ACK, 0, bytes(6)), SIZE),
    "a push of two": (settings((ENABLE_PUSH, 2)), PROTOCOL),
    "a window of 2^31": (settings((INITIAL_WINDOW_SIZE, 1 << 31)), FLOW),
    "frames of 16,383 bytes": (settings((MAX_FRAME_SIZE, 16_383)), PROTOCOL),
    "frames of 2^24 bytes": (settings((MAX_FRAME_SIZE, 1 << 24)), PROTOCOL),
    "a thousand settings": (settings(*[(99, 1)] * 1000), CALM),
    "PUSH_PROMISE": (frame(PUSH, END_HEADERS, 1, long(2) + _BLOCK), PROTOCOL),
    "PING on a stream": (frame(PING, 0, 1, bytes(8)), PROTOCOL),
    "PING of seven bytes": (frame(PING, 0, 0, bytes(7)), SIZE),
    "GOAWAY on a stream": (frame(GOAWAY, 0, 1, bytes(8)), PROTOCOL),
    "GOAWAY of seven bytes": (frame(GOAWAY, 0, 0, bytes(7)), SIZE),
    "WINDOW_UPDATE of three bytes": (frame(WINDOW, 0, 0, bytes(3)), SIZE),
    "WINDOW_UPDATE of nothing": (frame(WINDOW, 0, 0, long(0)), PROTOCOL),
    "WINDOW_UPDATE on an idle stream": (frame(WINDOW, 0, 1, long(9999)), PROTOCOL),
    "an overflowing window": (frame(WINDOW, 0, 0, long((1 << 31) - 1)), FLOW),
    "an overflowing window by settings": (
        head(1) + frame(WINDOW, 0, 1, long((1 << 31) - 1 - 65_535)) + settings((INITIAL_WINDOW_SIZE, 65_536)), FLOW
    ),
    "too large a frame": (frame(99, 0, 0, bytes(65_537)), SIZE),
}  # fmt: skip


@pytest.mark.parametrize("case", CONNECTION_ERRORS)
def test_connection_errors(case: str) -> None:
    """The connection ends with GOAWAY and the rule's code, and whoever had a stream on it is told."""
    raw, code = CONNECTION_ERRORS[case]
    server = Server()
    last = server.says(raw)[-1]
    assert (last.kind, last.code) == (GOAWAY, code)
    assert server.end.ended
    assert not server.end.streams
    assert {handler.last_word for handler in server.handlers} <= {"lost"}
    assert server.says(head(9)) == []


STREAM_ERRORS = {
    "a malformed head": (head(1, REQUEST[:2]), PROTOCOL),
    "an answer for a request": (head(1, ANSWER), PROTOCOL),
    "trailers that do not end": (head(1) + head(1, TRAILERS), PROTOCOL),
    "trailers with pseudo-fields": (head(1) + head(1, end=True), PROTOCOL),
    "DATA after the end": (head(1, end=True) + data(1, b"x"), CLOSED),
    "HEADERS after the end": (head(1, end=True) + head(1, TRAILERS, end=True), CLOSED),
    "WINDOW_UPDATE of nothing": (head(1) + frame(WINDOW, 0, 1, long(0)), PROTOCOL),
    "an overflowing window": (head(1) + frame(WINDOW, 0, 1, long((1 << 31) - 1)), FLOW),
    "PRIORITY of four bytes": (head(1) + frame(PRIORITY, 0, 1, bytes(4)), SIZE),
    "less than the length": (head(1, (*REQUEST, (b"content-length", b"3"))) + data(1, b"ab", end=True), PROTOCOL),
    "more than the length": (head(1, (*REQUEST, (b"content-length", b"1"))) + data(1, b"ab"), PROTOCOL),
    "a length and no body": (head(1, (*REQUEST, (b"content-length", b"1")), end=True), PROTOCOL),
}


@pytest.mark.parametrize("case", STREAM_ERRORS)
def test_stream_errors(case: str) -> None:
    """The stream ends with RST_STREAM and the rule's code, its handler is told, and the connection goes on."""
    raw, code = STREAM_ERRORS[case]
    server = Server()
    assert [(said.kind, said.code) for said in server.says(raw) if said.kind == RST] == [(RST, code)]
    assert not server.end.streams
    assert not server.handlers or server.handlers[0].last_words[-1] == code
    server.says(head(3, end=True))
    assert server.handlers[-1].last_word == "head"


def test_window_of_a_stream() -> None:
    """More DATA than a stream's window holds ends the stream."""
    server = Server(lambda: Told(greedy=False), Limits(stream_window=65_535))
    server.says(head(1) + b"".join([data(1, bytes(16_384))] * 3 + [data(1, bytes(16_383))]))
    assert len(server.handlers[0].body) == 65_535
    assert server.says(data(1, b"x"))[-1][:3] == (RST, 0, 1)
    assert server.handlers[0].last_word == FLOW


def test_frames_of_one_read() -> None:
    """Those of one stream are one piece, whatever comes between, and go on before anything else is heard."""
    server = Server(lambda: Pieces(greedy=False))
    server.says(
        head(1) + head(3) + data(1, b"a") + data(3, b"b") + data(1, b"c") + data(1, b"d") + head(5) + data(3, b"e")
    )
    first, second, _ = server.handlers
    assert isinstance(first, Pieces)
    assert isinstance(second, Pieces)
    assert (first.pieces, second.pieces) == ([b"acd"], [b"b", b"e"])
    server.says(data(1, b"f") + frame(DATA, END, 1, b"g") + head(3, TRAILERS, end=True))
    assert (first.pieces, first.last_word) == ([b"acd", b"fg"], "end")
    assert second.last_word == "trailers"


class Pieces(Told):
    """Keeps the pieces apart."""

    def __init__(self, *, greedy: bool) -> None:
        super().__init__(greedy=greedy)
        self.pieces: list[bytes] = []

    def on_data(self, data: bytes) -> None:
        """Part of `StreamHandler`."""
        self.pieces.append(data)
        super().on_data(data)


def test_window_of_the_connection() -> None:
    """More DATA than the connection's window holds ends the connection, once it stays shut."""
    limits = Limits(stream_window=1 << 20, connection_window=65_535, unconsumed=30_000)
    server = Server(lambda: Told(greedy=False), limits)
    said = server.says(head(1) + data(1, bytes(40_000)))
    assert [each.kind for each in said] == []
    assert server.says(data(1, bytes(25_535))) == []
    assert server.says(data(1, b"x"))[-1].code == FLOW


def test_window_of_the_connection_opens_again() -> None:
    """It does as soon as enough of what came has gone on, or was for a stream that is no more."""
    limits = Limits(stream_window=1 << 20, connection_window=65_535, unconsumed=30_000)
    server = Server(lambda: Told(greedy=False), limits)
    server.says(head(1) + data(1, bytes(40_000)))
    server.handlers[0].stream.consume(20_000)
    assert [(each.kind, each.stream, each.number) for each in server.said()] == [(WINDOW, 0, 40_000)]
    server.says(head(3) + data(3, bytes(40_000)))
    server.handlers[1].stream.reset(ErrorCode.CANCEL)
    assert [(each.kind, each.stream) for each in server.said()] == [(RST, 3), (WINDOW, 0)]


def test_first_frame() -> None:
    """A client's first frame is SETTINGS, or it is no client."""
    server = Server(greeted=False)
    assert server.says(PREFACE + head(1))[-1].code == PROTOCOL


def test_our_first_frame() -> None:
    """Ours is, too, and settings are acknowledged."""
    server = Server(greeted=False)
    said = server.says(PREFACE + settings())
    assert [(each.kind, each.flags) for each in said] == [(SETTINGS, 0), (WINDOW, 0), (SETTINGS, ACK)]


def test_not_http_2() -> None:
    """Whoever speaks something else is told at the first byte that is wrong."""
    server = Server(greeted=False)
    assert server.says(PREFACE[:10]) == []
    assert server.says(b"\x16\x03\x01")[-1].code == PROTOCOL


def test_padding() -> None:
    """Padding is taken off, and counts as consumed at once."""
    server = Server(lambda: Told(greedy=False))
    server.says(frame(HEADERS, END_HEADERS | PADDED | PRIORITISED, 1, b"\x03" + bytes(5) + _BLOCK + bytes(3)))
    server.says(frame(DATA, PADDED | END, 1, b"\x04abc" + bytes(4)))
    handler = server.handlers[0]
    assert (handler.head, handler.body, handler.last_word) == (REQUEST, b"abc", "end")
    assert handler.stream.unconsumed == 3


def test_priority() -> None:
    """Priorities mean nothing, wherever they are."""
    server = Server(Echo)
    said = server.says(frame(PRIORITY, 0, 7, long(3) + b"\x10") + head(1, end=True) + frame(PRIORITY, 0, 1, bytes(5)))
    assert fields_of(said) == [ANSWER, TRAILERS]


def test_unknown_frames() -> None:
    """Frames of unknown kinds mean nothing."""
    server = Server(Echo)
    assert fields_of(server.says(frame(99, 255, 77, b"?") + head(1, end=True))) == [ANSWER, TRAILERS]


def test_ping() -> None:
    """A PING comes back."""
    assert Server().says(frame(PING, 0, 0, b"whatever"))[-1] == (PING, ACK, 0, b"whatever")


def test_trailers_of_a_request() -> None:
    """A request may end with trailers."""
    server = Server(Echo)
    said = server.says(head(1) + data(1, b"abc") + head(1, ((b"a", b"b"),), end=True))
    assert server.handlers[0].trailers == ((b"a", b"b"),)
    assert [each.payload for each in said if each.kind == DATA] == [b"abc"]


def test_head_in_parts() -> None:
    """A head may come in any number of parts, within reason."""
    server = Server()
    raw = frame(HEADERS, END, 1, _BLOCK[:1])
    raw += b"".join(frame(CONTINUATION, 0, 1, _BLOCK[at : at + 1]) for at in range(1, 60))
    server.says(raw + frame(CONTINUATION, END_HEADERS, 1, _BLOCK[60:]))
    assert (server.handlers[0].head, server.handlers[0].last_word) == (REQUEST, "head")


def test_our_head_in_parts() -> None:
    """A head of ours that is larger than the client takes in one frame comes in several."""
    server = Server()
    server.says(head(1, end=True))
    server.stream.write_headers((*ANSWER, (b"a", b"x" * 40_000)))
    assert [(each.kind, len(each.payload)) for each in server.said()][:2] == [(HEADERS, 16_384), (CONTINUATION, 16_384)]


def test_too_large_a_head() -> None:
    """It is answered; the connection goes on."""
    server = Server(limits=Limits(header_list=1000), too_large=((b":status", b"431"), (b"a", b"b")))
    said = server.says(head(1, (*REQUEST, (b"a", b"x" * 1000))))
    assert fields_of(said) == [((b":status", b"431"), (b"a", b"b"))]
    assert said[-1].code == ErrorCode.NO_ERROR
    server.says(head(3))
    assert server.handlers[-1].head == REQUEST


def test_far_too_large_a_head() -> None:
    """It is not even read."""
    server = Server(limits=Limits(header_list=1000))
    assert server.says(head(1, (*REQUEST, (b"a", b"x" * 3000))))[-1].code == CALM


def test_early_answer() -> None:
    """An answer before the request's end is the stream's end, and what was on its way is dropped without a word."""
    server = Server()
    server.says(head(1) + data(1, b"abc"))
    server.stream.write_whole(ANSWER, [b"no"], TRAILERS)
    said = server.said()
    assert [each.kind for each in said] == [HEADERS, DATA, HEADERS, RST]
    assert said[-1].code == ErrorCode.NO_ERROR
    assert server.says(data(1, b"def", end=True) + frame(WINDOW, 0, 1, long(9999)) + frame(RST, 0, 1, long(8))) == []
    assert server.handlers[0].last_word is None


def test_closed_stream() -> None:
    """DATA for a stream that ended well is told so; what else may come late is not."""
    server = Server(Echo)
    server.says(head(1, end=True))
    assert server.says(frame(WINDOW, 0, 1, long(9999)) + frame(RST, 0, 1, long(8))) == []
    assert server.says(data(1, b"x"))[-1].code == CLOSED
    assert server.says(head(1))[-1].code == CLOSED


def test_too_many_streams() -> None:
    """One more than was allowed is refused."""
    server = Server(limits=Limits(streams=2))
    said = server.says(head(1) + head(3) + head(5, end=False) + data(5, b"x"))
    assert [(each.kind, each.stream, each.code) for each in said] == [(RST, 5, ErrorCode.REFUSED_STREAM)]
    assert len(server.handlers) == 2


def test_handlers_that_fail() -> None:
    """What a handler gets wrong ends its stream and nobody else's."""

    class Failing(Told):
        def on_data(self, data: bytes) -> None:
            raise RuntimeError(data)

    server = Server(Failing)
    said = server.says(head(1) + head(3, end=True) + data(1, b"x"))
    assert [(each.kind, each.stream, each.code) for each in said] == [(RST, 1, ErrorCode.INTERNAL_ERROR)]
    assert server.handlers[0].last_word == ErrorCode.INTERNAL_ERROR
    assert list(server.end.streams) == [3]


def test_no_handler() -> None:
    """A stream that nobody can be found for ends."""

    def fails() -> Told:
        raise RuntimeError

    assert Server(fails).says(head(1))[-1].code == ErrorCode.INTERNAL_ERROR


CLIENT_ERRORS = {
    "a stream of the server's": (head(2, ANSWER), PROTOCOL),
    "an answer to nothing": (head(9, ANSWER), PROTOCOL),
    "a push": (frame(PUSH, END_HEADERS, 1, long(2) + _BLOCK), PROTOCOL),
    "a permission to push": (settings((ENABLE_PUSH, 1)), PROTOCOL),
}


@pytest.mark.parametrize("case", CLIENT_ERRORS)
def test_server_breaks_the_connection(case: str) -> None:
    """A server that breaks a rule loses the connection, and whoever has a stream on it is told."""
    raw, code = CLIENT_ERRORS[case]
    client = Client()
    call = client.open()
    assert client.says(raw)[-1].code == code
    assert (call.last_word, client.spent) == ("lost", 1)


SERVER_STREAM_ERRORS = {
    "DATA before the head": data(1, b"x"),
    "trailers for a head": head(1, TRAILERS),
    "a request": head(1),
    "two heads": head(1, ANSWER) + head(1, ANSWER),
    "trailers that do not end": head(1, ANSWER) + head(1, TRAILERS),
    "an interim answer that ends": head(1, ((b":status", b"103"),), end=True),
}


@pytest.mark.parametrize("case", SERVER_STREAM_ERRORS)
def test_server_breaks_a_stream(case: str) -> None:
    """The stream ends, the others go on."""
    client = Client()
    call, other = client.open(), client.open()
    said = client.says(SERVER_STREAM_ERRORS[case])
    assert [(each.kind, each.stream, each.code) for each in said[-1:]] == [(RST, 1, PROTOCOL)]
    assert (call.last_word, other.last_word) == (PROTOCOL, None)


def test_interim_answers() -> None:
    """They are skipped."""
    client = Client()
    call = client.open(end=True)
    client.says(head(1, ((b":status", b"103"), (b"link", b"x"))) + head(1, ANSWER) + data(1, b"x", end=True))
    assert (call.head, call.body, call.last_word) == (ANSWER, b"x", "end")


def test_answer_before_the_end() -> None:
    """A server's whole answer is the stream's end, though we had more to say."""
    client = Client()
    call = client.open()
    said = client.says(head(1, ANSWER) + head(1, TRAILERS, end=True))
    assert [(each.kind, each.code) for each in said if each.kind == RST] == [(RST, ErrorCode.NO_ERROR)]
    assert (call.last_word, call.stream.closed) == ("trailers", True)
    call.stream.write_data([b"x"], end=True)
    assert client.said() == []


def test_two_answers() -> None:
    """What comes after an answer's end is not for its handler."""
    client = Client()
    call = client.open(end=True)
    said = client.says(head(1, ANSWER, end=True) + head(1, ANSWER, end=True) + data(1, b"x"))
    assert call.last_word == "head"
    assert {each.code for each in said if each.kind == RST} == {CLOSED}
