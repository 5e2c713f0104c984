"""What could not be started is tried again with growing pauses, and is forgotten when it is over."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from serving.control.attempts import Attempts
from serving.pools import PoolKey

POOL = PoolKey("m", 1, "d1gest")
OTHER = PoolKey("m", 2, "0ther")


@given(failures=st.integers(2, 40), began_s=st.floats(0, 1e6))
def test_each_pause_is_twice_the_last_up_to_five_minutes(failures: int, began_s: float) -> None:
    """From ten seconds on; the pool may start when it is over, and not before."""
    attempts, now_s, pauses = Attempts(), began_s, []
    for _ in range(failures):
        assert attempts.may_start(POOL, now_s)
        attempts.failed(POOL, "no", 0, now_s)
        tried = attempts.of(POOL)
        assert tried is not None
        assert not attempts.may_start(POOL, now_s)
        pauses.append(round(tried.again_at_s - now_s))
        now_s = tried.again_at_s
    assert pauses[0] == 10
    assert all(later == min(2 * earlier, 300) for earlier, later in pairwise(pauses))


def test_a_pool_that_was_there_and_failed_is_started_anew_once_a_pause() -> None:
    """The failure that has just been seen begins the pause; the start that ends it is due once."""
    attempts = Attempts()
    assert not attempts.retried(POOL, "no", 3, now_s=100.0)
    assert not attempts.retried(POOL, "no", 3, now_s=109.9)
    assert attempts.retried(POOL, "no", 3, now_s=110.0)
    assert not attempts.retried(POOL, "still no", 3, now_s=111.0)
    assert not attempts.retried(POOL, "still no", 3, now_s=130.9)
    assert attempts.retried(POOL, "still no", 3, now_s=131.0)
    assert attempts.words() == {(POOL, 3): "still no"}


def test_what_is_over_is_forgotten_and_the_rest_is_kept() -> None:
    """A pool that nobody knows of may start at once."""
    attempts = Attempts()
    attempts.failed(POOL, "no", 1, now_s=0.0)
    attempts.failed(OTHER, "no", 2, now_s=0.0)
    attempts.forget(lambda key, tried: key == POOL and tried.wish == 1)
    assert POOL not in attempts
    assert attempts.may_start(POOL, 0.0)
    assert OTHER in attempts
    assert attempts.words() == {(OTHER, 2): "no"}
