"""Keys that an installation makes for itself: in memory only, in no store and no list, and gone when it ends.

The process that starts everything asks the control API whether all is ready, and a gateway's replica asks its own
listener on behalf of callers inside Ray. Both meet the same doors as everybody else.
"""

from __future__ import annotations

from dataclasses import dataclass

from serving.access.keys import KeyRecord, Shown, create
from serving.access.roles import Role


@dataclass(frozen=True, slots=True, repr=False)
class OwnKey:
    """One such key. Never printed; only its record leaves the process that made it.

    Attributes:
        shown: what is shown.
        record: what doors know it by.
    """

    shown: Shown
    record: KeyRecord


def make(name: str, role: Role, now_s: float, *, lives_s: float | None = None) -> OwnKey:
    """A new one.

    Args:
        name: what the ledger would call it.
        role: the least that will do.
        now_s: seconds since 1970.
        lives_s: for how long it is good; None for as long as whoever knows its record runs.
    """
    shown = create()
    expires_s = None if lives_s is None else now_s + lives_s
    return OwnKey(shown, KeyRecord(shown.id, name, shown.digest, role, created_s=now_s, expires_s=expires_s))
