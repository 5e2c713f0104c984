"""The load on gRPC: `h2load` of Debian's nghttp2-client with one thread, and what it says at the end.

It sends the next call on a connection when one is answered (a closed loop), writes HTTP/2 frames and knows nothing of
gRPC: several times faster than any peer, and no code of ours. A stream of answers is measured by it, too: a client in
Python would take longer over a hundred messages than any peer does. A call that failed has HTTP status 200 as well, but
no answer, or a shorter one: so the bytes of all answers are held against what they should come to (`calls.py`).

A run is a number of calls, as many as take the time by a short run before it, and no length of time: at the end of its
time h2load drops the calls that are under way with their connections, and Triton 2.51 dies of that now and then (signal
11), for everybody who is measured after it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlsplit

from loadtests.compare.calls import Call
from loadtests.compare.errors import NotStarted, Void
from loadtests.compare.wrk import Report

_RATE = re.compile(r"^finished in [\d.]+m?s, ([\d.]+) req/s", re.MULTILINE)
_REQUESTS = re.compile(
    r"^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$",
    re.MULTILINE,
)
_DATA = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)
_HEADERS = ("content-type: application/grpc", "te: trailers")
_FIRST = 20
"""So many calls for each in flight say how many the time has room for."""
_SLOWER = 4
"""A run may take so many times as long as the calls before it promised."""
_GRACE_S = 30.0
_US_IN_MS = 1_000.0


@dataclass(frozen=True, slots=True)
class H2load:
    """The load generator.

    Args:
        program: where it is.
        folder: where it reads requests and writes what each took.
    """

    program: str
    folder: Path

    def drive(self, url: str, call: Call, answer_bytes: int, in_flight: int, seconds: int) -> Report:
        """So many calls in flight at this address for about so long; a call's latency ends with its last answer.

        Raises:
            Void: h2load did not end well, or an answer was not what it should be.
        """
        body, log = (self.folder / f"{call.name}-{urlsplit(url).port}.{part}" for part in ("message", "log"))
        body.write_bytes(call.body)
        clients, each = (1, in_flight) if call.shared else (in_flight, 1)
        how = ("--threads=1", f"--clients={clients}", f"--max-concurrent-streams={each}")
        what = (f"--data={body}", f"--log-file={log}", *(f"--header={header}" for header in _HEADERS))

        def run(calls: int) -> Report:
            log.unlink(missing_ok=True)  # it is appended to
            said = self._run((*how, f"--requests={calls}", *what, url + call.path), seconds)
            report = read(said, log.read_text(), answer_bytes)
            if report.faults:
                raise Void(f"{call.name}, {in_flight} in flight on {url}: {'; '.join(report.faults)}")
            return report

        rate = run(_FIRST * in_flight).rps
        return run(max(_FIRST, round(rate * seconds / in_flight)) * in_flight)

    def _run(self, arguments: Sequence[str], seconds: int) -> str:
        """What it prints."""
        limit_s = _SLOWER * seconds + _GRACE_S
        try:
            done = subprocess.run(
                [self.program, *arguments], capture_output=True, text=True, check=True, timeout=limit_s
            )
        except subprocess.SubprocessError as error:
            raise Void(f"h2load failed on {arguments[-1]}: {error}") from error
        return done.stdout


def find(folder: Path) -> H2load:
    """The h2load of this machine.

    Raises:
        NotStarted: there is none.
    """
    program = shutil.which("h2load")
    if program is None:
        raise NotStarted("There is no `h2load` on this machine: scripts/install-system-packages installs it.")
    return H2load(program, folder)


def read(text: str, log: str, answer_bytes: int) -> Report:
    """What h2load printed and logged, understood.

    Args:
        text: what it printed.
        log: what it logged.
        answer_bytes: bytes of data of each call's answers.

    Raises:
        Void: it is not what h2load prints, or nothing was answered.
    """
    rate, requests, data = _RATE.search(text), _REQUESTS.search(text), _DATA.search(text)
    if rate is None or requests is None or data is None:
        raise Void(f"h2load's output is not understood: {text.strip()[-200:]!r}")
    done, succeeded, *broken = map(int, requests.groups())
    faults = [requests[0]] if done != succeeded or any(broken) else []
    if int(data[1]) != done * answer_bytes:
        faults.append(f"{done} answers have {data[1]} bytes where {done * answer_bytes} were due: some calls failed")
    return Report(done, float(rate[1]), *_latencies_ms(log), tuple(faults))


def _latencies_ms(log: str) -> tuple[float, float]:
    """Median and 99th percentile; a line has the start, the HTTP status and the microseconds until the last byte."""
    taken = [int(line.rsplit("\t", 1)[1]) / _US_IN_MS for line in log.splitlines()]
    if len(taken) <= 1:
        raise Void(f"h2load logged {len(taken)} answers: nothing can be said of them")
    hundredths = quantiles(taken, n=100, method="inclusive")
    return hundredths[49], hundredths[98]
