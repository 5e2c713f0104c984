"""A policy is right or it cannot be built, and changing shares moves as few units as it can."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import PolicyError
from router.match import Match
from router.policy import (
    LARGEST_VERSION,
    LONGEST_SALT,
    MOST_RULES,
    WHOLE,
    Arm,
    Policy,
    Role,
    Rule,
    Shadow,
    format_share,
    parse_share,
)
from router.unit import FieldSource

RULE = Rule(9, (Match("x", ("a",)),))

shares_of_a_few = st.dictionaries(st.integers(2, 6), st.integers(0, WHOLE), max_size=4).map(
    lambda asked: {version: share // max(1, len(asked)) for version, share in asked.items()}
)


def owned(policy: Policy, version: int) -> set[int]:
    """Which of a thousand buckets, spread evenly and off the round numbers, the version owns."""
    owner = {
        bucket: arm.version
        for start, end, arm in policy.ranges
        for bucket in range(37, WHOLE, 997)
        if start <= bucket < end
    }
    return {bucket for bucket in range(37, WHOLE, 997) if owner.get(bucket, policy.stable) == version}


@given(st.lists(shares_of_a_few, max_size=8))
def test_whatever_is_asked_in_turn_the_arms_stay_disjoint(steps: list[Mapping[int, int]]) -> None:
    """Shares are exactly those asked for, sum to all traffic, and no bucket has two owners."""
    policy = Policy(stable=1)
    for shares in steps:
        policy = policy.with_shares(shares)
        assert policy.shares() == {1: WHOLE - sum(shares.values()), **shares}
        assert sum(policy.shares().values()) == WHOLE
        assert all(left[1] <= right[0] for left, right in pairwise(policy.ranges))


def test_an_arm_without_a_share_inside_anothers_range_takes_no_room() -> None:
    """A third arm is laid beside the second, not into it, though a sleeping one lies in between."""
    policy = Policy(stable=1).with_shares({2: 100_000, 3: 100_000}).with_shares({2: 600_000, 3: 0})
    assert policy.with_shares({2: 600_000, 3: 0, 4: 400_000}).shares() == {1: 0, 2: 600_000, 3: 0, 4: 400_000}


@given(st.lists(st.integers(0, WHOLE), min_size=2, max_size=6))
def test_one_arm_grows_by_adding_and_shrinks_by_removing(shares: list[int]) -> None:
    """Raising a canary's share never takes a unit from it, and lowering it never adds one."""
    policy = Policy(stable=1).with_shares({2: shares[0]})
    for before, after in pairwise(shares):
        changed = policy.with_shares({2: after})
        units, then = owned(policy, 2), owned(changed, 2)
        assert units <= then if after >= before else then <= units
        policy = changed


@given(shares_of_a_few, st.data())
def test_arms_that_only_shrink_are_given_no_unit(shares: Mapping[int, int], data: st.DataObject) -> None:
    """Lowering shares moves units to stable, never from one arm to another."""
    policy = Policy(stable=1).with_shares(shares)
    lower = {version: data.draw(st.integers(0, share)) for version, share in shares.items()}
    changed = policy.with_shares(lower)
    for version in shares:
        assert owned(changed, version) <= owned(policy, version)


@given(shares_of_a_few, shares_of_a_few)
def test_an_arm_that_keeps_its_place_flips_nobody(first: Mapping[int, int], then: Mapping[int, int]) -> None:
    """Wherever there was room, the larger of two shares of an arm holds all units of the smaller."""
    before = Policy(stable=1).with_shares(first)
    after = before.with_shares(then)
    places = {arm.version: arm.offset_ppm for arm in before.arms}
    for arm in after.arms:
        if places.get(arm.version) == arm.offset_ppm:
            smaller, larger = sorted((owned(before, arm.version), owned(after, arm.version)), key=len)
            assert smaller <= larger


def test_arms_keep_their_places_while_there_is_room() -> None:
    """Two arms grow side by side to a third each, and neither moves."""
    policy = Policy(stable=1).with_shares({2: 10_000, 3: 10_000})
    places = {arm.version: arm.offset_ppm for arm in policy.arms}
    for share in (50_000, 200_000, 330_000):
        policy = policy.with_shares({2: share, 3: share})
        assert {arm.version: arm.offset_ppm for arm in policy.arms} == places


def test_an_arm_keeps_its_role() -> None:
    """A canary whose share changes is a canary still."""
    policy = Policy(1, (Arm(2, 10, role=Role.CANARY),)).with_shares({2: 20, 3: 30})
    assert {arm.version: arm.role for arm in policy.arms} == {2: Role.CANARY, 3: Role.ARM}


