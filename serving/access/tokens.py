"""JWTs (RFC 7519) as credentials: whether one is genuine, in time and meant for us, and whom it names.

The one file that knows PyJWT. It does the cryptography; what is trusted is decided here: which keys of the issuer's set
(RFC 7517) are taken at all, for which algorithm, and which one a token may choose. A token brings no key of its own:
`jwk`, `jku`, `x5u` and `x5c` in its header are not looked at. The clock is an argument, so times are compared here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import islice
from typing import Any, Final, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.types import Options

from serving.access.config import TokenRules
from serving.access.denied import Denied
from serving.access.principal import MOST_MODELS, Principal
from serving.access.roles import Role, gives

MOST_KEYS: Final = 100
"""Of an issuer's set; those after it are not looked at."""
_MOST_TRIED: Final = 4
_LONGEST_SUBJECT: Final = 64
_ID_DIGITS: Final = 16
_KINDS: Final = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)),
    "ES256": ("EC", ("P-256",)),
    "ES384": ("EC", ("P-384",)),
    "ES512": ("EC", ("P-521",)),
    "EdDSA": ("OKP", ("Ed25519", "Ed448")),
}
"""What kind of key (`kty`, `crv`) an algorithm verifies with (RFC 7518, 3.1; RFC 8037): no other is ever tried."""
_CHECKED_HERE: Final[Options] = {
    "verify_exp": False, "verify_nbf": False, "verify_iat": False, "require": ["exp", "iss", "aud", "sub"],
}  # fmt: skip
_UNUSABLE = (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError, OverflowError)
_FOREIGN = Denied("wrong", "This token was not signed by a key that is trusted here.")
_MALFORMED = Denied("malformed", "This is neither a key nor a token that can be read.")
_UNKNOWN = Denied(
    "unknown_signing_key", "The key that signed this token is not known here: if its issuer has just renewed its keys, "
    "try again in some seconds.",
)  # fmt: skip


class _SigningKey(NamedTuple):
    """A key of the issuer's, for one algorithm."""

    kid: object
    algorithm: str
    key: jwt.PyJWK


class Tokens:
    """Verifies the tokens of one issuer.

    Args:
        jwks: the issuer's keys as JSON with a member `keys`; None where they are not known yet. What is in it and
            cannot be used is passed over; all of it, where a member `issuer` says that it is another's.
        rules: what a token must say.
    """

    def __init__(self, jwks: str | bytes | None, rules: TokenRules) -> None:
        self._rules = rules
        self._keys = [
            made
            for jwk in _keys_in(jwks, rules.issuer)
            for name in rules.algorithms
            if (made := _made(jwk, name)) is not None
        ]

    def __len__(self) -> int:
        return len(self._keys)

    def read(self, token: str, now_s: float) -> Principal | Denied:
        """Whoever shows this token.

        Args:
            token: as it came.
            now_s: seconds since 1970.
        """
        try:
            header = jwt.get_unverified_header(token)
        except _UNUSABLE:
            return _MALFORMED
        if "crit" in header or "b64" in header:  # extensions that change what is signed; none is known here
            return _MALFORMED
        claims = self._genuine(token, header)
        if isinstance(claims, Denied):
            return claims
        return _late_or_early(claims, now_s, self._rules.leeway_s) or self._principal(claims)

    def _genuine(self, token: str, header: Mapping[str, Any]) -> Mapping[str, Any] | Denied:
        """Its claims, signed by a key that is trusted, from the right issuer and for the right audience."""
        for one in self._keys_for(header):
            try:
                return _decoded(token, one, self._rules)
            except jwt.InvalidSignatureError:
                continue
            except jwt.MissingRequiredClaimError as error:
                return Denied("wrong", f"This token lacks the claim {error.claim}.")
            except (jwt.InvalidIssuerError, jwt.InvalidAudienceError):
                return Denied("wrong", "This token is from another issuer, or for another audience.")
            except _UNUSABLE:
                return _MALFORMED
        return _UNKNOWN if self._misses(header) else _FOREIGN

    def _keys_for(self, header: Mapping[str, Any]) -> Sequence[_SigningKey]:
        """The keys that this header may choose: those of its `kid`, or the only one that there is for its algorithm."""
        kid = header.get("kid")
        fitting = [one for one in self._keys if one.algorithm == header.get("alg")]
        if kid is None:
            return fitting if len(fitting) == 1 else ()
        return [one for one in fitting if one.kid == kid][:_MOST_TRIED]

    def _misses(self, header: Mapping[str, Any]) -> bool:
        """Whether newer keys of the issuer's might have the one that the token names."""
        named = header.get("kid") is not None or not self._keys
        return named and header.get("alg") in self._rules.algorithms and not self._keys_for(header)

    def _principal(self, claims: Mapping[str, Any]) -> Principal | Denied:
        rules = self._rules
        role = _role(_claim(claims, rules.role_claim), rules)
        if role is None:
            return Denied("not_allowed", f"This token is good, but its claim {rules.role_claim} names no role here.")
        models = _models(_claim(claims, rules.models_claim))
        if isinstance(models, Denied):
            return models
        subject = claims["sub"]
        said = f"{rules.issuer}\0{subject}".encode("utf-8", "surrogatepass")
        until_s = float(claims["exp"]) + rules.leeway_s
        name = "".join(one if one.isprintable() else "?" for one in subject[:_LONGEST_SUBJECT]) or "?"
        narrowed = models if role is Role.PREDICT else None
        return Principal(sha256(said).hexdigest()[:_ID_DIGITS], name, "token", role, narrowed, expires_s=until_s)


