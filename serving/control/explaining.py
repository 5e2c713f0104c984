"""Which version a request would reach and why, and what the id of an answered one says. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from typing import Final

from router.choose import Facts, explain
from router.errors import RequestIdError
from router.policy import Policy, format_share
from router.request_id import KeyRing
from serving.control.errors import Unacceptable, Unknown
from serving.control.views import Decoded, Explained
from serving.leases import IdKeys

_OVERRIDE_HEADER: Final = "sluice-version"


def explained(policy: Policy, unit: str | None, headers: Mapping[str, str]) -> Explained:
    """Which version a request with this unit and these headers (names in lower case) would reach, and why.

    Raises:
        Unacceptable: the override names no version.
    """
    named = unit if unit is not None else headers.get(policy.unit_header)
    override = _override(headers)
    if named is None and (override is None or not policy.allow_override):
        return Explained(None, "random", None, _drawn_at_random(policy))
    explanation = explain(policy, Facts((named or "").encode(), override=override))
    choice = explanation.choice
    return Explained(choice.version, choice.reason.value, choice.bucket, explanation.words)


def decoded(request_id: str, keys: IdKeys | None, models: Iterable[str]) -> Decoded:
    """What a request id says.

    Args:
        request_id: as an answer had it.
        keys: those of this installation.
        models: the names that it may be about.

    Raises:
        Unknown: nobody here made it.
    """
    if keys is None:
        raise Unknown("No request id was made here yet: there is no key for them.")
    ring = KeyRing(keys.secrets, keys.current)
    try:
        said = ring.read(request_id)
    except RequestIdError as error:
        raise Unknown(f"{error}.", "Copy the whole sluice-request-id of an answer of this installation.") from error
    key = ring.keys[urlsafe_b64decode(request_id[:4])[1]]
    return Decoded(next((name for name in sorted(models) if key.model_hash(name) == said.model), None), said)


def _override(headers: Mapping[str, str]) -> int | None:
    said = headers.get(_OVERRIDE_HEADER)
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) < len(str(2**31))):
        raise Unacceptable(f"{_OVERRIDE_HEADER}: {said[:64]!r} is no version.", "Give it a whole number.")
    return int(said)


def _drawn_at_random(policy: Policy) -> str:
    shares = ", ".join(
        f"version {version} with {format_share(share)}" for version, share in policy.shares().items() if share
    )
    return f"Without a unit ({policy.unit_header}) each request is drawn at random: {shares}."
