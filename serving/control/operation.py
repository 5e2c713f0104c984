"""One piece of long work as a value: what it is, how far it is, and how its kind is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

MOST_STEPS = 100
LONGEST_WORDS = 1_000
_LONGEST_SHOWN = 200

POOLS = frozenset({"deploy", "remove", "promote"})
"""Kinds of which each model has one unfinished at a time."""


class Further(str):
    """How far that is which is being done: a line in place of the one before, which becomes no step."""

    __slots__ = ()


class OperationState(StrEnum):
    """Where an operation is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED})


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an operation failed.

    Attributes:
        refusal: the name of a `serving.errors.Refusal` (its value), which has the HTTP status.
        sentence: what is wrong.
        hint: what to do about it; empty where the sentence says so.
    """

    refusal: str
    sentence: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One piece of long work.

    Attributes:
        id: names it.
        kind: `register`, `verify`, `import`, `deploy`, `remove` or `promote`.
        model: whose.
        version: of which version; None where that is not known yet.
        arguments: what else it was asked, as JSON can hold it. They may be large: a store keeps them beside the record
            until the operation ends, and only whoever runs it reads them; elsewhere they are empty.
        about: those of the arguments that are small; they stay with the record.
        state: where it is.
        words: what it is doing, in a line.
        steps: what it has done, oldest first.
        who: began it.
        why: the reason given.
        began_ms: when, milliseconds since 1970 by the store's clock.
        ended_ms: when it ended, None while it has not.
        known: what a later run of it, or whoever takes it back, must know of this one, as JSON can hold it.
        result: what came of it, as JSON can hold it; empty while it is not done.
        problem: why it failed. While it still runs: why it is being taken back.
        cancelled_by: who wants it ended; empty where nobody does.
        revision: raised by every change of the record.
    """

    id: str
    kind: str
    model: str
    version: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    state: OperationState = OperationState.WAITING
    words: str = ""
    steps: tuple[str, ...] = ()
    who: str = ""
    why: str = ""
    began_ms: int = 0
    ended_ms: int | None = None
    known: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    problem: Problem | None = None
    cancelled_by: str = ""
    revision: int = 0

    def __post_init__(self) -> None:
        if not self.about:
            object.__setattr__(self, "about", {name: one for name, one in self.arguments.items() if _is_small(one)})
        for name in ("arguments", "about", "known", "result"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        for name in ("words", "who", "why"):
            object.__setattr__(self, name, getattr(self, name)[:LONGEST_WORDS])

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def excludes(self) -> str:
        """What at most one unfinished operation may hold; empty where any number may run."""
        return f"pools of {self.model}" if self.kind in POOLS else ""

    def __str__(self) -> str:
        """'deploy of digits version 2'."""
        return f"{self.kind} of {self.model}" + ("" if self.version is None else f" version {self.version}")

    def saying(self, words: str, known: Mapping[str, Any] = MappingProxyType({})) -> Operation:
        """The same, doing this now, and knowing this as well; what it did before is a step, unless this is the same."""
        steps = (*self.steps, self.words) if self.words and not isinstance(words, Further) else self.steps
        return replace(self, words=words, steps=steps[-MOST_STEPS:], known={**self.known, **known})


def _is_small(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float) or (
        isinstance(value, str) and len(value) <= _LONGEST_SHOWN
    )  # fmt: skip


class Tell(Protocol):
    """Where a performer says how far it is."""

    async def __call__(self, words: str, /, **known: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Writes down what is being done now; what was said before becomes a step.

        Args:
            words: a line.
            known: what a later run, or whoever takes this one back, must know.
        """


Perform = Callable[[Operation, Tell], Awaitable[Mapping[str, Any]]]
"""Does it from the beginning, whatever was done before, and gives the result; raises a refusal where it cannot be."""

Check = Callable[[Operation], Awaitable[None]]
"""Raises what refuses the operation before it has begun."""


@dataclass(frozen=True, slots=True)
class Performer:
    """How one kind of operation is done.

    Attributes:
        perform: does it.
        check: refuses it before it has begun, so that the caller hears of it at once.
        undo: takes back what it has done, after it failed or was cancelled; it too may be run any number of times.
            Where all was done before it was cancelled, and stays, it gives the result.
    """

    perform: Perform
    check: Check | None = None
    undo: Perform | None = None
