"""Shares as people type them, `2=50%`, and the policy that they turn the present one into. Pure: values in, values out.

How one share is read is `router.policy.parse_share`; reading and writing policies is left to `serving.control.client`.
"""

from collections.abc import Collection, Mapping, Sequence

from router.errors import PolicyError
from router.policy import WHOLE, check_version, format_share, parse_share
from serving.control.client import ArmBody, PolicyBody
from serving.errors import SluiceError


def read_pair(text: str) -> tuple[int, int]:
    """(version, parts per million) from 'VERSION=SHARE'.

    Raises:
        PolicyError: it is not of that form, or the share is none.
    """
    version, equals, share = text.partition("=")
    if not equals or not version.strip().isdecimal():
        raise PolicyError(f"{text!r} is not of the form VERSION=SHARE, such as 2=50%")
    number = int(version)
    check_version(number)
    return number, parse_share(share)


def named(pairs: Sequence[tuple[int, int]]) -> dict[int, int]:
    """The shares by version.

    Raises:
        SluiceError: a version is named twice, or the shares are more than all traffic.
    """
    shares = dict(pairs)
    versions = [version for version, _ in pairs]
    for version in shares:
        if versions.count(version) > 1:
            raise SluiceError(f"version {version} is named twice", "give each version one share")
    total = sum(shares.values())
    if total > WHOLE:
        raise SluiceError(f"the shares sum to {format_share(total)}", "together they may have at most 100 %")
    return shares


def check_known(model: str, shares: Mapping[int, int], known: Collection[int]) -> None:
    """Refuses versions that the model does not have.

    Raises:
        SluiceError: naming the first of them, and those that there are.
    """
    for version in sorted(shares):
        if version not in known:
            versions = ", ".join(map(str, sorted(known)))
            raise SluiceError(f"{model} has no version {version}", f"its versions are {versions}")


def with_shares(policy: PolicyBody, shares: Mapping[int, int]) -> PolicyBody:
    """The policy in which the named versions have these shares, stable the rest, and all others nothing.

    Raises:
        SluiceError: stable is named with another share than the rest.
    """
    stable = policy["stable"]
    arms: list[ArmBody] = [
        {"version": version, "share_ppm": share} for version, share in sorted(shares.items()) if version != stable
    ]
    rest = WHOLE - sum(arm["share_ppm"] for arm in arms)
    if shares.get(stable, rest) != rest:
        sentence = (
            f"version {stable} is stable and takes the rest, {format_share(rest)}, not {format_share(shares[stable])}"
        )
        raise SluiceError(sentence, "leave it out, or make the shares sum to 100 %")
    changed: PolicyBody = {"stable": stable, "arms": arms}
    if "unit_header" in policy:
        changed["unit_header"] = policy["unit_header"]
    return changed
