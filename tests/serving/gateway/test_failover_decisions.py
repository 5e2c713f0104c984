"""What follows a failure, decided without a socket: every case of it, and what no sequence of cases can lead to."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.failover import MOST_DIALS, Budget, Failure, Next, Quarantine, next_step
from serving.gateway.health import Health

ANY = None
SEEN = frozenset(Failure) - {Failure.REFUSED}
# (failures, repeated, may repeat, others, stable) and what follows; the first row that fits.
TABLE: tuple[tuple[frozenset[Failure], bool | None, bool | None, bool | None, bool | None, Next], ...] = (
    (SEEN, True, ANY, ANY, ANY, Next.GIVE_UP),
    (SEEN, ANY, False, ANY, ANY, Next.GIVE_UP),
    (SEEN, ANY, ANY, ANY, True, Next.STABLE),
    (frozenset({Failure.BROKEN}), ANY, ANY, ANY, False, Next.AGAIN),
    (frozenset({Failure.LATE, Failure.UNAVAILABLE}), ANY, ANY, True, False, Next.AGAIN),
    (frozenset({Failure.LATE, Failure.UNAVAILABLE}), ANY, ANY, False, False, Next.GIVE_UP),
    (frozenset({Failure.ERROR}), ANY, ANY, ANY, False, Next.GIVE_UP),
)
FLAGS = [(a, b, c, d) for a, b, c, d in product((False, True), repeat=4)]
FLOOR_PER_S = 10
SAVED_UP = 100


def in_table(failure: Failure, flags: tuple[bool, bool, bool, bool]) -> Next:
    """What the table says."""
    for failures, *wanted, step in TABLE:
        if failure in failures and all(want in {ANY, flag} for want, flag in zip(wanted, flags, strict=True)):
            return step
    raise AssertionError((failure, flags))


@pytest.mark.parametrize("failure", [failure for failure in Failure if failure in SEEN])
def test_what_follows_a_failure_that_a_model_may_have_seen(failure: Failure) -> None:
    """Stable answers, or another replica does, where it was sent once only and may be sent again."""
    for attempts, flags in product(range(1, 7), FLAGS):
        repeated, may_repeat, has_others, has_stable = flags
        step = next_step(
            failure, attempts=attempts, repeated=repeated, may_repeat=may_repeat, has_others=has_others,
            has_stable=has_stable,
        )  # fmt: skip
        assert step is in_table(failure, flags), (attempts, flags)


def test_what_follows_a_refused_connection() -> None:
    """Another replica is dialled, three of them at most, then stable, repeatable or not: no model has seen it."""
    for attempts, (repeated, may_repeat, has_others, has_stable) in product(range(1, 7), FLAGS):
        step = next_step(
            Failure.REFUSED, attempts=attempts, repeated=repeated, may_repeat=may_repeat, has_others=has_others,
            has_stable=has_stable,
        )  # fmt: skip
        if has_others and attempts < MOST_DIALS:
            assert step is Next.AGAIN
        else:
            assert step is (Next.STABLE if has_stable else Next.GIVE_UP)


@given(st.lists(st.tuples(st.sampled_from(Failure), st.booleans())), st.booleans(), st.booleans())
def test_no_run_of_failures_sends_a_request_too_often(
    failures: list[tuple[Failure, bool]],
    may_repeat: bool,  # noqa: FBT001 (drawn by hypothesis)
    has_stable: bool,  # noqa: FBT001
) -> None:
    """Models see it twice at most, and once where it may not be repeated; it is dialled a bounded number of times."""
    attempts, dials, sent, repeated, goes_on = 1, 1, 0, False, True
    for failure, has_others in failures:
        sent += failure is not Failure.REFUSED
        step = next_step(
            failure, attempts=attempts, repeated=repeated, may_repeat=may_repeat, has_others=has_others,
            has_stable=has_stable,
        )  # fmt: skip
        goes_on = step is not Next.GIVE_UP
        if not goes_on:
            break
        assert not (step is Next.AGAIN and failure is Failure.REFUSED and attempts >= MOST_DIALS)
        repeated = repeated or failure is not Failure.REFUSED
        if step is Next.STABLE:
            has_stable, attempts = False, 0  # it is asked in nobody's place, and has dials of its own
        attempts += 1
        dials += 1
    assert sent + goes_on <= (2 if may_repeat else 1)
    assert dials <= 2 * MOST_DIALS + 1


schedules = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 2_000), st.integers(0, 300)), max_size=20)


@given(st.floats(0, 1), schedules)
def test_a_budget_gives_no_more_than_its_share(share: float, schedule: list[tuple[float, int, int]]) -> None:
    """At most its share of the requests, ten for each second, and what was saved up at the start."""
    budget, now, requests, taken = Budget(share, 0.0), 0.0, 0, 0
    for pause, more, asked in schedule:
        now, requests = now + pause, requests + more
        taken += sum(budget.take(now, requests) for _ in range(asked))
        assert taken <= SAVED_UP + share * requests + FLOOR_PER_S * now + 1e-6


@given(schedules)
def test_what_is_given_back_was_not_used(schedule: list[tuple[float, int, int]]) -> None:
    """A repeat that is given back leaves room for another: only those that are kept count against the share."""
    budget, now, requests, kept = Budget(0.2, 0.0), 0.0, 0, 0
    for pause, more, asked in schedule:
        now, requests = now + pause, requests + more
        for turn in range(asked):
            if budget.take(now, requests):
                if turn % 2:
                    budget.give_back()
                else:
                    kept += 1
        assert kept <= SAVED_UP + 0.2 * requests + FLOOR_PER_S * now + 1e-6


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=30))
def test_a_budget_is_never_less_than_its_floor(totals: list[int]) -> None:
    """Ten a second may always be repeated, even where the model's total falls because a version has left it."""
    budget = Budget(0.2, 0.0)
    for second, total in enumerate(totals, start=1):
        assert all(budget.take(float(second), total) for _ in range(FLOOR_PER_S))


