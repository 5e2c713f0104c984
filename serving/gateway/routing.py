"""The value that a request is routed by: an epoch, and for each model its policy and where its versions answer.

Built off to the side, then swapped in as one reference; a request keeps the routing it started with. Nothing here
does I/O: what an `Upstream` does with a request is written in `upstream.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from random import random
from typing import TYPE_CHECKING
from urllib.parse import quote

from xxhash import xxh3_64_intdigest

from router.epoch import NO_HEAD, Head
from router.policy import LARGEST_VERSION, Policy
from router.request_id import Key
from router.unit import FieldSource, body_needed
from serving.endpoint import NO_LOAD, Endpoint, Load
from serving.gateway.brake import REST_S, Brake
from serving.gateway.counters import Role, Series
from serving.gateway.failover import Budget
from serving.gateway.predictions import Observer
from serving.gateway.ration import Ration
from serving.gateway.units import Dealt

if TYPE_CHECKING:
    from serving.gateway.upstream import Upstream

_Name = tuple[str, int, str]
"""Model, version and replica."""
_MOST_PARTED = 256


class VersionState:
    """What one model version has to do in this worker, and how it fares; outlives every routing."""

    __slots__ = ("brake", "failed", "in_flight", "ration", "requests", "straight", "synthetic")

    def __init__(self, rest_s: float) -> None:
        self.requests = 0
        """Requests that were assigned to it and are over; those marked synthetic are not among them."""
        self.failed = 0
        """Of those, the ones whose client got an error of the gateway's or a 5xx."""
        self.straight = 0
        """Of those, the ones that went straight to stable, because it was braked or had no replica."""
        self.ration = Ration()
        """What it had, and did not get, as a shadow."""
        self.synthetic = 0
        """Requests marked synthetic that were assigned to it and are over."""
        self.in_flight = 0
        self.brake = Brake(rest_s)
        """Whether stable answers in its place for now."""

    @property
    def shed(self) -> int:
        """Copies that it did not get as a shadow, for whatever reason."""
        return sum(self.ration.dropped.values())


class VersionRoute:
    """Where one version of a model answers."""

    __slots__ = ("decimal", "model", "prefix", "state", "upstreams", "version")

    def __init__(self, model: str, version: int, upstreams: Iterable[Upstream], state: VersionState) -> None:
        self.model = model
        self.version = version
        self.decimal = b"%d" % version
        self.prefix = f"/v2/models/{quote(model, safe='')}/versions/{version}".encode()
        self.upstreams = tuple(upstreams)
        self.state = state

    def pick(self, avoid: Upstream | None = None) -> Upstream | None:
        """The less loaded of two random replicas (Mitzenmacher 2001); None where none is fit to be asked.

        Args:
            avoid: a replica that has just failed this request.
        """
        upstreams = self.upstreams
        chosen = upstreams[0] if len(upstreams) == 1 else _less_loaded(upstreams)
        if chosen is None or (chosen is not avoid and not chosen.health.ejected):
            return chosen
        return _less_loaded(self.others(avoid))

    def pick_any(self, avoid: Upstream | None = None) -> Upstream | None:
        """The same, but an ejected replica, or even the one to avoid, is better than none."""
        others = tuple(upstream for upstream in self.upstreams if upstream is not avoid)
        return self.pick(avoid) or self.pick() or _less_loaded(others) or _less_loaded(self.upstreams)

    def keeper_of(self, sequence: bytes, avoid: Upstream | None = None) -> Upstream | None:
        """The replica that keeps this sequence's state: the same in every worker for as long as it is fit to be asked.

        By rendezvous hashing (Thaler and Ravishankar 1998): where a replica comes or goes, only its own sequences move.
        """
        fit = self.others(avoid) or self.others(None) or self.upstreams
        return max(fit, key=lambda upstream: xxh3_64_intdigest(upstream.place + sequence), default=None)

    def others(self, avoid: Upstream | None) -> tuple[Upstream, ...]:
        """The replicas that are fit to be asked beside this one."""
        return tuple(upstream for upstream in self.upstreams if not upstream.ejected and upstream is not avoid)


def _less_loaded(choices: tuple[Upstream, ...]) -> Upstream | None:
    count = len(choices)
    if count <= 1:
        return choices[0] if choices else None
    first = int(random() * count)  # noqa: S311 (balances load, guards nothing)
    second = (first + 1 + int(random() * (count - 1))) % count  # noqa: S311
    one, other = choices[first], choices[second]
    return one if one.in_flight <= other.in_flight else other


