"""The request id: what happened to one request, in 68 characters that nobody else can make.

base64url of 51 bytes, big-endian:

====  =====  ==========================================================================================
from  bytes  field
====  =====  ==========================================================================================
0     1      form (1)
1     1      id of the key that made the tag
2     1      flags: bits 0-3 the reason, bit 6 the request named a unit, bit 7 it was marked synthetic
3     8      nonce, drawn for this request; the unit where the request names none
11    4      model: the first bytes of the keyed hash of its name
15    4      version that was assigned
19    4      version that answered (differs where a fallback answered)
23    8      epoch of the policy that decided
31    4      when, in seconds since 1970
35    8      keyed hash of the unit
43    8      tag: keyed BLAKE2b over all of the above
====  =====  ==========================================================================================

Feedback that comes hours later joins by what the id carries: no table to lose. Units leave only as keyed hashes.
Keys rotate; a ring verifies with every key that it still holds. The hash is BLAKE2b (Aumasson et al. 2013, RFC 7693)
with its own `person` for each use, so a tag can never serve as a unit's hash.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest
from struct import Struct
from types import MappingProxyType

from router.choose import Reason
from router.errors import RequestIdError

FORM = 1
LENGTH = 68
SECRET_BYTES = 32
_LARGEST_KEY_ID = 255
_HASH_BYTES = 8
_FIELDS = Struct(">BBBQIIIQIQ")
_REASONS = (
    Reason.PINNED,
    Reason.OVERRIDE,
    Reason.RULE,
    Reason.ARM,
    Reason.CANARY,
    Reason.STABLE,
    Reason.FALLBACK,
)
_CODES: Mapping[Reason, int] = MappingProxyType({reason: code for code, reason in enumerate(_REASONS, start=1)})
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_HAS_UNIT = 1 << 6
_SYNTHETIC = 1 << 7


@dataclass(frozen=True, slots=True)
class RequestId:
    """What a request id says.

    Attributes:
        nonce: 64 bits, drawn for this request.
        model: 32-bit keyed hash of the model's name (`Key.model_hash`).
        assigned: the version that the policy chose.
        answered: the version whose answer the client got.
        epoch: of the policy that chose.
        at_s: seconds since 1970.
        unit: 64-bit keyed hash of the unit (`Key.unit_hash`).
        reason: why `assigned` was chosen.
        has_unit: whether the request named its unit.
        synthetic: whether it was marked as a load test's.
    """

    nonce: int
    model: int
    assigned: int
    answered: int
    epoch: int
    at_s: int
    unit: int
    reason: Reason
    has_unit: bool = False
    synthetic: bool = False


class Key:
    """One secret that mints and verifies; `key_id` travels in the clear and says which."""

    __slots__ = ("_model", "_tag", "_unit", "key_id")

    def __init__(self, key_id: int, secret: bytes) -> None:
        if not 0 <= key_id <= _LARGEST_KEY_ID:
            raise RequestIdError(f"{key_id!r} is no key id: it is one byte, 0 to {_LARGEST_KEY_ID}")
        if len(secret) != SECRET_BYTES:
            raise RequestIdError(f"a request id's secret has {SECRET_BYTES} bytes, not {len(secret)}")
        self.key_id = key_id
        self._tag = blake2b(key=secret, digest_size=_HASH_BYTES, person=b"sluice-id-tag")
        self._unit = blake2b(key=secret, digest_size=_HASH_BYTES, person=b"sluice-unit")
        self._model = blake2b(key=secret, digest_size=4, person=b"sluice-model")

    def unit_hash(self, unit: bytes) -> int:
        """64-bit keyed hash of a unit: the only form in which units leave the gateway."""
        keyed = self._unit.copy()  # a copy has the key block digested already
        keyed.update(unit)
        return int.from_bytes(keyed.digest(), "big")

    def model_hash(self, model: str) -> int:
        """32-bit keyed hash of a model's name, so that feedback cannot be turned on another model."""
        keyed = self._model.copy()
        keyed.update(model.encode())
        return int.from_bytes(keyed.digest(), "big")

    def mint(self, said: RequestId) -> str:
        """The id as text, 68 characters of base64url."""
        return self.mint_fields(
            _flags(said), said.nonce, said.model, said.assigned, said.answered, said.epoch, said.at_s, said.unit
        ).decode()

    def mint_fields(  # noqa: PLR0917 (the hot path builds no RequestId, and keywords would cost it a third)
        self, flags: int, nonce: int, model: int, assigned: int, answered: int, epoch: int, at_s: int, unit: int
    ) -> bytes:
        """The same from plain numbers; `flags` from `flags_of`."""
        said = _FIELDS.pack(FORM, self.key_id, flags, nonce, model, assigned, answered, epoch, at_s, unit)
        keyed = self._tag.copy()
        keyed.update(said)
        return b2a_base64(said + keyed.digest(), newline=False).translate(_URL_SAFE)

    def tags(self, said: bytes, tag: bytes) -> bool:
        """Whether this key made the tag; compared in constant time."""
        keyed = self._tag.copy()
        keyed.update(said)
        return compare_digest(keyed.digest(), tag)


class KeyRing:
    """The keys that are still accepted; the newest mints."""

    def __init__(self, secrets: Mapping[int, bytes], current: int) -> None:
        if current not in secrets:
            raise RequestIdError(f"the current key {current} is not among the keys {sorted(secrets)}")
        self.keys = {key_id: Key(key_id, secret) for key_id, secret in secrets.items()}
        self.current = self.keys[current]

    def read(self, text: str) -> RequestId:
        """What the id says, once its tag is verified.

        Raises:
            RequestIdError: not an id, or not one that a key of this ring made.
        """
        raw = _bytes_of(text)
        said, tag = raw[: _FIELDS.size], raw[_FIELDS.size :]
        form, key_id, flags, nonce, model, assigned, answered, epoch, at_s, unit = _FIELDS.unpack(said)
        key = self.keys.get(key_id)
        if form != FORM or key is None or not key.tags(said, tag):
            raise RequestIdError("this request id was not made here, or the key that made it is no longer kept")
        reason, has_unit, synthetic = _unflag(flags)
        return RequestId(nonce, model, assigned, answered, epoch, at_s, unit, reason, has_unit, synthetic)


def flags_of(reason: Reason, *, has_unit: bool, synthetic: bool = False) -> int:
    """The flags byte."""
    return _CODES[reason] | (_HAS_UNIT if has_unit else 0) | (_SYNTHETIC if synthetic else 0)


def _flags(said: RequestId) -> int:
    return flags_of(said.reason, has_unit=said.has_unit, synthetic=said.synthetic)


def _unflag(flags: int) -> tuple[Reason, bool, bool]:
    code = flags & 0x0F
    if not 1 <= code <= len(_REASONS):
        raise RequestIdError(f"this request id gives the reason {code}, which this version does not know")
    return _REASONS[code - 1], bool(flags & _HAS_UNIT), bool(flags & _SYNTHETIC)


def _bytes_of(text: str) -> bytes:
    if len(text) != LENGTH:
        raise RequestIdError(f"a request id has {LENGTH} characters, this one {len(text)}")
    if "+" in text or "/" in text:  # what b64decode also takes: one id would have several spellings
        raise RequestIdError("this is no request id: it is not base64url")
    try:
        return b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (Base64Error, UnicodeEncodeError, ValueError) as error:
        raise RequestIdError("this is no request id: it is not base64url") from error
