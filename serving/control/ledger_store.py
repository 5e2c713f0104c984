"""The ledger in Redis: an append-only stream, read from either end. Part of `serving.control.store`.

It is never trimmed before what goes was written to the archive (`serving.control.rolling.archive`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from serving.control.base_store import BaseStore, reply
from serving.control.publication import LedgerEntry, Recorded
from serving.control.publication_form import decode_entry
from serving.control.rolling.shelf import BEGINNING, place_of

_TRIM = """
redis.call('XTRIM', KEYS[2], 'MINID', ARGV[2])
return 1
"""

MOST_ENTRIES = 1_000
"""How many entries are read at once."""

UNREADABLE = "unreadable"
"""The kind of an entry that this release cannot read."""

_LONGEST_WAIT_S = 1.0
"""Shorter than the socket's timeout, or waiting would look like a broken connection."""


class LedgerStore(BaseStore):
    """What was decided."""

    async def ledger(self, limit: int, before: str = "") -> Sequence[Recorded]:
        """The newest entries, newest first; of those before that id, where one is given."""
        place = place_of(before) if before else None
        if place == BEGINNING:
            return []  # nothing is before it, and Redis calls the question an error
        newest = "+" if place is None else f"({place[0]}-{place[1]}"
        async with self._boundary():
            count = max(1, min(limit, MOST_ENTRIES))
            return _recorded(await reply(self._redis.xrevrange(self.keys.ledger, max=newest, count=count)))

    async def ledger_after(self, after: str, limit: int) -> Sequence[Recorded]:
        """The oldest entries after that id (empty: from the beginning), oldest first."""
        oldest = f"({after}" if after else "-"
        async with self._boundary():
            count = max(1, min(limit, MOST_ENTRIES))
            return _recorded(await reply(self._redis.xrange(self.keys.ledger, min=oldest, count=count)))

    async def ledger_length(self) -> int:
        """How many entries there are."""
        async with self._boundary():
            return int(await reply(self._redis.xlen(self.keys.ledger)))

    async def await_entry(self, after: str, wait_s: float) -> Sequence[Recorded]:
        """What is written after that id, as soon as there is something; nothing where nothing was within that time."""
        block_ms = max(1, round(min(wait_s, _LONGEST_WAIT_S) * 1000))
        async with self._boundary():
            asked = self._redis.xread({self.keys.ledger: after or "0-0"}, count=MOST_ENTRIES, block=block_ms)
            return [entry for _, entries in _streams(await reply(asked)) for entry in _recorded(entries)]

    async def entries_of(self, rollout_id: str) -> Sequence[str]:
        """Ids of the ledger's entries about that rollout, oldest first, at most the last `MOST_ENTRIES_OF_ONE`."""
        async with self._boundary():
            found = await reply(self._redis.lrange(self.keys.rollout_entries(rollout_id), 0, -1))
            return [one.decode() for one in found]

    async def entries_at(self, ids: Collection[str]) -> Mapping[str, Recorded]:
        """Those of these entries that are there, by id."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            for one in ids:
                pipe.xrange(self.keys.ledger, min=one, max=one)
            found = await pipe.execute() if ids else []
        return {entry.id: entry for said in found for entry in _recorded(said)}

    async def trim_ledger(self, last: str, fence: int) -> None:
        """Forgets everything up to and with that entry, for the conductor of that fence."""
        milliseconds, _, sequence = last.partition("-")
        await self._as_leader(fence, _TRIM, [self.keys.ledger], [f"{milliseconds}-{int(sequence) + 1}"])


def _streams(said: Any) -> Sequence[tuple[bytes, Any]]:  # noqa: ANN401 - a mapping or a list, by the protocol spoken
    return list(said.items()) if isinstance(said, dict) else list(said or ())


def _recorded(said: Any) -> Sequence[Recorded]:  # noqa: ANN401 - redis-py types its replies for all of its clients
    return [Recorded(entry.decode(), int(entry.partition(b"-")[0]), _entry(fields)) for entry, fields in said]


def _entry(fields: Any) -> LedgerEntry:  # noqa: ANN401 - as above
    """The entry, or one that says that nobody can read it: it must not hide those that come after it."""
    said = fields.get(b"entry", b"")
    try:
        return decode_entry(said)
    except (ValueError, KeyError, TypeError):
        return LedgerEntry(UNREADABLE, "", "nobody can read this entry", {"said": said.decode(errors="replace")})
