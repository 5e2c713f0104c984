"""A unit's name is looked for where the policy says, in that order, and what is no name names nobody."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import PolicyError
from router.match import Place, Said
from router.unit import (
    LARGEST_BODY,
    MOST_SOURCES,
    FieldSource,
    JsonSource,
    UnitSource,
    body_needed,
    check_sources,
    unit_of,
)

BODY = json.dumps(
    {"user": {"id": "ada", "no": 7, "half": 1.5, "yes": True, "none": None, "empty": ""}, "a": [{"b": "x"}], "o k": "k"}
).encode()


def from_body(path: str, body: bytes | None = BODY) -> bytes | None:
    """The unit at that place of the body."""
    return unit_of("sluice-unit", (JsonSource(path),), Said({}), body)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("$.user.id", b"ada"),
        ("$.user.no", b"7"),
        ("$.a[0].b", b"x"),
        ("$['o k']", b"k"),
        ("$['user']['id']", b"ada"),
        ("$.user.half", None),
        ("$.user.yes", None),
        ("$.user.none", None),
        ("$.user.empty", None),
        ("$.user", None),
        ("$.user.id.x", None),
        ("$.user[0]", None),
        ("$.a.b", None),
        ("$.a[1].b", None),
        ("$.nobody", None),
    ],
)
def test_a_place_in_a_body_names_a_unit_by_text_or_whole_number(path: str, unit: bytes | None) -> None:
    """Fractions, truth values, objects and what is not there name nobody."""
    assert from_body(path) == unit


@given(st.binary(max_size=40) | st.sampled_from([b"[" * 60_000, b'{"a":' * 9_000, b'"\\ud800"', b"9" * 5_000]))
def test_a_body_that_is_nothing_names_nobody(body: bytes) -> None:
    """Whatever a stranger sends, there is no error and no unit."""
    assert from_body("$.user", body) is None
    assert from_body("$[0][0]", body) is None


def test_a_path_that_utf_8_cannot_write_is_refused() -> None:
    """It could not be stored."""
    with pytest.raises(PolicyError, match="no place in a body"):
        JsonSource("$['\ud800']")


def test_half_a_surrogate_pair_names_nobody() -> None:
    """JSON can write it, UTF-8 cannot."""
    assert from_body("$.u", b'{"u":"\\ud800"}') is None


def test_a_body_over_the_limit_is_not_read() -> None:
    """To the byte; nor is one that was not kept."""
    source = JsonSource("$.user.id", len(BODY))
    assert unit_of("u", (source,), Said({}), BODY) == b"ada"
    assert unit_of("u", (source,), Said({}), BODY + b" ") is None
    assert unit_of("u", (source,), Said({}), None) is None


def test_the_first_that_names_somebody_decides() -> None:
    """The policy's header, then its sources in their order; an empty value names nobody."""
    sources: tuple[UnitSource, ...] = (FieldSource("device"), JsonSource("$.user.id"), FieldSource("last"))
    assert unit_of("user", sources, Said({b"user": b"u", b"device": b"d"}), BODY) == b"u"
    assert unit_of("user", sources, Said({b"user": b"", b"device": b"d"}), BODY) == b"d"
    assert unit_of("user", sources, Said({b"device": b"", b"last": b"l"}), BODY) == b"ada"
    assert unit_of("user", sources, Said({b"last": b"l"}), b"{}") == b"l"
    assert unit_of("user", sources, Said({}), b"{}") is None


@pytest.mark.parametrize("grpc", [False, True])
@pytest.mark.parametrize("place", list(Place))
def test_a_field_is_one_of_the_protocol_that_is_named(place: Place, grpc: bool) -> None:  # noqa: FBT001 (both are tried)
    """Headers are HTTP's, metadata is gRPC's."""
    there = place is Place.ANY or (place is Place.METADATA) is grpc
    assert unit_of("x", (FieldSource("device", place),), Said({b"device": b"d"}, grpc)) == (b"d" if there else None)


def test_a_policy_says_how_much_of_a_body_it_needs() -> None:
    """Nothing, where nothing in a body is asked for."""
    assert body_needed(()) == body_needed((FieldSource("x"),)) == 0
    assert body_needed((JsonSource("$.a", 10), FieldSource("x"), JsonSource("$.b", 20))) == 20


@pytest.mark.parametrize(
    "path",
    [
        "",
        "$",
        "user",
        "$.",
        "$.a b",
        "$..a",
        "$[*]",
        "$[-1]",
        "$['a",
        "$.a[1234567]",
        "$." + "a" * 300,
        None,
        5,
        "$.a[٣]",
    ],
)
def test_a_path_that_is_none_is_refused(path: str) -> None:
    """Only steps to one place: nothing that searches."""
    with pytest.raises(PolicyError, match="no place in a body"):
        JsonSource(path)


@pytest.mark.parametrize("size", [0, -1, LARGEST_BODY + 1, True, 1.5, None])
def test_a_size_that_is_none_is_refused(size: int) -> None:
    """At least a byte, at most what can be read without holding up others."""
    with pytest.raises(PolicyError):
        JsonSource("$.a", size)


def test_sources_that_cannot_be_are_refused() -> None:
    """Too many, the same twice, or something else."""
    check_sources(tuple(FieldSource(f"x{n}") for n in range(MOST_SOURCES)))
    wrong: list[object] = [
        tuple(FieldSource(f"x{n}") for n in range(MOST_SOURCES + 1)),
        (FieldSource("x"), FieldSource("x")),
        [FieldSource("x")],
        ("x",),
    ]
    for sources in wrong:
        with pytest.raises(PolicyError):
            check_sources(sources)
    with pytest.raises(PolicyError):
        FieldSource("X")
