"""Which output of a model gateways count by version, and how they read it.

Whether the versions answer alike is judged elsewhere (`router.verdicts`); gateways only count, and only while somebody
compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from router.errors import PolicyError

LONGEST_OUTPUT: Final = 256


class Reading(StrEnum):
    """What the first element of an output is taken for."""

    CLASS = "class"
    """The most likely of a row of numbers, or the number or text that it is."""
    SCORE = "score"
    """A number, by the bucket that it falls into."""


@dataclass(frozen=True, slots=True)
class Observed:
    """One output.

    Attributes:
        output: its name, as the model has it.
        kind: how it is read.
    """

    output: str
    kind: Reading = Reading.CLASS

    def __post_init__(self) -> None:
        if not isinstance(self.output, str) or not 1 <= len(self.output) <= LONGEST_OUTPUT:
            raise PolicyError(f"{self.output!r:.60} is no name of an output: it has 1 to {LONGEST_OUTPUT} characters")
        if not self.output.isprintable():
            raise PolicyError("the name of an output has printable characters only")
        if not isinstance(self.kind, Reading):
            raise PolicyError(f"an output is read as {' or '.join(Reading)}, not as {self.kind!r:.60}")
