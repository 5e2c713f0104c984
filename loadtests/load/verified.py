"""Whether every answer was where the policy says it should be, and whose were not; and what happened to the policy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadtests.load.records import Error, Records, reason_of
from loadtests.load.spec import Spec
from loadtests.verify import Judged, Noted, Published, judge
from router.codec import policy_from_dict
from router.errors import RouterError
from router.policy import format_share

MOST_UNITS = 1_000


class Event(NamedTuple):
    """Something that happened to the model's traffic: when, in seconds from the begin, and what."""

    at_s: float
    words: str


@dataclass(frozen=True, slots=True)
class Verified:
    """The judgement on all answers.

    Attributes:
        judged: what `loadtests.verify` found.
        unnamed: good answers that do not say which version gave them.
        misplaced: the units whose answers were in the wrong place, each once, the first `MOST_UNITS`.
    """

    judged: Judged
    unnamed: int
    misplaced: tuple[str, ...]


def verified(spec: Spec, rows: Records, entries: Iterable[Mapping[str, Any]]) -> Verified:
    """Every good answer against `router.choose`, by the policy of its epoch."""
    good = rows[rows["error"] == Error.NONE]
    named = (good["version"] > 0) & (good["reason"] > 0)
    judged = judge(_noted(good[named]), Published(spec.model, entries), spec.facts)
    units = dict.fromkeys(spec.unit(number) for number in judged.strays[: 10 * MOST_UNITS])
    return Verified(judged, int((~named).sum()), tuple(units)[:MOST_UNITS])


def events(entries: Iterable[Mapping[str, Any]], model: str, began: float, seconds: float) -> tuple[Event, ...]:
    """What the ledger says of the model within the run.

    Args:
        entries: of the ledger.
        model: whose.
        began: of the run, seconds since 1970.
        seconds: how long it was.
    """
    found = []
    for entry in entries:
        if entry["facts"].get("model") == model:
            at_s = entry["at_ms"] / 1_000 - began
            if 0 <= at_s <= seconds:
                found.append(Event(at_s, _words(entry)))
    return tuple(sorted(found))


def moves(notes: Sequence[Mapping[str, Any]]) -> tuple[Event, ...]:
    """What operators did, as the workers noted it."""
    return tuple(sorted(Event(float(at), str(words)) for one in notes for at, words in one["moves"]))


def _noted(rows: Records) -> Iterator[Noted]:
    columns = (rows[name].tolist() for name in ("number", "version", "reason", "epoch"))  # rows of numpy are slow
    for number, version, said, epoch in zip(*columns, strict=True):
        reason = reason_of(said)
        if reason is not None:
            yield Noted(number, version, reason, epoch)


def _words(entry: Mapping[str, Any]) -> str:
    facts = entry["facts"]
    what = f"{entry['kind']} {facts.get('what') or ''}".strip()
    try:
        shares = policy_from_dict(facts["policy"]).shares() if facts.get("policy") else {}
    except RouterError:
        shares = {}
    split = ", ".join(f"{version}: {format_share(share)}" for version, share in shares.items())
    return f"{what} ({split})" if split else what
