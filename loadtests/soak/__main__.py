"""`python -m loadtests.soak`, which is `make proof-soak`: ten minutes of everything at once, and nothing may grow.

An installation with two gateway workers, a drift sidecar at work and a payload log. First `sluice loadtest capacity`
finds what it can do; then it gets 70 % of that, as JSON, binary and gRPC, while a rollout goes back and forth. No
request may fail, every answer has to be where the policy of its moment says, and memory and open files of each process
have to stay where they are. Exit codes: 0 every figure is good, 1 one falls short, 2 the run could not be made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import psutil

from loadtests.installation import Failed, Installation, installation
from loadtests.load import summary
from loadtests.load.control import Control
from loadtests.load.payloads import drawn
from loadtests.load.playing import Wish, made_ready, place_for_runs, play
from loadtests.load.records import Kind
from loadtests.load.shapes import steady
from loadtests.load.spec import Place, Spec
from loadtests.rollouts.operator import MODEL, Operator
from loadtests.soak import report
from loadtests.soak.figures import Soak, figures
from loadtests.soak.growth import MOST_POINTS
from loadtests.soak.held import Watch, processes
from loadtests.soak.rolling import CANDIDATE, STABLE, BackAndForth
from serving.amounts import share_of
from serving.errors import SluiceError

WORKERS: Final = 2
WINDOW_ROWS: Final = 100
SLO: Final = "p95=250ms,errors=0%"
_MIX: Final[Mapping[Kind, float]] = {Kind.JSON: 0.5, Kind.BINARY: 0.25, Kind.GRPC: 0.25}
_SETTINGS: Final[Mapping[str, Any]] = {
    "triton": {"port_range": 0}, "gateway": {"workers": WORKERS}, "payloads": {"enabled": True, "share": "5%"},
    "drift": {"sidecar": {"metrics_port": 0}, "window": {"rows": WINDOW_ROWS, "seconds": 1}},
}  # fmt: skip
_BASELINE_ROWS: Final = 60 * WINDOW_ROWS
_SEED: Final = 1
_WHOLE: Final = 1_000_000
_TELL_S: Final = 30.0
_FEWEST_LOOKS: Final = 120
"""In a short soak: else once a second, which costs what is measured less."""
_FIRST_RPS: Final = 200
"""Where the search begins; it goes lower where this is too much."""
_COMMAND_WITHIN_S: Final = 900.0
_FALLS_SHORT, _NOT_RUN = 1, 2
_COULD_NOT: Final = (
    Failed, SluiceError, httpx.HTTPError, OSError, subprocess.SubprocessError, psutil.Error, KeyError, ValueError,
)  # fmt: skip
"""What says that the run could not be made: a command that hangs, a process that is gone, an answer of another form."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of it.

    Attributes:
        minutes: how long the load goes on.
        share: of the capacity, 0 to 1.
        each_s: how long each try of the capacity takes, whole seconds.
        hold_s: how long each share of a rollout stays, seconds.
    """

    minutes: float = 10.0
    share: float = 0.7
    each_s: int = 5
    hold_s: float = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """One run; what to exit with."""
    sizes, file = _wanted(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="sluice-soak-") as place:
            folder = Path(place)
            with installation(folder, _SETTINGS) as up:
                _say("the installation is up")
                _prepare(up)
                return _told(_soaked(up, sizes), file)  # before it ends, which it may refuse to
    except _COULD_NOT as error:
        said = "" if isinstance(error, KeyError) else str(error)  # which is but the key
        _say(f"error: {said or repr(error)}")
        return _NOT_RUN


def _told(soak: Soak, file: Path) -> int:
    """Prints every figure and writes the report, whatever they are; what to exit with."""
    found = figures(soak)
    for line in summary.lines(soak.outcome):
        _say(line)
    for one in found:
        _say(f"{'ok  ' if one.good else 'FAIL'} {one.name}: {one.value}")
    file.write_text(report.page(soak, found), encoding="utf-8")
    said = json.dumps(report.plain(soak, found), indent=2, allow_nan=False)
    file.with_suffix(".json").write_text(f"{said}\n", encoding="utf-8")
    _say(f"report: {file}, {file.with_suffix('.json')}")
    return 0 if all(one.good for one in found) else _FALLS_SHORT


def _prepare(up: Installation) -> None:
    """Two versions that say their numbers, the first of them stable, both watched for drift."""
    asyncio.run(_brought(up))
    takes = [{"name": "x", "datatype": "FP32", "shape": [1, 1]}]
    values = np.concatenate([one.values for [one] in drawn(takes, _SEED)])
    rows = np.random.default_rng(_SEED).choice(values, _BASELINE_ROWS)
    np.savez(up.folder / "train.npz", x=rows.astype(np.float32))
    for version in (STABLE, CANDIDATE):
        _sluice(
            up, "drift", "baseline", MODEL, str(version), "--data", "train.npz", "--window-rows", str(WINDOW_ROWS)
        )  # fmt: skip


async def _brought(up: Installation) -> None:
    async with up.client() as control:
        operator = Operator(control, up.folder)
        for version in (STABLE, CANDIDATE):
            await operator.bring(version)
        await operator.all_to(STABLE)


def _soaked(up: Installation, sizes: Sizes) -> Soak:
    """The capacity, and then the load."""
    capacity, at_least = _capacity(up, sizes)
    _say(f"capacity: {'at least ' if at_least else ''}{capacity:,.0f} requests a second")
    for version in (STABLE, CANDIDATE):  # the same program twice; without it their warm-up's own figures would count
        _sluice(up, "models", "deploy", MODEL, str(version), "--option", f"carries_rps={capacity:.3f}")
    seconds = sizes.minutes * 60
    watch = Watch(processes(up.pid, WORKERS), max(seconds / MOST_POINTS, min(1.0, seconds / _FEWEST_LOOKS)))
    rolled = BackAndForth(up, sizes.hold_s)
    place = Place(up.http_url, up.grpc_url, up.control_url)
    with place_for_runs() as folder, Control(place, MODEL) as control:
        shape = steady(sizes.share * capacity, seconds)
        spec = Spec(MODEL, place, shape, _MIX, folder, synthetic=False, seed=_SEED)
        ready = made_ready(spec, control, verify=True)
        with rolled, watch:
            outcome = play(ready, control, Wish(), _progress(seconds))
            _say(f"the load is over, and {outcome.results.due:,} requests are judged")
    return Soak(capacity, at_least, SLO, sizes.share, outcome, rolled, watch)


def _capacity(up: Installation, sizes: Sizes) -> tuple[float, bool]:
    """What the stable version can do, requests a second, and whether it may be more; by the product's own command."""
    mix = ",".join(f"{kind.name.lower()}={share:.0%}" for kind, share in _MIX.items())
    said = _sluice(
        up, "loadtest", "capacity", MODEL, "--version", str(STABLE), "--slo", SLO, "--each", f"{sizes.each_s}s",
        "--mix", mix, "--from", str(_FIRST_RPS), "--as-traffic", "--json", tells=True,
    )  # fmt: skip
    found = json.loads(said)["versions"][str(STABLE)]
    return float(found["rps"]), bool(found["at_least"])


