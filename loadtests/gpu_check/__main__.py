"""`python -m loadtests.gpu_check`: the gateway before two real Tritons that share one GPU, checked and measured.

Exit codes: 0 all is well, or there is no GPU; 1 something is wrong; 2 it could not be run. With `--device cpu` the very
same runs without a GPU. Each figure is a line; with the variable OUT set they are written to $OUT/gpu-check.json, and
the logs of Tritons and gateway beside it.

It needs neither Ray nor the control plane, so that it can be taken to a machine that has little besides torch. What it
needs is the table in loadtests/README.md, and `tests/loadtests/test_gpu_check.py` runs it with nothing else importable.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from loadtests.gpu_check.check import Found, Plan, run
from serving.errors import SluiceError

_WRONG, _NOT_RUN = 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    plan = _plan(argv)
    if plan.device == "gpu" and not torch.cuda.is_available():
        _say("skipped: no GPU here")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_NOT_RUN))  # so that the servers are taken down
    with tempfile.TemporaryDirectory(prefix="sluice-gpu-check-") as folder:
        out = Path(os.environ["OUT"]) if os.environ.get("OUT") else None
        logs = out or Path(folder)
        try:
            logs.mkdir(parents=True, exist_ok=True)
            found = run(plan, Path(folder), logs, _say)
        except (SluiceError, OSError) as error:
            kept = f"The logs are in {out}." if out else "OUT=FOLDER keeps the logs."
            print(f"error: {error} {kept}", file=sys.stderr)  # noqa: T201 (a command's output)
            return _NOT_RUN
    if out:
        (out / "gpu-check.json").write_text(json.dumps(_record(plan, found), indent=1) + "\n")
    for line in found.faults:
        _say(f"WRONG {line}")
    _say(f"{len(found.faults)} things are wrong" if found.faults else "all is well")
    return _WRONG if found.faults else 0


def _record(plan: Plan, found: Found) -> dict[str, object]:
    return {
        "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": plan.device,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "figures": found.figures,
        "faults": found.faults,
    }


def _plan(argv: Sequence[str] | None) -> Plan:
    usual = Plan("gpu")
    parser = argparse.ArgumentParser(prog="python -m loadtests.gpu_check", description="Two Tritons on one GPU.")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="where the models run (%(default)s)")
    parser.add_argument("--requests", type=_count, default=usual.requests, help="units asked about (%(default)s)")
    parser.add_argument("--seconds", type=_seconds, default=usual.seconds, help="of each measurement (%(default)s)")
    parser.add_argument("--rounds", type=_count, default=usual.rounds, help="of measurements (%(default)s)")
    parser.add_argument("--connections", type=_count, nargs="+", default=usual.connections, help="1 8 32 by default")
    given = parser.parse_args(argv)
    return Plan(given.device, given.requests, given.seconds, given.rounds, tuple(given.connections))


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:  # noqa: PLR2004 (said in the error)
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to 1000000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.05 <= value <= 600.0:  # noqa: PLR2004 (said in the error)
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.05 to 600")
    return value


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 (a command's output)


if __name__ == "__main__":
    sys.exit(main())
