"""A case as bytes, to be stored with its rollout, and back.

Equal cases have equal bytes. What is written for a newer reader, or says more than is understood, is refused as a
whole: half the evidence is not evidence. The terms are the rollout's, so they are not written again: whoever reads a
case brings them along, and dockets that do not fit them are refused.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from router.evidence.codec import as_plain
from router.evidence.errors import EvidenceError
from router.evidence.replicas import Replicas
from router.evidence.sample_ratio import SampleRatio
from router.evidence.sequential import Peak
from router.verdicts.case import Case, Heard
from router.verdicts.docket_form import docket_as_plain, docket_from_plain, maybe, state
from router.verdicts.guardrails import Terms
from router.verdicts.moment_form import (
    MALFORMED,
    arm_as_plain,
    arm_from_plain,
    counts,
    moment_as_plain,
    moment_from_plain,
    pairs,
    pairs_as_plain,
    pairs_from_plain,
)
from router.verdicts.ranks import Ranks
from router.verdicts.units import ALL, MOST_UNITS, Dealt, People

READER: Final = 3
"""The form that this code writes; it reads the one before as well, in which no pair was counted."""
_OLDEST: Final = 2
_HASH_BYTES: Final = 7
_Plain = Mapping[str, Any]


def encode_case(case: Case) -> bytes:
    """The case's canonical bytes, without its terms."""
    value = {
        "reader": READER,
        "dockets": [docket_as_plain(docket) for docket in case.dockets],
        "ranks": _ranks(case.ranks),
        "ratio": as_plain(case.ratio),
        "harm": case.harm.log_e,
        "waiting": maybe(case.waiting, moment_as_plain),
        "waits_since_s": case.waits_since_s,
        "minute": [[heard.ended_s, pairs(heard.durations)] for heard in case.minute],
        "began_s": case.began_s,
        "newest_s": case.newest_s,
        "people": _people(case.people),
        "returned": as_plain(case.returned),
        "by_unit": case.by_unit,
        "alone": case.alone,
        "copies": pairs_as_plain(case.copies),
        "unranked": case.unranked.log_e,
    }
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def decode_case(blob: bytes, terms: Terms) -> Case:
    """The case in these bytes, under the terms that it was built on.

    Raises:
        EvidenceError: no case, one for a newer reader, or one of other terms.
    """
    try:
        value = json.loads(blob)
        _refuse_other(value.pop("reader"))
        return _case(value, terms)
    except MALFORMED as error:
        raise error if isinstance(error, EvidenceError) else EvidenceError(f"this is no case: {error!r}") from error


def _refuse_other(reader: object) -> None:
    if type(reader) is not int or not _OLDEST <= reader <= READER:
        raise EvidenceError(
            f"this case is written for readers of form {reader!r}; this one reads {_OLDEST} to {READER}"
        )


def _case(value: dict[str, Any], terms: Terms) -> Case:
    dockets = zip(value.pop("dockets"), terms.guardrails, strict=True)
    case = Case(
        terms,
        tuple(docket_from_plain(plain, guardrail) for plain, guardrail in dockets),
        _ranks_from(value.pop("ranks")),
        state(value.pop("ratio"), SampleRatio),
        Peak(float(value.pop("harm"))),
        maybe(value.pop("waiting"), moment_from_plain),
        float(value.pop("waits_since_s")),
        tuple(Heard(float(ended_s), counts(plain)) for ended_s, plain in value.pop("minute")),
        float(value.pop("began_s")),
        float(value.pop("newest_s")),
        _people_from(value.pop("people")),
        state(value.pop("returned"), SampleRatio),
        bool(value.pop("by_unit")),
        bool(value.pop("alone")),
        pairs_from_plain(value.pop("copies", {})),
        Peak(float(value.pop("unranked", 0.0))),
    )
    if value:
        raise EvidenceError(f"this case says more than is understood: {sorted(value)}")
    return case


def _ranks(ranks: Ranks) -> _Plain:
    return {
        "errors": as_plain(ranks.errors),
        "latency": [as_plain(one) for one in ranks.latency],
        "since_s": ranks.since_s,
        "candidate": arm_as_plain(ranks.candidate),
        "stable": arm_as_plain(ranks.stable),
        "ranked": list(ranks.ranked),
    }


def _ranks_from(plain: _Plain) -> Ranks:
    first, second = plain["ranked"]
    return Ranks(
        state(plain["errors"], Replicas),
        tuple(state(one, Replicas) for one in plain["latency"]),
        float(plain["since_s"]),
        arm_from_plain(plain["candidate"]),
        arm_from_plain(plain["stable"]),
        (int(first), int(second)),
    )


def _people(people: People) -> _Plain:
    known = sorted(people.known)
    sets = people.stable, people.before, people.timed
    had = bytes(sum((unit in one) << bit for bit, one in enumerate(sets)) for unit in known)
    return {
        "threshold": people.threshold,
        "known": _hashes(known),
        "had": b64encode(had).decode(),
        "failed": {watches: _hashes(sorted(units)) for watches, units in people.failed.items()},
        "minute": [list(one) for one in people.minute],
    }


def _people_from(plain: _Plain) -> People:
    known, had = _hashes_from(plain["known"]), b64decode(plain["had"], validate=True)
    stable, before, timed = (
        frozenset(unit for unit, bits in zip(known, had, strict=True) if bits >> bit & 1) for bit in range(3)
    )
    people = People(
        int(plain["threshold"]),
        frozenset(known),
        stable,
        before,
        {str(watches): frozenset(_hashes_from(units)) for watches, units in plain["failed"].items()},
        tuple(Dealt(*map(float, one)) for one in plain["minute"]),
        timed,
    )
    sets = (people.known, *people.failed.values())
    if not 1 <= people.threshold <= ALL or any(len(units) > MOST_UNITS for units in sets):
        raise EvidenceError(f"a rollout remembers {MOST_UNITS:,} units at most, below a threshold of hashes")
    return people


def _hashes(units: list[int]) -> str:
    """Seven bytes each: eight thousand of them are written every second."""
    return b64encode(b"".join(unit.to_bytes(_HASH_BYTES, "big") for unit in units)).decode()


def _hashes_from(text: str) -> list[int]:
    blob = b64decode(text, validate=True)
    if len(blob) % _HASH_BYTES:
        raise EvidenceError("these are no hashes of units: each has seven bytes")
    return [int.from_bytes(blob[start : start + _HASH_BYTES], "big") for start in range(0, len(blob), _HASH_BYTES)]
