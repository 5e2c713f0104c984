"""What the drift demo sees: once a second it asks the control API, the trainer and the people, as anybody could."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from serving.control.client import ControlClient, shares_of
from serving.control.drift_client import DriftClient
from serving.control.feedback_client import results_of
from serving.control.rollouts_client import RolloutsClient
from serving.demo.people import People, status_of
from serving.demo.story import LATELY_S, Look, arms_of
from serving.demo.train import MODEL
from serving.errors import SluiceError

_FINDINGS: Final = 20


class Eyes:
    """Looks; where somebody does not answer, what was said last stands, and who is silent is said.

    Args:
        control: the control API.
        trainer: the trainer's address.
        people: who asks.
        clock: seconds since 1970.
    """

    def __init__(
        self, control: ControlClient, trainer: str, people: People, clock: Callable[[], float] = time.time
    ) -> None:
        self._control, self._trainer, self._people, self._clock = control, trainer, people, clock
        self._drift, self._rollouts = DriftClient(control), RolloutsClient(control)
        self._known: dict[str, Any] = {}
        self._silent = ""

    def look(self, *, turned: bool) -> Look:
        """How everything stands now.

        Args:
            turned: whether people ask digits that are askew.
        """
        now_s, self._silent = self._clock(), ""
        stable, shares = self._asked("shares", self._shares, (0, {}))
        versions = self._asked("drift", self._drift.statuses, {"versions": []})["versions"]
        seen = next((one for one in versions if (one["model"], one["version"]) == (MODEL, stable)), None)
        episodes = tuple(self._asked("trainer", lambda: status_of(self._trainer), {"episodes": []})["episodes"])
        rollout = episodes[0]["rollout"] if episodes else ""
        return Look(
            now_s,
            turned,
            asked=self._people.asked,
            arms=arms_of(shares, self._people.answered(now_s - LATELY_S)),
            evidence={one["layer"]: (one["log_sum"], one["log_alarm"]) for one in seen["layers"]} if seen else {},
            windows=seen["windows"] if seen else 0,
            findings=self._asked("findings", self._findings, {}),
            episodes=episodes,
            rollout=self._asked("rollout", lambda: self._where(rollout), "") if rollout else "",
            results=self._asked("results", lambda: self._results(rollout), ()) if rollout else (),
            trouble=self._silent or self._people.trouble,
        )

    def _asked(self, name: str, ask: Callable[[], Any], nothing: Any) -> Any:  # noqa: ANN401 - whatever is asked
        try:
            self._known[name] = ask()
        except SluiceError as error:
            self._silent = str(error)
        return self._known.get(name, nothing)

    def _shares(self) -> tuple[int, Mapping[int, int]]:
        """The stable version, and parts per million by version."""
        policy = self._control.policy(MODEL)["policy"]
        return policy["stable"], shares_of(policy)

    def _findings(self) -> Mapping[str, str]:
        found = self._drift.findings(MODEL, _FINDINGS)["findings"]
        return {one["id"]: one["words"] for one in reversed(found)}

    def _where(self, rollout: str) -> str:
        return self._rollouts.rollout(rollout)["place"]

    def _results(self, rollout: str) -> tuple[str, ...]:
        return tuple(results_of(self._control, rollout)["words"])
