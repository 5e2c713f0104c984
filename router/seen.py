"""What a rollout is shown, and what it says: the time, the evidence, and the ledger's entries. Plain values.

Who gathers evidence is not known here, nor what it is gathered for: it names the leg that it is of, and its age.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from router.policy import Policy


class Says(StrEnum):
    """What the evidence is enough for."""

    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    NOT_YET = "not_yet"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one leg.

    Attributes:
        leg: on which it was gathered.
        at_s: when its newest block closed, by the clock that `Seen.now_s` is read from.
        says: the verdict.
        requests: since the leg began, by version.
        winner: the version that is found best, if one is.
        stand_still: whether no share should grow meanwhile (an alarm that is not enough for going back).
        incident: whether that is because both arms fail alike, which is nobody's fault.
        alert: whether somebody has to look.
        because: the verdict's reason, in a sentence.
        numbers: what it rests on, by name, for the ledger.
    """

    leg: int
    at_s: float
    says: Says = Says.NOT_YET
    requests: Mapping[int, int] = field(default_factory=dict)
    winner: int | None = None
    stand_still: bool = False
    incident: bool = False
    alert: bool = False
    because: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "requests", MappingProxyType(dict(self.requests)))
        object.__setattr__(self, "numbers", MappingProxyType(dict(self.numbers)))


class Seen(NamedTuple):
    """What a rollout is shown.

    Attributes:
        now_s: the time.
        ready: the versions that are up.
        evidence: None where there is none.
        closed: what keeps anybody from going on just now and is not in the plan, in sentences: the model is stopped,
            or a version could not carry what it would get.
        runs: the policy that the model runs, where that may be another one than the rollout has set.
        carries: the versions that carry less than they would get, by the largest share that they carry, for a policy
            that cuts shares down to that (`clamp`); None where nobody has looked.
    """

    now_s: float
    ready: frozenset[int] = frozenset()
    evidence: Evidence | None = None
    closed: tuple[str, ...] = ()
    runs: Policy | None = None
    carries: Mapping[int, int] | None = None


class Fact(NamedTuple):
    """What goes into the ledger: who or what moved the rollout, from where to where, why, and on which numbers."""

    at_s: float
    who: str
    what: str
    before: str
    after: str
    why: str
    numbers: Mapping[str, float]
