"""What the gateways and the control room tell each other through Redis: the names of the keys, the shape of the values.

Both sides import this and nothing of each other. A lease is a key that its owner must keep renewing, so that silence
is an answer too; whether it still holds is decided by the server's clock alone, never by comparing those of two hosts.

To renew a gateway's lease, in one round trip: SET `keys.gateway(id)` value PX ttl, and SADD `keys.gateways` id, every
time, for a reader takes an id whose lease has lapsed out of that index. Endpoints go the same way. Reading, writing
and expiring them is left to those who hold a connection.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from router.epoch import Head
from serving.endpoint import Endpoint

_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_GATEWAY_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MOST_KEYS = 256
_BY_VERSION = ("requests", "in_flight_by", "copied")
_COUNTS = ("pid", "http_port", "epoch", "workers", "connections", "in_flight", "access", "reader")


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of everything that one installation keeps.

    All begin with the namespace in braces, so that on a cluster of Redis servers they share a slot and one script may
    touch them all.

    Args:
        namespace: up to 64 letters, digits, hyphens and underscores.
    """

    namespace: str

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"{self.namespace!r} is no namespace: use up to 64 letters, digits, hyphens, underscores")

    def _of(self, name: str) -> str:
        return f"{{{self.namespace}}}:{name}"

    @property
    def head(self) -> str:
        """Hash: epoch, digest and parent of the current snapshot. Read it with `head_from`."""
        return self._of("head")

    @property
    def lineage(self) -> str:
        """Hash: epoch to digest. Read its values with `remembered`."""
        return self._of("lineage")

    @property
    def ledger(self) -> str:
        """Stream of what was decided, append-only."""
        return self._of("ledger")

    @property
    def epochs(self) -> str:
        """Channel: "epoch digest" at each change of the head."""
        return self._of("epochs")

    @property
    def gateways(self) -> str:
        """Set: ids of the gateways that have or had a lease."""
        return self._of("gateways")

    @property
    def endpoints(self) -> str:
        """Set: keys of the endpoints' leases."""
        return self._of("endpoints")

    @property
    def endpoint_changes(self) -> str:
        """Channel: the lease's key when an endpoint comes or is taken away (not when it lapses)."""
        return self._of("endpoints")

    @property
    def id_keys(self) -> str:
        """Hash: key id to base64 secret, and `current`. Read it with `id_keys_from`."""
        return self._of("idkeys")

    @property
    def wishes(self) -> str:
        """Hash: "model/version" to what an operator wants to run."""
        return self._of("wishes")

    @property
    def wish_revisions(self) -> str:
        """Hash: "model/version" to the revision of its wish; the empty field counts them all."""
        return self._of("wishes:revisions")

    @property
    def touched(self) -> str:
        """Hash: "model/version" to when it was last routed to, deployed or woken, milliseconds since 1970."""
        return self._of("touched")

    @property
    def boot(self) -> str:
        """The start of the installation that last said so."""
        return self._of("boot")

    @property
    def operations(self) -> str:
        """Sorted set: ids of all operations, in the order in which they began."""
        return self._of("operations")

    @property
    def unfinished_operations(self) -> str:
        """Set: ids of those that have not ended."""
        return self._of("operations:unfinished")

    @property
    def ended_operations(self) -> str:
        """Sorted set: ids of those that have, in the order in which they ended."""
        return self._of("operations:ended")

    @property
    def operation_holders(self) -> str:
        """Hash: what one operation at a time may hold, to the id of the one that does; the empty field counts."""
        return self._of("operations:holders")

    @property
    def access_keys(self) -> str:
        """Hash: id of an API key to its record (`serving.access.keys`)."""
        return self._of("access:keys")

    @property
    def access_revision(self) -> str:
        """A number that grows with each change of who is let in, also across a loss of data; none is as good as 0."""
        return self._of("access:revision")

    @property
    def access_changes(self) -> str:
        """Channel: the revision at each change of who is let in."""
        return self._of("access")

    @property
    def access_jwks(self) -> str:
        """The keys that tokens are signed with, as JSON: {"fetched_s": …, "keys": [JWK…], "url": …}."""
        return self._of("access:jwks")

    @property
    def access_wanted(self) -> str:
        """Set for two seconds by a gateway that met a token whose signing key it does not know."""
        return self._of("access:wanted")

    def limit(self, key_id: str) -> str:
        """Hash: what that key has used up of its limits; it expires."""
        return self._of(f"limit:{key_id}")

    @property
    def id_keys_made(self) -> str:
        """When the key that mints request ids was made, milliseconds since 1970 by the server's clock."""
        return self._of("idkeys:made")

    @property
    def conductor(self) -> str:
        """The conductor's lease: whoever leads, for as long as it says so."""
        return self._of("conductor")

    @property
    def fence(self) -> str:
        """Counts how often the lead has changed hands; whoever writes as a conductor shows the count it was given."""
        return self._of("conductor:fence")

    @property
    def stopped(self) -> str:
        """Hash: model, or `*` for all, to what is known of its stop."""
        return self._of("stopped")

    @property
    def rollouts(self) -> str:
        """Sorted set: ids of rollouts, in the order in which they were started."""
        return self._of("rollouts")

    @property
    def active_rollouts(self) -> str:
        """Hash: model to the id of its rollout that is in progress."""
        return self._of("rollouts:active")

    @property
    def barred_versions(self) -> str:
        """Hash: "model/version" to the id of the rollout that it went back with."""
        return self._of("rollouts:barred")

    @property
    def due_jobs(self) -> str:
        """Sorted set: ids of what hooks are to hear, by when it is tried next, milliseconds since 1970."""
        return self._of("hooks:due")

    @property
    def jobs(self) -> str:
        """Hash: the same ids to the ledger's entries; "ID/tries" to how often it was tried; `dropped` counts."""
        return self._of("hooks:jobs")

    def rollouts_of(self, model: str) -> str:
        """Sorted set: ids of that model's rollouts."""
        return self._of(f"rollouts:of:{model}")

    def rollout(self, rollout_id: str) -> str:
        """Hash: a rollout's revision, record and model."""
        return self._of(f"rollout:{rollout_id}")

    def rollout_counts(self, rollout_id: str) -> str:
        """What the conductor has counted of that rollout's present leg."""
        return self._of(f"rollout-counts:{rollout_id}")

    def idempotency(self, name: str) -> str:
        """What was answered to a request that had a key of its own, kept for a day."""
        return self._of(f"idempotency:{name}")

    def operation(self, operation_id: str) -> str:
        """Hash: one operation's record, revision and times. Nothing else is named by this and an id."""
        return self._of(f"operation:{operation_id}")

    def operation_runner(self, operation_id: str) -> str:
        """Whoever runs that operation, for as long as it says so: a lease."""
        return self._of(f"operation-runner:{operation_id}")

    def operation_arguments(self, operation_id: str) -> str:
        """What that operation was asked, until it ends."""
        return self._of(f"operation-arguments:{operation_id}")

    def operations_of(self, model: str) -> str:
        """Sorted set: ids of that model's operations."""
        return self._of(f"operations:of:{model}")

    def crashes(self, model: str, version: int) -> str:
        """Stream of how that version's servers died, which expires."""
        return self._of(f"crashes:{model}:{version}")

    def policy(self, digest: str) -> str:
        """A policy's canonical bytes, immutable."""
        return self._of(f"policy:{digest}")

    def snapshot(self, digest: str) -> str:
        """A snapshot's canonical bytes, immutable."""
        return self._of(f"snapshot:{digest}")

    def gateway(self, gateway_id: str) -> str:
        """A gateway's lease: a `GatewayLease` that expires."""
        return self._of(f"gateway:{gateway_id}")

    def endpoint(self, endpoint: Endpoint) -> str:
        """An endpoint's lease: an `Endpoint` that expires."""
        return self._of(f"endpoint:{endpoint.host}:{endpoint.http_port}:{endpoint.model}:{endpoint.version}")

    def recovery(self, digest: str) -> str:
        """What a gateway runs in full, kept where the store may have forgotten it: a `Recovery` that expires."""
        return self._of(f"recovery:{digest}")

    def publication(self, nonce: str) -> str:
        """The answer to one publication, kept for a minute so that a repeated command is not a second change."""
        return self._of(f"publication:{nonce}")


