"""What the tests of evidence do in simulated rollouts, held against the figures that they have to meet.

    python -m tests.router.evidence.proof [--runs 2000] [--seed 20] [--block 10]

A false-alarm row fails when its rate is above the level beyond chance: when the lower 99 % Clopper-Pearson bound
is over it. A detection row fails when the median is more than 1.25 times the figure. Exit code 1 if any row fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from scipy import special  # type: ignore[import-untyped]  # scipy ships no types

from router.evidence.sequential import threshold
from router.evidence.special import Floats
from router.evidence.two_arm import OddsTest, Side
from tests.router.evidence import others, pods, values
from tests.router.evidence.worlds import HALF_HOUR_S, HARMS, NULLS, World, always, watch

SLACK = 1.25
_BATCH = 200


class Row(NamedTuple):
    """One claim: what was measured, what it is held against, and whether it holds."""

    name: str
    measured: str
    bar: str
    holds: bool


def false_alarms(name: str, alarms: int, runs: int, alpha: float) -> Row:
    """A row on a null: not more alarms than the level allows, as far as chance lets one say."""
    lowest = float(special.betaincinv(alarms, runs - alarms + 1, 0.01)) if alarms else 0.0
    measured = f"{alarms / runs:.2%} of {runs} (above {lowest:.2%})"
    return Row(name, measured, f"at most {alpha:.1%}", lowest <= alpha)


def detection(name: str, alarms: Floats, figure: float, unit: str = "s") -> Row:
    """A row on a harm: the median time to the first alarm."""
    found = np.isfinite(alarms).mean()
    median = float(np.median(alarms))
    return Row(
        name, f"{median:.0f} {unit} ({found:.0%} found)", f"{SLACK} x {figure:g} {unit}", median <= SLACK * figure
    )


def rates(rng: Generator, runs: int, block_s: float) -> Iterator[Row]:
    """T1 on its nulls and harms, with restarts and with a margin."""
    for name, world in NULLS.items():
        peaks = watch(rng, world, runs=runs, length_s=block_s).peaks
        for alpha in (0.05, 0.01, 0.001):
            yield false_alarms(f"T1 {name}", int(np.sum(peaks >= threshold(alpha))), runs, alpha)
    restarted = watch(rng, NULLS["N4 ramp and drift"], runs=runs, length_s=block_s, copies_every_s=300)
    yield false_alarms("T1 restarts, N4", int(np.sum(np.isfinite(restarted.alarms))), runs, 0.01)
    for name, (world, figure) in HARMS.items():
        late = 600 if "minute" in name else 0
        alarms = watch(rng, world, runs=runs // 2, length_s=block_s, until_alarm=True).alarms - late
        yield detection(f"T1 {name}", alarms, figure)
    alarms = (
        watch(rng, HARMS["5x from minute 10"][0], runs=runs // 2, length_s=block_s, copies_every_s=300).alarms - 600
    )
    yield detection("T1 5x from minute 10, restarts", alarms, 50)


def margins(rng: Generator, runs: int) -> Iterator[Row]:
    """Non-inferiority: what it takes to certify equal arms, and that a worse candidate is not certified."""
    for margin, figure in ((1.5, 8562), (2.0, 2738), (3.0, 827)):
        test = OddsTest(margin, Side.NOT_WORSE)
        alarms = watch(
            rng, World(), runs=runs // 2, test=test, alpha=0.05, seconds=4 * HALF_HOUR_S, until_alarm=True
        ).alarms
        yield detection(f"T1 certify odds ratio under {margin}", alarms * 10, figure, "candidate requests")
    worse = watch(rng, World(factor=always(2.02)), runs=runs, test=OddsTest(2.0, Side.NOT_WORSE), alpha=0.05)
    yield false_alarms("T1 certifies a ratio of 2 as under 2", int(np.sum(np.isfinite(worse.alarms))), runs, 0.05)


def bursts(rng: Generator, runs: int) -> Iterator[Row]:
    """T1 and T9 together where replicas hiccup, and how long that takes to find harm."""

    def both(world: pods.Pods, count: int) -> Floats:
        batches = [pods.alarms(rng, world, min(_BATCH, count - done)) for done in range(0, count, _BATCH)]
        return np.concatenate([np.maximum(t1, t9) for t1, t9 in batches])

    hiccups = both(pods.Pods(hiccups_per_hour=2), runs)
    yield false_alarms("T1 and T9, bursts", int(np.sum(np.isfinite(hiccups))), runs, 0.01)
    yield detection("T1 and T9, 5x", both(pods.Pods(factor=5), runs // 5), 90)
    yield detection("T1 and T9, 2x", both(pods.Pods(factor=2), runs // 5), 660)


def quantities(rng: Generator, runs: int) -> Iterator[Row]:
    """T3, T4 and T7 on their nulls and harms, T6 and T1 by user under sticky routing."""
    few = max(runs // 10, 20)

    def many(alarm: Callable[[], float], count: int) -> Floats:
        return np.array([alarm() for _ in range(count)])

    nulls: dict[str, tuple[Callable[[], float], int]] = {
        "T3 stationary": (lambda: values.latency_alarm(rng, values.as_they_are), few),
        "T3 shared slowdown": (lambda: values.latency_alarm(rng, values.as_they_are, shared=_incident), few),
        "T3 ramp and drift": (lambda: values.latency_alarm(rng, values.as_they_are, shared=_drift, share=_ramp), few),
        "T4 ramp and trend": (lambda: values.mean_alarm(rng, ramp=True), runs),
        "T4 ramp and trend, rewards of 0 and 1": (lambda: values.mean_alarm(rng, ramp=True, bernoulli=True), runs),
        "T4 five requests a second": (lambda: values.mean_alarm(rng, rps=5), runs),
        "T7 outcomes": (lambda: values.shadow_alarm(rng, candidate=1), runs // 2),
        "T7 latencies": (lambda: values.paired_latency_alarm(rng, 1.0, 1.0), few),
    }
    for name, (alarm, count) in nulls.items():
        yield false_alarms(name, int(np.sum(np.isfinite(many(alarm, count)))), count, 0.01)
    for name, slowdown, figure in (
        ("+10 %", values.by(1.1), 80),
        ("+25 %", values.by(1.25), 30),
        ("one in fifty +200 ms", values.stalls, 70),
        ("2x", values.by(2), 20),
    ):
        alarms = many(lambda slowdown=slowdown: values.latency_alarm(rng, slowdown), few)  # type: ignore[misc]
        yield detection(f"T3 {name}", alarms, figure)
    yield detection("T4 reward -4 %", many(lambda: values.mean_alarm(rng, loss=0.04), few), 120)
    yield detection("T7 5x errors", many(lambda: values.shadow_alarm(rng, candidate=9), few), 600, "pairs")
    sticky = np.array([values.sticky_alarms(rng) for _ in range(few)]).sum(axis=0)
    yield false_alarms("T1 first error of a user, sticky", int(sticky[1]), few, 0.01)
    yield false_alarms("T6 on users, sticky", int(sticky[2]), few, 0.001)


def _incident(second: float) -> float:
    return 1.6 if 240 <= second < 360 else 1.0


def _drift(second: float) -> float:
    return 1 + 0.4 * second / 600


def _ramp(second: float) -> float:
    return (0.01, 0.05, 0.25, 0.5)[min(int(second // 150), 3)]


def proof(*, runs: int, seed: int, block_s: float) -> Iterator[Row]:
    """Every row; the same ones for the same seed."""
    rng = np.random.default_rng(seed)
    yield from rates(rng, runs, block_s)
    yield from margins(rng, runs)
    yield from bursts(rng, runs)
    yield from quantities(rng, runs)


def compared(*, runs: int, seed: int) -> Iterator[str]:
    """What other systems' rules do in the same worlds, beside the figures of STATS.md; shown, not judged."""
    rng = np.random.default_rng(seed)
    worlds = {**NULLS, **{name: world for name, (world, _) in HARMS.items()}}
    shown = {name: others.looked_at(rng, world, runs) for name, world in worlds.items()}
    yield "\nother systems' rules, false rollbacks in half an hour, % (STATS.md)"
    for name, other in others.OTHERS.items():
        shares = (np.isfinite(other.rule(shown[null])).mean() * 100 for null in NULLS)
        cells = (f"{share:5.1f} ({figure:g})" for share, figure in zip(shares, other.false, strict=True))
        yield f"{name:24}" + "".join(f"{cell:>16}" for cell in cells)
    yield "median time to detect, s (STATS.md)"
    for name, other in others.OTHERS.items():
        late = {harm: 600 if "minute" in harm else 0 for harm in HARMS}
        medians = (float(np.median(other.rule(shown[harm]))) - late[harm] for harm in HARMS)
        figures = other.seconds or (None,) * len(HARMS)
        cells = (f"{m:5.0f} ({'-' if f is None else f'{f:g}'})" for m, f in zip(medians, figures, strict=True))
        yield f"{name:24}" + "".join(f"{cell:>16}" for cell in cells)


def main() -> int:
    """Print the table; 0 if every row holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--block", type=float, default=10.0, help="seconds per block of T1")
    asked = parser.parse_args()
    write = sys.stdout.write
    write(f"{asked.runs} rollouts per null, seed {asked.seed}, blocks of {asked.block:g} s\n")
    failed = 0
    for row in proof(runs=asked.runs, seed=asked.seed, block_s=asked.block):
        write(f"{'ok  ' if row.holds else 'FAIL'} {row.name:42} {row.measured:38} {row.bar}\n")
        sys.stdout.flush()
        failed += not row.holds
    for line in compared(runs=max(asked.runs // 4, 100), seed=asked.seed):
        write(f"{line}\n")
    write(f"{failed} rows fail\n" if failed else "every row holds\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
