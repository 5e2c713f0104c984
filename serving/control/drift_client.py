"""The control API's paths for drift, from the caller's side."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any, TypedDict, cast

from serving.control.client import ControlClient, path_part

_UPLOAD_S = 60.0
_LOOK_S = 1.0
_BEGINNING = "0-0"


class StatusAnswer(TypedDict):
    """How one version is watched."""

    model: str
    version: int
    sentence: str
    drifting: bool
    told: str
    baseline: str
    learned: bool
    learning: int | None
    learn_rows: int
    backend: str
    rows: int
    windows: int
    heard: str | None
    rows_under_way: int
    rows_wanted: int
    layers: list[dict[str, Any]]
    strata: str
    episode: dict[str, Any] | None
    samples: dict[str, int]
    encoders: list[str]


class StatusesAnswer(TypedDict):
    """How each version is watched."""

    versions: list[StatusAnswer]


class FindingAnswer(TypedDict):
    """One layer's alarm."""

    id: str
    at: str
    words: str
    model: str
    version: int
    layer: str
    statistic: str
    value: float
    threshold: float
    p_value: float
    log_sum: float
    log_alarm: float
    first: str
    last: str
    rows: int
    since: str
    episode: str
    features: list[dict[str, Any]]
    segment: dict[str, Any] | None
    breaks: list[dict[str, str]]


class FindingsAnswer(TypedDict):
    """Findings."""

    findings: list[FindingAnswer]


class BaselineAnswer(TypedDict):
    """What a version is held against."""

    model: str
    version: int
    digest: str
    size_bytes: int
    rows: int
    learned: bool
    made: str
    kept_by: str
    again: bool


class BaselinesAnswer(TypedDict):
    """What versions are held against."""

    baselines: list[BaselineAnswer]


class SeenAnswer(TypedDict):
    """One version: how it is watched, its windows, its newest findings."""

    model: str
    version: int
    status: StatusAnswer | None
    baseline: BaselineAnswer | None
    windows: list[dict[str, Any]]
    findings: list[FindingAnswer]


class DriftClient:
    """Drift, as that control API knows it.

    Args:
        control: the connection.
    """

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    def statuses(self) -> StatusesAnswer:
        """How each version is watched.

        Raises:
            ControlError: as for every call here: no answer, a refusal, or somebody else at that address.
        """
        return cast("StatusesAnswer", self._control.call("GET", "drift", StatusesAnswer))

    def baselines(self) -> BaselinesAnswer:
        """What versions are held against."""
        return cast("BaselinesAnswer", self._control.call("GET", "drift/baselines", BaselinesAnswer))

    def seen(self, model: str, version: int, findings: int = 5) -> SeenAnswer:
        """One version, with so many of its newest findings."""
        path = _version_path(model, version)
        return cast("SeenAnswer", self._control.call("GET", path, SeenAnswer, params={"findings": findings}))

    def findings(self, model: str | None, limit: int) -> FindingsAnswer:
        """The newest findings, newest first."""
        params = {"limit": str(limit), **({} if model is None else {"model": model})}
        return cast("FindingsAnswer", self._control.call("GET", "drift/findings", FindingsAnswer, params=params))

    def finding(self, finding_id: str) -> FindingAnswer:
        """One finding."""
        path = f"drift/findings/{path_part(finding_id)}"
        return cast("FindingAnswer", self._control.call("GET", path, FindingAnswer))

    def keep(self, model: str, version: int, blob: bytes, why: str) -> BaselineAnswer:
        """Brings what that version is to be held against."""
        body = {"blob": base64.b64encode(blob).decode(), "why": why}
        path = f"{_version_path(model, version)}/baseline"
        answer = self._control.call("PUT", path, BaselineAnswer, json=body, wait_s=_UPLOAD_S)
        return cast("BaselineAnswer", answer)

    def drop(self, model: str, version: int, why: str) -> None:
        """Forgets what that version is held against."""
        path = f"{_version_path(model, version)}/baseline"
        self._control.check(self._control.answer("DELETE", path, params={"why": why}))

    def coming(self, model: str | None, pause: Callable[[float], None]) -> Iterator[FindingAnswer]:
        """Findings as they come, from now on; without end.

        Args:
            model: only those of this model; None for all.
            pause: waits so many seconds.
        """
        newest = self.findings(None, 1)["findings"]
        after = newest[0]["id"] if newest else _BEGINNING
        while True:
            found = self._after(after)
            for one in found:
                after = one["id"]
                if model in (None, one["model"]):
                    yield one
            if not found:
                pause(_LOOK_S)

    def _after(self, after: str) -> list[FindingAnswer]:
        params = {"after": after, "limit": "200"}
        answer = self._control.call("GET", "drift/findings", FindingsAnswer, params=params)
        return cast("FindingsAnswer", answer)["findings"]


def _version_path(model: str, version: int) -> str:
    return f"drift/models/{path_part(model)}/versions/{version}"
