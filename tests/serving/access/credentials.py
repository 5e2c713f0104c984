"""One credential of every kind that a door may be shown, and the records of the keys among them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from serving.access.keys import KeyRecord, Shown, create
from serving.access.roles import Role

REFUSED = ("malformed", "two words", "wrong", "wrong secret", "expired", "revoked")
"""Names of credentials that open nothing, at any door that asks for one."""


@dataclass(frozen=True)
class Credentials:
    """What is shown, and what is known.

    Attributes:
        shown: the `Authorization` header by name; None for no such header. The names of the roles are good keys of
            these roles, 'other model' is a `predict` key that may ask another model only.
        records: of the keys, as a store has them.
    """

    shown: Mapping[str, str | None]
    records: Sequence[KeyRecord]

    def headers(self, name: str) -> dict[str, str]:
        """The headers of a request that shows this."""
        said = self.shown[name]
        return {} if said is None else {"Authorization": said}


def credentials(model: str = "digits") -> Credentials:
    """A new set.

    Args:
        model: the one that `predict` may ask, and 'other model' may not.
    """
    now_s = time.time()
    good = {role.value: _made(role) for role in Role}
    other = _made(Role.PREDICT, "another", frozenset({f"not-{model}"}))
    narrow = _made(Role.PREDICT, "narrow", frozenset({model}))
    expired, revoked = _made(Role.ADMINISTER, "late"), _made(Role.ADMINISTER, "gone")
    records = [record for _, record in (*good.values(), other, narrow)]
    records += [replace(expired[1], expires_s=now_s - 1), replace(revoked[1], revoked_s=now_s - 1)]
    right = good["administer"][0]
    shown: dict[str, str | None] = {
        "none": None,
        "malformed": f"Basic {right.text}",
        "two words": f"Bearer {right.text} {right.text}",
        "wrong": f"Bearer {create().text}",
        "wrong secret": f"Bearer {Shown(right.id, create().secret).text}",
        "expired": f"Bearer {expired[0].text}",
        "revoked": f"Bearer {revoked[0].text}",
        "other model": f"Bearer {other[0].text}",
        "narrow": f"Bearer {narrow[0].text}",
        **{name: f"Bearer {key.text}" for name, (key, _) in good.items()},
    }
    return Credentials(MappingProxyType(shown), records)


def _made(role: Role, name: str = "", models: frozenset[str] | None = None) -> tuple[Shown, KeyRecord]:
    key = create()
    return key, KeyRecord(key.id, name or role.value, key.digest, role, models)
