"""The life of a registered version: every state, every event and every move. A pair that is absent is refused.

    registered ─verify→ verified ─serve→ serving ─archive→ archived ─delete→ gone

`registered` means that the bytes are in the store and nobody has looked at them; `verified`, that they loaded,
answered the example and matched the signature; `serving`, that a pool may run them. `gone` is a number that stays
taken: what it once named is deleted, and nothing else will ever be called that.

Who may ask for a move, and who uses a version, is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from registry.errors import Unacceptable


class State(StrEnum):
    """Where a version is in its life."""

    REGISTERED = "registered"
    VERIFIED = "verified"
    SERVING = "serving"
    ARCHIVED = "archived"
    GONE = "gone"


class Event(StrEnum):
    """What can happen to it."""

    VERIFY = "verify"
    SERVE = "serve"
    WITHDRAW = "withdraw"
    ARCHIVE = "archive"
    RESTORE = "restore"
    DELETE = "delete"


MOVES: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.REGISTERED, Event.VERIFY): State.VERIFIED,
        (State.VERIFIED, Event.SERVE): State.SERVING,
        (State.SERVING, Event.WITHDRAW): State.VERIFIED,
        (State.REGISTERED, Event.ARCHIVE): State.ARCHIVED,
        (State.VERIFIED, Event.ARCHIVE): State.ARCHIVED,
        (State.SERVING, Event.ARCHIVE): State.ARCHIVED,
        # It has been out of sight, so it is looked at again before it serves.
        (State.ARCHIVED, Event.RESTORE): State.REGISTERED,
        (State.REGISTERED, Event.DELETE): State.GONE,
        (State.ARCHIVED, Event.DELETE): State.GONE,
    }
)

TAKES_AWAY = frozenset({Event.ARCHIVE, Event.DELETE})
"""What is refused while somebody uses the version."""

CAN_BE_NAMED = frozenset({State.REGISTERED, State.VERIFIED, State.SERVING})
"""What an alias may point at."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A version's state, and the model's revision at which it got there: what the next move is compared with."""

    state: State
    revision: int


def moved(state: State, event: Event) -> State:
    """The state that follows.

    Raises:
        Unacceptable: there is no such move; the sentence says which there are.
    """
    after = MOVES.get((state, event))
    if after is None:
        possible = sorted(other.value for known, other in MOVES if known is state)
        raise Unacceptable(
            f"A version that is {state} cannot be asked to '{event}'.",
            f"It can be asked to: {', '.join(possible)}." if possible else "Nothing can be asked of it any more.",
        )
    return after
