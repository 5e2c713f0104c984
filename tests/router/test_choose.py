"""A unit's version follows from the policy alone, in the stated order, and the split is what the shares say."""

from __future__ import annotations

from math import exp, lgamma, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.choose import Choice, Facts, Reason, bucket_of, choose, drawn, explain, shadowed
from router.match import Match, Said, all_hold
from router.policy import WHOLE, Arm, Policy, Role, Rule, Shadow
from tests.router.cases import conditions, rules

SPLIT = Policy(stable=1, arms=(Arm(2, 300_000), Arm(3, 200_000, 300_000, Role.CANARY)), salt="s")


@pytest.mark.parametrize(
    ("salt", "unit", "bucket"),
    [
        (b"", b"", 801_883),
        (b"salt", b"unit", 477_401),
        (b"s", b"user-1", 107_922),
        (b"s", b"user-2", 37_572),
        ("é".encode(), bytes(range(256)), 759_480),
    ],
)
def test_the_bucket_of_a_unit_never_changes(salt: bytes, unit: bytes, bucket: int) -> None:
    """Golden vectors: another hash would deal out every unit of every installation anew."""
    assert bucket_of(salt, unit) == bucket


@given(st.binary(max_size=64), st.binary(max_size=64))
def test_a_bucket_lies_in_the_bucket_space(salt: bytes, unit: bytes) -> None:
    """0 to 999,999, whatever the unit."""
    assert 0 <= bucket_of(salt, unit) < WHOLE


def test_salt_and_unit_do_not_run_together() -> None:
    """The zero byte between them keeps 'ab' + 'c' from being 'a' + 'bc'."""
    assert bucket_of(b"ab", b"c") != bucket_of(b"a", b"bc")


