"""Baselines in Redis. Part of `registry.store`.

What is known of all of them stands in one hash, so that whoever watches sees in one reply what has changed; the bytes
stand beside, by model and number. Both go with the version, in `commit.lua`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from registry.baselines import BaselineRecord, Kept, Numbers, decode_record
from registry.changes import AuditEntry
from registry.codec import decode_standing
from registry.errors import RegistryError
from registry.keys import Keys
from registry.lifecycle import State
from registry.models import ModelName, VersionNumber
from registry.redis_store import Errors, RedisStore, reply

_LOG: Final = logging.getLogger(__name__)

# KEYS: baselines, their bytes, states, audit. ARGV: field, number, record, bytes, whether it was learned, entry.
# Doing it again is harmless, but for a second entry in the log.
_KEEP: Final = """
local state = redis.call('HGET', KEYS[3], ARGV[2])
if state and string.match(state, '^%a+') == 'gone' then return 'gone' end
local there = redis.call('HGET', KEYS[1], ARGV[1])
local read, said = pcall(cjson.decode, there or '{"learned": true}')
if ARGV[5] == '1' and read and type(said) == 'table' and not said.learned then return 'given' end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('XADD', KEYS[4], '*', 'entry', ARGV[6])
return 'done'
"""

# KEYS: baselines, their bytes, audit. ARGV: field, number, entry.
_DROP: Final = """
if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('HDEL', KEYS[2], ARGV[2])
redis.call('XADD', KEYS[3], '*', 'entry', ARGV[3])
return 1
"""


class BaselineStore(RedisStore):
    """One installation's baselines on one Redis server.

    Args:
        url: the server's.
        errors: the registry's.
        timeout_s: how long one command may take.
        keys: what the registry's keys are called.
    """

    def __init__(self, url: str, errors: Errors, timeout_s: float, keys: Keys) -> None:
        super().__init__(url, errors, timeout_s)
        self.keys = keys
        self._told_unreadable: set[str] = set()
        self._told_odd: set[str] = set()

    async def keep_baseline(self, record: BaselineRecord, blob: bytes, entry: AuditEntry) -> Kept:
        """Keeps it in the place of the one that is there, unless the version was deleted."""
        blobs, states = (self.keys.of(record.model, part) for part in ("baselines", "states"))
        names = [self.keys.baselines, blobs, states, self.keys.audit]
        said: list[str | bytes] = [
            *(self.keys.baseline_field(record.model, record.version), str(int(record.version)), record.encode(), blob),
            *(str(int(record.learned)), json.dumps(asdict(entry), sort_keys=True)),
        ]
        async with self._boundary():
            return Kept((await reply(self._redis.eval(_KEEP, len(names), *names, *said))).decode())

    async def drop_baseline(self, model: ModelName, number: VersionNumber, entry: AuditEntry) -> bool:
        """Forgets it; whether there was one."""
        names = [self.keys.baselines, self.keys.of(model, "baselines"), self.keys.audit]
        field = self.keys.baseline_field(model, number)
        said = [field, str(int(number)), json.dumps(asdict(entry), sort_keys=True)]
        async with self._boundary():
            return bool(await reply(self._redis.eval(_DROP, len(names), *names, *said)))

    async def baseline(self, model: ModelName, number: VersionNumber) -> BaselineRecord | None:
        """What is known of the version's baseline; None where it has none."""
        async with self._boundary():
            field = self.keys.baseline_field(model, number)
            said = await reply(self._redis.hget(self.keys.baselines, field))
            return None if said is None else self._record(field, said)

    async def baselines(self) -> Sequence[BaselineRecord]:
        """Those of all versions of all models that can be read, by model and version."""
        async with self._boundary():
            said = await reply(self._redis.hgetall(self.keys.baselines))
        found = (self._read(field.decode(errors="replace"), text) for field, text in said.items())
        return sorted((one for one in found if one is not None), key=lambda one: (one.model, one.version))

    def _read(self, field: str, text: bytes) -> BaselineRecord | None:
        """The record; None of one that nobody can read, which is said, and must hide no other."""
        try:
            found = self._record(field, text)
        except (ValueError, KeyError, TypeError, RegistryError) as error:
            if field not in self._told_unreadable:
                self._told_unreadable.add(field)
                _LOG.error(
                    "what is known of the baseline of %.200s cannot be read, bring it again: %.200s", field, error
                )
            return None
        self._told_unreadable.discard(field)
        return found

    def _record(self, field: str, text: bytes) -> BaselineRecord:
        found = decode_record(text)
        if self.keys.baseline_field(found.model, found.version) != field:
            raise ValueError(f"it is one of {found.model} version {int(found.version)}")
        return found

    async def numbers(self, model: ModelName) -> Numbers:
        """Numbers of versions that are there, and of those that were deleted.

        One whose state cannot be read is there: what is known of it elsewhere must not go by mistake.
        """
        async with self._boundary():
            said = await reply(self._redis.hgetall(self.keys.of(model, "states")))
        there, gone = set[VersionNumber](), set[VersionNumber]()
        for field, text in said.items():
            if (number := _number(field)) is None:
                self._tell_odd(model, field, "it is no version's number")
            else:
                (gone if self._is_gone(model, field, text) else there).add(number)
        return Numbers(frozenset(there), frozenset(gone))

    def _is_gone(self, model: ModelName, field: bytes, text: bytes) -> bool:
        try:
            return decode_standing(text.decode()).state is State.GONE
        except ValueError as error:
            self._tell_odd(model, field, error)
            return False

    def _tell_odd(self, model: ModelName, field: bytes, why: object) -> None:
        """Once."""
        name = f"{model}/{field.decode(errors='replace')}"
        if name not in self._told_odd:
            self._told_odd.add(name)
            _LOG.error("the state of %.200s cannot be read, so it is none that was deleted: %.200s", name, why)

    async def baseline_blob(self, model: ModelName, number: VersionNumber) -> bytes | None:
        """The bytes that are kept; None where there are none."""
        async with self._boundary():
            blob: bytes | None = await reply(self._redis.hget(self.keys.of(model, "baselines"), str(int(number))))
            return blob


def _number(field: bytes) -> VersionNumber | None:
    """The version's number; None where it is none."""
    try:
        return VersionNumber(int(field))
    except (ValueError, RegistryError):
        return None