class ModelRoute:
    """One model: its policy, its versions, and how many of its requests may be sent a second time."""

    __slots__ = (
        "_hash", "_hashed_by", "body_needed", "budget", "dealt", "early_sources", "name", "observer", "policy",
        "shadows", "shadows_ask", "unit_header", "versions",
    )  # fmt: skip

    def __init__(
        self, name: str, policy: Policy, versions: Mapping[int, VersionRoute], budget: Budget, dealt: Dealt | None
    ) -> None:
        self._hash = 0
        self._hashed_by: Key | None = None
        self.name = name
        self.policy = policy
        self.budget = budget
        self.dealt = dealt if policy.arms else None
        """Who was dealt which version; None where there is nothing to be dealt, or nobody to be told of it."""
        self.observer = None if policy.observes is None else Observer(policy.observes)
        """Notes what answers predict; None where nobody compares that."""
        self.unit_header = policy.unit_header.encode()
        self.early_sources = tuple(takewhile(lambda source: isinstance(source, FieldSource), policy.unit_sources))
        """Where a unit is looked for beside its header before its body is asked."""
        self.body_needed = body_needed(policy.unit_sources)
        """How much of a request's JSON may have to be there before its version can be chosen, bytes."""
        self.shadows = {shadow.version: shadow for shadow in policy.shadows}
        self.shadows_ask = any(shadow.when for shadow in policy.shadows)
        self.versions = versions

    @property
    def ready(self) -> bool:
        """Whether any version has a replica."""
        return any(route.upstreams for route in self.versions.values())

    @property
    def stable(self) -> VersionRoute:
        """The version that answers whatever nothing else claims."""
        return self.versions[self.policy.stable]

    @property
    def requests(self) -> int:
        """The running total over its versions."""
        return sum(route.state.requests for route in self.versions.values())

    def hash_by(self, key: Key) -> int:
        """`Key.model_hash` of the name, worked out once a key."""
        if key is not self._hashed_by:
            self._hash, self._hashed_by = key.model_hash(self.name), key
        return self._hash


class Routing:
    """Everything at one epoch."""

    __slots__ = ("head", "models")

    def __init__(self, head: Head, models: Mapping[str, ModelRoute]) -> None:
        self.head = head
        self.models = models


NOWHERE = Routing(NO_HEAD, {})
"""The routing of a worker that has no snapshot yet."""


