"""What it would still take to decide by a metric: how many values, if a difference is as large as it looks, or smaller.

T4's evidence grows with what its blocks know, and what a value adds to that is known from the blocks that there were.
So the number of values at which a difference of a given size is shown in the middle of all runs follows by trying
larger and larger numbers; chance may need fewer or more. For people: nothing is decided by it.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from router.evidence.means import normal_mixture
from router.evidence.one_arm import tuning
from router.evidence.sequential import threshold
from router.evidence.special import last_inside
from router.verdicts.rewards import Rewards

_MOST: Final = 1e12
"""Values; what takes more is never decided."""


class Needed(NamedTuple):
    """What it takes.

    Attributes:
        difference: for which size, in units of the metric.
        values: of both arms together, those that are there among them; infinity for never.
        more: the same without those that are there.
    """

    difference: float
    values: float
    more: float


def needed(docket: Rewards, difference: float, level: float) -> Needed | None:
    """What it takes to show a difference of this size at this level; None before two blocks were heard.

    Args:
        docket: what was heard.
        difference: its size, above 0, in units of the metric.
        level: the chance of being wrong that is allowed.
    """
    test = docket.good
    had = sum(values.count for values in docket.totals)
    if test is None or not test.weight or not had:
        return None
    by_value = test.weight / sum(one.count + other.count for one, other in docket.judged.values())
    variance, rho = test.variance / test.weight, test.test.variance_opt / tuning(2 * test.test.alpha_opt)
    limit = threshold(level)

    def undecided(values: float) -> bool:
        weight = values * by_value
        return normal_mixture(weight * difference, weight * variance, rho) < limit

    if not difference > 0 or undecided(_MOST):
        return Needed(difference, math.inf, math.inf)
    values = 0.0 if not undecided(1.0) else last_inside(undecided, 1.0, _MOST)
    return Needed(difference, math.ceil(values), max(0.0, math.ceil(values) - had))
