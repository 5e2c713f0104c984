"""Which pools could not be started, how often, and when each may be tried again: with growing pauses.

Whoever wishes a pool anew does not hear of what was tried before, nor waits for it: attempts are told apart by the
revision of the wish that they were for. Now is an argument, in seconds of a clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from serving.pools import PoolKey

_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """How a pool could not be started.

    Attributes:
        count: how often.
        again_at_s: when it may be tried again; 0 once it is.
        words: why not, the last time.
        wish: the revision of the wish that it was for, 0 where the settings alone wanted it.
    """

    count: int
    again_at_s: float
    words: str = ""
    wish: int = 0


class Attempts:
    """Those of one keeper; it forgets them when it ends."""

    def __init__(self) -> None:
        self._known: dict[PoolKey, Attempt] = {}

    def __contains__(self, key: PoolKey) -> bool:
        return key in self._known

    def of(self, key: PoolKey) -> Attempt | None:
        """What is known of that pool; None where it has not failed."""
        return self._known.get(key)

    def may_start(self, key: PoolKey, now_s: float) -> bool:
        """Whether it may be asked for: it was never refused, or its pause is over."""
        tried = self._known.get(key)
        return tried is None or now_s >= tried.again_at_s

    def failed(self, key: PoolKey, words: str, wish: int, now_s: float) -> None:
        """It could not be started once more, and waits for twice as long as before."""
        tried = self._known.get(key)
        count = tried.count if tried else 0
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(count, 16))
        self._known[key] = Attempt(count + 1, now_s + pause_s, words, wish)

    def retried(self, key: PoolKey, words: str, wish: int, now_s: float) -> bool:
        """Whether one that has failed is to be started anew now; one that has just failed waits first."""
        tried = self._known.get(key)
        if tried is None or not tried.again_at_s:
            self.failed(key, words, wish, now_s)
            return False
        if now_s < tried.again_at_s:
            return False
        self._known[key] = replace(tried, again_at_s=0.0)
        return True

    def forget(self, is_over: Callable[[PoolKey, Attempt], bool]) -> None:
        """Drops what is over."""
        self._known = {key: tried for key, tried in self._known.items() if not is_over(key, tried)}

    def words(self) -> dict[tuple[PoolKey, int], str]:
        """Why pools could not be started, by pool and revision of the wish."""
        return {(key, tried.wish): tried.words for key, tried in self._known.items()}
