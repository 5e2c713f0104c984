"""What a rollout is judged by: guardrails, each with what it watches, what it tolerates and what promotion asks of it.

The defaults need nobody to spell them out: errors and latencies are compared with stable's, and both must be certified
before a candidate is promoted by evidence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from router.errors import PlanError
from router.evidence.judge import Rule
from router.evidence.latency import QUANTILES
from router.evidence.sequential import threshold
from router.observed import LONGEST_OUTPUT, Reading
from router.verdicts.rewards import Better, Measure

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
    PREDICTIONS = "predictions"
    """How often each class, or each bin of a score, is what it answers: more often or less often than stable."""
    FEEDBACK = "feedback"
    """The mean of a metric that was said of its requests afterwards."""
    DISAGREEMENTS = "disagreements"
    """How often its answer to a copy differs from the one that the client got, by the rules of comparison."""
    SHADOW_ERRORS = "shadow_errors"
    """How often only the copy had no good answer."""
    SHADOW_LATENCY = "shadow_latency"
    """How often the copy took longer than 1.1 times as long as the request."""


OUTCOMES: Final[Mapping[Watches, frozenset[str]]] = MappingProxyType(
    {
        Watches.ERRORS: _FAILED,
        Watches.TIMEOUTS: frozenset({"late"}),
        Watches.STATUS_4XX: frozenset({"client_error"}),
        Watches.STATUS_5XX: frozenset({"server_error", "unavailable"}),
        Watches.STATUS_503: frozenset({"unavailable"}),
    }
)
"""The outcomes that are events, by the gateway's names; latencies and predictions have none."""

TOLERATED: Final[Mapping[Watches, float]] = MappingProxyType({Watches.PREDICTIONS: 1.5})
"""What is tolerated where nobody says it; an odds ratio of 1 of everything else. Two versions never answer alike."""


PAIRED: Final = frozenset({Watches.DISAGREEMENTS, Watches.SHADOW_ERRORS, Watches.SHADOW_LATENCY})
"""What is known from copies alone: pairs of answers to one request."""
LIMIT: Final = 0.01
"""The part of all pairs that may disagree, where stable is not asked a second time and nobody says another one."""

_METRIC: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
METRIC_WORDS: Final = "a letter, then up to 63 letters, digits, '_', '.' or '-'; not 'label'"
"""What the name of a metric looks like."""


def is_metric(name: str) -> bool:
    """Whether feedback may call a metric so; 'label' is what a label is."""
    return name != "label" and _METRIC.fullmatch(name) is not None


