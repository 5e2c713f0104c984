"""Events are found however a stream is cut, and what a stream was like is told by a few numbers."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.counters import Ended, Streams, bucket_of
from serving.gateway.streaming import MOST_HELD, EventScanner, EventStream, StreamWatch, is_event_stream, says_error
from tests.examples import examples

TOKEN = b'data: {"model_name":"m","model_version":"1","text_output":"a"}\n\n'
FAILURE = b'data: {"error":"There is no token 2."}\n\n'  # as Triton 2.51 writes it
LONG = b"x" * (MOST_HELD + 1)

Block = tuple[bytes, int, int]
"""An event or none: its bytes, how many events it is, how many of them carry an error."""

blocks: list[Block] = [
    (TOKEN, 1, 0),
    (FAILURE, 1, 1),
    (b"data: \n\n", 1, 0),
    (b"data\n\n", 1, 0),
    (b": still here\n\n", 0, 0),
    (b"\n", 0, 0),
    (b"event: token\nid: 7\ndata: 1\n\n", 1, 0),
    (b'event: error\ndata: {"error":\ndata: "two lines"}\n\n', 1, 1),
    (b"database: 1\n\n", 0, 0),
    (b'data: {"model_name":"m","error":"an output of that name"}\n\n', 1, 0),
    (b'data: {"text_output":"say \\"error\\" again"}\n\n', 1, 0),
    (b'data: {"error": null}\n\n', 1, 0),
    (b'data: {"error": {"code": 500}}\n\n', 1, 1),
    (b'data: "error"\n\n', 1, 0),
    (b'data: {"error": no JSON}\n\n', 1, 0),
    (b"data: [DONE]\n\n", 1, 0),
    (b"data: " + LONG + b"\n\n", 1, 0),
    (b'data: {"error": "' + LONG + b'"}\n\n', 1, 1),
    (b":" + LONG + b"\n\n", 0, 0),
]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], int, int]:
    """A stream in pieces, with its events and errors; its lines end in LF, CRLF or CR, all in the same."""
    some = draw(st.lists(st.sampled_from(blocks), max_size=8))
    ending = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    data = b"".join(block for block, _, _ in some).replace(b"\n", ending)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    pieces = [data[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(data)])]
    return pieces, sum(events for _, events, _ in some), sum(errors for _, _, errors in some)


@given(streams())
@settings(max_examples=examples(300))
def test_events_are_found_wherever_a_stream_is_cut(stream: tuple[list[bytes], int, int]) -> None:
    """Each once, whatever the line ends, comments and fields; and between two of them another may be put."""
    pieces, events, errors = stream
    scanner = EventScanner()
    seen = [scanner.feed(piece) for piece in pieces]
    assert (sum(one.events for one in seen), sum(one.errors for one in seen)) == (events, errors)
    assert scanner.between


@pytest.mark.parametrize(("block", "events", "errors"), blocks, ids=map(str, range(len(blocks))))
def test_byte_by_byte(block: bytes, events: int, errors: int) -> None:
    """The finest cut of all; nothing is counted before its end is there."""
    scanner = EventScanner()
    seen = [scanner.feed(block[at : at + 1]) for at in range(len(block))]
    assert (seen[-1].events, seen[-1].errors) == (events, errors)
    assert not any(one.events for one in seen[:-1])


def test_nothing_may_be_put_into_an_event() -> None:
    """From its first byte to its blank line."""
    for at in range(1, len(TOKEN)):
        scanner = EventScanner()
        scanner.feed(TOKEN + TOKEN[:at])
        assert not scanner.between


def test_an_event_without_end_takes_little_memory() -> None:
    """A hundred MiB of one event are forgotten as they come."""
    scanner = EventScanner()
    piece = b"data: " + b"x" * 1024 * 1024
    for _ in range(100):
        assert scanner.feed(piece) == (0, 0)
        assert len(scanner._held) <= MOST_HELD
    assert scanner.feed(b"\n\n") == (1, 0)


def test_only_streams_that_can_be_read_are_read() -> None:
    """By their type, in any case of letters; what is compressed is relayed unread."""
    assert is_event_stream(b"X-A: b\r\nContent-Type: text/event-stream; charset=utf-8\r\n")
    assert is_event_stream(b"content-type: TEXT/event-stream\r\n")
    assert not is_event_stream(b"Content-Type: application/json\r\nX-Type: text/event-stream\r\n")
    assert not is_event_stream(b"Content-Type: text/event-stream\r\nContent-Encoding: gzip\r\n")


@pytest.mark.parametrize("data", [b"", b"[]", b'["error"]', b'{"error": ""}', b'{"error": 1}', b'"error"' * 9999])
def test_what_says_no_error(data: bytes) -> None:
    """Neither other JSON nor none."""
    assert not says_error(data)
    assert not says_error(b'{"error":' * 9999 + data)


reads = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), max_size=20)


@given(reads)
def test_a_watch_counts_what_it_was_told(some: list[tuple[int, float]]) -> None:
    """The first event has a time since the stream was opened, each other one a time since the one before."""
    watch, now, times = StreamWatch(10.0), 10.0, []
    for events, pause_s in some:
        now += pause_s
        watch.saw(events, now)
        times += [now] * events
    assert watch.events == len(times)
    assert watch.first_s == (times[0] - 10.0 if times else None)
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert sum(watch.gaps.buckets.values()) == len(gaps)
    assert set(watch.gaps.buckets) == {bucket_of(gap) for gap in gaps}
    assert watch.gaps.total_s == pytest.approx(sum(gaps))


@pytest.mark.parametrize("how", Ended)
def test_an_error_in_mid_stream_is_how_a_stream_ended(how: Ended) -> None:
    """Whatever came afterwards; without one it ended as it did."""
    sound, failed = StreamWatch(0.0), StreamWatch(0.0)
    sound.saw(2, 1.0)
    failed.saw(2, 1.0, errors=1)
    counted = Streams()
    counted.add(sound, how)
    counted.add(failed, how)
    assert counted.ended[Ended.ERROR] == 1 + (how is Ended.ERROR)
    assert counted.ended[how] >= 1
    assert (counted.events, counted.errors, sum(counted.ended)) == (4, 1, 2)


def test_a_stream_that_only_failed_may_still_come_from_elsewhere() -> None:
    """Until an event comes that carries no error."""
    stream = EventStream(0.0)
    for piece, only in ((b": hello\n\n", True), (FAILURE, True), (TOKEN[:-1], True), (b"\n", False), (FAILURE, False)):
        stream.take([piece], 1.0)
        assert stream.only_failed is only
    assert json.loads(FAILURE[6:]) == {"error": "There is no token 2."}
