"""The load on gRPC: `h2load` of Debian's nghttp2-client with one thread, and what it says at the end.

It sends the next call on a connection when one is answered (a closed loop), writes HTTP/2 frames and knows nothing of
gRPC: several times faster than any peer, and no code of ours. A stream of answers is measured by it, too: a client in
Python would take longer over a hundred messages than any peer does. A call that failed has HTTP status 200 as well, but
no answer, or a shorter one: so the bytes of all answers are held against what they should come to (`calls.py`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
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
_GRACE_S = 30.0
_US_IN_MS = 1_000.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What the answers should come to.

    Attributes:
        size: bytes of data of each call's answers.
        in_flight: so many calls may have been half answered when time was up.
    """

    size: int
    in_flight: int

    def faults(self, done: int, data: int) -> Iterator[str]:
        """What the total says is wrong with them."""
        if not 0 <= data - done * self.size <= self.in_flight * self.size:
            yield f"{done} answers have {data} bytes where {done * self.size} were due: some calls failed"


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
        """So many calls in flight at this address for so long; a call's latency ends with its last answer.

        Raises:
            Void: h2load did not end well, or an answer was not what it should be.
        """
        body, log = (self.folder / f"{call.name}-{urlsplit(url).port}.{part}" for part in ("message", "log"))
        body.write_bytes(call.body)
        log.unlink(missing_ok=True)  # it is appended to
        clients, each = (1, in_flight) if call.shared else (in_flight, 1)
        how = ["--threads=1", f"--clients={clients}", f"--max-concurrent-streams={each}", f"--duration={seconds}"]
        what = [f"--data={body}", f"--log-file={log}", *(f"--header={header}" for header in _HEADERS)]
        try:
            done = subprocess.run(
                [self.program, *how, *what, url + call.path],
                capture_output=True,
                text=True,
                check=True,
                timeout=seconds + _GRACE_S,
            )
        except subprocess.SubprocessError as error:
            raise Void(f"h2load failed on {url}: {error}") from error
        report = read(done.stdout, log.read_text(), Answers(answer_bytes, in_flight))
        if report.faults:
            raise Void(f"{call.name}, {in_flight} in flight on {url}: {'; '.join(report.faults)}")
        return report


def find(folder: Path) -> H2load:
    """The h2load of this machine.

    Raises:
        NotStarted: there is none.
    """
    program = shutil.which("h2load")
    if program is None:
        raise NotStarted("There is no `h2load` on this machine: scripts/install-system-packages installs it.")
    return H2load(program, folder)


def read(text: str, log: str, answers: Answers) -> Report:
    """What h2load printed and logged, understood.

    Raises:
        Void: it is not what h2load prints, or nothing was answered.
    """
    rate, requests, data = _RATE.search(text), _REQUESTS.search(text), _DATA.search(text)
    if rate is None or requests is None or data is None:
        raise Void(f"h2load's output is not understood: {text.strip()[-200:]!r}")
    done, succeeded, *broken = map(int, requests.groups())
    faults = [requests[0]] if done != succeeded or any(broken) else []
    faults += answers.faults(done, int(data[1]))
    return Report(done, float(rate[1]), *_latencies_ms(log), tuple(faults))


def _latencies_ms(log: str) -> tuple[float, float]:
    """Median and 99th percentile; a line has the start, the HTTP status and the microseconds until the last byte."""
    taken = [int(line.rsplit("\t", 1)[1]) / _US_IN_MS for line in log.splitlines()]
    if len(taken) <= 1:
        raise Void(f"h2load logged {len(taken)} answers: nothing can be said of them")
    hundredths = quantiles(taken, n=100, method="inclusive")
    return hundredths[49], hundredths[98]
