"""Load on two installations, turn about, and how the second compares with the first.

Both are up at the same time, so whatever else the machine does falls on both alike; what each round is compared with is
its own other half, and the median of the rounds passes over those in which one of the two was disturbed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from loadtests.compare.errors import Void
from loadtests.compare.wrk import find, read
from loadtests.scale.plan import FIRST, Plan, Point
from loadtests.scale.standing import Rest, Standing, answering, standing

_SCRIPT = Path(__file__).with_name("turns.lua")
_GRACE_S = 30.0
_INPUT = {"name": "x", "datatype": "FP32", "shape": [1, 8], "data": [0.5] * 8}


@dataclass(frozen=True, slots=True)
class Pace:
    """What one load found.

    Attributes:
        per_s: answers in a second.
        cpu_s_per_1000: that the gateway's workers used for a thousand of them, all together.
        p99_ms: 99 of 100 took no longer.
    """

    per_s: float
    cpu_s_per_1000: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Row:
    """One size.

    Attributes:
        point: which.
        ready_s: how long it took to come up, seconds.
        pace: medians over the rounds.
        rate_to_first: median over the rounds of its rate by that of the first.
        cpu_to_first: the same of the CPU that a thousand answers took.
        rest: what it used while nobody asked.
    """

    point: Point
    ready_s: float
    pace: Pace
    rate_to_first: float
    cpu_to_first: float
    rest: Rest


def rows(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Iterator[Row]:
    """A row for each size as it is found, the first at the front.

    Args:
        plan: what to measure.
        folder: an empty one.
        tell: is told what is being done.

    Raises:
        NotStarted: something that is needed is missing on this machine.
        Failed: an installation did not come up.
        Void: a request was not answered as it should be.
    """
    load = _Load(find(folder).program, plan, _body(folder))
    with ExitStack() as stack:
        port, addresses = stack.enter_context(answering(folder))
        first = stack.enter_context(standing(FIRST, port, addresses, folder / "first"))
        tell(f"{FIRST.name}: up after {first.ready_s:.0f} s")
        rest = first.at_rest(plan.rest_s)
        alone = [load.on(first) for _ in range(plan.rounds)]
        yield Row(FIRST, first.ready_s, _median(alone), 1.0, 1.0, rest)
        for number, point in enumerate(plan.points):
            with standing(point, port, addresses, folder / str(number)) as second:
                tell(f"{point.name}: up after {second.ready_s:.0f} s")
                rest = second.at_rest(plan.rest_s)
                yield compared(point, second.ready_s, rest, load.turn_about(first, second))


@dataclass(frozen=True, slots=True)
class _Load:
    """What the plan puts on an installation."""

    program: str
    plan: Plan
    body: Path

    def turn_about(self, first: Standing, second: Standing) -> list[tuple[Pace, Pace]]:
        """A pair for each round; who begins changes."""
        pairs = []
        for number in range(self.plan.rounds):
            if number % 2:
                theirs = self.on(second)
                pairs.append((self.on(first), theirs))
            else:
                pairs.append((self.on(first), self.on(second)))
        return pairs

    def on(self, installation: Standing) -> Pace:
        """Load on it for as long as the plan says.

        Raises:
            Void: an answer was not 2xx, or a connection broke.
        """
        before = installation.workers_cpu_s()
        report = read(self._said(installation))
        if report.faults:
            raise Void(f"{installation.point.name}: {'; '.join(report.faults)}")
        used = installation.workers_cpu_s() - before
        return Pace(report.rps, used * 1_000 / report.requests, report.p99_ms)

    def _said(self, installation: Standing) -> str:
        seconds, connections = self.plan.seconds, self.plan.connections
        how = ["--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--latency", "--timeout=10s"]
        what = [f"--script={_SCRIPT}", installation.url, "--", str(self.body), str(installation.point.models)]
        try:
            done = subprocess.run(
                [self.program, *how, *what], capture_output=True, text=True, check=True, timeout=seconds + _GRACE_S
            )
        except subprocess.SubprocessError as error:
            raise Void(f"wrk failed on {installation.point.name}: {error}") from error
        return done.stdout


def compared(point: Point, ready_s: float, rest: Rest, pairs: Sequence[tuple[Pace, Pace]]) -> Row:
    """The row of a size, from the rounds' pairs of the first one's pace and its own."""
    return Row(
        point,
        ready_s,
        _median([theirs for _, theirs in pairs]),
        statistics.median(theirs.per_s / first.per_s for first, theirs in pairs),
        statistics.median(theirs.cpu_s_per_1000 / first.cpu_s_per_1000 for first, theirs in pairs),
        rest,
    )


def _median(paces: Sequence[Pace]) -> Pace:
    return Pace(
        statistics.median(one.per_s for one in paces),
        statistics.median(one.cpu_s_per_1000 for one in paces),
        statistics.median(one.p99_ms for one in paces),
    )


def _body(folder: Path) -> Path:
    file = folder / "request.json"
    file.write_text(json.dumps({"inputs": [_INPUT]}))
    return file
