"""Recorded blocks, judged again: what was said of them second by second, and what other terms would have said.

A record is lines of JSON: the blocks in order (`moment_form`), and wherever shares changed a line of its own with the
shares that held from there on, `{"ramped": [candidate, stable]}` in any unit, with `"anew": true` where another attempt
began and `"copied": true` where the candidate got copies (and, with a share of 0, nothing else). A record without such
lines is judged as one step.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from router.evidence.errors import EvidenceError
from router.evidence.judge import Verdict
from router.verdicts.case import Case
from router.verdicts.guardrails import Terms
from router.verdicts.moment_form import decode_moment
from router.verdicts.tallies import Moment

MOST_LINES: Final = 1_000_000
_RAMPED: Final = "ramped"
_ANEW: Final = "anew"
_COPIED: Final = "copied"


class Ramped(NamedTuple):
    """From here on units went to the arms by these shares, in any unit; stable's is 0 where the candidate was alone."""

    candidate: int
    stable: int
    anew: bool = False
    """Whether another attempt begins here: what was recorded before is not held against it."""
    copied: bool = False
    """Whether the candidate got copies from here on; with a share of 0 it got nothing else."""


Recorded: TypeAlias = Moment | Ramped


class Turn(NamedTuple):
    """A second at which the verdict became another one.

    Attributes:
        at_s: when that block closed, by the clock of the record.
        after_s: seconds since the first block began to count.
        verdict: what was said from there on.
        requests: what the candidate had had by then.
    """

    at_s: float
    after_s: float
    verdict: Verdict
    requests: int


class Replay(NamedTuple):
    """A whole record.

    Attributes:
        turns: where the verdict changed, in order; the first is the first block's.
        last: what was said at the end.
        case: all that was heard, for its numbers.
        blocks: how many there were.
    """

    turns: tuple[Turn, ...]
    last: Turn
    case: Case
    blocks: int

    @property
    def back(self) -> Turn | None:
        """Where it said to go back, first."""
        return next((one for one in self.turns if one.verdict.decision == "roll_back"), None)


def recorded(lines: Iterable[str | bytes]) -> Iterator[Recorded]:
    """What a record says.

    Raises:
        EvidenceError: a line is no block, or a block is no later than the one before; names the line.
    """
    newest_s = 0.0
    for nth, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        if nth > MOST_LINES:
            raise EvidenceError(f"a record has {MOST_LINES:,} lines at most")
        try:
            one = _ramp(line) or decode_moment(line)
        except EvidenceError as error:
            raise EvidenceError(f"line {nth}: {error}") from error
        if isinstance(one, Moment):
            if one.ended_s <= newest_s:
                raise EvidenceError(
                    f"line {nth}: this block closed no later than the one before: sort the lines by ended_s"
                )
            newest_s = one.ended_s
        yield one


def replayed(record: Iterable[Recorded], terms: Terms) -> Replay:
    """A record judged by these terms.

    As if each step's time and requests were met from its beginning: when it went on is in the record, and what the
    evidence was enough for is what is asked.

    Raises:
        EvidenceError: there is no block in it.
    """
    case, turns, blocks, requests, first_s = Case(terms), list[Turn](), 0, 0, 0.0
    last: Turn | None = None
    only_copies = False
    for one in record:
        if isinstance(one, Ramped):
            case, requests = (Case(terms), 0) if one.anew else (case, requests)
            case, only_copies = _stepped(case, one), not one.candidate
            continue
        case, blocks = case.heard_copies(one) if only_copies else case.heard(one), blocks + 1
        first_s = first_s or one.ended_s
        requests += one.pairs.ended if only_copies and one.pairs else 0
        requests += sum(tally.total for tally in one.candidate.values())
        verdict = case.verdict(minima_met=True, alone=case.alone and not only_copies, only_copies=only_copies)
        last = Turn(one.ended_s, one.ended_s - first_s, verdict, requests)
        if not turns or _differs(turns[-1].verdict, verdict):
            turns.append(last)
    if last is None:
        raise EvidenceError("there is no block in this record: a rollout has them once its candidate has a share")
    return Replay(tuple(turns), last, case, blocks)


def _stepped(case: Case, ramped: Ramped) -> Case:
    """The case on another leg."""
    case = case.copied()
    if not ramped.candidate:
        return case
    return case.ramped(ramped.candidate, ramped.stable) if ramped.stable else case.watched()


def _differs(before: Verdict, now: Verdict) -> bool:
    return (before.decision, before.freeze) != (now.decision, now.freeze)


def _ramp(line: str | bytes) -> Ramped | None:
    """The shares that this line tells; None where it is another one."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise EvidenceError("this is no JSON") from error
    if not isinstance(said, dict) or said.keys() - {_ANEW, _COPIED} != {_RAMPED}:
        return None
    shares = said[_RAMPED]
    sound = isinstance(shares, list) and len(shares) == 2 and all(type(one) is int and one >= 0 for one in shares)  # noqa: PLR2004 - two arms
    copied = said.get(_COPIED) is True
    if not sound or not (shares[0] or (copied and shares[1])):
        raise EvidenceError(f"'{_RAMPED}' takes the candidate's share and stable's, whole numbers, not {shares!r}")
    return Ramped(shares[0], shares[1], said.get(_ANEW) is True, copied)
