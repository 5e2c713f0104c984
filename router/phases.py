"""Every phase of a rollout, every event, and every move: one table. A pair that is not in it is refused.

Which event happens is decided in `router.rollout`; what it does to the phase is decided here and nowhere else. The
diagram in docs/rollouts.md is drawn from the table by `diagram`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from router.errors import RolloutError


class Phase(StrEnum):
    """Where a rollout stands. Traffic follows: the policy is computed from phase and stage."""

    WARMING = "warming"
    """Traffic is as before, until every version of the plan is up."""
    RUNNING = "running"
    """A stage with shares, shadows or rules."""
    BAKING = "baking"
    """A stage without shares: the version is up and looked at."""
    WAITING = "waiting for approval"
    """Traffic stays as it is until somebody approves the next stage."""
    PAUSED = "paused"
    """Traffic stays as it is, and so does the clock of the stage."""
    WATCHING = "watching"
    """The new version is stable, the old one warm: going back is instant."""
    PROMOTED = "promoted"
    """The plan was walked to its end, whatever that leaves."""
    ROLLED_BACK = "rolled back"
    """Traffic is as before: evidence, an operator or a stop said so."""
    FAILED = "failed"
    """Traffic is as before: the rollout made no progress within its deadline."""


class Event(StrEnum):
    """What moves a rollout."""

    RUN = "run"
    """A stage that runs is entered, or gone on with."""
    BAKE = "bake"
    WATCH = "watch"
    ASK = "ask"
    """The next stage, or the end, needs an approval."""
    FINISH = "finish"
    """All stages are passed."""
    WARM = "warm"
    """Warming up is gone on with."""
    SET = "set"
    """An operator sets shares by hand."""
    PAUSE = "pause"
    LATE = "late"
    """The deadline has passed: nothing is changed until somebody looks."""
    INCIDENT = "incident"
    """Both arms fail alike: nobody's fault, and no time to grow; nothing is changed until somebody looks."""
    FAIL = "fail"
    """The deadline has passed, and the plan says that this is a failure."""
    BREACH = "breach"
    """The evidence speaks for going back."""
    ROLL_BACK = "roll back"
    """An operator, or what acts for one, goes back."""
    STOP = "stop"
    """Break glass: everything to stable, and no new attempt unless somebody insists."""
    RETRY = "retry"


_GOES_ON: Final = MappingProxyType({Event.RUN: Phase.RUNNING, Event.BAKE: Phase.BAKING, Event.WATCH: Phase.WATCHING})
_GOES_BACK: Final = MappingProxyType({Event.ROLL_BACK: Phase.ROLLED_BACK, Event.STOP: Phase.ROLLED_BACK})
_IN_TRAFFIC: Final = MappingProxyType({**_GOES_BACK, Event.BREACH: Phase.ROLLED_BACK, Event.FINISH: Phase.PROMOTED})
_STALLS: Final = MappingProxyType({Event.PAUSE: Phase.PAUSED, Event.LATE: Phase.PAUSED, Event.FAIL: Phase.FAILED})
_HALTS: Final = MappingProxyType({Event.INCIDENT: Phase.PAUSED})

_FROM: Final[Mapping[Phase, Mapping[Event, Phase]]] = MappingProxyType(
    {
        Phase.WARMING: {**_GOES_ON, Event.ASK: Phase.WAITING, **_STALLS, **_GOES_BACK},
        Phase.RUNNING: {
            **_GOES_ON,
            Event.ASK: Phase.WAITING,
            Event.SET: Phase.RUNNING,
            **_STALLS,
            **_HALTS,
            **_IN_TRAFFIC,
        },
        Phase.BAKING: {**_GOES_ON, Event.ASK: Phase.WAITING, **_STALLS, **_IN_TRAFFIC},
        Phase.WAITING: {**_GOES_ON, Event.SET: Phase.RUNNING, Event.PAUSE: Phase.PAUSED, **_IN_TRAFFIC},
        Phase.PAUSED: {
            **_GOES_ON,
            Event.ASK: Phase.WAITING,
            Event.WARM: Phase.WARMING,
            Event.SET: Phase.PAUSED,
            **_IN_TRAFFIC,
        },
        Phase.WATCHING: {Event.ASK: Phase.WAITING, **_STALLS, **_HALTS, **_IN_TRAFFIC},
        Phase.PROMOTED: {},
        Phase.ROLLED_BACK: {Event.RETRY: Phase.WARMING},
        Phase.FAILED: {Event.RETRY: Phase.WARMING},
    }
)

MOVES: Final[Mapping[tuple[Phase, Event], Phase]] = MappingProxyType(
    {(phase, event): after for phase, moves in _FROM.items() for event, after in moves.items()}
)
"""The table: the phase after, by phase and event."""

OVER: Final = frozenset({Phase.PROMOTED, Phase.ROLLED_BACK, Phase.FAILED})
"""The phases that only an operator's retry leads out of, if anything does."""

STANDING: Final = frozenset({Phase.PAUSED, Phase.WAITING})
"""The phases in which the clock of the stage stands still."""


def moved(phase: Phase, event: Event) -> Phase:
    """The phase after this event.

    Raises:
        RolloutError: there is no such move.
    """
    after = MOVES.get((phase, event))
    if after is None:
        possible = ", ".join(sorted(move for at, move in MOVES if at is phase)) or "nothing"
        raise RolloutError(f"a rollout that is {phase} cannot {event}: there is {possible}")
    return after


def diagram() -> str:
    """The table as a Mermaid state diagram; moves between the same two phases share an arrow."""
    arrows: dict[tuple[Phase, Phase], list[Event]] = {}
    for (before, event), after in MOVES.items():
        arrows.setdefault((before, after), []).append(event)
    names = {phase: phase.name.lower() for phase in Phase}
    lines = ["stateDiagram-v2"]
    lines += [f"    {names[phase]}: {phase}" for phase in Phase]
    lines += [f"    [*] --> {names[Phase.WARMING]}: start"]
    lines += [
        f"    {names[before]} --> {names[after]}: {', '.join(events)}" for (before, after), events in arrows.items()
    ]
    return "\n".join(lines) + "\n"
