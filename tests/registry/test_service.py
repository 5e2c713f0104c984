"""What can be asked of the registry, against the store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from registry.changes import Answer, Change
from registry.errors import Conflict, Contended, InUse, NotFound, RegistryError, StoreUnavailable, Unacceptable
from registry.fake_store import FakeStore
from registry.lifecycle import Event, State
from registry.models import ModelName, VersionNumber
from registry.service import Registry
from registry.signature import Signature, TensorSpec
from tests.registry.made import SIGNATURE, contents


class Users:
    """Who uses which version, as the serving side would say it."""

    def __init__(self) -> None:
        self.of: dict[int, list[str]] = {}
        self.asked = 0

    async def __call__(self, model: ModelName, version: VersionNumber, /) -> Sequence[str]:
        """A sentence for each user."""
        self.asked += 1
        return self.of.get(version, [])


@pytest.fixture
def store() -> FakeStore:
    """An empty one."""
    return FakeStore()


@pytest.fixture
def users() -> Users:
    """Nobody yet."""
    return Users()


@pytest.fixture
def registry(store: FakeStore, users: Users) -> Registry:
    """On that store."""
    return Registry(store, users)


async def test_numbers_go_up_and_are_never_used_twice(registry: Registry) -> None:
    """A gap stays a gap, and what was deleted stays deleted."""
    first = await registry.register("digits", contents(1), who="ada")
    assert (first.version.number, first.created, first.durable) == (1, True, True)
    assert (await registry.register("digits", contents(2), who="ada", number=9)).version.number == 9
    assert (await registry.register("digits", contents(3), who="ada")).version.number == 10
    await registry.move("digits", 10, Event.DELETE, expected=None, who="ada")
    assert (await registry.register("digits", contents(3), who="ada")).version.number == 11
    with pytest.raises(Conflict, match="never used twice"):
        await registry.register("digits", contents(3), who="ada", number=10)
    assert (await registry.register("digits", contents(4), who="ada", number=5)).version.number == 5
    assert [one["version"] for one in await registry.versions("digits")] == [11, 9, 5, 1]


async def test_registering_twice_is_registering_once(registry: Registry) -> None:
    """Somebody who never heard the answer asks again, and finds the version as it was registered."""
    first = await registry.register("digits", contents(1), who="ada")
    for number in (None, 1):
        again = await registry.register("digits", contents(1), who="bob", number=number)
        assert (again.version, again.created) == (first.version, False)
    assert len(await registry.audit()) == 1


async def test_other_contents_under_a_number_are_a_conflict(registry: Registry) -> None:
    """The first one stays, and the second is told whose it is."""
    await registry.register("digits", contents(1), who="ada", number=1)
    with pytest.raises(Conflict, match="was registered by ada with other contents"):
        await registry.register("digits", contents(2), who="bob", number=1)
    assert (await registry.show("digits", 1)).version.contents == contents(1)


async def test_twenty_without_a_number_get_twenty_numbers(registry: Registry) -> None:
    """Nobody loses who did not ask for a number of his own."""
    made = await asyncio.gather(*(registry.register("digits", contents(n), who=f"ci {n}") for n in range(1, 21)))
    assert sorted(one.version.number for one in made) == list(range(1, 21))
    assert {one.version.contents.artifact.size_bytes for one in made} == set(range(1_001, 1_021))


async def test_a_candidate_that_cannot_serve_stables_clients_is_refused(registry: Registry) -> None:
    """With every reason, unless it is forced."""
    await registry.register("digits", contents(1), who="ada")
    other = contents(2, signature=Signature((TensorSpec("image", "FP32", (64,)),), SIGNATURE.outputs))
    with pytest.raises(Unacceptable, match=r"cannot serve the clients of digits version 1: Clients send .* pixels"):
        await registry.register("digits", other, who="ada", serves=1)
    assert len(await registry.versions("digits")) == 1
    assert (await registry.register("digits", other, who="ada", serves=1, force=True)).version.number == 2
    with pytest.raises(NotFound):
        await registry.register("digits", contents(3), who="ada", serves=77)


async def test_a_version_is_shown_by_number_and_by_alias(registry: Registry) -> None:
    """With its state and all of its aliases."""
    await registry.register("digits", contents(1), who="ada")
    await registry.point("digits", "champion", 1, expected=0, who="ada")
    await registry.point("digits", "best", 1, expected=0, who="ada")
    for name in (1, "1", "champion"):
        shown = await registry.show("digits", name)
        assert (shown.version.number, shown.standing.state) == (1, State.REGISTERED)
        assert shown.aliases == ("best", "champion")


@pytest.mark.parametrize(
    ("model", "version", "said"),
    [
        ("digits", 2, "digits has no version 2"),
        ("digits", "2", "digits has no version 2"),
        ("digits", "challenger", "digits has no alias challenger"),
        ("fraud", 1, "fraud has no version 1"),
    ],
)
async def test_what_is_not_there_is_not_found(registry: Registry, model: str, version: int | str, said: str) -> None:
    """In a sentence that names it."""
    await registry.register("digits", contents(1), who="ada")
    with pytest.raises(NotFound, match=said):
        await registry.show(model, version)


async def test_an_alias_moves_from_version_to_version(registry: Registry) -> None:
    """Each move needs the revision of the last, and one that was taken away begins anew at a later one."""
    for seed in (1, 2):
        await registry.register("digits", contents(seed), who="ada")
    first = await registry.point("digits", "champion", 1, expected=0, who="ada")
    second = await registry.point("digits", "champion", 2, expected=first.revision, who="ada", why="better")
    with pytest.raises(Conflict, match="points at version 2"):
        await registry.point("digits", "champion", 1, expected=first.revision, who="bob")
    await registry.unpoint("digits", "champion", expected=second.revision, who="ada")
    with pytest.raises(Conflict, match="points at nothing"):
        await registry.point("digits", "champion", 1, expected=second.revision, who="bob")
    again = await registry.point("digits", "champion", 1, expected=0, who="ada")
    assert again.revision > second.revision > first.revision
    assert {name: alias.version for name, alias in (await registry.aliases("digits")).items()} == {"champion": 1}


async def test_a_version_goes_through_its_life(registry: Registry, users: Users) -> None:
    """And every step is in the audit log, with who and why."""
    await registry.register("digits", contents(1), who="ada")
    for event in (Event.VERIFY, Event.SERVE, Event.WITHDRAW, Event.ARCHIVE, Event.DELETE):
        await registry.move("digits", 1, event, expected=None, who="conductor", why=f"to {event}")
    with pytest.raises(NotFound, match="it was deleted"):
        await registry.show("digits", 1)
    assert list(await registry.versions("digits")) == []
    entries = [recorded.entry for recorded in await registry.audit()]
    assert [(one.what, one.before, one.after) for one in reversed(entries)][1:] == [
        ("verify", "registered", "verified"),
        ("serve", "verified", "serving"),
        ("withdraw", "serving", "verified"),
        ("archive", "verified", "archived"),
        ("delete", "archived", "gone"),
    ]
    assert (entries[0].who, entries[0].why, entries[0].subject) == ("conductor", "to delete", "version 1")
    assert users.asked == 2


async def test_what_somebody_uses_is_not_taken_away(registry: Registry, users: Users) -> None:
    """An alias, a policy, a rollout: all are named, and the version stays as it is."""
    await registry.register("digits", contents(1), who="ada")
    await registry.point("digits", "champion", 1, expected=0, who="ada")
    users.of[1] = ["The policy of digits gives it 95 %.", "The rollout canary-7 has it as stable."]
    for event in (Event.ARCHIVE, Event.DELETE):
        with pytest.raises(InUse) as refused:
            await registry.move("digits", 1, event, expected=None, who="ada")
        assert refused.value.users == ("The alias champion points at it.", *users.of[1])
    assert (await registry.show("digits", 1)).standing.state is State.REGISTERED


async def test_an_alias_that_comes_in_between_still_holds_the_version(store: FakeStore) -> None:
    """It is put there while the users are being asked, and the deletion that was decided without it is not written."""

    class Meddling(Users):
        async def __call__(self, model: ModelName, version: VersionNumber, /) -> Sequence[str]:
            if not await of_bob.aliases(model):
                await of_bob.point(model, "champion", version, expected=0, who="bob")
            return ()

    of_bob, of_ada = Registry(store, Users()), Registry(store, Meddling())
    await of_ada.register("digits", contents(1), who="ada")
    with pytest.raises(InUse, match="The alias champion points at it"):
        await of_ada.move("digits", 1, Event.DELETE, expected=None, who="ada")


async def test_versions_and_models_are_read_page_by_page(registry: Registry) -> None:
    """Each page begins where the last one ended."""
    for model in ("b", "a", "c"):
        for seed in range(5):
            await registry.register(model, contents(seed), who="ada")
    first = await registry.versions("a", limit=2)
    assert [one["version"] for one in first] == [5, 4]
    assert [one["version"] for one in await registry.versions("a", below=first[-1]["version"], limit=9)] == [3, 2, 1]
    assert list(await registry.versions("a", below=1)) == []
    page = await registry.models(limit=2)
    assert [(one.name, one.versions, one.newest) for one in page] == [("a", 5, 5), ("b", 5, 5)]
    assert [one.name for one in await registry.models(after=page[-1].name)] == ["c"]
    newest = await registry.audit(limit=10)
    older = await registry.audit(before=newest[-1].id)
    assert (len(newest), len(older)) == (10, 5)
    assert await registry.audit(before="0-0") == ()
    with pytest.raises(NotFound, match="There is no model fraud"):
        await registry.versions("fraud")


@pytest.mark.parametrize(
    "ask",
    [
        lambda registry: registry.versions("digits", limit=0),
        lambda registry: registry.versions("digits", limit=10_001),
        lambda registry: registry.versions("digits", below=0),
        lambda registry: registry.models(after="a b"),
        lambda registry: registry.audit(before="yesterday"),
        lambda registry: registry.audit(before="99999999999999999999-0"),
        lambda registry: registry.audit(limit=True),
        lambda registry: registry.show("a/b", 1),
        lambda registry: registry.show("digits", "9" * 40),
        lambda registry: registry.point("digits", "1", 1, expected=None, who="ada"),
        lambda registry: registry.register("digits", contents(), who=""),
    ],
)
async def test_what_cannot_be_asked_is_refused(registry: Registry, ask: Any) -> None:  # noqa: ANN401 - that is the point
    """Before anything is written."""
    with pytest.raises(Unacceptable):
        await ask(registry)


async def test_two_versions_are_compared_by_any_name(registry: Registry) -> None:
    """By number or alias."""
    for seed in (1, 2):
        await registry.register("digits", contents(seed), who="ada")
    await registry.point("digits", "champion", 2, expected=0, who="ada")
    found = await registry.diff("digits", 1, "champion")
    assert [one.name for one in found.metrics] == ["accuracy"]
    assert not await registry.diff("digits", 2, "champion")


async def test_a_store_that_is_gone_is_told(registry: Registry, store: FakeStore) -> None:
    """As an error of ours."""
    store.down = True
    with pytest.raises(StoreUnavailable):
        await registry.register("digits", contents(1), who="ada")


async def test_a_change_that_never_finds_a_moment_gives_up(
    registry: Registry, store: FakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a hundred attempts, in a sentence."""

    async def never(change: Change) -> Answer:
        return Answer(done=False)

    monkeypatch.setattr(store, "commit", never)
    monkeypatch.setattr("registry.committing._LONGEST_PAUSE_S", 0.0)
    with pytest.raises(Contended, match="tried 100 times"):
        await registry.register("digits", contents(1), who="ada")


