"""What a change of the API keys is: from what is there and what is asked to what is written. Pure.

Names of keys that are in force are unique, so that lists and the ledger can be read; what was revoked or has expired is
kept for 30 days. Every change names what it saw, so that of two that exclude each other only one is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from router.plan_form import seconds_of
from serving.access.keys import KeyRecord, Shown, shown_in
from serving.access.principal import UNLIMITED, Limits
from serving.access.roles import Role
from serving.control.access_changes import AccessChange, AccessState
from serving.control.errors import InUse, NameTaken, Unacceptable, UnknownKey
from serving.control.publishing import LedgerEntry
from serving.endpoint import MODEL_NAME

SETTINGS = "settings"
"""Who made the key of access.admin_key; nobody else is called so."""
ADMIN_NAME = "admin key of the settings"
KEPT_S = 30 * 86_400.0
"""For how long a key that opens nothing any more is listed."""
MOST_KEYS = 10_000
"""Records, those that are only listed among them: every gateway holds them all."""
LONGEST_S = 100 * 365 * 86_400.0
"""How far ahead a key may expire."""


@dataclass(frozen=True, slots=True)
class WantedKey:
    """A key as somebody asks for it.

    Attributes:
        name: what its owner is called.
        role: what it is good for.
        models: the models that a `predict` key may ask; None is all.
        expires_s: when it ends, seconds since 1970; None is never.
        limits: what it may use up.
    """

    name: str
    role: Role
    models: frozenset[str] | None = None
    expires_s: float | None = None
    limits: Limits = UNLIMITED

    def __post_init__(self) -> None:
        refuse_secrets(self.name, *(self.models or ()))
        if strange := sorted(name for name in self.models or () if not MODEL_NAME.fullmatch(name)):
            raise Unacceptable(f"{strange[0][:64]!r} is no name of a model.", "Name those that the key may ask.")


def expiry_of(text: str, now_s: float) -> float:
    """When a key ends, seconds since 1970, from '90d', '12h30m', '2027-01-31' or '2027-01-31T18:00:00+01:00'.

    What names no zone is UTC; a date is its first moment.

    Raises:
        Unacceptable: it is neither, or not in the future, or more than 100 years ahead.
    """
    refuse_secrets(text)
    at_s = _moment(text.strip(), now_s)
    if at_s is None:
        raise Unacceptable(
            f"{text[:64]!r} is no time at which a key could end.", "Write it like 90d, 12h or 2030-01-31T18:00:00Z."
        )
    if at_s <= now_s:
        raise Unacceptable(f"The key would have ended already: {text[:64]} is over.", "Name a time to come.")
    if at_s > now_s + LONGEST_S:
        raise Unacceptable(f"{text[:64]} is more than 100 years ahead.", "Leave it out, and the key does not end.")
    return at_s


def refuse_secrets(*texts: str) -> None:
    """Refuses what would be kept, or told again, and has a key in it. The sentence does not repeat it.

    Raises:
        Unacceptable: one of the texts has.
    """
    if any(map(shown_in, texts)):
        raise Unacceptable("There is a key in what was sent, where none belongs.", "Leave it out, and revoke the key.")


def _moment(text: str, now_s: float) -> float | None:
    try:
        return now_s + seconds_of(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def record_for(wanted: WantedKey, shown: Shown, *, who: str, now_s: float) -> KeyRecord:
    """What is kept of a key that is to be.

    Raises:
        Unacceptable: there can be none like this.
    """
    if wanted.name == ADMIN_NAME:
        raise Unacceptable(f"A key cannot be called {ADMIN_NAME}.", "That is the name of the one in the settings.")
    try:
        return KeyRecord(
            shown.id, wanted.name, shown.digest, wanted.role, wanted.models, wanted.limits, now_s, who,
            wanted.expires_s,
        )  # fmt: skip
    except ValueError as error:
        raise Unacceptable(f"{str(error)[:1].upper()}{str(error)[1:]}.", "Mend it and send it again.") from error


def with_key(state: AccessState, record: KeyRecord, now_s: float) -> AccessChange:
    """The change that adds it.

    Raises:
        NameTaken: a key that is in force has its name.
        Unacceptable: there are too many.
    """
    for other in state.records.values():
        if other.alive(now_s) and other.name == record.name:
            raise NameTaken(
                f"There is a key {record.name} already ({other.id}).",
                "Give this one another name, or revoke that one first.",
            )
    dropped = stale(state.records.values(), now_s)
    if len(state.records) - len(dropped) >= MOST_KEYS:
        raise Unacceptable(
            f"There are {MOST_KEYS:,} keys, those that ended within 30 days among them, and that is the limit.",
            "Give several clients one key, or use tokens (access.tokens).",
        )
    return AccessChange(state.revision, _entry("created", record, record.created_by, ""), (record,), dropped)


def without_key(
    state: AccessState, key_id: str, *, who: str, why: str, now_s: float, may_be_last: bool
) -> AccessChange | None:
    """The change that revokes it; None where it is revoked already.

    Args:
        state: what is there.
        key_id: which one.
        who: for the ledger.
        why: for the ledger.
        now_s: seconds since 1970.
        may_be_last: whether it may be the last one that administers.

    Raises:
        UnknownKey: there is none of that id.
        InUse: nobody could administer without it.
    """
    record = record_of(state, key_id)
    if record.revoked_s is not None:
        return None
    refuse_secrets(why)
    others = replace_in(state, replace(record, revoked_s=now_s))
    if not may_be_last and administers(record, now_s) and not any(administers(one, now_s) for one in others):
        raise InUse(
            f"The key {record.name} ({record.id}) is the last one that administers; without it nobody could.",
            "Make another one first (sluice keys create NAME --role administer), or insist with ?force=true (--force).",
        )
    revoked = replace(record, revoked_s=now_s)
    dropped = stale(state.records.values(), now_s)
    return AccessChange(state.revision, _entry("revoked", revoked, who, why), (revoked,), dropped)


def with_admin_key(state: AccessState, shown: Shown | None, now_s: float) -> AccessChange | None:
    """The change after which the key of the settings administers, and none that was there before; None for none.

    One that was revoked stays so, whatever the settings say: a key that leaked does not come back by a restart.
    """
    former = [
        one
        for one in state.records.values()
        if one.created_by == SETTINGS and one.revoked_s is None and (shown is None or one.id != shown.id)
    ]
    dropped = tuple(sorted({one.id for one in former} | set(stale(state.records.values(), now_s))))
    there = None if shown is None else state.records.get(shown.id)
    settled = shown is None or (there is not None and _is_settled(there, shown, now_s))
    if shown is None or settled:
        if not former:
            return None
        return AccessChange(state.revision, _entry("removed", former[0], SETTINGS, ""), (), dropped)
    record = KeyRecord(shown.id, ADMIN_NAME, shown.digest, Role.ADMINISTER, created_s=now_s, created_by=SETTINGS)
    return AccessChange(state.revision, _entry("set", record, SETTINGS, ""), (record,), dropped)


def _is_settled(there: KeyRecord, shown: Shown, now_s: float) -> bool:
    return there.revoked_s is not None or (there.matches(shown) and administers(there, now_s))


def record_of(state: AccessState, key_id: str) -> KeyRecord:
    """The record of that id.

    Raises:
        UnknownKey: there is none.
    """
    if key_id not in state.records:
        raise UnknownKey(f"There is no key {key_id}.", "`sluice keys list --all` shows those that there are.")
    return state.records[key_id]


def replace_in(state: AccessState, record: KeyRecord) -> tuple[KeyRecord, ...]:
    """All records, with this one in the place of the one of its id."""
    return tuple({**state.records, record.id: record}.values())


def administers(record: KeyRecord, now_s: float) -> bool:
    """Whether it opens everything, now."""
    return record.role is Role.ADMINISTER and record.alive(now_s)


def stale(records: Iterable[KeyRecord], now_s: float) -> tuple[str, ...]:
    """Ids of those that have opened nothing for 30 days; a revoked one of the settings is remembered for good."""
    ended = {one.id: _ended_s(one) for one in records if one.created_by != SETTINGS or one.revoked_s is None}
    return tuple(sorted(name for name, at_s in ended.items() if at_s is not None and at_s + KEPT_S < now_s))


def _ended_s(record: KeyRecord) -> float | None:
    known = [at_s for at_s in (record.revoked_s, record.expires_s) if at_s is not None]
    return min(known, default=None)


def _entry(what: str, record: KeyRecord, who: str, why: str) -> LedgerEntry:
    """What the ledger says of it: everything but the digest."""
    limits = {name: getattr(record.limits, name) for name in Limits.__dataclass_fields__}
    facts: Mapping[str, Any] = {
        "what": what,
        "key": record.id,
        "name": record.name,
        "role": record.role.value,
        "models": None if record.models is None else sorted(record.models),
        "expires_s": record.expires_s,
        "limits": {name: value for name, value in limits.items() if value is not None},
    }
    return LedgerEntry("key", who, why, facts)
