"""The value that a request is routed by: an epoch, and for each model its policy and where its versions answer.

Built off to the side, then swapped in as one reference; a request keeps the routing it started with. Nothing here
does I/O: what an `Upstream` does with a request is written in `upstream.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import random
from typing import TYPE_CHECKING
from urllib.parse import quote

from router.epoch import NO_HEAD, Head
from router.policy import LARGEST_VERSION, Policy
from router.request_id import Key
from serving.endpoint import Endpoint

if TYPE_CHECKING:
    from serving.gateway.upstream import Upstream


class Counts:
    """Running totals of one model version in this worker; plain integers, for the hot path adds to them."""

    __slots__ = ("failed", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0


class VersionRoute:
    """Where one version of a model answers."""

    __slots__ = ("counts", "model", "prefix", "upstreams", "version")

    def __init__(self, model: str, version: int, upstreams: Iterable[Upstream], counts: Counts) -> None:
        self.model = model
        self.version = version
        self.prefix = f"/v2/models/{quote(model, safe='')}/versions/{version}".encode()
        self.upstreams = tuple(upstreams)
        self.counts = counts

    def pick(self, avoid: Upstream | None = None) -> Upstream | None:
        """The less loaded of two random replicas (Mitzenmacher 2001); None where there is none.

        Args:
            avoid: a replica that has just failed this request, taken only if it is the only one.
        """
        choices = self.upstreams
        if len(choices) > 1 and avoid is not None:
            choices = tuple(upstream for upstream in choices if upstream is not avoid) or choices
        count = len(choices)
        if count <= 1:
            return choices[0] if choices else None
        first = int(random() * count)  # noqa: S311 (balances load, guards nothing)
        second = (first + 1 + int(random() * (count - 1))) % count  # noqa: S311
        one, other = choices[first], choices[second]
        return one if one.in_flight <= other.in_flight else other


class ModelRoute:
    """One model: its policy and its versions."""

    __slots__ = ("_hash", "_hashed_by", "name", "policy", "unit_header", "versions")

    def __init__(self, name: str, policy: Policy, versions: Mapping[int, VersionRoute]) -> None:
        self._hash = 0
        self._hashed_by: Key | None = None
        self.name = name
        self.policy = policy
        self.unit_header = policy.unit_header.encode()
        self.versions = versions

    @property
    def ready(self) -> bool:
        """Whether any version has a replica."""
        return any(route.upstreams for route in self.versions.values())

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
    """

    def __init__(self, dial: Callable[[Endpoint], Upstream]) -> None:
        self._dial = dial
        self._upstreams: dict[str, Upstream] = {}
        self._counts: dict[tuple[str, int], Counts] = {}

    @property
    def upstreams(self) -> Iterable[Upstream]:
        """Every replica that is routed to."""
        return self._upstreams.values()

    def totals(self) -> dict[str, int]:
        """Answered requests by 'model/version', since this worker began."""
        return {f"{model}/{version}": counts.requests for (model, version), counts in self._counts.items()}

    def build(self, head: Head, policies: Mapping[str, Policy], endpoints: Iterable[Endpoint]) -> Routing:
        """The routing for these policies by model and these endpoints; replicas that are gone are retired."""
        places = {endpoint.key: endpoint for endpoint in endpoints if _is_ours(endpoint, policies)}
        for key, endpoint in places.items():
            if key not in self._upstreams:
                self._upstreams[key] = self._dial(endpoint)
        for key in self._upstreams.keys() - places.keys():
            self._upstreams.pop(key).retire()
        by_version: dict[tuple[str, int], list[Upstream]] = {}
        for key, endpoint in places.items():
            by_version.setdefault((endpoint.model, endpoint.version), []).append(self._upstreams[key])
        return Routing(head, {name: self._model(name, policy, by_version) for name, policy in policies.items()})

    def _model(self, name: str, policy: Policy, by_version: Mapping[tuple[str, int], list[Upstream]]) -> ModelRoute:
        versions = {*policy.versions, *(version for model, version in by_version if model == name)}
        return ModelRoute(name, policy, {v: self._version(name, v, by_version) for v in versions})

    def _version(self, name: str, version: int, by_version: Mapping[tuple[str, int], list[Upstream]]) -> VersionRoute:
        counts = self._counts.setdefault((name, version), Counts())
        return VersionRoute(name, version, by_version.get((name, version), ()), counts)


def _is_ours(endpoint: Endpoint, policies: Mapping[str, Policy]) -> bool:
    """Whether the endpoint's model has a policy and its version a place in a request id."""
    return endpoint.model in policies and endpoint.version <= LARGEST_VERSION
