"""The settings file as plain values: YAML read safely, and mappings laid over each other.

Nothing here knows a key. What the values mean, and whether they are allowed, is left to `serving.settings`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from serving.errors import SettingsError


class _Loader(yaml.SafeLoader):
    """YAML's safe subset, in which a key that is given twice is an error rather than the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} is given twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def parse(text: str | bytes) -> Any:  # noqa: ANN401 - YAML holds anything
    """What a YAML text holds.

    Raises:
        yaml.YAMLError: it is no YAML, or a key is given twice.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader


def read(file: Path) -> dict[str, Any]:
    """The keys of a file. One that is empty has none.

    Raises:
        SettingsError: the file cannot be read, is no YAML, or holds something other than keys.
    """
    try:
        content = parse(file.read_bytes())
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise SettingsError(f"{file} is no YAML: {_problem(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{file} holds no keys at its top level: it takes lines such as 'gateway:'")
    # An empty section ('gateway:' and nothing below it) is how people leave a section for later.
    return {str(key): value for key, value in content.items() if value is not None}


def _problem(error: Exception) -> str:
    """Where and what, without the line itself: it may hold a password."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}: {error.problem}"
    return "it is nested too deep" if isinstance(error, RecursionError) else "it holds bytes that are no text"


def nested(overrides: Mapping[str, object]) -> dict[str, Any]:
    """{'listen': {'http_port': 0}} from {'listen.http_port': 0}."""
    result: dict[str, Any] = {}
    for key, value in overrides.items():
        if value is not None:
            *sections, leaf = key.split(".")
            within = {leaf: value}
            for section in reversed(sections):
                within = {section: within}
            result = merged(result, within)
    return result


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; where both give a value, the second's."""
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[key] = merged(below, value)
        else:
            result[key] = value
    return result
