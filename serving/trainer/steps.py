"""What is done in each step of an episode, by the public control API alone.

Each step finds what an earlier run of it has done, so that a trainer may be killed at any moment: the new version's
number and contents are written down before they are registered, and registering the same again is the same version;
deploying is the same however often it is asked; and a rollout of that version is looked for before one is started.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.baseline import Order, made
from drift.errors import DriftError
from drift.tables import Table
from registry.codec import signature_from_dict
from registry.models import ModelName, VersionNumber
from registry.signature import Signature
from serving.control.client import ControlClient
from serving.control.drift_client import DriftClient
from serving.control.models_client import Cancelled, ModelsClient, VersionAnswer
from serving.control.rollouts_client import RolloutsClient
from serving.errors import ControlError, SluiceError
from serving.trainer import retraining
from serving.trainer.diary import ARTIFACT, WINDOW, Diary, Episode, Step, write
from serving.trainer.retraining import DECLARED, INPUT
from serving.trainer.rows import Rows, Unusable, labels_in, rows_in, window_in
from serving.trainer.setup import Setup, rollout_of
from serving.triton.signature import SIGNATURE

_PREDICTIONS: Final = "predictions.npz"
_BASELINE: Final = "baseline.bin"
_REGISTRATION: Final = "registration.json"
_API: Final = "/api/v1/"
_CLASSES: Final = "labels"
_FETCH_S: Final = 60.0
_MOST: Final = 20
"""Rollouts that are looked through for one that was begun before."""

_PASSING: Final = frozenset({"in-use", "not-now", "overloaded", "rate-limited", "store-unreachable", "too-slow"})
"""Refusals that may be over when the same is asked again."""
_PASSING_STATUSES: Final = frozenset({
    HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS,
})  # fmt: skip

AsksVersion = Callable[[int, NDArray[np.float32]], NDArray[np.int64]]
"""From a version and pixels [n, 64] to the digits [n] that it answers."""


class NotYet(SluiceError):  # noqa: N818 - named after what it means
    """What is needed may come by itself: it is to be looked for again."""


class Steps:
    """Does what comes next.

    Args:
        control: the control API.
        setup: what is trained, on what.
        diary: where episodes lie.
        ask: asks a version that serves.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        control: ControlClient,
        setup: Setup,
        diary: Diary,
        ask: AsksVersion,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._control = control
        self._models, self._rollouts = ModelsClient(control), RolloutsClient(control)
        self._setup, self._diary, self._ask, self._clock = setup, diary, ask, clock
        self._next: Mapping[Step, Callable[[Episode], Episode]] = MappingProxyType({
            Step.RECEIVED: self._fetch,
            Step.FETCHED: self._train,
            Step.TRAINED: self._prepare,
            Step.PREPARED: self._register,
            Step.REGISTERED: self._keep_baseline,
            Step.WATCHED: self._deploy,
            Step.DEPLOYED: self._start,
            Step.ROLLING: self._follow,
        })  # fmt: skip

    def after(self, episode: Episode) -> Episode:
        """The episode after its next step; the same where that has to wait for others.

        Raises:
            ControlError: the control API refused it, or does not answer (`is_passing`).
            NotYet: labels have to come first.
            Unusable: of what there is to train on nothing can be learned.
        """
        return self._next[episode.step](episode)

    # One step each.

    def _fetch(self, episode: Episode) -> Episode:
        """Anew each time, for labels come later than requests, and so may rows."""
        if not episode.window.startswith(_API):
            return self._at(episode, Step.DECLINED, "no rows were captured, so there is nothing to train on")
        answer = self._control.answer("GET", episode.window.removeprefix(_API), wait_s=_FETCH_S)
        write(self._file(episode, WINDOW), self._control.check(answer).content)
        labelled, fewest = len(self._window(episode)), self._setup.fewest
        words = f"{labelled:,} captured rows have labels"
        if labelled >= fewest:
            return self._at(episode, Step.FETCHED, words)
        if self._clock() - episode.received_s < self._setup.patience_s:
            raise NotYet(f"{words}, and {fewest:,} are needed")
        return self._at(episode, Step.DECLINED, f"{words}, and {fewest:,} would be needed")

    def _train(self, episode: Episode) -> Episode:
        setup, window = self._setup, self._window(episode)
        stable = episode.stable or self._control.policy(setup.model)["policy"]["stable"]
        folder = self._file(episode, ARTIFACT)
        shutil.rmtree(folder, ignore_errors=True)
        made = retraining.retrained(
            rows_in(setup.training, INPUT), rows_in(setup.held, INPUT), window, lambda rows: self._ask(stable, rows),
            folder,
        )  # fmt: skip
        report = {**made.verdict.plain(), "metrics": made.metrics, "parameters": made.parameters, "stable": stable}
        if not made.verdict.is_better:
            words = f"nothing is registered: {'; '.join(made.verdict.objections)}"
            return self._at(episode, Step.DECLINED, words, report=report)
        with self._file(episode, _PREDICTIONS).open("wb") as file:
            np.savez(file, **made.predictions)
        report["data"] = {"fingerprint": made.trained_on.fingerprint, "rows": len(made.trained_on)}
        words = f"{made.verdict.new}; {made.verdict.old}"
        return self._at(episode, Step.TRAINED, words, stable=stable, report=report)

    def _prepare(self, episode: Episode) -> Episode:
        """Decides on the number, of which the baseline speaks, and writes down what is to be registered."""
        number = self._free_number()
        blob, digest = self._baseline(episode, number)
        write(self._file(episode, _BASELINE), blob)
        report = episode.report or {}
        body = {
            "source": str(self._file(episode, ARTIFACT).absolute()),
            "number": number,
            "parent": episode.stable if self._there(episode.stable) else None,
            "data": report["data"],
            "parameters": report["parameters"],
            "metrics": report["metrics"],
            "tags": {"episode": episode.id, "cause": episode.cause},
            "baseline_digest": digest,
            "why": f"retrained for the episode {episode.id}",
        }
        write(self._file(episode, _REGISTRATION), json.dumps(body, indent=2).encode())
        return self._at(episode, Step.PREPARED, f"it is to be version {number}", number=number)

    def _register(self, episode: Episode) -> Episode:
        there = self._there(episode.number)
        if there is not None and there["tags"].get("episode") != episode.id:
            return self._at(episode, Step.TRAINED, f"somebody else has registered version {episode.number}")
        if there is None:
            body = json.loads(self._file(episode, _REGISTRATION).read_bytes())
            self._models.watch(self._models.register(self._setup.model, body), lambda _: None)
        return self._at(episode, Step.REGISTERED, f"version {episode.number} is registered")

    def _keep_baseline(self, episode: Episode) -> Episode:
        model, number = self._setup.model, _number(episode)
        DriftClient(self._control).keep(model, number, self._file(episode, _BASELINE).read_bytes(), _why(episode))
        return self._at(episode, Step.WATCHED, f"version {number} has a baseline: the rows that it was made for")

    def _deploy(self, episode: Episode) -> Episode:
        number = _number(episode)
        begun = self._models.deploy(self._setup.model, number, {"why": _why(episode)})
        self._models.watch(begun, lambda _: None)
        return self._at(episode, Step.DEPLOYED, f"version {number} has servers")

    def _start(self, episode: Episode) -> Episode:
        model, number = self._setup.model, _number(episode)
        begun = self._rollout_of(model, number)
        if not begun:
            answer = self._rollouts.start(model, rollout_of(self._setup, number, episode.id))
            begun = answer["rollout"]["id"]
        return self._at(episode, Step.ROLLING, f"the rollout {begun} has begun", rollout=begun)

    def _follow(self, episode: Episode) -> Episode:
        rollout = self._rollouts.rollout(episode.rollout)
        why = f": {rollout['cause']}" if rollout["cause"] else ""
        if not rollout["over"]:
            return episode.waiting(rollout["place"])
        if rollout["phase"] == "promoted" and rollout["chosen"] in {None, episode.number}:
            return self._at(episode, Step.PROMOTED, f"version {episode.number} has all of the traffic{why}")
        return self._at(episode, Step.WENT_BACK, f"version {episode.number} went back ({rollout['phase']}){why}")

    # What they need.

    def _baseline(self, episode: Episode, number: int) -> tuple[bytes, str]:
        """Of the captured rows, for those are what the new version is to be held against; its bytes and digest."""
        window = self._window(episode)
        signature = _signature_in(self._file(episode, ARTIFACT) / SIGNATURE)
        order = Order(
            ModelName(self._setup.model),
            VersionNumber(number),
            signature,
            DECLARED,
            window_rows=self._setup.window_rows,
        )
        with np.load(self._file(episode, _PREDICTIONS)) as kept:
            outputs = Table({name: kept[name] for name in kept.files})
        try:
            found = made(order, Table({INPUT: window.inputs}), outputs, self._clock())
        except DriftError as error:
            raise Unusable(f"No baseline can be made of the captured rows: {error.sentence}", error.hint) from error
        return found.blob, found.digest

    def _window(self, episode: Episode) -> Rows:
        """The captured rows with the labels that are known by now."""
        return window_in(self._file(episode, WINDOW), INPUT, labels_in(self._setup.labels))

    def _free_number(self) -> int:
        model = self._setup.model
        known = [one["version"] for one in self._statuses(model)]
        try:
            known += [one["version"] for one in self._models.versions(model, 1)["versions"]]
        except ControlError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        return max(known, default=0) + 1

    def _statuses(self, model: str) -> list[Any]:
        models = self._control.status()["models"]
        return [version for one in models if one["name"] == model for version in one["versions"]]

    def _rollout_of(self, model: str, number: int) -> str:
        """The newest rollout whose plan gives that version anything; empty for none."""
        for row in self._rollouts.rollouts(model, _MOST)["rollouts"]:
            stages = self._rollouts.rollout(row["id"])["plan"]["stages"]
            if any(str(number) in stage.get("shares", {}) for stage in stages):
                return row["id"]
        return ""

    def _there(self, number: int | None) -> VersionAnswer | None:
        """That version as the registry has it; None where it has none."""
        try:
            return None if number is None else self._models.version(self._setup.model, str(number))
        except ControlError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return None

    def _file(self, episode: Episode, name: str) -> Path:
        return self._diary.folder_of(episode) / name

    def _at(self, episode: Episode, step: Step, words: str, **found: Any) -> Episode:  # noqa: ANN401 - fields
        return episode.at(step, words, self._clock(), **found)


def is_passing(error: ControlError) -> bool:
    """Whether it is worth asking again: nobody answered, somebody else is at it, or it was too much just now."""
    if isinstance(error, Cancelled):
        return False  # whoever did that does not want it
    if error.status is None and not error.problem:
        return True
    if error.problem.get("refusal") in _PASSING:
        return True
    status = error.status or 0
    return status in _PASSING_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _signature_in(file: Path) -> Signature:
    """What the version takes and gives, as the registry has it: names of classes are the artifact's business."""
    said = json.loads(file.read_bytes())
    sides = {
        side: [{key: value for key, value in tensor.items() if key != _CLASSES} for tensor in said[side]]
        for side in ("inputs", "outputs")
    }
    return signature_from_dict(sides)


def _number(episode: Episode) -> int:
    if episode.number is None:
        raise ValueError(f"the episode {episode.id} is {episode.step}, and has no number")
    return episode.number


def _why(episode: Episode) -> str:
    return f"retrained for the episode {episode.id}"
