"""How long a stage has run, though the store's clock may be set while it does. Values in, values out.

Everything about a rollout goes by the store's clock, which all control rooms share and which freezes have to go by. It
may be set, forward by an hour or back by a day, and no stage must be passed for that, nor stand still for it. So
between two looks no stage grows older than the conductor's own clock, which only goes forward, says that time has
passed, and a little more (`ALLOWANCE_S`); the rest is taken out again by moving what the rollout remembers of times.

A conductor that begins to lead cannot measure what was before it. It finds until when its predecessor watched. A lead
changes hands within a lease and a renewal, so that two leases count in full (`Watch`), and what is beyond them does not
count: that was either an outage or a clock that was set, which nobody can tell apart, and in an outage nobody looked
at gates and evidence either. The price is that a stage takes longer by the time in which nobody conducted. Where
nothing was written down of who watched, as by a release that did not do so, all of it counts: stages in progress would
begin anew otherwise.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final, NamedTuple

from router.rollout import BY_ITSELF, Fact, Rollout, Seen, Step, fact

ALLOWANCE_S: Final = 0.5
"""How far the two clocks may part between two looks: they are read one after the other, and one may be slewed."""

CORRECTION: Final = "clock"
"""What the ledger calls it."""


class Look(NamedTuple):
    """One look at the store: the time that it showed, and the conductor's own before and after; seconds."""

    store_s: float
    before_s: float
    after_s: float


class Watch:
    """Until when rollouts were watched, each by itself: one that could not be walked was not watched.

    Args:
        unwatched_s: how much counts of the time before this conductor led.
    """

    def __init__(self, unwatched_s: float) -> None:
        self._unwatched_s = unwatched_s
        self._fence: int | None = None
        self._before_s: float | None = None
        self._latest: Look | None = None
        self._looks: dict[str, Look] = {}

    def leads(self, fence: int) -> bool:
        """Whether this is the lead that it knows of."""
        return self._fence == fence

    def begin(self, fence: int, watched_s: float | None) -> None:
        """Somebody watched until then by the store's clock, None where nothing is known of that; now this one does."""
        self._fence, self._before_s = fence, watched_s
        self._latest = None
        self._looks.clear()

    def steadied(self, rollout: Rollout, now: Look) -> Step | None:
        """The step that takes out what did not pass; None where there is nothing to take out."""
        if rollout.over or rollout.stopped_s is not None:  # its clock stands still
            return None
        last = self._looks.get(rollout.id, self._latest)
        if last is None:
            return steadied(rollout, self._before_s, now.store_s, self._unwatched_s)
        return steadied(rollout, last.store_s, now.store_s, now.after_s - last.before_s + ALLOWANCE_S)

    def watched(self, rollout: str, now: Look) -> None:
        """That rollout was looked at, and its times are right."""
        self._looks[rollout] = now

    def end_of_look(self, rollouts: Collection[str], now: Look) -> bool:
        """All of these were to be looked at; whether they were, so that a successor may go by it."""
        self._looks = {one: look for one, look in self._looks.items() if one in rollouts}
        self._latest = now
        return all(self._looks.get(one) == now for one in rollouts)


def steadied(rollout: Rollout, watched_s: float | None, now_s: float, passed_s: float) -> Step | None:
    """The step after which no more than that has passed since then; None where no more has.

    Args:
        rollout: one whose clock runs.
        watched_s: when it was last looked at, by the store's clock; None where nothing is known of that, and so all
            of the time counts that is not in the future.
        now_s: the time, by the store's clock.
        passed_s: how much may have passed since, seconds.
    """
    since_s, progress_s = (_moved(at_s, watched_s, now_s, passed_s) for at_s in (rollout.since_s, rollout.progress_s))
    if (since_s, progress_s) == (rollout.since_s, rollout.progress_s):
        return None
    after = replace(rollout, since_s=since_s, progress_s=progress_s, revision=rollout.revision + 1)
    return Step(after, (_said(rollout, after, now_s),))


def _moved(at_s: float, watched_s: float | None, now_s: float, passed_s: float) -> float:
    """A time that is remembered, moved so that it is neither in the future nor longer ago than can be."""
    if at_s > now_s + ALLOWANCE_S:
        return now_s
    if watched_s is None:
        return at_s
    return at_s + max(0.0, now_s - max(at_s, watched_s) - passed_s)


def _said(before: Rollout, after: Rollout, now_s: float) -> Fact:
    moved_s = max(after.since_s - before.since_s, after.progress_s - before.progress_s, key=abs)
    why = (
        f"{moved_s:.0f} s do not count: the store's clock was set, or nobody conducted"
        if moved_s > 0
        else f"the store's clock was set back behind what is remembered, by {-moved_s:.0f} s"
    )
    return fact(after, after, Seen(now_s), who=BY_ITSELF, what=CORRECTION, why=why)
