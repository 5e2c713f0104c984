"""`python -m loadtests.compare`, which is `make bench`: measures, shows, judges.

Exit codes: 0 every target is met, 1 one is missed, 2 the run counts for nothing or could not be made. Where a peer's
answer voids a figure, that is taken again, up to twice; where the gateway's does, the run counts for nothing.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from loadtests.compare import figures, h2load, report, wrk
from loadtests.compare.bench import Bench, Found
from loadtests.compare.errors import NotStarted, Void
from loadtests.compare.machine import settings, surroundings
from loadtests.compare.peers import envoy_program
from loadtests.compare.plan import (
    ACCESS,
    FULL,
    GRPC,
    GRPC_QUICK,
    QUICK,
    SAMPLES,
    SAMPLES_QUICK,
    TOTALS,
    Plan,
)
from loadtests.compare.targets import (
    ACCESS_TARGETS,
    GRPC_TARGETS,
    QUICK_TARGETS,
    SAMPLES_TARGETS,
    TARGETS,
    TOTALS_TARGETS,
    Target,
    judge,
)
from serving.errors import SluiceError

_RESULTS = Path(__file__).with_name("results")
_RECORD = Path(__file__).parents[2] / "docs" / "benchmarks.md"
_MISSED, _VOID = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    arguments = _arguments(argv)
    console, notes = Console(width=160, highlight=False), Console(stderr=True, highlight=False, soft_wrap=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_VOID))  # so that the peers are taken down
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-compare-") as folder:
            plan, _ = _kind(arguments)
            if plan.points or plan.grpc:
                envoy_program()
            bench = Bench(plan, wrk.find(Path(folder)), h2load.find(Path(folder)), Path(folder), notes.print)
            found = bench.run()
    except (NotStarted, SluiceError) as error:
        notes.print(f"error: {error}")
        return _VOID
    except Void as error:
        notes.print(f"void: {error}")
        return _VOID
    return _tell(console, found, arguments)


def _tell(console: Console, found: Found, arguments: argparse.Namespace) -> int:
    table = figures.rows(found.samples)
    verdicts = judge(_kind(arguments)[1], table, found.facts)
    defaults = ", ".join(f"{key} {value}" for key, value in settings().items())
    about = {**surroundings(), "the gateway's settings, all defaults": defaults}
    console.print("\n".join(f"{name}: {value}" for name, value in about.items()))
    report.show(console, table, found.facts, found.voids)
    if reason := figures.void(table):
        console.print(f"void: {reason}")
        return _VOID
    if table:
        _RESULTS.mkdir(exist_ok=True)
        report.write_json(table, _RESULTS / "bench.json")
        report.draw(table, _RESULTS / "bench.png")
    if arguments.record:
        _RECORD.write_text(report.markdown(table, found.facts, verdicts, about, found.voids))
    for verdict in verdicts:
        console.print(verdict.line)
    return 0 if all(verdict.met for verdict in verdicts) else _MISSED


def _kind(arguments: argparse.Namespace) -> tuple[Plan, tuple[Target, ...]]:
    """What is measured, and what it is held to."""
    if arguments.access:
        return ACCESS, ACCESS_TARGETS
    if arguments.totals:
        return TOTALS, TOTALS_TARGETS
    if arguments.samples:
        return SAMPLES_QUICK if arguments.quick else SAMPLES, SAMPLES_TARGETS
    if arguments.grpc:
        return GRPC_QUICK if arguments.quick else GRPC, GRPC_TARGETS
    return (QUICK, QUICK_TARGETS) if arguments.quick else (FULL, TARGETS)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.compare", description="The gateway beside its peers.")
    parser.add_argument("--quick", action="store_true", help="fewer points and fewer rounds")
    parser.add_argument("--grpc", action="store_true", help="six minutes: only the gRPC rows (with --quick: two)")
    parser.add_argument("--access", action="store_true", help="seven minutes: only what keys and tokens cost")
    parser.add_argument("--totals", action="store_true", help="two minutes: only what it costs to tell totals")
    parser.add_argument(
        "--samples",
        action="store_true",
        help="eight minutes: only what sampling costs, and a sidecar that does not read",
    )
    parser.add_argument("--record", action="store_true", help="write the table of this full run to docs/benchmarks.md")
    arguments = parser.parse_args(argv)
    kinds = {"grpc", "access", "totals", "samples"}
    if arguments.record and any(getattr(arguments, kind) for kind in (*kinds, "quick")):
        parser.error("--record keeps full runs only")
    for kind in ("access", "totals", "samples"):
        others = (kinds if kind == "samples" else {*kinds, "quick"}) - {kind}
        if getattr(arguments, kind) and any(getattr(arguments, other) for other in others):
            parser.error(f"--{kind} is a kind of run of its own: choose one")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
