"""Where arms begin, so that none ever has to move: one layout for all the shares that they will ever have.

An arm owns the buckets from its place on, as many as its share. It grows to the right, so another arm may begin only
behind the largest share that it ever has at the same time. Arms that never have anything at the same time may share
a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

from router.policy import WHOLE


def places_of(stages: Sequence[Mapping[int, int]]) -> dict[int, int] | None:
    """Where each arm begins, such that at every stage no two own the same bucket; None where there is no way.

    For one order of the arms the tightest layout follows from the stages; what room is left goes between the arms.
    """
    versions = sorted({version for shares in stages for version in shares})
    for order in permutations(versions):
        places, end = _tightest(order, stages)
        if end <= WHOLE:
            room = WHOLE - end
            return {version: places[version] + room * nth // len(order) for nth, version in enumerate(order)}
    return None


def _tightest(order: Sequence[int], stages: Sequence[Mapping[int, int]]) -> tuple[dict[int, int], int]:
    """The places of these arms from left to right, as far left as can be, and where the last one ends."""
    places: dict[int, int] = {}
    end = 0
    for version in order:
        shared = [shares for shares in stages if shares.get(version)]
        ends = (places[left] + shares[left] for shares in shared for left in places if shares.get(left))
        places[version] = max(ends, default=0)
        end = max([end, *(places[version] + shares[version] for shares in shared)])
    return places, end
