"""The one value that the data plane knows about traffic: who is stable, which arms own which buckets, what a unit is.

A policy checks itself when it is built, so later code may rely on it: shares are whole parts per million, arms own
disjoint ranges of the bucket space, stable owns whatever no arm does. Shadow, canary, A/B and blue-green all end as
one of these; none of them is known here. Which version a request gets from it is `router.choose`, its bytes are
`router.codec`, and when it takes effect is the business of whoever publishes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

from router.agreement import Comparison
from router.errors import PolicyError
from router.match import Match, check_conditions, check_field_name
from router.observed import Observed
from router.offsets import offsets_of
from router.unit import UnitSource, check_sources

WHOLE = 1_000_000
"""All traffic, in parts per million."""

LONGEST_SALT = 256

USUAL_SHADOW = "shadow"
"""By which salt copies are drawn where nothing else is said."""

MOST_RULES = 64
"""Every request that no rule claims is held against all of them."""

LARGEST_BUDGET = 1_000_000

LARGEST_VERSION = 2**31 - 1
"""Versions travel in 32 bits (`router.request_id`); Triton's folders are numbered the same way."""

_SHARE = re.compile(r"(?P<number>\d{1,7}(?:\.\d{1,6})?)\s*(?P<unit>%|ppm)", re.ASCII)


class OverCapacity(StrEnum):
    """What becomes of a change that would send a version more than its replicas carry."""

    REFUSE = "refuse"
    CLAMP = "clamp"
    """The version gets what it carries."""
    IGNORE = "ignore"


class Role(StrEnum):
    """What an arm is for: one of several on trial side by side, or the candidate of a canary."""

    ARM = "arm"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Arm:
    """A version that owns the buckets [offset_ppm, offset_ppm + share_ppm).

    The offset is fixed by the largest share that the arm may ever get, so that raising the share only ever adds
    units to it and lowering it only ever removes them.
    """

    version: int
    share_ppm: int
    offset_ppm: int = 0
    role: Role = Role.ARM

    def __post_init__(self) -> None:
        check_version(self.version)
        _check_ppm("share", self.share_ppm)
        _check_ppm("offset", self.offset_ppm)
        if self.end_ppm > WHOLE:
            raise PolicyError(
                f"version {self.version} would own buckets up to {self.end_ppm}: offset and share may sum to {WHOLE:,}"
            )

    @property
    def end_ppm(self) -> int:
        """The first bucket that is no longer this arm's."""
        return self.offset_ppm + self.share_ppm


@dataclass(frozen=True, slots=True)
class Shadow:
    """A version that gets a copy of some requests, and whose answers nobody gets.

    Attributes:
        version: which.
        sample_ppm: of how many units, in parts per million.
        salt: mixed into the sample's hash, so that a sample is drawn from all arms alike.
        when: the conditions that a request must fulfil, all of them; none means every request.
        max_per_s: the budget: copies per second that one gateway may send; None is as many as the sample gives.
        max_in_flight: the budget: copies that one gateway may have under way; None is as many as it has room for.
        noise_ppm: a plan's: for what share of the units that are copied stable is asked a second time, in parts per
            million. In a policy that is a shadow of stable's version with the same salt (`with_noise`).
    """

    version: int
    sample_ppm: int = WHOLE
    salt: str = USUAL_SHADOW
    when: tuple[Match, ...] = ()
    max_per_s: int | None = None
    max_in_flight: int | None = None
    noise_ppm: int = 0

    def __post_init__(self) -> None:
        check_version(self.version)
        _check_ppm("sample", self.sample_ppm)
        check_salt(self.salt)
        check_conditions(self.when)
        _check_budget("copies per second", self.max_per_s)
        _check_budget("copies under way", self.max_in_flight)
        _check_ppm("noise", self.noise_ppm)

    def with_noise(self, stable: int) -> tuple[Shadow, ...]:
        """As a policy has it: the shadow, and beside it one of stable's version that gets a part of the same units."""
        alone = replace(self, noise_ppm=0)
        part = self.sample_ppm * self.noise_ppm // WHOLE
        return (alone, replace(alone, version=stable, sample_ppm=part)) if part else (alone,)


