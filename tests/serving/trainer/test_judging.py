"""The new version is registered only where it is shown to be better; what decides is what tells the two apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from serving.trainer.judging import LOST, SHOWN, Compared, Verdict, compared, verdict

Right = NDArray[np.bool_]


def right(count: int, of: int) -> Right:
    """The first so many are right."""
    return np.arange(of) < count


def test_a_version_that_wins_where_it_matters_is_better() -> None:
    """Both worlds are told in shares, and nothing speaks against it."""
    found = verdict((right(95, 100), right(94, 100)), (right(40, 100), right(90, 100)), {})
    assert found.is_better
    assert str(found.new) == "new rows: 40.0% before, 90.0% after, of 100 rows"
    assert (found.new.won, found.new.lost) == (50, 0)


def test_a_version_that_is_merely_as_good_is_not() -> None:
    """The same answers, and one row more: neither is shown to be better."""
    for after in (40, 41):
        [objection] = verdict((right(95, 100), right(95, 100)), (right(40, 100), right(after, 100)), {}).objections
        assert "not shown to be better" in objection


def test_the_old_world_is_not_lost() -> None:
    """More than two points fewer of the old rows keep it away, however good it is at the new ones."""
    kept = verdict((right(95, 100), right(93, 100)), (right(40, 100), right(90, 100)), {})
    lost = verdict((right(95, 100), right(92, 100)), (right(40, 100), right(90, 100)), {})
    assert kept.is_better
    assert ["old rows" in one for one in lost.objections] == [True]


def test_a_slice_that_loses_is_named() -> None:
    """Better on the whole, and shown to be worse for one digit: that digit is said."""
    before, after = right(60, 200), right(0, 200)
    before[:20], after[:20] = True, False
    after[20:] = True
    slices = {"digit 3": right(20, 200), "digit 4": ~right(20, 200), "digit 5": right(0, 200)}
    found = verdict((right(1, 1), right(1, 1)), (before, after), slices)
    assert [one.name for one in found.slices] == ["digit 3", "digit 4"]
    assert [one.partition(":")[0] for one in found.objections] == ["it is worse for digit 3"]
    assert found.plain()["slices"][0] == {
        "name": "digit 3", "rows": 20, "before": 1.0, "after": 0.0, "won": 0, "lost": 20
    }  # fmt: skip


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_no_version_is_both_better_and_worse(rows: list[tuple[bool, bool]]) -> None:
    """Whatever both get right; and who exchanges the two exchanges the finding."""
    before, after = (np.array(one, bool) for one in zip(*rows, strict=True))
    there, back = compared("rows", before, after), compared("rows", after, before)
    assert not (there.is_better and there.is_worse)
    assert (there.is_better, there.is_worse) == (back.is_worse, back.is_better)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 20))
def test_more_wins_never_make_it_worse(won: int, lost: int, more: int) -> None:
    """What is better stays better with every further row that it alone gets right."""
    fewer, others = Compared("", 200, 0.5, 0.5, won, lost), Compared("", 200, 0.5, 0.5, won + more, lost)
    assert others.is_better or not fewer.is_better


def test_versions_that_are_as_good_pass_as_rarely_as_is_said() -> None:
    """Of 4,000 pairs of versions that are right as often, no more are taken for better than the chance allows."""
    rng = np.random.default_rng(7)
    passed = sum(compared("", rng.random(150) < 0.7, rng.random(150) < 0.7).is_better for _ in range(4_000))
    allowed = 4_000 * SHOWN
    assert passed <= allowed + 4 * np.sqrt(allowed)


def test_the_bound_of_what_may_be_lost_is_a_share() -> None:
    """Two points are two points, of however many rows."""
    old = Compared("old rows", 1_000, 0.95, 0.95 - LOST + 1e-9, 0, 20)
    assert Verdict(old, Compared("new rows", 100, 0.1, 0.9, 80, 0), ()).is_better
