"""What the scenarios have in common: an installation, the switches of its versions, load, and how much of each."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from loadtests.installation import Installation, installation
from loadtests.rollback.heard import Heard
from loadtests.rollback.operator import Operator
from loadtests.rollback.switch import WELL, Switch
from loadtests.steady import Steady

GATEWAYS: Final = 3
STABLE, CANDIDATE = 1, 2
SINGLE, PAIRED = "single", "paired"
"""The models: versions of one server each, and of two."""
REPLICAS: Final[Mapping[str, int]] = MappingProxyType({SINGLE: 1, PAIRED: 2})
_UP_WITHIN_S = 120.0
_UNITS = 20_000
_CONNECTIONS = 256
_ATTEMPT_S = 2.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each there is.

    Attributes:
        rate: requests a second.
        hold: how long each step of a canary stays at least.
        long_hold: the same where what happens in a step needs time to be seen.
        ends_within_s: how long it may take until a rollout is over.
        quiet_s: how long nobody asks anything.
        incident_s: how long an incident goes on after the rollout has paused.
        burst_s: how long one replica fails, and then is well again.
        bursts: how often.
    """

    rate: float = 120.0
    hold: str = "20s"
    long_hold: str = "2m"
    ends_within_s: float = 300.0
    quiet_s: float = 60.0
    incident_s: float = 20.0
    burst_s: float = 20.0
    bursts: int = 3


QUICK: Final = Sizes(hold="10s", long_hold="90s", quiet_s=20.0, incident_s=5.0, burst_s=12.0, bursts=1)


@dataclass(frozen=True, slots=True)
class Room:
    """An installation that is up.

    Attributes:
        running: the installation.
        operator: who begins rollouts in it.
        switches: by model and version.
        sizes: how much of each there is.
    """

    running: Installation
    operator: Operator
    switches: Mapping[tuple[str, int], Switch]
    sizes: Sizes

    def candidate(self, model: str = SINGLE) -> Switch:
        """The switch of a model's candidate."""
        return self.switches[model, CANDIDATE]

    def stable(self, model: str = SINGLE) -> Switch:
        """The switch of a model's stable version."""
        return self.switches[model, STABLE]

    @asynccontextmanager
    async def load(self, model: str = SINGLE) -> AsyncIterator[Heard]:
        """Requests at a constant rate for as long as the block lasts."""
        place, heard = urlsplit(self.running.http_url), Heard()
        host, port = str(place.hostname), place.port or 80
        request = partial(_request, model)
        async with Steady(host, port, self.sizes.rate, request, heard.hear, connections=_CONNECTIONS):
            yield heard

    async def clear(self, model: str) -> None:
        """All of the model's versions are well and up, and version 1 has all traffic."""
        await self.operator.restore(model)
        for version in (STABLE, CANDIDATE):
            self.switches[model, version].all(WELL)
            await self.operator.is_up(model, version, REPLICAS[model], _UP_WITHIN_S)


@dataclass(frozen=True, slots=True)
class Started:
    """An installation that is up, without anybody at its API."""

    running: Installation
    switches: Mapping[tuple[str, int], Switch]

    @asynccontextmanager
    async def room(self, sizes: Sizes) -> AsyncIterator[Room]:
        """With somebody."""
        async with self.running.client() as control:
            yield Room(self.running, Operator(self.running, control), self.switches, sizes)


@contextmanager
def started(folder: Path, *models: str) -> Iterator[Started]:
    """An installation with these models, each with two versions, for as long as the block lasts.

    Raises:
        Failed: it did not come up, or did not end.
    """
    switches = {
        (model, version): Switch(folder / "switches" / model / str(version))
        for model in models
        for version in (STABLE, CANDIDATE)
    }
    with installation(folder, _settings(folder, switches)) as running:
        yield Started(running, MappingProxyType(switches))


def _settings(folder: Path, switches: Mapping[tuple[str, int], Switch]) -> Mapping[str, Any]:
    models: dict[str, list[dict[str, Any]]] = {}
    for (model, version), switch in switches.items():
        path = switch.artifact(folder / "models" / model / str(version))
        of_it = {"version": version, "path": str(path), "replicas": REPLICAS[model], "keep_warm_s": 86_400}
        models.setdefault(model, []).append(of_it)
    return {
        "models": [
            {"name": model, "versions": versions, "traffic": {STABLE: "100%"}} for model, versions in models.items()
        ],
        "gateway": {"workers": GATEWAYS, "attempt_timeout_s": _ATTEMPT_S},
        "triton": {"port_range": 0},
    }


def _request(model: str, number: int) -> bytes:
    """Request number n: it names a unit, and its row is not the one that servers are warmed up with."""
    row = {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1 + number % 1_000]}
    body = json.dumps({"inputs": [row]})
    head = (
        f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: sluice\r\ncontent-type: application/json\r\n"
        f"sluice-unit: customer-{number % _UNITS}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()