class Table:
    """Builds routings, and keeps what outlives them: connections per replica, totals per version.

    Args:
        dial: makes the upstream of an endpoint that has come.
        new_budget: makes the budget of a model that has come.
        rest_s: how long a version that is braked is given.
        deals: whether it is counted who was dealt which version.
    """

    def __init__(
        self,
        dial: Callable[[Endpoint], Upstream],
        new_budget: Callable[[], Budget],
        rest_s: float = REST_S,
        *,
        deals: bool = True,
    ) -> None:
        self._dial = dial
        self._new_budget = new_budget
        self._rest_s = rest_s
        self._deals = deals
        self._upstreams: dict[str, Upstream] = {}
        self._states: dict[tuple[str, int], VersionState] = {}
        self._budgets: dict[str, Budget] = {}
        self._leaving: list[Upstream] = []
        self._gone: dict[tuple[str, int, Role], Series] = {}
        self._parted: dict[_Name, Series] = {}
        self.dealt: dict[str, Dealt] = {}
        """Who was dealt which version, by model."""

    @property
    def upstreams(self) -> Iterable[Upstream]:
        """Every replica that is routed to."""
        return self._upstreams.values()

    @property
    def states(self) -> Mapping[tuple[str, int], VersionState]:
        """By (model, version)."""
        return self._states

    def totals(self) -> dict[str, int]:
        """Requests that are over by 'model/version' that they were assigned to, since this worker began."""
        return {f"{model}/{version}": state.requests for (model, version), state in self._states.items()}

    def in_flight(self) -> dict[str, int]:
        """Requests that are being answered by 'model/version' that they were assigned to; none for no request."""
        states = self._states.items()
        return {f"{model}/{version}": state.in_flight for (model, version), state in states if state.in_flight}

    def copied(self) -> dict[str, int]:
        """Copies of requests that are over by 'model/version' that they were made for; none for no copy."""
        sums: dict[str, int] = {}
        for _, model, version, role, series in self.series():
            if role is Role.SHADOW and (count := sum(series.outcomes)):
                sums[f"{model}/{version}"] = sums.get(f"{model}/{version}", 0) + count
        return sums

    def shed(self) -> dict[str, int]:
        """Copies that were due and not made, by 'model/version/reason'."""
        return {
            f"{model}/{version}/{why.value}": count
            for (model, version), state in self._states.items()
            for why, count in state.ration.dropped.items()
        }

    def series(self) -> Iterator[tuple[Upstream | None, str, int, Role, Series]]:
        """Every series with its replica (None for all that are gone), model, version and role."""
        for upstream in (*self._upstreams.values(), *self._leaving):
            for role, series in upstream.counted():
                yield upstream, upstream.model, upstream.version, role, series
        for (model, version, role), series in self._gone.items():
            yield None, model, version, role, series

    def firsts(self, wanted: Callable[[str], bool]) -> Mapping[_Name, Sequence[Series]]:
        """First attempts by model, version and replica: those at one address are one replica's, whenever it was there.

        Of replicas that are gone only the latest are remembered each by itself; one that comes back after more than
        that counts from nothing.

        Args:
            wanted: of which models.
        """
        found: dict[_Name, list[Series]] = {n: [series] for n, series in self._parted.items() if wanted(n[0])}
        for upstream in (*self._leaving, *self._upstreams.values()):  # the order in which labels get their places
            if (series := upstream.firsts) is not None and wanted(upstream.model):
                found.setdefault(_name(upstream), []).append(series)
        return found

    def fold_gone(self) -> None:
        """Adds the series of replicas that are gone and at rest to one that is kept for them all."""
        for upstream in [upstream for upstream in self._leaving if not upstream.in_flight]:
            self._leaving.remove(upstream)
            for role, series in upstream.counted():
                self._gone.setdefault((upstream.model, upstream.version, role), Series()).merge(series)
            if upstream.firsts is not None:
                self._part(_name(upstream), upstream.firsts)

    def _part(self, name: _Name, last: Series) -> None:
        series = self._parted.pop(name, None) or Series()
        series.merge(last)
        self._parted[name] = series  # the latest stand last
        while len(self._parted) > _MOST_PARTED:
            del self._parted[next(iter(self._parted))]

    def note_loads(self, loads: Mapping[str, Load]) -> None:
        """How busy replicas are, by the endpoint's key, as their leases say now."""
        for key, upstream in self._upstreams.items():
            upstream.load = loads.get(key, NO_LOAD)

    def build(self, head: Head, policies: Mapping[str, Policy], endpoints: Iterable[Endpoint]) -> Routing:
        """The routing for these policies by model and these endpoints; replicas that are gone are retired."""
        places = {endpoint.key: endpoint for endpoint in endpoints if _is_ours(endpoint, policies)}
        for key, endpoint in places.items():
            if key not in self._upstreams:
                self._upstreams[key] = self._dial(endpoint)
        for key in self._upstreams.keys() - places.keys():
            upstream = self._upstreams.pop(key)
            upstream.retire()
            self._leaving.append(upstream)
        by_version: dict[tuple[str, int], list[Upstream]] = {}
        for key, endpoint in places.items():
            by_version.setdefault((endpoint.model, endpoint.version), []).append(self._upstreams[key])
        for name, policy in policies.items():
            self.dealt.setdefault(name, Dealt()).goes_by(policy, head.epoch)
        return Routing(head, {name: self._model(name, policy, by_version) for name, policy in policies.items()})

    def _model(self, name: str, policy: Policy, by_version: Mapping[tuple[str, int], list[Upstream]]) -> ModelRoute:
        numbers = {*policy.versions, *(version for model, version in by_version if model == name)}
        versions = {number: self._version(name, number, by_version) for number in numbers}
        budget = self._budgets.get(name) or self._budgets.setdefault(name, self._new_budget())
        return ModelRoute(name, policy, versions, budget, self.dealt[name] if self._deals else None)

    def _version(self, name: str, version: int, by_version: Mapping[tuple[str, int], list[Upstream]]) -> VersionRoute:
        state = self._states.get((name, version)) or self._states.setdefault(
            (name, version), VersionState(self._rest_s)
        )
        return VersionRoute(name, version, by_version.get((name, version), ()), state)


def _name(upstream: Upstream) -> _Name:
    return upstream.model, upstream.version, f"{upstream.host}:{upstream.port}"


def _is_ours(endpoint: Endpoint, policies: Mapping[str, Policy]) -> bool:
    """Whether the endpoint's model has a policy and its version a place in a request id."""
    return endpoint.model in policies and endpoint.version <= LARGEST_VERSION
