"""A pattern means what it means elsewhere, and nothing that a stranger sends can make it slow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import PolicyError
from router.pattern import LONGEST_PATTERN, LONGEST_VALUE, MOST_STATES, Pattern
from tests.examples import examples

letters = st.sampled_from(["a", "b", "c", ".", r"\d", "[ab]", "[^a]", "[a-c-]", r"\.", "0", r"[\d_]", "[]a]", "[^]]"])
patterns = st.recursive(
    letters,
    lambda inner: (
        st.lists(inner, max_size=4).map("".join)
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})")
        | st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{2,}"])).map(
            lambda of: f"(?:{of[0]}){of[1]}"
        )
    ),
    max_leaves=8,
)
values = st.text("abc.0_\n-]", max_size=12).map(str.encode) | st.binary(max_size=8)


@settings(max_examples=examples(1_000))
@given(patterns, values)
def test_a_pattern_matches_what_the_standard_library_says(text: str, value: bytes) -> None:
    """The same language as `re.fullmatch` on bytes, without its backtracking."""
    try:
        pattern = Pattern(text)
    except PolicyError as error:
        assert "more than" in str(error) or len(text) > LONGEST_PATTERN  # noqa: PT017 (only size may be refused)
        return
    assert pattern.matches(value) is (re.fullmatch(text.encode(), value) is not None)


@pytest.mark.parametrize("text", [r"(a*)*b", r"(a|a)*b", r"(a|aa)+b", r"(.*.*.*.*)*b", r"([a-z]+)*\d", r"(x+x+)+y"])
def test_what_takes_others_for_ever_is_one_step_a_byte(text: str) -> None:
    """Patterns that are known to make backtracking explode, on values made for it; nothing is timed but the suite."""
    pattern = Pattern(text)
    for letter in (b"a", b"x", b"z"):
        assert not pattern.matches(letter * LONGEST_VALUE)
        assert not pattern.matches(letter * (LONGEST_VALUE - 1) + b"!")


def test_the_table_of_a_pattern_is_bounded() -> None:
    """As many rows as states, each as long as there are kinds of bytes: what one step costs, and what is kept."""
    pattern = Pattern(r"(eu|us)-(west|east)-\d{1,3}|beta-.*")
    assert len(pattern._rows) <= MOST_STATES + 1
    assert max(pattern._kinds) + 1 == len(pattern._rows[0]) < 256


def test_a_value_over_the_limit_never_matches() -> None:
    """And one at the limit may."""
    assert Pattern(".*").matches(b"a" * LONGEST_VALUE)
    assert not Pattern(".*").matches(b"a" * (LONGEST_VALUE + 1))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("(a|b)*a(a|b){12}", "states"),
        (".*a.{30}", "states"),
        ("(([a-z]{50}){10}){3}", "nodes"),
        ("a" * (LONGEST_PATTERN + 1), "at most"),
        ("é", "ASCII"),
        ("a\n", "ASCII"),
        (5, "ASCII"),
        ("^a", "whole value"),
        ("a$", "whole value"),
        ("*a", "where a letter"),
        ("a]", "where a letter"),
        ("a**", "repeat of a repeat"),
        ("a+?", "repeat of a repeat"),
        ("a*+", "repeat of a repeat"),
        ("a{,3}", "count"),
        ("a{3,2}", "falls"),
        ("a{101}", "count over"),
        ("a{2", "count that is not"),
        ("a{2}{3}", "repeat of a repeat"),
        ("(a", "not closed"),
        ("a)", "opens nowhere"),
        ("(?=a)", "kind that is not offered"),
        ("(?P<n>a)", "kind that is not offered"),
        (r"(a)\1", "not offered"),
        (r"\ba", "not offered"),
        ("[a", "end where"),
        ("[z-a]", "range"),
        (r"[\d-z]", "range"),
        ("[[:alpha:]]", "inside a class"),
        ("a\\", "end where"),
        ("(" * 17 + ")" * 17, "deeper"),
    ],
)
def test_what_is_not_in_the_language_is_refused_with_its_place(text: str, why: str) -> None:
    """Too large, too long, not ASCII, or in need of memory, looking around, or backtracking."""
    with pytest.raises(PolicyError, match=re.escape(why)):
        Pattern(text)
