"""What is measured: installations that differ from the first in one number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Point:
    """One installation.

    Attributes:
        workers: processes of its gateway.
        models: each has one version, and all of them are asked in turn.
        servers: of each version; each has a lease.
    """

    workers: int = 1
    models: int = 1
    servers: int = 1

    @property
    def name(self) -> str:
        """What the table calls it."""
        counts = (("worker", self.workers), ("model", self.models), ("server", self.servers))
        return ", ".join(f"{count:,} {what}{'s' if count > 1 else ''}" for what, count in counts)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run.

    Attributes:
        points: beside the first, each compared with that.
        rounds: of load at the two, turn about.
        seconds: that each round's load lasts, at each of the two.
        rest_s: how long an installation is watched while nobody asks it, seconds.
        connections: of the load.
    """

    points: tuple[Point, ...]
    rounds: int
    seconds: int
    rest_s: float
    connections: int = 32


FIRST: Final = Point()
_WORKERS = tuple(replace(FIRST, workers=count) for count in (2, 4))
_MODELS = tuple(replace(FIRST, models=count) for count in (100, 1_000))
_SERVERS = tuple(replace(FIRST, servers=count) for count in (10, 50))
FULL: Final = Plan((*_WORKERS, *_MODELS, *_SERVERS), rounds=7, seconds=5, rest_s=20.0)
QUICK: Final = Plan((_WORKERS[0], _MODELS[0], _SERVERS[0]), rounds=2, seconds=2, rest_s=4.0)
