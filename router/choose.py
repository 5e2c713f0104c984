"""Which version answers a request, and why.

Precedence is declared once, in `choose`: a version in the path, then an override where the policy allows one, then
the first rule that applies, then the arm that owns the unit's bucket, then stable. `explain` says the same in words,
by asking the same functions. Who gets a copy beside all that is `shadowed`.

Only rules and shadows with conditions look at a request's fields, so a gateway hands fields in (`Facts.said`) where
`policy.rules` is not empty, and need not touch them elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from xxhash import xxh3_64_intdigest

from router.match import SILENT, Said, all_hold
from router.policy import WHOLE, Policy, Role, format_share


class Reason(StrEnum):
    """Why a version was chosen; the value of the `sluice-reason` header."""

    PINNED = "pinned"
    OVERRIDE = "override"
    RULE = "rule"
    ARM = "arm"
    CANARY = "canary"
    STABLE = "stable"
    FALLBACK = "fallback"


class Facts(NamedTuple):
    """What a request says about itself, as far as a policy may ask.

    Attributes:
        unit: what sticks to a version: the unit header's bytes, or the nonce of the request id where there is none.
        pinned: the version in the path.
        override: the version in the `sluice-version` header.
        said: the request's fields; only a policy with rules asks for them.
    """

    unit: bytes
    pinned: int | None = None
    override: int | None = None
    said: Said = SILENT


class Choice(NamedTuple):
    """The version that answers, why, and the unit's bucket where that decided."""

    version: int
    reason: Reason
    bucket: int | None = None


class Explanation(NamedTuple):
    """A choice, and the path that led to it in words."""

    choice: Choice
    words: str


def bucket_of(salt: bytes, unit: bytes) -> int:
    """xxh3_64(salt, one zero byte, unit) mod 1,000,000: the unit's place in the bucket space, 0 to 999,999."""
    return xxh3_64_intdigest(salt + b"\0" + unit) % WHOLE


def choose(policy: Policy, facts: Facts) -> Choice:
    """The version that answers, and why. No I/O, no clock, no randomness."""
    return (
        pinned(facts)
        or overridden(policy, facts)
        or (ruled(policy, facts) if policy.rules else None)  # most policies have none, and pay for none
        or drawn(policy, facts.unit)
    )


def pinned(facts: Facts) -> Choice | None:
    """The version that the path names: it bypasses the split."""
    return None if facts.pinned is None else Choice(facts.pinned, Reason.PINNED)


def overridden(policy: Policy, facts: Facts) -> Choice | None:
    """The version that the client asked for, where the policy lets it."""
    if facts.override is None or not policy.allow_override:
        return None
    return Choice(facts.override, Reason.OVERRIDE)


def ruled(policy: Policy, facts: Facts) -> Choice | None:
    """The version of the first rule that applies."""
    for rule in policy.rules:
        if all_hold(rule.when, facts.said):
            return Choice(rule.version, Reason.RULE)
    return None


def drawn(policy: Policy, unit: bytes) -> Choice:
    """The arm that owns the unit's bucket, or stable."""
    bucket = xxh3_64_intdigest(policy.salted + unit) % WHOLE  # bucket_of, its salt made ready
    for start, end, arm in policy.ranges:
        if start <= bucket < end:
            return Choice(arm.version, _REASON_OF[arm.role], bucket)
    return Choice(policy.stable, Reason.STABLE, bucket)


def shadowed(policy: Policy, unit: bytes, said: Said = SILENT) -> tuple[int, ...]:
    """The versions that get a copy of this unit's request, as far as their budgets go (those are the sender's)."""
    return tuple(
        shadow.version
        for shadow in policy.shadows
        if (shadow.sample_ppm == WHOLE or bucket_of(shadow.salt.encode(), unit) < shadow.sample_ppm)
        and (not shadow.when or all_hold(shadow.when, said))
    )


def explain(policy: Policy, facts: Facts) -> Explanation:
    """The same choice as `choose`, with the path that was taken in words."""
    choice = choose(policy, facts)
    return Explanation(choice, " ".join(filter(None, _told(policy, facts, choice))))


def _told(policy: Policy, facts: Facts, choice: Choice) -> Iterator[str]:
    """The sentences: what was passed over, what decided, and who gets a copy."""
    if facts.override is not None and facts.pinned is None and not policy.allow_override:
        yield f"The header asks for version {facts.override}, which this policy does not let clients do."
    if choice.reason is Reason.RULE:
        yield _ruled_in_words(policy, facts)
    else:
        if policy.rules and choice.bucket is not None:
            yield f"No rule applies (there are {len(policy.rules)})."
        yield _WORDS[choice.reason](policy, choice)
    if copied := shadowed(policy, facts.unit, facts.said):
        named = ", ".join(map(str, copied))
        yield f"Beside that, a copy goes to version {named}." if len(copied) == 1 else f"Copies go to versions {named}."


def _ruled_in_words(policy: Policy, facts: Facts) -> str:
    number, rule = next(found for found in enumerate(policy.rules, 1) if all_hold(found[1].when, facts.said))
    return f"Rule {number} of {len(policy.rules)} applies ({rule.words()}), so version {rule.version} answers."


def _drawn_in_words(policy: Policy, choice: Choice) -> str:
    arm = next(arm for arm in policy.arms if arm.version == choice.version)
    return (
        f"The unit's bucket is {choice.bucket:,}, and version {choice.version} owns {arm.offset_ppm:,} to "
        f"{arm.end_ppm - 1:,} ({format_share(arm.share_ppm)} of all units)."
    )


def _stable_in_words(policy: Policy, choice: Choice) -> str:
    share = format_share(policy.shares()[policy.stable])
    return (
        f"The unit's bucket is {choice.bucket:,}, which no arm owns, so stable version {choice.version} answers "
        f"({share} of all units)."
    )


_REASON_OF = {Role.ARM: Reason.ARM, Role.CANARY: Reason.CANARY}
_WORDS = {
    Reason.PINNED: lambda _policy, choice: f"The path names version {choice.version}, which bypasses the split.",
    Reason.OVERRIDE: lambda _policy, choice: f"The header asks for version {choice.version}, and the policy allows it.",
    Reason.ARM: _drawn_in_words,
    Reason.CANARY: _drawn_in_words,
    Reason.STABLE: _stable_in_words,
}
