"""What speaks against a candidate where stable was asked the same: the docket of a guardrail that watches copies.

A pair cancels whatever belongs to its request, so a few hundred of them say what takes thousands of requests that are
dealt out. Its answers reach nobody, and the copy ran beside the request, not under its load: that a candidate's copies
are slow is shown, and weighed only where somebody says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from router.evidence.counts import NOTHING, Block
from router.evidence.disagreements import Disagreements
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.pairs import Pairs
from router.evidence.restarts import Restarts
from router.verdicts.guardrails import LIMIT, Guardrail, Watches
from router.verdicts.pair_blocks import PairBlock

Held: TypeAlias = Pairs | Disagreements


@dataclass(frozen=True, slots=True)
class Paired:
    """The evidence at a guardrail that watches pairs.

    Attributes:
        harm: against "the candidate's copy is no more often the bad one" (T7), or "the answers differ no more often
            than they may" (T7 against stable's own noise, T2 against the limit).
        seen: totals for people: pairs in which only the candidate was bad, and only the other one, of all; of
            disagreements without a second answer of stable's, those that differ.
    """

    harm: Restarts[Held]
    seen: Block = NOTHING

    def restarted(self, guardrail: Guardrail) -> Paired:
        """With one more copy of the test, which has seen nothing yet; the same while nothing was seen."""
        return replace(self, harm=self.harm.begin(_unheard(guardrail))) if self.seen.n_c else self

    def heard(self, guardrail: Guardrail, pairs: PairBlock) -> Paired:
        """With one more block."""
        news, seen = _news(guardrail, pairs)
        if not seen.n_c:
            return self
        if self.seen.n_c and bool(self.seen.n_b) is not bool(seen.n_b):  # another way of asking: people are shown this
            return Paired(self.harm.add(news), seen)
        return Paired(self.harm.add(news), self.seen.merge(seen))

    def certificate(self, _name: str) -> None:
        """Promotion asks nothing of it: that nothing speaks against a candidate is not that it is as good."""


def opened_pairs(guardrail: Guardrail) -> Paired:
    """A docket without evidence."""
    return Paired(Restarts((_unheard(guardrail),)))


def _unheard(guardrail: Guardrail) -> Held:
    if guardrail.watches is not Watches.DISAGREEMENTS:
        return Pairs()
    return Disagreements(OneArm(RateTest(LIMIT if guardrail.limit is None else guardrail.limit)))


def _news(guardrail: Guardrail, pairs: PairBlock) -> tuple[Held, Block]:
    """What a block says at this guardrail, and its totals."""
    if guardrail.watches is Watches.SHADOW_ERRORS:
        return pairs.errors, _totals(pairs.errors)
    if guardrail.watches is Watches.SHADOW_LATENCY:
        return pairs.slower, _totals(pairs.slower)
    empty = _unheard(guardrail)
    assert isinstance(empty, Disagreements)  # noqa: S101 - there is no third kind
    if pairs.lane:
        return replace(empty, noise=pairs.noise), _totals(pairs.noise)
    rate = empty.rate.add(pairs.disagreed, pairs.compared)
    return replace(empty, rate=rate), Block.of(candidate=(pairs.disagreed, pairs.compared), stable=(0, 0))


def _totals(signs: Pairs) -> Block:
    total = signs.worse + signs.better + signs.ties
    return Block.of(candidate=(signs.worse, total), stable=(signs.better, total))
