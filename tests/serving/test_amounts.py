"""Percentages and times, as people type them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.plan_form import seconds_of as seconds_in_documents
from router.policy import WHOLE, format_share, parse_share
from router.stage import LONGEST_S
from serving.amounts import pair_of, percent_of, seconds_of, share_of, step_of, time_of

SHARES = st.integers(0, WHOLE)
TIMES = st.integers(0, LONGEST_S)


@given(SHARES)
def test_every_form_of_a_share_means_the_same(share: int) -> None:
    """What is shown can be typed, and in documents as well; a canary's steps without their unit, too."""
    percent = percent_of(share)
    forms = [percent, f" {percent} ", f"{share}ppm", f"{share}/1000000", format_share(share)]
    assert {share_of(form) for form in forms} == {share}
    assert {step_of(form) for form in [*forms, percent.removesuffix("%")]} == {share}
    assert parse_share(percent) == share
    assert pair_of(f"2={percent}") == pair_of(f" 2 : {percent}") == (2, share)


@given(TIMES)
def test_every_form_of_a_time_means_the_same(seconds: int) -> None:
    """What is shown can be typed, in words and with spaces, and in documents as well."""
    shown = time_of(seconds)
    words = shown.replace("d", " days ").replace("h", " Hours ").replace("m", " min ").replace("s", " sec ")
    words = words.replace("Hour sec ", "Hours ").replace("day sec ", "days ")
    assert seconds_of(shown) == seconds_of(f" {shown.upper()} ") == seconds_of(words) == seconds
    assert seconds_in_documents(shown) == seconds


@given(st.floats(0, LONGEST_S))
def test_a_time_is_shown_rounded_up(seconds: float) -> None:
    """'0s' is shown for what is over, and for nothing else."""
    assert (time_of(seconds) == "0s") is (seconds == 0)
    assert seconds_of(time_of(seconds)) == math.ceil(seconds)


@pytest.mark.parametrize(
    ("text", "share"),
    [("12.5%", 125_000), ("125000ppm", 125_000), ("1/8", 125_000), ("0", 0), ("100%", WHOLE)],
)
def test_shares_that_people_type(text: str, share: int) -> None:
    """With their unit."""
    assert share_of(text) == step_of(text) == share


@pytest.mark.parametrize(("text", "share"), [("12.5", 125_000), ("1", 10_000), (" 100 ", WHOLE)])
def test_a_bare_number_is_a_step_of_a_canary_and_nothing_else(text: str, share: int) -> None:
    """Among steps it is a percentage; alone it could be parts per million, and is refused with both ways to say it."""
    assert step_of(text) == share
    with pytest.raises(ValueError, match="write '10%' or '100000ppm'"):
        share_of(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1h30m", 5_400), ("90s", 90), ("1.5h", 5_400), ("10 min", 600), ("2 days 1 hour", 176_400), ("1w", 604_800)],
)
def test_times_that_people_type(text: str, seconds: int) -> None:
    """Short or in words."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x", "no share"),
        ("", "no share"),
        ("-1", "no share"),
        ("10", "write '10%' or '100000ppm'"),
        ("101%", "more than all"),
        ("2/1", "more than all"),
        ("1/0", "more than all"),
        ("1/3", "33.3333%"),
        ("0.00001%", "finer than one part"),
        ("1.5ppm", "finer than one part"),
    ],
)
def test_what_is_no_share_is_told(text: str, says: str) -> None:
    """With what is wrong, and for a fraction with the nearest one."""
    with pytest.raises(ValueError, match=says):
        share_of(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("10", "no time"),
        ("", "no time"),
        ("h", "no time"),
        ("10x", "no time"),
        ("10m!", "no time"),
        ("-5m", "no time"),
        ("0.5s", "whole number of seconds"),
        ("367d", "longer than 366d"),
        ("999999999w", "longer than"),
    ],
)
def test_what_is_no_time_is_told(text: str, says: str) -> None:
    """A bare number could be seconds or minutes."""
    with pytest.raises(ValueError, match=says):
        seconds_of(text)


@given(st.text(max_size=12))
def test_any_text_is_a_share_or_refused(text: str) -> None:
    """With a sentence, never another error."""
    for read in (share_of, seconds_of, pair_of):
        try:
            read(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - either way is right


@pytest.mark.parametrize("text", ["2", "=5", "0=5%", "x=5%", "2=", "99999999999=1%"])
def test_a_pair_names_a_version_and_a_share(text: str) -> None:
    """Or it is refused."""
    with pytest.raises(ValueError, match=r"."):
        pair_of(text)
