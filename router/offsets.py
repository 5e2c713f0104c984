"""Where the arms of a policy begin when their shares are set: where they began, as long as there is room for that.

A plan knows beforehand how large its arms will be and lays them out once (`router.places`); shares that are set by
hand are known one at a time, so here an arm only moves where it cannot stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

_Numbers = Mapping[int, int]


def offsets_of(shares: _Numbers, current: _Numbers, whole: int) -> dict[int, int]:
    """Where each arm begins, by version: where it began, if the new shares leave it room there.

    Args:
        shares: parts by version, at most all of them together.
        current: where the arms begin that are there already.
        whole: how many parts there are.
    """
    kept = {version: current[version] for version in shares if version in current}
    if not _fits(shares, kept, whole):
        order = sorted(shares, key=lambda version: (current.get(version, whole), version))
        return _spread(shares, order, whole)
    for version in shares:
        if version not in kept:
            place = _place(shares, kept, version, whole)
            if place is None:
                return _spread(shares, sorted(shares, key=lambda one: (kept.get(one, whole), one)), whole)
            kept[version] = place
    return kept


def _fits(shares: _Numbers, offsets: _Numbers, whole: int) -> bool:
    ends = sorted((offset, offset + shares[version]) for version, offset in offsets.items() if shares[version])
    return all(left[1] <= right[0] for left, right in pairwise([*ends, (whole, whole)]))


def _place(shares: _Numbers, offsets: _Numbers, version: int, whole: int) -> int | None:
    """The middle of the widest gap, so that both neighbours keep room to grow; None where no gap is wide enough."""
    taken = sorted((offset, offset + shares[one]) for one, offset in offsets.items())
    gaps: list[tuple[int, int]] = []
    end = 0
    for first, after in [*taken, (whole, whole)]:
        gaps.append((end, first - end))
        end = max(end, after)  # an arm without a share may lie inside another's range
    start, width = max(gaps, key=lambda gap: gap[1])
    if width < shares[version]:
        return None
    return start + (width - shares[version]) // 2 if taken else start


def _spread(shares: _Numbers, order: list[int], whole: int) -> dict[int, int]:
    """All arms side by side, the room that is left shared out after each."""
    slack = (whole - sum(shares.values())) // len(order)
    offsets: dict[int, int] = {}
    start = 0
    for version in order:
        offsets[version] = start
        start += shares[version] + slack
    return offsets
