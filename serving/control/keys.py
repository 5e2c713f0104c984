"""API keys and the keys of request ids: made, listed, revoked, rotated, and known to every gateway.

What a change is stands in `serving.control.key_rules`; here it is written against what it was decided on, again where
somebody was faster, and waited for until the gateways say in their leases that they go by it. A secret is in what
`create` returns, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from serving.access import keys as access_keys
from serving.access.keys import KeyRecord, Shown
from serving.control.access_changes import AccessAnswer, AccessChange, AccessState
from serving.control.acknowledging import taken_up
from serving.control.errors import Contended, StoreUnavailable
from serving.control.key_rules import (
    WantedKey,
    administers,
    record_for,
    record_of,
    refuse_secrets,
    with_admin_key,
    with_key,
    without_key,
)
from serving.control.publishing import LedgerEntry
from serving.control.views import Acknowledged
from serving.leases import Applied, IdKeys

__all__ = ["KeyService", "KeyStore", "MadeKey", "RevokedKey", "WantedKey", "known_by", "rotate_when_due"]

_log = logging.getLogger(__name__)

LONGEST_WAIT_S = 30.0
_LOOK_S = 0.02
_ATTEMPTS = 50
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.02
_DAY_S = 86_400.0


class IdKeyStore(Protocol):
    """Where the keys of request ids are."""

    async def id_keys_made_ms(self) -> int | None:
        """When the key that mints was made, milliseconds since 1970."""

    async def rotate_keys(self, entry: LedgerEntry | None = None) -> IdKeys:
        """The keys, with a new one that mints from now on."""


class KeyStore(IdKeyStore, Protocol):
    """Where keys are kept, and who goes by them."""

    async def access(self) -> AccessState:
        """All records, and their revision."""

    async def change_access(self, change: AccessChange) -> AccessAnswer:
        """Writes all of a change if the revision is still the expected one, else nothing."""

    async def applied(self, ids: Collection[str] | None = None) -> Mapping[str, Applied]:
        """What these gateways go by, or all of them, by id; without those whose lease is not alive."""


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that was made: the only value that ever has its secret, and who knows it by now."""

    record: KeyRecord
    shown: Shown
    acknowledged: Acknowledged
    durable: bool
    took_s: float

    def __repr__(self) -> str:
        """Without the secret."""
        return f"MadeKey({self.record.id})"


@dataclass(frozen=True, slots=True)
class RevokedKey:
    """A key that was taken back, and which gateways know by now; nobody knows of `durable` where it was before."""

    record: KeyRecord
    acknowledged: Acknowledged
    durable: bool | None
    took_s: float


