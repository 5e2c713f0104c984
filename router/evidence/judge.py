"""Promote, roll back, or not enough evidence yet: a pure function of what the tests say.

The order is the policy. A broken experiment is not trusted, so it comes first. Then harm, by the declared rule. Then
what stops a ramp without blaming the candidate. Promotion is last and has to be earned: silence is not a yes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.sample_ratio import ALPHA as SAMPLE_RATIO_ALPHA
from router.evidence.sequential import e_value, threshold

_MOST = 1_000_000_000
MOST_LEFT_OUT = 0.1
"""The part of a sample that may be left out (shed, or not to be read) before the rest represents it no more."""


class Decision(StrEnum):
    """What the evidence is enough for."""

    PROMOTE = "promote"
    ROLL_BACK = "roll_back"
    NOT_YET = "not_yet"


class Rule(StrEnum):
    """When harm rolls back: on T1 alone, or only when the replicas' ranks (T9) agree."""

    FAST = "fast"
    BURST_PROOF = "burst_proof"


@dataclass(frozen=True, slots=True)
class Levels:
    """The chances of error that a rollout may spend, and its rule.

    Attributes:
        rule: FAST or BURST_PROOF (`rule_for`).
        harm: the chance of rolling back a candidate that is no worse, over the whole rollout.
        promotion: the chance of certifying a candidate that is not non-inferior.
        sample_ratio: the chance of calling a sound experiment broken.
    """

    rule: Rule
    harm: float = 0.01
    promotion: float = 0.05
    sample_ratio: float = SAMPLE_RATIO_ALPHA

    def __post_init__(self) -> None:
        """Refuse what is no level."""
        for level in (self.harm, self.promotion, self.sample_ratio):
            threshold(level)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What promotion asks of one event rate, all as log e-values; None where a test is not run.

    Attributes:
        name: as people know it.
        not_inferior: now, of T1 on the side NOT_WORSE at the margin.
        under_ceiling: now, of T2 on the side NOT_WORSE at the ceiling (1 % unless declared).
    """

    name: str
    not_inferior: float | None = None
    under_ceiling: float | None = None


class Copies(NamedTuple):
    """What became of the candidate's copies since its leg began.

    Attributes:
        pairs: of which both ends are known.
        shown: of the requests that were in the sample, the part that was not left out, from 0 to 1.
        only: whether the candidate gets nothing but copies.
    """

    pairs: int
    shown: float
    only: bool


@dataclass(frozen=True, slots=True)
class Findings:
    """What the tests say at one look, all as log e-values; None where a test is not run.

    Attributes:
        harm: the peak of the guardrails' averaged T1, T3, T4 and T7 (`log_average`, then `Peak`).
        foremost: the guardrail that gave most to it.
        seen: the totals of that guardrail, for the sentence.
        replicas: the peak of T9.
        limit: the peak of T2 against an absolute limit, on the candidate or on both arms.
        sample_ratio: the peak of T6.
        minima_met: whether the step has the requests and the time that it asks for.
        guardrails: the event rates that promotion rests on.
        counted: what `seen` counts: requests, or units where those were assigned.
        alone: where the candidate has no stable beside it, T2 of its own rates against their limits; None where it
            has, or where no rate has a limit.
        unranked: the peak of that part of `harm` that comes from guardrails which know no replicas (pairs, feedback):
            there T9 has nothing to agree with; None without such guardrails.
        copies: what became of copies on this leg; None where none were made.
    """

    harm: float
    foremost: str
    seen: Block | None = None
    replicas: float | None = None
    limit: float | None = None
    sample_ratio: float | None = None
    minima_met: bool = False
    guardrails: tuple[Certificate, ...] = ()
    counted: str = "requests"
    alone: float | None = None
    unranked: float | None = None
    copies: Copies | None = None

    def __post_init__(self) -> None:
        """Refuse a NaN: it would compare as no evidence, in silence."""
        given = [self.harm, self.replicas, self.limit, self.sample_ratio, self.alone, self.unranked]
        given += [value for g in self.guardrails for value in (g.not_inferior, g.under_ceiling)]
        if any(value is not None and math.isnan(value) for value in given):
            raise EvidenceError("a log e-value is a number: NaN is no evidence of anything")


class Number(NamedTuple):
    """One log e-value that a verdict rested on, and the threshold that it was held against."""

    name: str
    log_e: float
    threshold: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, what else it asks for, and what it rested on.

    Attributes:
        decision: promote, roll back, or not yet.
        freeze: whether the ramp must stand still meanwhile.
        alert: whether a person should look.
        words: the reason in one sentence.
        numbers: each log e-value that was looked at, in order.
    """

    decision: Decision
    words: str
    freeze: bool = False
    alert: bool = False
    numbers: tuple[Number, ...] = ()

    @property
    def incident(self) -> bool:
        """Whether both arms do badly: the ramp stands still, and nobody is called, for no version is to blame."""
        return self.freeze and not self.alert


