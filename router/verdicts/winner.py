"""Which of several versions on trial is the best, once that is shown and not before.

A tie is no win: a version wins by fewer events than stable, shown by T1 with the arms exchanged at the weightiest
guardrail that watches how requests end, or, where a metric of feedback is to decide, by a better mean (T4). Several
versions share the level of promotion, for each of them might win by chance (Bonferroni 1936).
"""

from __future__ import annotations

from collections.abc import Mapping

from router.evidence.judge import Levels
from router.evidence.sequential import threshold
from router.verdicts.case import Case
from router.verdicts.dockets import Rates
from router.verdicts.rewards import Rewards


def winner(cases: Mapping[int, Case], stable: int) -> int | None:
    """The version that the evidence names, if it names one.

    Args:
        cases: each version's case against stable, by version.
        stable: the version that they are held against.

    Returns:
        Of the versions that are shown to be better than stable, and against which nothing is held, the one with the
        lowest rate, or the best mean; stable where every one of them is shown to be worse; None where neither is shown,
        or where the arms did not get what their shares promised.
    """
    dockets = {version: _deciding(case) for version, case in cases.items()}
    found = {version: docket for version, docket in dockets.items() if docket is not None}
    if not cases or len(found) < len(cases) or any(_mistrusted(case) for case in cases.values()):
        return None
    better = [one for one in found if _shown(found[one].better.log_e, cases) and not _held_against(cases[one])]
    if better:
        return min(better, key=lambda one: (_badness(found[one]), one))
    worse = [one for one in found if _shown(found[one].harm.log_e, cases)]
    return stable if len(worse) == len(cases) else None


def _deciding(case: Case) -> Rates | Rewards | None:
    """The docket that a winner is named by: that of the metric that decides, if one does."""
    rewards = [docket for one, docket in case.by_guardrail if isinstance(docket, Rewards) and one.decides]
    return rewards[0] if rewards else _weightiest(case)


def _badness(docket: Rates | Rewards) -> float:
    """The least is the best."""
    if isinstance(docket, Rewards):
        return docket.measure.better.harm * docket.difference
    return docket.seen.x / max(docket.seen.n_c, 1)


def _weightiest(case: Case) -> Rates | None:
    """The docket of the guardrail that weighs most among those that watch how requests end; the first of equals."""
    found = [(one.weight, docket) for one, docket in case.by_guardrail if isinstance(docket, Rates) and one.weight]
    return max(found, key=lambda one: one[0])[1] if found else None


def _shown(log_e: float, cases: Mapping[int, Case]) -> bool:
    level = min(case.terms.promotion for case in cases.values()) / len(cases)
    return log_e >= threshold(level)


def _held_against(case: Case) -> bool:
    return case.harm.log_e >= threshold(case.terms.harm)


def _mistrusted(case: Case) -> bool:
    deciding = _deciding(case)
    untrusted = isinstance(deciding, Rewards) and not deciding.trusted
    return untrusted or case.mismatch >= threshold(Levels(case.rule).sample_ratio)
