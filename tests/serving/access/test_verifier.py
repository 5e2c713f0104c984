"""A verifier says who shows a key, and tells outsiders nothing that they could use."""

from __future__ import annotations

import random
import statistics
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access import keys
from serving.access.keys import KeyRecord, Shown
from serving.access.principal import Principal
from serving.access.roles import Role
from serving.access.verifier import LONGEST, Denied, Verifier
from tests.serving.access.issuer import NOW_S, RULES, Issuer, bearer, jwks

SHOWN, OTHER, ENDED, TAKEN = (keys.create() for _ in range(4))
RECORDS = [
    KeyRecord(SHOWN.id, "deploy-bot", SHOWN.digest, Role.PREDICT, frozenset({"m"})),
    KeyRecord(ENDED.id, "ended", ENDED.digest, Role.OPERATE, expires_s=NOW_S),
    KeyRecord(TAKEN.id, "taken", TAKEN.digest, Role.ADMINISTER, revoked_s=NOW_S - 1),
]
ISSUER = Issuer()
VERIFIER = Verifier(RECORDS, jwks(ISSUER.jwk()), RULES)


def denied(authorization: bytes | None, verifier: Verifier = VERIFIER, now_s: float = NOW_S) -> Denied:
    """Why this lets nobody in; fails where it does."""
    found = verifier.verify(authorization, now_s)
    assert isinstance(found, Denied), found
    assert found.sentence.endswith((".", "?"))
    return found


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_a_key_opens(scheme: str) -> None:
    """Whoever shows a key is the principal of its record, however the scheme is written."""
    assert VERIFIER.verify(scheme.encode() + SHOWN.text.encode(), NOW_S) == RECORDS[0].principal


def test_a_key_that_ends() -> None:
    """A key opens until the moment at which it ends, and not from then on."""
    assert isinstance(VERIFIER.verify(bearer(ENDED.text), NOW_S - 0.001), Principal)
    assert denied(bearer(ENDED.text)).kind == "expired"


def test_who_is_told_what() -> None:
    """Expired and revoked is only told to who has the secret; an unknown id and a wrong secret sound the same."""
    assert denied(bearer(ENDED.text)).kind == "expired"
    assert denied(bearer(TAKEN.text)).kind == "revoked"
    guesses = [OTHER, Shown(SHOWN.id, OTHER.secret), Shown(ENDED.id, OTHER.secret), Shown(TAKEN.id, OTHER.secret)]
    found = [denied(bearer(guess.text)) for guess in guesses]
    assert {(one.kind, one.sentence) for one in found} == {("wrong", found[0].sentence)}
    assert [one.key_id for one in found] == ["", SHOWN.id, ENDED.id, TAKEN.id]  # for the security log only
    assert denied(bearer(f"sluice_{SHOWN.id}_short")).sentence == found[0].sentence


@pytest.mark.parametrize(
    "shown",
    [
        b"", b"Bearer", b"Bearer ", b" Bearer x", b"Basic eDp5", b"Bearer x y", b"Bearer x, Bearer y", b"Bearer\tx",
        b"Bearer x\0", b"Bearer \xff", b"Token x", b"BearerX y", b"Bearer x;y", b"KEY", b"Bearer KEY,Bearer KEY",
        b'Bearer "KEY"', b"Bearer Bearer KEY", b"Bearer " + b"x" * LONGEST, b"Bearer\nKEY",
    ],
)  # fmt: skip
def test_odd_headers(shown: bytes) -> None:
    """What is not `Bearer`, blanks and one word is not understood: no other scheme, no two at once, no quotes."""
    assert denied(shown.replace(b"KEY", SHOWN.text.encode())).kind == "malformed"


def test_nothing_shown() -> None:
    """Nobody is let in who shows nothing."""
    assert denied(None).kind == "missing"


def test_longest() -> None:
    """A header of more than 8 KiB is not looked at, whatever it holds."""
    padded = b"Bearer" + b" " * (LONGEST - 6 - len(SHOWN.text)) + SHOWN.text.encode()
    assert isinstance(VERIFIER.verify(padded, NOW_S), Principal)
    assert denied(padded.replace(b"Bearer", b"Bearer ")).kind == "malformed"