@dataclass(frozen=True, slots=True)
class Rule:
    """A version for every request that fulfils all the conditions, whatever its unit.

    Attributes:
        version: which; it may be one that has no share.
        when: the conditions, at least one: what is to hold for everybody is a share.
    """

    version: int
    when: tuple[Match, ...]

    def __post_init__(self) -> None:
        check_version(self.version)
        check_conditions(self.when)
        if not self.when:
            raise PolicyError(f"the rule for version {self.version} has no condition: give it a share instead")

    def words(self) -> str:
        """The conditions as part of a sentence."""
        return " and ".join(match.words() for match in self.when)


@dataclass(frozen=True, slots=True)
class Policy:
    """Which version answers which unit of one model.

    Attributes:
        stable: the version that answers whatever nothing else claims.
        arms: the versions beside it, ordered by offset; a share of 0 means no request at all.
        salt: mixed into every unit's hash, so that two rollouts do not draw the same people.
        unit_header: the request header that names the unit (lower case).
        allow_override: whether a client may choose a version by the `sluice-version` header.
        repeatable: whether a request may be sent twice, that is, whether the model has no side effects.
        shadows: versions that get copies, beside all of the above.
        over_capacity: what becomes of a change that would send a version more than it carries. For those who change
            policies; routing does not look at it.
        rules: versions for requests that fulfil conditions; the first that applies decides, before any arm.
        unit_sources: where a unit's name is looked for, in order, when `unit_header` is not there.
        observes: the output whose values gateways count, by version, for whoever compares them; None for none.
        comparison: how the answers to copies are held against those that clients got; None is as usual.
    """

    stable: int
    arms: tuple[Arm, ...] = ()
    salt: str = ""
    unit_header: str = "sluice-unit"
    allow_override: bool = False
    repeatable: bool = True
    shadows: tuple[Shadow, ...] = ()
    over_capacity: OverCapacity = OverCapacity.REFUSE
    rules: tuple[Rule, ...] = ()
    unit_sources: tuple[UnitSource, ...] = ()
    observes: Observed | None = None
    comparison: Comparison | None = None
    ranges: tuple[tuple[int, int, Arm], ...] = field(init=False, repr=False, compare=False)
    """(first bucket, first bucket after, arm) for each arm that owns any: what the hot path walks."""
    salted: bytes = field(init=False, repr=False, compare=False)
    """The salt and one zero byte: what the hot path puts before a unit."""

    def __post_init__(self) -> None:
        check_version(self.stable)
        check_salt(self.salt)
        for name in ("allow_override", "repeatable"):
            if not isinstance(getattr(self, name), bool):
                raise PolicyError(f"{name} is {getattr(self, name)!r}: it is true or false")
        if not isinstance(self.over_capacity, OverCapacity):
            raise PolicyError(f"over_capacity is {self.over_capacity!r}: it is one of {', '.join(OverCapacity)}")
        check_field_name(self.unit_header)
        check_sources(self.unit_sources)
        if not isinstance(self.observes, Observed | None):
            raise PolicyError(f"observes is {self.observes!r}: it is an output, or nothing")
        if not isinstance(self.comparison, Comparison | None):
            raise PolicyError(f"comparison is {self.comparison!r:.60}: it is rules of comparison, or nothing")
        _check_rules(self.rules)
        _check_versions_differ(self.stable, self.arms)
        _check_shadows_differ(self.shadows)
        if self.shadows and not self.repeatable:
            raise PolicyError("a shadow gets requests a second time, which this policy forbids: leave the shadows out")
        arms = tuple(sorted(self.arms, key=lambda arm: (arm.offset_ppm, arm.end_ppm, arm.version)))
        object.__setattr__(self, "arms", arms)
        owners = [arm for arm in arms if arm.share_ppm]
        _check_disjoint(owners)
        object.__setattr__(self, "salted", self.salt.encode() + b"\0")
        object.__setattr__(self, "ranges", tuple((arm.offset_ppm, arm.end_ppm, arm) for arm in owners))

    @property
    def versions(self) -> tuple[int, ...]:
        """Every version that the policy names, each once, stable first."""
        others = (one.version for many in (self.arms, self.shadows, self.rules) for one in many)
        return tuple(dict.fromkeys((self.stable, *others)))

    def shares(self) -> Mapping[int, int]:
        """Parts per million by version; sums to exactly 1,000,000."""
        given = {arm.version: arm.share_ppm for arm in self.arms}
        return MappingProxyType({self.stable: WHOLE - sum(given.values()), **given})

    def with_shares(self, shares: Mapping[int, int]) -> Policy:
        """The same policy with these arms (parts per million by version, stable not among them).

        An arm that is there already keeps its offset, and with it its units, wherever the new shares leave room;
        only where they do not are all arms laid out anew.
        """
        if self.stable in shares:
            raise PolicyError(f"version {self.stable} is stable and takes what the arms leave: give the arms only")
        _check_sum(shares)
        roles = {arm.version: arm.role for arm in self.arms}
        offsets = offsets_of(shares, {arm.version: arm.offset_ppm for arm in self.arms}, WHOLE)
        arms = tuple(Arm(v, share, offsets[v], roles.get(v, Role.ARM)) for v, share in shares.items())
        return replace(self, arms=arms)