class KeyService:
    """What can be done with keys.

    Args:
        store: where they are kept.
        required: whether callers are asked for a key at all; else losing the last one locks nobody out.
        tokens: whether somebody may administer by a token.
        now: seconds since 1970.
        clock: seconds that only go forward.
    """

    def __init__(
        self,
        store: KeyStore,
        *,
        required: bool = True,
        tokens: bool = False,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._may_be_last = tokens or not required
        self.now = now
        self._clock = clock

    async def create(self, wanted: WantedKey, *, who: str, wait_s: float = 2.0) -> MadeKey:
        """A new key, once it is written and the gateways know it.

        Raises:
            NameTaken: a key that is in force has its name.
            Unacceptable: it cannot be.
        """
        began, now_s = self._clock(), self.now()
        shown = access_keys.create()
        record = record_for(wanted, shown, who=who, now_s=now_s)
        _, _, answer = await self._written(lambda state: with_key(state, record, now_s))
        seen = await self._known(answer, wait_s)
        return MadeKey(record, shown, seen, answer.durable, self._clock() - began)

    async def records(self, *, ended: bool = False) -> tuple[KeyRecord, ...]:
        """Those that are in force, by name; with `ended` also those that were revoked or expired lately."""
        now_s = self.now()
        found = (await self._store.access()).records.values()
        kept = (one for one in found if ended or one.alive(now_s))
        return tuple(sorted(kept, key=lambda one: (one.name, one.created_s, one.id)))

    async def revoke(
        self, key_id: str, *, who: str, why: str = "", force: bool = False, wait_s: float = 2.0
    ) -> RevokedKey:
        """The key, once it is taken back and the gateways know; again for one that is revoked already.

        Raises:
            UnknownKey: there is none of that id.
            InUse: it is the last one that administers, and nobody insists.
        """
        began, now_s = self._clock(), self.now()
        may_be_last = force or self._may_be_last
        state, change, answer = await self._written(
            lambda state: without_key(state, key_id, who=who, why=why, now_s=now_s, may_be_last=may_be_last)
        )
        record = change.put[0] if change else record_of(state, key_id)
        seen = await self._known(answer, wait_s)
        return RevokedKey(record, seen, answer.durable if change else None, self._clock() - began)

    async def settle_admin_key(self, shown: Shown | None) -> None:
        """Has the key of the settings administer, and no earlier one of theirs; None where they name none."""
        now_s = self.now()
        state, _, _ = await self._written(lambda state: with_admin_key(state, shown, now_s))
        there = None if shown is None else state.records.get(shown.id)
        if there is not None and there.revoked_s is not None:
            _log.warning("the key %s of access.admin_key was revoked: put another one there", there.id)

    async def administered(self) -> bool:
        """Whether there is a key in force that administers."""
        now_s = self.now()
        return any(administers(one, now_s) for one in (await self._store.access()).records.values())

    async def rotate_id_keys(self, *, who: str, why: str = "") -> IdKeys:
        """The keys of request ids, with a new one that mints from now on; the others go on verifying."""
        refuse_secrets(why)
        return await self._store.rotate_keys(_rotation(who, why))

    async def _written(
        self, decide: Callable[[AccessState], AccessChange | None]
    ) -> tuple[AccessState, AccessChange | None, AccessAnswer]:
        """What was there, the change that was decided on it and written, and what came of it.

        Where nothing is to change, the answer is about what is there, and about the gateways that are alive now.
        """
        for attempt in range(_ATTEMPTS):
            state = await self._store.access()
            change = decide(state)
            if change is None:
                members = frozenset(await self._store.applied())
                return state, None, AccessAnswer(done=True, revision=state.revision, members=members)
            answer = await self._store.change_access(change)
            if answer.done:
                return state, change, answer
            longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
            await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 - spreads competitors out, keeps no secret
        raise Contended("The keys keep changing.", "Try again in a moment.")

    async def _known(self, answer: AccessAnswer, wait_s: float) -> Acknowledged:
        until = self._clock() + min(wait_s, LONGEST_WAIT_S)
        seen = Acknowledged(len(answer.members), 0, (), tuple(sorted(answer.members)))
        while True:
            with suppress(StoreUnavailable):  # the change is written, and stays so where nobody can be asked about it
                seen = known_by(answer, await self._store.applied(answer.members))
            if not seen.waiting or self._clock() >= until:
                return seen
            await asyncio.sleep(_LOOK_S)


def known_by(answer: AccessAnswer, alive: Mapping[str, Applied]) -> Acknowledged:
    """Which of the gateways that were there at a change go by it or a later one, given what those go by now."""
    return taken_up(answer.members, alive, lambda applied: applied.access >= answer.revision)


async def rotate_when_due(store: IdKeyStore, now_s: float, days: float) -> bool:
    """Replaces the key that signs request ids where it is older than that; whether it did.

    Args:
        store: where it is.
        now_s: seconds since 1970, by the store's clock (`now_ms`).
        days: how long a key signs. What it has signed is verified for as long as it is kept, 255 keys more.
    """
    made_ms = await store.id_keys_made_ms()
    if made_ms is not None and now_s - made_ms / 1000 < days * _DAY_S:
        return False
    await store.rotate_keys(_rotation("conductor", f"the key was older than {days:g} days"))
    return True


def _rotation(who: str, why: str) -> LedgerEntry:
    return LedgerEntry("key", who, why, {"what": "rotated the key that signs request ids"})
