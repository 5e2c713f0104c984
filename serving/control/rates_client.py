"""The control API's path for a model's traffic, from the caller's side."""

from __future__ import annotations

from typing import TypedDict, cast

from serving.control.client import ControlClient, path_part


class LatelyAnswer(TypedDict):
    """How one version answered within the last ten seconds; no times where none was answered."""

    requests_per_s: float
    error_share: float
    p50_ms: float | None
    p99_ms: float | None


class RatesAnswer(TypedDict):
    """A model's traffic within the last ten seconds, by version; null where nothing is known yet."""

    model: str
    requests_per_s: float | None
    versions: dict[str, LatelyAnswer]


def rates_at(control: ControlClient, model: str) -> RatesAnswer:
    """How much a model is asked, and how its versions answer."""
    return cast("RatesAnswer", control.call("GET", f"models/{path_part(model)}/rates", RatesAnswer))


def blocks_at(control: ControlClient, rollout_id: str, version: int | None = None) -> list[str]:
    """What was recorded of a rollout's candidate, a line of JSON each, oldest first.

    Args:
        control: the connection.
        rollout_id: which.
        version: the candidate, where there are several.
    """
    params = [] if version is None else [("version", str(version))]
    path = f"rollouts/{path_part(rollout_id)}/blocks"
    return control.check(control.answer("GET", path, params=params)).text.splitlines()
