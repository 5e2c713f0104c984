"""Who else gets what workers hand over, once it was compared: the port of the payload log, and nothing else so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from router.agreement import Comparison
from serving.captured import Captured


@dataclass(frozen=True, slots=True)
class Disagreement:
    """What was found where a copy's answer is not the client's, by the rules.

    Attributes:
        version: of the copy.
        outputs: how each output differs: "values", "shape", "datatype", "missing" (from the copy's answer) or "extra".
    """

    version: int
    outputs: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """Somebody who gets everything that was handed over."""

    def take(self, captured: Captured, comparison: Comparison | None, found: Disagreement | None) -> None:
        """One more; it may be dropped and counted, but never waited for, and nothing is raised.

        Args:
            captured: what a worker handed over.
            comparison: the rules of its model; None where it has none.
            found: how a candidate's answer differs; None where none does, or where there is none.
        """

    def dropped(self) -> Mapping[str, int]:
        """What was not kept since the start, by the reason."""

    async def close(self) -> None:
        """Everything that was taken is where it belongs when this returns."""
