"""What the registry relies on in any store: one winner per revision, nothing half-written, a log of all changes."""

from __future__ import annotations

import asyncio
import time

from registry.changes import AuditEntry, Change
from registry.codec import digest_of
from registry.lifecycle import Standing, State
from registry.models import Alias, AliasName, ModelName, Version, VersionNumber
from tests.contracts.conftest import AnyRegistryStore
from tests.registry.made import DIGITS, contents, number

CHAMPION = AliasName("champion")
ENTRY = AuditEntry("ada", "test", "digits", "version 1", None, "something", "because")


def added(value: int, expected: int, *, seed: int = 0, model: ModelName = DIGITS) -> Change:
    """The change that adds a version."""
    version = Version(model, VersionNumber(value), contents(seed), "ada", 1_700_000_000_000)
    return Change(model, expected, ENTRY, created=version, states={number(value): State.REGISTERED})


async def test_an_empty_store_has_nothing(registry_store: AnyRegistryStore) -> None:
    """A store that nobody has written to says so, and does not fail."""
    facts = await registry_store.facts(DIGITS, [number(1)])
    assert (facts.revision, facts.newest, facts.aliases, facts.standings, facts.listed) == (0, 0, {}, {}, {})
    assert await registry_store.version(DIGITS, number(1)) is None
    assert list(await registry_store.listed(DIGITS, below=None, limit=10)) == []
    assert list(await registry_store.models(after="", limit=10)) == []
    assert list(await registry_store.audit(before="", limit=10)) == []


async def test_a_version_is_read_back_whole(registry_store: AnyRegistryStore) -> None:
    """As a version, in the facts, in the list of versions and in that of models."""
    answer = await registry_store.commit(added(3, 0, seed=5))
    assert (answer.done, answer.durable) == (True, True)
    found = await registry_store.version(DIGITS, number(3))
    assert found == added(3, 0, seed=5).created
    facts = await registry_store.facts(DIGITS, [number(3), number(4)])
    assert (facts.revision, facts.newest) == (1, 3)
    assert facts.standings == {3: Standing(State.REGISTERED, 1)}
    assert abs(facts.now_ms / 1000 - time.time()) < 60
    [listed] = await registry_store.listed(DIGITS, below=None, limit=10)
    assert facts.listed == {3: listed}
    assert (listed["contents_digest"], listed["metrics"]) == (digest_of(contents(5)), contents(5).metrics)
    [model] = await registry_store.models(after="", limit=10)
    assert (model.name, model.revision, model.versions, model.newest, model.aliases) == ("digits", 1, 1, 3, {})


async def test_a_change_from_another_revision_writes_nothing(registry_store: AnyRegistryStore) -> None:
    """Neither from an older one nor from one that never was."""
    await registry_store.commit(added(1, 0))
    for expected in (0, 2, 77):
        answer = await registry_store.commit(added(2, expected))
        assert (answer.done, answer.durable) == (False, False)
    assert [one["version"] for one in await registry_store.listed(DIGITS, below=None, limit=10)] == [1]
    assert (await registry_store.facts(DIGITS)).revision == 1
    assert len(await registry_store.audit(before="", limit=10)) == 1


async def test_of_twenty_changes_at_once_one_wins(registry_store: AnyRegistryStore) -> None:
    """They began at the same revision, so nineteen of them rest on what is no longer so."""
    answers = await asyncio.gather(*(registry_store.commit(added(n, 0, seed=n)) for n in range(1, 21)))
    assert [answer.done for answer in answers].count(True) == 1
    assert len(await registry_store.listed(DIGITS, below=None, limit=100)) == 1
    assert len(await registry_store.audit(before="", limit=100)) == 1


async def test_changes_of_different_models_never_meet(registry_store: AnyRegistryStore) -> None:
    """Each model has a revision of its own."""
    models = [ModelName(f"m{n}") for n in range(10)]
    answers = await asyncio.gather(*(registry_store.commit(added(1, 0, model=model)) for model in models))
    assert all(answer.done for answer in answers)
    assert [one.name for one in await registry_store.models(after="m4", limit=3)] == ["m5", "m6", "m7"]


async def test_a_state_moves_to_the_models_revision(registry_store: AnyRegistryStore) -> None:
    """And what else there is of the version stays as it was."""
    await registry_store.commit(added(1, 0))
    await registry_store.commit(Change(DIGITS, 1, ENTRY, states={number(1): State.VERIFIED}))
    [listed] = await registry_store.listed(DIGITS, below=None, limit=10)
    assert (listed["state"], listed["revision"]) == (State.VERIFIED, 2)
    assert await registry_store.version(DIGITS, number(1)) == added(1, 0).created


