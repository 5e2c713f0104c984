"""Where arms begin, so that none ever has to move: one layout for all the shares that they will ever have.

An arm owns the buckets from its place on, as many as its share. It grows to the right, so another arm may begin only
behind the largest share that it ever has at the same time. Arms that never have anything at the same time may share
a place.

Arms that have a share already, by an earlier split, are fixed: they begin where they began, and the others around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from types import MappingProxyType
from typing import Final

from router.policy import WHOLE

_NONE: Final[Mapping[int, int]] = MappingProxyType({})


def places_of(stages: Sequence[Mapping[int, int]], fixed: Mapping[int, int] = _NONE) -> dict[int, int] | None:
    """Where each arm begins, such that at every stage no two own the same bucket; None where there is no way.

    For one order of the arms the tightest layout follows from the stages; what room is left goes between the arms.

    Args:
        stages: the shares of each, by version.
        fixed: where these begin, whatever else.
    """
    versions = sorted({version for shares in stages for version in shares})
    if fixed:
        return _around(versions, stages, fixed)
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


def _around(
    versions: Sequence[int], stages: Sequence[Mapping[int, int]], fixed: Mapping[int, int]
) -> dict[int, int] | None:
    """The places of these arms where some are fixed.

    Between the layout that is as far left as can be and the one that is as far right, each arm is farther to the right
    by its turn, so that all have room to grow. No two come to overlap by that, for what a right neighbour may move is
    at least what its left one may, less the room between them.
    """
    for order in permutations(versions):
        left = _pushed(order, stages, fixed)
        right = _pulled(order, stages, fixed)
        if left is not None and right is not None:
            return {
                version: left[version] + (right[version] - left[version]) * nth // len(order)
                for nth, version in enumerate(order)
            }
    return None


def _pushed(
    order: Sequence[int], stages: Sequence[Mapping[int, int]], fixed: Mapping[int, int]
) -> dict[int, int] | None:
    """As far left as can be; None where a fixed arm would have to begin farther right."""
    places: dict[int, int] = {}
    for version in order:
        shared = [shares for shares in stages if shares.get(version)]
        ends = (places[one] + shares[one] for shares in shared for one in places if shares.get(one))
        least = max(ends, default=0)
        places[version] = fixed.get(version, least)
        if places[version] < least or any(places[version] + shares[version] > WHOLE for shares in shared):
            return None
    return places


def _pulled(
    order: Sequence[int], stages: Sequence[Mapping[int, int]], fixed: Mapping[int, int]
) -> dict[int, int] | None:
    """As far right as can be; None where a fixed arm would have to begin farther left."""
    places: dict[int, int] = {}
    for version in reversed(order):
        shared = [shares for shares in stages if shares.get(version)]
        begins = (places[one] - shares[version] for shares in shared for one in places if shares.get(one))
        most = min([WHOLE - max(shares.get(version, 0) for shares in stages), *begins])
        places[version] = fixed.get(version, most)
        if not 0 <= places[version] <= most:
            return None
    return places
