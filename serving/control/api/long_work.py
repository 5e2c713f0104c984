"""Paths whose work is an operation: it is begun, waited for as long as the caller likes, and answered as it then is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query, Response

from router.policy import LARGEST_VERSION
from serving.control.api.asked import JSON_ONLY, WaitS, Who
from serving.control.api.operations import LONG, LONG_AND_MADE, answered
from serving.control.api.workshop import TheOperations
from serving.control.operations import Operations

Number = Annotated[int, Path(ge=1, le=LARGEST_VERSION, examples=[3])]
"""The version in a path."""

BEGINS: Final[dict[str, Any]] = {
    "status_code": HTTPStatus.ACCEPTED,
    "responses": {**LONG},
    "dependencies": [JSON_ONLY],
}
"""How such a path is declared."""

BEGINS_AND_MAKES: Final[dict[str, Any]] = {**BEGINS, "responses": {**LONG_AND_MADE}}
"""The same for one that makes something."""


@dataclass(frozen=True, slots=True)
class LongWork:
    """Long work that somebody asks for.

    Attributes:
        operations: who does it.
        who: asks.
        wait_s: for its end, seconds.
    """

    operations: Operations
    who: str
    wait_s: float

    async def begun(
        self, kind: str, model: str, version: int | None, arguments: Mapping[str, Any], why: str
    ) -> Response:
        """The answer, once the operation has begun and, within `wait_s`, ended."""
        operation = await self.operations.begin(kind, model, version, arguments, who=self.who, why=why)
        return await answered(self.operations, operation, self.wait_s)


def _work(
    operations: TheOperations,
    who: Who,
    wait_s: Annotated[WaitS, Query(description="for its end, seconds; 202 where it goes on after that")] = 0.0,
) -> LongWork:
    return LongWork(operations, who, wait_s)


Work = Annotated[LongWork, Depends(_work)]
