"""Which requests are sampled hangs on their numbers alone, and how many is bounded."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.sampling import WHOLE, Allowance, SampleRule, SampleRules, drawn, key_of
from drift.settings import DriftSettings
from tests.examples import examples

NONCES = st.integers(0, 2**64 - 1)


@given(nonce=NONCES, shares=st.tuples(st.integers(0, WHOLE), st.integers(0, WHOLE)))
@settings(max_examples=examples(200))
def test_a_larger_share_holds_every_smaller_one(nonce: int, shares: tuple[int, int]) -> None:
    """Nothing of all, and all of it at the ends."""
    smaller, larger = sorted(shares)
    assert drawn(nonce, larger) or not drawn(nonce, smaller)
    assert not drawn(nonce, 0)
    assert drawn(nonce, WHOLE)


def test_a_share_is_drawn_evenly_and_keys_have_nothing_to_do_with_it() -> None:
    """Within five standard deviations of the binomial, among all and among those with small keys."""
    nonces = range(20_000)
    few = [nonce for nonce in nonces if drawn(nonce, WHOLE // 10)]
    assert abs(len(few) - 2_000) < 5 * (20_000 * 0.09) ** 0.5
    small = sum(key_of(nonce) < 2**63 for nonce in few)
    assert abs(small - len(few) / 2) < 5 * (len(few) / 4) ** 0.5
    assert len({key_of(nonce) for nonce in nonces}) == 20_000


@given(
    per_s=st.floats(0.1, 1_000),
    steps=st.lists(st.tuples(st.floats(0, 10), st.floats(0, 50)), min_size=1, max_size=50),
)
@settings(max_examples=examples(200))
def test_no_more_is_taken_than_is_allowed(per_s: float, steps: list[tuple[float, float]]) -> None:
    """In any time, the rate times that, a second's worth at once, and the last one taken."""
    allowance, now_s, taken, largest = Allowance(per_s, 0.0), 0.0, 0.0, 0.0
    for wait_s, amount in steps:
        now_s += wait_s
        if allowance.is_open(now_s):
            allowance.take(amount)
            taken, largest = taken + amount, max(largest, amount)
        assert taken <= (per_s * now_s + max(1.0, per_s) + largest) * (1 + 1e-9)


@given(
    per_s=st.integers(-4, 10).map(lambda power: 2.0**power),
    steps=st.lists(st.tuples(st.integers(0, 4_096), st.integers(0, 64)), min_size=1, max_size=50),
)
@settings(max_examples=examples(200))
def test_an_allowance_says_when_it_opens(per_s: float, steps: list[tuple[int, int]]) -> None:
    """Not a moment before a bucket that is filled at every look, and not after it; in binary fractions, so exactly."""
    allowance, now_s = Allowance(per_s, 0.0), 0.0
    most = left = max(1.0, per_s)
    for wait, amount in steps:
        now_s += wait / 1_024
        left = min(most, left + wait / 1_024 * per_s)
        assert allowance.is_open(now_s) == (left >= 1.0)
        assert (now_s >= allowance.opens_s) == (left >= 1.0)
        if left >= 1.0:
            allowance.take(amount)
            left -= amount


def test_an_allowance_that_is_used_up_opens_again() -> None:
    """As soon as there is one to take, whatever the rate."""
    for per_s in (0.5, 1.0, 100.0):
        allowance = Allowance(per_s, 0.0)
        taken = 0
        while allowance.is_open(0.0):
            allowance.take()
            taken += 1
        assert taken == max(1, per_s)
        assert not allowance.is_open(0.5 / per_s)
        assert allowance.is_open(1.001 / per_s)


def test_rules_are_told_in_one_line() -> None:
    """What all models have, what some have, who has none, and what is left out."""
    rules = SampleRules(SampleRule(500, 2.0, always=True), {"quiet": None, "loud": SampleRule(1)}, ("card*",))
    assert SampleRules.from_json(rules.to_json()) == rules
    assert rules.of("quiet") is None
    assert (rules.of("loud"), rules.of("other")) == (SampleRule(1), SampleRule(500, 2.0, always=True))
    assert SampleRules.from_json(SampleRules(None).to_json()).of("any") is None


@pytest.mark.parametrize(
    "line",
    [
        "", "1", "{}", '{"usual": 1, "models": {}, "redact": []}', '{"usual": {"more": 1}, "models": {}, "redact": []}',
        '{"usual": {"share_ppm": 1000001}, "models": {}, "redact": []}',
        '{"usual": {"rows_per_s": 0}, "models": {}, "redact": []}',
        '{"usual": {"stream_bytes": "1"}, "models": {}, "redact": []}',
        '{"usual": {"always": 1}, "models": {}, "redact": []}',
        '{"usual": {"bytes_per_s": NaN}, "models": {}, "redact": []}',
    ],
)  # fmt: skip
def test_rules_that_are_none_are_refused(line: str) -> None:
    """In a sentence."""
    with pytest.raises(ValueError, match=r"\S"):
        SampleRules.from_json(line)


def test_gateways_are_told_what_the_settings_say() -> None:
    """A model that is not watched is not sampled; one without a baseline only where one is to be learned."""
    said: dict[str, Any] = {
        "samples": {"share": "12.5%", "rows_per_s": 7},
        "models": [
            {"name": "off", "enabled": False},
            {"name": "learns", "learn_rows": 2_000},
            {"name": "wide", "samples": {"share": "100ppm", "stream_bytes": 65_536}},
        ],
    }
    settings = DriftSettings.model_validate(said)
    rules = settings.sampling(("card_*",))
    assert rules.of("any") == SampleRule(125_000, 7.0)
    assert rules.of("off") is None
    assert rules.of("learns") == SampleRule(125_000, 7.0, always=True)
    assert rules.of("wide") == SampleRule(100, stream_bytes=65_536)
    assert rules.redact == ("card_*",)
    assert DriftSettings.model_validate_json(settings.model_dump_json()) == settings
    none = DriftSettings.model_validate({"enabled": False, "models": [{"name": "on", "enabled": True}]}).sampling()
    assert (none.of("any"), none.of("on")) == (None, SampleRule())