@pytest.mark.parametrize(
    "shares", [{1: 10}, {2: WHOLE + 1}, {2: -1}, {2: 600_000, 3: 600_000}, {2: True}, {2: 0.5}, {0: 1}, {"2": 1}]
)
def test_shares_that_cannot_be_are_refused(shares: dict[int, int]) -> None:
    """Stable among the arms, more than all, less than nothing, halves of a part, and versions that are none."""
    with pytest.raises(PolicyError):
        Policy(stable=1).with_shares(shares)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("stable", 0),
        ("stable", True),
        ("stable", LARGEST_VERSION + 1),
        ("arms", (Arm(1, 1),)),
        ("arms", (Arm(2, 1), Arm(2, 1, 5))),
        ("arms", (Arm(2, 10), Arm(3, 10, 9))),
        ("salt", "a\0b"),
        ("salt", "s" * 257),
        ("salt", "\ud800"),
        ("unit_header", "Unit"),
        ("unit_header", ""),
        ("unit_header", "a b"),
        ("unit_header", "a\n"),
        ("allow_override", "yes"),
        ("repeatable", 1),
        ("shadows", (Shadow(2), Shadow(2, 5, "other"))),
        ("shadows", (Shadow(2, noise_ppm=1),)),
        ("rules", [RULE]),
        ("rules", ("x",)),
        ("rules", (RULE,) * (MOST_RULES + 1)),
        ("unit_sources", [FieldSource("x")]),
        ("unit_sources", (FieldSource("x"), FieldSource("x"))),
    ],
)
def test_a_policy_that_cannot_be_is_not_built(field: str, value: object) -> None:
    """What is built can be relied on, so what cannot be relied on is not built."""
    with pytest.raises(PolicyError):
        Policy(**{"stable": 1, field: value})  # type: ignore[arg-type]


def test_an_arm_beyond_the_last_bucket_is_not_built() -> None:
    """Offset and share together stay within all traffic."""
    assert Arm(2, 1, WHOLE - 1).end_ppm == WHOLE
    with pytest.raises(PolicyError, match="would own buckets"):
        Arm(2, 2, WHOLE - 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 0},
        {"version": True},
        {"version": "2"},
        {"version": LARGEST_VERSION + 1},
        {"sample_ppm": -1},
        {"sample_ppm": WHOLE + 1},
        {"sample_ppm": 0.5},
        {"sample_ppm": True},
        {"salt": "a\0b"},
        {"salt": "s" * (LONGEST_SALT + 1)},
        {"salt": "\ud800"},
        {"salt": 5},
        {"when": [Match("x", ("a",))]},
        {"max_per_s": 0},
        {"max_per_s": True},
        {"max_in_flight": 0.5},
        {"max_in_flight": 10**9},
        {"noise_ppm": -1},
        {"noise_ppm": True},
    ],
)
def test_a_shadow_that_cannot_be_is_not_built(fields: dict[str, object]) -> None:
    """Its version is one, its sample is whole parts of all units, its salt is text."""
    with pytest.raises(PolicyError):
        Shadow(**{"version": 2, **fields})  # type: ignore[arg-type]


def test_a_rule_has_a_version_and_a_condition() -> None:
    """What holds for everybody is a share, not a rule."""
    with pytest.raises(PolicyError, match="no condition"):
        Rule(2, ())
    with pytest.raises(PolicyError):
        Rule(0, RULE.when)
    assert Policy(1, rules=(RULE,)).versions == (1, RULE.version)


def test_a_shadow_gets_everything_unless_told_otherwise() -> None:
    """And its sample is not drawn by the salt of the split."""
    assert Shadow(2) == Shadow(2, WHOLE, "shadow")
    assert Shadow(2).salt != Policy(1).salt


def test_a_model_that_may_not_be_repeated_has_no_shadows() -> None:
    """A copy is a request that is sent a second time."""
    with pytest.raises(PolicyError, match="leave the shadows out"):
        Policy(1, repeatable=False, shadows=(Shadow(2),))


def test_a_policy_names_each_of_its_versions_once() -> None:
    """Stable first; a shadow may be an arm as well, or stable itself."""
    policy = Policy(1, (Arm(3, 10), Arm(2, 10, 20)), shadows=(Shadow(4), Shadow(2), Shadow(1)))
    assert policy.versions == (1, 3, 2, 4)


@given(shares_of_a_few)
def test_shares_are_no_matter_of_shadows(shares: Mapping[int, int]) -> None:
    """Shadows own no bucket, and stay what they are while shares change."""
    shadows = (Shadow(8, 500_000), Shadow(9))
    policy = Policy(1, shadows=shadows).with_shares(shares)
    assert policy.shadows == shadows
    assert policy.shares() == Policy(1).with_shares(shares).shares()
    assert policy.ranges == Policy(1).with_shares(shares).ranges


@given(st.integers(0, WHOLE))
def test_a_share_is_read_as_it_is_written(share: int) -> None:
    """What is shown can be typed back, exactly."""
    assert parse_share(format_share(share)) == share
    assert parse_share(f"{share}ppm") == share


@pytest.mark.parametrize(
    ("text", "ppm"),
    [("12.5%", 125_000), (" 0.01 % ", 100), ("0", 0), ("0.0", 0), ("100%", WHOLE), ("0.0001%", 1), ("5PPM", 5)],
)
def test_people_write_shares_in_several_ways(text: str, ppm: int) -> None:
    """Per cent and parts per million, with or without a space."""
    assert parse_share(text) == ppm


@pytest.mark.parametrize(
    "text",
    ["0.5", "50", "", "%", "101%", "1000001ppm", "0.00001%", "0.5ppm", "-1%", "1e2%", "½%", "\u0665%", "1%%", "nan%"],
)
def test_a_share_is_never_guessed(text: str) -> None:
    """A bare number could mean either, and what is finer than a part per million is no share."""
    with pytest.raises(PolicyError):
        parse_share(text)


def test_a_share_is_shown_without_noise() -> None:
    """Exact, and no trailing zeros."""
    assert [format_share(n) for n in (0, 1, 125_000, 500_000, WHOLE)] == ["0 %", "0.0001 %", "12.5 %", "50 %", "100 %"]
    assert math.isclose(sum(float(format_share(n).split()[0]) for n in (333_333, 666_667)), 100)