def _decoded(token: str, one: _SigningKey, rules: TokenRules) -> Mapping[str, Any]:
    """What the token says; raises what PyJWT raises."""
    claims: Mapping[str, Any] = jwt.decode(
        token, one.key, algorithms=[one.algorithm], audience=rules.audience, issuer=rules.issuer, options=_CHECKED_HERE
    )
    return claims


def _keys_in(jwks: str | bytes | None, issuer: str) -> Sequence[Mapping[str, Any]]:
    try:
        said = json.loads(jwks or "{}")
        if said.get("issuer", issuer) != issuer:  # kept while the settings named another
            return []
        keys = said.get("keys", ())
        return [jwk for jwk in islice(keys, MOST_KEYS) if isinstance(jwk, dict)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return []


def _made(jwk: Mapping[str, Any], algorithm: str) -> _SigningKey | None:
    """The key for this algorithm; None where it is not for that."""
    kind, curves = _KINDS[algorithm]
    operations = jwk.get("key_ops", ["verify"])
    if (
        jwk.get("kty") != kind
        or (curves is not None and jwk.get("crv") not in curves)
        or jwk.get("use", "sig") != "sig"
        or jwk.get("alg", algorithm) != algorithm
        or not isinstance(operations, list)
        or "verify" not in operations
        or "d" in jwk  # a private key: whoever publishes one has lost it
    ):
        return None
    try:
        key = jwt.PyJWK(dict(jwk), algorithm=algorithm)
        weak = key.Algorithm.check_key_length(key.key)
    except _UNUSABLE:
        return None
    return None if weak else _SigningKey(jwk.get("kid"), algorithm, key)


def _late_or_early(claims: Mapping[str, Any], now_s: float, leeway_s: float) -> Denied | None:
    times = [_seconds(claims.get(name, otherwise)) for name, otherwise in (("exp", None), ("nbf", 0), ("iat", 0))]
    expires, begins, issued = times
    if expires is None or begins is None or issued is None:
        return Denied("malformed", "This token's times (exp, nbf, iat) are no numbers.")
    if now_s >= expires + leeway_s:
        return Denied("expired", "This token has expired: get a new one.")
    if max(begins, issued) > now_s + leeway_s:
        return Denied("wrong", "This token is not valid yet: is the issuer's clock right, and ours?")
    return None


def _seconds(value: object) -> float | None:
    """A NumericDate; None for what is none, such as an infinity, which Python's JSON would let in."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if math.isfinite(seconds) else None


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """A claim by its name, or by a path of names; None where it is not there."""
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _role(value: object, rules: TokenRules) -> Role | None:
    """The most that the claim's values stand for."""
    values = value if isinstance(value, list) else [value]
    roles = [role for one in values if isinstance(one, str) and (role := rules.role(one)) is not None]
    return max(roles, key=gives, default=rules.default)


def _models(value: object) -> frozenset[str] | Denied | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) <= MOST_MODELS and all(isinstance(one, str) for one in value):
        return frozenset(value)
    return Denied("not_allowed", f"This token's list of models is none: it is a list of up to {MOST_MODELS} names.")
