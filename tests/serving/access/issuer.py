"""An identity provider for tests: its keys, its set of public ones, and the tokens that it signs."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from serving.access.config import TokenRules

NOW_S = 1_800_000_000.0
ISSUER, AUDIENCE = "https://idp.example/realms/ml", "sluice"
RULES = TokenRules(
    ISSUER, AUDIENCE, algorithms=("RS256", "PS256", "ES256", "EdDSA"), roles={"ml-ops": "operate"}
)  # fmt: skip
CLAIMS: dict[str, Any] = {
    "iss": ISSUER, "aud": AUDIENCE, "sub": "batch@example", "exp": int(NOW_S) + 600, "iat": int(NOW_S) - 60,
    "sluice_role": "predict",
}  # fmt: skip
_CURVES = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


class Issuer:
    """One signing key, made for the algorithm.

    Args:
        algorithm: such as RS256.
        kid: its name; None for a key without one.
        number: another one makes another key of the same kind.
    """

    def __init__(self, algorithm: str = "RS256", kid: str | None = "k1", number: int = 0) -> None:
        self.algorithm = algorithm
        self.kid = kid
        self.private = _private(algorithm, number)

    def jwk(self, **other: Any) -> dict[str, Any]:  # noqa: ANN401 (members of JSON)
        """Its public half, with members added, changed, or, where they are None, left out."""
        public = self.private.public_key()
        made: dict[str, Any] = dict(_algorithm(self.algorithm).to_jwk(public, as_dict=True))
        made |= {"kid": self.kid, "use": "sig", **other}
        return {name: value for name, value in made.items() if value is not None}

    def token(self, header: dict[str, Any] | None = None, /, **claims: Any) -> str:  # noqa: ANN401 (members of JSON)
        """A token; claims that are None are left out."""
        said = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
        headers = {"kid": self.kid, **(header or {})}
        headers = {name: value for name, value in headers.items() if value is not None}
        return jwt.encode(said, self.private, algorithm=self.algorithm, headers=headers)


def jwks(*keys: dict[str, Any]) -> str:
    """A set of keys, as an issuer publishes it."""
    return json.dumps({"keys": list(keys)})


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    """A token put together by hand."""
    return ".".join(_segment(part) for part in (json.dumps(header).encode(), json.dumps(claims).encode(), signature))


def bearer(token: str) -> bytes:
    """The header's value."""
    return b"Bearer " + token.encode()


def _segment(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def _private(algorithm: str, number: int) -> Any:  # noqa: ANN401 (each kind has a class of its own)
    del number
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm])
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa.generate_private_key(65537, 2048)


def _algorithm(name: str) -> Any:  # noqa: ANN401 (the three have nothing in common that they promise)
    if name in _CURVES:
        return ECAlgorithm
    return OKPAlgorithm if name == "EdDSA" else RSAAlgorithm
