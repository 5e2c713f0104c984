"""Who was dealt which version: distinct units on a sample of them, requests without a unit by number.

Counted when a request is assigned, before anything can become of it, so that no outcome keeps anybody out of it: that
is what the ratio of a sample is tested by. Only where a bucket decided; a version that a rule, a header or a path named
was nobody's draw. How a unit's first attempts ended is added when they do, and of the one that ended first how long it
took: both in one number (`serving.totals.UnitSeen.ended`), so that it costs no further look-up.

Which units are in the sample is decided by a second hash, of which the split knows nothing: those below a threshold,
exactly. The threshold halves when there are more than `MOST` in one message, and starts anew with each epoch.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Final

from xxhash import xxh3_64_intdigest

from serving.totals import ANSWERED_BITS, TOOK_SHIFT, WHOLE, Units, UnitSeen

if TYPE_CHECKING:
    from router.policy import Policy
    from serving.gateway.counters import Outcome
    from serving.gateway.dispatch import Way

MOST: Final = 512
"""Units of one model in one message."""
NOBODY: Final = -1
"""In the place of a hash: no unit's business."""
_SPARE_BITS: Final = 64 - 53  # of a hash: what is left goes through JSON as it is
_MASK: Final = (1 << TOOK_SHIFT) - 1
_unit = partial(tuple.__new__, UnitSeen)  # without a call of Python's: there are hundreds in every message
_Seen = dict[int, dict[int, int]]


def second_hash(unit: bytes) -> int:
    """53 bits of xxh3_64(one byte of value 1, unit)."""
    return xxh3_64_intdigest(b"\1" + unit) >> _SPARE_BITS


class Dealt:
    """One model's; outlives every routing."""

    __slots__ = ("_count", "_epoch", "_policy", "_seen", "_sent", "_since", "drawn", "threshold")

    def __init__(self) -> None:
        self.drawn: defaultdict[int, int] = defaultdict(int)
        """Requests without a unit, by the version that they were assigned to: running totals."""
        self.threshold = WHOLE
        self._seen: _Seen = {}  # by version: how the unit's first attempts ended, by its hash
        self._count = 0
        self._sent: _Seen = {}  # what is under way to the store
        self._policy: Policy | None = None
        self._epoch = 0
        self._since = 0

    def goes_by(self, policy: Policy, epoch: int) -> None:
        """What the model's requests go by from here on; what was dealt by another policy is not told any more."""
        if policy is not self._policy:
            self._policy, self._since = policy, epoch
            self._forget()
        if epoch != self._epoch:
            self._epoch, self.threshold = epoch, WHOLE
            self._forget()

    def _forget(self) -> None:
        self._seen, self._sent, self._count = {}, {}, 0

    def deal(self, way: Way) -> int:
        """Counts a request that begins; what `ended` wants to know of it."""
        has_unit, hashed = way.has_unit, NOBODY
        if has_unit:  # most are not in the sample: they are told by this before anything else is looked at
            hashed = xxh3_64_intdigest(b"\1" + way.unit) >> _SPARE_BITS  # second_hash, without the call
            if hashed >= self.threshold:
                return NOBODY
        version, _, bucket = way.choice
        if bucket is None or way.epoch < self._since:
            return NOBODY
        if has_unit:
            self._see(hashed, version, 0)
        else:
            self.drawn[version] += 1
        return hashed

    def ended(self, hashed: int, way: Way, outcome: Outcome, bucket: int) -> None:
        """The first attempt of a request is over that was dealt to this unit.

        Args:
            hashed: the unit's, from `deal`.
            way: the request's.
            outcome: how it ended.
            bucket: of how long it took.
        """
        if hashed < self.threshold and way.epoch >= self._since:
            mask = 1 << outcome
            took = 2 * bucket + (2 if mask & ANSWERED_BITS else 1)
            self._see(hashed, way.choice.version, mask | took << TOOK_SHIFT)

    def _see(self, hashed: int, version: int, ended: int) -> None:
        units = self._seen.get(version)
        if units is None:
            units = self._seen[version] = {}
        before = units.get(hashed)
        if before is None:
            units[hashed] = ended
            self._count += 1
            if self._count > MOST:
                self._halve()
        elif ended:  # how long it took is that of the first
            units[hashed] = before | (ended & _MASK if before > _MASK else ended)

    def _halve(self) -> None:
        while self._count > MOST:
            self.threshold //= 2
            self._seen = _below(self._seen, self.threshold)
            self._count = sum(map(len, self._seen.values()))

    # What the message's sender asks of it.

    def take(self) -> Units | None:
        """What was seen since the last time, for a message that is about to be sent; None where that is nobody."""
        if not self._count:
            return None
        self._sent, self._seen, self._count = self._seen, {}, 0
        units = (map(_unit, zip(of, repeat(version), of.values())) for version, of in self._sent.items())
        return Units(self.threshold, tuple(chain.from_iterable(units)))

    def arrived(self) -> None:
        """The message did."""
        self._sent = {}

    def failed(self) -> None:
        """Nobody knows whether it did: it is told again with what came since."""
        since, self._seen, self._sent = self._seen, _below(self._sent, self.threshold), {}
        self._count = sum(map(len, self._seen.values()))
        for version, units in since.items():
            for hashed, ended in units.items():
                if hashed < self.threshold:  # it may fall while they are put back
                    self._see(hashed, version, ended)


def _below(seen: _Seen, threshold: int) -> _Seen:
    return {
        version: {hashed: ended for hashed, ended in units.items() if hashed < threshold}
        for version, units in seen.items()
    }