def test_a_budget_saves_up_for_ten_seconds_only() -> None:
    """After a quiet hour there are a hundred at once, and not one more."""
    budget = Budget(0.2, 0.0)
    assert sum(budget.take(3600.0, 0) for _ in range(1_000)) == SAVED_UP


def test_a_budget_grows_with_the_traffic() -> None:
    """At a thousand requests a second a fifth may be repeated, and the floor on top."""
    budget, taken = Budget(0.2, 0.0), 0
    for second in range(1, 61):
        taken += sum(budget.take(float(second), 1_000 * second) for _ in range(1_000))
    assert taken == SAVED_UP + 60 * (200 + FLOOR_PER_S)


def test_a_budget_without_a_share_is_its_floor() -> None:
    """With a share of 0 traffic adds nothing."""
    budget = Budget(0.0, 0.0)
    assert sum(budget.take(0.0, 0) for _ in range(1_000)) == SAVED_UP
    assert sum(budget.take(1.0, 1_000_000) for _ in range(1_000)) == FLOOR_PER_S


def test_a_budget_is_low_before_it_is_empty() -> None:
    """Half of what was saved up is left when it says so, for the requests that are in flight by then."""
    budget = Budget(0.2, 0.0)
    untold = 0
    while not budget.is_low(0.0, 0):
        assert budget.take(0.0, 0)
        untold += 1
    assert untold == SAVED_UP // 2 + 1
    budget.give_back()
    assert not budget.is_low(0.0, 0)
    while budget.take(0.0, 0):
        pass
    assert budget.is_low(0.0, 0)
    assert not budget.has_any(0.0, 0)
    assert not budget.is_low(60.0, 0)  # it knows without being asked for one


