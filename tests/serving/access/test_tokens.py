"""A token opens what its claims say if it is genuine, in time, and meant for us; nothing else about it counts."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from serving.access.config import ASYMMETRIC, TokenRules
from serving.access.principal import Principal
from serving.access.roles import Role
from serving.access.tokens import MOST_KEYS
from serving.access.verifier import LONGEST, Denied, Verifier
from tests.serving.access.issuer import AUDIENCE, CLAIMS, ISSUER, NOW_S, RULES, Issuer, bearer, forged, jwks

RSA, EC, ED = Issuer(), Issuer("ES256", "e1"), Issuer("EdDSA", "d1")
SET = jwks(RSA.jwk(), EC.jwk(), ED.jwk())


def ask(token: str, keys: str | None = SET, rules: TokenRules = RULES, now_s: float = NOW_S) -> Principal | Denied:
    """What a verifier with these keys says."""
    return Verifier((), keys, rules).verify(bearer(token), now_s)


def let_in(token: str, **given: Any) -> Principal:  # noqa: ANN401 (of `ask`)
    """Whoever shows this; fails where it opens nothing."""
    found = ask(token, **given)
    assert isinstance(found, Principal), found
    return found


def kind(token: str, **given: Any) -> str:  # noqa: ANN401 (of `ask`)
    """Why this opens nothing; fails where it does."""
    found = ask(token, **given)
    assert isinstance(found, Denied), found
    return found.kind


@pytest.mark.parametrize("issuer", [RSA, EC, ED, Issuer("PS256", "p1")], ids=lambda one: one.algorithm)
def test_a_good_token(issuer: Issuer) -> None:
    """A token that says everything right opens, by each kind of key, until it ends."""
    who = let_in(issuer.token(), keys=jwks(issuer.jwk(alg=issuer.algorithm)))
    assert (who.kind, who.name, who.role, who.models) == ("token", "batch@example", Role.PREDICT, None)
    assert who.expires_s == CLAIMS["exp"] + RULES.leeway_s
    assert who.limits.none


def test_who_it_is() -> None:
    """The id is that of issuer and subject, whatever else changes; another subject has another."""
    one, again, other = RSA.token(), EC.token(sluice_role="operate"), RSA.token(sub="somebody")
    assert let_in(one).id == let_in(again).id != let_in(other).id
    assert len(let_in(one).id) == 16


@pytest.mark.parametrize("subject", ["x" * 5000, "a\r\nb: c", "\u202egnp", "\ud800", "", "\0"])
def test_subjects_are_shown_safely(subject: str) -> None:
    """However odd a subject is, what is shown of it is short and printable."""
    token = _signed({**CLAIMS, "sub": subject})
    name = let_in(token).name if len(token) < LONGEST else "too long"
    assert name.isprintable()
    assert 1 <= len(name) <= 64


# What is signed how.


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 1, [], {}, "HS256", "XX256", "RS256 "])
def test_no_signature_is_no_token(alg: object) -> None:
    """`alg: none`, however it is written, and algorithms that are none, open nothing; with a signature or without."""
    for signature in (b"", b"x" * 256):
        assert kind(forged({"alg": alg, "kid": "k1"}, CLAIMS, signature)) in {"wrong", "malformed"}


@pytest.mark.parametrize("digest", ["HS256", "HS384", "HS512"])
def test_key_confusion(digest: str) -> None:
    """A MAC made with the public key as the secret, in any form in which that is published, is no signature."""
    public = RSA.private.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, pem.strip(), der, json.dumps(RSA.jwk()).encode(), RSA.jwk()["n"].encode(), b""):
        unsigned = forged({"alg": digest, "kid": "k1", "typ": "JWT"}, CLAIMS).rpartition(".")[0]
        mac = hmac.new(secret, unsigned.encode(), digest.replace("HS", "sha")).digest()
        token = unsigned + "." + forged({}, {}, mac).rpartition(".")[2]
        assert kind(token) == "wrong"
        lying = token.replace(token.split(".")[0], forged({"alg": "RS256", "kid": "k1"}, {}).split(".")[0])
        assert kind(lying) == "wrong"


def test_a_symmetric_key_in_the_set() -> None:
    """A set with a symmetric key in it lets nobody sign with that, not even where it bears a good name."""
    secret = {"kty": "oct", "k": urlsafe_b64encode(b"secret" * 8).decode(), "kid": "k1", "alg": "HS256"}
    token = jwt.encode(CLAIMS, b"secret" * 8, algorithm="HS256", headers={"kid": "k1"})
    assert kind(token, keys=jwks(secret)) in {"wrong", "unknown_signing_key"}
    assert kind(token, keys=jwks(secret, RSA.jwk())) == "wrong"


def test_rules_allow_asymmetric_algorithms_only() -> None:
    """Rules that would take a MAC, or no signature, cannot be written down."""
    for algorithm in ("HS256", "none", "HS512", ""):
        with pytest.raises(ValueError, match="signed by some of"):
            TokenRules(ISSUER, AUDIENCE, (algorithm,))
    with pytest.raises(ValueError, match="signed by some of"):
        TokenRules(ISSUER, AUDIENCE, ())
    assert not {one for one in ASYMMETRIC if one.startswith("HS") or one == "none"}


def test_an_algorithm_that_is_not_allowed() -> None:
    """A good signature by an algorithm that the rules do not name opens nothing."""
    assert kind(EC.token(), rules=TokenRules(ISSUER, AUDIENCE, ("RS256",))) == "wrong"


@pytest.mark.parametrize(
    "other",
    [
        {"kty": "EC"}, {"kty": "oct"}, {"kty": None}, {"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": []},
        {"key_ops": "verify"}, {"alg": "RS512"}, {"alg": "ES256"}, {"d": "AQAB"}, {"n": "AQAB"}, {"n": 5}, {"e": None},
    ],
    ids=str,
)  # fmt: skip
def test_keys_that_are_for_something_else(other: dict[str, Any]) -> None:
    """A key of another type, for another use, too short, private or broken, verifies nothing."""
    assert kind(RSA.token(), keys=jwks(RSA.jwk(**other))) == "unknown_signing_key"


@pytest.mark.parametrize("other", [{"key_ops": ["verify"]}, {"use": None}, {"alg": "RS256"}, {"x5c": ["x"]}], ids=str)
def test_keys_that_are_for_this(other: dict[str, Any]) -> None:
    """A key that says that it is for this, or does not say, verifies."""
    assert let_in(RSA.token(), keys=jwks(RSA.jwk(**other)))


def test_the_wrong_curve() -> None:
    """An ES256 token is verified by a key on P-256 and on no other."""
    other = Issuer("ES384", "e1")
    assert kind(EC.token(), keys=jwks(other.jwk())) == "unknown_signing_key"
    both = TokenRules(ISSUER, AUDIENCE, ("ES256", "ES384"))
    assert kind(EC.token(), keys=jwks(other.jwk()), rules=both) == "unknown_signing_key"
    assert let_in(other.token(), keys=jwks(other.jwk()), rules=both)


@pytest.mark.parametrize("header", ["jwk", "jku", "x5u", "x5c", "x5t"])
def test_keys_that_a_token_brings(header: str) -> None:
    """What a token says about where its key is counts for nothing: neither does it open, nor does it shut."""
    stranger = Issuer(number=1)
    brought = {"jwk": stranger.jwk(), "x5c": ["MIIB"], "jku": "https://evil.example/jwks"}.get(header, "https://evil/")
    assert kind(stranger.token({header: brought, "kid": "k1"})) == "wrong"
    assert kind(stranger.token({header: brought, "kid": "evil"})) == "unknown_signing_key"
    assert let_in(RSA.token({header: brought}))


@pytest.mark.parametrize("header", [{"crit": ["exp"]}, {"crit": ["b64"], "b64": True}, {"crit": []}, {"b64": True}])
def test_critical_extensions(header: dict[str, Any]) -> None:
    """A token that says that an extension must be understood is refused: none is understood here."""
    assert kind(forged({"alg": "RS256", "kid": "k1", **header}, CLAIMS, b"x" * 256)) == "malformed"


# Which key.


@pytest.mark.parametrize("kid", ["", "nobody", "../../etc/passwd", "k1\0", "' or 1=1", "K1", "x" * 3000])
def test_names_of_keys_that_are_not_there(kid: str) -> None:
    """A key is taken by exactly its name; what is not there may come with the issuer's next set."""
    assert kind(RSA.token({"kid": kid})) == "unknown_signing_key"


