"""One stage of a plan: a stretch of constant traffic, and what it needs to be passed. It checks itself.

What a stage is part of is `router.plan`; what a policy it gives, `router.plan.policy_for`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType, UnionType

from router.errors import PlanError, PolicyError
from router.policy import WHOLE, Policy, Rule, Shadow, check_version, format_share

LONGEST_S = 366 * 86_400
MOST_REQUESTS = 10**12
_LONGEST_NAME = 64


class Does(StrEnum):
    """What a stage does to traffic."""

    RUN = "run"
    """The stage's shares, shadows and rules."""
    BAKE = "bake"
    """No share: the version is up, seen only by the stage's rules and shadows."""
    WATCH = "watch"
    """The new version is stable; the old one is kept warm, so that going back is instant."""


class Needs(StrEnum):
    """What a stage needs to be passed, beside fresh evidence that does not speak for going back."""

    VERDICT = "verdict"
    """The minimum time and number of requests, and a verdict for promotion."""
    MINIMA = "minima"
    """The minimum time and number of requests."""
    EITHER = "either"
    """The minimum time and number of requests, or before them a verdict for promotion."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stretch of constant traffic.

    Attributes:
        name: unique in its plan.
        does: run, bake or watch.
        shares: parts per million by version, stable not among them.
        shadows: versions that get copies during this stage, beside those of the policy from before.
        rules: during this stage these come before the rules of the policy from before.
        min_s: the shortest time, in seconds.
        min_requests: the smallest number of requests that each of its versions must have had.
        needs: what else it needs to be passed.
        approval: whether somebody must approve before it is entered.
        flip: whether its policy is published everywhere before it is active anywhere.
        policy: a whole policy set by hand; a stage that has one says nothing else about traffic.
    """

    name: str
    does: Does = Does.RUN
    shares: Mapping[int, int] = field(default_factory=dict)
    shadows: tuple[Shadow, ...] = ()
    rules: tuple[Rule, ...] = ()
    min_s: int = 0
    min_requests: int = 0
    needs: Needs = Needs.VERDICT
    approval: bool = False
    flip: bool = False
    policy: Policy | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", MappingProxyType(dict(self.shares)))
        refuse(_wrong_in_stage(self))

    def has_had(self, requests: int) -> bool:
        """Whether a verdict on a version with so many requests may pass it; one that may come early waits for none."""
        return self.needs is Needs.EITHER or requests >= self.min_requests

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that this stage shows requests to."""
        if self.policy is not None:
            return self.policy.versions
        shared = [version for version, share in self.shares.items() if share]
        copied = [shadow.version for shadow in self.shadows]
        return tuple(dict.fromkeys([*shared, *copied, *(rule.version for rule in self.rules)]))


def _wrong_in_stage(stage: Stage) -> Iterator[str]:
    yield from _wrong_shares(stage.shares)
    yield from (found := list(_wrong_values(stage)))
    if found:
        return
    if stage.does is not Does.RUN and any(stage.shares.values()):
        yield f"stage '{stage.name}' is to {stage.does} and gives shares: only stages that run do"
    if stage.policy is not None and (stage.shares or stage.shadows or stage.rules or stage.does is not Does.RUN):
        yield f"stage '{stage.name}' has a policy set by hand: it runs, without shares, shadows or rules beside that"
    if stage.does is Does.WATCH and (stage.shadows or stage.rules):
        yield f"stage '{stage.name}' is to watch, which has neither shadows nor rules of its own"
    if stage.does is not Does.WATCH and not stage.versions and (stage.min_requests or stage.needs is Needs.VERDICT):
        yield f"stage '{stage.name}' shows nothing to any version, so what it waits for would never come"


def _wrong_values(stage: Stage) -> Iterator[str]:
    if not isinstance(stage.name, str) or not 1 <= len(stage.name) <= _LONGEST_NAME or not stage.name.isprintable():
        yield f"{stage.name!r} is no name of a stage: it has 1 to {_LONGEST_NAME} characters"
    yield from wrong_whole(f"min_s of stage '{stage.name}'", stage.min_s, 0, LONGEST_S)
    yield from wrong_whole(f"min_requests of stage '{stage.name}'", stage.min_requests, 0, MOST_REQUESTS)
    for name, kind in {"does": Does, "needs": Needs, "approval": bool, "flip": bool, "policy": Policy | None}.items():
        if not isinstance(getattr(stage, name), kind):
            yield f"{name} of stage '{stage.name}' is {getattr(stage, name)!r}, which is none of those there are"
    if not are(stage.shadows, Shadow) or not are(stage.rules, Rule):
        yield f"shadows and rules of stage '{stage.name}' are tuples of shadows and of rules"
    elif len({one.version for one in stage.shadows}) < len(stage.shadows):
        yield f"a version is a shadow of stage '{stage.name}' twice: give each one sample"
    elif sum(one.noise_ppm > 0 for one in stage.shadows) > 1:
        yield f"two shadows of stage '{stage.name}' have a noise_ppm: stable can be asked again for one of them"


def _wrong_shares(shares: Mapping[int, int]) -> Iterator[str]:
    for version, share in shares.items():
        try:
            check_version(version)
        except PolicyError as error:
            yield str(error)
        yield from wrong_whole(f"the share of version {version}", share, 0, WHOLE)
    numbers = [share for share in shares.values() if isinstance(share, int)]
    if sum(numbers) > WHOLE:
        yield f"the shares sum to {format_share(sum(numbers))}: together they may have at most 100 %"


def are(values: object, kind: type | UnionType) -> bool:
    """Whether they are a tuple of these."""
    return isinstance(values, tuple) and all(isinstance(one, kind) for one in values)


def wrong_whole(what: str, value: object, least: int, most: int) -> Iterator[str]:
    """A sentence where it is no whole number within the bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        yield f"{what} is {value!r}: it is a whole number from {least:,} to {most:,}"


def refuse(mistakes: Iterable[str]) -> None:
    """Refuses, if there is any mistake.

    Raises:
        PlanError: names them all.
    """
    if found := "; ".join(mistakes):
        raise PlanError(found)
