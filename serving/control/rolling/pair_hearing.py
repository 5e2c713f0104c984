"""What keepers tell of pairs of answers, read from their stream: what each of them found between two of its messages.

As with the totals of gateways (`hearing`), each message is read once, and times are those of the stream's ids, without
the jumps of the store's clock. What is new in a message is `router.verdicts.pair_blocks`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from router.evidence.pairs import Pairs
from router.verdicts.pair_blocks import Growth, PairBlock, PairsGrown, PairsSaid
from serving.control.evidence_store import Told
from serving.control.rolling.steady import APART_S, Steady
from serving.control.rolling.stream import Stream, Wording
from serving.pair_totals import PairMessage, PairTotals, pair_message_from


class HearsPairs(Protocol):
    """Where the messages of keepers are."""

    async def pairs_after(self, after: str, limit: int) -> Sequence[Told]:
        """The oldest messages of keepers after that id, oldest first."""


class PairHearing:
    """Reads the stream of pairs, each message once.

    Args:
        store: where they are.
        time: by which messages are stamped.
    """

    def __init__(self, store: HearsPairs, time: Steady) -> None:
        words = Wording("what keepers have found", "a keeper's pairs")
        self._stream: Stream[PairMessage] = Stream(store.pairs_after, pair_message_from, words)
        self._time = time
        self._growth = Growth()
        self._stamped_s = 0.0

    def begin(self, since_s: float) -> None:
        """Begins anew, with what was said since shortly before that time, by the store's clock."""
        self._stream.begin(since_s)
        self._growth.clear()
        self._stamped_s = 0.0

    async def listen(self, models: Collection[str]) -> Mapping[str, Sequence[PairsGrown]]:
        """What was found since the last time, by model, in the order in which it was said.

        Args:
            models: of which it matters; of the others only what they last said is remembered.

        Raises:
            StoreUnavailable: the store is away.
        """
        by_model: dict[str, list[PairsGrown]] = {}
        async for store_s, message in self._stream.new():
            at_s = self._stamp(store_s)
            for series in message.series:
                grown = self._growth.heard(message.keeper, at_s, _said(series))
                if grown is not None and series.model in models:
                    by_model.setdefault(series.model, []).append(grown)
            self._growth.told(message.keeper, at_s, whole=message.whole)
        return by_model

    def _stamp(self, store_s: float) -> float:
        """Later than the message before, not later than now."""
        time = self._time
        self._stamped_s = max(self._stamped_s + APART_S, min(store_s + time.ahead_s, time.now_s))
        return self._stamped_s


def _said(one: PairTotals) -> PairsSaid:
    return PairsSaid(one.model, one.stable, one.candidate, one.salt, one.epoch, _block(one))


def _block(one: PairTotals) -> PairBlock:
    """As the tests have it: T7 asks whether a copy took longer than tolerated, so a tie is one that did not."""
    slower = Pairs(one.slower.worse, one.slower.better + one.slower.ties)
    return PairBlock(
        one.compared,
        one.disagreed,
        Pairs(*one.errors),
        slower,
        Pairs(*one.noise),
        one.noise_compared,
        one.noise_disagreed,
        one.unread,
        one.offered,
        one.sent,
        sum(one.shed.values()),
    )