def test_a_broken_body_is_refused_for_a_while() -> None:
    """From when it is added until its time is over, and it is forgotten then."""
    quarantine = Quarantine(60.0)
    assert not quarantine
    quarantine.add("m", b"deadly", 100.0)
    assert quarantine
    assert quarantine.holds("m", b"deadly", 100.0)
    assert quarantine.holds("m", b"deadly", 159.9)
    assert not quarantine.holds("m", b"deadly", 160.0)
    assert not quarantine


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_quarantine_is_for_one_body_of_one_model(deadly: bytes, other: bytes) -> None:
    """Another body, or the same body for another model, may pass."""
    quarantine = Quarantine(60.0)
    quarantine.add("m", deadly, 0.0)
    assert quarantine.holds("m", other, 1.0) is (other == deadly)
    assert not quarantine.holds("n", deadly, 1.0)


def test_model_and_body_do_not_run_together() -> None:
    """A body that begins with what another model's name ends with is not mistaken for that model's."""
    quarantine = Quarantine(60.0)
    quarantine.add("ab", b"c", 0.0)
    assert not quarantine.holds("a", b"bc", 0.0)


def test_a_quarantine_forgets_what_nobody_asks_about() -> None:
    """What has served its time is dropped in passing, and nothing else is."""
    quarantine = Quarantine(60.0)
    quarantine.add("m", b"old", 0.0)
    quarantine.add("m", b"new", 30.0)
    quarantine.forget(60.0)
    assert not quarantine.holds("m", b"old", 60.0)
    assert quarantine.holds("m", b"new", 60.0)
    quarantine.forget(90.0)
    assert not quarantine


def test_a_quarantine_is_bounded() -> None:
    """A thousand bodies are remembered; one more costs the oldest its place."""
    quarantine = Quarantine(60.0)
    for number in range(1_500):
        quarantine.add("m", b"%d" % number, float(number) / 1_000)
    held = [number for number in range(1_500) if quarantine.holds("m", b"%d" % number, 2.0)]
    assert held == list(range(500, 1_500))


def test_a_body_that_is_added_again_costs_no_other_its_place() -> None:
    """However often one body is added, the others stay."""
    quarantine = Quarantine(60.0)
    for number in range(1_000):
        quarantine.add("m", b"%d" % number, 0.0)
    for _ in range(10):
        quarantine.add("m", b"999", 1.0)
    assert all(quarantine.holds("m", b"%d" % number, 2.0) for number in range(1_000))


@given(st.lists(st.booleans(), max_size=40))
def test_five_failures_in_a_row_eject(answers: list[bool]) -> None:
    """A replica that fails five times without a success in between is ejected then, and not before."""
    health, in_a_row = Health(30.0), 0
    for number, succeeds in enumerate(answers):
        if succeeds:
            health.succeeded()
            in_a_row = 0
        else:
            in_a_row += 1
            told = health.failed(float(number))
            assert told is (in_a_row == 5)
        assert health.ejected is (in_a_row >= 5)
        if health.ejected:
            return


def test_a_replica_that_refuses_is_ejected_at_once() -> None:
    """Where nobody listens there is no need for more proof, and it is told once."""
    health = Health(30.0)
    assert health.failed(0.0, at_once=True)
    assert health.ejected
    assert not health.failed(1.0, at_once=True)


def test_an_ejected_replica_is_asked_how_it_is_after_a_while() -> None:
    """It may return once the time is over, counted from when it was ejected, whatever it does meanwhile."""
    health = Health(30.0)
    assert not health.may_return(1e9)
    health.failed(100.0, at_once=True)
    health.failed(120.0, at_once=True)
    health.succeeded()
    assert health.ejected
    assert not health.may_return(129.9)
    assert health.may_return(130.0)


def test_a_replica_that_is_readmitted_begins_anew() -> None:
    """It has five failures before it again, not one."""
    health = Health(30.0)
    for _ in range(5):
        health.failed(0.0)
    health.readmit()
    assert not health.ejected
    assert not health.may_return(1e9)
    assert [health.failed(40.0) for _ in range(5)] == [False, False, False, False, True]
