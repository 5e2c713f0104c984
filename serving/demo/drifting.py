"""`sluice demo --drift`: the world moves, and the circle closes, on real digits and real servers, in minutes.

People ask digits and say later what was true. The camera is knocked over; the sidecar finds it, labels show the harm,
one `drift.retrain` goes out, the trainer brings a version that is better on rows that it never saw, and a rollout gives
it the traffic once feedback has shown it. Nothing is played: windows, holds and settling are shortened by settings, as
the first lines say, and everything else is as it comes.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self

import numpy as np
from rich.console import Console
from rich.live import Live

from drift.baseline import Order, made
from drift.tables import Table
from registry.models import ModelName, VersionNumber
from serving import child
from serving.control.client import ControlClient
from serving.control.drift_client import DriftClient
from serving.control.models_client import ModelsClient
from serving.demo import train
from serving.demo.people import People
from serving.demo.picture import drawn
from serving.demo.seeing import Eyes
from serving.demo.show import make_room
from serving.demo.story import LATELY_S, Event, Look, events_of, line, progress_line, screen
from serving.demo.world import DEGREES, World, turned, world
from serving.detached import stay
from serving.errors import SluiceError
from serving.local import System, running
from serving.settings import Settings, load_settings
from serving.sockets import open_listener, url_of
from serving.trainer.app import HOOK
from serving.trainer.diary import Step
from serving.trainer.retraining import DECLARED

PER_S: Final = 60.0
WINDOW_ROWS: Final = 50
WINDOW_S: Final = 1.0
SETTLE_S: Final = 5.0
HOLD: Final = "5s"
FEWEST: Final = 250
"""Captured rows with labels that the trainer takes."""

_CALM_WINDOWS: Final = 15
_CALM_LABELS: Final = 700
"""500 of them say what error is usual (`drift.labels`)."""
_AFTER_S: Final = LATELY_S + 5.0
"""So long people go on asking once it is over, so that the last figures are of the end."""
_GIVES_UP_S: Final = 1_200.0
_LOOK_S: Final = 1.0
_TOLD_EVERY_S: Final = 10.0
_HIDDEN: Final = 2
_FIRST: Final = 1
_GRACE_S: Final = 5.0
_TRAINED: Final = frozenset(Step) - {Step.RECEIVED, Step.FETCHED}
"""Steps from which on the captured rows are no longer looked at."""

_console = Console(highlight=False)


def run(*, once: bool = False) -> None:
    """Shows the circle; then stays up until Ctrl-C, or, `once`, stops.

    Raises:
        SluiceError: something did not come up, or the circle did not close.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(open_listener("127.0.0.1", 0, "the trainer", "--port"))
        state_dir = load_settings().state_dir
        settings = _settings(state_dir, url_of(listener, tls=False))
        make_room(state_dir)
        home = state_dir / "trainer"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(mode=0o700)
        _write_secret(state_dir)
        _say_what_is_short()
        there = world()
        _train_first(there, home)
        system = stack.enter_context(running(settings, lambda text: _console.print(f"{text} …")))
        control = stack.enter_context(ControlClient(system.control_url, timeout_s=30.0))
        _bring_first(control, there, home)
        _console.print(f"control API {system.control_url}/docs; in a second terminal: sluice drift watch")
        trainer = stack.enter_context(_Trainer(system, home, state_dir, listener))
        feedback = stack.enter_context(ControlClient(system.control_url))
        people = stack.enter_context(People(system.http_url, feedback, home / "labels.jsonl", PER_S))
        told = _Told(time.time())
        _until_over(there, Eyes(control, trainer.url, people), trainer, people, told)
        picture = state_dir / "episode.svg"
        picture.write_text(drawn(told.looks, told.events, "an episode of the drift demo, as it was seen"))
        _conclude(told, people, picture)
        if not once:
            _console.print("It stays up, and people go on asking, until Ctrl-C.")
            stay()


