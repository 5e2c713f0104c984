"""Which keys of a JSON Web Key Set (RFC 7517) may check tokens: a pure reading of what an issuer publishes.

Only public keys of asymmetric algorithms are taken. A symmetric key would let everybody who reads the set sign, and
one with its private part beside it already lets them; neither is used, and the keys beside it are. Of a key only the
members that checking needs are kept, so that nothing that was published by mistake goes any further.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from binascii import Error as BrokenBase64
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

MOST_KEYS = 100
_LONGEST_KID = 256
_LONGEST_NUMBER = 2_048
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_RSA_BITS = range(2_048, 8_193)
_LARGEST_EXPONENT = 2**32
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ALGORITHMS: Mapping[tuple[str, str], frozenset[str]] = MappingProxyType(
    {
        ("RSA", ""): _RSA,
        ("EC", "P-256"): frozenset({"ES256"}),
        ("EC", "P-384"): frozenset({"ES384"}),
        ("EC", "P-521"): frozenset({"ES512"}),
        ("OKP", "Ed25519"): frozenset({"EdDSA"}),
        ("OKP", "Ed448"): frozenset({"EdDSA"}),
    }
)
_SIZES: Mapping[str, int] = MappingProxyType({"P-256": 32, "P-384": 48, "P-521": 66, "Ed25519": 32, "Ed448": 57})
_MEMBERS: Mapping[str, tuple[str, ...]] = MappingProxyType({"RSA": ("n", "e"), "EC": ("x", "y"), "OKP": ("x",)})

Jwk = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a set holds for us.

    Attributes:
        keys: those that may check tokens, by `kid`, each with the members that checking needs.
        left_out: why others were not taken, a sentence each, without anything of the key itself but its name.
    """

    keys: tuple[Jwk, ...]
    left_out: tuple[str, ...]


def read_keys(document: object, algorithms: Sequence[str]) -> Reading:
    """The keys of a set that one of the algorithms can use.

    Raises:
        ValueError: it is no set of keys, with a sentence.
    """
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise ValueError("it is no set of keys (JWKS)")  # noqa: TRY004 - what came is wrong, whatever its type
    if len(listed) > MOST_KEYS:
        raise ValueError(f"it has {len(listed):,} keys, and {MOST_KEYS} are the most that are read")
    keys: dict[str, Jwk] = {}
    left_out: list[str] = []
    for place, said in enumerate(listed):
        try:
            key = _read(said, frozenset(algorithms), keys)
            keys[key["kid"]] = key
        except ValueError as error:
            left_out.append(f"{_name(said, place)} is left out: {error}.")
    return Reading(tuple(keys[kid] for kid in sorted(keys)), tuple(left_out))


def encode_keys(keys: Sequence[Jwk], *, issuer: str, url: str, fetched_s: float) -> str:
    """What the store keeps of them, JSON: {"fetched_s", "issuer", "keys", "url"}; `fetched_s` in seconds since 1970."""
    said = {"fetched_s": round(fetched_s, 3), "issuer": issuer, "keys": [dict(key) for key in keys], "url": url}
    return json.dumps(said, separators=(",", ":"), sort_keys=True)


def _read(said: object, allowed: frozenset[str], taken: Container[str]) -> Jwk:
    if not isinstance(said, Mapping):
        raise ValueError("it is no key")  # noqa: TRY004 - as above
    if _PRIVATE & said.keys():
        raise ValueError("it is secret or holds its private part, so that everybody could sign with it")
    kind, curve = _text(said, "kty"), _text(said, "crv")
    fit = _ALGORITHMS.get((kind, curve), frozenset()) & allowed
    if "alg" in said:
        fit &= {_text(said, "alg")}
    if not fit:
        raise ValueError("no algorithm that is allowed uses it")
    if not _for_signatures(said):
        raise ValueError("it is not for signatures")
    kid = _text(said, "kid")
    if not kid or len(kid) > _LONGEST_KID or not kid.isprintable():
        raise ValueError("it has no name (`kid`) that a token could give")
    if kid in taken:
        raise ValueError("there is another by that name before it")
    numbers = {member: _number(said, member) for member in _MEMBERS[kind]}
    _check_numbers(kind, curve, numbers)
    kept = {name: _text(said, name) for name in ("alg", "crv") if name in said}
    return {"kid": kid, "kty": kind, **kept, **{member: _text(said, member) for member in numbers}}


def _for_signatures(said: Mapping[str, Any]) -> bool:
    operations = said.get("key_ops", ["verify"])
    return _text(said, "use") in {"", "sig"} and isinstance(operations, list) and "verify" in operations


def _check_numbers(kind: str, curve: str, numbers: Mapping[str, bytes]) -> None:
    if kind == "RSA":
        bits, exponent = int.from_bytes(numbers["n"]).bit_length(), int.from_bytes(numbers["e"])
        if bits not in _RSA_BITS:
            raise ValueError(f"it has {bits:,} bits, and {_RSA_BITS[0]:,} to {_RSA_BITS[-1]:,} are taken")
        if not 1 < exponent < _LARGEST_EXPONENT or exponent % 2 == 0:
            raise ValueError("its exponent is none that anybody uses")
    elif any(len(number) != _SIZES[curve] for number in numbers.values()):
        raise ValueError(f"its coordinates are not those of {curve}")


def _number(said: Mapping[str, Any], member: str) -> bytes:
    text = _text(said, member)
    if len(text) > _LONGEST_NUMBER or not _BASE64URL.fullmatch(text):
        raise ValueError(f"its `{member}` is no number in base64url")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except BrokenBase64 as error:
        raise ValueError(f"its `{member}` is no number in base64url") from error


def _text(said: Mapping[str, Any], member: str) -> str:
    value = said.get(member, "")
    if not isinstance(value, str):
        raise ValueError(f"its `{member}` is no text")  # noqa: TRY004 - as above
    return value


def _name(said: object, place: int) -> str:
    kid = said.get("kid") if isinstance(said, Mapping) else None
    return f"Key {kid[:64]!r}" if isinstance(kid, str) and kid else f"Key number {place + 1}"
