"""How many requests per second each model gets, from the running totals in the gateways' leases, over a few seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

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
class Rates:
    """A short history of totals; oldest first."""

    seen: tuple[Totals, ...] = ()

    def with_totals(self, gateways: Iterable[GatewayLease], at_s: float) -> Rates:
        """The history with one moment more, and without what is too old."""
        now = Totals(at_s, {(lease.id, lease.boot): lease.requests for lease in gateways})
        return replace(self, seen=(*(one for one in self.seen if at_s - one.at_s <= WINDOW_S), now))

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


def _of_model(requests: Mapping[str, int], model: str) -> int:
    return sum(count for name, count in requests.items() if name.rpartition("/")[0] == model)
