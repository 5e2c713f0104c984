"""What a worker hands over comes out of the stream as it went in, under any cut; anything else is refused."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.captured import (
    LONGEST_VALUE,
    Answered,
    Captured,
    Frame,
    Frames,
    Kind,
    ModelTerms,
    ShadowShed,
    Shed,
    Terms,
    framed,
    written,
)
from serving.totals import OUTCOMES
from tests.examples import examples

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
values = st.text(st.characters(codec="utf-8"), max_size=LONGEST_VALUE)
versions = st.integers(1, 2**31)
totals = st.integers(0, 2**53)
seconds = st.floats(0, 2**33)
lines = st.sampled_from((b"", b"content-type: application/json\r\n", b"inference-header-content-length: 7\r\n"))
counts = st.dictionaries(text, totals, max_size=3)


@st.composite
def answers(draw: st.DrawFn) -> Answered:
    """An answer, whole or not."""
    body = draw(st.none() | st.binary(max_size=60))
    size = draw(totals) if body is None else len(body)
    return Answered(
        draw(versions),
        draw(st.sampled_from(OUTCOMES)),
        draw(st.integers(0, 999)),
        draw(seconds),
        draw(lines),
        body,
        size,
    )


captures = st.builds(
    Captured, text, text, st.integers(0, 2**64 - 1), totals, seconds, st.sampled_from(("http", "grpc")), versions,
    versions, st.just("") | text, st.dictionaries(text, values, max_size=3),
    lines, st.none() | st.binary(max_size=60), answers(), st.lists(answers(), max_size=3).map(tuple),
)  # fmt: skip
rules = st.none() | st.dictionaries(text, st.integers(-5, 5) | text | st.lists(text, max_size=2), max_size=3)
terms = st.builds(Terms, st.dictionaries(text, st.builds(ModelTerms, totals, rules), max_size=3))
sheds = st.builds(
    Shed, text, text,
    st.lists(st.builds(ShadowShed, text, versions, st.just("") | text, totals, totals, counts), max_size=3).map(tuple),
    counts,
)  # fmt: skip
frames = st.builds(Frame, st.sampled_from(Kind), st.binary(max_size=40))
ONE = Captured(
    "fraud", "an-id", 7, 3, 1_700_000_000.25, "http", 2, 1, "salt", {"x-region": "eu"}, b"content-type: a\r\n", b"[1]",
    Answered(1, "ok", 200, 0.01, b"", b"[2]", 3), (Answered(2, "late", 0, 1.0, b"", None, 0),),
)  # fmt: skip


@given(captures)
@settings(max_examples=examples(200))
def test_a_captured_request_comes_out_as_it_went_in(captured: Captured) -> None:
    """Bodies, headers and figures of a request and all its answers survive the stream."""
    assert Captured.decode(captured.encode()) == captured


@given(captures)
@settings(max_examples=examples(200))
def test_what_is_put_together_by_hand_is_json(captured: Captured) -> None:
    """The head says the same, to the letter, as an encoder of JSON would."""
    payload = captured.encode()
    head = payload[4 : 4 + int.from_bytes(payload[:4], "big")].decode()
    assert json.dumps(json.loads(head), separators=(",", ":")) == head


def test_bodies_are_passed_on_and_not_copied() -> None:
    """A worker holds each once, however long it is."""
    request, body = bytes(1_000), b"x" * 1_000
    said = written("m", "id", 1, 1, 1.0, "http", 1, 1, "", {}, b"", request, (1, "ok", 200, 0.1, b"", body, 1_000))
    assert sum(one is request for one in said) == sum(one is body for one in said) == 1
    told = Captured.decode(b"".join(said))
    assert (told.request, told.first.body) == (request, body)


@given(terms, sheds)
@settings(max_examples=examples(100))
def test_terms_and_what_was_shed_come_out_as_they_went_in(said: Terms, shed: Shed) -> None:
    """Rules and running totals survive the stream."""
    assert Terms.decode(said.encode()) == said
    assert Shed.decode(shed.encode()) == shed


@given(st.lists(frames, max_size=5), st.data())
@settings(max_examples=examples(200))
def test_a_stream_may_be_cut_anywhere(sent: list[Frame], data: st.DataObject) -> None:
    """However the bytes come, the same frames come out, and nothing is left over at the end of the last one."""
    stream = b"".join(framed(Kind(one.kind), one.payload) for one in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = Frames()
    found = [frame for begin, end in pairwise((0, *cuts, len(stream))) for frame in reader.feed(stream[begin:end])]
    assert found == sent
    assert reader.held == 0


def test_frames_that_are_not_taken_are_not_lost() -> None:
    """What `feed` was given is kept even where nobody looks at what it completes."""
    reader = Frames()
    reader.feed(framed(Kind.TERMS, b"a"))
    assert list(reader.feed(framed(Kind.SHED, b""))) == [Frame(Kind.TERMS, b"a"), Frame(Kind.SHED, b"")]


def test_a_frame_of_a_later_release_is_handed_on() -> None:
    """A kind that this release has no name for is for the reader to pass over."""
    assert list(Frames().feed(b"\x00\x00\x00\x03\x63ab")) == [Frame(99, b"ab")]


@pytest.mark.parametrize("stream", [b"\x00\x00\x00\x00\x01", b"\xff\xff\xff\xff\x01", b"\x00\x00\x00\x0c\x01"])
def test_a_frame_that_is_empty_or_too_long_is_refused(stream: bytes) -> None:
    """Before any of it is held: whoever writes such a length writes no frames."""
    with pytest.raises(ValueError, match="a frame of"):
        list(Frames(longest=10).feed(stream))


@given(captures, st.data())
@settings(max_examples=examples(200))
def test_damage_is_a_value_error(captured: Captured, data: st.DataObject) -> None:
    """Bytes that were cut off, added or changed are read as something sound or refused with ValueError."""
    payload = bytearray(captured.encode())
    for at in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=4)):
        payload[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        Captured.decode(bytes(payload[: data.draw(st.integers(0, len(payload)))]) + data.draw(st.binary(max_size=4)))


@given(st.recursive(st.none() | st.integers() | text, lambda inner: st.lists(inner) | st.dictionaries(text, inner)))
@settings(max_examples=examples(100))
def test_other_json_is_a_value_error(said: object) -> None:
    """JSON of any other shape is refused with ValueError, never with another error."""
    raw = json.dumps(said).encode()
    for payload in (raw, len(raw).to_bytes(4, "big") + raw, b'{"models": %s}' % raw, b'{"shadows": %s}' % raw):
        for read in (Captured.decode, Terms.decode, Shed.decode):
            with contextlib.suppress(ValueError):
                read(payload)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x00\x00\x00\x02[]", b"\x00\x00\x00\x02{}", b"\x00\x00\x00\x09{}", b"\x00\x00\x00\x04\xff\xff\xff\xff"],
)
def test_what_holds_no_request_is_refused(payload: bytes) -> None:
    """Nothing, a head that is no object, an empty one, one that is cut off, and one that is not JSON."""
    with pytest.raises(ValueError):  # noqa: PT011 (what is wrong with it is said in words that differ)
        Captured.decode(payload)


def test_json_without_an_end_is_a_value_error() -> None:
    """Nesting that would exhaust the interpreter's stack is refused as any other damage."""
    deep = b"[" * 100_000
    with pytest.raises(ValueError, match="damaged"):
        Terms.decode(deep)


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": ""}, {"model": "\ud800"}, {"nonce": -1}, {"nonce": 2**64}, {"epoch": True}, {"at_s": float("nan")},
        {"protocol": "smtp"}, {"assigned": 0}, {"stable": 0}, {"segment": {"x-region": "a" * (LONGEST_VALUE + 1)}},
        {"headers": "text"}, {"request": 5},
    ],
    ids=lambda wrong: f"{next(iter(wrong))}-{len(repr(wrong))}",
)  # fmt: skip
def test_a_request_checks_itself(wrong: dict[str, object]) -> None:
    """A value that cannot be what it says is refused where it is built."""
    with pytest.raises(ValueError):  # noqa: PT011 (as above)
        replace(ONE, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"outcome": "fine"}, {"code": 1000}, {"took_s": float("inf")}, {"size": 2}, {"version": 0}, {"headers": None}],
    ids=lambda wrong: str(next(iter(wrong))),
)
def test_an_answer_checks_itself(wrong: dict[str, object]) -> None:
    """Likewise: and the size of a body that is there is its length."""
    with pytest.raises(ValueError):  # noqa: PT011 (as above)
        replace(ONE.first, **wrong)  # type: ignore[arg-type]
