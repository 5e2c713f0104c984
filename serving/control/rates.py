"""How many requests per second each model gets, and how its versions answer them, over the last few seconds.

From the running totals in the gateways' leases. What is decided goes by the first; the second is for people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from serving.figures import NONE, Figures
from serving.leases import GatewayLease

WINDOW_S = 10.0
_SHORTEST_S = 1.0

_Gateway = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the gateways said at one moment: requests by "model/version", of each gateway and boot."""

    at_s: float
    by_gateway: Mapping[_Gateway, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Figured:
    """What they said for people at one moment, likewise."""

    at_s: float
    by_gateway: Mapping[_Gateway, Mapping[str, Figures]]


@dataclass(frozen=True, slots=True)
class Lately:
    """How one version answered within the last few seconds: over how many, and what."""

    span_s: float
    figures: Figures

    @property
    def per_s(self) -> float:
        """First attempts and copies per second."""
        return self.figures.attempts / self.span_s


@dataclass(frozen=True, slots=True)
class Rates:
    """A short history of totals, and of figures, which may be read less often; oldest first."""

    seen: tuple[Totals, ...] = ()
    told: tuple[Figured, ...] = ()

    def with_totals(self, gateways: Iterable[GatewayLease], at_s: float) -> Rates:
        """The history with one moment more of totals, and without those that are too old.

        Args:
            gateways: what they said.
            at_s: when, by a clock that only goes forward.
        """
        now = Totals(at_s, {(lease.id, lease.boot): lease.requests for lease in gateways})
        return replace(self, seen=(*(one for one in self.seen if at_s - one.at_s <= WINDOW_S), now))

    def with_figures(self, gateways: Iterable[GatewayLease], at_s: float) -> Rates:
        """The same of figures, which have times of their own; the last two moments are kept, however old."""
        told = (*self.told, Figured(at_s, {(lease.id, lease.boot): lease.figures for lease in gateways}))
        young = sum(at_s - one.at_s <= WINDOW_S for one in told)
        return replace(self, told=told[-max(2, young) :])

    def of(self, model: str) -> float | None:
        """Requests per second; None where too little is known.

        What a gateway did before it was first seen does not count, nor what it did in an earlier boot.
        """
        span_s = self.seen[-1].at_s - self.seen[0].at_s if self.seen else 0.0
        if span_s < _SHORTEST_S:
            return None
        first: dict[_Gateway, int] = {}
        last: dict[_Gateway, int] = {}
        for totals in self.seen:
            for gateway, requests in totals.by_gateway.items():
                count = _of_model(requests, model)
                first.setdefault(gateway, count)
                last[gateway] = count
        return sum(last[gateway] - first[gateway] for gateway in first) / span_s

    def lately(self, model: str) -> Mapping[int, Lately]:
        """How the model's versions answered; nothing where too little is known, and of versions that had nothing."""
        span_s = self.told[-1].at_s - self.told[0].at_s if self.told else 0.0
        if span_s < _SHORTEST_S:
            return {}
        first: dict[_Gateway, Mapping[str, Figures]] = {}
        last: dict[_Gateway, Mapping[str, Figures]] = {}
        for moment in self.told:
            for gateway, figures in moment.by_gateway.items():
                first.setdefault(gateway, figures)
                last[gateway] = figures
        sums: dict[int, Figures] = {}
        for gateway, figures in last.items():
            for name, one in figures.items():
                owner, _, version = name.rpartition("/")
                if owner == model and version.isdecimal():
                    grown = one.since(first[gateway].get(name, NONE))
                    sums[int(version)] = sums.get(int(version), NONE).plus(grown)
        return {version: Lately(span_s, one) for version, one in sums.items() if one.attempts}


def _of_model(requests: Mapping[str, int], model: str) -> int:
    return sum(count for name, count in requests.items() if name.rpartition("/")[0] == model)
