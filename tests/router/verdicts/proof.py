"""False rollbacks and times to detect, by the case that a conductor builds: STATS.md's protocol (B.3), row by row.

    python -m tests.router.verdicts.proof [--quick] [--runs 2000] [--seed 20] [--processes 2]

Every block goes through `Case.heard` and `Case.verdict`, on the terms of a rollout that says nothing of them.
A row on a null fails when the lower 99 % Clopper-Pearson bound of its rate is above the level; a row on a harm when
the median time is more than 1.25 times STATS.md's. Exit code 1 if any row fails. What other systems do in the same
worlds is shown beside; the rows of each test alone are those of `tests.router.evidence.proof`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from router.evidence.judge import Decision, Rule
from router.evidence.special import Floats
from router.verdicts.case import Case
from router.verdicts.guardrails import USUAL, Guardrail, Terms, Watches
from router.verdicts.tallies import Moment, Tally
from tests.router.evidence import proof as single
from tests.router.evidence import values
from tests.router.evidence.pods import PODS, Pods
from tests.router.evidence.worlds import HALF_HOUR_S, HARMS, NULLS, RAMP, World

RATE_BLOCK_S = 10
LATENCY_S = 600
STRICT = Terms((Guardrail("latency", Watches.LATENCY),), warm_up_s=0.0)
"""Nothing tolerated, as STATS.md's figures for latency have it."""


class Task(NamedTuple):
    """So many simulated rollouts of one kind, from one seed."""

    kind: str
    name: str
    runs: int
    seed: int


def alarms(task: Task) -> list[float]:
    """The second of each rollout's rollback, infinity for none."""
    rng = np.random.default_rng(task.seed)
    return [_KINDS[task.kind](rng, task.name) for _ in range(task.runs)]


def _rates(rng: Generator, name: str) -> float:
    world = NULLS.get(name) or HARMS[name][0]
    case, share = Case(), 0.0
    for second in range(0, HALF_HOUR_S, RATE_BLOCK_S):
        if world.share(second) != share:
            share = world.share(second)
            case = case.ramped(round(share * 100), round((1 - share) * 100))
        case = case.heard(_rate_moment(rng, world, second))
        if case.verdict(minima_met=False).decision is Decision.ROLL_BACK:
            return second + RATE_BLOCK_S
    return math.inf


def _rate_moment(rng: Generator, world: World, second: int) -> Moment:
    x, m, n_c, n_b = world.block(rng, 1, float(second), RATE_BLOCK_S)[:, 0].astype(int).tolist()
    arms = {"c": _tally(x, n_c)}, {"s": _tally(m - x, n_b)}
    return Moment(float(second + RATE_BLOCK_S), *arms, draw=float(rng.random()))


def _tally(failed: int, total: int) -> Tally:
    return Tally({"ok": total - failed, "server_error": failed})


def _pods(rng: Generator, name: str) -> float:
    world = {"bursts": Pods(hiccups_per_hour=2), "5x": Pods(factor=5), "2x": Pods(factor=2)}[name]
    total, errors = (part[:, 0].astype(int) for part in world.seconds(rng, 1, HALF_HOUR_S))
    case = Case(Terms(rule=Rule.BURST_PROOF)).ramped(1, PODS - 1)
    for second in range(0, HALF_HOUR_S, RATE_BLOCK_S):
        until = second + RATE_BLOCK_S
        n, x = total[second:until].sum(axis=0).tolist(), errors[second:until].sum(axis=0).tolist()
        one, others = ({str(pod): _tally(x[pod], n[pod]) for pod in pods} for pods in (range(1), range(1, PODS)))
        case = case.heard(Moment(float(until), one, others, float(rng.random())))
        if case.verdict(minima_met=False).decision is Decision.ROLL_BACK:
            return until
    return math.inf


