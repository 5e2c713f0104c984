"""Who is let in, in Redis: records of keys, and the keys that tokens are signed with. Part of `serving.control.store`.

Every change is one script (`access.lua`), which raises the revision that gateways acknowledge in their leases, writes
the ledger entry and tells the gateways. What a change may be is decided in `serving.control.keys`; of a key only its
digest ever comes here.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from serving.access.keys import KeyRecord, decode
from serving.control.access_changes import AccessAnswer, AccessChange, AccessState
from serving.control.base_store import ANSWER_KEPT_MS, BaseStore, reply
from serving.control.publication_form import encode_entry
from serving.control.publishing import LedgerEntry

_log = logging.getLogger(__name__)

WANTED_MS = 2_000
"""How long a gateway's wish for newer signing keys stands, and so how often one is made at most."""

_CHANGE = (Path(__file__).parent / "access.lua").read_text(encoding="utf-8")


class AccessStore(BaseStore):
    """Who is let in."""

    async def access(self) -> AccessState:
        """All records of keys, revoked and expired ones among them, and their revision."""
        async with self._boundary():
            pipe = self._redis.pipeline(transaction=True)
            pipe.get(self.keys.access_revision)
            pipe.hgetall(self.keys.access_keys)
            revision, said = await pipe.execute()
            return AccessState(int(revision or 0), {one.id: one for one in _readable(said)})

    async def access_revision(self) -> int:
        """Grows with each change of who is let in; 0 before the first."""
        async with self._boundary():
            return int(await reply(self._redis.get(self.keys.access_revision)) or 0)

    async def key_records(self) -> Sequence[KeyRecord]:
        """All records of keys, revoked and expired ones among them."""
        return tuple((await self.access()).records.values())

    async def change_access(self, change: AccessChange) -> AccessAnswer:
        """Writes all of a change if the revision is still the expected one, else nothing."""
        put = {record.id: record.encode() for record in change.put}
        return await self._write_access(
            change.entry, change.nonce, expected=str(change.expected), put=put, dropped=list(change.dropped)
        )

    async def jwks(self) -> str | None:
        """The keys that tokens are signed with, as `keep_jwks` was given them; None before the first time."""
        async with self._boundary():
            said = await reply(self._redis.get(self.keys.access_jwks))
            return None if said is None else said.decode()

    async def keep_jwks(self, text: str, entry: LedgerEntry | None = None) -> AccessAnswer | None:
        """Keeps them.

        Args:
            text: JSON, {"fetched_s": …, "keys": [JWK…], "url": …}.
            entry: what the ledger says of their change; None where they are the same and only the time is another.

        Returns:
            The revision that gateways will acknowledge; None where nothing changed for them.
        """
        if entry is not None:
            return await self._write_access(entry, secrets.token_urlsafe(12), signing=text)
        async with self._boundary():
            await reply(self._redis.set(self.keys.access_jwks, text))
        return None

    async def take_wanted(self) -> bool:
        """Whether a gateway has met a signing key that it does not know since this was last asked."""
        async with self._boundary():
            return await reply(self._redis.getdel(self.keys.access_wanted)) is not None

    async def want_signing_keys(self) -> None:
        """A signing key was met that is not among those kept: what gateways do by themselves."""
        async with self._boundary():
            await reply(self._redis.set(self.keys.access_wanted, "1", px=WANTED_MS, nx=True))

    async def _write_access(
        self, entry: LedgerEntry, nonce: str, *, expected: str = "", signing: str = "", **records: object
    ) -> AccessAnswer:
        keys = self.keys
        names = [keys.access_keys, keys.access_revision, keys.ledger, keys.gateways]
        names += [keys.publication(nonce), keys.access_jwks]
        said = {
            "expected": expected,
            "put": {},
            "dropped": [],
            **records,
            "signing": signing,
            "entry": encode_entry(entry),
            "gateway_prefix": keys.gateway(""),
            "channel": keys.access_changes,
            "answer_kept_ms": ANSWER_KEPT_MS,
        }
        answer, durable = await self._durably(_CHANGE, names, [json.dumps(said)])
        plain = json.loads(answer)
        # Lua has one kind of table, so an empty list arrives as an object.
        members = frozenset(plain.get("members") or ())
        return AccessAnswer(plain["done"], int(plain["revision"]), members, plain["done"] and durable)


def _readable(said: Mapping[bytes, bytes]) -> Iterator[KeyRecord]:
    """The records. One that nobody can read lets nobody in, and must not keep others from being revoked."""
    for name, text in said.items():
        try:
            yield decode(text)
        except (ValueError, RecursionError):
            _log.warning("the record of key %r cannot be read, and lets nobody in", name[:64])
