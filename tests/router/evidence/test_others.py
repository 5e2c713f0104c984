"""The rules of other systems: what they decide on counts that can be followed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from router.evidence.special import Floats
from tests.router.evidence.others import LOOK_S, OTHERS, Rule, half_width, looked_at, success_under, twice_stable
from tests.router.evidence.worlds import HARMS, NULLS


def minutes(*failed: int, of: int = 600, stable: int = 0) -> Floats:
    """Counts of one run: so many of the candidate's requests failed in each minute, all of them in its first look."""
    counts = np.zeros((6 * len(failed), 4, 1))
    for minute, x in enumerate(failed):
        counts[6 * minute, :, 0] = x, x + stable, of, of
    return counts


@pytest.mark.parametrize(
    ("rule", "counts", "second"),
    [
        (success_under(0.99, 1), minutes(6, 6, 7), 180.0),
        (success_under(0.99, 2), minutes(7, 0, 0, 7, 7), 240.0),
        (success_under(0.95, 4), minutes(31, 31, 31), np.inf),
        (success_under(0.95, 4), minutes(31, 31, 31, 31), 240.0),
        (twice_stable, minutes(6, 6, 6, stable=3), np.inf),
        (twice_stable, minutes(7, 0, 7, 7, stable=3), 240.0),
        (twice_stable, minutes(0, 0, 0), np.inf),
    ],
    ids=range(7),
)
def test_minutes_are_counted(rule: Rule, counts: Floats, second: float) -> None:
    """Each counts once, and they need not follow one another."""
    assert rule(counts).tolist() == [second]


def test_a_minute_without_requests_says_nothing() -> None:
    """It is neither a failure nor a success."""
    assert success_under(0.99, 1)(minutes(0, 0, of=0)).tolist() == [np.inf]


def test_growthbooks_sequence() -> None:
    """A thousand and ten thousand values of variance 1: the half-widths that gbstats 0.8.0 gives (STATS.md)."""
    n = np.array([1_000.0, 10_000.0])
    assert half_width(1 / n, n, 0.05) == pytest.approx([0.10637547006557503, 0.030614772188674172], rel=1e-12)


@pytest.mark.parametrize("name", OTHERS)
def test_no_rule_alarms_where_nothing_fails(name: str) -> None:
    """And each that finds anything finds a candidate half of whose requests fail."""
    sound, broken = np.zeros((180, 4, 2)), np.zeros((180, 4, 2))
    sound[:, 2:], broken[:, 2:], broken[:, :2] = 100, 100, 50
    rule = OTHERS[name].rule
    assert np.isinf(rule(sound)).all()
    assert np.isfinite(rule(broken)).all()


def test_figures_are_of_the_same_worlds() -> None:
    """One for each null, and one for each harm or none at all; counts come in looks of ten seconds."""
    assert all(len(other.false) == len(NULLS) for other in OTHERS.values())
    assert {len(other.seconds) for other in OTHERS.values()} == {0, len(HARMS)}
    shown = looked_at(np.random.default_rng(1), NULLS["N1 stationary"], runs=3, seconds=120)
    assert shown.shape == (120 // LOOK_S, 4, 3)
