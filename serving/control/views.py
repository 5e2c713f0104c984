"""What the control room is asked for and what it answers: values, without HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from router.epoch import Head
from router.policy import OverCapacity, Policy, Rule, Shadow
from router.request_id import RequestId
from router.unit import UnitSource
from serving.endpoint import Endpoint
from serving.leases import GatewayLease


@dataclass(frozen=True, slots=True)
class Wanted:
    """A policy as an operator asks for it: what is left out stays as it is.

    Attributes:
        stable: the version that takes what the arms leave.
        shares: parts per million by version, stable not among them.
        unit_header: the header that names the unit; None keeps it.
        allow_override: whether clients may choose; None keeps it.
        repeatable: whether requests may be sent twice; None keeps it.
        over_capacity: what becomes of a change that sends a version more than it carries; None keeps it.
        rules: versions for requests that fulfil conditions; None keeps them.
        unit_sources: where a unit's name is looked for beside its header; None keeps them.
        shadows: versions that get copies; None keeps them.
    """

    stable: int
    shares: Mapping[int, int] = field(default_factory=dict)
    unit_header: str | None = None
    allow_override: bool | None = None
    repeatable: bool | None = None
    over_capacity: OverCapacity | None = None
    rules: tuple[Rule, ...] | None = None
    unit_sources: tuple[UnitSource, ...] | None = None
    shadows: tuple[Shadow, ...] | None = None

    @property
    def versions(self) -> frozenset[int]:
        """Every version that it names."""
        ruled, copied = (rule.version for rule in self.rules or ()), (shadow.version for shadow in self.shadows or ())
        return frozenset({self.stable, *self.shares, *ruled, *copied})


@dataclass(frozen=True, slots=True)
class Current:
    """What one model runs: its policy, how often it was changed, and the epoch that this was read at."""

    model: str
    revision: int
    epoch: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Which members of an epoch run it.

    Attributes:
        of: how many there are.
        by: how many run it, or a later one.
        expired: ids of those whose lease lapsed before they said so.
        waiting: ids of those that had not said so yet.
    """

    of: int
    by: int
    expired: tuple[str, ...]
    waiting: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that took place, and who runs it by now; `notes` say where it is not what was asked for.

    `members` are the gateways whose leases were alive when it was written.
    """

    current: Current
    acknowledged: Acknowledged
    durable: bool
    took_s: float
    notes: tuple[str, ...] = ()
    members: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Explained:
    """Which version a request would reach and why; no version where that would be drawn at random."""

    version: int | None
    reason: str
    bucket: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a request id says; the model is None where none that is known has that hash."""

    model: str | None
    said: RequestId


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool: its state in Serve's words, what is wrong with it, and how its servers died lately.

    Attributes:
        model: whose.
        version: of which version.
        state: in Serve's words; `ASLEEP` where nothing needs its servers.
        message: what is wrong, in a sentence.
        digest: of what its servers are started with; two pools of a version differ in it.
        ready: how many replicas have started.
        wanted: how many there are to be.
        crashes: how many servers died within the last hour.
        last_words: of the last of them.
        last_crash_ms: when that was, milliseconds since 1970; None where none died.
        next_start_ms: until when the next start waits; None where nothing waits.
        stray: whether it runs though nobody wants it, because a policy routes to it.
    """

    model: str
    version: int
    state: str
    message: str = ""
    digest: str = ""
    ready: int = 0
    wanted: int = 0
    crashes: int = 0
    last_words: str = ""
    last_crash_ms: int | None = None
    next_start_ms: int | None = None
    stray: bool = False


@dataclass(frozen=True, slots=True)
class VersionView:
    """One version of a model: how many endpoints are ready, and who starts them (`pool` or `static`).

    It is asleep where its servers were taken away because nothing routed to it.
    """

    version: int
    ready: int
    source: str
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class ModelView:
    """A model at a glance; revision 0 and no policy before the first."""

    name: str
    revision: int
    policy: Policy | None
    versions: tuple[VersionView, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Everything at a glance; empty where the store does not answer, with the reason among the warnings.

    `silent` are the static endpoints that do not answer.
    """

    head: Head
    gateways: tuple[GatewayLease, ...]
    endpoints: tuple[Endpoint, ...]
    models: tuple[ModelView, ...]
    pools: tuple[PoolView, ...]
    reachable: bool
    warnings: tuple[str, ...]
    silent: tuple[Endpoint, ...] = ()