@dataclass(frozen=True, slots=True)
class GatewayLease:
    """What one gateway says of itself each time it renews its lease.

    Attributes:
        id: names it for as long as it lives, and across a lapse of its lease.
        boot: drawn at its start, so that a successor under the same id is not mistaken for it.
        pid: of the process that writes this.
        host: where it listens.
        http_port: where it listens.
        epoch: of the snapshot that it runs, 0 before the first.
        digest: of the same, empty before the first.
        held: why it does not take the store's head, None where it does.
        workers: how many processes answer.
        connections: open ones.
        in_flight: requests that are being answered.
        requests: answered so far, by "model/version".
        in_flight_by: requests that are being answered, by "model/version"; those without any are left out.
        copied: copies of requests that shadows have answered so far, by "model/version".
        access: the revision of who is let in that it goes by (`Keys.access_revision`), 0 before the first.
        reader: the newest form of policies and snapshots that it can read.
    """

    id: str
    boot: str
    pid: int
    host: str
    http_port: int
    epoch: int
    digest: str
    held: str | None = None
    workers: int = 1
    connections: int = 0
    in_flight: int = 0
    requests: Mapping[str, int] = field(default_factory=dict)
    in_flight_by: Mapping[str, int] = field(default_factory=dict)
    copied: Mapping[str, int] = field(default_factory=dict)
    access: int = 0
    reader: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _GATEWAY_ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no gateway's id: use up to 128 letters, digits and . _ : -")
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        for name in ("boot", "host", "digest", "held"):
            _check_text(name, getattr(self, name), optional=name == "held")
        for name in _BY_VERSION:
            counts = dict(getattr(self, name))
            for version, count in counts.items():
                _check_count(f"{name} of {version}", count)
            object.__setattr__(self, name, MappingProxyType(counts))

    def runs(self, head: Head) -> bool:
        """Whether this is what it acknowledges."""
        return self.epoch == head.epoch and self.digest == head.digest

    def encode(self) -> str:
        """The lease as JSON, which `decode_gateway` reads."""
        plain = {name: getattr(self, name) for name in _LEASE_FIELDS}
        plain |= {name: dict(plain[name]) for name in _BY_VERSION}
        return json.dumps(plain, separators=(",", ":"), sort_keys=True)


