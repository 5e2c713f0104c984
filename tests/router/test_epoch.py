"""A snapshot is changed by making the next one, and a gateway takes only heads that descend from what it runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.epoch import BEGINNING, EMPTY, NO_HEAD, Entry, Head, Snapshot, Step, step
from router.errors import PolicyError

RUNNING = Head(5, "d5", "d4")


@pytest.mark.parametrize(
    ("running", "shown", "remembered", "decision"),
    [
        (NO_HEAD, NO_HEAD, None, Step.STAY),
        (NO_HEAD, Head(1, "d1", ""), None, Step.TAKE),
        (NO_HEAD, Head(99, "d99", "d98"), None, Step.TAKE),
        (RUNNING, RUNNING, "d5", Step.STAY),
        (RUNNING, RUNNING, None, Step.STAY),
        (RUNNING, Head(5, "d5", "another parent"), "d5", Step.STAY),
        (RUNNING, Head(6, "d6", "d5"), "d5", Step.TAKE),
        (RUNNING, Head(9, "d9", "d8"), "d5", Step.TAKE),
        (RUNNING, Head(6, "d6", "d5"), None, Step.HOLD),
        (RUNNING, Head(6, "d6", "x5"), "x5", Step.HOLD),
        (RUNNING, Head(5, "x5", "d4"), "x5", Step.HOLD),
        (RUNNING, Head(5, "x5", "d4"), "d5", Step.HOLD),
        (RUNNING, Head(4, "d4", "d3"), "d5", Step.HOLD),
        (RUNNING, Head(4, "d4", "d3"), None, Step.HOLD),
        (RUNNING, NO_HEAD, None, Step.HOLD),
        (RUNNING, NO_HEAD, "d5", Step.HOLD),
    ],
)
def test_a_head_is_taken_only_if_it_descends(
    running: Head, shown: Head, remembered: str | None, decision: Step
) -> None:
    """Newer, and from the very line that runs; older, forked, forgotten or of an unknown line is held."""
    assert step(running, shown, remembered) is decision


heads = st.builds(Head, st.integers(0, 4), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "a", "b"]))


@given(heads, heads, st.sampled_from([None, "a", "b"]))
def test_nothing_older_is_ever_taken(running: Head, shown: Head, remembered: str | None) -> None:
    """No share may grow because the store forgot."""
    if step(running, shown, remembered) is Step.TAKE:
        assert running == NO_HEAD or shown.epoch > running.epoch


def test_the_next_snapshot_has_the_policy_and_all_others() -> None:
    """One epoch later, the model's revision one higher, its parent named, and the old one unchanged."""
    first = EMPTY.with_policy("digits", "p1", parent=BEGINNING)
    second = first.with_policy("fraud", "q1", parent="s1")
    third = second.with_policy("digits", "p2", parent="s2")
    assert (third.epoch, third.parent) == (3, "s2")
    assert third.models == {"digits": Entry("p2", 2), "fraud": Entry("q1", 1)}
    assert (first.revision_of("digits"), first.revision_of("fraud")) == (1, 0)
    assert EMPTY.models == {}


def test_a_snapshot_cannot_be_changed_in_place() -> None:
    """Neither through its own mapping nor through the one that it was made from."""
    given_models = {"digits": Entry("p", 1)}
    snapshot = Snapshot(1, "", given_models)
    given_models.clear()
    assert snapshot.revision_of("digits") == 1
    with pytest.raises(TypeError):
        snapshot.models["digits"] = Entry("q", 1)  # type: ignore[index]


@pytest.mark.parametrize(("digest", "revision"), [("", 1), ("d", 0), ("d", "1"), (None, 1)])
def test_an_entry_that_cannot_be_is_not_built(digest: str, revision: int) -> None:
    """It names a policy, and revisions count from 1."""
    with pytest.raises(PolicyError):
        Entry(digest, revision)