@given(st.binary(max_size=32), st.none() | st.integers(1, 9), st.none() | st.integers(1, 9), st.booleans())
def test_the_first_that_applies_decides(unit: bytes, pinned: int | None, override: int | None, allowed: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    """A version in the path, then an override that is allowed, then the arms, then stable."""
    policy = Policy(1, SPLIT.arms, "s", allow_override=allowed)
    choice = choose(policy, Facts(unit, pinned, override))
    if pinned is not None:
        assert choice == Choice(pinned, Reason.PINNED)
    elif override is not None and allowed:
        assert choice == Choice(override, Reason.OVERRIDE)
    else:
        assert choice == drawn(policy, unit)


@given(st.binary(max_size=32))
def test_an_arm_owns_exactly_its_buckets(unit: bytes) -> None:
    """From its offset up to, not including, its end; stable owns the rest."""
    bucket = bucket_of(b"s", unit)
    version, reason = (1, Reason.STABLE)
    if bucket < 300_000:
        version, reason = 2, Reason.ARM
    elif bucket < 500_000:
        version, reason = 3, Reason.CANARY
    assert drawn(SPLIT, unit) == Choice(version, reason, bucket)


@given(st.binary(max_size=32), st.integers(0, WHOLE))
def test_weight_0_means_no_request_at_all(unit: bytes, offset: int) -> None:
    """An arm without a share is never drawn, wherever it lies."""
    assert drawn(Policy(1, (Arm(2, 0, offset),), "s"), unit).version == 1


@given(st.binary(max_size=32))
def test_all_means_every_request(unit: bytes) -> None:
    """An arm with everything leaves stable nothing."""
    assert drawn(Policy(1, (Arm(2, WHOLE),), "s"), unit).version == 2


@given(st.binary(max_size=32), st.none() | st.integers(1, 9), st.none() | st.integers(1, 9))
def test_an_explanation_is_of_the_choice_that_is_made(unit: bytes, pinned: int | None, override: int | None) -> None:
    """Whatever is explained is what happens, in a sentence that names the version."""
    for policy in (SPLIT, Policy(1, SPLIT.arms, "s", allow_override=True)):
        facts = Facts(unit, pinned, override)
        explained = explain(policy, facts)
        assert explained.choice == choose(policy, facts)
        assert f"version {explained.choice.version}" in explained.words
        assert explained.words.endswith(".")


def test_an_override_that_is_not_allowed_is_explained_too() -> None:
    """The client learns why its header did nothing."""
    assert "does not let clients" in explain(SPLIT, Facts(b"u", override=2)).words


fields = st.dictionaries(st.sampled_from([b"a", b"b", b"0"]), st.sampled_from([b"", b"a", b"ab", b"v1"]))


@given(st.lists(rules, max_size=4), fields, st.booleans(), st.binary(max_size=8), st.none() | st.integers(1, 9))
def test_the_first_rule_that_applies_decides_before_any_arm(
    several: list[Rule], said: dict[bytes, bytes], grpc: bool, unit: bytes, pinned: int | None  # noqa: FBT001 (drawn)
) -> None:  # fmt: skip
    """After a version in the path and an override; where none applies, the arms do."""
    policy = Policy(1, SPLIT.arms, "s", rules=tuple(several), allow_override=True)
    facts = Facts(unit, pinned, None, Said(said, grpc))
    applying = [rule for rule in several if all_hold(rule.when, facts.said)]
    if pinned is not None:
        assert choose(policy, facts) == Choice(pinned, Reason.PINNED)
    elif applying:
        assert choose(policy, facts) == Choice(applying[0].version, Reason.RULE)
        assert choose(policy, facts._replace(override=7)) == Choice(7, Reason.OVERRIDE)
    else:
        assert choose(policy, facts) == drawn(SPLIT, unit)
    assert explain(policy, facts).choice == choose(policy, facts)


def test_a_policy_without_rules_looks_at_no_field() -> None:
    """So a gateway need not have any at hand: what would fail when it is touched is not touched."""

    class Untouchable(dict[bytes, bytes]):
        def get(self, *_: object) -> bytes:
            raise AssertionError("nobody may look")

    said = Said(Untouchable())
    assert choose(SPLIT, Facts(b"u", said=said)) == drawn(SPLIT, b"u")
    assert shadowed(Policy(1, shadows=(Shadow(2),)), b"u", said) == (2,)


def test_an_explanation_tells_the_rule_that_applied() -> None:
    """Which one of how many, and on what; or that there were some and none did."""
    ruled = Policy(1, rules=(Rule(2, (Match("x", ("a",)),)), Rule(3, (Match("x", ("b",)), Match("y", ("c",))))))
    words = explain(ruled, Facts(b"u", said=Said({b"x": b"b", b"y": b"c"}))).words
    assert words == "Rule 2 of 2 applies (x is 'b' and y is 'c'), so version 3 answers."
    assert explain(ruled, Facts(b"u")).words.startswith("No rule applies (there are 2). The unit's bucket is")
    assert "No rule" not in explain(ruled, Facts(b"u", pinned=5)).words


def test_an_explanation_tells_who_gets_a_copy() -> None:
    """One version or several, by sample and conditions."""
    policy = Policy(1, shadows=(Shadow(2), Shadow(3, when=(Match("x", ("a",)),))))
    assert explain(policy, Facts(b"u")).words.endswith("Beside that, a copy goes to version 2.")
    assert explain(policy, Facts(b"u", said=Said({b"x": b"a"}))).words.endswith("Copies go to versions 2, 3.")


@given(conditions, fields, st.booleans(), st.binary(max_size=8), st.integers(0, WHOLE))
def test_a_shadow_gets_what_is_in_its_sample_and_fulfils_its_conditions(
    when: tuple[Match, ...], said: dict[bytes, bytes], grpc: bool, unit: bytes, sample: int  # noqa: FBT001 (drawn)
) -> None:  # fmt: skip
    """Both, and nothing else."""
    policy = Policy(1, shadows=(Shadow(2, sample, "x", when),))
    wanted = bucket_of(b"x", unit) < sample and all_hold(when, Said(said, grpc))
    assert shadowed(policy, unit, Said(said, grpc)) == ((2,) if wanted else ())


def binomial_bounds(n: int, p: float, tail: float) -> tuple[int, int]:
    """The counts that n draws of probability p lie outside of with at most `tail` on each side, summed exactly."""

    def mass(k: int) -> float:
        return exp(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) + k * log(p) + (n - k) * log(1 - p))

    spread = int(8 * (n * p * (1 - p)) ** 0.5) + 20
    low, high = max(0, int(n * p) - spread), min(n, int(n * p) + spread)
    below = 0.0
    while (below := below + mass(low)) <= tail:
        low += 1
    above = 0.0
    while (above := above + mass(high)) <= tail:
        high -= 1
    return low, high