def _sluice(up: Installation, *words: str, tells: bool = False) -> str:
    """What a command printed; with `tells`, what it says meanwhile is shown.

    Raises:
        Failed: it ended with something else than 0; with what it said.
    """
    argv = [str(Path(sys.executable).with_name("sluice")), *words]
    done = subprocess.run(
        argv, cwd=up.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False,
        stderr=None if tells else subprocess.PIPE, timeout=_COMMAND_WITHIN_S,
    )  # fmt: skip
    if done.returncode:
        said = "why is above" if tells else done.stderr.strip()[-1_000:]
        raise Failed(f"`sluice {' '.join(words)}` ended with {done.returncode}: {said}")
    return done.stdout


def _progress(seconds: float) -> Any:  # noqa: ANN401 - a Tell
    """Says how far it is, a line every half minute."""
    told_s = -_TELL_S

    def tell(said: Mapping[str, Any]) -> None:
        nonlocal told_s
        if "at" in said and said["at"] - told_s >= _TELL_S:
            told_s = said["at"]
            _say(f"{told_s:.0f} of {seconds:,.0f} s: {said['answered']:,} requests, {said['failed']:,} failed")

    return tell


def _wanted(argv: Sequence[str] | None) -> tuple[Sizes, Path]:
    parser = argparse.ArgumentParser(prog="python -m loadtests.soak", description="Under load for long: nothing grows.")
    parser.add_argument("--minutes", type=float, default=10.0, help="of load [10]")
    parser.add_argument("--of", type=_share, default=0.7, metavar="SHARE", help="of the measured capacity [70%%]")
    parser.add_argument("--each", type=int, default=5, metavar="S", help="seconds of each try of the capacity [5]")
    parser.add_argument("--hold", type=float, default=5.0, metavar="S", help="seconds of each share of a rollout [5]")
    parser.add_argument("--report", type=Path, default=Path("soak.html"), metavar="FILE", help="[soak.html]")
    given = parser.parse_args(argv)
    if given.minutes <= 0 or given.each < 1 or given.hold <= 0:
        parser.error("times are more than 0 s")
    if given.report.suffix != ".html" or not _can_be_written(given.report):
        parser.error(f"{given.report} is no page that can be written: name one such as soak.html")
    return Sizes(given.minutes, given.of, given.each, given.hold), given.report


def _can_be_written(page: Path) -> bool:
    """Known before anything is started: ten minutes of figures would be lost."""
    there = [one if one.exists() else one.absolute().parent for one in (page, page.with_suffix(".json"))]
    return all(os.access(one, os.W_OK) for one in there) and page.absolute().parent.is_dir() and not page.is_dir()


def _share(text: str) -> float:
    try:
        share = share_of(text) / _WHOLE
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not share:
        raise argparse.ArgumentTypeError("nothing of the capacity is no load: give a share such as 70%")
    return share


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - to the person who typed it


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_NOT_RUN))  # so that the installation is taken down
    sys.exit(main())