def test_every_error_is_of_one_family() -> None:
    """Whoever speaks to people catches one class."""
    for error in (Conflict, Contended, InUse, NotFound, StoreUnavailable, Unacceptable):
        assert issubclass(error, RegistryError)


async def test_what_answered_already_is_verified_from_its_first_moment(registry: Registry, store: FakeStore) -> None:
    """One commit, one entry in the log, and no moment in which it is less."""
    done = await registry.register("digits", contents(1), who="ada", why="good", verified=True)
    assert (await registry.show("digits", done.version.number)).standing.state is State.VERIFIED
    [entry] = await registry.audit()
    assert (entry.entry.what, entry.entry.why) == ("register", "good")
    assert (entry.entry.after or "").startswith("verified, artifact ")


async def test_numbers_that_are_taken_elsewhere_are_passed_over(registry: Registry) -> None:
    """The next one lies above them, and above its own."""
    assert (await registry.register("digits", contents(1), who="ada", above=7)).version.number == 8
    assert (await registry.register("digits", contents(2), who="ada", above=7)).version.number == 9


async def test_what_would_be_refused_can_be_asked_before(registry: Registry) -> None:
    """As `register` refuses it, and nothing is written; without its artifact only what else differs can be seen."""
    await registry.register("digits", contents(1), who="ada")
    other_files = replace(contents(1), artifact=contents(2).artifact)
    await registry.check("digits", other_files, number=1, measured=False)
    await registry.check("digits", contents(1), number=1)
    await registry.check("other", contents(1))
    with pytest.raises(Conflict, match="with other contents"):
        await registry.check("digits", other_files, number=1)
    with pytest.raises(Conflict, match="with other contents"):
        await registry.check("digits", contents(2), number=1, measured=False)
    with pytest.raises(NotFound, match="no version 9"):
        await registry.check("digits", contents(2, parent=9))
    wide = Signature(SIGNATURE.inputs, (TensorSpec("other", "FP32", (1,)),))
    with pytest.raises(Unacceptable, match="cannot serve the clients"):
        await registry.check("digits", contents(2, signature=wide), serves=1)
    await registry.check("digits", contents(2, signature=wide), serves=1, force=True)
    assert len(await registry.audit()) == 1


async def test_who_is_made_of_an_artifact_is_known_across_models(registry: Registry) -> None:
    """All that hold it and are not gone."""
    for model in ("a", "b"):
        await registry.register(model, contents(1), who="ada")
    await registry.register("b", contents(2), who="ada")
    digest = contents(1).artifact.digest
    assert await registry.holders(digest) == ["a version 1", "b version 1"]
    await registry.move("a", 1, Event.DELETE, expected=None, who="ada")
    assert await registry.holders(digest) == ["b version 1"]
    assert await registry.holders("f" * 64) == []


async def test_the_same_contents_are_found_under_their_newest_number(registry: Registry) -> None:
    """Whatever came after them; none where there are none."""
    for seed, number in ((1, 1), (2, 2), (1, 3), (4, 4)):
        await registry.register("digits", contents(seed), who="ada", number=number)
    found = await registry.same("digits", contents(1))
    assert found is not None
    assert found.version.number == 3
    assert await registry.same("digits", contents(9)) is None
