"""What a rollout is judged by: guardrails, each with what it watches, what it tolerates and what promotion asks of it.

The defaults need nobody to spell them out: errors and latencies are compared with stable's, and both must be certified
before a candidate is promoted by evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from router.errors import PlanError
from router.evidence.judge import Rule
from router.evidence.latency import QUANTILES
from router.evidence.sequential import threshold

_FAILED: Final = frozenset({"server_error", "unavailable", "refused", "broken", "late"})


class Watches(StrEnum):
    """What a guardrail looks at in each first attempt."""

    ERRORS = "errors"
    """The version gave no good answer: a 5xx, no connection, an answer broken off, a deadline passed."""
    TIMEOUTS = "timeouts"
    STATUS_4XX = "status_4xx"
    STATUS_5XX = "status_5xx"
    STATUS_503 = "status_503"
    LATENCY = "latency"
    """How often it is slower than the fleet's quantiles of the minute before."""


OUTCOMES: Final[Mapping[Watches, frozenset[str]]] = MappingProxyType(
    {
        Watches.ERRORS: _FAILED,
        Watches.TIMEOUTS: frozenset({"late"}),
        Watches.STATUS_4XX: frozenset({"client_error"}),
        Watches.STATUS_5XX: frozenset({"server_error", "unavailable"}),
        Watches.STATUS_503: frozenset({"unavailable"}),
    }
)
"""The outcomes that are events, by the gateway's names; latency has none."""


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One thing that a candidate must not do worse than stable.

    Attributes:
        name: as people know it; unique in a rollout.
        watches: what it looks at.
        tolerated: θ0, the odds ratio of events, candidate to stable, up to which nothing is held against it.
        weight: its part in the average of e-values (T8), in any unit; 0 shows it and decides nothing by it.
        margin: the odds ratio under which a promotion wants it certified; None asks for no certificate of this kind.
        ceiling: a rate under which a promotion may have the candidate's own certified instead; None for no such way.
        limit: a rate of both arms together above which the rollout stands still: a shared incident is nobody's
            fault, and no time to grow. None for none.
        quantiles: of latencies, which may be watched one by one.
    """

    name: str
    watches: Watches
    tolerated: float = 1.0
    weight: float = 1.0
    margin: float | None = None
    ceiling: float | None = None
    limit: float | None = None
    quantiles: tuple[float, ...] = QUANTILES

    def __post_init__(self) -> None:
        """Refuse what no test could be made of."""
        if not self.name or not self.name.isprintable():
            raise PlanError("a guardrail needs a name: 'errors', for example")
        if not 1 <= self.tolerated < math.inf:
            raise PlanError(f"guardrail '{self.name}' tolerates an odds ratio of 1 or more, not {self.tolerated:g}")
        if not 0 <= self.weight < math.inf:
            raise PlanError(f"guardrail '{self.name}' has a weight of 0 or more, not {self.weight:g}")
        if self.margin is not None and not self.tolerated < self.margin < math.inf:
            raise PlanError(f"guardrail '{self.name}' certifies under a margin above what it tolerates")
        for rate in (self.ceiling, self.limit):
            if rate is not None and not 0 < rate < 1:
                raise PlanError(f"guardrail '{self.name}' has a rate of {rate:g}: rates lie between 0 and 1")
        if self.watches is Watches.LATENCY and (self.ceiling is not None or self.limit is not None):
            raise PlanError(f"guardrail '{self.name}' watches latencies, which have no rate of their own to limit")
        if not self.quantiles or any(not 0 < q < 1 for q in self.quantiles):
            raise PlanError(f"guardrail '{self.name}' has quantiles between 0 and 1: 0.5, 0.9, 0.99")

    @property
    def highest(self) -> float:
        """The highest of its quantiles."""
        return max(self.quantiles)


DEFAULTS: Final = (
    Guardrail("errors", Watches.ERRORS, weight=3.0, margin=2.0, ceiling=0.01, limit=0.05),
    Guardrail("latency", Watches.LATENCY, tolerated=1.2),
)
"""What a rollout is judged by that says nothing of it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a rollout is judged, fixed before its first request.

    Attributes:
        guardrails: one at least with a weight.
        harm: the chance of taking back a candidate that is no worse, over the whole rollout.
        promotion: the chance of certifying one that is not as good as its margins say.
        rule: None for `burst_proof` where both versions have two replicas, else `fast`.
        warm_up_s: how long latencies of a candidate that is new to traffic are left out, seconds.
    """

    guardrails: tuple[Guardrail, ...] = DEFAULTS
    harm: float = 0.01
    promotion: float = 0.05
    rule: Rule | None = None
    warm_up_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse terms by which nothing could be judged."""
        names = [one.name for one in self.guardrails]
        if len(set(names)) < len(names):
            raise PlanError(f"guardrails have names of their own: {', '.join(names)}")
        if not any(one.weight for one in self.guardrails):
            raise PlanError("a rollout needs one guardrail at least that has a weight")
        for level in (self.harm, self.promotion):
            threshold(level)
        if not 0 <= self.warm_up_s < math.inf:
            raise PlanError(f"a candidate warms up for 0 seconds or more, not {self.warm_up_s:g}")


USUAL: Final = Terms()
"""The terms of a rollout that says nothing of them."""
