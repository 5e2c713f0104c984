"""What a person types after an option, as values: pairs, numbers, files of JSON, places; wrong usage is told."""

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import typer

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

_Value = TypeVar("_Value")


def pairs(option: str, texts: Iterable[str], value: Callable[[str], _Value]) -> dict[str, _Value]:
    """'name=value' texts as a mapping.

    Args:
        option: as it was typed, for the sentence.
        texts: what followed it, each time.
        value: reads the part after the equals sign; a ValueError says why it cannot.

    Raises:
        BadParameter: one is no pair, or a name is there twice.
    """
    found: dict[str, _Value] = {}
    for text in texts:
        name, equals, said = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option} {text!r} is not of the form NAME=VALUE")
        if name in found:
            raise typer.BadParameter(f"{option} names {name} twice")
        try:
            found[name] = value(said)
        except ValueError as error:
            raise typer.BadParameter(f"{option} {text!r}: {error}") from error
    return found


def figure(text: str) -> float:
    """A finite number."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is no number")
    return number


def scalar(text: str) -> Any:  # noqa: ANN401 - whatever JSON says that it is
    """A number, true or false where it reads as one, else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) and value not in (math.inf, -math.inf) else text


def setting(text: str) -> Any:  # noqa: ANN401 - as above
    """What JSON says, such as 3, true, [4,8] or null, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def json_file(option: str, path: Path | None) -> Any:  # noqa: ANN401 - as above
    """What a file of JSON holds; None where none is named.

    Raises:
        BadParameter: it cannot be read.
    """
    if path is None:
        return None
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{option} {path} cannot be read as JSON: {error}") from error


def place(text: str) -> str:
    """An address as it is; a path begins where the command is typed, whether or not that machine is the server's."""
    return text if _ADDRESS.match(text) else str(Path(text).expanduser().absolute())
