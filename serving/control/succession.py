"""The policy that comes after another: computed from the one that runs, so that units stay where they can."""

from __future__ import annotations

import secrets
from dataclasses import replace
from itertools import pairwise

from router.errors import PolicyError
from router.policy import WHOLE, Arm, Policy
from serving.control.errors import Unacceptable
from serving.control.views import Wanted


def next_policy(current: Policy | None, wanted: Wanted) -> Policy:
    """The policy that is wanted, computed from the one that runs, so that units stay where they can.

    The salt is drawn with the first policy and kept: another one would deal out all units anew.

    Raises:
        Unacceptable: there can be no such policy.
    """
    try:
        base = (
            _with_stable(current, wanted.stable) if current else Policy(wanted.stable, salt=secrets.token_urlsafe(12))
        )
        kept = replace(
            base,
            unit_header=base.unit_header if wanted.unit_header is None else wanted.unit_header,
            allow_override=base.allow_override if wanted.allow_override is None else wanted.allow_override,
            repeatable=base.repeatable if wanted.repeatable is None else wanted.repeatable,
            over_capacity=base.over_capacity if wanted.over_capacity is None else wanted.over_capacity,
            rules=base.rules if wanted.rules is None else wanted.rules,
            unit_sources=base.unit_sources if wanted.unit_sources is None else wanted.unit_sources,
            shadows=base.shadows if wanted.shadows is None else wanted.shadows,
        )
        return kept.with_shares(wanted.shares)
    except PolicyError as error:
        raise Unacceptable(f"There can be no such policy: {error}.") from error


def _with_stable(current: Policy, stable: int) -> Policy:
    """The same policy with another stable version.

    The old stable version becomes an arm without a share, which begins where the old one owned most: whatever share
    it is given next is then made of units that it had. Those of the new stable version stay with it, for it owns
    what no arm does.
    """
    if stable == current.stable:
        return current
    others = tuple(arm for arm in current.arms if arm.version != stable)
    return replace(current, stable=stable, arms=(*others, Arm(current.stable, 0, _widest_gap(current))))


def _widest_gap(policy: Policy) -> int:
    """The first bucket of the widest range that stable owns."""
    edges = [(0, 0), *((start, end) for start, end, _ in policy.ranges), (WHOLE, WHOLE)]
    return max(((left[1], right[0] - left[1]) for left, right in pairwise(edges)), key=lambda gap: gap[1])[0]
