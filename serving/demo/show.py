"""The demo: a real model in two versions, a whole installation around it, and 300 requests through the split.

Starts what `sluice up` starts, with settings of its own; what it shows was measured on the way. It lives in the
ordinary state folder, so that in a second terminal every command finds it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import numpy as np
import psutil
import tritonclient.http as triton
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tritonclient.utils import InferenceServerException

from router.choose import Facts, choose
from router.codec import policy_from_dict
from router.policy import Policy, format_share
from serving.control.client import ControlClient
from serving.demo.train import MODEL
from serving.detached import stay
from serving.errors import AlreadyRunning, SluiceError
from serving.local import System, running
from serving.settings import Settings, load_settings

_MARK = "demo"
_MS = 1_000.0
_console = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request and what came of it.

    Attributes:
        unit: who asked.
        version: that answered, by Triton's own word; None where none did.
        correct: whether it was right.
        took_ms: from sending to answer, milliseconds.
        error: why there is no answer; empty where there is.
    """

    unit: str
    version: int | None
    correct: bool
    took_ms: float
    error: str = ""


def run(*, once: bool = False) -> None:
    """Trains, serves, sends, shows; then stays up until Ctrl-C, or, `once`, stops.

    Raises:
        SluiceError: something did not come up, or an answer was not what it had to be.
    """
    settings = _settings()
    make_room(settings.state_dir)
    models = settings.state_dir / "models"
    subprocess.run([sys.executable, "-m", "serving.demo.train", str(models)], check=True)
    with np.load(models / MODEL / "rows.npz") as kept:
        rows, labels = kept["pixels"], kept["labels"]
    with running(settings, lambda text: _console.print(f"{text} …")) as system:
        outcomes = _send(system, rows, labels)
        with ControlClient(system.control_url) as client:
            policy = policy_from_dict(client.policy(MODEL)["policy"])
        _show(outcomes, policy)
        _check(outcomes, policy)
        _invite(system, models / MODEL / "1" / "example.json")
        if not once:
            stay()


def _settings() -> Settings:
    """The ordinary settings, with the demo's model as the only one."""
    state_dir = load_settings().state_dir
    versions = [{"version": v, "path": str(state_dir / "models" / MODEL / str(v))} for v in (1, 2)]
    return load_settings(overrides={"models": [{"name": MODEL, "versions": versions, "traffic": {1: "90%", 2: "10%"}}]})


def make_room(state_dir: Path) -> None:
    """Begins anew, unless the folder holds somebody's real installation."""
    mark = state_dir / _MARK
    if state_dir.exists() and any(state_dir.iterdir()) and not mark.exists():
        raise AlreadyRunning(
            f"{state_dir} holds an installation of yours, and the demo would begin it anew.",
            "Run the demo in another folder, or name another state_dir.",
        )
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark.touch()
    if not (state_dir / "run.json").exists():
        for folder in ("valkey", "gateway", "triton", "logs", "drift"):
            shutil.rmtree(state_dir / folder, ignore_errors=True)


def _send(system: System, rows: NDArray[np.float32], labels: NDArray[np.int64]) -> list[Outcome]:
    """Each held-out row once, each from a customer of its own."""
    client = triton.InferenceServerClient(system.http_url.removeprefix("http://"))
    numbered: Iterable[int] = range(len(rows))
    if _console.is_terminal:
        numbered = track(numbered, "300 requests through the split", console=_console)
    outcomes = []
    for number in numbered:
        outcomes.append(_ask(client, f"customer-{number}", rows[number], int(labels[number])))
        if number == 0:
            since_s = time.time() - psutil.Process().create_time()
            _console.print(f"first prediction answered {since_s:.1f} s after the command was typed")
    client.close()
    return outcomes


def _ask(client: triton.InferenceServerClient, unit: str, row: NDArray[np.float32], label: int) -> Outcome:
    tensor = triton.InferInput("pixels", [1, len(row)], "FP32")
    tensor.set_data_from_numpy(row[np.newaxis])
    began = time.perf_counter()
    try:
        answer = client.infer(MODEL, [tensor], headers={"sluice-unit": unit})
    except (InferenceServerException, OSError) as error:
        return Outcome(unit, None, correct=False, took_ms=0.0, error=str(error))
    took_ms = (time.perf_counter() - began) * _MS
    right = int(answer.as_numpy("digit").ravel()[0]) == label
    return Outcome(unit, int(answer.get_response()["model_version"]), right, took_ms)


def _show(outcomes: Sequence[Outcome], policy: Policy) -> None:
    table = Table(title=f"{len(outcomes)} requests, one from each customer")
    for name in ("version", "share wanted", "answers", "share", "correct", "p50", "p99"):
        table.add_column(name, justify="right")
    for version, wanted in policy.shares().items():
        some = [outcome for outcome in outcomes if outcome.version == version]
        table.add_row(f"{MODEL} {version}", format_share(wanted), *_figures(some, len(outcomes)))
    _console.print(table)


def _figures(some: Sequence[Outcome], of: int) -> tuple[str, ...]:
    if len(some) < 2:  # noqa: PLR2004 (no quantile of one)
        return (str(len(some)), f"{len(some) / of:.1%}", "-", "-", "-")
    cuts = quantiles((outcome.took_ms for outcome in some), n=100, method="inclusive")
    right = sum(outcome.correct for outcome in some)
    return (
        str(len(some)), f"{len(some) / of:.1%}", f"{right} ({right / len(some):.1%})", f"{cuts[49]:.2f} ms",
        f"{cuts[98]:.2f} ms",
    )  # fmt: skip


def _check(outcomes: Sequence[Outcome], policy: Policy) -> None:
    """Every unit must have got the version that `choose` says."""
    failed = [outcome for outcome in outcomes if outcome.version is None]
    stray = [
        outcome for outcome in outcomes
        if outcome.version is not None
        and outcome.version != choose(policy, Facts(outcome.unit.encode())).version
    ]  # fmt: skip
    right = len(outcomes) - len(failed) - len(stray)
    _console.print(f"{len(failed)} failed; {right} of {len(outcomes)} customers got the version that choose() says")
    if failed:
        raise SluiceError(f"{len(failed)} requests failed, the first with: {failed[0].error}")
    if stray:
        raise SluiceError(f"{stray[0].unit} got version {stray[0].version}, which is not what choose() says.")


def _invite(system: System, example: Path) -> None:
    """What to paste into a second terminal."""
    place = system.http_url.removeprefix("http://")
    shown = example.relative_to(Path.cwd()) if example.is_relative_to(Path.cwd()) else example
    inputs = json.loads(example.read_text())["inputs"]
    shape = inputs[0]["shape"]
    _console.print(
        f"""
predictions  {system.http_url}/v2/models/{MODEL}/infer
control API  {system.control_url}/docs

curl -i {system.http_url}/v2/models/{MODEL}/infer -H 'sluice-unit: customer-7' --data-binary @{shown}

python - <<'END'
import json
import numpy as np, tritonclient.http as triton
client = triton.InferenceServerClient("{place}")
tensor = triton.InferInput("pixels", {shape}, "FP32")
data = json.load(open("{shown}"))["inputs"][0]["data"]
tensor.set_data_from_numpy(np.array(data, np.float32).reshape({shape}))
print(client.infer("{MODEL}", [tensor], headers={{"sluice-unit": "customer-7"}}).get_response())
END

sluice traffic set {MODEL} 2=50%
""",
        markup=False,
        soft_wrap=True,
    )