class _Told:
    """What was seen and said so far.

    Args:
        began_s: seconds since 1970.
    """

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.looks: list[Look] = []
        self.events: list[Event] = []
        self.is_over = False
        self._printed_s = 0.0

    def hear(self, look: Look) -> list[Event]:
        """What is new in it."""
        new = list(events_of(self.looks[-1] if self.looks else None, look))
        self.looks.append(look)
        self.events += new
        return new

    def lines(self, look: Look, new: list[Event]) -> Iterator[str]:
        """What is printed where there is no terminal: what is new, and now and then how it stands."""
        yield from (line(one, self.began_s) for one in new)
        if look.at_s >= self._printed_s + _TOLD_EVERY_S:
            self._printed_s = look.at_s
            yield progress_line(look, self.began_s)


class _Trainer:
    """`sluice trainer` as a process that is started again when it dies. A context manager.

    Args:
        system: where everything is.
        home: its folder.
        state_dir: where the secret lies.
        listener: where webhooks arrive; they wait there while it is away.
    """

    def __init__(self, system: System, home: Path, state_dir: Path, listener: socket.socket) -> None:
        self.url = url_of(listener, tls=False)
        self._listener, self._log = listener, home / "trainer.log"
        self._argv = [
            sys.executable, "-m", "serving.trainer", "--model", train.MODEL, "--folder", str(home / "episodes"),
            "--training", str(home / "training.npz"), "--held", str(home / "held.npz"),
            "--labels", str(home / "labels.jsonl"), "--secret-file", str(_secret(state_dir)),
            "--control", system.control_url, "--gateway", system.http_url, "--socket", str(listener.fileno()),
            "--fewest", str(FEWEST), "--window-rows", str(WINDOW_ROWS), "--hold", HOLD, "--trial", "10m",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.see_to_it()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            child.stop(self._process, _GRACE_S)

    def see_to_it(self) -> None:
        """Starts it where it does not run."""
        if self._process is None or not child.alive(self._process):
            with self._log.open("ab") as log:
                self._process = child.spawn(
                    self._argv, stdout=log, stderr=subprocess.STDOUT, pass_fds=(self._listener.fileno(),)
                )


def _settings(state_dir: Path, trainer: str) -> Settings:
    """The ordinary settings, with windows of a second, and a webhook that reaches the trainer."""
    return load_settings(
        overrides={
            "models": [],
            "registry.sources": [str(state_dir)],
            "control.trusted_addresses": [trainer],
            "drift.samples.rows_per_s": 10 * PER_S,
            "drift.window": {"rows": WINDOW_ROWS, "seconds": WINDOW_S},
            "drift.settle_s": SETTLE_S,
            "drift.act": "act",
            "drift.webhooks": [
                {"url": f"{trainer}{HOOK}", "secret_file": str(_secret(state_dir)), "events": ["drift.retrain"]}
            ],
        }
    )


def _secret(state_dir: Path) -> Path:
    return state_dir / "trainer.secret"


def _write_secret(state_dir: Path) -> None:
    file = _secret(state_dir)
    file.touch(mode=0o600)
    file.write_text(f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}\n")


def _say_what_is_short() -> None:
    _console.print(
        f"Shortened for the demo: windows of {WINDOW_ROWS} rows and {WINDOW_S:g} s (else 500 and 60), {SETTLE_S:g} s "
        f"to settle (300), steps of {HOLD} (10m), labels after 2 s. The alarm budget is the usual one: one false alarm "
        f"in 30 days. Rows and models are real; the shift is a camera that is turned by {DEGREES:g} degrees."
    )


def _train_first(there: World, home: Path) -> None:
    """Trains version 1, and leaves its artifact and the rows that the trainer is given."""
    _console.print("training digits version 1 …")
    train.use_one_thread()
    model = train.fitted(_HIDDEN, there.training.pixels, there.training.labels)
    folder = home / "first"
    right = train.answered(model, there.held.pixels)["digit"].ravel() == there.held.labels
    train.export(
        model, folder, there.training.pixels, {"trained_on": len(there.training.labels), "accuracy": right.mean()}
    )
    for name, part in (("training", there.training), ("held", there.held)):
        np.savez(home / f"{name}.npz", pixels=part.pixels, labels=part.labels)
    np.savez(home / "predictions.npz", **train.answered(model, there.held.pixels))


def _bring_first(control: ControlClient, there: World, home: Path) -> None:
    """Registers version 1 with its baseline, and gives it everything."""
    models = ModelsClient(control)
    with np.load(home / "predictions.npz") as kept:
        answers = Table({name: kept[name] for name in kept.files})
    order = Order(ModelName(train.MODEL), VersionNumber(_FIRST), declared=DECLARED, window_rows=WINDOW_ROWS)
    baseline = made(order, Table({"pixels": there.training.pixels}), answers, time.time())
    body = {"source": str((home / "first").absolute()), "number": _FIRST, "baseline_digest": baseline.digest}
    _console.print("registering it, and giving it all of the traffic …")
    models.watch(models.register(train.MODEL, {**body, "why": "the demo's first version"}), lambda _: None)
    DriftClient(control).keep(train.MODEL, _FIRST, baseline.blob, "the demo's first version")
    models.watch(models.promote(train.MODEL, {"version": _FIRST, "why": "the demo's first version"}), lambda _: None)


def _until_over(there: World, eyes: Eyes, trainer: _Trainer, people: People, told: _Told) -> None:
    """Looks once a second, turns the camera once all is calm and known, and ends a little after the trainer's end.

    Raises:
        SluiceError: it takes too long.
    """
    parts = _Parts(there, people)
    ends_s = told.began_s + _GIVES_UP_S
    with _view() as show:
        while (now_s := time.time()) < ends_s:
            trainer.see_to_it()
            look = eyes.look(turned=parts.turned)
            new = told.hear(look)
            show(look, told, new)
            parts.after(look)
            if look.is_over and not told.is_over:
                told.is_over = True
                ends_s = now_s + (_AFTER_S if look.is_promoted else 0.0)
            time.sleep(_LOOK_S)
    if not told.is_over:
        raise SluiceError(
            f"The circle has not closed within {_GIVES_UP_S / 60:g} minutes.",
            "Look at the logs and at trainer/trainer.log in the state folder; a slow machine needs more.",
        )


class _Parts:
    """Which rows people ask: upright, then askew, then others askew, which no version was trained on.

    Args:
        there: the world.
        people: who asks.
    """

    def __init__(self, there: World, people: People) -> None:
        self.turned = False
        self._there, self._people = there, people
        self._is_later = False
        people.ask(there.earlier, turned=False)

    def after(self, look: Look) -> None:
        """Has them ask what comes next, where it is time."""
        if not self.turned and look.windows >= _CALM_WINDOWS and self._people.said >= _CALM_LABELS:
            self.turned = True
            self._people.ask(turned(self._there.earlier), turned=True)
        if not self._is_later and look.episode is not None and look.episode["step"] in _TRAINED:
            self._is_later = True
            self._people.ask(turned(self._there.later), turned=True)


Show = Callable[[Look, _Told, list[Event]], None]
"""Shows a look, and what is new in it."""


@contextlib.contextmanager
def _view() -> Iterator[Show]:
    """The live view at a terminal; elsewhere a line for each thing that is new."""
    if not _console.is_terminal:
        yield _print_lines
        return
    with Live(console=_console, auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda look, told, _: live.update(screen(look, told.events, told.began_s), refresh=True)


def _print_lines(look: Look, told: _Told, new: list[Event]) -> None:
    for one in told.lines(look, new):
        _console.print(one, markup=False, soft_wrap=True)


def _conclude(told: _Told, people: People, picture: Path) -> None:
    """Says how it ended, by what people said of answers that they got.

    Raises:
        SluiceError: the circle did not close with a better version.
    """
    last = told.looks[-1]
    _console.print(f"The picture of this episode: {picture}")
    if not last.is_promoted or last.episode is None:
        words = last.episode["words"] if last.episode else "nothing was heard"
        raise SluiceError(f"The circle did not close: {words}.", f"{picture.parent}/trainer/trainer.log has the rest.")
    before, after = (_rate_of(people, version) for version in (_FIRST, last.episode["number"]))
    _console.print(
        f"Closed: of the digits askew version {_FIRST} got {before:.1%} right, and version {last.episode['number']} "
        f"gets {after:.1%}, of rows that no version was trained on."
    )
    if after <= before:
        raise SluiceError("The new version is no better by the answers that people got.")


def _rate_of(people: People, version: int) -> float:
    """The share of right answers to digits that were askew."""
    rights = [one.right for one in people.answered() if one.turned and one.version == version]
    return sum(rights) / len(rights) if rights else 0.0