_PLURAL: Final = MappingProxyType(
    {
        Watches.LATENCY: "latencies, which have no",
        Watches.PREDICTIONS: "predictions, which have no",
        Watches.FEEDBACK: "feedback, whose means have no",
        Watches.DISAGREEMENTS: "disagreements, whose limit says enough: no ceiling, and no other",
        Watches.SHADOW_ERRORS: "errors of copies, beside what became of their requests: there is no",
        Watches.SHADOW_LATENCY: "latencies of copies, which have no",
    }
)


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
            fault, and no time to grow. None for none. Of disagreements, the part of all pairs that may be one.
        quantiles: of latencies, which may be watched one by one.
        output: of predictions, the name of the output that is watched; empty for everything else.
        kind: of predictions, how that output is read.
        metric: of feedback, the name of what is measured; empty for everything else.
        direction: of feedback, which way it is better.
        effect: of feedback, how much worse is tolerated, in units of the metric.
        bounded: of feedback, whether every value lies between 0 and 1.
        decides: of feedback, whether an A/B test is decided by it, rather than by how requests end.
    """

    name: str
    watches: Watches
    tolerated: float = 1.0
    weight: float = 1.0
    margin: float | None = None
    ceiling: float | None = None
    limit: float | None = None
    quantiles: tuple[float, ...] = QUANTILES
    output: str = ""
    kind: Reading = Reading.CLASS
    metric: str = ""
    direction: Better = Better.HIGHER
    effect: float = 0.0
    bounded: bool = False
    decides: bool = False

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
        limited = self.watches in OUTCOMES or self.watches is Watches.DISAGREEMENTS
        if (self.watches not in OUTCOMES and self.ceiling is not None) or (not limited and self.limit is not None):
            raise PlanError(f"guardrail '{self.name}' watches {_PLURAL[self.watches]} rate of their own to limit")
        self._check_output()
        self._check_metric()
        self._check_pairs()
        if not self.quantiles or any(not 0 < q < 1 for q in self.quantiles):
            raise PlanError(f"guardrail '{self.name}' has quantiles between 0 and 1: 0.5, 0.9, 0.99")

    def _check_output(self) -> None:
        predictions = self.watches is Watches.PREDICTIONS
        if predictions and (not self.output or not self.output.isprintable() or len(self.output) > LONGEST_OUTPUT):
            raise PlanError(f"guardrail '{self.name}' watches predictions: say of which output, by its name")
        if not predictions and self.output:
            raise PlanError(f"guardrail '{self.name}' watches {self.watches}, which are of no output: leave it out")
        if predictions and self.margin is not None:
            raise PlanError(f"guardrail '{self.name}' watches predictions, which are not certified: no margin")

    def _check_metric(self) -> None:
        feedback = self.watches is Watches.FEEDBACK
        if feedback is not bool(self.metric) or not is_metric(self.metric or "x"):
            raise PlanError(
                f"guardrail '{self.name}' watches {self.watches}: name a metric where that is feedback, and only there "
                f"({METRIC_WORDS})"
            )
        if self.decides and not feedback:
            raise PlanError(f"guardrail '{self.name}' watches {self.watches}: only a metric of feedback may decide")
        if feedback and (self.margin is not None or self.tolerated != 1):
            raise PlanError(f"guardrail '{self.name}' watches feedback: say `effect` for what is tolerated, no ratio")
        if not 0 <= self.effect < (1 if self.bounded else math.inf):
            raise PlanError(f"guardrail '{self.name}' tolerates an effect of 0 or more, under 1 where it is bounded")

    def _check_pairs(self) -> None:
        if self.watches in PAIRED and (self.margin is not None or self.tolerated != 1):
            raise PlanError(
                f"guardrail '{self.name}' watches pairs of answers to one request, which are not certified, and of "
                "which no ratio is tolerated: of disagreements `limit` says what part of all pairs may be one"
            )
        if self.watches is Watches.DISAGREEMENTS and self.limit is None:
            raise PlanError(f"guardrail '{self.name}' watches disagreements: say as `limit` what part may be one")

    @property
    def measure(self) -> Measure:
        """Of feedback, what is measured."""
        return Measure(self.metric, self.direction, self.effect, self.bounded)

    @property
    def highest(self) -> float:
        """The highest of its quantiles."""
        return max(self.quantiles)


def predictions(output: str, *, kind: Reading = Reading.CLASS, name: str = "predictions") -> Guardrail:
    """A guardrail on what is predicted, with what is tolerated usually."""
    watches = Watches.PREDICTIONS
    return Guardrail(name, watches, tolerated=TOLERATED[watches], output=output, kind=kind)


DEFAULTS: Final = (
    Guardrail("errors", Watches.ERRORS, weight=3.0, margin=2.0, ceiling=0.01, limit=0.05),
    Guardrail("latency", Watches.LATENCY, tolerated=1.2),
)
"""What a rollout is judged by that says nothing of it."""
BESIDE_COPIES: Final = (
    Guardrail("disagreements", Watches.DISAGREEMENTS, limit=LIMIT),
    Guardrail("shadow_errors", Watches.SHADOW_ERRORS),
    Guardrail("shadow_latency", Watches.SHADOW_LATENCY, weight=0.0),
)
"""What is looked at besides, where a version gets copies; how long those take is shown, and decides nothing."""


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
        if sum(one.watches is Watches.PREDICTIONS for one in self.guardrails) > 1:
            raise PlanError("a rollout watches the predictions of one output at most: gateways read one")
        if sum(one.decides for one in self.guardrails) > 1:
            raise PlanError("an A/B test is decided by one metric at most")
        for level in (self.harm, self.promotion):
            threshold(level)
        if not 0 <= self.warm_up_s < math.inf:
            raise PlanError(f"a candidate warms up for 0 seconds or more, not {self.warm_up_s:g}")


def decided_by(terms: Terms, metric: str, direction: Better) -> Terms:
    """The terms by which that metric decides; where no guardrail watches it yet, one that only shows and decides."""
    there = [one for one in terms.guardrails if one.metric == metric]
    if any(one.direction is not direction for one in there):
        raise PlanError(f"{metric} is to decide by the direction '{direction}', and its guardrail has the other one")
    others = tuple(replace(one, decides=False) for one in terms.guardrails if one.metric != metric)
    shows = Guardrail(metric, Watches.FEEDBACK, weight=0.0, metric=metric, direction=direction)
    deciding = replace(there[0] if there else shows, decides=True)
    return replace(terms, guardrails=(*others, *there[1:], deciding))


USUAL: Final = Terms()
"""The terms of a rollout that says nothing of them."""
USUAL_WITH_COPIES: Final = Terms((*DEFAULTS, *BESIDE_COPIES))
"""Those of one that has a version copied."""
