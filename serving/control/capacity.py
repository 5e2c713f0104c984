"""Whether versions can carry what a policy would send them: pure arithmetic with its figures in sentences.

What is sent is the model's measured rate times the share; what is carried is the sum over the ready replicas, each as
an operator has measured it (`carries_rps`), else as it answered in its warm-up burst. Where either is not known nothing
is refused, since a static endpoint tells nothing.
A version that gets no more than before is not looked at, so that there is always a way back: to lower an arm is never
refused, even though stable takes what it loses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from router.policy import WHOLE, Policy, format_share
from serving.endpoint import Endpoint, Load


@dataclass(frozen=True, slots=True)
class Excess:
    """A version that would get more than it carries.

    Attributes:
        model: whose.
        version: which.
        rate: of the whole model, requests per second.
        share_ppm: what the version would get of it, parts per million.
        throughputs: requests per second of each of its ready replicas.
    """

    model: str
    version: int
    rate: float
    share_ppm: int
    throughputs: tuple[float, ...]

    @property
    def carried(self) -> float:
        """Requests per second that it carries."""
        return sum(self.throughputs)

    @property
    def carried_ppm(self) -> int:
        """The largest share that it carries, parts per million."""
        return min(WHOLE, int(self.carried / self.rate * WHOLE))

    def __str__(self) -> str:
        """The sentence, with the figures."""
        each = ", ".join(f"{one:.0f}" for one in self.throughputs)
        count = len(self.throughputs)
        return (
            f"Version {self.version} of {self.model} would get {self.rate * self.share_ppm / WHOLE:.0f} requests/s "
            f"({format_share(self.share_ppm)} of {self.rate:.0f}), and its {count} ready "
            f"{'replica carries' if count == 1 else 'replicas carry'} {self.carried:.0f} ({each})."
        )


def unknown(
    model: str,
    before: Policy | None,
    after: Policy,
    rate: float | None,
    ready: Iterable[tuple[Endpoint, Load]],
) -> frozenset[int]:
    """The versions that would get more than before, and of which nobody knows whether they carry it.

    That is so of all of them where the rate is not known or nothing is asked, and of those that have no ready replica,
    or one that has not told what it carries. Arguments as those of `excesses`.
    """
    more = frozenset(_raised(before, after))
    if not rate:
        return more
    known = _known(model, ready)
    return frozenset(version for version in more if _told(known, version) is None)


def excesses(
    model: str,
    before: Policy | None,
    after: Policy,
    rate: float | None,
    ready: Iterable[tuple[Endpoint, Load]],
) -> tuple[Excess, ...]:
    """The versions that would get more than they carry, lowest first.

    Args:
        model: whose policies these are.
        before: what it runs; None for nothing.
        after: what it would run.
        rate: requests per second that it gets; None where that is not known.
        ready: the endpoints that are ready, of any model.
    """
    if not rate:
        return ()
    known = _known(model, ready)
    found = []
    for version, share in sorted(_raised(before, after).items()):
        each = _told(known, version)
        if each is None:
            continue
        excess = Excess(model, version, rate, share, each)
        if share > excess.carried_ppm:
            found.append(excess)
    return tuple(found)


def _known(model: str, ready: Iterable[tuple[Endpoint, Load]]) -> Mapping[int, list[float | None]]:
    """What each ready replica has told of what it carries, by version."""
    known: dict[int, list[float | None]] = {}
    for endpoint, load in ready:
        if endpoint.model == model:
            known.setdefault(endpoint.version, []).append(load.throughput)
    return known


def _told(known: Mapping[int, list[float | None]], version: int) -> tuple[float, ...] | None:
    """What all of its replicas carry; None where there is none, or one that has not told."""
    asked = known.get(version, [])
    each = tuple(one for one in asked if one is not None)
    return each if each and len(each) == len(asked) else None


def _raised(before: Policy | None, after: Policy) -> Mapping[int, int]:
    """The new shares of the versions that are to get more than before; a stable that only takes back is none."""
    had = before.shares() if before else {}
    stays = before is not None and before.stable == after.stable
    # Stable is looked at where it is another one: what it gets by an arm's retreat must never be refused.
    return {
        version: share
        for version, share in after.shares().items()
        if share > had.get(version, 0) and not (stays and version == after.stable)
    }
