"""A request id says what happened, to those with the key; nobody else can make or change one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.choose import Reason
from router.errors import RequestIdError
from router.request_id import LENGTH, SECRET_BYTES, Key, KeyRing, RequestId, flags_of

SECRET = bytes(range(SECRET_BYTES))
RING = KeyRing({7: SECRET}, 7)
SAID = RequestId(
    nonce=0x0123456789ABCDEF,
    model=RING.current.model_hash("digits"),
    assigned=2,
    answered=1,
    epoch=41,
    at_s=1_700_000_000,
    unit=RING.current.unit_hash(b"ada"),
    reason=Reason.FALLBACK,
    has_unit=True,
)
GOLDEN = "AQdHASNFZ4mrze_ruDXzAAAAAgAAAAEAAAAAAAAAKWVT8QDbjwTaCKmq3i6OZqIg2NAI"

bits32, bits64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
ids = st.builds(
    RequestId,
    nonce=bits64,
    model=bits32,
    assigned=bits32,
    answered=bits32,
    epoch=bits64,
    at_s=bits32,
    unit=bits64,
    reason=st.sampled_from(Reason),
    has_unit=st.booleans(),
    synthetic=st.booleans(),
)


def test_the_form_never_changes() -> None:
    """Golden vector: ids that are out there must be readable for as long as feedback is accepted."""
    assert RING.current.mint(SAID) == GOLDEN
    assert RING.read(GOLDEN) == SAID
    assert (SAID.model, SAID.unit) == (3_954_718_195, 15_820_869_350_470_560_478)


@given(ids)
def test_an_id_says_what_was_put_into_it(said: RequestId) -> None:
    """Every field comes back, in 68 characters that need no escaping in a header or a URL."""
    text = RING.current.mint(said)
    assert len(text) == LENGTH
    assert text.replace("-", "").replace("_", "").isalnum()
    assert RING.read(text) == said


@given(ids)
def test_the_hot_path_mints_the_same(said: RequestId) -> None:
    """From plain numbers, without building a value."""
    flags = flags_of(said.reason, has_unit=said.has_unit, synthetic=said.synthetic)
    fields = (said.nonce, said.model, said.assigned, said.answered, said.epoch, said.at_s, said.unit)
    assert RING.current.mint_fields(flags, *fields).decode() == RING.current.mint(said)


@pytest.mark.parametrize("character", range(LENGTH))
def test_one_flipped_bit_anywhere_is_refused(character: int) -> None:
    """Whether the flip leaves the alphabet or not."""
    for bit in range(7):
        flipped = chr(ord(GOLDEN[character]) ^ (1 << bit))
        with pytest.raises(RequestIdError):
            RING.read(GOLDEN[:character] + flipped + GOLDEN[character + 1 :])


@settings(max_examples=300)
@given(st.text(max_size=80) | st.text("ABCabc012-_+/=", min_size=LENGTH, max_size=LENGTH))
def test_a_text_that_nobody_minted_is_refused(text: str) -> None:
    """With our error, whatever it is."""
    with pytest.raises(RequestIdError):
        RING.read(text)


def test_an_id_has_one_spelling() -> None:
    """The other alphabet of base64 is not taken for ours."""
    text = next(text for nonce in range(100) if "_" in (text := RING.current.mint(_with_nonce(nonce))))
    assert RING.read(text)
    with pytest.raises(RequestIdError):
        RING.read(text.replace("_", "/"))


def _with_nonce(nonce: int) -> RequestId:
    return RequestId(nonce, 1, 1, 1, 1, 1, 1, Reason.STABLE)


def test_an_old_key_verifies_for_as_long_as_it_is_kept() -> None:
    """After a rotation the new key mints; once the old one is gone, its ids are refused."""
    rotated = KeyRing({7: SECRET, 8: b"8" * SECRET_BYTES}, 8)
    assert rotated.read(GOLDEN) == SAID
    assert rotated.read(rotated.current.mint(SAID)) == SAID
    with pytest.raises(RequestIdError, match="no longer kept"):
        KeyRing({8: b"8" * SECRET_BYTES}, 8).read(GOLDEN)


def test_another_secret_under_the_same_key_id_verifies_nothing() -> None:
    """The key id travels in the clear and proves nothing."""
    with pytest.raises(RequestIdError):
        KeyRing({7: b"x" * SECRET_BYTES}, 7).read(GOLDEN)


def test_hashes_of_different_uses_differ() -> None:
    """A unit's hash under one key says nothing of it under another, and is no model's hash."""
    other = Key(8, b"8" * SECRET_BYTES)
    assert RING.current.unit_hash(b"ada") != other.unit_hash(b"ada")
    assert RING.current.unit_hash(b"digits") & 0xFFFFFFFF != RING.current.model_hash("digits")


@pytest.mark.parametrize(("key_id", "secret"), [(-1, SECRET), (256, SECRET), (1, b""), (1, SECRET + b"x")])
def test_a_key_that_cannot_be_is_refused(key_id: int, secret: bytes) -> None:
    """One byte of id, 32 bytes of secret."""
    with pytest.raises(RequestIdError):
        Key(key_id, secret)


def test_a_ring_without_its_current_key_is_refused() -> None:
    """Something has to mint."""
    with pytest.raises(RequestIdError):
        KeyRing({7: SECRET}, 8)
