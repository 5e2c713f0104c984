"""API keys: what one looks like, what is kept of it, and whether the one that is shown is it.

A key is `sluice_ID_SECRET`. The id is no secret: it names the key in lists, logs and the ledger. Of the secret, which
has 256 random bits, only the SHA-256 is kept; a slow hash guards guessable passwords, and would add nothing to these.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from serving.access.principal import MOST_MODELS, UNLIMITED, Limits, Principal
from serving.access.roles import Role

LONGEST_NAME = 128
SHAPE = "sluice_ID_SECRET, as `sluice keys create` shows it"

_SECRET_BYTES = 32
_ID_BYTES = 6
_KEY = re.compile(r"sluice_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_LIKE_KEY = re.compile(r"sluice_[0-9a-f]{12}_")
_ID = re.compile(r"[0-9a-f]{12}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LATEST_S = 253_402_300_799
"""The end of the year 9999, the last that a calendar here knows."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._@:/+-]{0,127}")


class Shown(NamedTuple):
    """A key as its owner shows it, taken apart. Never logged."""

    id: str
    secret: str

    def __repr__(self) -> str:
        """The id alone."""
        return f"{type(self).__name__}(id={self.id!r})"

    @property
    def digest(self) -> str:
        """What is kept of the secret: hexadecimal SHA-256."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    @property
    def text(self) -> str:
        """The whole key."""
        return f"sluice_{self.id}_{self.secret}"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of one key.

    Attributes:
        id: names it; 12 hexadecimal digits.
        name: what its owner is called, for people.
        digest: of the secret (`Shown.digest`).
        role: what it is good for.
        models: the models that a `predict` key may ask; None is all.
        limits: what it may use up.
        created_s: when, seconds since 1970.
        created_by: who made it, in the ledger's words.
        expires_s: when it ends by itself, seconds since 1970; None is never.
        revoked_s: when it was taken back; None while it was not.
    """

    id: str
    name: str
    digest: str
    role: Role
    models: frozenset[str] | None = None
    limits: Limits = UNLIMITED
    created_s: float = 0.0
    created_by: str = ""
    expires_s: float | None = None
    revoked_s: float | None = None

    def __post_init__(self) -> None:
        """Refuses what could not be a key's record.

        Raises:
            ValueError: with a sentence.
        """
        _check_kinds(self)
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name[:64]!r} is no name of a key: it has 1 to {LONGEST_NAME} letters, digits, "
                             "blanks or ._@:/+-, and begins with a letter or a digit")  # fmt: skip
        if self.models is not None and (not self.models or len(self.models) > MOST_MODELS):
            raise ValueError(f"a key is limited to 1 to {MOST_MODELS} models, or not at all")
        if self.models is not None and self.role is not Role.PREDICT:
            raise ValueError(f"a key that may {self.role.value} is not limited to models: only `predict` keys are")

    def matches(self, shown: Shown) -> bool:
        """Whether the secret is the one; takes the same time wherever they differ."""
        return hmac.compare_digest(self.digest, shown.digest)

    def alive(self, now_s: float) -> bool:
        """Whether it still opens anything."""
        return self.revoked_s is None and (self.expires_s is None or now_s < self.expires_s)

    @property
    def principal(self) -> Principal:
        """Whoever shows it."""
        return Principal(self.id, self.name, "key", self.role, self.models, self.limits, self.expires_s)

    def encode(self) -> str:
        """The record as JSON, which `decode` reads."""
        plain = asdict(self)
        plain |= {"role": self.role.value, "models": None if self.models is None else sorted(self.models)}
        return json.dumps(plain, separators=(",", ":"), sort_keys=True)


def _check_kinds(record: KeyRecord) -> None:
    """Refuses a record whose fields are not of their kinds: what is read from a store may be anything."""
    for name, form in (("id", _ID), ("digest", _DIGEST)):
        value = getattr(record, name)
        if not isinstance(value, str) or not form.fullmatch(value):
            raise ValueError(f"a key's {name} is no text of as many digits from 0 to f as it has to have")
    for name, kind in (("name", str), ("created_by", str), ("role", Role), ("limits", Limits)):
        if not isinstance(getattr(record, name), kind):
            raise ValueError(f"a key's {name} is a {kind.__name__}")  # noqa: TRY004 - one error for all mistakes
    for name in ("created_s", "expires_s", "revoked_s"):
        value = getattr(record, name)
        if not (_is_time(value) or (value is None and name != "created_s")):
            raise ValueError(f"a key's {name} is a time in seconds since 1970")
    if record.models is not None and not all(isinstance(one, str) for one in record.models):
        raise ValueError("a key's models are names")


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LATEST_S


def create() -> Shown:
    """A new key."""
    secret = urlsafe_b64encode(secrets.token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()
    return Shown(secrets.token_hex(_ID_BYTES), secret)


def parse(text: str) -> Shown | None:
    """The key in this text; None where it is none."""
    found = _KEY.fullmatch(text)
    return None if found is None else Shown(found[1], found[2])


def shown_in(text: str) -> bool:
    """Whether the text has something in it that looks like a key: it must not be written down."""
    return _LIKE_KEY.search(text) is not None


def _names(said: object) -> frozenset[str]:
    if not isinstance(said, list):
        raise ValueError("a key's models are a list")  # noqa: TRY004 - one error for all mistakes
    return frozenset(said)


def decode(text: str | bytes) -> KeyRecord:
    """The record that `KeyRecord.encode` wrote. Fields of a newer release are passed over.

    Raises:
        ValueError: it is no record.
    """
    try:
        said: Mapping[str, Any] = json.loads(text)
        known = {name: said[name] for name in KeyRecord.__dataclass_fields__ if name in said}
        limits = {name: value for name, value in said["limits"].items() if name in Limits.__dataclass_fields__}
        models = None if said["models"] is None else _names(said["models"])
        return KeyRecord(**{**known, "role": Role(said["role"]), "limits": Limits(**limits), "models": models})
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"this is no record of a key: {error!r}") from error