_Shared = Callable[[float], float]
_LATENCIES: dict[str, tuple[values.Slowdown, _Shared, _Shared]] = {
    "stationary": (values.as_they_are, lambda _s: 1.0, lambda _s: 0.1),
    "shared slowdown": (values.as_they_are, lambda s: 1.6 if 240 <= s < 360 else 1.0, lambda _s: 0.1),
    "ramp and drift": (
        values.as_they_are, lambda s: 1 + 0.4 * s / LATENCY_S, lambda s: RAMP[min(int(s // 150), 3)]
    ),
    "+10 %": (values.by(1.1), lambda _s: 1.0, lambda _s: 0.1),
    "+25 %": (values.by(1.25), lambda _s: 1.0, lambda _s: 0.1),
    "one in fifty +200 ms": (values.stalls, lambda _s: 1.0, lambda _s: 0.1),
    "2x slower": (values.by(2), lambda _s: 1.0, lambda _s: 0.1),
}  # fmt: skip


def _latencies(rng: Generator, name: str) -> float:
    slowdown, shared, share_at = _LATENCIES[name]
    case, share = Case(STRICT), 0.0
    for second in range(0, LATENCY_S, RATE_BLOCK_S):
        if share_at(second) != share:
            share = share_at(second)
            case = case.ramped(round(share * 100), round((1 - share) * 100))
        sizes = [rng.poisson(1_000 * part) for part in (share, 1 - share)]
        candidate, stable = (shared(second) * rng.lognormal(math.log(20), 0.5, size) for size in sizes)
        arms = {"c": _timed(slowdown(rng, candidate))}, {"s": _timed(stable)}
        case = case.heard(Moment(float(second + RATE_BLOCK_S), *arms, draw=float(rng.random())))
        if case.verdict(minima_met=False).decision is Decision.ROLL_BACK:
            return second + RATE_BLOCK_S
    return math.inf


def _timed(latencies_ms: Floats) -> Tally:
    micros = (latencies_ms * 1_000).astype(np.int64)
    shift = np.maximum(np.floor(np.log2(np.maximum(micros, 1))).astype(np.int64) - 4, 0)
    return Tally({"ok": len(micros)}, Counter((shift * 16 + (micros >> shift)).tolist()))


_KINDS: dict[str, Callable[[Generator, str], float]] = {"rates": _rates, "pods": _pods, "latency": _latencies}
_PER_TASK = 25


def rows(runs: int, spread: Callable[[str, str, int], Floats]) -> Iterator[single.Row]:
    """Every row; `spread` runs so many rollouts of one kind."""
    for name in NULLS:
        yield single.false_alarms(f"fast, {name}", _count(spread("rates", name, runs)), runs, USUAL.harm)
    for name, (_, figure) in HARMS.items():
        late = 600 if "minute" in name else 0
        yield single.detection(f"fast, {name}", spread("rates", name, max(runs // 10, 40)) - late, figure)
    few = max(runs // 10, 40)
    for name in ("stationary", "shared slowdown", "ramp and drift"):
        yield single.false_alarms(f"fast, latency {name}", _count(spread("latency", name, few)), few, USUAL.harm)
    for name, figure in (("+10 %", 80), ("+25 %", 30), ("one in fifty +200 ms", 70), ("2x slower", 20)):
        yield single.detection(f"fast, latency {name}", spread("latency", name, few), figure)
    bursts = max(runs // 2, 100)
    yield single.false_alarms("burst_proof, bursts", _count(spread("pods", "bursts", bursts)), bursts, USUAL.harm)
    for name, figure in (("5x", 90), ("2x", 660)):
        yield single.detection(f"burst_proof, {name}", spread("pods", name, few), figure)


def _count(found: Floats) -> int:
    return int(np.sum(np.isfinite(found)))


def _spread(pool: ProcessPoolExecutor, seed: int, kind: str, name: str, runs: int) -> Floats:
    seeds = np.random.SeedSequence([seed, *f"{kind} {name}".encode()]).generate_state(-(-runs // _PER_TASK))
    tasks = [
        Task(kind, name, min(_PER_TASK, runs - start), int(one))
        for start, one in zip(range(0, runs, _PER_TASK), seeds, strict=True)
    ]
    return np.array([at for found in pool.map(alarms, tasks) for at in found])


def main() -> int:
    """Prints the rows; 0 if all of them hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="500 rollouts a null")
    parser.add_argument("--runs", type=int, default=0, help="rollouts a null, 2,000 unless said otherwise")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    runs = asked.runs or (500 if asked.quick else 2_000)
    write = sys.stdout.write
    write(f"{runs} rollouts a null, seed {asked.seed}: a conductor's own case, blocks of {RATE_BLOCK_S} s\n")
    failed = 0
    with ProcessPoolExecutor(asked.processes) as pool:
        for row in rows(runs, partial(_spread, pool, asked.seed)):
            write(f"{'ok  ' if row.holds else 'FAIL'} {row.name:42} {row.measured:38} {row.bar}\n")
            sys.stdout.flush()
            failed += not row.holds
    for line in single.compared(runs=max(runs // 4, 100), seed=asked.seed):
        write(f"{line}\n")
    write(f"{failed} rows fail\n" if failed else "every row holds\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