@pytest.mark.parametrize("kid", [1, [], {}, ["k1"], {"k1": 1}, True])
def test_names_of_keys_that_are_none(kid: object) -> None:
    """A name that is no text opens nothing."""
    assert kind(forged({"alg": "RS256", "kid": kid}, CLAIMS, b"x" * 256)) == "malformed"


def test_no_name() -> None:
    """A token that names no key is verified by the only one that fits, and where two do by neither."""
    nameless = Issuer(kid=None)
    assert let_in(nameless.token(), keys=jwks(nameless.jwk(), EC.jwk()))
    assert let_in(nameless.token(), keys=jwks(RSA.jwk()))
    assert kind(nameless.token(), keys=jwks(nameless.jwk(), Issuer(number=1).jwk())) == "wrong"


def test_another_key_of_that_name() -> None:
    """A name does not make a signature good; of several keys of one name each is tried."""
    other = Issuer(number=1)
    assert kind(other.token()) == "wrong"
    assert let_in(other.token(), keys=jwks(RSA.jwk(), other.jwk()))


def test_rotation() -> None:
    """With the issuer's next set the new key opens; the old one as long as it is in the set, and no longer."""
    new = Issuer(kid="k2", number=1)
    assert kind(new.token()) == "unknown_signing_key"
    both = jwks(RSA.jwk(), new.jwk())
    assert let_in(new.token(), keys=both)
    assert let_in(RSA.token(), keys=both)
    assert kind(RSA.token(), keys=jwks(new.jwk())) == "unknown_signing_key"


