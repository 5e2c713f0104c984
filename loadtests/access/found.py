"""What the proof found, and the pure functions that judge it. Times in seconds of one clock, if they say no other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from loadtests.rollouts.heard import quantile
from loadtests.steady import Answer

MOST_REVOKED_S = 1.0
MOST_NEW_S = 5.0
"""Two seconds between fetches that gateways ask for, a look each second, the fetch, and the gateways' own look."""
MOST_OLD_S = 1.0
_OK = 200
_MOST_TOLD = 5


class Asked(NamedTuple):
    """One request to one worker.

    Attributes:
        sent_s: when it went out.
        answered_s: when its answer was there.
        let_in: whether that was a good one.
    """

    sent_s: float
    answered_s: float
    let_in: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How long something that no longer opens went on opening.

    Attributes:
        began_s: when its end began: the revocation was sent, or the set of keys without it was fetched.
        asked: what each worker was asked and said, in order, up to its refusal.
        told_s: when it was said to be over everywhere; never for what nobody says.
    """

    began_s: float
    asked: Mapping[int, Iterable[Asked]]
    told_s: float = math.inf

    @property
    def took_s(self) -> float:
        """Until the last worker refused; infinite where one never did."""
        ends = [min((one.answered_s for one in said if not one.let_in), default=math.inf) for said in self._after]
        return max((end - self.began_s for end in ends), default=math.inf)

    @property
    def late(self) -> int:
        """Requests that went out after it was said to be over, and were let in."""
        return sum(one.let_in and one.sent_s > self.told_s for said in self.asked.values() for one in said)

    @property
    def _after(self) -> Iterable[list[Asked]]:
        return [[one for one in said if one.answered_s >= self.began_s] for said in self.asked.values()]


@dataclass(slots=True)
class Heard:
    """The steady load's answers.

    Attributes:
        count: of all.
        failed: those that were not 200.
        told: the first of these, in words.
    """

    count: int = 0
    failed: int = 0
    told: list[str] = field(default_factory=list)

    def hear(self, answer: Answer) -> None:
        """Notes one answer."""
        self.count += 1
        if answer.status == _OK:
            return
        self.failed += 1
        if len(self.told) < _MOST_TOLD:
            said = answer.error or answer.body[:200].decode("utf-8", "replace")
            self.told.append(f"request {answer.number}: {answer.status} {said}")


@dataclass(slots=True)
class Found:
    """What the run brought in.

    Attributes:
        workers: how many gateways there are.
        revoked: each key that was taken back.
        in_vain: how often the issuer's keys were asked for while it was away.
        known_while_away: workers that let in a fresh token then, signed by a key that they know.
        unknown_while_away: workers that refused a token of a key that they do not know then.
        new_s: from a new key's publication until every worker let in a token of it.
        old: the end of the old key.
        heard: what became of the load.
    """

    workers: int
    revoked: list[Ending] = field(default_factory=list)
    in_vain: int = 0
    known_while_away: int = 0
    unknown_while_away: int = 0
    new_s: float = math.inf
    old: Ending = field(default_factory=lambda: Ending(0.0, {}))
    heard: Heard = field(default_factory=Heard)


class Figure(NamedTuple):
    """One line of the proof."""

    name: str
    value: str
    good: bool

    @property
    def line(self) -> str:
        """For whoever reads it."""
        return f"{'ok  ' if self.good else 'FAIL'} {self.name}: {self.value}"


def judge(found: Found) -> tuple[Figure, ...]:
    """Each figure, and whether it is good."""
    took = [one.took_s for one in found.revoked]
    middle, most = quantile(took, 0.5), quantile(took, 0.99)
    late, all_of = sum(one.late for one in found.revoked), f"{found.workers} of {found.workers} gateways"
    return (
        Figure(f"a key that is taken back is refused by {all_of}, p50 of {len(took)}", _ms(middle), bool(took)),
        Figure(f"the same, p99 (at most {_ms(MOST_REVOKED_S)})", _ms(most), most <= MOST_REVOKED_S),
        Figure("requests let in that were sent after that was answered (none)", f"{late}", late == 0),
        Figure("the issuer's keys asked for in vain while it was away (some)", f"{found.in_vain}", found.in_vain > 0),
        _of("gateways that let in fresh tokens of a known key meanwhile (all)", found.known_while_away, found.workers),
        _of("gateways that refused a token of an unknown one (all)", found.unknown_while_away, found.workers),
        Figure(
            f"a new key's token is let in by {all_of} after its publication (at most {_ms(MOST_NEW_S)})",
            _ms(found.new_s), found.new_s <= MOST_NEW_S,
        ),
        Figure(
            f"the old key's is refused by {all_of} once the set without it was fetched (at most {_ms(MOST_OLD_S)})",
            _ms(found.old.took_s), found.old.took_s <= MOST_OLD_S,
        ),
        Figure("requests of the load (some)", f"{found.heard.count:,}", found.heard.count > 0),
        Figure("of these failed (none)", f"{found.heard.failed}", found.heard.failed == 0),
    )  # fmt: skip


def _of(name: str, count: int, workers: int) -> Figure:
    return Figure(name, f"{count} of {workers}", count == workers)


def _ms(seconds: float) -> str:
    return f"{seconds * 1_000:,.0f} ms" if math.isfinite(seconds) else "never"
