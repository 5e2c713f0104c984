"""What `VERSION=SHARE` arguments turn a policy into."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.control.client import PolicyBody, shares_of
from serving.errors import SluiceError
from serving.shares import check_known, named, read_pair, with_shares

POLICY: PolicyBody = {"stable": 1, "arms": [{"version": 2, "share_ppm": 100_000}], "unit_header": "who"}


@pytest.mark.parametrize(
    ("text", "pair"), [("2=50%", (2, 500_000)), ("3=0", (3, 0)), ("2= 12.5 %", (2, 125_000)), ("1=7ppm", (1, 7))]
)
def test_a_pair_is_read(text: str, pair: tuple[int, int]) -> None:
    """In per cent or in parts per million."""
    assert read_pair(text) == pair


@pytest.mark.parametrize("text", ["2", "=5%", "x=5%", "0=5%", "2=0.5", "2=-1%", "2=101%", "-2=5%", "2=0.00001%"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    """A bare number could mean either, so it is not guessed."""
    with pytest.raises(ValueError, match=r"."):
        read_pair(text)


def test_a_version_has_one_share() -> None:
    """Named twice is refused, also with the same share."""
    with pytest.raises(SluiceError, match="version 2 is named twice"):
        named([(2, 1), (2, 1)])


def test_no_more_than_all_can_be_given_away() -> None:
    """One part per million over is refused."""
    assert named([(2, 999_999), (3, 1)]) == {2: 999_999, 3: 1}
    with pytest.raises(SluiceError, match=r"sum to 100\.0001 %"):
        named([(2, 1_000_000), (3, 1)])


def test_a_version_that_is_not_there_is_refused() -> None:
    """And those that are there are named."""
    check_known("digits", {2: 5}, {1, 2})
    with pytest.raises(SluiceError, match="digits has no version 9") as caught:
        check_known("digits", {2: 5, 9: 5}, {2, 1})
    assert caught.value.hint == "its versions are 1, 2"


def test_stable_may_be_named_with_what_is_left() -> None:
    """With anything else it is refused, since it takes the rest."""
    assert with_shares(POLICY, {1: 500_000, 2: 500_000})["arms"] == [{"version": 2, "share_ppm": 500_000}]
    with pytest.raises(SluiceError, match="version 1 is stable and takes the rest, 60 %, not 50 %"):
        with_shares(POLICY, {1: 500_000, 2: 400_000})


def test_an_arm_at_zero_stays_an_arm() -> None:
    """So that it keeps its place among the buckets, and its units when it is raised again."""
    changed = with_shares(POLICY, {2: 0})
    assert changed == {"stable": 1, "arms": [{"version": 2, "share_ppm": 0}], "unit_header": "who"}


@given(st.dictionaries(st.integers(2, 9), st.integers(0, 125_000), max_size=8))
def test_stable_takes_the_rest(shares: dict[int, int]) -> None:
    """Whatever is named, all shares sum to exactly one million, and versions not named have none."""
    after = shares_of(with_shares(POLICY, shares))
    assert sum(after.values()) == 1_000_000
    assert {version: share for version, share in after.items() if version != 1} == shares
