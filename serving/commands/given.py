"""What a person types after an option, as values: pairs, numbers, files of JSON, places; wrong usage is told."""

import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import typer

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,3})?)\s*([A-Za-z]*)", re.ASCII)
_UNITS = MappingProxyType({"": 1, "b": 1} | {f"{letter}{tail}": step**power for power, letter in enumerate("kmgt", 1)
                           for tail, step in (("", 1_000), ("b", 1_000), ("i", 1_024), ("ib", 1_024))})  # fmt: skip

_Value = TypeVar("_Value")


class _UnsendableError(ValueError):
    """It reads as JSON, and cannot be sent as JSON."""


def pairs(option: str, texts: Iterable[str], value: Callable[[str], _Value]) -> dict[str, _Value]:
    """'name=value' texts as a mapping.

    Args:
        option: as it was typed, for the sentence.
        texts: what followed it, each time.
        value: reads the part after the equals sign; a ValueError says why it cannot.

    Raises:
        BadParameter: one is no pair, or no text, or a name is there twice.
    """
    found: dict[str, _Value] = {}
    for text in texts:
        name, equals, said = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option} {text!r} is not of the form NAME=VALUE")
        if name in found:
            raise typer.BadParameter(f"{option} names {name} twice")
        try:
            _sendable(text)
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


def size(option: str, text: str | None) -> int | None:
    """Bytes from '65536', '64KiB' or '1MB' (a million); None where nothing was given.

    Raises:
        BadParameter: it is no size.
    """
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    bytes_ = float(found[1]) * _UNITS[found[2].lower()] if found and found[2].lower() in _UNITS else 0.0
    if bytes_ < 1 or not bytes_.is_integer():
        raise typer.BadParameter(f"{option} {text!r} is no size: write it like 65536, 64KiB or 1MB")
    return int(bytes_)


def scalar(text: str) -> Any:  # noqa: ANN401 - whatever JSON says that it is
    """A number, true or false where it reads as one, else the text; NaN and the infinities are refused."""
    value = setting(text)
    return value if isinstance(value, bool | int | float) else text


def setting(text: str) -> Any:  # noqa: ANN401 - as above
    """What JSON says, such as 3, true, [4,8] or null, else the text; NaN and the infinities are refused."""
    try:
        return _read(text)
    except _UnsendableError:
        raise
    except (ValueError, RecursionError):
        return text


def json_file(option: str, path: Path | None) -> Any:  # noqa: ANN401 - as above
    """What a file of JSON holds; None where none is named.

    Raises:
        BadParameter: it cannot be read.
    """
    if path is None:
        return None
    try:
        return _read(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{option} {path} cannot be read as JSON: {error}") from error


def place(text: str) -> str:
    """An address as it is; a path begins where the command is typed, whether or not that machine is the server's.

    Raises:
        BadParameter: it is no text.
    """
    try:
        _sendable(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from error
    return text if _ADDRESS.match(text) else str(Path(text).expanduser().absolute())


def _read(text: str | bytes) -> Any:  # noqa: ANN401 - whatever JSON says that it is
    value = json.loads(text)
    _sendable(value)
    return value


def _sendable(value: object) -> None:
    """Refuses what Python reads from JSON, and no JSON may hold."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _UnsendableError("it holds half a character (a lone surrogate), which is no text") from error
    except ValueError as error:
        raise _UnsendableError("it holds NaN or an infinity, which is no number") from error
