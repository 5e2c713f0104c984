"""A store in memory, for tests and for looking at the control room without a server.

It passes the contract suite of the real one (tests/contracts/test_store.py). Nothing outlives the process, and what
it says of durability is only what the real one would.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from router.codec import decode_policy, decode_snapshot
from router.epoch import NO_HEAD, Head
from router.policy import Policy
from router.request_id import SECRET_BYTES
from serving.control.errors import StoreDamaged, StoreUnavailable
from serving.control.fake_access import FakeAccess
from serving.control.fake_drift import FakeDrift
from serving.control.fake_evidence import FakeEvidence
from serving.control.fake_feedback import FakeFeedback
from serving.control.fake_records import FakeRecords
from serving.control.fake_rollouts import FakeRollouts
from serving.control.fake_windows import FakeWindows
from serving.control.publishing import (
    NOTHING,
    Answer,
    Beside,
    Change,
    LedgerEntry,
    Publication,
    Published,
    Recorded,
    Refused,
    State,
)
from serving.control.publishing import publish as publish_change
from serving.endpoint import NO_LOAD, Endpoint, Load
from serving.leases import Applied, GatewayLease, IdKeys, Recovery, next_key_id


class FakeStore(FakeRecords, FakeAccess, FakeRollouts, FakeEvidence, FakeFeedback, FakeDrift, FakeWindows):
    """What `serving.control.store.Store` does, without a server.

    Args:
        clock: seconds that only go forward; leases expire by it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        FakeRecords.__init__(self, clock, self._reach, self._write_ledger)
        FakeAccess.__init__(self, self._reach, self._write_ledger, self._tell, self._members_now)
        FakeRollouts.__init__(self, clock, self._reach, self._recorded, self.now_ms, self._ids)
        FakeEvidence.__init__(self, self._reach, self._lead_of, self.now_ms)
        FakeFeedback.__init__(self, self._reach, self.now_ms)
        FakeDrift.__init__(self, self._reach)
        FakeWindows.__init__(self, self._reach)
        self._drop = self._forget_case
        self._clock = clock
        self._head = NO_HEAD
        self._blobs: dict[str, bytes] = {}
        self._lineage: dict[int, str] = {}
        self._ledger: list[Recorded] = []
        self._entries = 0
        self._news = asyncio.Event()
        self._answers: dict[str, Answer] = {}
        self._gateways: dict[str, tuple[GatewayLease, float]] = {}
        self._endpoints: dict[str, tuple[Endpoint, float]] = {}
        self._loads: dict[str, Load] = {}
        self._recoveries: dict[str, Recovery] = {}
        self._id_keys: IdKeys | None = None
        self._id_keys_made_ms: int | None = None
        self.heard: list[str] = []
        """What a subscriber would have heard."""
        self.down = False
        """While true, every call fails as it does when the server is gone."""
        self.warnings: tuple[str, ...] = ()

    async def close(self) -> None:
        """Nothing to give back."""

    async def check(self) -> tuple[str, ...]:
        """The warnings that a test has set."""
        self._reach()
        return self.warnings

    async def head(self) -> Head:
        """The current head."""
        self._reach()
        return self._head

    async def state(self) -> State:
        """The head and its snapshot."""
        self._reach()
        return NOTHING if self._head == NO_HEAD else State(self._head, decode_snapshot(self._blob(self._head.digest)))

    async def policy(self, digest: str) -> Policy:
        """The policy of that digest."""
        self._reach()
        return decode_policy(self._blob(digest))

    async def policies(self, digests: Collection[str]) -> Mapping[str, Policy]:
        """Those of these policies that can be read, by digest; the rest is left out."""
        self._reach()
        return {digest: decode_policy(self._blobs[digest]) for digest in digests if digest in self._blobs}

    async def change(
        self,
        model: str,
        policy: Policy,
        expected_revision: int | None,
        *,
        who: str,
        why: str = "",
        grows: bool = False,
        insists: bool = False,
    ) -> Published:
        """The model's next policy, once it is published."""
        return await publish_change(self, Change(model, policy, expected_revision, who, why, grows, insists))

    async def swap(self, publication: Publication) -> Answer:
        """Writes all of a publication if the head is still the expected one, else nothing."""
        self._reach()
        if publication.nonce in self._answers:
            return self._answers[publication.nonce]
        beside = publication.beside
        forbidden = self._forbidden(replace(beside, seen=publication.expected), self._head.digest)
        if refused := forbidden or (None if publication.insists else self._too_old(publication.reader)):
            return Answer(done=False, head=self._head, refused=refused[0], by=refused[1])
        self._head = publication.head._replace(parent=publication.expected)
        self._blobs |= {**publication.policies, publication.head.digest: publication.snapshot}
        self._lineage |= {**publication.lineage, publication.head.epoch: publication.head.digest}
        self._write_beside(beside, (publication.entry, *beside.entries), await self.now_ms())
        self.heard.append(f"{publication.head.epoch} {publication.head.digest}")
        answer = Answer(done=True, head=self._head, members=frozenset(self._alive(self._gateways)), durable=True)
        self._answers[publication.nonce] = answer
        return answer

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""
        self._reach()
        if beside.nonce in self._answers:
            return self._answers[beside.nonce]
        refused = (
            self._forbidden(beside, self._head.digest) or self._unheard(beside) or self._forbidden_incident(beside)
        )
        if refused:
            return Answer(done=False, head=self._head, refused=refused[0], by=refused[1])
        if beside.heard is not None:
            self._heard_finding = beside.heard.after
        self._write_incidents(beside)
        self._write_beside(beside, beside.entries, await self.now_ms())
        answer = self._answers[beside.nonce] = Answer(done=True, head=self._head, durable=True)
        return answer

    def _unheard(self, beside: Beside) -> tuple[Refused, str] | None:
        away = beside.heard is not None and beside.heard.before != self._heard_finding
        return (Refused.HEARD, self._heard_finding) if away else None

    def _too_old(self, reader: int) -> tuple[Refused, str] | None:
        alive = [self._gateways[name][0] for name in self._alive(self._gateways)]
        return next(((Refused.READER, lease.id) for lease in alive if lease.reader < reader), None)

    async def lineage(self, epochs: Iterable[int]) -> Mapping[int, str]:
        """What is remembered of these epochs."""
        self._reach()
        return {epoch: self._lineage[epoch] for epoch in set(epochs) if epoch in self._lineage}

    async def ledger(self, limit: int, before: str = "") -> Sequence[Recorded]:
        """The newest entries, newest first."""
        self._reach()
        older = [one for one in self._ledger if not before or _place(one.id) < _place(before)]
        return older[: -max(1, limit) - 1 : -1]

    async def ledger_after(self, after: str, limit: int) -> Sequence[Recorded]:
        """The oldest entries after that id, oldest first."""
        self._reach()
        return [one for one in self._ledger if not after or _place(one.id) > _place(after)][:limit]

    async def ledger_length(self) -> int:
        """How many entries there are."""
        self._reach()
        return len(self._ledger)

    async def await_entry(self, after: str, wait_s: float) -> Sequence[Recorded]:
        """What is written after that id, as soon as there is something."""
        if not await self.ledger_after(after, 1):
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()
        return await self.ledger_after(after, len(self._ledger))

    async def entries_at(self, ids: Collection[str]) -> Mapping[str, Recorded]:
        """Those of these entries that are there."""
        self._reach()
        return {one.id: one for one in self._ledger if one.id in ids}

    async def trim_ledger(self, last: str, fence: int) -> None:
        """Forgets everything up to and with that entry, for the conductor of that fence."""
        self._lead_of(fence)
        self._ledger = [one for one in self._ledger if _place(one.id) > _place(last)]

    async def gateways(self) -> Sequence[GatewayLease]:
        """The gateways whose lease is alive, by id."""
        self._reach()
        alive = [self._gateways[name][0] for name in self._alive(self._gateways)]
        return [replace(lease, figures={}, streams=()) for lease in alive]

    async def gateways_with_figures(self) -> Sequence[GatewayLease]:
        """The same with what they say for people."""
        return await self.with_figures(await self.gateways())

    async def with_figures(self, leases: Sequence[GatewayLease]) -> Sequence[GatewayLease]:
        """These leases with what their gateways say for people by now."""
        self._reach()
        alive = [self._gateways[name][0] for name in self._alive(self._gateways)]
        said = {(one.id, one.boot): one for one in alive}
        both = [(lease, said.get((lease.id, lease.boot), lease)) for lease in leases]
        return [replace(lease, figures=one.figures, streams=one.streams) for lease, one in both]

    async def applied(self, ids: Collection[str] | None = None) -> Mapping[str, Applied]:
        """What these gateways go by, or all of them, by id; without those whose lease is not alive."""
        return {lease.id: lease.applied for lease in await self.gateways() if ids is None or lease.id in ids}

    async def endpoints(self) -> Sequence[Endpoint]:
        """The endpoints whose lease is alive, by model and version."""
        return [endpoint for endpoint, _ in await self.endpoint_loads()]

    async def endpoint_loads(self) -> Sequence[tuple[Endpoint, Load]]:
        """The same, each with what its replica says of its server."""
        self._reach()
        alive = [(self._endpoints[name][0], self._loads[name]) for name in self._alive(self._endpoints)]
        return sorted(alive, key=lambda one: (one[0].model, one[0].version, one[0].host, one[0].http_port))

    async def hold(self, endpoint: Endpoint, ttl_s: float, load: Load | None = None) -> None:
        """Takes or renews an endpoint's lease."""
        self._reach()
        self._loads[endpoint.key] = load or NO_LOAD
        if endpoint.key not in self._alive(self._endpoints):
            self.heard.append(endpoint.key)
        self._endpoints[endpoint.key] = endpoint, self._clock() + ttl_s

    async def drop(self, endpoint: Endpoint) -> None:
        """Gives an endpoint's lease back."""
        self._reach()
        self._endpoints.pop(endpoint.key, None)
        self.heard.append(endpoint.key)

    async def recovery(self, digest: str) -> Recovery | None:
        """What a gateway that runs this digest handed back in full."""
        self._reach()
        return self._recoveries.get(digest)

    async def id_keys(self) -> IdKeys | None:
        """The keys, None where there are none yet."""
        self._reach()
        return self._id_keys

    async def ensure_keys(self) -> IdKeys:
        """The keys; the first one is made if there is none."""
        return await self.id_keys() or await self.rotate_keys()

    async def id_keys_made_ms(self) -> int | None:
        """When the key that mints was made; None where nobody wrote that down."""
        self._reach()
        return self._id_keys_made_ms

    async def rotate_keys(self, entry: LedgerEntry | None = None) -> IdKeys:
        """The keys, with a new one that mints from now on."""
        self._id_keys_made_ms = await self.now_ms()
        if entry is not None:
            self._write_ledger(entry)
        current = next_key_id(self._id_keys, first=secrets.randbelow(256))
        before = self._id_keys.secrets if self._id_keys else {}
        self._id_keys = IdKeys({**before, current: secrets.token_bytes(SECRET_BYTES)}, current)
        return self._id_keys

    # What gateways do to the real one without asking the control room.

    def gateway_says(self, lease: GatewayLease, ttl_s: float) -> None:
        """A gateway renews its lease."""
        self._gateways[lease.id] = lease, self._clock() + ttl_s

    def gateway_hands_back(self, recovery: Recovery) -> None:
        """A gateway keeps what it runs where the store may have forgotten it."""
        self._recoveries[recovery.head.digest] = recovery

    def forget(self) -> None:
        """The server loses everything but the leases that are alive."""
        self._head = NO_HEAD
        self._blobs.clear()
        self._lineage.clear()
        self._wishes.clear()

    def _tell(self, words: str) -> None:
        self.heard.append(words)

    def _members_now(self) -> frozenset[str]:
        return frozenset(self._alive(self._gateways))

    def _write_ledger(self, entry: LedgerEntry) -> None:
        self._recorded(entry)

    def _ids(self) -> Sequence[str]:
        return [one.id for one in self._ledger]

    def _recorded(self, entry: LedgerEntry) -> Recorded:
        self._entries += 1
        recorded = Recorded(f"{self._entries}-0", int(time.time() * 1000), entry)
        self._ledger.append(recorded)
        self._news.set()
        return recorded

    def _reach(self) -> None:
        if self.down:
            raise StoreUnavailable("The store in memory cannot be reached.", "Changes have to wait until it is back.")

    def _blob(self, digest: str) -> bytes:
        if digest not in self._blobs:
            raise StoreDamaged(f"The store in memory has lost {digest}, which its head needs.")
        return self._blobs[digest]

    def _alive(self, leases: Mapping[str, tuple[object, float]]) -> list[str]:
        now = self._clock()
        return sorted(name for name, (_, until) in leases.items() if now < until)


def _place(entry: str) -> tuple[int, ...]:
    return tuple(int(part) for part in entry.split("-"))
