"""The control API's paths for models and long work, from the caller's side.

What is long is begun and then watched (`watch`); how it went is an exception where it failed, as everywhere here. The
connection, and every way it can fail, is `serving.control.client`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, cast

from serving.control.client import ControlClient, path_part
from serving.errors import ControlError

_MOST_IN_PAGE = 10_000
_WATCHED_S = 1.0
_NOT_FOUND = 404
_SILENT = frozenset({None, 503})
_SILENCES = 60


class Cancelled(ControlError):  # noqa: N818 - named after what happened
    """Somebody cancelled the operation: it is not to be begun again unless somebody wants it."""


class OperationProblem(TypedDict):
    """Why an operation failed."""

    refusal: str
    detail: str
    hint: str


class OperationAnswer(TypedDict):
    """One piece of long work."""

    id: str
    kind: str
    model: str
    version: int | None
    state: str
    words: str
    steps: list[str]
    who: str
    why: str
    began_at: str
    ended_at: str | None
    result: dict[str, Any]
    problem: OperationProblem | None
    cancelled_by: str


class OperationsAnswer(TypedDict):
    """Operations, newest first."""

    operations: list[OperationAnswer]


class ModelRow(TypedDict):
    """A model of the registry."""

    name: str
    versions: int
    newest: int
    aliases: dict[str, int]


class ModelsAnswer(TypedDict):
    """A page of models."""

    models: list[ModelRow]
    next: str | None


class VersionRow(TypedDict):
    """A version at a glance."""

    version: int
    state: str
    kind: str
    artifact_digest: str
    registered_by: str
    registered_at: str
    metrics: dict[str, float]


class VersionsAnswer(TypedDict):
    """A page of versions, the newest first, and all aliases of the model."""

    model: str
    versions: list[VersionRow]
    aliases: dict[str, int]
    next: int | None


class VersionAnswer(TypedDict):
    """A version."""

    model: str
    version: int
    state: str
    revision: int
    aliases: list[str]
    registered_by: str
    registered_at: str
    artifact: dict[str, Any]
    signature: dict[str, Any]
    data: dict[str, Any] | None
    parameters: dict[str, Any]
    metrics: dict[str, float]
    parent: int | None
    code_revision: str
    baseline_digest: str | None
    tags: dict[str, str]


class AliasAnswer(TypedDict):
    """What a name stands for."""

    alias: str
    version: int
    revision: int


class DifferenceRow(TypedDict):
    """One thing that differs."""

    name: str
    before: Any
    after: Any
    change: float | None


class DiffAnswer(TypedDict):
    """What differs between two versions."""

    model: str
    before: int
    after: int
    differs: bool
    parameters: list[DifferenceRow]
    metrics: list[DifferenceRow]
    data: list[DifferenceRow]
    made_of: list[DifferenceRow]
    tags: list[DifferenceRow]
    signature: list[DifferenceRow]
    objections: list[str]


class ModelsClient:
    """Calls for models and long work over one connection.

    Args:
        control: the connection.
    """

    def __init__(self, control: ControlClient) -> None:
        self._control = control

    # Reading.

    def models(self, limit: int) -> ModelsAnswer:
        """The first models by name."""
        params = [("limit", str(limit))]
        return cast("ModelsAnswer", self._control.call("GET", "registry/models", ModelsAnswer, params=params))

    def versions(self, model: str, limit: int) -> VersionsAnswer:
        """The newest versions of a model."""
        params = [("limit", str(min(limit, _MOST_IN_PAGE)))]
        path = f"{_registered(model)}/versions"
        return cast("VersionsAnswer", self._control.call("GET", path, VersionsAnswer, params=params))

    def version(self, model: str, version: str) -> VersionAnswer:
        """A version, by its number or an alias."""
        return cast("VersionAnswer", self._control.call("GET", _version(model, version), VersionAnswer))

    def number(self, model: str, version: str) -> int:
        """The number of a version that is named by number or by alias; a number is not looked up."""
        return int(version) if version.isascii() and version.isdigit() else self.version(model, version)["version"]

    def config(self, model: str, version: str) -> str:
        """The config.pbtxt that a version is served with."""
        return self._control.check(self._control.answer("GET", f"{_version(model, version)}/config")).text

    def diff(self, model: str, before: str, after: str) -> DiffAnswer:
        """What differs between two versions."""
        params = [("before", before), ("after", after)]
        return cast("DiffAnswer", self._control.call("GET", f"{_registered(model)}/diff", DiffAnswer, params=params))

    # Changing at once.

    def move(self, model: str, version: int, event: str, why: str) -> VersionAnswer:
        """Archives or restores a version."""
        path = f"{_version(model, str(version))}/{event}"
        return cast("VersionAnswer", self._control.call("POST", path, VersionAnswer, json={"why": why}))

    def delete(self, model: str, version: int, why: str) -> None:
        """Deletes a version that was put away."""
        params = [("why", why)]
        self._control.check(self._control.answer("DELETE", _version(model, str(version)), params=params))

    def point(self, model: str, alias: str, version: int, why: str) -> AliasAnswer:
        """Puts an alias on a version, if it is still where it was when this began."""
        headers = {"If-Match": f'"{self._revision(model, alias)}"'}
        body = {"version": version, "why": why}
        path = _alias(model, alias)
        return cast("AliasAnswer", self._control.call("PUT", path, AliasAnswer, json=body, headers=headers))

    def unpoint(self, model: str, alias: str, why: str) -> None:
        """Takes an alias away, if it is still where it was when this began."""
        there = self._control.call("GET", _alias(model, alias), AliasAnswer)
        headers = {"If-Match": f'"{there["revision"]}"'}
        params = [("why", why)]
        self._control.check(self._control.answer("DELETE", _alias(model, alias), params=params, headers=headers))

    # Long work.

    def register(self, model: str, body: Mapping[str, Any]) -> OperationAnswer:
        """Begins to register a version."""
        return self._begun(f"{_registered(model)}/versions", body)

    def verify(self, model: str, version: int, body: Mapping[str, Any]) -> OperationAnswer:
        """Begins to read and try a version again."""
        return self._begun(f"{_version(model, str(version))}/verify", body)

    def bring_over(self, model: str, body: Mapping[str, Any]) -> OperationAnswer:
        """Begins to import a version from somebody else's registry."""
        return self._begun(f"{_registered(model)}/import", body)

    def deploy(self, model: str, version: int, body: Mapping[str, Any]) -> OperationAnswer:
        """Begins to start servers for a version."""
        return self._begun(f"models/{path_part(model)}/versions/{version}/deploy", body)

    def remove(self, model: str, version: int, body: Mapping[str, Any]) -> OperationAnswer:
        """Begins to take a version's servers away."""
        return self._begun(f"models/{path_part(model)}/versions/{version}/remove", body)

    def promote(self, model: str, body: Mapping[str, Any]) -> OperationAnswer:
        """Begins to give a version all of the traffic."""
        return self._begun(f"models/{path_part(model)}/promote", body)

    def operations(self, model: str | None, limit: int) -> OperationsAnswer:
        """The newest long work."""
        params = [("limit", str(limit)), *([("model", model)] if model else [])]
        return cast("OperationsAnswer", self._control.call("GET", "operations", OperationsAnswer, params=params))

    def operation(self, operation_id: str, wait_s: float = 0.0) -> OperationAnswer:
        """One piece of long work, after waiting for its end for that many seconds at most."""
        params = [("wait_s", f"{wait_s:g}")]
        path = f"operations/{path_part(operation_id)}"
        answer = self._control.call("GET", path, OperationAnswer, params=params, wait_s=wait_s)
        return cast("OperationAnswer", answer)

    def cancel(self, operation_id: str) -> OperationAnswer:
        """Asks for the end of long work."""
        path = f"operations/{path_part(operation_id)}"
        return cast("OperationAnswer", self._control.call("DELETE", path, OperationAnswer))

    def watch(self, begun: OperationAnswer, tell: Callable[[str], None]) -> OperationAnswer:
        """The operation once it is done.

        Args:
            begun: as it was when it began.
            tell: hears each new line on what it is doing.

        Raises:
            Cancelled: somebody cancelled it.
            ControlError: it failed.
        """
        before, now = None, begun
        while True:
            for line in _new_lines(before, now):
                tell(line)
            if now["state"] not in {"waiting", "running"}:
                return _done(now)
            before, now = now, self._looked_at(now["id"], tell)

    def _looked_at(self, operation_id: str, tell: Callable[[str], None]) -> OperationAnswer:
        """The operation, after some silence if need be: a control room that comes back goes on with it."""
        for _ in range(_SILENCES):
            try:
                return self.operation(operation_id, _WATCHED_S)
            except ControlError as error:
                if error.status not in _SILENT:
                    raise
                tell(f"waiting for the control room ({error.sentence})")
                time.sleep(_WATCHED_S)
        return self.operation(operation_id)

    def _begun(self, path: str, body: Mapping[str, Any]) -> OperationAnswer:
        return cast("OperationAnswer", self._control.call("POST", path, OperationAnswer, json=dict(body)))

    def _revision(self, model: str, alias: str) -> int:
        try:
            return int(self._control.call("GET", _alias(model, alias), AliasAnswer)["revision"])
        except ControlError as error:
            if error.status == _NOT_FOUND:
                return 0
            raise


