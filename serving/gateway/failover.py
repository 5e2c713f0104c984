"""What follows a failed attempt: decided here, carried out by `attempts`.

A candidate's failure must not be the client's, and answering it by stable must not become a weapon: Triton answers 500
to some malformed requests, and a body that kills one replica would walk through the fleet. So: a request is sent a
second time at most once, and only where the policy calls that safe; what provably never reached a model may go on to
another replica; an error that stable repeats is the request's own fault; repeats have a budget, and a body that broke
two attempts is refused for a while.
"""

from __future__ import annotations

from enum import Enum, auto

from xxhash import xxh3_64_intdigest

MOST_DIALS = 3
"""How many replicas of a version are tried for a request that has not reached any."""
_BUDGET_FLOOR_PER_S = 10.0
_BUDGET_WINDOW_S = 10.0
_REFILL_EVERY_S = 1.0
_RESERVE = 50
_MOST_REMEMBERED = 1_000


class Failure(Enum):
    """How an attempt failed."""

    REFUSED = auto()
    """It reached no model: no replica, no place at one, no connection."""
    BROKEN = auto()
    LATE = auto()
    UNAVAILABLE = auto()
    """The model answered 503."""
    ERROR = auto()
    """The model answered with any other 5xx; that may well be the request's own fault."""


class Next(Enum):
    """What is done about it."""

    AGAIN = auto()
    """The same version, another replica where there is one."""
    STABLE = auto()
    GIVE_UP = auto()


def next_step(
    failure: Failure, *, attempts: int, repeated: bool, may_repeat: bool, has_others: bool, has_stable: bool
) -> Next:
    """What follows.

    Args:
        failure: of the latest attempt.
        attempts: how many there were at this version.
        repeated: whether the request was sent a second time already.
        may_repeat: whether the policy calls that safe, and the request is still held.
        has_others: whether the version has other replicas that are fit to be asked.
        has_stable: whether stable may answer in this version's place.
    """
    if failure is Failure.REFUSED:
        if has_others and attempts < MOST_DIALS:
            return Next.AGAIN
        return Next.STABLE if has_stable else Next.GIVE_UP
    if repeated or not may_repeat:
        return Next.GIVE_UP
    if has_stable:
        return Next.STABLE
    # A connection that broke may have been an old one's end: the only replica is asked again on a new one.
    return Next.AGAIN if failure is Failure.BROKEN or (has_others and failure is not Failure.ERROR) else Next.GIVE_UP


class Budget:
    """How many requests of one model may be sent a second time: a share of its requests, saved up for ten seconds.

    As in Finagle's retry budget, with ten a second for models of little traffic.

    Args:
        share: of the requests, 0 to 1.
        now: seconds of the loop's clock.
    """

    __slots__ = ("_at", "_requests", "_share", "_tokens")

    def __init__(self, share: float, now: float) -> None:
        self._share = share
        self._at = now
        self._requests = 0
        self._tokens = _BUDGET_FLOOR_PER_S * _BUDGET_WINDOW_S

    def take(self, now: float, requests: int) -> bool:
        """Whether one more may be; it is used up then.

        Args:
            now: seconds.
            requests: the model's running total.
        """
        if not self.has_any(now, requests):
            return False
        self._tokens -= 1
        return True

    def has_any(self, now: float, requests: int) -> bool:
        """Whether one more may be."""
        self._refill(now, requests)
        return self._tokens >= 1

    def is_low(self, now: float, requests: int) -> bool:
        """Whether it is nearly used up; what is left is for requests that are in flight."""
        self._refill(now, requests)
        return self._tokens < _RESERVE

    def give_back(self) -> None:
        """The repeat failed just as well: it was the request's own fault."""
        self._tokens += 1

    def _refill(self, now: float, requests: int) -> None:
        since = now - self._at
        if since < _REFILL_EVERY_S:
            return
        came = max(0, requests - self._requests)  # the total falls where a version leaves the model
        rate = self._share * came / since + _BUDGET_FLOOR_PER_S
        self._tokens = min(self._tokens + rate * since, rate * _BUDGET_WINDOW_S)
        self._at, self._requests = now, requests


class Quarantine:
    """Bodies that broke two attempts, by hash; a model sees them no more for a while.

    Args:
        for_s: how long.
    """

    __slots__ = ("_for_s", "_until")

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._until: dict[int, float] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def add(self, model: str, body: bytes, now: float) -> None:
        """This body is refused from now on."""
        name = _name(model, body)
        self._until.pop(name, None)  # so that the oldest stays at the front
        if len(self._until) >= _MOST_REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[name] = now + self._for_s

    def holds(self, model: str, body: bytes, now: float) -> bool:
        """Whether it is refused."""
        name = _name(model, body)
        until = self._until.get(name)
        if until is None or until > now:
            return until is not None
        del self._until[name]
        return False

    def forget(self, now: float) -> None:
        """Drops what has served its time."""
        self._until = {name: until for name, until in self._until.items() if until > now}


def _name(model: str, body: bytes) -> int:
    return xxh3_64_intdigest(model.encode() + b"\0" + body)
