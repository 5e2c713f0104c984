"""Signatures of webhooks, by Standard Webhooks: secrets of a file, headers of a delivery, and whether one is genuine.

A file holds one secret a line, the newest first. Whoever sends signs with all of them, and whoever is told takes any of
his, so that a secret is replaced without a delivery that fails: the new one is written above the old one on both sides,
and the old one is taken away later.

The signature is the library's; the time is an argument, and what is wrong with a delivery is said in kinds.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from standardwebhooks import Webhook

from drift.errors import DriftError, Unfit

TOLERANCE_S: Final = 300.0
"""How far the time of a delivery may be from the clock of whoever is told."""

MOST_SECRETS: Final = 4
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how Standard Webhooks mark a secret, none itself
SHORTEST_SECRET: Final = 16
LONGEST_SECRET: Final = 128

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"

_ID: Final = re.compile(r"[!-~]{1,256}")
_SECONDS: Final = re.compile(r"[0-9]{1,11}")
_MOST_SIGNATURES: Final = 16


class Unverified(DriftError):  # noqa: N818 - as in drift.errors
    """A delivery that is not to be heard."""


class Forged(Unverified):
    """Nobody who has the secret has signed it."""


class Stale(Unverified):
    """It was signed at another time: somebody may send it once more who has overheard it, or a clock is wrong."""


def is_secret(text: object) -> bool:
    """Whether that is a secret as Standard Webhooks have it."""
    if not isinstance(text, str) or not text.startswith(SECRET_PREFIX):
        return False
    try:
        length = len(base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True))
    except (binascii.Error, ValueError):
        return False
    return SHORTEST_SECRET <= length <= LONGEST_SECRET


def secrets_in(text: str) -> tuple[str, ...]:
    """The secrets of a file, the newest first; blank lines and those that begin with `#` are none.

    Raises:
        Unfit: there is none, there are too many, or a line is none; the sentence repeats none of them.
    """
    lines = [line.strip() for line in text.splitlines()]
    found = tuple(line for line in lines if line and not line.startswith("#"))
    if not 1 <= len(found) <= MOST_SECRETS or not all(map(is_secret, found)):
        raise Unfit(
            f"It holds no secrets of Standard Webhooks: {SECRET_PREFIX} and base64 of {SHORTEST_SECRET} to "
            f"{LONGEST_SECRET} bytes, one a line, the newest first, {MOST_SECRETS} at most."
        )
    return found


def signed(secrets: Sequence[str], message: str, at_s: float, body: bytes) -> dict[str, str]:
    """The headers of one attempt at a delivery.

    Args:
        secrets: the newest first; each of them signs.
        message: the delivery's id, the same over all attempts.
        at_s: now, seconds since 1970.
        body: what is sent, UTF-8.
    """
    at = datetime.fromtimestamp(int(at_s), UTC)
    signatures = (Webhook(secret).sign(message, at, body.decode()) for secret in secrets)
    return {ID: message, TIMESTAMP: str(int(at_s)), SIGNATURE: " ".join(signatures)}


def check(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    now_s: float,
    tolerance_s: float = TOLERANCE_S,
) -> tuple[str, float]:
    """The id of a delivery, and when it was signed in seconds since 1970, if somebody signed it who has a secret.

    Args:
        secrets: any of which will do.
        headers: of the delivery, by name in whatever case.
        body: as it came, byte for byte.
        now_s: seconds since 1970.
        tolerance_s: how far the time that was signed may be from now.

    Raises:
        Forged: no secret has signed it.
        Stale: it is genuine, and was signed at another time.
    """
    said = {name.lower(): value for name, value in headers.items()}
    message, seconds = said.get(ID, ""), said.get(TIMESTAMP, "")
    given = [one.encode(errors="replace") for one in said.get(SIGNATURE, "").split(" ", _MOST_SIGNATURES)]
    if not (_ID.fullmatch(message) and _SECONDS.fullmatch(seconds) and any(given)):
        raise Forged(f"It is not signed: {ID}, {TIMESTAMP} and {SIGNATURE} are missing, or are none.")
    try:
        own = [signed([secret], message, int(seconds), body)[SIGNATURE].encode() for secret in secrets]
    except (
        UnicodeDecodeError,
        ValueError,
        OverflowError,
    ) as error:  # of a body that is no text, or a year of no calendar
        raise Forged("It cannot have been signed here: its body is no UTF-8, or its time is none.") from error
    # Each with each, and all of them: how long that takes tells nobody which fitted.
    if not sum(hmac.compare_digest(mine, theirs) for mine in own for theirs in given):
        raise Forged("Its signature is of none of the secrets that are known here.")
    if not abs(now_s - int(seconds)) <= tolerance_s:
        raise Stale(
            f"It was signed {abs(now_s - int(seconds)):,.0f} s {'ago' if now_s > int(seconds) else 'from now'}, and "
            f"{tolerance_s:g} s are tolerated.",
            "Have both clocks set by NTP; a delivery that is tried again is signed anew.",
        )
    return message, float(seconds)
