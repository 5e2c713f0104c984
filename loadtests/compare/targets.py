"""What the gateway is held to, as data, and the pure function that says which of it a run has met.

A figure that a run did not bring is a target missed, never one passed over: a plan that leaves something out judges by
a shorter list (`quick`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from loadtests.compare.figures import Rows
from loadtests.compare.plan import ENVOY, ENVOY_MIRROR, GATEWAY, GATEWAY_SHADOW, SERVE


class Metric(StrEnum):
    """What of a row is compared; the value is the row's field."""

    RPS = "rps"
    P50 = "p50_ms"
    P99 = "p99_ms"


class Fact(StrEnum):
    """A figure that is no row's: the value is its name."""

    PRIVATE_MB = "private memory of a worker, MB"
    GROWTH_MB = "growth of a worker from 100,000 to 1,000,000 requests, MB"
    MODELS = "CPU added by 1,000 models with policies, share"
    KEYS = "CPU added by keys, share"
    TOKENS = "CPU added by JWT, share"
    LIMITED_KEYS = "CPU added by keys with all limits, share"
    KEYS_BY_UNIT = "CPU added by keys where each head is another, share"
    TOKENS_BY_UNIT = "CPU added by JWT where each head is another, share"
    LIMITED_KEYS_BY_UNIT = "CPU added by keys with all limits where each head is another, share"
    TOTALS = "CPU added by telling totals, share"
    TOTALS_BY_UNIT = "CPU added by telling totals and units where each is another, share"
    SAMPLING = "CPU added by sampling, share"
    SAMPLING_KEEPER = "CPU added by sampling, the keeper's included, share"
    SAMPLING_P50 = "p50 added by sampling, share"
    FLOOD = "CPU added by sampling every request, share"
    FLOOD_KEEPER = "CPU added by sampling every request, the keeper's included, share"
    FLOOD_P50 = "p50 added by sampling every request, share"
    FLOOD_STOPPED = "CPU added by a drift sidecar that is stopped where every request is sampled, share"
    FLOOD_STOPPED_P50 = "p50 added by a drift sidecar that is stopped where every request is sampled, share"
    STOPPED = "CPU added by a drift sidecar that is stopped, share"
    STOPPED_P50 = "p50 added by a drift sidecar that is stopped, share"
    READING = "CPU added by a drift sidecar that reads, share"
    READING_P50 = "p50 added by a drift sidecar that reads, share"


Facts = Mapping[Fact, float]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One path's figure over another's, at one point."""

    metric: Metric
    path: str
    against: str
    payload: str
    in_flight: int

    def of(self, table: Rows, _facts: Facts) -> float | None:
        """Its value in this run; None where it was not measured."""
        ours = table.get((self.path, self.payload, self.in_flight))
        theirs = table.get((self.against, self.payload, self.in_flight))
        if ours is None or theirs is None:
            return None
        return float(getattr(ours, self.metric)) / float(getattr(theirs, self.metric))


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure that stands for itself."""

    fact: Fact

    def of(self, _table: Rows, facts: Facts) -> float | None:
        """Its value in this run; None where it was not measured."""
        return facts.get(self.fact)


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its bound.

    Attributes:
        what: the target in words.
        figure: what is held against the bound.
        bound: the least or the most that the figure may be.
        at_least: whether the bound is the least.
        strict: whether the bound itself is a miss.
        quick: whether a quick run judges it, too.
    """

    what: str
    figure: Ratio | Measured
    bound: float
    at_least: bool = False
    strict: bool = False
    quick: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run says about a target; a value of None was not measured."""

    target: Target
    value: float | None

    @property
    def met(self) -> bool:
        """Whether the figure is there and within its bound."""
        if self.value is None:
            return False
        if self.value == self.target.bound:
            return not self.target.strict
        return (self.value > self.target.bound) == self.target.at_least

    @property
    def line(self) -> str:
        """Met or missed, and by how much."""
        word = "met   " if self.met else "MISSED"
        if self.value is None:
            return f"{word} {self.target.what}: not measured"
        limit = ("at least" if self.target.at_least else "under" if self.target.strict else "at most") + (
            f" {self.target.bound:g}"
        )
        off = abs(self.value / self.target.bound - 1.0)
        return f"{word} {self.target.what}: {self.value:.3g} ({limit}; by {off:.0%})"


