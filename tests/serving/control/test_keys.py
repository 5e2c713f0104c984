"""What a change of the keys is, and what becomes of the key of the settings, of old records, and of ends in time."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access.keys import KeyRecord, Shown, create, decode
from serving.access.principal import Limits
from serving.access.roles import Role
from serving.control.access_changes import AccessAnswer, AccessChange, AccessState
from serving.control.errors import Contended, InUse, NameTaken, Unacceptable
from serving.control.fake_store import FakeStore
from serving.control.key_rules import (
    ADMIN_NAME,
    KEPT_S,
    MOST_KEYS,
    SETTINGS,
    WantedKey,
    expiry_of,
    record_for,
    with_key,
)
from serving.control.keys import KeyService, MadeKey, known_by
from serving.control.views import Acknowledged
from serving.leases import GatewayLease
from tests.serving.control.waiting import until

NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
SHOP = WantedKey("shop", Role.PREDICT)


class Clock:
    """Seconds since 1970 that a test moves."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        """The time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def store() -> FakeStore:
    """An empty one."""
    return FakeStore()


@pytest.fixture
def keys(store: FakeStore, clock: Clock) -> KeyService:
    """The service on it."""
    return KeyService(store, now=clock)


def record(n: int = 0, **more: object) -> KeyRecord:
    """One of many."""
    made = KeyRecord(f"{n:012x}", f"key {n}", "d" * 64, Role.PREDICT, created_s=NOW_S)
    return replace(made, **more)  # type: ignore[arg-type]


async def of_the_settings(store: FakeStore) -> list[KeyRecord]:
    """Keys that the settings have made."""
    return [one for one in await store.key_records() if one.created_by == SETTINGS]


# Ends in time.


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90d", NOW_S + 90 * DAY_S),
        ("1h30m", NOW_S + 5_400),
        (" 12h ", NOW_S + 43_200),
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC).timestamp()),
        ("2030-01-31T18:00:00Z", datetime(2030, 1, 31, 18, tzinfo=UTC).timestamp()),
        ("2030-01-31T18:00:00+02:00", datetime(2030, 1, 31, 16, tzinfo=UTC).timestamp()),
        ("2030-01-31 18:00", datetime(2030, 1, 31, 18, tzinfo=UTC).timestamp()),
    ],
)
def test_an_end_is_written_as_people_write_it(text: str, at: float) -> None:
    """A time from now, or a moment; without a zone it is UTC."""
    assert expiry_of(text, NOW_S) == at


@given(st.text(max_size=20) | st.from_regex(r"[0-9]{1,9}[smhdw]", fullmatch=True))
def test_whatever_is_sent_as_an_end_is_one_or_is_refused(text: str) -> None:
    """It lies ahead, by at most a hundred years; nothing else than a refusal is ever raised."""
    try:
        at_s = expiry_of(text, NOW_S)
    except Unacceptable:
        return
    assert NOW_S < at_s <= NOW_S + 100 * 365 * DAY_S


# Names, and how many.


def test_a_name_is_taken_while_its_key_is_in_force() -> None:
    """Not by one that was revoked, nor by one that has expired."""
    wanted = record_for(SHOP, create(), who="ada", now_s=NOW_S)
    for there, taken in (
        (record(name="shop"), True),
        (record(name="shop", revoked_s=NOW_S), False),
        (record(name="shop", expires_s=NOW_S), False),
        (record(name="Shop"), False),
    ):
        state = AccessState(1, {there.id: there})
        if taken:
            with pytest.raises(NameTaken, match=there.id):
                with_key(state, wanted, NOW_S)
        else:
            assert with_key(state, wanted, NOW_S).put == (wanted,)


