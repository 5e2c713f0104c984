"""What keepers found in pairs of answers, as the tests of evidence want it: what a block adds, by who was worse.

A keeper tells running totals, so what it found between two of its messages is their difference. Totals only grow: a
message that is lost merges two differences, one that comes twice adds nothing, and one that comes too late, with less
than was told before, is passed over. What a keeper had found before its first message is of no known time; a series
that is met after a whole message began after that one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, NamedTuple

from router.evidence.errors import EvidenceError
from router.evidence.pairs import Pairs

_COUNTS: Final = ("compared", "disagreed", "noise_compared", "noise_disagreed", "unread", "offered", "sent", "shed")
_SIGNS: Final = ("errors", "slower", "noise")
FORGOTTEN_S: Final = 900.0
"""A keeper that has said nothing for so long is gone."""


@dataclass(frozen=True, slots=True)
class PairBlock:
    """Pairs of one candidate's copies and the answers that clients got.

    Attributes:
        compared: pairs in which both answered well and both answers could be read.
        disagreed: those whose outputs differ by the rules.
        errors: pairs by whose answer was none: the copy's (worse), the client's (better).
        slower: pairs by whether the copy took longer than tolerated (worse) or not.
        noise: triples, with a second answer of stable's: only the candidate's answer differs from the client's (worse),
            only stable's second one does (better).
        noise_compared: pairs of stable's two answers that were compared.
        noise_disagreed: those that differ.
        unread: pairs of which an answer could not be read, or was too long to be kept.
        offered: requests that were in the sample.
        sent: those of which a copy was sent.
        shed: those of which none was.
        lane: whether stable is asked a second time, so that there is a floor to be held against.
    """

    compared: int = 0
    disagreed: int = 0
    errors: Pairs = field(default_factory=Pairs)
    slower: Pairs = field(default_factory=Pairs)
    noise: Pairs = field(default_factory=Pairs)
    noise_compared: int = 0
    noise_disagreed: int = 0
    unread: int = 0
    offered: int = 0
    sent: int = 0
    shed: int = 0
    lane: bool = False

    def __post_init__(self) -> None:
        """Refuse counts that cannot be."""
        if min(getattr(self, name) for name in _COUNTS) < 0:
            raise EvidenceError(f"pairs are counted from 0 up: {self}")
        if self.disagreed > self.compared or self.noise_disagreed > self.noise_compared:
            raise EvidenceError("more pairs disagree than were compared")

    def merge(self, other: PairBlock) -> PairBlock:
        """Both as one: of the same time from two keepers, or neighbours."""
        counts: dict[str, Any] = {name: getattr(self, name) + getattr(other, name) for name in _COUNTS}
        signs: dict[str, Any] = {name: getattr(self, name).merge(getattr(other, name)) for name in _SIGNS}
        return replace(self, lane=self.lane or other.lane, **counts, **signs)

    def since(self, before: PairBlock) -> PairBlock:
        """What these totals have more than those.

        Raises:
            EvidenceError: they have less of something: they are older, or another keeper's.
        """
        counts: dict[str, Any] = {name: getattr(self, name) - getattr(before, name) for name in _COUNTS}
        signs: dict[str, Any] = {name: _since(getattr(self, name), getattr(before, name)) for name in _SIGNS}
        return replace(self, **counts, **signs)

    def on(self, *, lane: bool) -> PairBlock:
        """The same, where stable is asked a second time, or is not."""
        return replace(self, lane=lane)

    @property
    def ended(self) -> int:
        """Pairs of which both ends are known."""
        return self.errors.worse + self.errors.better + self.errors.ties

    @property
    def against(self) -> bool:
        """Whether a pair is among them that speaks against the candidate."""
        return bool(self.errors.worse or (self.noise.worse if self.lane else self.disagreed))

    @property
    def shown(self) -> float:
        """Of the requests in the sample, the part that was not left out: shed, or not to be read; 1 without any."""
        if not self.offered:
            return 1.0
        return max(0.0, 1 - (self.shed + self.unread) / self.offered)


NO_PAIRS: Final = PairBlock()
PAIR_FIELDS: Final = tuple(one.name for one in fields(PairBlock))


class Copied(NamedTuple):
    """How a candidate gets copies.

    Attributes:
        salt: of its shadow: pairs are told under it.
        lane: whether stable is asked a second time.
    """

    salt: str
    lane: bool


class PairsGrown(NamedTuple):
    """What a keeper found of one candidate between two of its messages.

    Attributes:
        stable: the version that clients' answers were of.
        candidate: the version that got copies.
        salt: of the shadow.
        at_s: when the later one was sent, by the clock that all messages are stamped by.
        before: the epoch at the earlier one.
        epoch: that at the later one.
        more: what was found in between.
    """

    stable: int
    candidate: int
    salt: str
    at_s: float
    before: int
    epoch: int
    more: PairBlock


class PairsSaid(NamedTuple):
    """One series of a message: whose pairs, the newest epoch among them, and all that was found since it began."""

    model: str
    stable: int
    candidate: int
    salt: str
    epoch: int
    totals: PairBlock


@dataclass(slots=True)
class _Keeper:
    at_s: float
    whole: bool = False
    series: dict[tuple[str, int, int, str], tuple[int, PairBlock]] = field(default_factory=dict)


class Growth:
    """Remembers what each keeper told last, and gives what is new."""

    def __init__(self) -> None:
        self._keepers: dict[str, _Keeper] = {}

    def clear(self) -> None:
        """Forgets everybody: what comes next is where counting begins."""
        self._keepers.clear()

    def heard(self, keeper: str, at_s: float, said: PairsSaid) -> PairsGrown | None:
        """What this series has more than when it was told last; None where that is nothing, or nobody knows.

        Args:
            keeper: who tells, by its name and start.
            at_s: when.
            said: one series of its message; hand each of them in, then call `told`.
        """
        known = self._keepers.setdefault(keeper, _Keeper(at_s))
        key = (said.model, said.stable, said.candidate, said.salt)
        had = known.series.get(key)
        if had is None and known.whole:
            had = said.epoch, NO_PAIRS
        if had is None:
            known.series[key] = said.epoch, said.totals
            return None
        try:
            more = said.totals.since(had[1])
        except EvidenceError:  # older than what was told: all that it says is known
            return None
        known.series[key] = said.epoch, said.totals
        if more == NO_PAIRS:
            return None
        return PairsGrown(said.stable, said.candidate, said.salt, at_s, had[0], said.epoch, more)

    def told(self, keeper: str, at_s: float, *, whole: bool) -> None:
        """A message of that keeper has been heard to its end."""
        known = self._keepers.setdefault(keeper, _Keeper(at_s))
        known.at_s, known.whole = at_s, known.whole or whole
        for name in [one for one, of in self._keepers.items() if at_s - of.at_s > FORGOTTEN_S]:
            del self._keepers[name]


def _since(now: Pairs, before: Pairs) -> Pairs:
    return Pairs(now.worse - before.worse, now.better - before.better, now.ties - before.ties)
