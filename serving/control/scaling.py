"""How many replicas a version should have, from what it has had to do: decided purely, from samples and the time.

wanted = ceil(load / target), where the load is the requests that are in flight at the version over all gateways, or
Triton's own count of pending ones where that is larger, and the target is what one replica is meant to have in
flight. Up at once, by the largest load of the last seconds; down only when a whole minute has asked for less, for a
server takes longer to start than a lull lasts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from serving.control.wishes import ModelVersion
from serving.endpoint import Endpoint, Load
from serving.leases import GatewayLease
from serving.pools import PoolOptions

UP_WINDOW_S = 3.0
DOWN_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The load of one version at one moment.

    Attributes:
        at_s: when, by a clock that only goes forward.
        load: requests in flight.
    """

    at_s: float
    load: float


def replicas(
    options: PoolOptions,
    current: int,
    samples: Sequence[Sample],
    now_s: float,
    *,
    floor: int = 0,
    capacity: int | None = None,
) -> int:
    """How many replicas there should be.

    Args:
        options: the bounds, and the load that each replica is meant to have.
        current: how many there are to be now; 0 where there are none yet.
        samples: of its load, oldest first.
        now_s: the time, by the clock of the samples.
        floor: how many there must be for another reason, such as a rollout that may have to come back.
        capacity: how many requests a replica says that it works on at once; None where none is ready, and the options
            have to do, which a ready Triton directory need not follow.
    """
    target = options.target_in_flight or capacity or options.capacity
    least = min(max(options.replicas, floor), options.most_replicas)
    now = min(max(current, least), options.most_replicas)
    recent = [_wanted(target, one.load) for one in samples if one.at_s >= now_s - UP_WINDOW_S]
    if recent and max(recent) > now:
        return min(max(recent), options.most_replicas)
    if not samples or not recent or now_s - samples[0].at_s < DOWN_WINDOW_S:
        return now
    minute = max(_wanted(target, one.load) for one in samples if one.at_s >= now_s - DOWN_WINDOW_S)
    return max(least, min(now, minute))


def kept(samples: Iterable[Sample], now_s: float) -> tuple[Sample, ...]:
    """Those samples that still count: of the last minute, and the one before, which shows that it was a whole one."""
    known = tuple(samples)
    young = [index for index, one in enumerate(known) if one.at_s > now_s - DOWN_WINDOW_S]
    return known[max(0, young[0] - 1) :] if young else known[-1:]


def loads(gateways: Iterable[GatewayLease], endpoints: Iterable[tuple[Endpoint, Load]]) -> Mapping[ModelVersion, float]:
    """The load of every version at this moment, by (model, version)."""
    in_flight: dict[ModelVersion, float] = {}
    pending: dict[ModelVersion, float] = {}
    for lease in gateways:
        for name, count in lease.in_flight_by.items():
            model, _, version = name.rpartition("/")
            if version.isdigit():
                _add(in_flight, (model, int(version)), count)
    for endpoint, load in endpoints:
        _add(pending, (endpoint.model, endpoint.version), load.pending or 0)
    return {key: max(in_flight.get(key, 0), pending.get(key, 0)) for key in {*in_flight, *pending}}


def _wanted(target: float, load: float) -> int:
    return math.ceil(load / target)


def _add(sums: dict[ModelVersion, float], key: ModelVersion, more: float) -> None:
    sums[key] = sums.get(key, 0) + more
