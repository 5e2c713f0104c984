"""Header blocks: what one side means is what the other understands."""

from __future__ import annotations

import logging

import pytest
from hpack import Decoder, Encoder, HPACKError
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.h2.fields import FORGET_TABLE, Block, BlockDecoder, Kind, encode, encode_field, understood
from serving.gateway.h2.frames import ConnectionBroken, ErrorCode
from serving.gateway.h2.stream import Fields
from tests.examples import examples
from tests.serving.gateway.h2.wire import ANSWER, REQUEST, TRAILERS

_NAMES = st.one_of(
    st.sampled_from([name for name, _ in REQUEST + ANSWER + TRAILERS] + [b"authorization", b"te"]),
    st.from_regex(rb"[a-z][a-z0-9_.-]{0,20}", fullmatch=True),
    st.binary(min_size=1, max_size=300),
)
_FIELDS = st.lists(
    st.tuples(_NAMES, st.one_of(st.sampled_from([b"POST", b"200", b"trailers"]), st.binary(max_size=300)))
)


@given(lists=st.lists(_FIELDS, max_size=4))
def test_blocks_of_ours(lists: list[list[tuple[bytes, bytes]]]) -> None:
    """Any decoder reads what we encode, and is asked to keep none of it."""
    decoder = Decoder(max_header_list_size=1 << 20)
    decoder.max_allowed_table_size = 0
    for fields in lists:
        read = decoder.decode(FORGET_TABLE + encode(tuple(fields)), raw=True)
        assert [tuple(field) for field in read] == fields
    assert not decoder.header_table.dynamic_entries


@given(fields=_FIELDS)
def test_parts_of_a_block(fields: list[tuple[bytes, bytes]]) -> None:
    """A block is the blocks of its fields, one after the other."""
    assert encode(tuple(fields)) == b"".join(encode_field(*field) for field in fields)


def test_secret_fields() -> None:
    """Who passes a key on is told to keep it in no table."""
    ((field),) = Decoder().decode(encode_field(b"authorization", b"Bearer x"), raw=True)
    assert not field.indexable


@settings(max_examples=examples(400))
@given(
    lists=st.lists(
        st.tuples(st.lists(st.tuples(_NAMES, st.binary(max_size=40), st.booleans())), st.none() | st.integers(0, 4096)),
        max_size=12,
    ),
    huffman=st.booleans(),
    again=st.booleans(),
)
def test_blocks_of_others(
    *, lists: list[tuple[list[tuple[bytes, bytes, bool]], int | None]], huffman: bool, again: bool
) -> None:
    """Whatever an encoder does with its table, and however often it says the same, its fields arrive as they are."""
    encoder, decoder = Encoder(), BlockDecoder(1 << 20)
    for fields, size in lists * (1 + again):
        if size is not None:
            encoder.header_table_size = size
        raw = encoder.encode(fields, huffman=huffman)
        assert decoder.decode(raw).fields == tuple(field[:2] for field in fields)


@settings(max_examples=examples(1000))
@given(blocks=st.lists(st.binary(max_size=60), max_size=4))
def test_any_bytes(blocks: list[bytes]) -> None:
    """Of any bytes we make what the library makes of them, or refuse them."""
    library, ours = Decoder(max_header_list_size=1 << 20), BlockDecoder(1 << 18)
    for raw in blocks:
        try:
            expected = [tuple(field) for field in library.decode(raw, raw=True)]
        except HPACKError:
            with pytest.raises(ConnectionBroken) as broken:
                ours.decode(raw)
            assert broken.value.code is ErrorCode.COMPRESSION_ERROR
            return
        assert list(ours.decode(raw).fields) == expected


def test_remembered() -> None:
    """The same block is the same object again for as long as the table stands, and not for longer."""
    encoder, decoder = Encoder(), BlockDecoder(1 << 16)
    decoder.decode(encoder.encode([(b"a", b"1")]))
    raw = encoder.encode([(b"a", b"1")])
    known = decoder.decode(raw)
    assert decoder.decode(raw) is known
    decoder.decode(encoder.encode([(b"b", b"2")]))
    assert decoder.decode(raw).fields == ((b"b", b"2"),)


def test_bomb() -> None:
    """A short block that stands for a long list is not worked out to its end."""
    decoder = BlockDecoder(1 << 14)
    decoder.decode(Encoder().encode([(b"a", b"x" * 4000)]))
    with pytest.raises(ConnectionBroken) as broken:
        decoder.decode(b"\xbe" * 10_000)
    assert broken.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_too_large() -> None:
    """A list somewhat over the limit is read, so that the connection outlives it."""
    fields = (*REQUEST, (b"a", b"x" * 2000))
    assert BlockDecoder(2000).decode(encode(fields)).kind is Kind.TOO_LARGE
    assert BlockDecoder(3000).decode(encode(fields)).kind is Kind.REQUEST


def test_no_fields_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """However much is logged, no field of a client's is."""
    with caplog.at_level(logging.DEBUG):
        BlockDecoder(1 << 16).decode(Encoder().encode([(b"authorization", b"Bearer x")]))
    assert not caplog.records


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (REQUEST, Kind.REQUEST),
        ((*REQUEST, (b"te", b"trailers")), Kind.REQUEST),
        (ANSWER, Kind.ANSWER),
        (((b":status", b"103"),), Kind.INTERIM),
        (TRAILERS, Kind.TRAILERS),
        ((), Kind.TRAILERS),
        (REQUEST[1:], Kind.MALFORMED),
        (REQUEST + REQUEST[:1], Kind.MALFORMED),
        ((*REQUEST, (b":status", b"200")), Kind.MALFORMED),
        ((*REQUEST, (b":protocol", b"x")), Kind.MALFORMED),
        (((b"a", b"b"), *REQUEST), Kind.MALFORMED),
        (((b":status", b"20"),), Kind.MALFORMED),
        (((b":status", b"200"), (b":status", b"200")), Kind.MALFORMED),
        (((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"")), Kind.MALFORMED),
        (((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/\r\n")), Kind.MALFORMED),
        ((*REQUEST, (b"Te", b"trailers")), Kind.MALFORMED),
        ((*REQUEST, (b"te", b"gzip")), Kind.MALFORMED),
        ((*REQUEST, (b"connection", b"close")), Kind.MALFORMED),
        ((*REQUEST, (b"transfer-encoding", b"chunked")), Kind.MALFORMED),
        ((*REQUEST, (b"a b", b"")), Kind.MALFORMED),
        ((*REQUEST, (b"", b"")), Kind.MALFORMED),
        ((*REQUEST, (b"a", b"b\nc")), Kind.MALFORMED),
        ((*REQUEST, (b"a", b"b\0")), Kind.MALFORMED),
        ((*REQUEST, (b"a", b" b")), Kind.REQUEST),
        ((*REQUEST, (b"content-length", b"-1")), Kind.MALFORMED),
        ((*REQUEST, (b"content-length", b"1"), (b"content-length", b"2")), Kind.MALFORMED),
    ],
)
def test_kinds(fields: Fields, kind: Kind) -> None:
    """A list of fields is a request, an answer or trailers if it keeps the rules for one, else nothing."""
    assert understood(fields, 1 << 16).kind is kind


def test_length() -> None:
    """A length that is said twice is said once."""
    fields = (*REQUEST, (b"content-length", b"7"), (b"content-length", b"7"))
    assert understood(fields, 1 << 16) == Block(fields, Kind.REQUEST, 7)
