"""How a change becomes true: read, decide, write if the model stands where it stood, and again if others came first.

Two callers who want the same thing cannot both get it, because the decision looks at the revision that each of them
named. Callers who want different things never meet: the model's revision is one, so one of two commits fails, but it
is decided and tried again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from registry.changes import Answer, Change, Facts
from registry.errors import Contended
from registry.models import ModelName, VersionNumber

_ATTEMPTS = 100
_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.05

NOTHING_TO_DO = Answer(done=True)

Decided = TypeVar("Decided", bound=Change | None)


class Commits(Protocol):
    """Where changes are decided from, and written."""

    async def facts(self, model: ModelName, numbers: Iterable[VersionNumber] = ()) -> Facts:
        """What is held of the model and of these versions, at one moment."""

    async def commit(self, change: Change) -> Answer:
        """Writes all of a change if the model is still at the expected revision, else nothing."""


async def commit(store: Commits, model: ModelName, decide: Callable[[], Awaitable[Decided]]) -> tuple[Decided, Answer]:
    """What was decided last, once it is written; a decision of None is that there is nothing to write.

    Raises:
        Contended: other changes of the model came in between a hundred times.
        RegistryError: whatever `decide` raises; nothing was written then.
    """
    for attempt in range(_ATTEMPTS):
        decided = await decide()
        answer = NOTHING_TO_DO if decided is None else await store.commit(decided)
        if answer.done:
            return decided, answer
        await asyncio.sleep(_pause_s(attempt))
    raise Contended(
        f"The change to {model} was tried {_ATTEMPTS} times, and another one came first each time.",
        "Try again in a moment.",
    )


async def facts_with_newest(store: Commits, model: ModelName, numbers: Iterable[VersionNumber]) -> Facts:
    """The facts of these versions and of the newest one, at one moment."""
    asked = tuple(numbers)
    facts = await store.facts(model, asked)
    while facts.newest and facts.newest not in facts.standings:
        facts = await store.facts(model, (*asked, VersionNumber(facts.newest)))
    return facts


def _pause_s(attempt: int) -> float:
    longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(attempt, 10))
    return random.uniform(0, longest)  # noqa: S311 - spreads competitors out, keeps no secret
