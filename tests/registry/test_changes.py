"""What a change would write, decided from facts alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from registry.changes import AuditEntry, Facts, moving, next_number, pointing, registering, unpointing
from registry.codec import digest_of
from registry.errors import Conflict, InUse, NotFound, Unacceptable
from registry.lifecycle import Event, Standing, State
from registry.models import Alias, AliasName, Listed, VersionNumber
from tests.registry.made import DIGITS, contents, number

CHAMPION = AliasName("champion")


def listed(value: int, seed: int) -> Listed:
    """A version with the contents of that seed."""
    made = contents(seed)
    return Listed(
        version=value,
        state=State.VERIFIED,
        revision=4,
        kind=made.artifact.kind,
        artifact_digest=made.artifact.digest,
        contents_digest=digest_of(made),
        registered_by="ada",
        registered_at=datetime.fromtimestamp(0, UTC),
        metrics=made.metrics,
    )


def facts(newest: int = 3, *, state: State = State.VERIFIED, champion: int | None = None) -> Facts:
    """Versions 1 (gone), 2 (in that state, the contents of seed 2) and the newest (those of seed 9), at revision 7."""
    standings = {1: Standing(State.GONE, 3), 2: Standing(state, 4), newest: Standing(State.REGISTERED, 7)}
    return Facts(
        model=DIGITS,
        revision=7,
        newest=newest,
        aliases={} if champion is None else {CHAMPION: Alias(number(champion), 5)},
        standings={VersionNumber(value): standing for value, standing in standings.items()},
        listed={number(2): listed(2, 2), number(newest): listed(newest, 9)},
        now_ms=1_700_000_000_000,
    )


def test_the_next_number_is_one_that_never_was() -> None:
    """Even where the last one is gone; unless the newest is what is to be registered."""
    assert next_number(facts(), contents(5)) == 4
    assert next_number(facts(), contents(9)) == 3
    assert next_number(facts(), contents(2)) == 4
    assert next_number(Facts(DIGITS, 0, 0, {}, {}, {}, 0), contents(5)) == 1


def test_registering_writes_the_version_and_who_made_it() -> None:
    """With the store's time, at the model's next revision."""
    change = registering(facts(), contents(5), number(4), who="ada")
    assert change is not None
    assert change.created is not None
    assert (change.created.registered_by, change.created.registered_at_ms) == ("ada", 1_700_000_000_000)
    assert (change.expected, change.revision, change.states) == (7, 8, {4: State.REGISTERED})
    after = f"registered, artifact {contents(5).artifact.digest}"
    assert change.entry == AuditEntry("ada", "register", "digits", "version 4", None, after)


def test_a_number_names_one_thing_for_ever() -> None:
    """Registering it again is nothing, other contents are refused, and so is a number that was deleted."""
    assert registering(facts(), contents(2), number(2), who="bob") is None
    with pytest.raises(Conflict, match=r"digits version 2 was registered by ada with other contents") as refused:
        registering(facts(), contents(5), number(2), who="bob")
    assert refused.value.hint == "Leave the number out, or use one above 3."
    with pytest.raises(Conflict, match="never used twice"):
        registering(facts(), contents(5), number(1), who="bob")


@pytest.mark.parametrize(("parent", "said"), [(1, "it was deleted"), (77, "digits has no version 77")])
def test_a_parent_must_be_there(parent: int, said: str) -> None:
    """Where a version comes from can be looked up when it is registered."""
    with pytest.raises(NotFound, match=said):
        registering(facts(), contents(5, parent=parent), number(4), who="ada")
    assert registering(facts(), contents(5, parent=2), number(4), who="ada")


def test_an_alias_is_moved_by_who_knows_where_it_is() -> None:
    """Its revision must be the one that the caller saw; 0 says that there is none yet."""
    change = pointing(facts(champion=2), CHAMPION, number(3), 5, who="ada", why="better")
    assert change.aliases == {CHAMPION: 3}
    assert (change.entry.before, change.entry.after, change.entry.why) == ("version 2", "version 3", "better")
    assert pointing(facts(), CHAMPION, number(3), 0, who="ada", why="").entry.before is None
    assert pointing(facts(champion=2), CHAMPION, number(3), None, who="ada", why="").aliases == {CHAMPION: 3}
    for there, expected, said in (
        (facts(champion=2), 4, "expected at revision 4, and is at 5: it points at version 2"),
        (facts(champion=2), 0, "expected at revision 0, and is at 5"),
        (facts(), 5, "expected at revision 5, and is at 0: it points at nothing"),
    ):
        with pytest.raises(Conflict, match=said):
            pointing(there, CHAMPION, number(3), expected, who="ada", why="")


def test_an_alias_points_at_what_can_be_served() -> None:
    """Not at what is archived, gone, or was never there."""
    with pytest.raises(Unacceptable, match="is archived, so champion cannot point at it"):
        pointing(facts(state=State.ARCHIVED), CHAMPION, number(2), 0, who="ada", why="")
    for missing in (1, 77):
        with pytest.raises(NotFound):
            pointing(facts(), CHAMPION, number(missing), 0, who="ada", why="")


def test_an_alias_is_taken_away() -> None:
    """By who knows where it is; one that is not there is not found."""
    assert unpointing(facts(champion=2), CHAMPION, 5, who="ada", why="").aliases == {CHAMPION: None}
    with pytest.raises(Conflict):
        unpointing(facts(champion=2), CHAMPION, 4, who="ada", why="")
    with pytest.raises(NotFound, match="digits has no alias champion"):
        unpointing(facts(), CHAMPION, None, who="ada", why="")


def test_a_state_is_moved_by_who_knows_it() -> None:
    """The standing's revision must be the one that the caller saw."""
    change = moving(facts(), number(2), Event.SERVE, 4, who="conductor", why="")
    assert change.states == {2: State.SERVING}
    assert (change.entry.what, change.entry.before, change.entry.after) == ("serve", "verified", "serving")
    with pytest.raises(Conflict, match="expected at revision 3, and is at 4: it is verified"):
        moving(facts(), number(2), Event.SERVE, 3, who="conductor", why="")


@pytest.mark.parametrize("event", [Event.ARCHIVE, Event.DELETE])
def test_what_is_used_is_not_taken_away(event: Event) -> None:
    """Every user is named: aliases by the registry, others by whoever knows them."""
    state = State.SERVING if event is Event.ARCHIVE else State.REGISTERED
    with pytest.raises(InUse) as refused:
        moving(
            facts(state=state, champion=2),
            number(2),
            event,
            None,
            users=("The policy of digits gives it 5 %.",),
            who="ada",
            why="",
        )
    assert refused.value.users == ("The alias champion points at it.", "The policy of digits gives it 5 %.")
    assert "champion points at it. The policy of digits gives it 5 %." in str(refused.value)
    assert moving(facts(state=state, champion=3), number(2), event, None, who="ada", why="").states


def test_what_takes_nothing_away_asks_nobody() -> None:
    """A version that is used may be verified and served."""
    assert moving(facts(champion=2), number(2), Event.SERVE, None, users=("A rollout.",), who="ada", why="").states


def test_an_endless_remark_is_cut() -> None:
    """Nobody fills the audit log with one entry."""
    entry = AuditEntry("w" * 5_000, "alias", "digits", "champion", None, None, "y" * 5_000)
    assert (len(entry.who), len(entry.why)) == (1_000, 1_000)
