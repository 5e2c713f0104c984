"""What is known of a rollout's present leg: how many requests each version has had, counted from what gateways say.

A gateway's lease holds running totals since its start, so that none is lost where a lease is missed, or where the
control room is away. Counting begins, gateway by gateway, with the first lease that shows the leg's epoch: what came
before says nothing of this leg. What a gateway that is gone had counted is kept.

Which of them does better is not judged here: it always says that it is not enough yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from router.rollout import Evidence
from serving.control.rolling.records import Record
from serving.leases import GatewayLease

_Totals = Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Counts:
    """The requests of one leg.

    Attributes:
        leg: which.
        first: by gateway and start, its totals by version when it was first seen in this leg.
        last: the same, when it was last seen.
        gone: what those had counted that are not alive any more.
    """

    leg: int
    first: Mapping[str, _Totals] = field(default_factory=dict)
    last: Mapping[str, _Totals] = field(default_factory=dict)
    gone: _Totals = field(default_factory=dict)

    def requests(self) -> _Totals:
        """By version."""
        sums = dict(self.gone)
        for gateway, totals in self.last.items():
            _add(sums, _since(self.first[gateway], totals))
        return MappingProxyType(sums)

    def encode(self) -> str:
        """The counts as JSON."""
        plain = {"leg": self.leg, "first": self.first, "last": self.last, "gone": self.gone}
        return json.dumps(plain, sort_keys=True)


def decode_counts(said: str) -> Counts:
    """What `Counts.encode` wrote.

    Raises:
        ValueError: it is something else.
    """
    plain = json.loads(said)
    try:
        first, last = ({name: _totals(one) for name, one in plain[key].items()} for key in ("first", "last"))
        if first.keys() != last.keys():
            raise ValueError("gateways were seen first and never last, or the other way round")
        return Counts(int(plain["leg"]), first, last, _totals(plain["gone"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"these are no counts: {error!r}") from error


class Said(NamedTuple):
    """What one gateway says: who it is, the epoch that it runs, and its totals by model and version."""

    gateway: str
    epoch: int
    totals: Mapping[str, _Totals]


def said_by(gateways: Iterable[GatewayLease]) -> tuple[Said, ...]:
    """What the gateways say, by model: each lease is gone through once, however many rollouts are in progress."""
    return tuple(Said(f"{one.id} {one.boot}", one.epoch, _by_model(one)) for one in gateways)


def counted(record: Record, before: Counts | None, gateways: Iterable[Said]) -> Counts:
    """The counts with what the gateways say now."""
    counts = before if before is not None and before.leg == record.rollout.leg else Counts(record.rollout.leg)
    epoch = record.epochs[-1] if record.epochs else 0
    said = {one.gateway: one.totals.get(record.model, {}) for one in gateways if one.epoch >= epoch}
    gone = dict(counts.gone)
    for gateway in counts.last.keys() - said.keys():
        _add(gone, _since(counts.first[gateway], counts.last[gateway]))
    first = {gateway: counts.first.get(gateway, totals) for gateway, totals in said.items()}
    return Counts(counts.leg, first, said, gone)


def evidence_of(record: Record, counts: Counts, now_s: float) -> Evidence | None:
    """What they are enough for; None where no gateway runs what the rollout has set."""
    if not counts.last or counts.leg != record.rollout.leg:
        return None
    return Evidence(counts.leg, now_s, requests=counts.requests())


def _by_model(lease: GatewayLease) -> Mapping[str, _Totals]:
    sums: dict[str, dict[int, int]] = {}
    for said in (lease.requests, lease.copied):
        for name, count in said.items():
            model, _, version = name.rpartition("/")
            if version.isdigit():
                _add(sums.setdefault(model, {}), {int(version): count})
    return sums


def _since(first: _Totals, last: _Totals) -> dict[int, int]:
    return {version: max(0, count - first.get(version, 0)) for version, count in last.items()}


def _add(sums: dict[int, int], more: _Totals) -> None:
    for version, count in more.items():
        sums[version] = sums.get(version, 0) + count


def _totals(said: Mapping[str, int]) -> dict[int, int]:
    return {int(version): int(count) for version, count in said.items()}
