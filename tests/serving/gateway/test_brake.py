"""A version that fails time and again is given a rest, and finds its way back by one request at a time."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.brake import MOST_IN_A_ROW, PROBE_EVERY_S, Brake
from tests.examples import examples

REST_S = 30.0


def braked(now: float = 0.0) -> Brake:
    """One that has just been put on."""
    brake = Brake(REST_S)
    assert [brake.failed(now) for _ in range(MOST_IN_A_ROW)] == [False] * (MOST_IN_A_ROW - 1) + [True]
    return brake


def test_only_failures_in_a_row_count() -> None:
    """However many there are: one success among them, and the version is as good as new."""
    brake = Brake(REST_S)
    for _ in range(5):
        assert not any(brake.failed(1.0) for _ in range(MOST_IN_A_ROW - 1))
        brake.succeeded(1.0)
    assert brake.lets(1.0)


def test_nobody_is_let_through_during_the_rest_and_one_at_a_time_after_it() -> None:
    """Whoever is let through finds out; the others wait for what becomes of that, and not for ever."""
    brake = braked()
    assert not any(brake.lets(now) for now in (0.0, 1.0, REST_S - 0.01))
    assert [brake.lets(REST_S + after) for after in (0.0, 0.1, PROBE_EVERY_S - 0.1)] == [True, False, False]
    assert brake.lets(REST_S + PROBE_EVERY_S)


def test_a_probe_that_succeeds_ends_it() -> None:
    """The version gets all of its requests again."""
    brake = braked()
    assert brake.lets(REST_S)
    brake.succeeded(REST_S)
    assert all(brake.lets(REST_S) for _ in range(5))


def test_a_probe_that_fails_is_another_rest() -> None:
    """It is the same episode: nobody is told of it twice."""
    brake = braked()
    assert brake.lets(REST_S)
    assert not brake.failed(REST_S + 0.5)
    assert not brake.lets(2 * REST_S)
    assert brake.lets(2 * REST_S + 0.5)


def test_who_was_asked_before_proves_nothing() -> None:
    """Answers to what was under way when it was put on end no rest, however good they are."""
    brake = braked(5.0)
    brake.succeeded(4.9)
    assert not brake.lets(6.0)
    assert brake.lets(5.0 + REST_S)
    brake.succeeded(4.9)
    assert not brake.lets(5.0 + REST_S)


def test_it_is_put_on_at_once_where_that_is_called_for() -> None:
    """What needs no further proof is told once, and prolonged as often as it is said."""
    brake = Brake(REST_S)
    assert brake.put_on(0.0)
    assert not brake.put_on(10.0)
    assert not brake.lets(REST_S)
    assert brake.lets(10.0 + REST_S)


steps = st.lists(st.tuples(st.sampled_from(("ask", "fail", "succeed", "put on")), st.floats(0, 20)), max_size=60)


@settings(max_examples=examples(200))
@given(steps)
def test_while_it_is_on_requests_come_singly(some: list[tuple[str, float]]) -> None:
    """Whatever happens: between two that are let through lies a probe's time at least, or an end of it all."""
    brake, now, last = Brake(REST_S), 1.0, None
    for what, later in some:
        now += later
        was_on = bool(brake.until)
        if what == "ask" and brake.lets(now) and was_on:
            assert last is None or now - last >= PROBE_EVERY_S
            last = now
        elif what == "fail":
            brake.failed(now)
        elif what == "succeed":
            brake.succeeded(now)
        elif what == "put on":
            brake.put_on(now)
        last = last if brake.until else None
