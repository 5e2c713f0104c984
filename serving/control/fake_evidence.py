"""Totals and cases in memory: the part of `serving.control.fake_store` that is about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from serving.control.evidence_store import MOST_BLOCKS, Told
from serving.control.rolling.shelf import place_of
from serving.diffs import Diff

MOST_TOLD = 10_000


class FakeEvidence:
    """What the store's part for evidence does, without a server.

    Args:
        reach: called first by everything; raises where the store is away.
        lead_of: refuses what a deposed conductor would write.
        time_ms: the time, milliseconds since 1970.
    """

    def __init__(
        self, reach: Callable[[], None], lead_of: Callable[[int], None], time_ms: Callable[[], Awaitable[int]]
    ) -> None:
        self._at_door = reach
        self._refuse_deposed = lead_of
        self._milliseconds = time_ms
        self._told: list[Told] = []
        self._pairs: list[Told] = []
        self._diffs: dict[tuple[str, int, str], dict[str, bytes]] = {}
        self._cases: dict[str, str] = {}
        self._blocks: dict[str, list[str]] = {}

    async def totals_after(self, after: str, limit: int) -> Sequence[Told]:
        """The oldest messages of gateways after that id, oldest first."""
        self._at_door()
        return _after(self._told, after, limit)

    async def pairs_after(self, after: str, limit: int) -> Sequence[Told]:
        """The oldest messages of keepers after that id, oldest first."""
        self._at_door()
        return _after(self._pairs, after, limit)

    async def case(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's case."""
        self._at_door()
        return self._cases.get(rollout_id)

    async def keep_case(self, rollout_id: str, said: str, blocks: Sequence[str], fence: int) -> None:
        """Keeps the case, and the blocks that it has grown by, for the conductor of that fence."""
        self._refuse_deposed(fence)
        self._cases[rollout_id] = said
        self._blocks[rollout_id] = [*self._blocks.get(rollout_id, []), *blocks][-MOST_BLOCKS:]

    async def diffs(self, model: str, candidate: int, salt: str) -> Sequence[bytes]:
        """What each keeper left of these pairs."""
        self._at_door()
        return list(self._diffs.get((model, candidate, salt), {}).values())

    async def blocks(self, rollout_id: str, begin: int, limit: int) -> Sequence[str]:
        """Blocks of that rollout, oldest first, from that place on."""
        self._at_door()
        return self._blocks.get(rollout_id, [])[begin : begin + limit]

    async def gateway_tells(self, said: bytes) -> None:
        """A gateway tells what it has counted."""
        self._told = _with(self._told, said, await self._milliseconds())

    async def keeper_leaves(self, gateway: str, diff: Diff) -> None:
        """A gateway's keeper leaves what it has found."""
        totals = diff.totals
        self._diffs.setdefault((totals.model, totals.candidate, totals.salt), {})[gateway] = diff.encode()

    async def keeper_tells(self, said: bytes) -> None:
        """A gateway's keeper tells what it has found."""
        self._pairs = _with(self._pairs, said, await self._milliseconds())

    def _forget_case(self, rollout_id: str) -> None:
        self._cases.pop(rollout_id, None)
        self._blocks.pop(rollout_id, None)


def _after(told: Sequence[Told], after: str, limit: int) -> Sequence[Told]:
    return [one for one in told if place_of(one.id) > place_of(after)][:limit]


def _with(told: Sequence[Told], said: bytes, now_ms: int) -> list[Told]:
    last_ms, nth = place_of(told[-1].id) if told else (0, 0)
    place = (now_ms, 0) if now_ms > last_ms else (last_ms, nth + 1)
    return [*told, Told(f"{place[0]}-{place[1]}", said)][-MOST_TOLD:]
