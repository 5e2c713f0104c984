"""Messages are read and changed as protobuf itself reads them, and nothing in them breaks the reader."""

from __future__ import annotations

import contextlib
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from serving.gateway.grpc.framing import PREFIX, Cutter, Sent, Single, Splitter, framed
from serving.gateway.grpc.messages import (
    Malformed,
    Named,
    fields_of,
    for_version,
    named_in_inference,
    named_in_question,
    request_id_in,
    rewritten,
    text,
    varint,
    whole,
)
from serving.gateway.grpc.status import as_http, escaped
from serving.gateway.request import Bad
from tests.examples import examples

names = st.text(max_size=200)


@st.composite
def requests(draw: st.DrawFn) -> pb.ModelInferRequest:
    """Inference requests with whatever may be in one."""
    request = pb.ModelInferRequest(
        model_name=draw(names), model_version=draw(names), id=draw(names),
        raw_input_contents=draw(st.lists(st.binary(max_size=300), max_size=3)),
        inputs=[{"name": draw(names), "datatype": "FP32", "shape": draw(st.lists(st.integers(0, 2**40), max_size=3))}],
    )  # fmt: skip
    sequence = draw(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), names))
    if isinstance(sequence, int):
        request.parameters["sequence_id"].int64_param = sequence
    elif sequence is not None:
        request.parameters["sequence_id"].string_param = sequence
    request.parameters["priority"].uint64_param = draw(st.integers(0, 2**64 - 1))
    return request


@given(requests())
@settings(max_examples=examples(100), deadline=None)
def test_what_a_request_names_is_found(request: pb.ModelInferRequest) -> None:
    """Model, version, id and sequence as protobuf has them."""
    message = request.SerializeToString()
    found = named_in_inference(message)
    assert (found.model.decode(), found.version.decode()) == (request.model_name, request.model_version)
    assert request_id_in(message).decode() == request.id
    parameter = request.parameters["sequence_id"]
    kind = parameter.WhichOneof("parameter_choice")
    if kind == "string_param":
        assert (found.sequence or b"").decode() == parameter.string_param
    elif kind == "int64_param" and parameter.int64_param:
        assert found.sequence == b"%d" % (parameter.int64_param % 2**64)
    else:
        assert found.sequence is None


@given(requests(), st.integers(1, 2**31 - 1))
@settings(max_examples=examples(50), deadline=None)
def test_the_version_is_set_by_appending(request: pb.ModelInferRequest, version: int) -> None:
    """Protobuf reads the last one, and all else is as it was."""
    changed = for_version(framed(request.SerializeToString()), b"%d" % version)
    sent = b"".join(changed)
    request.model_version = str(version)
    assert pb.ModelInferRequest.FromString(sent[PREFIX:]) == request
    assert sent[:PREFIX] == framed(sent[PREFIX:])[:PREFIX]


@given(requests(), requests())
@settings(max_examples=examples(50), deadline=None)
def test_the_last_value_of_a_field_wins(one: pb.ModelInferRequest, other: pb.ModelInferRequest) -> None:
    """Two messages joined are one, as in protobuf."""
    joined = one.SerializeToString() + other.SerializeToString()
    both = pb.ModelInferRequest.FromString(joined)
    found = named_in_inference(joined)
    assert (found.model.decode(), found.version.decode()) == (both.model_name, both.model_version)


@given(st.binary(max_size=200))
@settings(max_examples=examples(300), deadline=None)
def test_any_bytes_are_a_message_or_malformed(data: bytes) -> None:
    """Nothing else is ever raised, and what protobuf reads is read alike."""
    with contextlib.suppress(Malformed):
        list(fields_of(data))
    with contextlib.suppress(Malformed):
        named_in_question(data)
    try:
        found = named_in_inference(data)
    except Malformed:
        return
    try:
        request = pb.ModelInferRequest.FromString(data)
    except Exception:  # noqa: BLE001 (the DecodeError of whichever implementation there is: an inner field is not sound)
        return
    assert (found.model.decode(), found.version.decode()) == (request.model_name, request.model_version)