def test_there_are_not_more_keys_than_gateways_hold() -> None:
    """Those that are only listed count; those that ended long ago make room."""
    wanted = record_for(SHOP, create(), who="ada", now_s=NOW_S)
    full = {one.id: one for one in map(record, range(MOST_KEYS))}
    with pytest.raises(Unacceptable, match="limit"):
        with_key(AccessState(1, full), wanted, NOW_S)
    old = record(3, revoked_s=NOW_S - KEPT_S - 1)
    assert with_key(AccessState(1, {**full, old.id: old}), wanted, NOW_S).dropped == (old.id,)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"rate_per_s": 0.0}, "is no rate"),
        ({"rate_per_s": float("nan")}, "is no rate"),
        ({"rate_per_s": float("inf")}, "is no rate"),
        ({"burst": 2}, "goes with a rate"),
        ({"in_flight": 0}, "in_flight=0"),
        ({"max_body": True}, "max_body=True"),
    ],
)
def test_limits_that_could_be_none_are_refused(limits: dict[str, float], words: str) -> None:
    """Where they are built."""
    with pytest.raises(ValueError, match=words):
        Limits(**limits)  # type: ignore[arg-type]


# What is kept, and for how long.


async def test_what_ended_is_listed_for_thirty_days(store: FakeStore, keys: KeyService, clock: Clock) -> None:
    """Then it goes with the next thing that is written."""
    made = await keys.create(SHOP, who="ada")
    short = await keys.create(replace(SHOP, name="short", expires_s=NOW_S + 60), who="ada")
    await keys.revoke(made.record.id, who="ada")
    clock.now_s += 29 * DAY_S
    assert [one.id for one in await keys.records()] == []
    assert {one.id for one in await keys.records(ended=True)} == {made.record.id, short.record.id}
    clock.now_s += 2 * DAY_S
    await keys.create(replace(SHOP, name="next"), who="ada")
    assert [one.name for one in await store.key_records()] == ["next"]


async def test_a_record_that_was_kept_by_an_older_release_stays_readable(keys: KeyService, store: FakeStore) -> None:
    """What is written is what gateways decode."""
    made = await keys.create(replace(SHOP, models=frozenset({"b", "a"}), limits=Limits(2.0, 3, 4, 5)), who="ada")
    assert [decode(one.encode()) for one in await store.key_records()] == [made.record]


async def test_a_made_key_does_not_show_its_secret_by_accident(keys: KeyService) -> None:
    """Neither in a log line nor in an assertion."""
    made = await keys.create(SHOP, who="ada")
    assert isinstance(made, MadeKey)
    assert made.shown.secret not in f"{made} {made!r} {made.record!r}"


# The key of the settings.


async def test_the_key_of_the_settings_administers(store: FakeStore, keys: KeyService) -> None:
    """It is written once, however often the control room starts."""
    shown = create()
    assert not await keys.administered()
    for _ in range(3):
        await keys.settle_admin_key(shown)
    [kept] = await of_the_settings(store)
    assert (kept.name, kept.role, kept.matches(shown)) == (ADMIN_NAME, Role.ADMINISTER, True)
    assert await keys.administered()
    assert len(await store.ledger(10)) == 1


async def test_another_key_in_the_settings_takes_its_place(store: FakeStore, keys: KeyService) -> None:
    """The former opens nothing from then on, and with none in the settings there is none."""
    first, second = create(), create()
    await keys.settle_admin_key(first)
    await keys.settle_admin_key(second)
    assert [one.id for one in await of_the_settings(store)] == [second.id]
    await keys.settle_admin_key(None)
    assert await of_the_settings(store) == []
    await keys.settle_admin_key(None)
    assert [one.entry.facts["what"] for one in await store.ledger(10)] == ["removed", "set", "set"]


async def test_keys_of_others_are_left_alone(store: FakeStore, keys: KeyService) -> None:
    """Whatever the settings say."""
    made = await keys.create(SHOP, who="ada")
    for shown in (create(), None):
        await keys.settle_admin_key(shown)
    assert [one.id for one in await store.key_records()] == [made.record.id]


