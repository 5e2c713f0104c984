"""Deliveries to hooks in Redis: those that wait, dead letters, and what came of the last attempts.

Part of `serving.control.store`. What is to be told is queued by `publish.lua` with the ledger's entry that it is about;
here it is read, put off, ended, and asked for once more. Every list has an end, and counts what fell off it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from serving.control.base_store import ANSWER_KEPT_MS, BaseStore, reply
from serving.control.publication import LedgerEntry
from serving.control.publication_form import MOST_JOBS, encode_entry
from serving.control.rolling.kept import MOST_DUE, Again, Attempt, Became, DeadLetter, Due, Over, Tried, Waiting

MOST_DEAD: Final = 1_000
"""Dead letters that are kept; the oldest fall off."""
MOST_TRIED: Final = 1_000
"""Attempts that are remembered, about."""

_DROPPED: Final = "dropped"
_DROPPED_DEAD: Final = "dropped/dead"

_REMEMBER = f"""
local function remember(key, told)
  if told ~= '' then redis.call('XADD', key, 'MAXLEN', '~', {MOST_TRIED}, '*', 'a', told) end
end
"""

# What is over was counted before, by a command that was sent again.
_END_JOB = (
    _REMEMBER
    + """
local was = redis.call('ZREM', KEYS[2], ARGV[2])
redis.call('HDEL', KEYS[3], ARGV[2], ARGV[2] .. '/tries')
if was == 1 and ARGV[4] ~= '' then redis.call('HINCRBY', KEYS[3], ARGV[4], 1) end
remember(KEYS[4], ARGV[3])
return 1
"""
)

_PUT_OFF_JOB = (
    _REMEMBER
    + """
if redis.call('ZSCORE', KEYS[2], ARGV[2]) then
  local time = redis.call('TIME')
  local at = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4]
  redis.call('ZADD', KEYS[2], string.format('%.0f', at), ARGV[2])
  redis.call('HINCRBY', KEYS[3], ARGV[2] .. '/tries', 1)
  remember(KEYS[4], ARGV[3])
end
return 1
"""
)

# A delivery that is over was buried before, by a command that was sent again.
_BURY_JOB = (
    _REMEMBER
    + """
if redis.call('ZREM', KEYS[2], ARGV[2]) == 1 then
  local entry = redis.call('HGET', KEYS[3], ARGV[2])
  redis.call('HDEL', KEYS[3], ARGV[2], ARGV[2] .. '/tries')
  local time = redis.call('TIME')
  redis.call('ZADD', KEYS[5], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), ARGV[2])
  redis.call('HSET', KEYS[6], ARGV[2], ARGV[4], ARGV[2] .. '/entry', entry or '')
  redis.call('HINCRBY', KEYS[3], ARGV[6], 1)
  while redis.call('ZCARD', KEYS[5]) > tonumber(ARGV[5]) do
    local oldest = redis.call('ZPOPMIN', KEYS[5])[1]
    redis.call('HDEL', KEYS[6], oldest, oldest .. '/entry')
    redis.call('HINCRBY', KEYS[3], 'dropped/dead', 1)
  end
  remember(KEYS[4], ARGV[3])
end
return 1
"""
)

# What is due, the longest due first, and of every hook as many as of the others: one with a long backlog must not
# keep the others out of what is read at once.
_DUE = """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)
local room, nth_of, last_of, number = tonumber(ARGV[1]), {}, {}, {}
if #due <= room then return due end
for place, job in ipairs(due) do
  local hook = string.match(job, '/(.*)$') or ''
  local nth = (last_of[hook] or 0) + 1
  last_of[hook], nth_of[place], number[nth] = nth, nth, (number[nth] or 0) + 1
end
local all = 0
while number[all + 1] and number[all + 1] <= room do
  all = all + 1
  room = room - number[all]