def test_no_tokens() -> None:
    """Where no rules for tokens are given, none is taken, however good."""
    assert denied(bearer(ISSUER.token()), Verifier(RECORDS, jwks(ISSUER.jwk()))).kind == "malformed"


@given(shown=st.binary(max_size=300), prefix=st.sampled_from([b"", b"Bearer ", b"Bearer sluice_", b"Bearer e30.e30."]))
def test_no_bytes_break_it(shown: bytes, prefix: bytes) -> None:
    """Whatever bytes are shown, they are refused, and nothing else happens."""
    assert denied(prefix + shown)


@given(data=st.data())
def test_no_damaged_key_opens(data: st.DataObject) -> None:
    """A key with any one character changed, lost or added opens nothing."""
    at = data.draw(st.integers(0, len(SHOWN.text)))
    with_it = data.draw(st.sampled_from(["", "A", "a", "0", "_", "-", "=", ".", "\n"]))
    text = SHOWN.text[:at] + with_it + SHOWN.text[at + data.draw(st.integers(0, 1)) :]
    if text != SHOWN.text:
        denied(bearer(text))


def test_nothing_secret_is_said() -> None:
    """Neither a denial nor the verifier, printed, has anything of a secret or of a digest in it."""
    for shown in (SHOWN, ENDED, TAKEN, OTHER, Shown(SHOWN.id, OTHER.secret)):
        printed = f"{VERIFIER!r} {VERIFIER.verify(bearer(shown.text), NOW_S)!r}"
        assert shown.secret not in printed
        assert shown.digest not in printed


def test_comparison_takes_the_same_time() -> None:
    """How long a wrong secret takes says nothing about how much of it was right, nor whether the id is known.

    Three kinds of guesses in turn, in a random order of each round: of an unknown id; with a digest that differs from
    the right one in its first digit; with one that differs in its last. A comparison that ended at the first
    difference would, over 64 digits, take a different time for the last two. The medians over all rounds may differ
    by a tenth of themselves: a verification is some microseconds, of which the comparison is a small part, so this is
    far above what noise does to a median of 4,000, and far below one step of hashing more or less. The comparison
    alone is held to the same bound where the digests are a million digits long, so that an early end would show as a
    factor, not as noise.
    """
    draw = random.Random(1)
    guess = keys.create()
    first, last = ("1" if guess.digest[0] == "0" else "0"), ("1" if guess.digest[-1] == "0" else "0")
    near = KeyRecord(guess.id, "near", guess.digest[:-1] + last, Role.PREDICT)
    far = KeyRecord(guess.id, "far", first + guess.digest[1:], Role.PREDICT)
    kinds = {"unknown": Verifier(()), "near": Verifier((near,)), "far": Verifier((far,))}
    took: dict[str, list[int]] = {name: [] for name in kinds}
    shown = bearer(guess.text)
    for _ in range(4_000):
        for name in draw.sample(sorted(kinds), len(kinds)):
            begin = time.perf_counter_ns()
            kinds[name].verify(shown, NOW_S)
            took[name].append(time.perf_counter_ns() - begin)
    medians = [statistics.median(some) for some in took.values()]
    assert max(medians) <= 1.1 * min(medians), dict(zip(took, medians, strict=True))


def test_comparison_does_not_end_early() -> None:
    """Digests that differ at once are compared for as long as those that differ at the end, as their record does it.

    With a million digits, where an early end would be a factor of thousands; the medians may differ by a half.
    """

    class Long(Shown):
        """One whose digest is what the test says."""

        @property
        def digest(self) -> str:
            return self.secret

    size = 1_000_000
    record = KeyRecord("0" * 12, "long", "0" * 64, Role.PREDICT)
    object.__setattr__(record, "digest", "0" * size)  # no record is made with so long a one
    kinds = {"first": Long("", "1" + "0" * (size - 1)), "last": Long("", "0" * (size - 1) + "1")}
    took: dict[str, list[int]] = {name: [] for name in kinds}
    draw = random.Random(2)
    for _ in range(200):
        for name in draw.sample(sorted(kinds), len(kinds)):
            begin = time.perf_counter_ns()
            assert not record.matches(kinds[name])
            took[name].append(time.perf_counter_ns() - begin)
    medians = [statistics.median(some) for some in took.values()]
    assert max(medians) <= 1.5 * min(medians)
