"""A gateway that samples, with its keeper and its sidecar in one of three states, for `bench.py` to compare.

The keeper is the product's own and writes to a Valkey, each gateway's into a namespace of its own. As much is sampled
as by default; and in a flood every request, into a stream that is full within a second where nobody reads it: a gateway
that waited for whoever is behind it would show it there.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx

from loadtests.compare.doors import OPEN, Door
from loadtests.compare.peers import HOST, free_port, running
from loadtests.compare.targets import Fact

_USUAL = {"rows_per_s": 50.0, "bytes_per_s": 1_048_576.0, "stream_bytes": 16_777_216}
"""The defaults of `drift.samples`."""
_FLOOD = {"rows_per_s": 1e6, "bytes_per_s": 1e9, "stream_bytes": 262_144}
_ASK_S = 5.0


class Sidecar(StrEnum):
    """What becomes of samples."""

    ABSENT = "absent"
    """There is none: they fall off the stream."""
    STOPPED = "stopped"
    """It has begun to read, and was stopped in the middle (SIGSTOP)."""
    READING = "reading"
    """It reads what comes."""


@dataclass(frozen=True, slots=True)
class Way:
    """Two gateways that are compared.

    Attributes:
        base: the sidecar of the one that is held against; None for a gateway that samples nothing.
        other: the sidecar of the other.
        flood: whether every request is sampled.
        cpu: by how much more CPU the other takes.
        p50: by how much longer its median answer takes.
        keeper: likewise of CPU, its keeper's included; None where nobody asks.
    """

    base: Sidecar | None
    other: Sidecar
    flood: bool
    cpu: Fact
    p50: Fact
    keeper: Fact | None = None

    @property
    def rules(self) -> str:
        """What is sampled, as JSON."""
        rule = {"share_ppm": 1_000_000, "always": True, **(_FLOOD if self.flood else _USUAL)}
        return json.dumps({"usual": rule, "models": {}, "redact": []})


WAYS = (
    Way(None, Sidecar.ABSENT, False, Fact.SAMPLING, Fact.SAMPLING_P50, Fact.SAMPLING_KEEPER),
    Way(Sidecar.ABSENT, Sidecar.STOPPED, False, Fact.STOPPED, Fact.STOPPED_P50),
    Way(Sidecar.ABSENT, Sidecar.READING, False, Fact.READING, Fact.READING_P50),
    Way(None, Sidecar.ABSENT, True, Fact.FLOOD, Fact.FLOOD_P50, Fact.FLOOD_KEEPER),
    Way(Sidecar.ABSENT, Sidecar.STOPPED, True, Fact.FLOOD_STOPPED, Fact.FLOOD_STOPPED_P50),
)


@dataclass(frozen=True, slots=True, eq=False)
class Sampler:
    """One gateway's surroundings.

    Attributes:
        door: how the gateway is run.
        keeper: the process beside it; None where it samples nothing.
        to_stop: the sidecar that is to be stopped once it has read; None for none.
    """

    door: Door
    keeper: int | None = None
    to_stop: int | None = None

    def begin(self) -> None:
        """It was loaded for a while: from here on it counts."""
        if self.to_stop is not None:
            os.kill(self.to_stop, signal.SIGSTOP)


PLAIN = Sampler(OPEN)
"""One that samples nothing."""


@contextmanager
def sampler(state: Sidecar | None, rules: str, folder: Path, store: Path) -> Iterator[Sampler]:
    """A keeper, and a sidecar where there is to be one, for as long as the block lasts.

    Args:
        state: of the sidecar; None for a gateway that samples nothing.
        rules: what is sampled, as JSON.
        folder: where files go.
        store: the file with the store's address.
    """
    if state is None:
        yield PLAIN
        return
    name = f"{state.value}-{secrets.token_hex(3)}"
    file, place = folder / f"{name}.rules.json", folder / f"{name}.sock"
    file.write_text(rules)
    door = Door(f"sampling, {state.value}", (f"--keeper={place}", f"--samples={file}"))
    with ExitStack() as stack:
        keeper = stack.enter_context(_keeper(name, rules, folder, store.read_text()))
        sidecar = None
        if state is not Sidecar.ABSENT:
            sidecar = stack.enter_context(_sidecar(name, folder, store.read_text()))
        yield Sampler(door, keeper, sidecar if state is Sidecar.STOPPED else None)


@contextmanager
def _keeper(name: str, rules: str, folder: Path, url: str) -> Iterator[int]:
    told, place = folder / f"{name}.keeper.json", folder / f"{name}.sock"
    config = {"gateway": name, "socket": str(place), "redis_url": url, "namespace": name, "samples": rules}
    told.write_text(json.dumps(config) + "\n")
    argv = [sys.executable, "-m", "serving.keeping"]
    with running(argv, lambda: _wrong_at(place), folder / f"{name}.keeper.log", told) as pid:
        yield pid


@contextmanager
def _sidecar(name: str, folder: Path, url: str) -> Iterator[int]:
    told, port = folder / f"{name}.sidecar.json", free_port()
    said = {"redis_url": url, "namespace": name, "drift": {"learn_rows": 2_000, "sidecar": {"metrics_port": port}}}
    told.write_text(json.dumps(said))
    argv = [sys.executable, "-m", "drift", str(told)]
    with running(argv, lambda: _wrong_metrics(port), folder / f"{name}.sidecar.log") as pid:
        try:
            yield pid
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)  # one that is stopped hears no farewell


def _wrong_at(place: Path) -> str | None:
    """What is wrong with a keeper; None where it listens."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(place))
    except OSError:
        return "nothing"
    return None


def _wrong_metrics(port: int) -> str | None:
    try:
        answer = httpx.get(f"http://{HOST}:{port}/metrics", trust_env=False, timeout=_ASK_S)
    except httpx.TransportError:
        return "nothing"
    return None if answer.is_success else str(answer.status_code)
