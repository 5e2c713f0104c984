"""Who is let in, in memory: the part of `serving.control.fake_store` that is about keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from serving.access.keys import KeyRecord
from serving.control.access_changes import AccessAnswer, AccessChange, AccessState
from serving.control.publishing import LedgerEntry


class FakeAccess:
    """What `serving.control.access_store.AccessStore` does, without a server.

    Args:
        reach: called first by everything; raises where the store is away.
        record: writes to the ledger.
        announce: what a subscriber hears.
        members: ids of the gateways whose lease is alive.
    """

    def __init__(
        self,
        reach: Callable[[], None],
        record: Callable[[LedgerEntry], None],
        announce: Callable[[str], None],
        members: Callable[[], frozenset[str]],
    ) -> None:
        self._in_reach = reach
        self._enter = record
        self._announce = announce
        self._members = members
        self._access = AccessState()
        self._access_answers: dict[str, AccessAnswer] = {}
        self._signing_keys: str | None = None
        self._wanted = False

    async def access(self) -> AccessState:
        """All records of keys, and their revision."""
        self._in_reach()
        return self._access

    async def access_revision(self) -> int:
        """Grows with each change of who is let in."""
        return (await self.access()).revision

    async def key_records(self) -> Sequence[KeyRecord]:
        """All records of keys."""
        return tuple((await self.access()).records.values())

    async def change_access(self, change: AccessChange) -> AccessAnswer:
        """Writes all of a change if the revision is still the expected one, else nothing."""
        self._in_reach()
        if change.nonce in self._access_answers:
            return self._access_answers[change.nonce]
        if change.expected != self._access.revision:
            return AccessAnswer(done=False, revision=self._access.revision)
        put = {**self._access.records, **{record.id: record for record in change.put}}
        self._access = AccessState(
            self._access.revision, {name: record for name, record in put.items() if name not in change.dropped}
        )
        answer = self._access_answers[change.nonce] = self._next_revision(change.entry)
        return answer

    async def jwks(self) -> str | None:
        """The keys that tokens are signed with."""
        self._in_reach()
        return self._signing_keys

    async def keep_jwks(self, text: str, entry: LedgerEntry | None = None) -> AccessAnswer | None:
        """Keeps them; with a ledger entry where they are others than before."""
        self._in_reach()
        self._signing_keys = text
        return None if entry is None else self._next_revision(entry)

    async def take_wanted(self) -> bool:
        """Whether a gateway has met a signing key that it does not know."""
        self._in_reach()
        wanted, self._wanted = self._wanted, False
        return wanted

    async def want_signing_keys(self) -> None:
        """A signing key was met that is not among those kept."""
        self._in_reach()
        self._wanted = True

    def _next_revision(self, entry: LedgerEntry) -> AccessAnswer:
        self._access = AccessState(self._access.revision + 1, self._access.records)
        self._enter(entry)
        self._announce(str(self._access.revision))
        return AccessAnswer(done=True, revision=self._access.revision, members=self._members(), durable=True)
