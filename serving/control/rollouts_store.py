"""Rollouts in Redis, who leads, what is stopped, what hooks are to hear. Part of `serving.control.store`.

A rollout is only ever moved by `publish.lua`; here it is read, and here is what has no bearing on traffic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from serving.control.base_store import BaseStore, reply
from serving.control.rolling.kept import Answered, Claim, Due, Look, Stop, claim_from, damaged_record, stop_from
from serving.control.rolling.records import Record, decode_record

_COUNTS_KEPT_MS = 30 * 24 * 60 * 60 * 1000
_ANSWERS_KEPT_MS = 24 * 60 * 60 * 1000
_MOST_LISTED = 1_000

# The fence counts how often the lead changed hands; whoever holds the lease keeps the count that it was given.
_LEAD = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return '' end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if not holder then redis.call('INCR', KEYS[2]) end
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
    """What is kept of rollouts."""

    async def look(self) -> Look:
        """The time, the rollouts in progress, and what is stopped, in two round trips."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=False)
            pipe.time()
            pipe.hgetall(self.keys.active_rollouts)
            pipe.hgetall(self.keys.stopped)
            (seconds, micros), active, stopped = await pipe.execute()
        ids = {model.decode(): rollout.decode() for model, rollout in active.items()}
        records, damaged = await self._records(ids)
        now_s = int(seconds) + int(micros) / 1_000_000
        return Look(
            now_s, tuple(records), damaged, {model.decode(): stop_from(said) for model, said in stopped.items()}
        )

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

    async def keep_counts(self, rollout_id: str, said: str) -> None:
        """Keeps them."""
        async with self._boundary():
            await reply(self._redis.set(self.keys.rollout_counts(rollout_id), said, px=_COUNTS_KEPT_MS))

    # What hooks are to hear.

    async def due_jobs(self, limit: int) -> Sequence[Due]:
        """Deliveries that are due, the longest due first."""
        now_ms = await self.now_ms()
        async with self._boundary():
            asked = self._redis.zrangebyscore(self.keys.due_jobs, "-inf", now_ms, start=0, num=limit)
            ids = [one.decode() for one in await reply(asked)]
            if not ids:
                return []
            found = await reply(self._redis.hmget(self.keys.jobs, [*ids, *(f"{one}/tries" for one in ids)]))
        entries, tries = found[: len(ids)], found[len(ids) :]
        return [
            Due(one, entry.decode() if entry else "", int(tried or 0))
            for one, entry, tried in zip(ids, entries, tries, strict=True)
        ]

    async def end_job(self, job: str) -> None:
        """That one is delivered, or given up."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.zrem(self.keys.due_jobs, job)
            pipe.hdel(self.keys.jobs, job, f"{job}/tries")
            await pipe.execute()

    async def put_off_job(self, job: str, wait_s: float) -> None:
        """That one was tried in vain, and is tried again after so long."""
        at_ms = await self.now_ms() + round(wait_s * 1000)
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.zadd(self.keys.due_jobs, {job: at_ms}, xx=True)
            pipe.hincrby(self.keys.jobs, f"{job}/tries", 1)
            await pipe.execute()

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
