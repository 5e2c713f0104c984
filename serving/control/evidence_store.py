"""What gateways counted, and what the conductor made of it, in Redis. Part of `serving.control.store`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from serving.control.base_store import BaseStore, reply

MOST_BLOCKS: Final = 7_200
"""How many blocks are kept of one rollout: two hours of seconds with traffic."""
KEPT_MS: Final = 30 * 24 * 60 * 60 * 1000
"""How long a case and its blocks are kept after they were last added to."""

_FIELD = b"m"

# The blocks and what was made of them, in one write: a successor finds neither without the other.
_KEEP_CASE = """
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
if #ARGV > 4 then
  for nth = 5, #ARGV do redis.call('RPUSH', KEYS[3], ARGV[nth]) end
  redis.call('LTRIM', KEYS[3], -tonumber(ARGV[4]), -1)
  redis.call('PEXPIRE', KEYS[3], ARGV[3])
end
return 1
"""


class Told(NamedTuple):
    """One entry of a stream: its id, and what a gateway wrote, or its keeper."""

    id: str
    said: bytes


class EvidenceStore(BaseStore):
    """The streams of totals and of pairs, and what is kept of each rollout's case."""

    async def totals_after(self, after: str, limit: int) -> Sequence[Told]:
        """The oldest messages of gateways after that id, oldest first.

        Args:
            after: an id, or the milliseconds since 1970 at which one would begin.
            limit: at most so many.
        """
        return await self._told_in(self.keys.totals, after, limit)

    async def pairs_after(self, after: str, limit: int) -> Sequence[Told]:
        """The oldest messages of keepers after that id, oldest first; as `totals_after`."""
        return await self._told_in(self.keys.pairs, after, limit)

    async def _told_in(self, stream: str, after: str, limit: int) -> Sequence[Told]:
        async with self._boundary():
            found = await reply(self._redis.xrange(stream, min=f"({after}", count=limit))
        return [Told(entry.decode(), fields.get(_FIELD, b"")) for entry, fields in found]

    async def case(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's case."""
        async with self._boundary():
            said = await reply(self._redis.get(self.keys.rollout_case(rollout_id)))
        return None if said is None else str(said.decode(errors="replace"))

    async def keep_case(self, rollout_id: str, said: str, blocks: Sequence[str], fence: int) -> None:
        """Keeps the case, and the blocks that it has grown by, for the conductor of that fence.

        Raises:
            Deposed: another conductor has taken over.
        """
        names = [self.keys.rollout_case(rollout_id), self.keys.rollout_blocks(rollout_id)]
        newest = blocks[-MOST_BLOCKS:]
        await self._as_leader(fence, _KEEP_CASE, names, [said, str(KEPT_MS), str(MOST_BLOCKS), *newest])

    async def diffs(self, model: str, candidate: int, salt: str) -> Sequence[bytes]:
        """What each keeper left of these pairs (`serving.diffs`)."""
        async with self._boundary():
            found = await reply(self._redis.hvals(self.keys.diff(model, candidate, salt)))
            return list(found)

    async def blocks(self, rollout_id: str, begin: int, limit: int) -> Sequence[str]:
        """Blocks of that rollout, oldest first, from that place on."""
        async with self._boundary():
            found = await reply(self._redis.lrange(self.keys.rollout_blocks(rollout_id), begin, begin + limit - 1))
            return [one.decode() for one in found]
