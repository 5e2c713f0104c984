"""The load: Debian's `wrk` with one thread, and what it says at the end.

wrk sends the next request on a connection when the last is answered (a closed loop). Whatever was not answered with
2xx, and whatever broke, is a fault: a figure with a fault in it counts for nothing, since an error is fast to send.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from loadtests.compare.errors import NotStarted, Void
from loadtests.compare.payloads import Payload

_SCRIPT = Path(__file__).with_name("post.lua")
_MS = MappingProxyType({"us": 0.001, "ms": 1.0, "s": 1_000.0, "m": 60_000.0, "h": 3_600_000.0})
_TOTAL = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_FAULTS = (
    re.compile(r"^\s*(Socket errors: .+)$", re.MULTILINE),
    re.compile(r"^\s*(Non-2xx or 3xx responses: .+)$", re.MULTILINE),
)
_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class Report:
    """What one run of wrk found.

    Attributes:
        requests: how many were answered.
        rps: how many in a second.
        p50_ms: half of the answers took no longer.
        p99_ms: 99 of 100 took no longer.
        faults: what went wrong, in wrk's words; empty for nothing.
    """

    requests: int
    rps: float
    p50_ms: float
    p99_ms: float
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wrk:
    """The load generator.

    Args:
        program: where it is.
        folder: where request bodies are put for it to read.
    """

    program: str
    folder: Path

    def drive(self, url: str, payload: Payload, connections: int, seconds: int) -> Report:
        """Load on this address for so long.

        Raises:
            Void: wrk did not end well, or an answer was not 2xx, or a connection broke.
        """
        name = f"{payload.name}-{urlsplit(url).port}"  # there may be another at work
        body, headers = (self.folder / f"{name}.{part}" for part in ("body", "headers"))
        body.write_bytes(payload.body)
        headers.touch(mode=0o600)  # there may be a key among them, which belongs into no process's arguments
        headers.write_text("".join(f"{name}: {value}\n" for name, value in payload.headers.items()))
        how = ["--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--latency", "--timeout=10s"]
        what = [f"--script={_SCRIPT}", url, "--", str(body), str(headers), str(payload.units)]
        try:
            done = subprocess.run(
                [self.program, *how, *what], capture_output=True, text=True, check=True, timeout=seconds + _GRACE_S
            )
        except subprocess.SubprocessError as error:
            raise Void(f"wrk failed on {url}: {error}") from error
        report = read(done.stdout)
        if report.faults:
            raise Void(f"{payload.name} at {connections} connections on {url}: {'; '.join(report.faults)}")
        return report


def find(folder: Path) -> Wrk:
    """The wrk of this machine.

    Raises:
        NotStarted: there is none.
    """
    program = shutil.which("wrk")
    if program is None:
        raise NotStarted("There is no `wrk` on this machine: scripts/install-system-packages installs it.")
    return Wrk(program, folder)


def read(text: str) -> Report:
    """What wrk printed, understood.

    Raises:
        Void: it is not what wrk prints with --latency.
    """
    total, rate = _TOTAL.search(text), _RATE.search(text)
    if total is None or rate is None:
        raise Void(f"wrk's output is not understood: {text.strip()[:200]!r}")
    faults = tuple(found[1] for pattern in _FAULTS for found in pattern.finditer(text))
    return Report(int(total[1]), float(rate[1]), _percentile_ms(text, 50), _percentile_ms(text, 99), faults)


def percentiles(text: str) -> Iterator[tuple[int, float]]:
    """Each line of the latency distribution: the percentage, and milliseconds."""
    for percentage, value, unit in re.findall(r"^\s*(\d+)%\s+([\d.]+)([a-z]+) *$", text, flags=re.MULTILINE):
        yield int(percentage), float(value) * _MS[unit]


def _percentile_ms(text: str, percentage: int) -> float:
    known = dict(percentiles(text))
    if percentage not in known:
        raise Void(f"wrk's output has no {percentage}th percentile: {text.strip()[:200]!r}")
    return known[percentage]
