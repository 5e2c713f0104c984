"""What this worker counted, version by version, in the few numbers that go into its lease (`serving.figures`).

Made when the lease is renewed, from what attempts add up anyway: a request pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from serving.figures import Figures, bucket_of
from serving.gateway.counters import Outcome, Role, Series, lower_edge_us

if TYPE_CHECKING:
    from serving.gateway.routing import VersionState
    from serving.gateway.upstream import Upstream

_COUNTED: Final = frozenset((Role.FIRST, Role.SHADOW))
_ROLES: Final = tuple(role.name.lower() for role in Role)
_OUTCOMES: Final = tuple(outcome.name.lower() for outcome in Outcome)
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


def endings_of(series: Iterable[tuple[Upstream | None, str, int, Role, Series]]) -> dict[str, int]:
    """Attempts that are over, by 'model/version/role/outcome'; nothing for what there was none of."""
    found: dict[str, int] = {}
    for _, model, version, role, counted in series:
        of = f"{model}/{version}/{_ROLES[role]}"
        for outcome, count in zip(_OUTCOMES, counted.outcomes, strict=True):
            if count:
                found[f"{of}/{outcome}"] = found.get(f"{of}/{outcome}", 0) + count
    return found


def ejected_of(upstreams: Iterable[Upstream]) -> dict[str, int]:
    """Replicas that are left alone, by 'model/version'; 0 for versions all of whose replicas are asked."""
    found: dict[str, int] = {}
    for one in upstreams:
        name = f"{one.model}/{one.version}"
        found[name] = found.get(name, 0) + one.ejected
    return found


def braked_of(states: Mapping[tuple[str, int], VersionState]) -> dict[str, int]:
    """By 'model/version', 1 where stable answers in the version's place until it is asked again and answers, else 0."""
    return {f"{model}/{version}": int(state.brake.until > 0) for (model, version), state in states.items()}


def _folded(counted: Series) -> dict[int, int]:
    """Its finer buckets, four to one of ours."""
    took: dict[int, int] = {}
    for bucket, count in counted.answered.items():
        first = bucket_of(lower_edge_us(bucket))
        took[first] = took.get(first, 0) + count
    return took
