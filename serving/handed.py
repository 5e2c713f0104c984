"""How values are checked that a worker and its keeper hand each other in frames, and how what was handed over is read.

Whoever reads them is another process, maybe of another release: a value checks itself where it is built, on either
side, and whatever cannot be read is a ValueError. What the values are is `serving.captured`'s and `serving.noted`'s to
say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

ENCODER: Final = json.JSONEncoder(separators=(",", ":"), check_circular=False, allow_nan=False)
MOST: Final = 2**63
"""The largest number, where nothing smaller is asked for."""
_Value = TypeVar("_Value")


def told(read: Callable[[bytes], _Value], payload: bytes) -> _Value:
    """What is read from the payload of a frame.

    Raises:
        ValueError: whatever is wrong with it.
    """
    try:
        return read(payload)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(f"what was handed over is damaged: {error!r:.200}") from error


def object_of(raw: bytes) -> dict[str, Any]:
    """The JSON object that stands there.

    Raises:
        ValueError: something else does.
    """
    said = json.loads(raw)
    if not isinstance(said, dict):
        raise ValueError("what is handed over is a JSON object here")  # noqa: TRY004 (bad input, not a bad call)
    return said


def text(value: object, *, least: int = 0, most: int = MOST) -> str:
    """The value, if it is a text of so many characters.

    Raises:
        ValueError: it is not.
    """
    if type(value) is not str or not least <= len(value) <= most:
        raise ValueError(f"{value!r:.40} is no text of {least} to {most} characters")
    return value


def number(value: object, what: str, *, least: int = 0, most: int = MOST) -> None:
    """Passes a whole number within these bounds.

    Raises:
        ValueError: it is not that, which a sentence about `what` says.
    """
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r:.40} is not {what}: a whole number from {least} to {most}")


def seconds(value: object) -> None:
    """Passes a time, or how long something took.

    Raises:
        ValueError: it is neither.
    """
    if type(value) not in {int, float} or not 0 <= value < math.inf:  # type: ignore[operator]
        raise ValueError(f"{value!r:.40} is no time: it takes seconds, 0 or more")
