"""A block of time as one line of JSON, and back: what is recorded of a rollout, and what a replay reads.

Equal blocks have equal lines. A line that says more than is understood is refused as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from router.evidence.errors import EvidenceError
from router.evidence.pairs import Pairs
from router.verdicts.pair_blocks import PAIR_FIELDS, PairBlock
from router.verdicts.tallies import Moment, Tally
from router.verdicts.units import Took, UnitBlock

READER: Final = 1
"""The newest form of a line that this code reads and the one that it writes."""
_NO_SIGNS: Final = Pairs()
_Plain = Mapping[str, Any]
MALFORMED: Final = (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError)
"""What reading something else than what was written may raise."""


def encode_moment(moment: Moment) -> str:
    """The block as one line, without its end."""
    plain = {"reader": READER, **moment_as_plain(moment)}
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decode_moment(line: str | bytes) -> Moment:
    """The block in this line.

    Raises:
        EvidenceError: no block, or one for a newer reader.
    """
    try:
        plain = json.loads(line)
        reader = plain.pop("reader")
        if type(reader) is not int or not 1 <= reader <= READER:
            raise EvidenceError(f"this block is written for readers of form {reader!r}; this one reads up to {READER}")
        return moment_from_plain(plain)
    except MALFORMED as error:
        raise error if isinstance(error, EvidenceError) else EvidenceError(f"this is no block: {error!r}") from error


def moment_as_plain(moment: Moment) -> _Plain:
    """The block as what JSON knows; what is not there is left out."""
    plain: dict[str, Any] = {
        "ended_s": moment.ended_s,
        "candidate": arm_as_plain(moment.candidate),
        "stable": arm_as_plain(moment.stable),
        "draw": moment.draw,
    }
    if moment.units is not None:
        plain["units"] = list(moment.units)
    if moment.people is not None:
        plain["people"] = _people(moment.people)
    if moment.pairs is not None:
        plain["pairs"] = pairs_as_plain(moment.pairs)
    return plain


def moment_from_plain(plain: _Plain) -> Moment:
    """The block in plain values; raises what a lookup or a conversion raises, for the caller knows what it reads."""
    if unknown := plain.keys() - {"ended_s", "candidate", "stable", "draw", "units", "people", "pairs"}:
        raise EvidenceError(f"this block says more than is understood: {sorted(unknown)}")
    arms = arm_from_plain(plain["candidate"]), arm_from_plain(plain["stable"])
    units, people, pairs_said = (plain.get(name) for name in ("units", "people", "pairs"))
    return Moment(
        float(plain["ended_s"]),
        *arms,
        float(plain["draw"]),
        None if units is None else _two(units),
        None if people is None else _people_from(people),
        None if pairs_said is None else pairs_from_plain(pairs_said),
    )


def pairs_as_plain(block: PairBlock) -> _Plain:
    """What was found in pairs; what nobody found is left out."""
    said: dict[str, Any] = {}
    for name in PAIR_FIELDS:
        value = getattr(block, name)
        if value and value != _NO_SIGNS:
            said[name] = [value.worse, value.better, value.ties] if isinstance(value, Pairs) else value
    return said


def pairs_from_plain(plain: _Plain) -> PairBlock:
    """What `pairs_as_plain` wrote."""
    read: dict[str, Any] = {name: Pairs(*one) if isinstance(one, list) else one for name, one in plain.items()}
    return PairBlock(**read)


def _two(plain: list[int]) -> tuple[int, int]:
    candidate, stable = (int(count) for count in plain)
    return candidate, stable


def arm_as_plain(arm: Mapping[str, Tally]) -> _Plain:
    """What the replicas of one arm did, by their names."""
    return {name: _tally(one) for name, one in arm.items()}


def _tally(one: Tally) -> list[Any]:
    plain = [dict(one.outcomes), pairs(one.answered), pairs(one.unanswered)]
    return [*plain, dict(one.predicted)] if one.predicted else plain


def arm_from_plain(plain: _Plain) -> Mapping[str, Tally]:
    """What `arm_as_plain` wrote."""
    return {str(name): _tally_from(*said) for name, said in plain.items()}


def _tally_from(
    outcomes: _Plain, answered: list[list[int]], unanswered: list[list[int]], predicted: _Plain | None = None
) -> Tally:
    return Tally(_named(outcomes), counts(answered), counts(unanswered), _named(predicted or {}))


def _named(plain: _Plain) -> dict[str, int]:
    return {str(name): int(count) for name, count in plain.items()}


def pairs(several: Mapping[int, int]) -> list[list[int]]:
    """Counts by bucket, in order."""
    return [[bucket, count] for bucket, count in sorted(several.items())]


def counts(plain: list[list[int]]) -> dict[int, int]:
    """What `pairs` wrote."""
    return {int(bucket): int(count) for bucket, count in plain}


def _people(people: UnitBlock) -> _Plain:
    arms = {"candidate": people.candidate, "stable": people.stable}
    said = {arm: [[unit, *sorted(names)] for unit, names in sorted(units.items())] for arm, units in arms.items()}
    took = [[unit, bucket, int(answered)] for unit, (bucket, answered) in sorted(people.took.items())]
    return {"threshold": people.threshold, **said, "took": took}


def _people_from(plain: _Plain) -> UnitBlock:
    candidate, stable = (
        {int(unit): frozenset(map(str, names)) for unit, *names in plain[arm]} for arm in ("candidate", "stable")
    )
    took = {int(unit): Took(int(bucket), bool(answered)) for unit, bucket, answered in plain["took"]}
    return UnitBlock(int(plain["threshold"]), candidate, stable, took)