def judge(targets: Iterable[Target], table: Rows, facts: Facts) -> tuple[Verdict, ...]:
    """A verdict on each target, in their order."""
    return tuple(Verdict(target, target.figure.of(table, facts)) for target in targets)


def _at(count: int) -> str:
    return f"{count} connection" + ("s" if count > 1 else "")


_AS_OVER_HTTP = 0.8
"""Where no more is asked than not to lose beyond noise: the bound that 1 MB has over HTTP, whose rounds lie as far
apart as a fifth of their median and more."""

ACCESS_TARGETS: tuple[Target, ...] = (
    Target(Fact.KEYS, Measured(Fact.KEYS), 0.05),
    Target(Fact.TOKENS, Measured(Fact.TOKENS), 0.08),
)

TOTALS_TARGETS: tuple[Target, ...] = tuple(
    Target(fact, Measured(fact), 0.03) for fact in (Fact.TOTALS, Fact.TOTALS_BY_UNIT)
)

_NOISE = 0.03
"""What two gateways that do the same may lie apart."""

SAMPLES_TARGETS: tuple[Target, ...] = tuple(
    Target(fact, Measured(fact), _NOISE) for fact in (Fact.STOPPED, Fact.STOPPED_P50)
)
"""One that reads works on the cores that the gateway is measured on: what that takes is shown."""

GRPC_TARGETS: tuple[Target, ...] = (
    *(
        Target(
            f"gRPC calls/s against Envoy, 8 floats, {count} in flight{where}",
            Ratio(Metric.RPS, GATEWAY, ENVOY, call, count),
            1.0,
            at_least=True,
            quick=call == "grpc",
        )
        for call, where in (("grpc", ""), ("grpc-shared", " on one connection"))
        for count in (8, 32)
    ),
    *(
        Target(
            f"gRPC calls/s against Envoy, {what}, {count} in flight",
            Ratio(Metric.RPS, GATEWAY, ENVOY, call, count),
            _AS_OVER_HTTP,
            at_least=True,
        )
        for call, what, count in (("grpc-1MB", "1 MB", 4), ("grpc-stream", "a stream of 100 answers", 8))
    ),
)

TARGETS: tuple[Target, ...] = (
    *(
        Target(
            f"requests/s against Envoy, weighted split, {_at(count)}",
            Ratio(Metric.RPS, GATEWAY, ENVOY, "json", count),
            1.1,
            at_least=True,
            quick=count == 32,  # noqa: PLR2004 (the points of a quick run)
        )
        for count in (8, 32, 64)
    ),
    *(
        Target(
            f"p50 against Envoy, {_at(count)}",
            Ratio(Metric.P50, GATEWAY, ENVOY, "json", count),
            1.0,
            quick=count == 1,
        )
        for count in (1, 8)
    ),
    Target("p99 against Envoy, 32 connections", Ratio(Metric.P99, GATEWAY, ENVOY, "json", 32), 1.5, quick=True),
    Target(
        "requests/s with a 100 % shadow, against Envoy with full mirroring, 32 connections",
        Ratio(Metric.RPS, GATEWAY_SHADOW, ENVOY_MIRROR, "json", 32),
        0.8,
        at_least=True,
        quick=True,
    ),
    Target(
        "requests/s against the obvious Serve graph, 32 connections",
        Ratio(Metric.RPS, GATEWAY, SERVE, "json", 32),
        60.0,
        at_least=True,
        quick=True,
    ),
    *(
        Target(
            f"requests/s with 1 MB binary tensors, against Envoy, {_at(count)}",
            Ratio(Metric.RPS, GATEWAY, ENVOY, "1MB", count),
            _AS_OVER_HTTP,
            at_least=True,
        )
        for count in (1, 8, 32, 64)
    ),
    *GRPC_TARGETS,
    Target(Fact.PRIVATE_MB, Measured(Fact.PRIVATE_MB), 80.0, strict=True),
    Target(Fact.GROWTH_MB, Measured(Fact.GROWTH_MB), 5.0, strict=True),
    Target(Fact.MODELS, Measured(Fact.MODELS), 0.05, strict=True),
    *ACCESS_TARGETS,
    *TOTALS_TARGETS,
    *SAMPLES_TARGETS,
)

QUICK_TARGETS: tuple[Target, ...] = tuple(target for target in TARGETS if target.quick)