def rule_for(candidate_replicas: int, stable_replicas: int) -> Rule:
    """BURST_PROOF where both versions have two replicas at least, else there are no ranks to ask."""
    return Rule.BURST_PROOF if min(candidate_replicas, stable_replicas) >= 2 else Rule.FAST  # noqa: PLR2004


def judge(findings: Findings, levels: Levels) -> Verdict:
    """What the evidence at this look is enough for. Never looks at a block itself, and has no memory: peaks do."""
    decision, words, freeze, alert = (
        _broken(findings, levels)
        or _overrun(findings, levels)
        or _harmed(findings, levels)
        or _limited(findings, levels)
        or _earned(findings, levels)
    )
    return Verdict(decision, words, freeze, alert, _numbers(findings, levels))


_Outcome = tuple[Decision, str, bool, bool]


def _broken(findings: Findings, levels: Levels) -> _Outcome | None:
    if not _reached(findings.sample_ratio, levels.sample_ratio):
        return None
    words = (
        f"Not yet, and the ramp stands still: the arms did not get the units that their shares promised "
        f"({_against(findings.sample_ratio, levels.sample_ratio)}), so nothing else here can be trusted."
    )
    return Decision.NOT_YET, words, True, True


def _overrun(findings: Findings, levels: Levels) -> _Outcome | None:
    """Alone, after its promotion: there is nobody to compare it with, and going back is what the watch is for."""
    if not _reached(findings.alone, levels.harm):
        return None
    words = (
        f"Roll back: a rate of the candidate's is over its limit {_against(findings.alone, levels.harm)}. It is alone, "
        "so whether stable would have done better cannot be told."
    )
    return Decision.ROLL_BACK, words, False, True


def _harmed(findings: Findings, levels: Levels) -> _Outcome | None:
    if not _reached(findings.harm, levels.harm):
        return None
    harm = f"'{findings.foremost}' speaks against the candidate {_against(findings.harm, levels.harm)}{_seen(findings)}"
    if levels.rule is Rule.FAST or _reached(findings.unranked, levels.harm):
        return Decision.ROLL_BACK, f"Roll back: {harm}.", False, True
    if _reached(findings.replicas, levels.harm):
        ranks = f"its replicas are the worst ones {_against(findings.replicas, levels.harm)}"
        return Decision.ROLL_BACK, f"Roll back: {harm}, and {ranks}.", False, True
    words = f"Not yet, and the ramp stands still: {harm}, but its replicas are not the worst ones often enough."
    return Decision.NOT_YET, words, True, True


def _seen(findings: Findings) -> str:
    if findings.seen is None:
        return ""
    x, m, n_c, n_b = findings.seen.x, findings.seen.m, findings.seen.n_c, findings.seen.n_b
    if findings.counted == "pairs":
        return f" ({x:,} of {n_c:,} pairs{f', the other way round {m - x:,}' if n_b else ''})"
    return f" ({x:,} of the candidate's {n_c:,} {findings.counted}, {m - x:,} of stable's {n_b:,})"