async def test_an_alias_is_put_moved_and_taken_away(registry_store: AnyRegistryStore) -> None:
    """At the model's revision each time."""
    await registry_store.commit(added(1, 0))
    await registry_store.commit(Change(DIGITS, 1, ENTRY, aliases={CHAMPION: number(1), AliasName("b"): number(1)}))
    await registry_store.commit(Change(DIGITS, 2, ENTRY, aliases={CHAMPION: number(7)}))
    expected = {CHAMPION: Alias(number(7), 3), AliasName("b"): Alias(number(1), 2)}
    assert (await registry_store.facts(DIGITS)).aliases == expected
    assert (await registry_store.models(after="", limit=1))[0].aliases == expected
    await registry_store.commit(Change(DIGITS, 3, ENTRY, aliases={CHAMPION: None}))
    assert (await registry_store.facts(DIGITS)).aliases == {AliasName("b"): Alias(number(1), 2)}


async def test_what_is_gone_leaves_its_number(registry_store: AnyRegistryStore) -> None:
    """Record and summary are deleted; that the number is taken, and which was the newest, is remembered."""
    for value in (1, 2):
        await registry_store.commit(added(value, value - 1))
    await registry_store.commit(Change(DIGITS, 2, ENTRY, states={number(2): State.GONE}))
    facts = await registry_store.facts(DIGITS, [number(1), number(2)])
    assert facts.newest == 2
    assert facts.standings == {1: Standing(State.REGISTERED, 1), 2: Standing(State.GONE, 3)}
    assert list(facts.listed) == [1]
    assert await registry_store.version(DIGITS, number(2)) is None
    assert [one["version"] for one in await registry_store.listed(DIGITS, below=None, limit=10)] == [1]
    assert (await registry_store.models(after="", limit=1))[0].versions == 1


async def test_a_lower_number_is_not_the_newest(registry_store: AnyRegistryStore) -> None:
    """Numbers are compared as numbers: 10 is more than 9."""
    for revision, value in enumerate((9, 10, 2)):
        await registry_store.commit(added(value, revision))
    assert (await registry_store.facts(DIGITS)).newest == 10
    assert [one["version"] for one in await registry_store.listed(DIGITS, below=None, limit=10)] == [10, 9, 2]


async def test_versions_come_page_by_page(registry_store: AnyRegistryStore) -> None:
    """The highest number first, below the one that is named."""
    for value in range(1, 8):
        await registry_store.commit(added(value, value - 1))
    pages = [
        [one["version"] for one in await registry_store.listed(DIGITS, below=below, limit=3)]
        for below in (None, 5, 2, 1)
    ]
    assert pages == [[7, 6, 5], [4, 3, 2], [1], []]


async def test_the_largest_number_fits(registry_store: AnyRegistryStore) -> None:
    """2^31 - 1 is stored and compared as exactly that."""
    largest = 2**31 - 1
    await registry_store.commit(added(largest, 0))
    await registry_store.commit(added(largest - 1, 1))
    assert [one["version"] for one in await registry_store.listed(DIGITS, below=largest, limit=3)] == [largest - 1]
    assert (await registry_store.facts(DIGITS)).newest == largest


async def test_the_audit_log_has_every_change_and_its_time(registry_store: AnyRegistryStore) -> None:
    """The newest first, page by page, as it was said."""
    for value in range(1, 6):
        await registry_store.commit(added(value, value - 1))
    first = await registry_store.audit(before="", limit=2)
    rest = await registry_store.audit(before=first[-1].id, limit=10)
    assert (len(first), len(rest)) == (2, 3)
    assert {recorded.entry for recorded in (*first, *rest)} == {ENTRY}
    assert all(abs(recorded.at_ms / 1000 - time.time()) < 60 for recorded in first)


async def test_odd_characters_are_kept(registry_store: AnyRegistryStore) -> None:
    """What JSON, Lua or Redis could trip over comes back as it was."""
    odd = 'quote " backslash \\ zero \0 newline \n tab \t ümläut 鯨 \U0001f40b ]] --'
    made = contents()
    object.__setattr__(made, "tags", {odd: odd})
    object.__setattr__(made, "parameters", {odd: odd, "tiny": 5e-324, "large": 2**62, "minus": -0.0})
    version = Version(DIGITS, number(1), made, odd, 1)
    await registry_store.commit(Change(DIGITS, 0, ENTRY, created=version, states={number(1): State.REGISTERED}))
    assert await registry_store.version(DIGITS, number(1)) == version
    assert (await registry_store.listed(DIGITS, below=None, limit=1))[0]["registered_by"] == odd
