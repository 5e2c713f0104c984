"""Equal versions have equal bytes, bytes are read back as what was written, and nothing is half understood."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry.codec import (
    decode_alias,
    decode_standing,
    decode_version,
    digest_of,
    encode_alias,
    encode_standing,
    encode_summary,
    encode_version,
    listed_from,
    version_as_dict,
    version_from_dict,
)
from registry.errors import Unacceptable
from registry.lifecycle import Standing, State
from registry.models import Alias, Version
from tests.registry.made import contents, number, version, versions

VERSION = version()


@given(versions)
@settings(max_examples=60, deadline=None)
def test_a_version_is_read_as_it_was_written(one: Version) -> None:
    """The same value, and the same bytes again."""
    blob = encode_version(one)
    assert decode_version(blob) == one
    assert encode_version(decode_version(blob)) == blob
    assert version_from_dict(version_as_dict(one)) == one


@given(versions)
@settings(max_examples=30, deadline=None)
def test_a_list_shows_what_the_version_says(one: Version) -> None:
    """The summary is no second opinion."""
    listed = listed_from(json.loads(encode_summary(one)), "serving 9")
    assert (listed["version"], listed["state"], listed["revision"]) == (one.number, State.SERVING, 9)
    assert (listed["kind"], listed["artifact_digest"]) == (one.contents.artifact.kind, one.contents.artifact.digest)
    assert listed["registered_by"] == one.registered_by
    assert abs(listed["registered_at"].timestamp() * 1000 - one.registered_at_ms) < 1
    assert listed["metrics"] == one.contents.metrics
    assert listed["contents_digest"] == digest_of(one.contents)


def test_the_order_of_names_is_no_difference() -> None:
    """What is equal has one digest, and what differs in a type has another."""
    before, after = contents(), contents()
    object.__setattr__(after, "parameters", dict(sorted(before.parameters.items(), reverse=True)))
    assert digest_of(before) == digest_of(after)
    object.__setattr__(after, "parameters", {**before.parameters, "shuffled": 1})
    assert digest_of(before) != digest_of(after)


def test_the_bytes_are_those_of_the_first_release() -> None:
    """Digests name values for as long as there are any, so the form does not change by accident."""
    assert digest_of(contents()) == "51ed0c113f8372e099cfb1b34ec76c93a79e14b6812e55d835be3d3a71e27282"


@given(st.sampled_from(State), st.integers(0, 2**53), st.integers(1, 2**31 - 1))
def test_standings_and_aliases_are_read_as_written(state: State, revision: int, target: int) -> None:
    """Both are a word and a revision."""
    assert decode_standing(encode_standing(Standing(state, revision))) == Standing(state, revision)
    assert decode_alias(encode_alias(Alias(number(target), revision))) == Alias(number(target), revision)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"reader": 1}',
        b"[" * 100_000,
        encode_version(VERSION).replace(b'"reader":1', b'"reader":2'),
        encode_version(VERSION).replace(b'"reader":1', b'"reader":true'),
        encode_version(VERSION).replace(b'"number":1', b'"number":0'),
        encode_version(VERSION).replace(b'"number":1', b'"number":1,"colour":"red"'),
        encode_version(VERSION).replace(b'"rows":', b'"columns":1,"rows":'),
        encode_version(VERSION).replace(b'"size_bytes":', b'"size":1,"size_bytes":'),
        encode_version(VERSION).replace(b'"shape":[64]', b'"shape":64'),
        encode_version(VERSION).replace(b'"shape":[64]', b'"shape":[64],"labels":[]'),
        encode_version(VERSION).replace(b'"torch-export"', b'"pickle"'),
        encode_version(VERSION).replace(b'"tags":{}', b'"tags":{},"stage":"production"'),
        encode_version(VERSION).replace(b'"metrics":{', b'"metrics":{"x":NaN,'),
    ],
)
def test_what_is_not_understood_is_refused_as_a_whole(blob: bytes) -> None:
    """Half a version is none, and a newer form is not guessed at."""
    with pytest.raises(Unacceptable):
        decode_version(blob)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (b'"tags":{}', b'"tags":{},"stage":"production"', "'stage'.*it may say artifact, baseline_digest"),
        (b'"size_bytes":', b'"size":1,"size_bytes":', "'size'.*it may say digest, kind, size_bytes"),
        (b'"rows":', b'"columns":1,"rows":', "'columns'.*it may say fingerprint, rows"),
        (b'"shape":[64]', b'"shape":[64],"labels":[]', "'labels'.*it may say datatype, name, optional, shape"),
    ],
)
def test_what_is_not_understood_is_named(before: bytes, after: bytes, said: str) -> None:
    """With what may be said instead."""
    with pytest.raises(Unacceptable, match=said):
        decode_version(encode_version(VERSION).replace(before, after))
