"""Which version a request would reach and why, and what the id of an answered one says. Pure."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from router.choose import Choice, Facts, Reason, explain
from router.errors import RequestIdError
from router.match import Said
from router.policy import WHOLE, Policy, format_share
from router.request_id import KeyRing
from router.unit import JsonSource, unit_of
from serving.control.errors import Unacceptable, Unknown
from serving.control.views import Decoded, Explained
from serving.leases import IdKeys

_OVERRIDE_HEADER: Final = "sluice-version"


def explained(
    policy: Policy, unit: str | None, headers: Mapping[str, str], *, body: bytes | None = None, grpc: bool = False
) -> Explained:
    """Which version a request would reach, and why.

    Args:
        policy: of its model.
        unit: who asks; None where headers and body are to say.
        headers: by name in lower case.
        body: its JSON.
        grpc: whether it comes over gRPC, and its headers are metadata.

    Raises:
        Unacceptable: the override names no version, or a text is none that UTF-8 can write.
    """
    said = Said({_encoded(name): _encoded(value) for name, value in headers.items()}, grpc)
    named = _encoded(unit) if unit else unit_of(policy.unit_header, policy.unit_sources, said, body)
    facts = Facts(named or b"", override=_override(headers), said=said)
    choice, words = explain(policy if named else _without_samples(policy), facts)
    if named or _needs_no_unit(choice):
        return Explained(choice.version, choice.reason.value, choice.bucket, words)
    return Explained(None, "random", None, _drawn_at_random(policy))


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


def _needs_no_unit(choice: Choice) -> bool:
    return choice.reason in {Reason.OVERRIDE, Reason.RULE}


def _without_samples(policy: Policy) -> Policy:
    """Without the shadows that draw their own units: who has none may be copied or not."""
    return replace(policy, shadows=tuple(shadow for shadow in policy.shadows if shadow.sample_ppm == WHOLE))


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise Unacceptable(f"{text[:64]!r} is no text.", "It holds half a character; send it again.") from error


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
    sources = [one.path if isinstance(one, JsonSource) else one.name for one in policy.unit_sources]
    named = " or ".join([policy.unit_header, *sources])
    ruled = f"No rule applies (there are {len(policy.rules)}). " if policy.rules else ""
    return f"{ruled}Without a unit ({named}) each request is drawn at random: {shares}."
