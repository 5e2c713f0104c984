"""Who shows this `Authorization` header: the one question that every door asks, answered in one place.

A verifier is a value made of what is known now: keys' records, the issuer's signing keys, the rules for tokens. When
one of these changes a new one is made. It does no I/O and remembers nothing; whoever is asked often keeps its answers
(`serving.gateway.admission`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from serving.access.config import TokenRules
from serving.access.denied import Denied
from serving.access.keys import KeyRecord, Shown, parse
from serving.access.principal import Principal
from serving.access.roles import Role

if TYPE_CHECKING:
    from serving.access.tokens import Tokens

__all__ = ["LONGEST", "MISSING", "Denied", "Verifier"]

LONGEST: Final = 8 * 1024
"""The longest key or token that is looked at, bytes."""
MISSING: Final = Denied("missing", "A key is needed here: send the header `Authorization: Bearer KEY`.")

_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]+)")
_KEY_PREFIX = "sluice_"
_MALFORMED = Denied("malformed", "This Authorization is not understood: it is `Bearer`, a blank, and one key or token.")
_TOO_LONG = Denied("malformed", f"A key or a token has at most {LONGEST} bytes.")
_NO_TOKENS = Denied("malformed", "Tokens are not taken here: show a key, as `sluice keys create` makes it.")
_WRONG = "This key is not a good one: is it complete, and of this installation?"
_STRANGER = KeyRecord("0" * 12, "nobody", "0" * 64, Role.PREDICT)
"""Compared with where no key has the id that was shown, so that a guess takes as long either way."""


class Verifier:
    """Tells who shows a header.

    Args:
        records: of all keys, those that ended among them.
        jwks: the issuer's signing keys as JSON ({"keys": [JWK…]}); None where they are not known.
        token_rules: what is asked of tokens; None where none are taken.
    """

    def __init__(
        self, records: Iterable[KeyRecord], jwks: str | bytes | None = None, token_rules: TokenRules | None = None
    ) -> None:
        self._records = {record.id: record for record in records}
        self._tokens = None if token_rules is None else _tokens(jwks, token_rules)

    def verify(self, authorization: bytes | None, now_s: float) -> Principal | Denied:
        """Whoever shows this.

        Args:
            authorization: the header's value; several headers' values are joined by commas, which is refused. None
                where there is no such header.
            now_s: seconds since 1970.
        """
        if authorization is None:
            return MISSING
        if len(authorization) > LONGEST:
            return _TOO_LONG
        found = _BEARER.fullmatch(authorization)
        if found is None:
            return _MALFORMED
        text = found[1].decode("ascii")
        if text.startswith(_KEY_PREFIX):
            shown = parse(text)
            return Denied("wrong", _WRONG) if shown is None else self._by_key(shown, now_s)
        return _NO_TOKENS if self._tokens is None else self._tokens.read(text, now_s)

    def _by_key(self, shown: Shown, now_s: float) -> Principal | Denied:
        """Whoever shows this key. That it ended is only told to who has its secret."""
        record = self._records.get(shown.id)
        right = (record or _STRANGER).matches(shown)
        if record is None or not right:
            return Denied("wrong", _WRONG, "" if record is None else record.id)
        if record.revoked_s is not None:
            return Denied("revoked", "This key was taken back.", record.id)
        if not record.alive(now_s):
            return Denied("expired", "This key has expired: ask for a new one.", record.id)
        return record.principal


def _tokens(jwks: str | bytes | None, rules: TokenRules) -> Tokens:
    """PyJWT and its cryptography are loaded where tokens are taken, and nowhere else."""
    from serving.access.tokens import Tokens  # noqa: PLC0415 (8 MB that a worker without tokens need not carry)

    return Tokens(jwks, rules)
