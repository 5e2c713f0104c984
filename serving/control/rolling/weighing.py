"""What the machine is shown of a rollout's candidates: their cases' verdicts, and how many requests there were. Pure.

Harm to one candidate takes the rollout back. Where several are tried, one that waits makes the rollout wait, and the
one that is found best ends the trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, NamedTuple

from router.evidence.judge import MOST_LEFT_OUT, Decision, Verdict
from router.plan import End
from router.rollout import Evidence, Rollout, Says
from router.stage import Does, Needs
from router.verdicts.winner import winner
from serving.control.rolling.evidence import Counts, evidence_of
from serving.control.rolling.judged import Arm, Beside, Judged, Tried
from serving.control.rolling.records import Record

DETECTION: Final = "detection_s"
"""Under this name the ledger has how long harm was done before it was found, seconds."""

_LN10: Final = math.log(10)
_SAYS: Final = {Decision.PROMOTE: Says.PROMOTE, Decision.ROLL_BACK: Says.ROLL_BACK, Decision.NOT_YET: Says.NOT_YET}
_BY_RULES: Final = "requests by rules or copies cannot be compared: time and requests decide"

Verdicts = Mapping[int, Verdict]


def verdicts_of(record: Record, counts: Counts | None, judged: Judged | None) -> Verdicts:
    """What the case of each candidate of the present leg is enough for."""
    rollout = record.rollout
    if judged is None or judged.first_leg != rollout.first_leg:
        return {}
    requests = counts.requests() if counts is not None and counts.leg == rollout.leg else {}
    return {version: arm.verdict(rollout, requests.get(version, 0)) for version, arm in judged.live(rollout).items()}


class Basis(NamedTuple):
    """What the evidence rests on.

    Attributes:
        record: the rollout.
        tried: the versions that its leg judges (`tried_in`).
        counts: its requests, as the gateways' leases have them.
        judged: its cases.
        verdicts: what they are enough for.
    """

    record: Record
    tried: Mapping[int, Tried]
    counts: Counts | None
    judged: Judged | None
    verdicts: Verdicts


def weighed(basis: Basis, *, quiet_s: float, now_s: float) -> Evidence | None:
    """What is known of the present leg; None where nothing is.

    Args:
        basis: what it rests on.
        quiet_s: up to when it is known that there was nothing more to hear; 0 where that is not known.
        now_s: the time, by the store's clock.
    """
    record, tried, counts, judged, verdicts = basis
    rollout = record.rollout
    base = None if counts is None else evidence_of(record, counts, now_s)
    if not tried:
        return None if base is None else _by_time(rollout, base)
    if judged is None or not tried.keys() <= verdicts.keys():
        return None
    arms = {version: judged.arms[version] for version in tried}
    if all(one.how is Beside.SHADOWED for one in tried.values()):
        return _by_copies(basis, arms, base, now_s)
    at_s = min(_fresh_s(arm, quiet_s) for arm in arms.values())
    says = _says(rollout, arms, verdicts)
    if not at_s and says is not Says.ROLL_BACK:
        return None
    requests = {} if base is None else base.requests
    newest_s = at_s or arms[_deciding(verdicts)].case.newest_s
    found = Evidence(rollout.leg, newest_s, says, requests, _winner(rollout, arms))
    return _explained(found, arms, verdicts, now_s)


def _by_copies(basis: Basis, arms: Mapping[int, Arm], base: Evidence | None, now_s: float) -> Evidence | None:
    """Of copies alone: harm takes it back; else time and requests pass the stage, as they do without any verdict.

    A stage that waits for a verdict is not passed while its copies are no fair sample.
    """
    rollout, verdicts = basis.record.rollout, basis.verdicts
    says = _says(rollout, arms, verdicts)
    if says is Says.ROLL_BACK:
        newest_s = max(arm.case.newest_s for arm in arms.values())
        back = Evidence(rollout.leg, newest_s, says, {} if base is None else base.requests)
        return _explained(back, arms, verdicts, now_s)
    if base is None:
        return None
    by_time = _by_time(rollout, base)
    if any(1 - arm.case.copies.shown > MOST_LEFT_OUT for arm in arms.values()):
        by_time = replace(by_time, says=Says.NOT_YET)
    found = _explained(by_time, arms, verdicts, now_s)
    unheard = by_time.says is Says.PROMOTE and says is not Says.PROMOTE
    return replace(found, because=by_time.because) if unheard else found


def _explained(found: Evidence, arms: Mapping[int, Arm], verdicts: Verdicts, now_s: float) -> Evidence:
    """With the words and the numbers of what decides."""
    deciding = _deciding(verdicts)
    verdict, arm = verdicts[deciding], arms[deciding]
    numbers = dict(_numbers(verdicts))
    if found.says is Says.ROLL_BACK:
        numbers[DETECTION] = max(0.0, now_s - arm.onset.began_s) if arm.onset.began_s else 0.0
    return replace(
        found,
        stand_still=any(one.freeze for one in verdicts.values()),
        incident=any(one.incident for one in verdicts.values()),
        alert=any(one.alert for one in verdicts.values()),
        because=verdict.words if len(arms) == 1 else f"Version {deciding}: {verdict.words}",
        numbers=numbers,
    )


def at(evidence: Evidence, at_s: float) -> Evidence:
    """The same evidence, of which nothing more has come up to that time."""
    return evidence if at_s <= evidence.at_s else replace(evidence, at_s=at_s)


def _by_time(rollout: Rollout, base: Evidence) -> Evidence:
    """A look by rules or copies alone is passed by its time and requests, also where the plan asks for a verdict."""
    stage = rollout.entered
    if stage is None or stage.does is Does.WATCH or stage.needs is Needs.MINIMA:
        return base
    if stage.policy is not None or stage.shares:
        return base
    enough = all(base.requests.get(one, 0) >= max(1, stage.min_requests) for one in stage.versions)
    return replace(base, says=Says.PROMOTE, because=_BY_RULES) if enough else base


def _fresh_s(arm: Arm, quiet_s: float) -> float:
    """When the newest second closed of which all is known and that lies within the leg; 0 for none."""
    return max(arm.fresh_s, quiet_s if quiet_s - 1 >= arm.since_s else 0.0)


def _says(rollout: Rollout, arms: Mapping[int, Arm], verdicts: Verdicts) -> Says:
    found = {version: _SAYS[verdicts[version].decision] for version in arms}
    if Says.ROLL_BACK in found.values():
        return Says.ROLL_BACK
    if rollout.plan.end is End.WINNER and rollout.chosen is None:
        asked = all(arm.requests for arm in arms.values())
        return Says.PROMOTE if asked and _winner(rollout, arms) is not None else Says.NOT_YET
    return Says.PROMOTE if set(found.values()) == {Says.PROMOTE} else Says.NOT_YET


def _winner(rollout: Rollout, arms: Mapping[int, Arm]) -> int | None:
    """The version that is found best, of a trial that looks for one and compares all of them with stable."""
    compared = {version: arm.case for version, arm in arms.items() if arm.tried.how is Beside.COMPARED}
    if rollout.plan.end is not End.WINNER or len(compared) < len(arms):
        return None
    return winner(compared, rollout.base.stable)


def _deciding(verdicts: Verdicts) -> int:
    """The version whose verdict is given as the reason: harm first, then what calls somebody, what stands still."""

    def rank(version: int) -> tuple[bool, ...]:
        one = verdicts[version]
        return (one.decision is not Decision.ROLL_BACK, not one.alert, not one.freeze, one.decision is Decision.PROMOTE)

    return min(sorted(verdicts), key=rank)


def _numbers(verdicts: Verdicts) -> Iterator[tuple[str, float]]:
    """Each number that a verdict rests on, and what it was held against, as powers of ten."""
    for version, verdict in verdicts.items():
        for one in verdict.numbers:
            yield f"log10_e.{version}.{one.name}", one.log_e / _LN10
            yield f"log10_needed.{version}.{one.name}", one.threshold / _LN10