end
local found = {}
for place, job in ipairs(due) do
  local last = nth_of[place] == all + 1 and room > 0
  if last then room = room - 1 end
  if last or nth_of[place] <= all then found[#found + 1] = job end
end
return found
"""

# Once more: what waits is due now, a dead letter waits again from its first attempt on, and so does what was over, if
# its entry is given. The ledger says so with it; the answer is kept for a client whose connection broke.
#
# KEYS  1 due jobs; 2 jobs; 3 dead letters by time; 4 dead letters; 5 ledger; 6 answer
# ARGV  1 the ledger's entry; 2 how many may wait; 3 for how long the answer is kept; then ids, each with an entry or ''
_AGAIN = """
local answered = redis.call('GET', KEYS[6])
if answered then return cjson.decode(answered) end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local became, any = {}, false
for nth = 4, #ARGV, 2 do
  local job, entry = ARGV[nth], ARGV[nth + 1]
  local dead = redis.call('HGET', KEYS[4], job .. '/entry')
  local what = 'replayed'
  if redis.call('ZSCORE', KEYS[1], job) then
    redis.call('ZADD', KEYS[1], now, job)
    what = 'hurried'
  elseif not dead and entry == '' then
    what = 'unknown'
  elseif redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
    what = 'full'
  else
    redis.call('HSET', KEYS[2], job, dead or entry)
    redis.call('ZADD', KEYS[1], now, job)
    redis.call('ZREM', KEYS[3], job)
    redis.call('HDEL', KEYS[4], job, job .. '/entry')
  end
  any = any or what == 'replayed' or what == 'hurried'
  became[#became + 1] = what
end
if any then redis.call('XADD', KEYS[5], '*', 'entry', ARGV[1]) end
if #became > 0 then redis.call('SET', KEYS[6], cjson.encode(became), 'PX', ARGV[3]) end
return became
"""


class DeliveryStore(BaseStore):
    """What hooks are to hear, and what became of it."""

    async def due_jobs(self) -> Sequence[str]:
        """Ids of at most `MOST_DUE` deliveries that are due, the longest due first; no hook keeps others out."""
        async with self._boundary():
            found = await reply(self._redis.eval(_DUE, 1, self.keys.due_jobs, str(MOST_DUE)))
            return [one.decode() for one in found]

    async def jobs(self, ids: Sequence[str]) -> Sequence[Due]:
        """These deliveries; of those that are over by now the entry is empty."""
        if not ids:
            return []
        async with self._boundary():
            found = await reply(self._redis.hmget(self.keys.jobs, [*ids, *(f"{one}/tries" for one in ids)]))
        entries, tries = found[: len(ids)], found[len(ids) :]
        return [
            Due(one, entry.decode() if entry else "", int(tried or 0))
            for one, entry, tried in zip(ids, entries, tries, strict=True)
        ]

    async def end_job(self, job: str, fence: int, told: Attempt | None = None) -> None:
        """That one is over, says the conductor of that fence; what came of the last attempt is remembered."""
        became = Became.ENDED if told is not None and told.failed else Became.DELIVERED
        count = "" if told is None else _over(became)
        await self._as_leader(fence, _END_JOB, self._queue, [job, _remembered(job, told, became), count])

    async def put_off_job(self, job: str, wait_s: float, fence: int, told: Attempt | None = None) -> None:
        """That one was tried in vain by the conductor of that fence, and is tried again after so long."""
        said = [job, _remembered(job, told, Became.WAITS), str(round(wait_s * 1000))]
        await self._as_leader(fence, _PUT_OFF_JOB, self._queue, said)

    async def bury_job(self, due: Due, fence: int, told: Attempt) -> None:
        """That one was tried for the last time by the conductor of that fence: it becomes a dead letter."""
        letter = json.dumps({"tries": due.tries + 1, "last": told})
        said = [due.id, _remembered(due.id, told, Became.DEAD), letter, str(MOST_DEAD), _over(Became.DEAD)]
        names = [*self._queue, self.keys.dead_letter_times, self.keys.dead_letters]
        await self._as_leader(fence, _BURY_JOB, names, said)

    async def again(self, jobs: Mapping[str, str], entry: LedgerEntry) -> Mapping[str, Again]:
        """Has deliveries told once more, all that can be; what came of each.

        Args:
            jobs: their ids, each with the ledger's entry that it is about; empty where nobody has it any more.
            entry: what the ledger says of it, if any of them is told.
        """
        nonce = secrets.token_urlsafe(12)
        keys = self.keys
        names = [
            *(keys.due_jobs, keys.jobs, keys.dead_letter_times, keys.dead_letters, keys.ledger),
            keys.publication(nonce),
        ]
        said = [
            encode_entry(entry),
            str(MOST_JOBS),
            str(ANSWER_KEPT_MS),
            *(one for pair in jobs.items() for one in pair),
        ]
        async with self._boundary():
            found = await reply(self._redis.eval(_AGAIN, len(names), *names, *said))
        return {job: Again(what.decode()) for job, what in zip(jobs, found, strict=True)}

    async def waiting(self, limit: int) -> Sequence[Waiting]:
        """Deliveries that wait, those that are tried next first."""
        async with self._boundary():
            found = await reply(self._redis.zrange(self.keys.due_jobs, 0, max(1, limit) - 1, withscores=True))
        due = await self.jobs([job.decode() for job, _ in found])
        return [
            Waiting(one.id, int(at), one.tries, one.entry)
            for one, (_, at) in zip(due, found, strict=True)
            if one.entry
        ]  # fmt: skip

    async def dead_letters(self, limit: int) -> Sequence[DeadLetter]:
        """Deliveries that were given up, the newest first."""
        async with self._boundary():
            found = await reply(
                self._redis.zrevrange(self.keys.dead_letter_times, 0, max(1, limit) - 1, withscores=True)
            )
            ids = [job.decode() for job, _ in found]
            fields = [*ids, *(f"{one}/entry" for one in ids)]
            said = await reply(self._redis.hmget(self.keys.dead_letters, fields)) if ids else []
        letters, entries = said[: len(ids)], said[len(ids) :]
        return [
            _letter(job, int(at), letter, entry)
            for job, (_, at), letter, entry in zip(ids, found, letters, entries, strict=True)
            if letter is not None
        ]

    async def dead_letter(self, job: str) -> DeadLetter | None:
        """The dead letter of that id, None where there is none."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.zscore(self.keys.dead_letter_times, job)
            pipe.hmget(self.keys.dead_letters, [job, f"{job}/entry"])
            at, (letter, entry) = await pipe.execute()
        return None if at is None or letter is None else _letter(job, int(at), letter, entry)

    async def waiting_job(self, job: str) -> Waiting | None:
        """The delivery of that id if it waits."""
        async with self._boundary():
            at = await reply(self._redis.zscore(self.keys.due_jobs, job))
        (due,) = await self.jobs([job])
        return None if at is None or not due.entry else Waiting(job, int(at), due.tries, due.entry)

    async def tried(self, limit: int) -> Sequence[Tried]:
        """The last attempts, the newest first."""
        async with self._boundary():
            found = await reply(self._redis.xrevrange(self.keys.tried_jobs, count=max(1, limit)))
            return [_tried(entry.decode(), fields[b"a"]) for entry, fields in found]

    async def dropped_jobs(self) -> tuple[int, int]:
        """Deliveries that found no room, and dead letters that fell off, since there is this store."""
        async with self._boundary():
            jobs, dead = await reply(self._redis.hmget(self.keys.jobs, [_DROPPED, _DROPPED_DEAD]))
        return int(jobs or 0), int(dead or 0)

    async def over_jobs(self) -> Over:
        """How many deliveries came to which end, since there is this store."""
        ends = [_over(Became.DELIVERED), _over(Became.DEAD), _over(Became.ENDED), _DROPPED]
        async with self._boundary():
            return Over(*(int(one or 0) for one in await reply(self._redis.hmget(self.keys.jobs, ends))))

    async def message_came(self, key: str) -> str | None:
        """What came of a message at our rollback target; None where it is new, or was forgotten."""
        async with self._boundary():
            said = await reply(self._redis.get(self.keys.message(key)))
        return None if said is None else str(said.decode())

    async def keep_message(self, key: str, said: str, kept_s: int) -> None:
        """Keeps what came of a message for so long; what was said first stays."""
        async with self._boundary():
            await reply(self._redis.set(self.keys.message(key), said, ex=kept_s, nx=True))

    @property
    def _queue(self) -> list[str]:
        return [self.keys.due_jobs, self.keys.jobs, self.keys.tried_jobs]


def _remembered(job: str, told: Attempt | None, became: Became) -> str:
    return "" if told is None else json.dumps({"job": job, "attempt": told, "became": became})


def _over(became: Became) -> str:
    """The field that counts those."""
    return f"over/{became}"


def _tried(entry: str, said: bytes) -> Tried:
    plain = json.loads(said)
    at_ms = int(entry.partition("-")[0])
    return Tried(plain["job"], at_ms, Attempt(*plain["attempt"]), Became(plain["became"]))


def _letter(job: str, at_ms: int, said: Any, entry: bytes | None) -> DeadLetter:  # noqa: ANN401 - redis-py's
    plain = json.loads(said)
    return DeadLetter(job, at_ms, int(plain["tries"]), Attempt(*plain["last"]), (entry or b"").decode())
