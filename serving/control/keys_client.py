"""The control API's paths for keys, from the caller's side. The connection is `serving.control.client`'s."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict, cast

from serving.control.client import Acknowledged, ControlClient, path_part


class LimitsRow(TypedDict):
    """What a key may use up; None is not limited."""

    rate_per_s: float | None
    burst: int | None
    in_flight: int | None
    max_body: int | None


class KeyRow(TypedDict):
    """A key, without its secret."""

    id: str
    name: str
    role: str
    models: list[str] | None
    limits: LimitsRow
    state: str
    created_by: str
    created_at: str
    expires: str | None
    revoked_at: str | None


class KeysAnswer(TypedDict):
    """Keys by name."""

    keys: list[KeyRow]


class MadeAnswer(KeyRow):
    """A key that was made, with its secret, and which gateways know it."""

    key: str
    acknowledged: Acknowledged
    durable: bool
    took_ms: float


class RevokedAnswer(KeyRow):
    """A key that was taken back, and which gateways know; `durable` is None where it was taken back before."""

    acknowledged: Acknowledged
    durable: bool | None
    took_ms: float


class WhoAnswer(TypedDict):
    """Whoever asks."""

    id: str
    name: str
    kind: str
    role: str
    models: list[str] | None
    limits: LimitsRow
    expires: str | None


class KeysClient:
    """Calls for keys over one connection.

    Args:
        control: the connection.
    """

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    def create(self, body: Mapping[str, Any]) -> MadeAnswer:
        """A new key."""
        return cast("MadeAnswer", self._control.call("POST", "keys", MadeAnswer, json=dict(body)))

    def keys(self, *, ended: bool) -> KeysAnswer:
        """Those in force; with `ended` also those that were revoked or expired lately."""
        params = [("all", "true")] if ended else []
        return cast("KeysAnswer", self._control.call("GET", "keys", KeysAnswer, params=params))

    def revoke(self, key_id: str, *, why: str, force: bool, wait_s: float) -> RevokedAnswer:
        """Takes a key back, and waits for the gateways to know for so many seconds at most."""
        params = [("force", str(force).lower()), ("wait_s", f"{wait_s:g}")]
        path = f"keys/{path_part(key_id)}"
        answer = self._control.call("DELETE", path, RevokedAnswer, params=params, json={"why": why}, wait_s=wait_s)
        return cast("RevokedAnswer", answer)

    def whoami(self) -> WhoAnswer:
        """Who the API takes the caller for."""
        return cast("WhoAnswer", self._control.call("GET", "whoami", WhoAnswer))
