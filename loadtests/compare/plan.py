"""What is measured, as data: which paths, with which payloads, how many in flight, how often and how long.

A path is what a request goes through on its way to Triton. `bench.py` walks a plan; `targets.py` judges what it found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

DIRECT, ENVOY, GATEWAY = "direct", "envoy", "gateway"
ENVOY_MIRROR, GATEWAY_SHADOW = "envoy-mirror", "gateway-shadow"
SERVE = "serve"

PEERS = frozenset({DIRECT, ENVOY, ENVOY_MIRROR, SERVE})
"""Paths without the gateway in them."""

REFERENCE = {GATEWAY_SHADOW: ENVOY_MIRROR, ENVOY_MIRROR: ENVOY_MIRROR}
"""Whose Envoy each path is held against, where it is not the one that splits."""


@dataclass(frozen=True, slots=True)
class Point:
    """One payload, or one gRPC call, with so many in flight, for each of these paths, turn about."""

    payload: str
    in_flight: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run.

    Attributes:
        rounds: how often each point is measured.
        seconds: how long each time.
        points: with all peers but Serve up.
        serve: with Serve up, whose many processes are never quite idle: apart from the others.
        grpc: calls that have one answer, with the gRPC peers up.
        streams: calls that have many, of another model.
        pairs: how often the gateway with 1,000 more models is measured beside the gateway without; 0: not at all.
        access: how often a gateway that asks for a key is measured beside one that lets everybody in; 0: not at all.
        totals: how often a gateway that tells a store what it counts is measured beside one that tells nobody.
        samples: how often gateways that sample are measured beside each other and beside one that does not.
        requests: after how many requests a worker's memory is looked at, first and last; None: not at all.
    """

    rounds: int
    seconds: int
    points: tuple[Point, ...]
    serve: tuple[Point, ...]
    grpc: tuple[Point, ...] = ()
    streams: tuple[Point, ...] = ()
    pairs: int = 0
    access: int = 0
    totals: int = 0
    samples: int = 0
    requests: tuple[int, int] | None = None


_SPLIT = (DIRECT, ENVOY, GATEWAY)
_MIRROR = (ENVOY_MIRROR, GATEWAY_SHADOW)
_CONNECTIONS = (1, 8, 32, 64)
_GRPC_CALLS = tuple(Point(call, count, _SPLIT) for call in ("grpc", "grpc-shared") for count in (8, 32))

FULL = Plan(
    rounds=5,
    seconds=3,
    points=(
        *(Point("json", count, _SPLIT) for count in _CONNECTIONS),
        *(Point("json", count, _MIRROR) for count in _CONNECTIONS),
        *(Point(payload, count, _SPLIT) for payload in ("100KB", "1MB") for count in _CONNECTIONS),
    ),
    serve=tuple(Point("json", count, (SERVE,)) for count in _CONNECTIONS),
    grpc=(*_GRPC_CALLS, Point("grpc-1MB", 4, _SPLIT)),
    streams=(Point("grpc-stream", 8, _SPLIT),),
    pairs=6,
    access=8,
    totals=8,
    samples=8,
    requests=(100_000, 1_000_000),
)

QUICK = Plan(
    rounds=4,
    seconds=3,
    points=(Point("json", 1, _SPLIT), Point("json", 32, _SPLIT), Point("json", 32, _MIRROR)),
    serve=(Point("json", 32, (SERVE,)),),
    grpc=_GRPC_CALLS[:2],
)

GRPC = Plan(rounds=FULL.rounds, seconds=FULL.seconds, points=(), serve=(), grpc=FULL.grpc, streams=FULL.streams)
"""The gRPC rows, alone."""

GRPC_QUICK = replace(GRPC, rounds=2, seconds=2)
"""Enough to see whether all is well, not to judge by."""

ACCESS = Plan(rounds=0, seconds=0, points=(), serve=(), access=FULL.access)
"""What keys and tokens cost, alone."""

TOTALS = Plan(rounds=0, seconds=0, points=(), serve=(), totals=FULL.totals)
"""What it costs to tell totals, alone."""

SAMPLES = Plan(rounds=0, seconds=0, points=(), serve=(), samples=FULL.samples)
"""What sampling costs, and what becomes of it where the sidecar does not read, alone."""

SAMPLES_QUICK = replace(SAMPLES, samples=1)
"""Enough to see whether all is well, not to judge by."""
