"""Wishes in Redis, and when each version was last needed, by the server's clock. Part of `serving.control.store`."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.control.base_store import ANSWER_KEPT_MS, BaseStore, reply
from serving.control.publication_form import encode_entry
from serving.control.publishing import LedgerEntry
from serving.control.wishes import ModelVersion, Touched, Wish, decode_wish

_WISH = (Path(__file__).parent / "wish.lua").read_text(encoding="utf-8")

_TOUCH = """
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
for _, field in ipairs(ARGV) do redis.call('HSET', KEYS[1], field, now) end
return #ARGV
"""


class WishStore(BaseStore):
    """What operators want to run."""

    async def wishes(self) -> Sequence[Wish]:
        """All of them, by model and version."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hgetall(self.keys.wishes)
            pipe.hgetall(self.keys.wish_revisions)
            said, revisions = await pipe.execute()
            found = [decode_wish(text, int(revisions[name])) for name, text in said.items()]
        return sorted(found, key=lambda wish: wish.key)

    async def wish(self, model: str, version: int) -> Wish | None:
        """The wish of that version, None where there is none."""
        name = _field((model, version))
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hget(self.keys.wishes, name)
            pipe.hget(self.keys.wish_revisions, name)
            text, revision = await pipe.execute()
            return None if text is None else decode_wish(text, int(revision))

    async def put_wish(self, wish: Wish, *, who: str, why: str = "") -> Wish | None:
        """Writes a wish that is still at that revision; None where somebody else was faster."""
        entry = ledger_entry("wish", wish, who, why)
        revision = await self._write_wish(wish, wish.encode(), entry)
        return None if revision < 0 else Wish(wish.spec, revision, wish.operation, wish.before)

    async def take_wish(self, wish: Wish, *, who: str, why: str = "") -> bool:
        """Takes a wish away that is still at that revision; whether it did."""
        return await self._write_wish(wish, "", ledger_entry("withdrawal", wish, who, why)) >= 0

    async def touched(self) -> Touched:
        """When versions were last touched, and what time it is."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.time()
            pipe.hgetall(self.keys.touched)
            (seconds, micros), said = await pipe.execute()
            at_ms = {_key(name): int(text) for name, text in said.items()}
            return Touched(int(seconds) * 1000 + int(micros) // 1000, at_ms)

    async def touch(self, versions: Iterable[ModelVersion]) -> None:
        """These versions are needed now."""
        names = sorted(map(_field, versions))
        if names:
            async with self._boundary():
                await reply(self._redis.eval(_TOUCH, 1, self.keys.touched, *names))

    async def put_to_sleep(self, model: str, version: int) -> None:
        """This version sleeps as soon as nothing routes to it."""
        async with self._boundary():
            await reply(self._redis.hset(self.keys.touched, _field((model, version)), "0"))

    async def forget_touched(self, versions: Iterable[ModelVersion]) -> None:
        """Nobody will ask after these versions again."""
        names = sorted(map(_field, versions))
        if names:
            async with self._boundary():
                await reply(self._redis.hdel(self.keys.touched, *names))

    async def first_of(self, boot: str) -> bool:
        """Whether nobody has asked this for that boot of the installation before."""
        async with self._boundary():
            before = await reply(self._redis.set(self.keys.boot, boot, get=True))
            return bool(before != boot.encode())

    async def _write_wish(self, wish: Wish, text: str, entry: LedgerEntry) -> int:
        keys = self.keys
        names = [keys.wishes, keys.wish_revisions, keys.touched, keys.ledger]
        names.append(keys.publication(secrets.token_urlsafe(12)))
        said = [_field(wish.key), str(wish.revision), text, encode_entry(entry), str(ANSWER_KEPT_MS)]
        revision, _ = await self._durably(_WISH, names, said)
        return int(revision)


def ledger_entry(kind: str, wish: Wish, who: str, why: str) -> LedgerEntry:
    """What the ledger says of a wish that is written or taken away."""
    facts: Mapping[str, Any] = {"model": wish.spec.model, "version": wish.spec.version, "pool": wish.spec.digest}
    options = wish.spec.options.model_dump(mode="json", exclude_unset=True)
    return LedgerEntry(kind, who, why, {**facts, "options": options})


def _field(version: ModelVersion) -> str:
    return f"{version[0]}/{version[1]}"


def _key(field: bytes) -> ModelVersion:
    model, _, version = field.decode().rpartition("/")
    return model, int(version)