@pytest.mark.parametrize(
    "keys", [None, "", "{}", "[]", "null", "1", '{"keys": 1}', '{"keys": {}}', '{"keys": [1, null, [], {}]}', "x", "{"]
)
def test_sets_that_are_none(keys: str | None) -> None:
    """Whatever stands in the place of a set, no key is known then, which may pass."""
    assert kind(RSA.token(), keys=keys) == "unknown_signing_key"


def test_large_sets() -> None:
    """Of a set that has no end only so many keys are looked at."""
    noise = [{"kty": "RSA", "kid": str(number)} for number in range(MOST_KEYS)]
    assert let_in(RSA.token(), keys=jwks(*noise[1:], RSA.jwk()))
    assert kind(RSA.token(), keys=jwks(*noise, RSA.jwk())) == "unknown_signing_key"


# What it says.


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": int(NOW_S) - 29}, ""), ({"exp": int(NOW_S) - 30}, "expired"), ({"exp": int(NOW_S) - 31}, "expired"),
        ({"exp": 0}, "expired"), ({"exp": -1}, "expired"), ({"exp": None}, "wrong"), ({"exp": True}, "malformed"),
        ({"exp": "2030"}, "malformed"), ({"exp": []}, "malformed"), ({"exp": {}}, "malformed"),
        ({"exp": 10**400}, "malformed"), ({"exp": NOW_S + 0.5}, ""),
        ({"nbf": int(NOW_S) + 30}, ""), ({"nbf": int(NOW_S) + 31}, "wrong"), ({"nbf": "x"}, "malformed"),
        ({"iat": int(NOW_S) + 30}, ""), ({"iat": int(NOW_S) + 31}, "wrong"), ({"iat": None}, ""),
        ({"iat": []}, "malformed"),
        ({"aud": "other"}, "wrong"), ({"aud": None}, "wrong"), ({"aud": []}, "wrong"), ({"aud": ["a", AUDIENCE]}, ""),
        ({"aud": [AUDIENCE, 1]}, "wrong"), ({"aud": {AUDIENCE: 1}}, "wrong"), ({"aud": AUDIENCE + "x"}, "wrong"),
        ({"aud": AUDIENCE.upper()}, "wrong"), ({"aud": AUDIENCE[:-1]}, "wrong"),
        ({"iss": ISSUER + "/"}, "wrong"), ({"iss": None}, "wrong"), ({"iss": ISSUER.upper()}, "wrong"),
        ({"iss": [ISSUER]}, "wrong"), ({"sub": None}, "wrong"), ({"sub": 5}, "malformed"),
    ],
    ids=str,
)  # fmt: skip
def test_claims(claims: dict[str, Any], expected: str) -> None:
    """Issuer and audience are exactly ours; it has begun and has not ended, give or take the leeway; all is typed."""
    found = ask(_signed({name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}))
    assert (found.kind if isinstance(found, Denied) else "") == expected