def parse_share(text: str) -> int:
    """Parts per million from what people type: '12.5%', '0.01 %', '125000ppm', '0'.

    Raises:
        PolicyError: a bare number other than 0 (is 0.5 a half or half a per cent?), more than all, or finer than
            one part per million.
    """
    cleaned = text.strip().lower()
    if re.fullmatch(r"0+(\.0+)?", cleaned):
        return 0
    found = _SHARE.fullmatch(cleaned)
    if not found:
        raise PolicyError(f"{text!r} is no share: write '10%' or '100000ppm', since a bare number could mean either")
    try:
        number = Decimal(found["number"])
    except InvalidOperation as error:  # the pattern admits none, but a share must never be guessed
        raise PolicyError(f"{text!r} is no share: write '10%' or '100000ppm'") from error
    ppm = number * (10_000 if found["unit"] == "%" else 1)
    if ppm != ppm.to_integral_value():
        raise PolicyError(f"{text!r} is finer than one part per million (0.0001%), the smallest share there is")
    if ppm > WHOLE:
        raise PolicyError(f"{text!r} is more than all traffic: a share is at most 100%")
    return int(ppm)


def format_share(share_ppm: int) -> str:
    """'12.5 %' from 125,000: exact, without trailing zeros."""
    whole, rest = divmod(share_ppm, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + " %"


def check_version(version: object) -> None:
    """Refuses what is no version number."""
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= LARGEST_VERSION:
        raise PolicyError(f"{version!r} is no version: versions are whole numbers from 1 to {LARGEST_VERSION}")


def check_salt(salt: object) -> None:
    """Refuses what cannot be mixed into a hash, one zero byte after it."""
    if not isinstance(salt, str):
        raise PolicyError(f"{salt!r} is no salt: it is text")
    try:
        encoded = salt.encode()
    except UnicodeEncodeError as error:
        raise PolicyError("a salt is text that UTF-8 can write") from error
    if b"\0" in encoded or len(salt) > LONGEST_SALT:
        raise PolicyError(f"a salt has at most {LONGEST_SALT} characters and no NUL")


def _check_ppm(what: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= WHOLE:
        raise PolicyError(f"{value!r} is no {what}: it is a whole number of parts per million, 0 to {WHOLE:,}")


def _check_budget(what: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_BUDGET:
        raise PolicyError(f"{value!r} is no budget of {what}: it is a whole number from 1 to {LARGEST_BUDGET:,}")


def _check_rules(rules: object) -> None:
    if not isinstance(rules, tuple) or not all(isinstance(rule, Rule) for rule in rules):
        raise PolicyError("rules are a tuple of rules")
    if len(rules) > MOST_RULES:
        raise PolicyError(f"there are {len(rules)} rules: at most {MOST_RULES}")


def _check_versions_differ(stable: int, arms: tuple[Arm, ...]) -> None:
    seen = {stable}
    for arm in arms:
        if arm.version in seen:
            raise PolicyError(f"version {arm.version} is named twice: stable and the arms are different versions")
        seen.add(arm.version)


def _check_shadows_differ(shadows: tuple[Shadow, ...]) -> None:
    versions = [shadow.version for shadow in shadows]
    if len(set(versions)) < len(versions):
        raise PolicyError("a version is a shadow twice: give each one sample")
    if any(shadow.noise_ppm for shadow in shadows):
        raise PolicyError("noise_ppm is a plan's: in a policy, give stable's version a shadow with the same salt")


def _check_disjoint(owners: list[Arm]) -> None:
    for left, right in pairwise(owners):
        if left.end_ppm > right.offset_ppm:
            raise PolicyError(f"versions {left.version} and {right.version} would own the same buckets")


def _check_sum(shares: Mapping[int, int]) -> None:
    for share in shares.values():
        _check_ppm("share", share)
    total = sum(shares.values())
    if total > WHOLE:
        raise PolicyError(f"the shares sum to {format_share(total)}: together they may have at most 100 %")
