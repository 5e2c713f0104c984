"""What the gateways and the control room tell each other through Redis: the shape of the values.

Both sides import this and nothing of each other. A lease is a key that its owner must keep renewing, so that silence
is an answer too; whether it still holds is decided by the server's clock alone, never by comparing those of two hosts.

Under which names they stand is `serving.store_keys`. To renew a gateway's lease, in one round trip: SET
`keys.gateway(id)` value PX ttl, and SADD `keys.gateways` id, every time, for a reader takes an id whose lease lapsed
out of that index. Endpoints go the same way. Reading, writing and expiring them is left to those who hold a connection.

Two more values stand beside a gateway's lease, set in the same transaction and with the same ttl, so that all three
come, change and lapse together. What it says for people who watch is under `keys.gateway_figures(id)`: it grows with
every version and bucket. The little that waiting for a change asks of it is under `keys.gateway_applied(id)`, for
that is asked fifty times a second, and a lease grows with every version as well. A release that does not leave it
there is still understood by its lease.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import NamedTuple

from router.epoch import Head
from serving.figures import Figures, figures_from
from serving.stream_counts import StreamCounts, stream_counts_from

_GATEWAY_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MOST_KEYS = 256
_BY_VERSION = ("requests", "in_flight_by", "copied", "shed", "not_captured")
_BESIDE = ("endings", "ejected", "braked", "notes_lost")
_FIGURES = ("figures", "streams", *_BESIDE)
_COUNTS = ("pid", "http_port", "grpc_port", "epoch", "workers", "connections", "in_flight", "access", "reader")


class Applied(NamedTuple):
    """What a gateway goes by, as its lease says too.

    Attributes:
        epoch: of the snapshot that it runs, 0 before the first.
        digest: of the same, empty before the first.
        access: the revision of who is let in that it goes by, 0 before the first.
    """

    epoch: int
    digest: str
    access: int

    def encode(self) -> str:
        """The same as JSON, which `decode_applied` reads."""
        return json.dumps(self._asdict(), separators=(",", ":"), sort_keys=True)


def decode_applied(text: str | bytes) -> Applied:
    """What `Applied.encode` wrote. Fields of a newer release are passed over.

    Raises:
        ValueError: it is something else.
    """
    said = json.loads(text)
    try:
        found = Applied(**{name: said[name] for name in Applied._fields})
    except (TypeError, KeyError) as error:
        raise ValueError(f"this is not what a gateway goes by: {error!r}") from error
    _check_count("epoch", found.epoch)
    _check_text("digest", found.digest, optional=False)
    _check_count("access", found.access)
    return found


@dataclass(frozen=True, slots=True)
class GatewayLease:
    """What one gateway says of itself each time it renews its lease.

    Attributes:
        id: names it for as long as it lives, and across a lapse of its lease.
        boot: drawn at its start, so that a successor under the same id is not mistaken for it.
        pid: of the process that writes this.
        host: where it listens.
        http_port: where it listens.
        grpc_port: the same for gRPC; 0 where it does not, or is of a release before this field.
        epoch: of the snapshot that it runs, 0 before the first.
        digest: of the same, empty before the first.
        held: why it does not take the store's head, None where it does.
        workers: how many processes answer.
        connections: open ones.
        in_flight: requests that are being answered.
        requests: answered so far, by "model/version".
        in_flight_by: requests that are being answered, by "model/version"; those without any are left out.
        copied: copies of requests that shadows have answered so far, by "model/version".
        shed: copies of requests that were due and not made, by "model/version/reason".
        not_captured: requests with their answers that the keeper did not take in time, by what they were and why.
        figures: what became of first attempts and copies and how long they took, for people, by "model/version".
            Not in the lease's own text, but in that of `encode_figures`.
        streams: what the streams were like that it has relayed so far, by version and role. There as well.
        endings: attempts that are over, by "model/version/role/outcome"; those that there were none of are left out.
            There as well, as the next three.
        ejected: replicas that it leaves alone for a while, by "model/version".
        braked: 1 for a version in whose place stable answers for a while, else 0, by "model/version".
        notes_lost: what was to be traced or told in logs and was not, by what it was and why.
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
    shed: Mapping[str, int] = field(default_factory=dict)
    not_captured: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, Figures] = field(default_factory=dict)
    streams: tuple[StreamCounts, ...] = ()
    endings: Mapping[str, int] = field(default_factory=dict)
    ejected: Mapping[str, int] = field(default_factory=dict)
    braked: Mapping[str, int] = field(default_factory=dict)
    notes_lost: Mapping[str, int] = field(default_factory=dict)
    access: int = 0
    reader: int = 1
    grpc_port: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _GATEWAY_ID.fullmatch(self.id):
            raise ValueError(f"{self.id!r} is no gateway's id: use up to 128 letters, digits and . _ : -")
        for name in _COUNTS:
            _check_count(name, getattr(self, name))
        for name in ("boot", "host", "digest", "held"):
            _check_text(name, getattr(self, name), optional=name == "held")
        for name in (*_BY_VERSION, *_BESIDE):
            counts = dict(getattr(self, name))
            for version, count in counts.items():
                _check_count(f"{name} of {version}", count)
            object.__setattr__(self, name, MappingProxyType(counts))
        object.__setattr__(self, "figures", MappingProxyType(dict(self.figures)))

    @property
    def applied(self) -> Applied:
        """What it goes by, which stands beside it as well."""
        return Applied(self.epoch, self.digest, self.access)

    def runs(self, head: Head) -> bool:
        """Whether this is what it acknowledges."""
        return self.epoch == head.epoch and self.digest == head.digest

    def encode(self) -> str:
        """The lease without its figures as JSON, which `decode_gateway` reads."""
        plain = {name: getattr(self, name) for name in _LEASE_FIELDS}
        plain |= {name: dict(plain[name]) for name in _BY_VERSION}
        return json.dumps(plain, separators=(",", ":"), sort_keys=True)

    def encode_figures(self) -> str:
        """The figures, and what else stands beside a lease, as JSON, which `with_figures` reads."""
        plain = {
            "boot": self.boot,
            "figures": {name: one.plain() for name, one in self.figures.items()},
            "streams": [one.as_dict() for one in self.streams],
            **{name: dict(getattr(self, name)) for name in _BESIDE},
        }
        return json.dumps(plain, separators=(",", ":"), sort_keys=True)


_LEASE_FIELDS = tuple(one.name for one in fields(GatewayLease) if one.name not in _FIGURES)


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


def with_figures(lease: GatewayLease, text: str | bytes) -> GatewayLease:
    """The lease with what `GatewayLease.encode_figures` wrote beside it; without, where that is of another boot.

    Raises:
        ValueError: the text is something else.
    """
    said = json.loads(text)
    try:
        if said["boot"] != lease.boot:
            return lease
        figures = {name: figures_from(one) for name, one in said["figures"].items()}
        streams = tuple(map(stream_counts_from, said["streams"]))
        return replace(lease, figures=figures, streams=streams, **{name: said.get(name, {}) for name in _BESIDE})
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ValueError(f"these are no figures of a gateway: {error!r}") from error


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