def _new_lines(before: OperationAnswer | None, now: OperationAnswer) -> list[str]:
    """What was said since: the record keeps its last steps only, and begins anew when the operation does."""
    known, said = (before["steps"], before["words"]) if before else ([], "")
    # As few as possible have been forgotten at the front; where nothing fits, all of it is new.
    kept = next(known[gone:] for gone in range(len(known) + 1) if now["steps"][: len(known) - gone] == known[gone:])
    steps = now["steps"][len(kept) :]
    heard = bool(said) and steps[:1] == [said]  # while it was being done
    words = [now["words"]] if now["words"] and (steps or now["words"] != said) else []
    return [*steps[heard:], *words]


def _done(operation: OperationAnswer) -> OperationAnswer:
    problem = operation["problem"]
    if problem is not None:
        raise ControlError(problem["detail"], problem["hint"], None, operation["problem"])
    if operation["state"] != "done":
        raise Cancelled(f"{operation['cancelled_by'] or 'somebody'} cancelled it", "begin it again if you want it")
    return operation


def _registered(model: str) -> str:
    return f"registry/models/{path_part(model)}"


def _version(model: str, version: str) -> str:
    return f"{_registered(model)}/versions/{path_part(version)}"


def _alias(model: str, alias: str) -> str:
    return f"{_registered(model)}/aliases/{path_part(alias)}"
