"""Rollouts in Redis, who leads, what is stopped. Part of `serving.control.store`.

A rollout is only ever moved by `publish.lua`; here it is read, and here is what has no bearing on traffic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from serving.control.base_store import BaseStore, reply
from serving.control.rolling.archive import MOST_ENTRIES
from serving.control.rolling.kept import (
    Answered,
    Claim,
    Look,
    Stop,
    claim_from,
    damaged_record,
    stop_from,
)
from serving.control.rolling.records import Record, decode_record
from serving.control.rolling.remembering import Memory
from serving.control.rolling.shelf import place_of
from serving.store_keys import Keys

_COUNTS_KEPT_MS = 30 * 24 * 60 * 60 * 1000
_ANSWERS_KEPT_MS = 24 * 60 * 60 * 1000
_MOST_LISTED = 1_000

_KEEP = """
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
"""

# What is in progress, without the records themselves: model, id and stamp of each.
_IN_PROGRESS = """
local found = {}
local active = redis.call('HGETALL', KEYS[1])
for nth = 1, #active, 2 do
  found[#found + 1] = active[nth]
  found[#found + 1] = active[nth + 1]
  found[#found + 1] = redis.call('HGET', ARGV[1] .. active[nth + 1], 'stamp') or ''
end
return found
"""

# The fence grows whenever the lead changes hands, and whoever holds the lease keeps the one that it was given. It is
# no less than the time in milliseconds: a store that was put back from a copy would hand out a count once more, and
# what a deposed conductor still has in hand would be taken. A double holds it exactly for longer than anybody lives.
_LEAD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return '' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if not holder then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local fence = math.max((tonumber(redis.call('GET', KEYS[2])) or 0) + 1, now)
  redis.call('SET', KEYS[2], string.format('%.0f', fence))
end
return redis.call('GET', KEYS[2])
"""

_RESIGN = """
return redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
"""

_CLAIM = """
local there = redis.call('GET', KEYS[1])
if there then return there end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ''
"""


class RolloutStore(BaseStore):
    """What is kept of rollouts.

    Records in progress are kept decoded, under the stamp that their bytes had: the loop looks four times a second, and
    what did not change is neither sent nor decoded again. A stamp is a digest of the bytes and not the revision, for a
    store that was put back counts its revisions anew.

    Args:
        url: the server's.
        keys: what they are called.
        timeout_s: how long one command may take.
    """

    def __init__(self, url: str, keys: Keys, timeout_s: float) -> None:
        super().__init__(url, keys, timeout_s)
        self._decoded: dict[str, tuple[str, Record]] = {}

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped, in two round trips, or one where nothing changed."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            pipe.time()
            pipe.eval(_IN_PROGRESS, 1, self.keys.active_rollouts, self.keys.rollout(""))
            pipe.hgetall(self.keys.stopped)
            (seconds, micros), found, stopped = await pipe.execute()
        words = [said.decode() for said in found]
        active = list(zip(words[::3], words[1::3], words[2::3], strict=True))
        damaged = await self._decode_changed(active)
        records = tuple(self._decoded[rollout][1] for model, rollout, _ in active if model not in damaged)
        now_s = int(seconds) + int(micros) / 1_000_000
        return Look(now_s, records, damaged, {model.decode(): stop_from(said) for model, said in stopped.items()})

    async def _decode_changed(self, active: Sequence[tuple[str, str, str]]) -> Mapping[str, str]:
        """Has every record in progress decoded; the ids of those that nobody can read, by model."""
        had = self._decoded
        known = {rollout: had[rollout] for _, rollout, stamp in active if stamp and had.get(rollout, ("",))[0] == stamp}
        changed = {model: rollout for model, rollout, _ in active if rollout not in known}
        records, damaged = await self._records(changed)
        stamps = {rollout: stamp for _, rollout, stamp in active}
        self._decoded = known | {record.id: (stamps[record.id], record) for record in records}
        return damaged

    async def rollout(self, rollout_id: str) -> Record | None:
        """The rollout of that id, None where there is none."""
        async with self._boundary():
            said, model = await reply(self._redis.hmget(self.keys.rollout(rollout_id), ["record", "model"]))
        try:
            return None if said is None else decode_record(said)
        except ValueError as error:
            raise damaged_record(rollout_id, "MODEL" if model is None else model.decode()) from error

    async def rollouts(self, model: str | None, limit: int) -> Sequence[Record]:
        """The newest, newest first."""
        index = self.keys.rollouts if model is None else self.keys.rollouts_of(model)
        async with self._boundary():
            ids = await reply(self._redis.zrevrange(index, 0, max(1, min(limit, _MOST_LISTED)) - 1))
        records, _ = await self._records({one.decode(): one.decode() for one in ids})
        return records

    async def barred(self, model: str) -> Mapping[int, str]:
        """The versions of that model that went back, by the rollout that they went back with."""
        async with self._boundary():
            found = await reply(self._redis.hgetall(self.keys.barred_versions))
        pairs = [(field.decode().rpartition("/"), rollout.decode()) for field, rollout in found.items()]
        return {int(version): rollout for (of, _, version), rollout in pairs if of == model}

    async def memory(self, last: str) -> tuple[Memory, bool]:
        """What is barred and stopped, and whether the ledger has that entry, or has let go of it; all of one moment."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.xrevrange(self.keys.ledger, count=1)
            pipe.xrange(self.keys.ledger, count=1)
            pipe.xrange(self.keys.ledger, min=last or "0-0", max=last or "0-0")
            pipe.xlen(self.keys.ledger)
            pipe.hgetall(self.keys.barred_versions)
            pipe.hgetall(self.keys.stopped)
            newest, oldest, asked, length, barred, stopped = await pipe.execute()
            pairs = [(field.decode().rpartition("/"), rollout.decode()) for field, rollout in barred.items()]
            there = Memory(
                newest[0][0].decode() if newest else "",
                {(model, int(version)): rollout for (model, _, version), rollout in pairs},
                {model.decode(): stop_from(said) for model, said in stopped.items()},
            )
        trimmed = length >= MOST_ENTRIES and place_of(oldest[0][0].decode()) > place_of(last or "0-0")
        return there, not last or bool(asked) or trimmed

    async def stopped(self) -> Mapping[str, Stop]:
        """What is stopped, by model, or `*` for all."""
        async with self._boundary():
            found = await reply(self._redis.hgetall(self.keys.stopped))
            return {model.decode(): stop_from(said) for model, said in found.items()}

    # Who leads.

    async def lead(self, holder: str, ttl_s: float) -> int | None:
        """The fence of that holder, which leads for so long; None where another one does."""
        names = [self.keys.conductor, self.keys.fence]
        async with self._boundary():
            ttl_ms = str(max(1, round(ttl_s * 1000)))
            said = await reply(self._redis.eval(_LEAD, len(names), *names, holder, ttl_ms))
        return int(said) if said else None

    async def resign(self, holder: str) -> None:
        """Lets another one lead."""
        async with self._boundary():
            await reply(self._redis.eval(_RESIGN, 1, self.keys.conductor, holder))

    # What was counted.

    async def counts(self, rollout_id: str) -> str | None:
        """What was kept of that rollout's counts."""
        async with self._boundary():
            said = await reply(self._redis.get(self.keys.rollout_counts(rollout_id)))
        return None if said is None else str(said.decode())

    async def keep_counts(self, rollout_id: str, said: str, fence: int) -> None:
        """Keeps them, for the conductor of that fence."""
        await self._as_leader(fence, _KEEP, [self.keys.rollout_counts(rollout_id)], [said, str(_COUNTS_KEPT_MS)])

    async def watched_s(self) -> float | None:
        """Until when a conductor has watched, seconds since 1970; None where nobody wrote that down."""
        async with self._boundary():
            said = await reply(self._redis.get(self.keys.watched))
            return None if said is None else float(said)

    async def keep_watched(self, now_s: float, fence: int) -> None:
        """The conductor of that fence has watched until then."""
        await self._as_leader(fence, _KEEP, [self.keys.watched], [repr(now_s), str(_COUNTS_KEPT_MS)])

    # Requests with a key of their own.

    async def claim_answer(self, name: str, digest: str) -> Claim | None:
        """What is known of that request; None where it is new, and is now being answered."""
        said = json.dumps({"digest": digest, "answer": None})
        async with self._boundary():
            key = self.keys.idempotency(name)
            there = await reply(self._redis.eval(_CLAIM, 1, key, said, str(_ANSWERS_KEPT_MS)))
            return claim_from(there) if there else None

    async def keep_answer(self, name: str, digest: str, answer: Answered) -> None:
        """Keeps what was answered for a day."""
        said = json.dumps({"digest": digest, "answer": answer._asdict()})
        async with self._boundary():
            await reply(self._redis.set(self.keys.idempotency(name), said, px=_ANSWERS_KEPT_MS))

    async def forget_claim(self, name: str) -> None:
        """Nothing was done, so that the request may be sent again."""
        async with self._boundary():
            await reply(self._redis.delete(self.keys.idempotency(name)))

    async def _records(self, ids: Mapping[str, str]) -> tuple[list[Record], Mapping[str, str]]:
        """The records of these ids in their order, and under their names those that nobody can read."""
        if not ids:
            return [], {}
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            for one in ids.values():
                pipe.hget(self.keys.rollout(one), "record")
            found = await pipe.execute()
        records: list[Record] = []
        damaged: dict[str, str] = {}
        for (name, one), said in zip(ids.items(), found, strict=True):
            try:
                records.append(decode_record(said or b"null"))
            except ValueError:
                damaged[name] = one
        return records, damaged
