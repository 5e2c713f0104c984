"""What is measured, as data: which paths, with which payloads, at how many connections, how often and how long.

A path is what a request goes through on its way to Triton. `bench.py` walks a plan; `targets.py` judges what it found.
"""

from __future__ import annotations

from dataclasses import dataclass

DIRECT, ENVOY, GATEWAY = "direct", "envoy", "gateway"
ENVOY_MIRROR, GATEWAY_SHADOW = "envoy-mirror", "gateway-shadow"
SERVE = "serve"

REFERENCE = {GATEWAY_SHADOW: ENVOY_MIRROR, ENVOY_MIRROR: ENVOY_MIRROR}
"""Whose Envoy each path is held against, where it is not the one that splits."""


@dataclass(frozen=True, slots=True)
class Point:
    """One payload at so many connections, for each of these paths, turn about."""

    payload: str
    connections: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run.

    Attributes:
        rounds: how often each point is measured.
        seconds: how long each time.
        points: with all peers but Serve up.
        serve: with Serve up, whose many processes are never quite idle: apart from the others.
        pairs: how often the gateway with 1,000 more models is measured beside the gateway without; 0: not at all.
        access: how often a gateway that asks for a key is measured beside one that lets everybody in; 0: not at all.
        requests: after how many requests a worker's memory is looked at, first and last; None: not at all.
    """

    rounds: int
    seconds: int
    points: tuple[Point, ...]
    serve: tuple[Point, ...]
    pairs: int = 0
    access: int = 0
    requests: tuple[int, int] | None = None


_SPLIT = (DIRECT, ENVOY, GATEWAY)
_MIRROR = (ENVOY_MIRROR, GATEWAY_SHADOW)
_CONNECTIONS = (1, 8, 32, 64)

FULL = Plan(
    rounds=5,
    seconds=3,
    points=(
        *(Point("json", count, _SPLIT) for count in _CONNECTIONS),
        *(Point("json", count, _MIRROR) for count in _CONNECTIONS),
        *(Point(payload, count, _SPLIT) for payload in ("100KB", "1MB") for count in _CONNECTIONS),
    ),
    serve=tuple(Point("json", count, (SERVE,)) for count in _CONNECTIONS),
    pairs=6,
    access=8,
    requests=(100_000, 1_000_000),
)

QUICK = Plan(
    rounds=4,
    seconds=3,
    points=(Point("json", 1, _SPLIT), Point("json", 32, _SPLIT), Point("json", 32, _MIRROR)),
    serve=(Point("json", 32, (SERVE,)),),
)

ACCESS = Plan(rounds=0, seconds=0, points=(), serve=(), access=FULL.access)
"""What keys and tokens cost, alone."""
