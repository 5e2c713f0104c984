"""Which gateways run a change, and the wait for them. A change stands whether or not anybody waits.

Whoever waits looks often, so that an answer is as late as a gateway is, and no later; and at little (`Applied`), for
a lease grows with every version that its gateway answers for, and many gateways' leases fill a network.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Final, Protocol

from router.epoch import Head
from serving.control.errors import StoreUnavailable
from serving.control.publication import Answer
from serving.control.views import Acknowledged
from serving.leases import Applied

LONGEST_WAIT_S: Final = 30.0
_LOOK_S: Final = 0.02


class Gateways(Protocol):
    """Who is alive, and what they go by."""

    async def applied(self, ids: Collection[str]) -> Mapping[str, Applied]:
        """What these gateways go by, by id; without those whose lease is not alive."""


def acknowledged(answer: Answer, alive: Mapping[str, Applied]) -> Acknowledged:
    """Which members of the epoch run it or a later one, given what those go by whose leases are alive now."""
    return taken_up(answer.members, alive, lambda applied: acknowledges(applied, answer.head))


def taken_up(members: frozenset[str], alive: Mapping[str, Applied], takes: Callable[[Applied], bool]) -> Acknowledged:
    """How far a change has come.

    Args:
        members: the gateways that were there when it was written.
        alive: what those go by whose leases are alive now.
        takes: whether what a gateway goes by has the change in it.
    """
    run = {name for name in members & alive.keys() if takes(alive[name])}
    expired = members - alive.keys()
    waiting = members - run - expired
    return Acknowledged(len(members), len(run), tuple(sorted(expired)), tuple(sorted(waiting)))


def acknowledges(applied: Applied, head: Head) -> bool:
    """Whether the gateway runs that head, or a later one."""
    return applied.epoch > head.epoch or (applied.epoch, applied.digest) == (head.epoch, head.digest)


async def until_acknowledged(
    store: Gateways, answer: Answer, wait_s: float, clock: Callable[[], float]
) -> Acknowledged:
    """Who runs it by the time that all do, or that the patience ends.

    Args:
        store: who is alive.
        answer: of the store that wrote the change.
        wait_s: how long to wait, at most `LONGEST_WAIT_S`.
        clock: seconds that only go forward.
    """
    until = clock() + min(wait_s, LONGEST_WAIT_S)
    seen = Acknowledged(len(answer.members), 0, (), tuple(sorted(answer.members)))
    while True:
        with suppress(StoreUnavailable):  # the change is written, and stays so where nobody can be asked about it
            seen = acknowledged(answer, await store.applied(answer.members))
        if not seen.waiting or clock() >= until:
            return seen
        await asyncio.sleep(_LOOK_S)
