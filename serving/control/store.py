"""The store in Redis: its keys, and what is asked of the server.

Moving the head is one script (`publish.lua`), so that no reader sees half a change; an answer to an operator waits
until the write is on disk. Leases expire by the server's clock. What a change is, and when it is tried again, is
`serving.control.publishing`; what the keys are called is `serving.leases`; what every store of ours in Redis has is
`registry.redis_store`.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import cast

from registry.redis_store import TIMEOUT_S
from router.codec import decode_policy, decode_snapshot, digest_of
from router.epoch import NO_HEAD, Head
from router.errors import RouterError
from router.policy import Policy
from router.request_id import SECRET_BYTES
from serving.control.access_store import AccessStore
from serving.control.base_store import ANSWER_KEPT_MS, reply
from serving.control.deliveries_store import DeliveryStore
from serving.control.drift_store import DriftStore
from serving.control.errors import StoreDamaged
from serving.control.evidence_store import EvidenceStore
from serving.control.feedback_store import FeedbackStore
from serving.control.incident_store import IncidentStore
from serving.control.leases_store import LeaseStore
from serving.control.ledger_store import LedgerStore
from serving.control.operations_store import OperationStore
from serving.control.publication_form import answer_from, encode_entry, script_argument, script_keys
from serving.control.publishing import NOTHING, Answer, Beside, Change, LedgerEntry, Publication, Published, State
from serving.control.publishing import publish as publish_change
from serving.control.rollouts_store import RolloutStore
from serving.control.windows_store import WindowStore
from serving.control.wishes_store import WishStore
from serving.leases import IdKeys, head_from, id_keys_from, next_key_id
from serving.store_keys import Keys

_PUBLISH = (Path(__file__).parent / "publish.lua").read_text(encoding="utf-8")

# Adds a key only if `current` is what the caller saw: of two first starts, or two rotations, one wins.
_ADD_ID_KEY = """
if (redis.call('HGET', KEYS[1], 'current') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3], 'current', ARGV[2])
local time = redis.call('TIME')
redis.call('SET', KEYS[2], time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
if ARGV[4] ~= '' then redis.call('XADD', KEYS[3], '*', 'entry', ARGV[4]) end
return 1
"""


def connect(url: str, namespace: str, *, timeout_s: float = TIMEOUT_S) -> Store:
    """A store at that address; nothing is sent before it is first used.

    Args:
        url: redis://, rediss:// or unix://, with the password in it if there is one.
        namespace: what all of this installation's keys begin with.
        timeout_s: how long one command may take. A broken connection is tried twice more, with growing pauses.

    Raises:
        SluiceError: the address cannot be used; its text does not repeat it, since it may hold a password.
    """
    return Store(url, Keys(namespace), timeout_s)


class Store(
    LeaseStore, WishStore, OperationStore, AccessStore, LedgerStore, RolloutStore, EvidenceStore, FeedbackStore,
    DeliveryStore, DriftStore, IncidentStore, WindowStore,
):  # fmt: skip
    """One installation's keys on one Redis server. Make it with `connect`."""

    # Policies

    async def head(self) -> Head:
        """The current head, `NO_HEAD` where there is none."""
        async with self._boundary():
            return head_from(await reply(self._redis.hgetall(self.keys.head))) or NO_HEAD

    async def state(self) -> State:
        """The head and its snapshot."""
        head = await self.head()
        if head == NO_HEAD:
            return NOTHING
        blob = await self._blob(self.keys.snapshot(head.digest), head.digest)
        async with self._boundary():
            return State(head, decode_snapshot(blob))

    async def policy(self, digest: str) -> Policy:
        """The policy of that digest."""
        blob = await self._blob(self.keys.policy(digest), digest)
        async with self._boundary():
            return decode_policy(blob)

    async def policies(self, digests: Collection[str]) -> Mapping[str, Policy]:
        """Those of these policies that can be read, by digest; the rest is left out."""
        asked = sorted(digests)
        if not asked:
            return {}
        async with self._boundary():
            blobs = await reply(self._redis.mget([self.keys.policy(digest) for digest in asked]))
        found: dict[str, Policy] = {}
        for digest, blob in zip(asked, blobs, strict=True):
            with suppress(RouterError, ValueError, KeyError, TypeError):
                if blob is not None and digest_of(blob) == digest:
                    found[digest] = decode_policy(blob)
        return found

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
        """The model's next policy, once it is published.

        Args:
            model: whose policy.
            policy: what it is to run.
            expected_revision: the one that the change began with, 0 for "no policy yet", None for "whatever it is".
            who: for the ledger.
            why: for the ledger.
            grows: whether somebody but stable gets more by it, so that a stop forbids it.
            insists: whether it only takes traffic back, so that no gateway which cannot read it holds it up.

        Raises:
            Conflict: another change of this model came first.
            RolloutActive: a rollout of that model is in progress.
            ModelStopped: the model is stopped, and somebody but stable would get more.
            Contended: changes of other models kept coming first.
        """
        return await publish_change(self, Change(model, policy, expected_revision, who, why, grows, insists))

    async def swap(self, publication: Publication) -> Answer:
        """Writes all of a publication if the head is still the expected one, else nothing."""
        return await self._published(publication, publication.beside, publication.nonce)

    async def note(self, beside: Beside) -> Answer:
        """Writes all of that where no policy changes, or nothing."""
        return await self._published(None, beside, beside.nonce)

    async def lineage(self, epochs: Iterable[int]) -> Mapping[int, str]:
        """What is remembered of these epochs; those that nothing is remembered of are left out."""
        asked = sorted(set(epochs))
        if not asked:
            return {}
        async with self._boundary():
            found = await reply(self._redis.hmget(self.keys.lineage, [str(epoch) for epoch in asked]))
        return {epoch: value.decode() for epoch, value in zip(asked, found, strict=True) if value is not None}

    # Keys of request ids

    async def id_keys(self) -> IdKeys | None:
        """The keys, None where there are none yet."""
        async with self._boundary():
            return id_keys_from(await reply(self._redis.hgetall(self.keys.id_keys)))

    async def ensure_keys(self) -> IdKeys:
        """The keys; the first one is made if there is none."""
        return await self.id_keys() or await self._add_key(None)

    async def id_keys_made_ms(self) -> int | None:
        """When the key that mints was made, milliseconds since 1970; None where nobody wrote that down."""
        async with self._boundary():
            said = await reply(self._redis.get(self.keys.id_keys_made))
            return None if said is None else int(said)

    async def rotate_keys(self, entry: LedgerEntry | None = None) -> IdKeys:
        """The keys, with a new one that mints from now on; the others go on verifying. The ledger says `entry`."""
        return await self._add_key(await self.id_keys(), entry)

    async def _add_key(self, seen: IdKeys | None, entry: LedgerEntry | None = None) -> IdKeys:
        # A store that lost its data must not give another secret an id that is already in use: the first is drawn.
        key_id = next_key_id(seen, first=secrets.randbelow(256))
        secret = b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        current = "" if seen is None else str(seen.current)
        names = [self.keys.id_keys, self.keys.id_keys_made, self.keys.ledger]
        said = [current, str(key_id), secret, encode_entry(entry) if entry else ""]
        await self._durably(_ADD_ID_KEY, names, said)
        keys = await self.id_keys()
        if keys is None:
            raise StoreDamaged(f"The store at {self.where} took a key for request ids and does not have it.")
        return keys

    # Below: how to speak to the server.

    async def _published(self, publication: Publication | None, beside: Beside, nonce: str) -> Answer:
        names = script_keys(self.keys, publication, nonce)
        argument = script_argument(self.keys, publication, beside, ANSWER_KEPT_MS)
        said, durable = await self._durably(_PUBLISH, names, [argument])
        return answer_from(said, durable=durable)

    async def _blob(self, key: str, digest: str) -> bytes:
        async with self._boundary():
            blob = await reply(self._redis.get(key))
        if blob is None or digest_of(blob) != digest:
            lacks = "has lost" if blob is None else "holds other bytes under"
            raise StoreDamaged(
                f"The store at {self.where} {lacks} {key}, which its head needs.",
                "Gateways go on with what they run; the conductor publishes that again once they hand it back.",
            )
        return cast("bytes", blob)