@given(st.lists(names, max_size=5), st.lists(st.integers(1, 99), max_size=5))
@settings(max_examples=examples(30), deadline=None)
def test_a_repeated_field_is_rewritten(before: list[str], after: list[int]) -> None:
    """All of its values, and nothing else."""
    answer = pb.ModelMetadataResponse(name="m", versions=before, platform="p", inputs=[{"name": "x", "shape": [1]}])
    written = rewritten(answer.SerializeToString(), 2, [b"%d" % number for number in after])
    del answer.versions[:]
    answer.versions.extend(map(str, after))
    assert pb.ModelMetadataResponse.FromString(written) == answer


@given(st.integers(0, 2**64 - 1), st.binary(max_size=300))
@settings(max_examples=examples(50), deadline=None)
def test_what_is_written_is_read(number: int, value: bytes) -> None:
    """Fields, and the numbers in them."""
    assert list(fields_of(whole(1, number) + text(2, value))) == [*([(1, number)] if number else []), (2, value)]
    assert fields_of(varint(8) + varint(number)).__next__() == (1, number)


@given(st.lists(st.binary(max_size=50), max_size=6), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_messages_are_split_however_they_are_cut(messages: list[bytes], data: st.DataObject) -> None:
    """Whole, in their order, and nothing is left."""
    stream = b"".join(map(framed, messages))
    splitter, at = Splitter(100), 0
    found: list[Sent | Bad] = []
    while at < len(stream):
        size = data.draw(st.integers(1, 30))
        found += splitter.feed(stream[at : at + size])
        at += size
    assert found == [Sent(False, message) for message in messages]
    assert splitter.between


@given(st.lists(st.one_of(st.binary(max_size=50), st.just(b"\n\1x")), max_size=6), st.data())
@settings(max_examples=examples(60), deadline=None)
def test_answers_go_on_whole_however_they_are_cut(messages: list[bytes], data: st.DataObject) -> None:
    """Byte for byte and as soon as one is complete, and those that carry an error are counted."""
    stream = b"".join(map(framed, messages))
    cutter, at, came, found, errors = Cutter(), 0, b"", 0, 0
    while at < len(stream):
        size = data.draw(st.integers(1, 60))
        cut = cutter.feed(stream[at : at + size])
        at += size
        came, found, errors = came + cut.data, found + cut.messages, errors + cut.errors
        assert bool(cut.data) == bool(cut.messages)
        assert found == _whole_in(messages, min(at, len(stream)))
        assert came == b"".join(map(framed, messages[:found]))
    assert (came, found) == (stream, len(messages))
    assert errors == sum(message.startswith(b"\n") for message in messages)


def _whole_in(messages: list[bytes], size: int) -> int:
    """How many of these are complete after so many bytes."""
    ends = list(accumulate(PREFIX + len(message) for message in messages))
    return sum(end <= size for end in ends)


def test_a_compressed_answer_is_not_looked_into() -> None:
    """Its first byte is no field."""
    assert Cutter().feed(b"\1\0\0\0\1\n").errors == 0


@given(st.binary(min_size=1, max_size=40), st.integers(1, 30))
@settings(max_examples=examples(60), deadline=None)
def test_a_single_message_comes_however_it_is_cut(message: bytes, size: int) -> None:
    """Its five bytes may be cut as well."""
    stream, single = framed(message), Single(100)
    for at in range(0, len(stream), size):
        assert single.take(stream[at : at + size]) is None
    assert single.end() is None
    assert single.whole() == framed(message)


@pytest.mark.parametrize("data", [b"\2\0\0\0\1x", b"\0\0\0\0\x65"], ids=["no flag", "too long"])
def test_what_is_no_message_is_refused_by_its_first_bytes(data: bytes) -> None:
    """Before the rest has come."""
    [bad] = Splitter(100).feed(data)
    assert isinstance(bad, Bad)


def test_a_sentence_is_escaped_as_grpc_has_it() -> None:
    """Printable ASCII as it is, a percent sign and all else by its bytes."""
    assert escaped("100% of 'm' — gone\n") == b"100%25 of 'm' %E2%80%94 gone%0A"


@pytest.mark.parametrize(("code", "http"), [(0, 200), (3, 400), (14, 503), (13, 500), (2, 500), (99, 500)])
def test_an_answers_code_is_judged_as_https(code: int, http: int) -> None:
    """What the client is to blame for, what is worth another try, and what nobody knows."""
    assert as_http(code) == http


def test_named_is_what_tells_two_requests_apart() -> None:
    """A question names model and version alone."""
    assert named_in_question(pb.ModelReadyRequest(name="m", version="3").SerializeToString()) == Named(b"m", b"3")
