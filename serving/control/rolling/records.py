"""A rollout as it is kept: its state, and what belongs to it that nothing decides by. Pure."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from router.epoch import Head
from router.errors import RouterError
from router.phases import Phase
from router.plan import End
from router.rollout import Fact, Rollout
from router.rollout_form import rollout_as_dict, rollout_from
from serving.control.publication import Job, LedgerEntry, RecordWrite
from serving.control.rolling.outward import Event, Gate, Hook, gate_as_dict, gate_from, hook_as_dict, hook_from

KIND: Final = "rollout"
"""Of the ledger's entries about rollouts."""
MOST_EPOCHS: Final = 100
ID_PREFIX: Final = "ro_"

_EVENTS: Final[Mapping[str, Event]] = {
    "start": Event.STARTED,
    "ask": Event.WAITING,
    "pause": Event.PAUSED,
    "late": Event.PAUSED,
    "resume": Event.RESUMED,
    "set": Event.SET,
    "roll back": Event.ROLLED_BACK,
    "breach": Event.ROLLED_BACK,
    "fail": Event.FAILED,
    "stop": Event.STOPPED,
    "retry": Event.RETRIED,
    "recommends": Event.ADVISED,
    "would have done": Event.ADVISED,
    "stage": Event.STAGED,
    "abandon": Event.ABANDONED,
    "clock": Event.CORRECTED,
    "evidence": Event.CORRECTED,
    "incident": Event.PAUSED,
    "alert": Event.ALERTED,
    "brake": Event.BRAKED,
    "acknowledged": Event.ACKNOWLEDGED,
}


_ALSO: Final[Mapping[str, frozenset[str]]] = {
    "breach": frozenset({Event.UNHEALTHY.value}),
    "incident": frozenset({Event.ALERTED.value}),
}
"""What a move is as well, for hooks that ask for that alone."""


@dataclass(frozen=True, slots=True)
class Record:
    """A rollout under way, or one that is over.

    Attributes:
        rollout: where it stands.
        model: whose traffic it moves.
        created_by: who started it.
        created_s: when, seconds since 1970 by the store's clock.
        gates: whom it asks.
        hooks: whom it tells.
        epochs: those that it published, oldest first; the last 100.
        arms_tolerance: how far its versions' answers may differ, in total variation, before drift takes it back; None
            where it declares nothing.
    """

    rollout: Rollout
    model: str
    created_by: str
    created_s: float
    gates: tuple[Gate, ...] = ()
    hooks: tuple[Hook, ...] = ()
    epochs: tuple[int, ...] = ()
    arms_tolerance: float | None = None

    @property
    def id(self) -> str:
        """The rollout's."""
        return self.rollout.id

    @property
    def versions(self) -> tuple[int, ...]:
        """Those that are on trial: the candidate, or all that the plan shows requests to."""
        plan = self.rollout.plan
        return plan.versions if plan.candidate is None else (plan.candidate,)

    def after(self, rollout: Rollout, head: Head | None = None) -> Record:
        """The same with the next state, and the epoch that it published, if it did."""
        epochs = self.epochs if head is None else (*self.epochs, head.epoch)[-MOST_EPOCHS:]
        return replace(self, rollout=rollout, epochs=epochs)

    def encode(self) -> str:
        """The record as JSON, secrets of hooks among it: for the store alone."""
        plain = {
            "rollout": rollout_as_dict(self.rollout),
            "model": self.model,
            "created_by": self.created_by,
            "created_s": self.created_s,
            "gates": [gate_as_dict(gate) for gate in self.gates],
            "hooks": [hook_as_dict(hook) for hook in self.hooks],
            "epochs": list(self.epochs),
            "arms_tolerance": self.arms_tolerance,
        }
        return json.dumps(plain, sort_keys=True)


def decode_record(said: str | bytes) -> Record:
    """What `Record.encode` wrote.

    Raises:
        ValueError: it is no record.
    """
    try:
        plain: Mapping[str, Any] = json.loads(said)
        return Record(
            rollout_from(plain["rollout"]),
            plain["model"],
            plain["created_by"],
            plain["created_s"],
            tuple(map(gate_from, plain["gates"])),
            tuple(map(hook_from, plain["hooks"])),
            tuple(plain["epochs"]),
            plain.get("arms_tolerance"),
        )
    except (RouterError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is no record of a rollout: {error!r}") from error


def new_id() -> str:
    """A name that no rollout has: `ro_` and 12 hexadecimal digits."""
    return ID_PREFIX + secrets.token_hex(6)


def is_id(text: str) -> bool:
    """Whether that can be a rollout's name: it becomes a part of keys in the store."""
    digits = text.removeprefix(ID_PREFIX)
    return text.startswith(ID_PREFIX) and len(digits) == 12 and set(digits) <= set("0123456789abcdef")  # noqa: PLR2004


def written(before: Record | None, after: Record, *, again: bool = True) -> RecordWrite:
    """The write that takes the record from one state to the next.

    Args:
        before: what is there; None where nothing is.
        after: what is to be there.
        again: whether versions that were rolled back may be tried once more.
    """
    rollout = after.rollout
    return RecordWrite(
        id=after.id,
        model=after.model,
        expected=0 if before is None else before.rollout.revision,
        revision=rollout.revision,
        record=after.encode(),
        over=rollout.over,
        bars=after.versions if rollout.phase in {Phase.ROLLED_BACK, Phase.FAILED} else (),
        clears=after.versions if rollout.phase is Phase.PROMOTED or (before is None and again) else (),
        unbarred=() if again else after.versions,
    )


def entry_of(record: Record, said: Fact) -> LedgerEntry:
    """The ledger's entry about one move; `record` is what it led to."""
    rollout = record.rollout
    about = {
        "id": rollout.id,
        "kind": rollout.plan.kind.value,
        "revision": rollout.revision,
        "phase": rollout.phase.value,
        "stage": None if rollout.entered is None else rollout.entered.name,
        "attempt_leg": rollout.leg,
    }
    facts = {
        "model": record.model,
        "rollout": about,
        "event": event_of(record, said).value,
        "what": said.what,
        "before": said.before,
        "after": said.after,
        "numbers": dict(said.numbers),
        "at_s": said.at_s,
    }
    return LedgerEntry(KIND, said.who, said.why, facts)


def event_of(record: Record, said: Fact) -> Event:
    """Which of the events a move is."""
    known = _EVENTS.get(str(said.what).partition(":")[0])
    if known is not None:
        return known
    if record.rollout.phase is not Phase.PROMOTED:
        return Event.ENTERED
    ends = record.rollout.plan.end
    promoted = ends is End.PROMOTE or (ends is End.WINNER and record.rollout.chosen is not None)
    return Event.PROMOTED if promoted else Event.FINISHED


def jobs_of(record: Record, said: Fact, entry: int = 0) -> tuple[Job, ...]:
    """What its hooks are to hear of the nth entry."""
    heard = {event_of(record, said).value}
    heard |= _ALSO.get(str(said.what), frozenset())
    return tuple(
        Job(entry, record.id, nth) for nth, hook in enumerate(record.hooks) if any(hook.hears(one) for one in heard)
    )
