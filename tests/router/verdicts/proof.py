"""False rollbacks and times to detect, by the case that a conductor builds: STATS.md's protocol (B.3), row by row.

    make proof-verdicts [ARGS="--quick --seed 20 --runs 2000 --processes 2"]

Every block goes through `Case.heard` and `Case.verdict`, on the terms of a rollout that says nothing of them, except
for latencies alone, of which nothing is tolerated here, and for means, which have no guardrail yet.
A row on a null fails when the lower 99 % Clopper-Pearson bound of its rate is above the level; a row on a harm when
the median time is more than 1.25 times STATS.md's. Exit code 1 if any row fails. Below are both tables beside other
systems' rules, how often gateways brake by themselves, and the rows of each test alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import NamedTuple

import numpy as np

from router.evidence.special import Floats
from tests.router.evidence import alone
from tests.router.evidence.rows import Row
from tests.router.verdicts.protocol import braking
from tests.router.verdicts.protocol.claims import CLAIMS, Claim
from tests.router.verdicts.protocol.rollouts import PODS, Task, alarms
from tests.router.verdicts.protocol.scenes import BLOCK_S
from tests.router.verdicts.protocol.tables import tables

FULL, QUICK = 2_000, 150
SEED = 20
_PER_TASK = 20
_FEWEST_ALONE = 400
_FEWEST_BESIDE = 250


class Scale(NamedTuple):
    """How much is simulated.

    Attributes:
        runs: rollouts of each null.
        seed: from which everything is drawn.
    """

    runs: int
    seed: int

    def seeds(self, name: str, count: int) -> list[int]:
        """So many, of this name's own."""
        return [int(one) for one in np.random.SeedSequence([self.seed, *name.encode()]).generate_state(count)]


class Running(NamedTuple):
    """A claim whose rollouts are under way."""

    claim: Claim
    parts: list[Future[list[float]]]

    def found(self) -> Floats:
        """The second of each rollout's rollback, once all are over."""
        return np.array([at for part in self.parts for at in part.result()])


def begun(pool: Executor, claim: Claim, scale: Scale) -> Running:
    """Its rollouts, in tasks that are the same for the same seed, in however many processes."""
    runs = claim.rollouts(scale.runs)
    starts = range(0, runs, _PER_TASK)
    seeds = scale.seeds(f"{claim.kind} {claim.name}", len(starts))
    tasks = [
        Task(claim.kind, claim.name, min(_PER_TASK, runs - start), seed)
        for start, seed in zip(starts, seeds, strict=True)
    ]
    return Running(claim, [pool.submit(alarms, task) for task in tasks])


def by_itself(group: str, runs: int, seed: int) -> list[Row]:
    """The rows of some tests alone."""
    return list(alone.GROUPS[group](np.random.default_rng(seed), runs))


def judged(pool: Executor, scale: Scale, claims: Sequence[Claim] = CLAIMS) -> Iterator[tuple[Claim, Floats]]:
    """Each claim, and the second of each of its rollouts' rollback."""
    running = [begun(pool, claim, scale) for claim in claims]
    yield from ((one.claim, one.found()) for one in running)


def proof(pool: Executor, scale: Scale) -> Iterator[tuple[str, bool]]:
    """Every line, and whether it says that something does not hold."""
    yield f"{scale.runs:,} rollouts a null, seed {scale.seed}: a conductor's own case, blocks of {BLOCK_S} s", False
    found = {}
    for claim, seconds in judged(pool, scale):
        yield _told(claim.row(seconds))
        if claim.kind == "errors":
            found[claim.name] = seconds
    few = max(scale.runs // 4, _FEWEST_BESIDE)
    beside = (*tables(found, few, scale.seed), *cut(few, scale.seed), *by_request(pool, scale))
    yield from ((line, False) for line in beside)
    yield "\neach test alone", False
    runs = max(scale.runs, _FEWEST_ALONE)
    groups = [pool.submit(by_itself, group, runs, scale.seeds(group, 1)[0]) for group in alone.GROUPS]
    yield from (_told(row) for group in groups for row in group.result())


def cut(runs: int, seed: int) -> Iterator[str]:
    """How often a gateway cuts off a sound candidate by itself on the bursts null; reported, not judged."""
    braked, alone = braking.shares(np.random.default_rng(seed), PODS["bursts"], runs)
    yield f"\nwithout any verdict, on the bursts null, in {runs:,} half hours of a gateway with one worker:"
    yield f"  the candidate was braked in {braked:.1%} of them,"
    yield f"  its replica was left alone for a while in {alone:.1%}"


def by_request(pool: Executor, scale: Scale) -> Iterator[str]:
    """What the sticky users would have done to a case that is told of requests alone; reported, not judged."""
    asked = Claim("sticky users, counted by request", "users", "sticky, by request")
    found = begun(pool, asked, scale._replace(runs=max(scale.runs // 10, _PER_TASK))).found()
    yield f"\n{asked.title}: {np.isfinite(found).mean():.0%} of {len(found)} taken back (STATS.md: 16 %)"


def _told(row: Row) -> tuple[str, bool]:
    return str(row), not row.holds


def main(given: Sequence[str] | None = None) -> int:
    """Prints the rows; 0 if all of them hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} rollouts a null in place of {FULL:,}")
    parser.add_argument("--runs", type=int, default=0, help="so many rollouts a null, 20 at least")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args(given)
    runs = asked.runs or (QUICK if asked.quick else FULL)
    if runs < _PER_TASK or asked.seed < 0 or asked.processes < 1:
        parser.error(f"it takes {_PER_TASK} runs, a seed of 0 or more, and a process, at least")
    failed = 0
    with ProcessPoolExecutor(asked.processes) as pool:
        for line, fails in proof(pool, Scale(runs, asked.seed)):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()
            failed += fails
    sys.stdout.write(f"\n{failed} rows fail\n" if failed else "\nevery row holds\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