@pytest.fixture(scope="module", params=["2024-spring", "checkout:7"])
def buckets(request: pytest.FixtureRequest) -> list[int]:
    """The buckets of a million units under one salt."""
    salt = str(request.param).encode()
    return [bucket_of(salt, b"user-%d" % n) for n in range(1_000_000)]


@pytest.mark.parametrize("share", [100, 10_000, 100_000, 500_000])
@pytest.mark.parametrize("offset", [0, 400_000])
def test_a_million_units_split_as_the_share_says(buckets: list[int], share: int, offset: int) -> None:
    """The count lies within the 99.99 % bounds of the binomial, for a range at the start and one in the middle."""
    drawn_units = sum(offset <= bucket < offset + share for bucket in buckets)
    low, high = binomial_bounds(len(buckets), share / WHOLE, 0.00005)
    assert low <= drawn_units <= high


def test_two_salts_split_independently() -> None:
    """Half of the units of one rollout's arm are in the other's: no one is drawn twice because of the first draw."""
    n = 100_000
    both = sum(
        bucket_of(b"one", b"%d" % unit) < WHOLE // 2 and bucket_of(b"two", b"%d" % unit) < WHOLE // 2
        for unit in range(n)
    )
    low, high = binomial_bounds(n, 0.25, 0.00005)
    assert low <= both <= high


@given(st.binary(max_size=32), st.integers(0, WHOLE))
def test_a_shadow_gets_the_units_of_its_sample(unit: bytes, sample: int) -> None:
    """Those whose bucket under the shadow's own salt lies below the sample; nobody else's."""
    policy = Policy(1, shadows=(Shadow(2, sample, "x"),))
    assert shadowed(policy, unit) == ((2,) if bucket_of(b"x", unit) < sample else ())


@given(st.binary(max_size=32), st.none() | st.integers(1, 9))
def test_a_shadow_changes_no_choice(unit: bytes, pinned: int | None) -> None:
    """Who answers is the same with shadows and without; a sample of nothing is nobody, one of all is everybody."""
    policy = Policy(1, SPLIT.arms, "s", shadows=(Shadow(4), Shadow(5, 0), Shadow(6, WHOLE, "s")))
    assert choose(policy, Facts(unit, pinned)) == choose(SPLIT, Facts(unit, pinned))
    assert shadowed(policy, unit) == (4, 6)
    assert shadowed(SPLIT, unit) == ()


@given(st.binary(max_size=32), st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_a_larger_sample_holds_the_smaller(unit: bytes, one: int, other: int) -> None:
    """Raising a sample only ever adds units."""
    smaller, larger = sorted((one, other))
    before, after = Policy(1, shadows=(Shadow(2, smaller),)), Policy(1, shadows=(Shadow(2, larger),))
    assert set(shadowed(before, unit)) <= set(shadowed(after, unit))


@pytest.mark.parametrize("sample", [10_000, 500_000])
def test_a_sample_is_drawn_from_all_arms_alike(sample: int) -> None:
    """Of an arm's units the share that the sample holds is the sample's, within 99.99 % bounds of the binomial."""
    policy = Policy(1, (Arm(2, 500_000),), "s", shadows=(Shadow(3, sample),))
    units = [b"%d" % number for number in range(100_000)]
    for version in (1, 2):
        of_version = [unit for unit in units if drawn(policy, unit).version == version]
        low, high = binomial_bounds(len(of_version), sample / WHOLE, 0.00005)
        assert low <= sum(bool(shadowed(policy, unit)) for unit in of_version) <= high
