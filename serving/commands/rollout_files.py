"""Files of rollouts: `rollout.yaml`, or the same as JSON, or standard input."""

import os
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from serving.errors import SettingsError

if TYPE_CHECKING:
    from serving.control.rolling.document import Document

_HINT = "the file's JSON Schema is docs/rollout.schema.json; what each key means is in docs/rollouts.md"


def read_rollout(path: Path) -> dict[str, Any]:
    """The plain values that a file holds, with the secrets that it takes from variables; '-' is standard input.

    Raises:
        BadParameter: there is no such file.
        SettingsError: it is no YAML, holds something other than keys, or names a variable that is not set.
    """
    import yaml  # noqa: PLC0415 - slow to import, as all below

    from router.errors import PlanError  # noqa: PLC0415
    from serving.control.rolling.document import with_secrets  # noqa: PLC0415
    from serving.document import parse  # noqa: PLC0415

    try:
        said = parse(sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise SettingsError(f"{path} is no YAML: {_problem(error)}", _HINT) from None
    if not isinstance(said, dict):
        raise SettingsError(f"{path} holds no rollout: it takes keys such as 'model:' and 'canary:'", _HINT)
    try:
        return cast("dict[str, Any]", with_secrets(_plain(said), os.environ))
    except PlanError as error:
        raise SettingsError(f"{path} cannot be used: {error}", "set it, and run the command again") from error


def checked(said: dict[str, Any], where: str) -> "Document":
    """The rollout that these values ask for.

    Raises:
        SettingsError: they ask for none; names every mistake.
    """
    from router.errors import PlanError  # noqa: PLC0415
    from serving.control.rolling.document import document_from  # noqa: PLC0415

    try:
        return document_from(said)
    except PlanError as error:
        mistakes = str(error).split("; ")
        count = "a mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise SettingsError(f"{where} is no rollout that can be started: {count}", _HINT, mistakes) from error


def _problem(error: Exception) -> str:
    """Where and what, without the line itself: it may hold a secret."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark and problem:
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return "it is nested too deep" if isinstance(error, RecursionError) else "it holds what is no text"


def _plain(value: Any) -> Any:  # noqa: ANN401 - YAML holds anything
    """As JSON would have it: YAML reads dates that nobody marked as such."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, date) else value
