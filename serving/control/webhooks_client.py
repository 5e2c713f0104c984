"""The control API's paths for deliveries to webhooks, from the caller's side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypedDict, cast

from serving.control.client import ControlClient, path_part

_LOOK_S: Final = 0.25
_FETCH_S: Final = 120.0


class AttemptAnswer(TypedDict):
    """What came of one attempt."""

    id: str
    at: str
    hook: str
    type: str
    became: str
    failed: str
    took_s: float


class WaitingAnswer(TypedDict):
    """A delivery that waits."""

    id: str
    type: str
    next: str
    tries: int


class DeadAnswer(TypedDict):
    """A delivery that was given up."""

    id: str
    type: str
    at: str
    tries: int
    hook: str
    failed: str


class DeliveriesAnswer(TypedDict):
    """All of them at a glance."""

    webhooks: list[dict[str, Any]]
    waiting: list[WaitingAnswer]
    dead: list[DeadAnswer]
    tried: list[AttemptAnswer]
    dropped: int
    dropped_dead: int


class DeliveryAnswer(TypedDict):
    """One delivery, with its message."""

    id: str
    type: str
    message: dict[str, Any]
    waiting: WaitingAnswer | None
    dead: DeadAnswer | None
    attempts: list[AttemptAnswer]


class _Replayed(TypedDict):
    became: dict[str, str]


class _Told(TypedDict):
    ids: list[str]


class WebhooksClient:
    """Deliveries, as that control API knows them.

    Args:
        control: the connection.
    """

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    def seen(self, limit: int) -> DeliveriesAnswer:
        """All of them, of each list at most so many.

        Raises:
            ControlError: as for every call here: no answer, a refusal, or somebody else at that address.
        """
        answer = self._control.call("GET", "drift/webhooks", DeliveriesAnswer, params={"limit": limit})
        return cast("DeliveriesAnswer", answer)

    def delivery(self, message: str) -> DeliveryAnswer:
        """One of them, by its `webhook-id`."""
        path = f"drift/webhooks/{path_part(message)}"
        return cast("DeliveryAnswer", self._control.call("GET", path, DeliveryAnswer))

    def replay(self, message: str | None, why: str) -> dict[str, str]:
        """Has one told once more, or for None every dead letter; what came of each."""
        path = "drift/webhooks/replay" if message is None else f"drift/webhooks/{path_part(message)}/replay"
        answer = self._control.call("POST", path, _Replayed, json={"why": why})
        return cast("_Replayed", answer)["became"]

    def test(self, to: str) -> Sequence[str]:
        """Has webhooks of the settings told a test; the deliveries' ids."""
        return cast("_Told", self._control.call("POST", "drift/webhooks/test", _Told, json={"to": to}))["ids"]

    def outcomes(
        self, ids: Sequence[str], wait_s: float, pause: Callable[[float], None] = time.sleep
    ) -> dict[str, AttemptAnswer | None]:
        """What came of the first attempt at each, once there is one; None where there was none in that time."""
        until_s = time.monotonic() + wait_s
        found: dict[str, AttemptAnswer | None] = dict.fromkeys(ids)
        while any(one is None for one in found.values()) and time.monotonic() < until_s:
            tried = {one["id"]: one for one in self.seen(1_000)["tried"]}
            found = {message: tried.get(message) for message in ids}
            pause(_LOOK_S)
        return found

    def window(self, episode: str) -> bytes:
        """The rows of an episode, as Parquet."""
        path = f"drift/episodes/{path_part(episode)}/window.parquet"
        return self._control.check(self._control.answer("GET", path, wait_s=_FETCH_S)).content