def test_infinities() -> None:
    """Numbers that JSON does not have, but Python's reader lets in, are no times."""
    for number in ("Infinity", "-Infinity", "NaN", "1e999"):
        said = json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), number).encode()
        token = jwt.PyJWS().encode(said, RSA.private, algorithm="RS256", headers={"kid": "k1"})
        assert kind(token) == "malformed"


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b'"x"', b"null", b"{", b"\xff", b"[" * 5000])
def test_bodies_that_are_none(body: bytes) -> None:
    """Signed, but no claims."""
    token = jwt.PyJWS().encode(body, RSA.private, algorithm="RS256", headers={"kid": "k1"})
    assert kind(token) == "malformed"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("predict", Role.PREDICT), ("administer", Role.ADMINISTER), ("ml-ops", Role.OPERATE),
        (["x", "ml-ops"], Role.OPERATE), (["predict", "administer"], Role.ADMINISTER), ("Administer", None), ("", None),
        (None, None), ([], None),
        (3, None), ({"administer": 1}, None), ([["administer"]], None), ("predict administer", None), (True, None),
    ],
    ids=str,
)  # fmt: skip
def test_roles(value: object, expected: Role | None) -> None:
    """The claim names a role or several, by our names or by the rules'; one that names none is let in for nothing."""
    found = ask(RSA.token(sluice_role=value))
    assert (found.role if isinstance(found, Principal) else found.kind) == (expected or "not_allowed")


def test_roles_by_default_and_by_path() -> None:
    """A path leads into nested claims, a claim of exactly that name comes first, and there may be a default."""
    nested = TokenRules(ISSUER, AUDIENCE, role_claim="realm.roles", default_role="predict")
    assert let_in(RSA.token(realm={"roles": ["operate"]}), rules=nested).role is Role.OPERATE
    both: dict[str, Any] = {"realm.roles": "administer", "realm": {"roles": "operate"}}
    assert let_in(RSA.token(**both), rules=nested).role is (Role.ADMINISTER)
    odd: list[Any] = [{}, {"roles": {}}, [], "roles", None]
    for realm in odd:
        assert let_in(RSA.token(realm=realm), rules=nested).role is Role.PREDICT


@pytest.mark.parametrize(
    ("value", "expected"),
    [(["a", "b"], frozenset("ab")), (None, None), ([], frozenset()), ("a", "no"), ([1], "no"), ({}, "no"),
     ([""] * 1001, "no"), ([None], "no")],
    ids=range(8),
)  # fmt: skip
def test_models(value: object, expected: object) -> None:
    """The claim narrows a predict to what it lists, be that nothing; what is no list lets nobody in."""
    found = ask(RSA.token(sluice_models=value))
    assert (found.models if isinstance(found, Principal) else "no") == expected
    if isinstance(found, Principal):
        assert let_in(RSA.token(sluice_models=value, sluice_role="operate")).models is None


