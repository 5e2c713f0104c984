"""The control API's paths for rollouts, from the caller's side.

Every change goes with the revision that was read, so that nobody overwrites what they have not seen; pausing and going
back are meant whatever happened meanwhile, and go with `*`. Every POST carries a key of its own and is sent once more
under the same key where the connection broke, so that it takes place once. The connection itself is
`serving.control.client`'s.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, TypedDict, cast

from serving.control.client import Acknowledged, ControlClient, path_part
from serving.errors import ControlError

ID_PREFIX = "ro_"
_ATTEMPTS = 2
_NOT_FOUND = 404


class RolloutRow(TypedDict):
    """A rollout at a glance; shares are what it gives, parts per million by version."""

    id: str
    model: str
    kind: str
    phase: str
    place: str
    stage: str | None
    stage_number: int
    stages: int
    automation: str
    revision: int
    candidate: int | None
    stable: int
    shares: dict[str, int]
    by_hand: bool
    over: bool
    cause: str
    created_by: str
    created_at: str


class RolloutAnswer(RolloutRow):
    """A rollout: where it stands, what keeps it there, and its plan (`docs/rollouts.md`)."""

    waits: list[str]
    next_stage: str | None
    next_step_s: float | None
    stage_s: float
    requests: dict[str, int]
    chosen: int | None
    advised: str
    approvals: list[dict[str, Any]]
    epochs: list[int]
    plan: dict[str, Any]
    gates: list[dict[str, Any]]
    webhooks: list[dict[str, Any]]


class RolloutsAnswer(TypedDict):
    """Rollouts, newest first."""

    rollouts: list[RolloutRow]


class RolloutChangeAnswer(TypedDict):
    """What a change made of a rollout, and who runs it by now; no policy changed where nobody had to acknowledge."""

    rollout: RolloutAnswer
    acknowledged: Acknowledged | None
    epoch: int | None
    took_ms: float
    notes: list[str]


class EntryRow(TypedDict):
    """An entry of the ledger."""

    id: str
    at: str
    kind: str
    who: str
    why: str
    facts: dict[str, Any]


class WhyAnswer(TypedDict):
    """What happened to a rollout: told, and as entries of the ledger, oldest first; more is newer than `next`."""

    story: list[str]
    entries: list[EntryRow]
    next: str | None


class LedgerAnswer(TypedDict):
    """Entries of the ledger, newest first; more is older than `next`."""

    entries: list[EntryRow]
    next: str | None


class StageRow(TypedDict):
    """One stage that a plan leads through, with its policy."""

    name: str
    does: str
    shares: dict[str, int]
    min_s: int
    min_requests: int
    needs: str
    approval: bool
    flip: bool
    policy: dict[str, Any]


class StagesAnswer(TypedDict):
    """Every stage in order, and what is left at the end; nothing was started."""

    stages: list[StageRow]
    plan: dict[str, Any]
    notes: list[str]


class StoppedAnswer(TypedDict):
    """What break glass did."""

    stopped: list[str]
    rolled_back: list[str]
    unread: list[str]
    epoch: int | None
    acknowledged: Acknowledged | None
    took_ms: float


class UnstoppedAnswer(TypedDict):
    """What may move again."""

    unstopped: list[str]


class RolloutsClient:
    """Calls for rollouts over one connection.

    Args:
        control: the connection.
    """

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    # Reading.

    def rollouts(self, model: str, limit: int) -> RolloutsAnswer:
        """A model's rollouts, newest first."""
        params = [("limit", str(limit))]
        answer = self._control.call("GET", f"models/{path_part(model)}/rollouts", RolloutsAnswer, params=params)
        return cast("RolloutsAnswer", answer)

    def every(self, limit: int, *, ended: bool) -> RolloutsAnswer:
        """The rollouts of all models: those under way, or all of them."""
        params = [("limit", str(limit)), *([("all", "true")] if ended else [])]
        return cast("RolloutsAnswer", self._control.call("GET", "rollouts", RolloutsAnswer, params=params))

    def rollout(self, rollout_id: str) -> RolloutAnswer:
        """One rollout."""
        path = f"rollouts/{path_part(rollout_id)}"
        return cast("RolloutAnswer", self._control.call("GET", path, RolloutAnswer))

    def find(self, name: str) -> RolloutAnswer:
        """The rollout that a name stands for: an id, or a model's newest, which is the active one where there is one.

        Raises:
            ControlError: there is none.
        """
        return self.rollout(self.named(name))

    def named(self, name: str) -> str:
        """The id of the rollout that a name stands for.

        Raises:
            ControlError: the model has had none; whether there is one of an id is not asked.
        """
        if name.startswith(ID_PREFIX):
            return name
        newest = self.newest(name)
        if newest is None:
            hint = "start one with `sluice rollout start`; `sluice rollout list --all` shows those of all models"
            raise ControlError(f"{name} has no rollout", hint, _NOT_FOUND)
        return newest["id"]

    def newest(self, model: str) -> RolloutRow | None:
        """A model's newest rollout at a glance, if it has had one."""
        return next(iter(self.rollouts(model, 1)["rollouts"]), None)

    def why(self, rollout_id: str) -> WhyAnswer:
        """What happened to it, oldest first, as a story and as entries: all of it, page by page."""
        path = f"rollouts/{path_part(rollout_id)}/why"
        told = cast("WhyAnswer", self._control.call("GET", path, WhyAnswer))
        while after := told["next"]:
            page = cast("WhyAnswer", self._control.call("GET", path, WhyAnswer, params=[("after", after)]))
            told = {
                "story": told["story"] + page["story"],
                "entries": told["entries"] + page["entries"],
                "next": page["next"],
            }
        return told

    def ledger(self, rollout_id: str, limit: int) -> LedgerAnswer:
        """The newest entries about a rollout."""
        params = [("rollout", rollout_id), ("limit", str(limit))]
        return cast("LedgerAnswer", self._control.call("GET", "ledger", LedgerAnswer, params=params))

    def stages(self, model: str, body: Mapping[str, Any]) -> StagesAnswer:
        """Every stage that starting this would lead through, with its policy; nothing is started."""
        path = f"models/{path_part(model)}/rollouts"
        return cast("StagesAnswer", self._post(path, StagesAnswer, body, params=[("dry_run", "true")]))

    # Changing.

    def start(self, model: str, body: Mapping[str, Any]) -> RolloutChangeAnswer:
        """Starts a rollout."""
        answer = self._post(f"models/{path_part(model)}/rollouts", RolloutChangeAnswer, body)
        return cast("RolloutChangeAnswer", answer)

    def ask(
        self, rollout_id: str, what: str, body: Mapping[str, Any], revision: int | None, *, force: bool = False
    ) -> RolloutChangeAnswer:
        """Pauses, resumes, approves, promotes, takes back or retries.

        Args:
            rollout_id: which.
            what: the last part of the path.
            body: beside the key.
            revision: the one that was seen; None for whatever it is.
            force: even if a version would get more than it carries.
        """
        path = f"rollouts/{path_part(rollout_id)}/{what}"
        answer = self._post(path, RolloutChangeAnswer, body, revision=revision, seen=True, params=_forced(force))
        return cast("RolloutChangeAnswer", answer)

    def set_shares(
        self, rollout_id: str, body: Mapping[str, Any], revision: int, *, force: bool = False
    ) -> RolloutChangeAnswer:
        """Gives arms other shares; `force` as above."""
        request: dict[str, Any] = {"json": dict(body), "headers": {"If-Match": f'"{revision}"'}}
        path = f"rollouts/{path_part(rollout_id)}"
        answer = self._control.call("PATCH", path, RolloutChangeAnswer, params=_forced(force), **request)
        return cast("RolloutChangeAnswer", answer)

    def stop(self, model: str | None, body: Mapping[str, Any]) -> StoppedAnswer:
        """Break glass for one model, or for all of them."""
        path = f"models/{path_part(model)}/stop" if model else "stop"
        return cast("StoppedAnswer", self._post(path, StoppedAnswer, body))

    def unstop(self, model: str | None, body: Mapping[str, Any]) -> UnstoppedAnswer:
        """Takes a stop back; traffic stays as it is."""
        path = f"models/{path_part(model)}/unstop" if model else "unstop"
        return cast("UnstoppedAnswer", self._post(path, UnstoppedAnswer, body))

    def _post(
        self,
        path: str,
        shape: Any,  # noqa: ANN401 - a TypedDict's class
        body: Mapping[str, Any],
        *,
        revision: int | None = None,
        seen: bool = False,
        params: list[tuple[str, str]] | None = None,
    ) -> dict[str, Any]:
        match = {"If-Match": "*" if revision is None else f'"{revision}"'} if seen else {}
        headers = {"Idempotency-Key": secrets.token_urlsafe(16), **match}
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._control.call("POST", path, shape, json=dict(body), headers=headers, params=params or [])
            except ControlError as error:
                if error.status is not None or attempt == _ATTEMPTS:
                    raise
        raise AssertionError


def _forced(force: bool) -> list[tuple[str, str]]:  # noqa: FBT001 - the one thing it is about
    return [("force", "true")] if force else []
