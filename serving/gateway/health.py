"""Whether a replica is left alone for a while, because it refused, broke off, was late or unavailable time and again.

Decides by what it is told and by a time that it is given; who asks replicas how they are is `worker`. What counts as a
failure is decided in `attempts`: an error that may be the request's own fault is never one, so that no client can
eject a replica by what it sends.
"""

from __future__ import annotations

_MOST_FAILURES = 5


class Health:
    """One replica's.

    Args:
        ejection_s: how long it is left alone at least.
    """

    __slots__ = ("_ejection_s", "_failures", "_since", "ejected")

    def __init__(self, ejection_s: float) -> None:
        self._ejection_s = ejection_s
        self._failures = 0
        self._since = 0.0
        self.ejected = False

    def succeeded(self) -> None:
        """It answered: what went wrong before was no habit."""
        if self._failures:
            self._failures = 0

    def failed(self, now: float, *, at_once: bool = False) -> bool:
        """It failed; whether it is thereby ejected.

        Args:
            now: seconds of the loop's clock.
            at_once: nobody listens there, which needs no second proof.
        """
        self._failures += 1
        if self.ejected or not (at_once or self._failures >= _MOST_FAILURES):
            return False
        self.ejected, self._since = True, now
        return True

    def may_return(self, now: float) -> bool:
        """Whether it is time to ask it how it is."""
        return self.ejected and now >= self._since + self._ejection_s

    def readmit(self) -> None:
        """It is well again."""
        self.ejected = False
        self._failures = 0