async def test_a_key_of_the_settings_that_leaked_does_not_come_back(
    store: FakeStore, keys: KeyService, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once revoked it stays so: across restarts, another one in between, and long after others are forgotten."""
    leaked = create()
    await keys.settle_admin_key(leaked)
    await keys.revoke(leaked.id, who="ada", force=True)
    for shown in (leaked, create(), None, leaked):
        clock.now_s += 40 * DAY_S
        await keys.create(replace(SHOP, name=f"key of {clock.now_s:.0f}"), who="ada")
        await keys.settle_admin_key(shown)
    assert [one.revoked_s is None for one in await of_the_settings(store)] == [False]
    assert "was revoked" in caplog.text
    assert leaked.secret not in caplog.text


@pytest.mark.parametrize("role", Role)
async def test_a_key_that_was_made_before_may_be_put_into_the_settings(
    store: FakeStore, keys: KeyService, role: Role
) -> None:
    """It administers then, whatever it was good for."""
    made = await keys.create(WantedKey("mine", role), who="ada")
    await keys.settle_admin_key(made.shown)
    [kept] = await store.key_records()
    assert (kept.id, kept.role, kept.matches(made.shown)) == (made.record.id, Role.ADMINISTER, True)


# The last one that administers.


@pytest.mark.parametrize(
    ("required", "tokens", "refused"), [(True, False, True), (True, True, False), (False, False, False)]
)
async def test_the_last_key_that_administers_is_kept_where_nothing_else_does(
    store: FakeStore, *, required: bool, tokens: bool, refused: bool
) -> None:
    """Tokens do, and so does a listener that asks nobody."""
    service = KeyService(store, required=required, tokens=tokens)
    made = await service.create(WantedKey("root", Role.ADMINISTER), who="ada")
    await service.create(WantedKey("operator", Role.OPERATE), who="ada")
    if refused:
        with pytest.raises(InUse):
            await service.revoke(made.record.id, who="ada")
    else:
        await service.revoke(made.record.id, who="ada")


async def test_of_two_last_keys_that_are_revoked_at_once_one_stays(keys: KeyService, store: FakeStore) -> None:
    """Each of the two revocations has seen the other's key, and only one of them is written."""
    made = [await keys.create(WantedKey(name, Role.ADMINISTER), who="ada") for name in ("a", "b")]
    said = await asyncio.gather(*(keys.revoke(one.record.id, who="ada") for one in made), return_exceptions=True)
    assert sum(isinstance(one, InUse) for one in said) == 1
    assert await keys.administered()


# Who knows.


def test_only_who_goes_by_the_revision_knows() -> None:
    """Or by a later one; a gateway that came since is not asked, one whose lease ran out is named."""
    alive = [GatewayLease(name, "b", 1, "h", 2, 0, "", access=access) for name, access in
             (("late", 4), ("there", 5), ("ahead", 6), ("new", 0))]  # fmt: skip
    answer = AccessAnswer(done=True, revision=5, members=frozenset({"late", "there", "ahead", "gone"}))
    assert known_by(answer, {one.id: one.applied for one in alive}) == Acknowledged(4, 2, ("gone",), ("late",))


async def test_a_revocation_stands_while_nobody_can_be_asked_who_knows(store: FakeStore, keys: KeyService) -> None:
    """The store went away after it was written: the gateways are named as those that have not said so."""
    made = await keys.create(SHOP, who="ada")
    store.gateway_says(GatewayLease("g", "b", 1, "h", 2, 0, ""), 60)
    asked = asyncio.create_task(keys.revoke(made.record.id, who="ada", wait_s=0.1))
    await until(lambda: len(store.heard) == 2)
    store.down = True
    assert (await asked).acknowledged == Acknowledged(1, 0, (), ("g",))


class Restless(FakeStore):
    """Somebody else is always faster."""

    async def change_access(self, change: AccessChange) -> AccessAnswer:
        """Not now."""
        return AccessAnswer(done=False, revision=change.expected)


async def test_somebody_who_is_always_faster_ends_in_a_sentence() -> None:
    """And not in a loop."""
    with pytest.raises(Contended):
        await KeyService(Restless()).create(SHOP, who="ada")


def test_a_shown_key_of_the_settings_has_a_digest() -> None:
    """Which is all that the store gets."""
    shown = Shown("0" * 12, "x" * 43)
    kept = record_for(SHOP, shown, who="ada", now_s=NOW_S)
    assert shown.secret not in kept.encode()
    assert kept.digest == shown.digest


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
