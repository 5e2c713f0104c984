"""What drift relies on in any store of baselines: bytes come back as they were brought, and go with their version."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from registry.baselines import MOST_BYTES, BaselineRecord, Baselines
from registry.changes import AuditEntry, Change
from registry.errors import Conflict, NotFound, Unacceptable
from registry.lifecycle import State
from registry.models import ModelName, Version, VersionNumber
from registry.store import Store
from tests.contracts.conftest import AnyRegistryStore
from tests.registry.made import DIGITS, contents, number

ENTRY = AuditEntry("ada", "test", "digits", "version 1", None, "something", "because")


async def registered(store: AnyRegistryStore, value: int = 1) -> None:
    """A version in the store."""
    expected = (await store.facts(DIGITS)).revision
    version = Version(DIGITS, VersionNumber(value), contents(value), "ada", 1_700_000_000_000)
    await store.commit(Change(DIGITS, expected, ENTRY, created=version, states={number(value): State.REGISTERED}))


async def kept(store: AnyRegistryStore, blob: bytes, value: int = 1, *, learned: bool = False) -> BaselineRecord:
    """A baseline in the store."""
    return await Baselines(store).keep(
        "digits", value, blob, rows=7, learned=learned, made_at_s=5.0, who="ada", elsewhere=False
    )


async def test_a_baseline_is_read_back_as_it_was_brought(registry_store: AnyRegistryStore) -> None:
    """Its bytes, what is known of it, its place in the list of all, and its entry in the audit log."""
    await registered(registry_store)
    record = await kept(registry_store, b"\x00\xff one")
    baselines = Baselines(registry_store)
    assert await baselines.read("digits", 1) == (record, b"\x00\xff one")
    assert await baselines.show("digits", 1) == record
    assert list(await baselines.all()) == [record]
    assert (record.rows, record.learned, record.size_bytes, record.kept_by) == (7, False, 6, "ada")
    newest = (await registry_store.audit(before="", limit=1))[0].entry
    assert (newest.what, newest.before, newest.after) == ("baseline", None, record.digest)


async def test_another_takes_its_place_and_a_learned_one_does_not(registry_store: AnyRegistryStore) -> None:
    """What somebody brought is only replaced by what somebody brings; what was learned by either."""
    await registered(registry_store)
    await kept(registry_store, b"learned", learned=True)
    await kept(registry_store, b"learned again", learned=True)
    given = await kept(registry_store, b"given")
    with pytest.raises(Conflict, match="a learned one does not replace it"):
        await kept(registry_store, b"learned once more", learned=True)
    assert await Baselines(registry_store).read("digits", 1) == (given, b"given")


async def test_a_version_that_nobody_registered_has_none_unless_it_is_known_elsewhere(
    registry_store: AnyRegistryStore,
) -> None:
    """A version that settings declare is in no registry; the list of models does not show it for its baseline."""
    baselines = Baselines(registry_store)
    with pytest.raises(NotFound, match="digits has no version 1"):
        await kept(registry_store, b"one")
    record = await baselines.keep("digits", 1, b"one", rows=7, learned=False, made_at_s=5.0, who="ada", elsewhere=True)
    assert await baselines.read("digits", 1) == (record, b"one")
    assert list(await registry_store.models(after="", limit=10)) == []


async def test_a_deleted_version_takes_its_baseline_along(registry_store: AnyRegistryStore) -> None:
    """And nobody brings it another one."""
    await registered(registry_store)
    await registered(registry_store, 2)
    await kept(registry_store, b"one")
    other = await kept(registry_store, b"two", 2)
    revision = (await registry_store.facts(DIGITS)).revision
    await registry_store.commit(Change(DIGITS, revision, ENTRY, states={number(1): State.GONE}))
    baselines = Baselines(registry_store)
    assert list(await baselines.all()) == [other]
    assert await registry_store.baseline_blob(DIGITS, number(1)) is None
    for elsewhere in (False, True):
        with pytest.raises(NotFound, match="no version 1"):
            await baselines.keep(
                "digits", 1, b"one", rows=7, learned=False, made_at_s=5.0, who="ada", elsewhere=elsewhere
            )


async def test_a_dropped_baseline_is_gone(registry_store: AnyRegistryStore) -> None:
    """Dropping it twice says that there is none."""
    await registered(registry_store)
    await kept(registry_store, b"one")
    baselines = Baselines(registry_store)
    await baselines.drop("digits", 1, who="ada", why="it was of other data")
    assert list(await baselines.all()) == []
    with pytest.raises(NotFound, match="digits version 1 has no baseline"):
        await baselines.drop("digits", 1, who="ada")
    assert (await registry_store.audit(before="", limit=1))[0].entry.what == "drop baseline"


async def test_what_cannot_be_a_baseline_is_refused_with_a_reason(registry_store: AnyRegistryStore) -> None:
    """Nothing, what is too large, and what was made at no time."""
    await registered(registry_store)
    for size in (0, MOST_BYTES + 1):
        with pytest.raises(Unacceptable, match=f"{size:,} bytes"):
            BaselineRecord(ModelName("digits"), VersionNumber(1), "0" * 64, size, 7, False, 5.0, "ada")
    for made_at_s in (-1.0, 1e300, float("nan")):
        with pytest.raises(Unacceptable, match="from 1970 on"):
            BaselineRecord(ModelName("digits"), VersionNumber(1), "0" * 64, 7, 7, False, made_at_s, "ada")
    with pytest.raises(Unacceptable, match="0 bytes"):
        await kept(registry_store, b"")


async def test_a_version_that_names_a_baseline_takes_no_other(registry_store: AnyRegistryStore) -> None:
    """The digest that was registered with it is what its maker measured it against."""
    named = dataclasses.replace(contents(3), baseline_digest=hashlib.sha256(b"mine").hexdigest())
    version = Version(DIGITS, VersionNumber(1), named, "ada", 1_700_000_000_000)
    await registry_store.commit(Change(DIGITS, 0, ENTRY, created=version, states={number(1): State.REGISTERED}))
    with pytest.raises(Conflict, match="was registered with the baseline"):
        await kept(registry_store, b"other")
    assert (await kept(registry_store, b"mine")).digest == named.baseline_digest


async def test_the_same_bytes_again_change_nothing(registry_store: AnyRegistryStore) -> None:
    """Neither who brought them nor the audit log; lost bytes are brought back."""
    await registered(registry_store)
    baselines = Baselines(registry_store)
    assert not await baselines.has("digits", 1, b"one")
    record = await kept(registry_store, b"one")
    entries = len(await registry_store.audit(before="", limit=100))
    again = await baselines.keep("digits", 1, b"one", rows=7, learned=False, made_at_s=9.0, who="bob")
    assert (again, await baselines.has("digits", 1, b"one")) == (record, True)
    assert len(await registry_store.audit(before="", limit=100)) == entries
    assert not await baselines.has("digits", 1, b"two")
    if isinstance(registry_store, Store):
        await registry_store._redis.delete(registry_store.keys.of(DIGITS, "baselines"))
        await kept(registry_store, b"one")
        assert (await baselines.read("digits", 1))[1] == b"one"


async def test_numbers_of_versions_that_are_there_and_of_those_that_are_gone(registry_store: AnyRegistryStore) -> None:
    """What is known of a deleted version elsewhere can go as well."""
    baselines = Baselines(registry_store)
    assert await baselines.numbers("digits") == (frozenset(), frozenset())
    for value in (1, 2):
        await registered(registry_store, value)
    revision = (await registry_store.facts(DIGITS)).revision
    await registry_store.commit(Change(DIGITS, revision, ENTRY, states={number(1): State.GONE}))
    assert await baselines.numbers("digits") == (frozenset({2}), frozenset({1}))
