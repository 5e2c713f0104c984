"""From what is to run and what runs to what has to be done: pure, and asked again at every tick.

Nothing is remembered between two ticks but what the store and Serve hold, so it does not matter what happened before,
nor who was killed in the middle of what. New before old: an application whose options were changed is started beside
the one that runs, and that one goes when the new one has as many ready replicas. What a policy routes to is never
taken away, whoever forgot that it is wanted.

How many replicas is `scaling`'s; what operators want is `wishes`'; doing it is the conductor's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from serving.control.wishes import ModelVersion, Touched
from serving.pools import PoolKey, PoolSpec, PoolState

DELETING = "DELETING"
DEPLOY_FAILED = "DEPLOY_FAILED"


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything that a decision rests on, at one moment.

    Attributes:
        desired: what is to run, by (model, version).
        states: the applications that there are.
        ready: endpoints whose lease is alive, by (model, version).
        routed: versions that some policy gives traffic to, shadows among them.
        held: versions that an operation is bringing about.
        touched: when versions were last needed, and what time it is.
        replicas: how many each is to have; what is not there has its `replicas`.
        retried: failed pools that may be tried once more now.
        sure: whether all of this is known for certain; a store that has just forgotten knows nothing, and then nothing
            is taken away.
    """

    desired: Mapping[ModelVersion, PoolSpec]
    states: Mapping[PoolKey, PoolState]
    ready: Mapping[ModelVersion, int] = field(default_factory=dict)
    routed: frozenset[ModelVersion] = frozenset()
    held: frozenset[ModelVersion] = frozenset()
    touched: Touched = field(default_factory=lambda: Touched(0))
    replicas: Mapping[ModelVersion, int] = field(default_factory=dict)
    retried: frozenset[PoolKey] = frozenset()
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Actions:
    """What has to be done.

    Attributes:
        deploy: pools to start, or to scale in place, each with its replicas.
        remove: pools to drain and take away, each with the reason.
        asleep: versions that have no servers because nothing needs them.
        strays: pools that nobody wants and that stay, because a policy routes to them.
    """

    deploy: tuple[tuple[PoolSpec, int], ...] = ()
    remove: Mapping[PoolKey, str] = field(default_factory=dict)
    asleep: frozenset[ModelVersion] = frozenset()
    strays: frozenset[PoolKey] = frozenset()

    @property
    def none(self) -> bool:
        """Whether nothing has to be done."""
        return not self.deploy and not self.remove


def reconcile(seen: Seen) -> Actions:
    """What brings what is nearer to what is wanted; nothing where it is as wanted or on its way."""
    deploy: list[tuple[PoolSpec, int]] = []
    remove: dict[PoolKey, str] = {}
    strays: set[PoolKey] = set()
    asleep = frozenset(key for key, spec in seen.desired.items() if not _is_awake(spec, seen))
    for key, spec in sorted(seen.desired.items()):
        if key in asleep:
            why = f"nothing has routed to it for {spec.options.keep_warm_s:g} s"
            remove |= dict.fromkeys(_there(key, seen), why)
        else:
            deploy += _deployed(spec, seen)
            remove |= _replaced(spec, seen) | _retried(spec, seen)
    for pool, state in seen.states.items():
        if pool[:2] in seen.desired or state.state == DELETING:
            continue
        if pool[:2] in seen.routed:
            strays.add(pool)
        else:
            remove[pool] = "nobody wants it any more"
    return Actions(tuple(deploy), remove if seen.sure else {}, asleep, frozenset(strays))


def _is_awake(spec: PoolSpec, seen: Seen) -> bool:
    if spec.key in seen.routed or spec.key in seen.held:
        return True
    at_ms = seen.touched.at_ms.get(spec.key)
    # One that nobody has touched yet was seen for the first time just now.
    return at_ms is None or seen.touched.now_ms - at_ms < spec.options.keep_warm_s * 1000


def _there(key: ModelVersion, seen: Seen) -> list[PoolKey]:
    """The pools of that version, but those that are going already."""
    return [pool for pool, state in seen.states.items() if pool[:2] == key and state.state != DELETING]


def _count(spec: PoolSpec, seen: Seen) -> int:
    return seen.replicas.get(spec.key, spec.options.replicas)


def _deployed(spec: PoolSpec, seen: Seen) -> list[tuple[PoolSpec, int]]:
    """The pool that has to be started or scaled, if it has to."""
    state = seen.states.get(spec.key_with_digest)
    wanted = _count(spec, seen)
    if state is None or (state.state not in {DELETING, DEPLOY_FAILED} and state.replicas_wanted != wanted):
        return [(spec, wanted)]
    return []


def _replaced(spec: PoolSpec, seen: Seen) -> dict[PoolKey, str]:
    """Earlier pools of the version whose place the wanted one has taken."""
    new = seen.states.get(spec.key_with_digest)
    running = new.replicas_running if new is not None and new.state != DELETING else 0
    olds = [pool for pool in _there(spec.key, seen) if pool != spec.key_with_digest]
    old_running = sum(seen.states[pool].replicas_running for pool in olds)
    ready = seen.ready.get(spec.key, 0)
    gone = {}
    for pool in olds:
        state = seen.states[pool]
        needed = min(_count(spec, seen), state.replicas_running)
        if state.replicas_running == 0 and state.state != DEPLOY_FAILED and spec.key in seen.routed:
            needed = 1  # it may be coming back, and is what answers
        # Of all that run, those of the new one must hold leases too, or gateways would be left with nothing.
        if running >= needed and (needed == 0 or ready >= needed + old_running):
            gone[pool] = f"{running} replicas of {spec.digest} have taken its place"
    return gone


def _retried(spec: PoolSpec, seen: Seen) -> dict[PoolKey, str]:
    """The wanted pool itself, where it has failed and is to be started anew."""
    pool = spec.key_with_digest
    state = seen.states.get(pool)
    if state is None or pool not in seen.retried or spec.key in seen.held:
        return {}
    failed = state.state == DEPLOY_FAILED and state.replicas_running == 0
    return {pool: "it did not start, and is tried once more"} if failed else {}