def _limited(findings: Findings, levels: Levels) -> _Outcome | None:
    if not _reached(findings.limit, levels.harm):
        return None
    words = (
        f"Not yet, and the ramp pauses: a rate is over its limit {_against(findings.limit, levels.harm)}, "
        "but the candidate is no worse than stable as far as one can see."
    )
    return Decision.NOT_YET, words, True, False


def _earned(findings: Findings, levels: Levels) -> _Outcome:
    if not findings.minima_met:
        return (
            Decision.NOT_YET,
            "Not yet: the step has not had the requests or the time that it asks for.",
            False,
            False,
        )
    if shadowed := _shadowed(findings.copies):
        return shadowed
    if not findings.guardrails:
        return Decision.NOT_YET, "Not yet: no guardrail is there that could certify the candidate.", False, False
    open_ones = [g.name for g in findings.guardrails if not _certified(g, levels)]
    if open_ones:
        words = f"Not yet: nothing speaks against the candidate, but {', '.join(open_ones)} cannot be certified yet."
        return Decision.NOT_YET, words, False, False
    if findings.limit is not None and findings.limit > 0:
        # Failures of both arms alike certify a candidate fast: an incident may be beginning.
        words = "Not yet: a rate may be over its limit just now, and nobody grows into that."
        return Decision.NOT_YET, words, False, False
    names = ", ".join(g.name for g in findings.guardrails)
    words = f"Promote: nothing speaks against the candidate, and {names} are certified at level {levels.promotion:g}."
    return Decision.PROMOTE, words, False, False


def _shadowed(copies: Copies | None) -> _Outcome | None:
    """Copies certify nobody: that nothing speaks against a candidate is all that can be said, of a fair sample."""
    if copies is not None and 1 - copies.shown > MOST_LEFT_OUT:
        words = f"Not yet: only {copies.shown * 100:.0f} % of the copies were compared: not representative."
        return Decision.NOT_YET, words, False, False
    if copies is None or not copies.only:
        return None
    if not copies.pairs:
        return Decision.NOT_YET, "Not yet: no copy's answer has been compared.", False, False
    words = f"Go on: nothing speaks against the candidate in {copies.pairs:,} pairs of answers."
    return Decision.PROMOTE, words, False, False


def _certified(guardrail: Certificate, levels: Levels) -> bool:
    return _reached(guardrail.not_inferior, levels.promotion) or _reached(guardrail.under_ceiling, levels.promotion)


def _reached(log_e: float | None, alpha: float) -> bool:
    return log_e is not None and log_e >= threshold(alpha)


def _against(log_e: float | None, alpha: float) -> str:
    """The odds in words; held at a billion, beyond which nobody counts."""
    odds = f"{e_value(log_e or 0.0):,.0f}" if (log_e or 0.0) < math.log(_MOST) else f"over {_MOST:,}"
    return f"{odds} to 1 where {1 / alpha:,.0f} to 1 is enough"


def _numbers(findings: Findings, levels: Levels) -> tuple[Number, ...]:
    """Each log e-value that is there, and what it was held against."""
    named = [
        ("harm", findings.harm, levels.harm),
        ("replicas", findings.replicas, levels.harm),
        ("limit", findings.limit, levels.harm),
        ("sample ratio", findings.sample_ratio, levels.sample_ratio),
        ("alone", findings.alone, levels.harm),
        ("copies and feedback", findings.unranked, levels.harm),
    ]
    for guardrail in findings.guardrails:
        named.append((f"{guardrail.name}: not inferior", guardrail.not_inferior, levels.promotion))
        named.append((f"{guardrail.name}: under its ceiling", guardrail.under_ceiling, levels.promotion))
    return tuple(Number(name, log_e, threshold(level)) for name, log_e, level in named if log_e is not None)
