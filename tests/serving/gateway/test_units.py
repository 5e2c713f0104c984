"""Who was dealt which version is told exactly, of a sample that anybody can draw again."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from router.choose import Choice, Reason
from router.policy import Policy
from serving.gateway.counters import Outcome
from serving.gateway.dispatch import Way
from serving.gateway.units import MOST, NOBODY, Dealt, second_hash
from serving.totals import WHOLE
from tests.examples import examples

EPOCH = 3
POLICY = Policy(1)


def way(unit: bytes, version: int = 1, *, named: bool = True, bucket: int | None = 7, epoch: int = EPOCH) -> Way:
    """Of a request that was dealt this version."""
    nothing: Any = cast("Any", None)
    return Way(nothing, nothing, Choice(version, Reason.STABLE, bucket), epoch, 0, unit, named)


def dealt(policy: Policy = POLICY) -> Dealt:
    """One at the epoch of all ways."""
    one = Dealt()
    one.goes_by(policy, EPOCH)
    return one


def told(one: Dealt, *, arrives: bool = True) -> dict[tuple[int, int], int]:
    """What the next message says, by hash and version."""
    units = one.take()
    if arrives:
        one.arrived()
    else:
        one.failed()
    return {} if units is None else {(seen.hashed, seen.version): seen.mask for seen in units.seen}


def test_a_unit_is_told_once_in_a_message_with_how_its_attempts_ended() -> None:
    """However often it asks; and in the next message only if it asks again, or has an end to report."""
    one, ours = dealt(), way(b"ann")
    first, second = one.deal(ours), one.deal(ours)
    assert first == second == second_hash(b"ann")
    one.ended(first, ours, Outcome.OK, 9)
    assert told(one) == {(first, 1): 1}
    one.ended(second, ours, Outcome.LATE, 9)
    assert told(one) == {(second, 1): 1 << Outcome.LATE}
    assert told(one) == {}


def took(one: Dealt, *, arrives: bool = True) -> list[tuple[int, bool] | None]:
    """How long attempts took, by the next message."""
    units = one.take()
    if arrives:
        one.arrived()
    else:
        one.failed()
    return [] if units is None else [seen.took for seen in units.seen]


def test_it_is_told_how_long_the_attempt_took_that_ended_first() -> None:
    """Since the last message; of one that had no answer, how long it had none."""
    one, ours = dealt(), way(b"ann")
    hashed = one.deal(ours)
    assert took(one) == [None]
    one.ended(hashed, ours, Outcome.OK, 0)
    one.ended(hashed, ours, Outcome.LATE, 300)
    assert took(one) == [(0, True)]
    one.ended(hashed, ours, Outcome.LATE, 300)
    one.ended(hashed, ours, Outcome.OK, 5)
    assert took(one) == [(300, False)]


def test_of_a_message_that_failed_it_is_still_the_first() -> None:
    """What came since is later, also where it was told of while nobody knew."""
    one, ours = dealt(), way(b"ann")
    hashed = one.deal(ours)
    one.ended(hashed, ours, Outcome.OK, 7)
    units = one.take()
    one.ended(hashed, ours, Outcome.SERVER_ERROR, 9)
    one.deal(way(b"bob"))
    one.failed()
    assert units is not None
    assert took(one) == [(7, True), None]


def test_a_unit_that_has_no_answer_yet_is_told() -> None:
    """The assignment counts, before anything can become of it."""
    one = dealt()
    assert told(one) == {}
    one.deal(way(b"ann"))
    assert told(one) == {(second_hash(b"ann"), 1): 0}


def test_who_names_no_unit_is_a_number() -> None:
    """Running totals by version, and no unit's business."""
    one = dealt()
    assert [one.deal(way(b"nonce", version, named=False)) for version in (1, 2, 1)] == [NOBODY] * 3
    assert (one.drawn, told(one)) == ({1: 2, 2: 1}, {})


def test_what_no_bucket_decided_is_not_counted() -> None:
    """Rules, overrides and paths are nobody's draw."""
    one = dealt()
    assert one.deal(way(b"ann", bucket=None)) == one.deal(way(b"n", named=False, bucket=None)) == NOBODY
    assert (one.drawn, told(one)) == ({}, {})


def test_what_another_policy_dealt_is_not_counted() -> None:
    """A request that took its time to arrive, or its answer, says nothing about who is dealt what by now."""
    one, old = dealt(), way(b"ann")
    late = one.deal(old)
    one.goes_by(Policy(1, salt="other"), EPOCH + 1)
    one.ended(late, old, Outcome.OK, 9)
    assert (one.deal(old), one.deal(way(b"n", named=False)), told(one), one.drawn) == (NOBODY, NOBODY, {}, {})
    assert one.deal(way(b"ann", epoch=EPOCH + 1)) == second_hash(b"ann")


def test_an_answer_is_counted_across_epochs_of_other_models() -> None:
    """The model's own policy is what counts, not the number of the epoch."""
    one, ours = dealt(), way(b"ann")
    hashed = one.deal(ours)
    one.goes_by(POLICY, EPOCH + 1)
    one.ended(hashed, ours, Outcome.SERVER_ERROR, 9)
    assert told(one) == {(hashed, 1): 1 << Outcome.SERVER_ERROR}


def test_the_sample_halves_and_begins_anew_with_an_epoch() -> None:
    """A message never has more than so many units, and all of them that are below its threshold."""
    one = dealt()
    names = [b"%d" % number for number in range(5 * MOST)]
    for name in names:
        one.deal(way(name))
    threshold = one.threshold
    assert threshold < WHOLE
    assert WHOLE % threshold == 0
    seen = told(one)
    assert 0 < len(seen) <= MOST
    assert {hashed for hashed, _ in seen} == {h for h in map(second_hash, names) if h < threshold}
    assert one.threshold == threshold
    one.goes_by(POLICY, EPOCH + 1)
    assert one.threshold == WHOLE


events = st.lists(
    st.tuples(st.sampled_from(("deal", "end", "arrives", "fails")), st.integers(0, 900), st.integers(1, 2),
              st.sampled_from(Outcome)),
    max_size=80,
)  # fmt: skip


@settings(max_examples=examples(200))
@given(events, st.booleans())
def test_nothing_is_lost_and_nothing_is_made_up(some: list[tuple[str, int, int, Outcome]], many: bool) -> None:  # noqa: FBT001
    """Of units below the last threshold everything arrives, whichever messages fail on the way, and nothing else."""
    one = dealt()
    truth: dict[tuple[int, int], int] = {}
    heard: dict[tuple[int, int], int] = {}

    def do(number: int, version: int, outcome: Outcome | None) -> None:
        ours = way(b"%d" % number, version)
        hashed = one.deal(ours)
        mask = 0 if outcome is None else 1 << outcome
        if outcome is not None and hashed != NOBODY:
            one.ended(hashed, ours, outcome, 9)
        key = second_hash(b"%d" % number), version
        truth[key] = truth.get(key, 0) | mask

    def hear(*, arrives: bool) -> None:
        for key, mask in told(one, arrives=arrives).items():
            heard[key] = heard.get(key, 0) | mask

    for number in range(MOST + 100 if many else 0):
        do(number, 1, None)
    for what, number, version, outcome in some:
        if what in {"deal", "end"}:
            do(number, version, outcome if what == "end" else None)
        else:
            hear(arrives=what == "arrives")
    hear(arrives=True)
    below = {key: mask for key, mask in truth.items() if key[0] < one.threshold}
    assert {key: mask for key, mask in heard.items() if key[0] < one.threshold} == below
    assert all(truth[key] | mask == truth[key] for key, mask in heard.items())
