"""What the walk sees at one tick, what it remembers of a rollout, and what it reads from both. Without I/O."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from router.phases import Phase
from router.rollout import Rollout, Step, policy_of
from serving.control.publication import State
from serving.control.rolling import clocks
from serving.control.rolling.evidence import Counts, Said
from serving.control.rolling.kept import Look
from serving.control.rolling.outward import GateKind
from serving.control.rolling.records import Record
from serving.leases import GatewayLease


class Tick(NamedTuple):
    """What is there at one tick."""

    look: Look
    looked: clocks.Look
    state: State
    gateways: Sequence[GatewayLease]
    said: Sequence[Said]
    ready: Mapping[str, frozenset[int]]
    fence: int


@dataclass(slots=True)
class Memory:
    """What is remembered of one rollout; all of it can be lost."""

    counts: Counts | None = None
    kept: Counts | None = None
    kept_at_s: float = 0.0
    closed: tuple[str, ...] = ()
    not_before_s: float = 0.0
    abandoned: str = ""
    abandons: int = 0
    told: str = ""
    wanted: tuple[Record, str] | None = None
    flip: asyncio.Task[None] | None = field(default=None, repr=False)


def goes_forward(rollout: Rollout, step: Step) -> bool:
    """Whether the step enters a stage, or the end."""
    after = step.rollout
    return after.leg != rollout.leg and after.phase not in {Phase.ROLLED_BACK, Phase.FAILED}


def gates_of(rollout: Rollout, step: Step) -> set[GateKind]:
    """The gates that this step has to pass."""
    kinds = {GateKind.CONFIRM_ROLLOUT} if rollout.entered is None else set()
    return kinds | ({GateKind.CONFIRM_PROMOTION} if step.policy.stable != policy_of(rollout).stable else set())


def closed_for(record: Record, at: Tick) -> Iterator[str]:
    """What holds every step forward: somebody broke the glass, or the store has forgotten what gateways run."""
    stop = at.look.stop_of(record.model)
    if stop is not None:
        yield f"the model is stopped, by {stop.who}"
    held = [lease for lease in at.gateways if lease.held is not None]
    if held:
        yield f"the gateway {held[0].id} does not follow: {held[0].held}"


def drift_words(state: State) -> str:
    """Why a rollout is paused whose model runs something else."""
    return (
        f"epoch {state.head.epoch} runs something else than this rollout has set: the store had forgotten, or somebody "
        "broke the glass. Roll it back, or set its shares anew"
    )
