"""Which gateways run a change, and the wait for them. A change stands whether or not anybody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from router.epoch import Head
from serving.control.errors import StoreUnavailable
from serving.control.publication import Answer
from serving.control.views import Acknowledged
from serving.leases import GatewayLease

LONGEST_WAIT_S: Final = 30.0
_LOOK_S: Final = 0.02


class Gateways(Protocol):
    """Who is alive."""

    async def gateways(self) -> Sequence[GatewayLease]:
        """The gateways."""


def acknowledged(answer: Answer, alive: Iterable[GatewayLease]) -> Acknowledged:
    """Which members of the epoch run it or a later one, given the leases that are alive now."""
    leases = {lease.id: lease for lease in alive}
    run = {name for name in answer.members & leases.keys() if acknowledges(leases[name], answer.head)}
    expired = answer.members - leases.keys()
    waiting = answer.members - run - expired
    return Acknowledged(len(answer.members), len(run), tuple(sorted(expired)), tuple(sorted(waiting)))


def acknowledges(lease: GatewayLease, head: Head) -> bool:
    """Whether the gateway runs that head, or a later one."""
    return lease.epoch > head.epoch or lease.runs(head)


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
            seen = acknowledged(answer, await store.gateways())
        if not seen.waiting or clock() >= until:
            return seen
        await asyncio.sleep(_LOOK_S)
