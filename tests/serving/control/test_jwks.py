"""Which keys of a set may check tokens."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.control.jwks import MOST_KEYS, encode_keys, read_keys

ALL = ("RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"


def number(size_bytes: int) -> str:
    """A number of that many bytes, odd and with its first bit set, as a JWK writes it."""
    return urlsafe_b64encode(b"\xf1" * size_bytes).rstrip(b"=").decode()


RSA: Mapping[str, Any] = {"kty": "RSA", "kid": "r", "n": number(256), "e": "AQAB"}
EC: Mapping[str, Any] = {"kty": "EC", "kid": "e", "crv": "P-256", "x": number(32), "y": number(32)}
OKP: Mapping[str, Any] = {"kty": "OKP", "kid": "o", "crv": "Ed25519", "x": number(32)}


def test_public_keys_are_taken_with_what_checking_needs_and_no_more() -> None:
    """By name, whatever else was published with them; `alg` stays, for it narrows."""
    said = {
        "keys": [
            {**RSA, "use": "sig", "alg": "RS256", "x5c": ["…"], "note": SECRET},
            OKP,
            {**EC, "key_ops": ["verify"]},
        ]
    }
    reading = read_keys(said, ALL)
    assert reading.keys == (EC, OKP, {**RSA, "alg": "RS256"})
    assert reading.left_out == ()


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ({"kty": "oct", "kid": "s", "k": SECRET}, "secret"),
        ({"kty": "oct", "kid": "s", "alg": "HS256"}, "no algorithm"),
        *[
            ({**RSA, "kid": "s", private: SECRET}, "private part")
            for private in ("d", "p", "q", "dp", "dq", "qi", "oth")
        ],
        ({**EC, "kid": "s", "d": SECRET}, "private part"),
        ({**OKP, "kid": "s", "d": SECRET}, "private part"),
        ({**RSA, "kid": "s", "alg": "HS256"}, "no algorithm"),
        ({**RSA, "kid": "s", "alg": "none"}, "no algorithm"),
        ({**RSA, "kid": "s", "alg": "RS512"}, "no algorithm"),
        ({**RSA, "kid": "s", "alg": "ES256"}, "no algorithm"),
        ({**EC, "kid": "s", "crv": "secp256k1"}, "no algorithm"),
        ({**RSA, "kid": "s", "use": "enc"}, "not for signatures"),
        ({**RSA, "kid": "s", "key_ops": ["encrypt"]}, "not for signatures"),
        ({**RSA, "kid": "s", "key_ops": 1}, "not for signatures"),
        ({**RSA, "kid": "s", "n": number(128)}, "1,024 bits"),
        ({**RSA, "kid": "s", "n": number(1_025)}, "8,200 bits"),
        ({**RSA, "kid": "s", "n": number(100_000)}, "no number"),
        ({**RSA, "kid": "s", "e": "AQ"}, "exponent"),
        ({**RSA, "kid": "s", "e": "BA"}, "exponent"),
        ({**RSA, "kid": "s", "e": number(9)}, "exponent"),
        ({**RSA, "kid": "s", "n": "!!!"}, "no number"),
        ({**RSA, "kid": "s", "n": "A"}, "no number"),
        ({**RSA, "kid": "s", "n": 5}, "no text"),
        ({**EC, "kid": "s", "x": number(31)}, "coordinates"),
        ({**OKP, "kid": "s", "x": number(57)}, "coordinates"),
        ({**RSA, "kid": ""}, "no name"),
        ({**RSA, "kid": "k" * 257}, "no name"),
        ({**RSA, "kid": "a\nb"}, "no name"),
        ({**RSA, "kid": 7}, "no text"),
        (dict(EC), "another by that name"),
        ("RSA", "no key"),
    ],
)
def test_a_key_that_is_not_fit_is_left_out_and_the_one_beside_it_is_not(key: object, why: str) -> None:
    """Symmetric, private, for something else, weak, broken, nameless; the reason shows nothing of the key."""
    reading = read_keys({"keys": [EC, key]}, ("RS256", "ES256", "EdDSA"))
    assert reading.keys == (EC,)
    [sentence] = reading.left_out
    assert why in sentence
    assert SECRET not in sentence


@pytest.mark.parametrize(
    "document", [None, [], {}, {"keys": {}}, {"keys": "x"}, "keys", 3, {"keys": [RSA] * (MOST_KEYS + 1)}]
)
def test_what_is_no_set_is_refused(document: object) -> None:
    """Whatever JSON it is, and however many keys it has."""
    with pytest.raises(ValueError, match="it "):
        read_keys(document, ALL)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["RSA", "EC", "P-256", "sig", "verify", "AQAB"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["keys", "kty", "kid", "use", "alg", "n", "e", "crv", "x", "y", "d", "key_ops"])
            | st.text(),
            inner,
        )
    ),
    max_leaves=20,
)


@given(JSON | st.fixed_dictionaries({"keys": st.lists(JSON)}))
def test_whatever_is_published_is_read_or_refused(document: object) -> None:
    """No other error comes out, and nothing private comes through."""
    try:
        reading = read_keys(document, ALL)
    except ValueError:
        return
    assert all(not {"d", "k"} & key.keys() for key in reading.keys)


def test_what_is_kept_is_plain() -> None:
    """The form that the store has and gateways read."""
    kept = json.loads(encode_keys([EC], issuer="https://a.example", url="https://a.example", fetched_s=1.23456))
    assert kept == {"fetched_s": 1.235, "issuer": "https://a.example", "keys": [EC], "url": "https://a.example"}