_LEASE_FIELDS = tuple(one.name for one in fields(GatewayLease))


def decode_gateway(text: str | bytes) -> GatewayLease:
    """The lease that `GatewayLease.encode` wrote. Fields of a newer release are passed over.

    Raises:
        ValueError: it is no lease.
    """
    said = json.loads(text)
    try:
        return GatewayLease(**{name: said[name] for name in _LEASE_FIELDS if name in said})
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(f"this is no gateway's lease: {error}") from error


@dataclass(frozen=True, slots=True)
class Recovery:
    """A snapshot and all of its policies, as a gateway that runs them hands them back.

    Attributes:
        head: what the gateway runs.
        snapshot: its canonical bytes (`router.codec`).
        policies: canonical bytes by digest.
    """

    head: Head
    snapshot: bytes
    policies: Mapping[str, bytes]

    def encode(self) -> str:
        """The blob as JSON, which `decode_recovery` reads."""
        policies = {digest: b64encode(blob).decode() for digest, blob in self.policies.items()}
        plain = {
            "head": self.head._asdict(),
            "snapshot": b64encode(self.snapshot).decode(),
            "policies": policies,
        }
        return json.dumps(plain, separators=(",", ":"), sort_keys=True)


def decode_recovery(text: str | bytes) -> Recovery:
    """What `Recovery.encode` wrote; whether the bytes match their digests is left to the reader.

    Raises:
        ValueError: it is no recovery blob.
    """
    said = json.loads(text)
    try:
        head = Head(said["head"]["epoch"], said["head"]["digest"], said["head"]["parent"])
        policies = {digest: b64decode(blob, validate=True) for digest, blob in said["policies"].items()}
        return Recovery(head, b64decode(said["snapshot"], validate=True), MappingProxyType(policies))
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"this is no recovery blob: {error!r}") from error


@dataclass(frozen=True, slots=True, repr=False)
class IdKeys:
    """The secrets behind request ids, by key id, and which of them mints. Never printed."""

    secrets: Mapping[int, bytes]
    current: int


def id_keys_from(said: Mapping[str, str] | Mapping[bytes, bytes]) -> IdKeys | None:
    """The keys in the hash `Keys.id_keys`, None where there are none yet.

    Raises:
        ValueError: the hash holds something else.
    """
    plain = {_text(name): _text(value) for name, value in said.items()}
    if "current" not in plain:
        return None
    current = int(plain.pop("current"))
    return IdKeys(MappingProxyType({int(name): b64decode(value) for name, value in plain.items()}), current)


def next_key_id(keys: IdKeys | None, first: int) -> int:
    """The id of the next key: ids go round, so that after 256 rotations the oldest is forgotten."""
    return first % _MOST_KEYS if keys is None else (keys.current + 1) % _MOST_KEYS


def head_from(said: Mapping[str, str] | Mapping[bytes, bytes]) -> Head | None:
    """The head in the hash `Keys.head`, None where there is none.

    Raises:
        ValueError: the hash holds something else.
    """
    plain = {_text(name): _text(value) for name, value in said.items()}
    if not plain:
        return None
    if missing := {"epoch", "digest", "parent"} - plain.keys():
        raise ValueError(f"the head lacks {', '.join(sorted(missing))}")
    return Head(int(plain["epoch"]), plain["digest"], plain["parent"])


def remembered(value: str | bytes | None, running: str) -> str | None:
    """The digest to hand to `router.epoch.step`, from a value of the lineage.

    After a failover two gateways may have run different snapshots of one epoch. The recovery joins both lines, and
    the lineage then holds both digests, separated by a space.
    """
    if value is None:
        return None
    digests = _text(value).split()
    return running if running in digests else (digests[0] if digests else None)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or value < 0:
        raise ValueError(f"a gateway's lease says {name}={value!r}: it is a whole number, 0 or more")


def _check_text(name: str, value: object, *, optional: bool) -> None:
    if type(value) is not str and not (optional and value is None):
        raise ValueError(f"a gateway's lease says {name}={value!r}: it is text")
