"""Known ways to keep a server busy, one by one: each ends the connection long before it costs anything."""

from __future__ import annotations

import pytest

from serving.gateway.h2.allowance import Allowance
from serving.gateway.h2.frames import ErrorCode
from serving.gateway.h2.settings import Limits
from tests.serving.gateway.h2.ends import Client, Echo, Server
from tests.serving.gateway.h2.wire import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    REQUEST,
    RST,
    WINDOW,
    block,
    data,
    frame,
    head,
    long,
    settings,
)  # fmt: skip

CALM = ErrorCode.ENHANCE_YOUR_CALM
_LIMITS = Limits(idle_frames=200, rapid_resets=100)

FLOODS = {
    "pings (CVE-2019-9512)": frame(PING, 0, 0, bytes(8)),
    "settings (CVE-2019-9515)": settings((3, 100)),
    "acknowledgements": frame(4, 1),
    "empty data (CVE-2019-9518)": data(1),
    "padding alone": frame(DATA, PADDED, 1, b"\x03\0\0\0"),
    "priorities (CVE-2019-9513)": frame(PRIORITY, 0, 1, bytes(5)),
    "small windows (CVE-2019-9517)": frame(WINDOW, 0, 0, long(1)),
    "small windows of a stream": frame(WINDOW, 0, 1, long(1)),
    "resets of what is over": frame(RST, 0, 3, long(8)),
    "unknown frames": frame(99),
    "goodbyes": frame(GOAWAY, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("case", FLOODS)
def test_flood(case: str) -> None:
    """So many frames that lead to nothing are not put up with."""
    server = Server(Echo, _LIMITS)
    server.says(head(1) + head(3, end=True))
    said = server.says(FLOODS[case] * 300)
    assert (said[-1].kind, said[-1].code) == (GOAWAY, CALM)
    assert server.end.ended


@pytest.mark.parametrize("case", FLOODS)
def test_no_flood(case: str) -> None:
    """As many are where there is work done, or time, between them."""
    server = Server(Echo, _LIMITS)
    server.says(head(1) + head(3, end=True))
    for number in range(5, 605, 2):
        server.says(FLOODS[case] + head(number, end=True))
    assert not server.end.ended
    for _ in range(300):
        server.now += 0.011
        server.says(FLOODS[case])
    assert not server.end.ended


def test_flood_of_continuations() -> None:
    """A head without an end (CVE-2024-27316) is not gathered."""
    server = Server()
    server.says(frame(HEADERS, 0, 1, block(REQUEST)))
    assert server.says(frame(CONTINUATION, 0, 1, b"\0\x01a\0") * 100)[-1].code == CALM
    assert not server.handlers


def test_flood_of_empty_continuations() -> None:
    """Nor one without content."""
    server = Server()
    server.says(frame(HEADERS, 0, 1, block(REQUEST)))
    assert server.says(frame(CONTINUATION, 0, 1) * 100)[-1].code == CALM


def test_rapid_resets() -> None:
    """Streams that are given up at once (CVE-2023-44487) do not pass by the limit to how many there may be."""
    server = Server(limits=_LIMITS)
    for number in range(1, 801, 2):
        said = server.says(head(number) + frame(RST, 0, number, long(8)))
    assert server.end.ended
    assert said == []
    assert len(server.handlers) == 101
    assert all(handler.last_word == ErrorCode.CANCEL for handler in server.handlers[:100])


def test_resets() -> None:
    """Streams that are given up later, or between others, are a client's good right."""
    server = Server(limits=_LIMITS)
    for number in range(1, 801, 2):
        server.says(head(number))
        server.now += _LIMITS.rapid_s
        server.says(frame(RST, 0, number, long(8)))
    for number in range(801, 1601, 4):
        server.says(head(number, end=True))
        server.stream.write_whole(((b":status", b"200"),), (), ((b"a", b"b"),))
        server.says(head(number + 2) + frame(RST, 0, number + 2, long(8)))
    assert not server.end.ended


def test_resets_that_we_are_made_to_send() -> None:
    """Malformed heads, which are reset by us (CVE-2025-8671), are no way around it."""
    server = Server(limits=_LIMITS)
    for number in range(1, 601, 2):
        server.says(head(number, REQUEST[:2]))
    assert server.end.ended


def test_resets_by_bad_windows() -> None:
    """Nor are windows that overflow, or do not open."""
    server = Server(limits=_LIMITS)
    for number in range(1, 1601, 2):
        server.says(head(number) + frame(WINDOW, 0, number, long((1 << 31) - 1)))
    assert server.end.ended


def test_flood_of_large_heads() -> None:
    """Heads that are too large cost more than they are worth."""
    server = Server(limits=Limits(header_list=1000, idle_frames=200))
    for number in range(1, 101, 2):
        server.says(head(number, (*REQUEST, (b"a", b"x" * 1000))))
    assert server.end.ended


def test_small_windows_for_small_data() -> None:
    """A client may open its windows by as much as it gets, however little that is."""
    server = Server(limits=_LIMITS)
    server.says(head(1, end=True))
    server.stream.write_headers(((b":status", b"200"),))
    for _ in range(1000):
        server.stream.write_data([b"a token"])
        server.says(frame(WINDOW, 0, 0, long(7)))
    assert not server.end.ended


def test_slow_reader() -> None:
    """What a client does not read of an answer waits in the stream, and the handler knows."""
    server = Server(limits=_LIMITS, peer=((4, 0),))
    server.says(head(1, end=True))
    server.stream.write_headers(((b":status", b"200"),))
    server.stream.write_data([b"x" * 1000])
    assert server.stream.full
    assert [each.kind for each in server.said()] == [HEADERS]
    assert [len(each.payload) for each in server.says(frame(WINDOW, 0, 1, long(600)))] == [600]
    assert server.handlers[0].writable == 0
    server.says(frame(WINDOW, 0, 1, long(600)))
    assert (server.handlers[0].writable, server.stream.full) == (1, False)


def test_server_floods_a_client() -> None:
    """A server may not do so either."""
    client = Client(_LIMITS)
    call = client.open()
    assert client.says(frame(PING, 0, 0, bytes(8)) * 300)[-1].code == CALM
    assert call.last_word == "lost"


def test_head_is_no_end_of_headers() -> None:
    """A head in parts is one head: nothing is told before its end."""
    server = Server()
    server.says(frame(HEADERS, 0, 1, block(REQUEST)))
    assert not server.handlers
    server.says(frame(CONTINUATION, END_HEADERS, 1))
    assert server.handlers[0].head == REQUEST


def test_allowance() -> None:
    """Time refills it up to what it was at first."""
    allowance = Allowance(2, per_s=1.0)
    assert [allowance.take(0.0) for _ in range(3)] == [True, True, False]
    assert allowance.take(2.0)
    allowance.left += 100
    assert [allowance.take(2.0) for _ in range(3)] == [True, True, False]
