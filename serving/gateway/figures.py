"""What this worker counted, version by version, in the few numbers that go into its lease (`serving.figures`).

Made when the lease is renewed, from what attempts add up anyway: a request pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from serving.figures import Figures, bucket_of
from serving.gateway.counters import Outcome, Role, Series, lower_edge_us

if TYPE_CHECKING:
    from serving.gateway.upstream import Upstream

_COUNTED: Final = frozenset((Role.FIRST, Role.SHADOW))
_ERRORS: Final = (Outcome.SERVER_ERROR, Outcome.UNAVAILABLE, Outcome.REFUSED, Outcome.BROKEN, Outcome.LATE)


def figures_of(series: Iterable[tuple[Upstream | None, str, int, Role, Series]]) -> dict[str, Figures]:
    """By 'model/version', of first attempts and copies; nothing for versions that had none."""
    found: dict[str, Figures] = {}
    for _, model, version, role, counted in series:
        if role in _COUNTED and (attempts := sum(counted.outcomes) - counted.outcomes[Outcome.CANCELLED]):
            name = f"{model}/{version}"
            errors = sum(counted.outcomes[one] for one in _ERRORS)
            own = Figures(attempts, errors, _folded(counted))
            found[name] = found[name].plus(own) if name in found else own
    return found


def _folded(counted: Series) -> dict[int, int]:
    """Its finer buckets, four to one of ours."""
    took: dict[int, int] = {}
    for bucket, count in counted.answered.items():
        first = bucket_of(lower_edge_us(bucket))
        took[first] = took.get(first, 0) + count
    return took