# Whatever is shown.


def test_long_tokens() -> None:
    """A token of more than 8 KiB is not looked at."""
    assert let_in(RSA.token(padding="x" * 5000))
    assert kind(RSA.token(padding="x" * 6000)) == "malformed"


@given(data=st.data())
def test_damaged_tokens(data: st.DataObject) -> None:
    """A token that is changed anywhere opens nothing, or says the same as before: base64 has idle bits."""
    token = RSA.token()
    at, size = data.draw(st.integers(0, len(token))), data.draw(st.integers(0, 3))
    damaged = token[:at] + data.draw(st.text("AZaz09-_.=", max_size=3)) + token[at + size :]
    found = ask(damaged)
    assert isinstance(found, Denied) or found == ask(token)


@given(text=st.lists(st.text("AZaz09-_", max_size=40), min_size=1, max_size=5).map(".".join))
def test_no_words_break_it(text: str) -> None:
    """Whatever stands in a token's place is refused, and nothing else happens."""
    assert isinstance(ask(text or "x"), Denied)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=5), some, max_size=3),
    max_leaves=8,
)


@given(header=st.dictionaries(st.sampled_from(["alg", "kid", "crit", "typ", "jwk", "b64"]), _json), claims=_json)
def test_no_header_breaks_it(header: dict[str, Any], claims: Any) -> None:  # noqa: ANN401 (any JSON)
    """Whatever a token's header says, nobody is let in who did not sign."""
    assert isinstance(ask(forged({"alg": "RS256", "kid": "k1", **header}, claims)), Denied)


@given(claims=st.dictionaries(st.sampled_from([*CLAIMS, "nbf", "sluice_models"]), _json))
def test_no_claims_break_it(claims: dict[str, Any]) -> None:
    """Whatever a genuine token claims, it is read or refused."""
    token = _signed({**CLAIMS, **claims}, EC)
    found = ask(token)
    if isinstance(found, Principal):
        assert found.expires_s is not None
        assert found.expires_s > NOW_S


@given(
    keys=st.lists(st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "k"]), _json))
)
def test_no_set_breaks_it(keys: list[dict[str, Any]]) -> None:
    """Whatever stands in an issuer's set, a good key beside it is found."""
    half = [{**RSA.jwk(kid="bad"), **key} for key in keys[:5]] + [{**EC.jwk(kid="bad"), **key} for key in keys[:5]]
    assert let_in(RSA.token(), keys=jwks(*keys[:20], *half, RSA.jwk()))


@pytest.mark.parametrize("issuer", ["https://other.example", f"{ISSUER}/", "", None, 5, [ISSUER]])
def test_keys_of_another_issuer(issuer: object) -> None:
    """A set that was kept while the settings named another issuer vouches for nobody; it may also name none."""
    kept = json.dumps({"fetched_s": 1.0, "issuer": issuer, "keys": [RSA.jwk()]})
    assert isinstance(ask(RSA.token(), keys=kept), Denied)
    for said in ({}, {"issuer": ISSUER}):
        assert let_in(RSA.token(), keys=json.dumps({**said, "keys": [RSA.jwk()]}))


def test_what_is_kept_of_a_token() -> None:
    """Nothing of a token but its issuer's and subject's hash, and the subject, is in what it is turned into."""
    token = RSA.token()
    assert token.split(".")[2] not in repr(ask(token))
    assert let_in(token).id == sha256(f"{ISSUER}\0batch@example".encode()).hexdigest()[:16]


def _signed(claims: dict[str, Any], issuer: Issuer = RSA) -> str:
    """A token with these claims, whatever they are."""
    body = json.dumps(claims).encode()
    return jwt.PyJWS().encode(body, issuer.private, algorithm=issuer.algorithm, headers={"kid": issuer.kid})
