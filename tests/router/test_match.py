"""A condition asks one field of a request, of the protocol that it names; what is not there fulfils none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import PolicyError
from router.match import LONGEST_TEXT, MOST_CONDITIONS, MOST_VALUES, How, Match, Place, Said, all_hold, check_conditions
from tests.router.cases import matches, texts


@given(texts, texts)
def test_each_comparison_means_what_it_says(value: str, wanted: str) -> None:
    """Equal, beginning with, and among, on the bytes of UTF-8."""
    said = Said({b"x": value.encode()})
    assert Match("x", (wanted,)).holds(said) is (value == wanted)
    assert Match("x", (wanted,), How.PREFIX).holds(said) is value.encode().startswith(wanted.encode())
    assert Match("x", tuple({wanted, "other"}), How.IN).holds(said) is (value in {wanted, "other"})


def test_a_pattern_is_held_against_the_whole_value() -> None:
    """What a pattern means is told in its own tests."""
    region = Match("region", (r"eu-(west|north)-\d+",), How.REGEX)
    assert region.holds(Said({b"region": b"eu-west-12"}))
    assert not region.holds(Said({b"region": b"eu-west-12x"}))


@given(matches)
def test_a_field_that_is_not_there_fulfils_no_condition(match: Match) -> None:
    """Silence is not a yes, whatever is asked."""
    assert not match.holds(Said({}))
    assert not match.holds(Said({}, grpc=True))


@given(matches, texts, st.booleans())
def test_a_condition_on_one_protocol_is_not_fulfilled_by_the_other(match: Match, value: str, grpc: bool) -> None:  # noqa: FBT001 (drawn)
    """Headers are HTTP's, metadata is gRPC's, and `any` is whichever there is."""
    said = Said({match.name.encode(): value.encode()}, grpc)
    wrong_side = match.place is (Place.HEADER if grpc else Place.METADATA)
    assert match.holds(said) is (match.passes(value.encode()) and not wrong_side)


@given(st.lists(matches, max_size=4), st.dictionaries(st.sampled_from([b"a", b"b"]), st.just(b"v")))
def test_several_conditions_hold_together(several: list[Match], fields: dict[bytes, bytes]) -> None:
    """All of them, or none is enough."""
    said = Said(fields)
    assert all_hold(tuple(several), said) is all(match.holds(said) for match in several)


def test_the_order_of_values_says_nothing() -> None:
    """Equal conditions are equal values, and so have equal bytes."""
    assert Match("x", ("b", "a"), How.IN) == Match("x", ("a", "b"), How.IN)


def test_a_condition_is_said_in_words() -> None:
    """As part of a sentence, and short even where there are many values."""
    assert Match("x-tier", ("gold",)).words() == "x-tier is 'gold'"
    assert Match("x", ("a",), How.PREFIX, Place.METADATA).words() == "metadata x begins with 'a'"
    many = Match("x", tuple("abcde"), How.IN, Place.HEADER)
    assert many.words() == "header x is one of 'a' or 'b' or 'c' or 2 others"


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "X-Tier"},
        {"name": ""},
        {"name": None},
        {"values": ()},
        {"values": "gold"},
        {"values": ("a", "b")},
        {"values": ("a", "a"), "how": How.IN},
        {"values": (5,)},
        {"values": ("\ud800",)},
        {"values": ("x" * (LONGEST_TEXT + 1),)},
        {"values": tuple(map(str, range(MOST_VALUES + 1))), "how": How.IN},
        {"values": ("(",), "how": How.REGEX},
        {"how": "equals to"},
        {"place": "cookie"},
    ],
)
def test_a_condition_that_cannot_be_is_not_built(fields: dict[str, object]) -> None:
    """No such name, no value or too many, no such comparison."""
    with pytest.raises(PolicyError):
        Match(**{"name": "x", "values": ("v",), **fields})  # type: ignore[arg-type]


def test_there_are_not_too_many_conditions() -> None:
    """Each costs every request a look-up."""
    check_conditions((Match("x", ("v",)),) * MOST_CONDITIONS)
    for wrong in ((Match("x", ("v",)),) * (MOST_CONDITIONS + 1), [Match("x", ("v",))], ("x",)):
        with pytest.raises(PolicyError):
            check_conditions(wrong)
