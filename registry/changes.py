"""What a change writes, decided purely from what the registry holds at one revision of the model.

Each model has one revision, raised by every change of any of its versions and aliases. A change is computed from what
was read at a revision and written only if the model is still at it, so no decision can rest on something that has
changed: not on an alias that moved, nor on a number that was free. Callers compete on less, on the revision of their
own alias or version: `registry.service` reads and decides again for as long as that stands.

Writing it is a store's business; nothing here does I/O or reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from registry.codec import digest_of
from registry.errors import Conflict, InUse, NotFound, Unacceptable
from registry.lifecycle import CAN_BE_NAMED, TAKES_AWAY, Event, Standing, State, moved
from registry.models import Alias, AliasName, Contents, Listed, ModelName, Version, VersionNumber

LONGEST_REMARK = 1_000
"""Characters of `who` and `why` in an audit entry."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the registry holds of one model, as far as a decision asks.

    Attributes:
        model: which.
        revision: raised by every change; 0 for a model that is not there.
        newest: the highest number that was ever given away, 0 for none.
        aliases: all of them.
        standings: of the versions that were asked for and ever existed, those that are gone among them.
        listed: of the versions that were asked for and exist.
        now_ms: the store's clock, milliseconds since 1970.
    """

    model: ModelName
    revision: int
    newest: int
    aliases: Mapping[AliasName, Alias]
    standings: Mapping[VersionNumber, Standing]
    listed: Mapping[VersionNumber, Listed]
    now_ms: int

    def standing(self, number: VersionNumber) -> Standing:
        """Of a version that must exist.

        Raises:
            NotFound: it does not, or not any more.
        """
        standing = self.standings.get(number)
        if standing is None or standing.state is State.GONE:
            raise missing(self.model, number, deleted=standing is not None)
        return standing


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who changed what, from what to what; None where there was nothing, or is nothing any more."""

    who: str
    what: str
    model: str
    subject: str
    before: str | None
    after: str | None
    why: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "who", self.who[:LONGEST_REMARK])
        object.__setattr__(self, "why", self.why[:LONGEST_REMARK])


@dataclass(frozen=True, slots=True)
class Recorded:
    """An audit entry as the store keeps it: under an id, at milliseconds since 1970 by the store's clock."""

    id: str
    at_ms: int
    entry: AuditEntry


@dataclass(frozen=True, slots=True)
class Change:
    """Everything that one commit writes, if the model is still at the revision that it was computed from.

    Attributes:
        model: whose.
        expected: the model's revision; the commit makes it one more.
        entry: what the audit log says of it.
        created: a version that is added.
        states: the states that versions get; one that is `GONE` loses its record.
        aliases: where aliases point from now on, None for nowhere.
    """

    model: ModelName
    expected: int
    entry: AuditEntry
    created: Version | None = None
    states: Mapping[VersionNumber, State] = field(default_factory=dict)
    aliases: Mapping[AliasName, VersionNumber | None] = field(default_factory=dict)

    @property
    def revision(self) -> int:
        """The model's revision afterwards."""
        return self.expected + 1


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a commit: whether it was written, and whether that is confirmed to be on disk."""

    done: bool
    durable: bool = False


def registering(
    facts: Facts, contents: Contents, number: VersionNumber, *, who: str, why: str = "", verified: bool = False
) -> Change | None:
    """The change that registers these contents under that number; None where that is what the number is already.

    Args:
        facts: of the model, that version and the parent.
        contents: what it is made of.
        number: what it is to be called.
        who: for the audit log.
        why: for the audit log.
        verified: whether it has loaded and answered already, so that no moment is without that.

    Raises:
        Conflict: the number is something else, or once was.
        NotFound: the parent is not there.
    """
    if there := facts.listed.get(number):
        if there["contents_digest"] == digest_of(contents):
            return None
        raise _taken(facts, number, f"was registered by {there['registered_by']} with other contents")
    if number in facts.standings:
        raise _taken(facts, number, "was deleted, and a number is never used twice")
    if contents.parent is not None:
        facts.standing(contents.parent)
    version = Version(facts.model, number, contents, who, facts.now_ms)
    digest = contents.artifact.digest
    state = moved(State.REGISTERED, Event.VERIFY) if verified else State.REGISTERED
    after = f"{state}, artifact {digest}"
    entry = AuditEntry(who, "register", facts.model, f"version {int(number)}", None, after, why)
    return Change(facts.model, facts.revision, entry, created=version, states={number: state})


def next_number(facts: Facts, contents: Contents, above: int = 0) -> VersionNumber:
    """The number to register these contents under: the newest if it has them already, else the one after it.

    So somebody who never heard the answer may ask again without making a second version.

    Args:
        facts: of the model, its newest version among them.
        contents: to be registered.
        above: numbers up to this one are taken elsewhere.
    """
    newest = facts.listed.get(VersionNumber(facts.newest)) if facts.newest else None
    if newest and newest["contents_digest"] == digest_of(contents):
        return VersionNumber(facts.newest)
    return VersionNumber(max(facts.newest, above) + 1)


def pointing(
    facts: Facts, alias: AliasName, number: VersionNumber, expected: int | None, *, who: str, why: str
) -> Change:
    """The change that puts the alias on that version.

    Args:
        facts: of the model and that version.
        alias: new, or one that moves.
        number: what it is to stand for.
        expected: the alias's revision that the caller knows, 0 for "there is none yet", None for "whatever it is".
        who: for the audit log.
        why: for the audit log.

    Raises:
        Conflict: the alias is at another revision.
        NotFound: there is no such version.
        Unacceptable: the version is archived.
    """
    state = facts.standing(number).state
    if state not in CAN_BE_NAMED:
        raise Unacceptable(
            f"{facts.model} version {int(number)} is {state}, so {alias} cannot point at it.",
            "Restore the version first, or choose another one.",
        )
    before = _expected_alias(facts, alias, expected)
    entry = AuditEntry(who, "alias", facts.model, alias, before, f"version {int(number)}", why)
    return Change(facts.model, facts.revision, entry, aliases={alias: number})


def unpointing(facts: Facts, alias: AliasName, expected: int | None, *, who: str, why: str) -> Change:
    """The change that takes the alias away.

    Raises:
        Conflict: the alias is at another revision.
        NotFound: there is no such alias.
    """
    before = _expected_alias(facts, alias, expected)
    if before is None:
        raise unnamed(facts.model, alias, facts.aliases)
    entry = AuditEntry(who, "unalias", facts.model, alias, before, None, why)
    return Change(facts.model, facts.revision, entry, aliases={alias: None})


def moving(
    facts: Facts,
    number: VersionNumber,
    event: Event,
    expected: int | None,
    *,
    users: Sequence[str] = (),
    who: str,
    why: str,
) -> Change:
    """The change that an event makes to a version's state.

    Args:
        facts: of the model and that version.
        number: of the version.
        event: what happens to it.
        expected: the revision of its standing that the caller knows, None for "whatever it is".
        users: who else than an alias uses it, a sentence each.
        who: for the audit log.
        why: for the audit log.

    Raises:
        Conflict: its standing is at another revision.
        InUse: it is to be taken away, and somebody uses it.
        NotFound: there is no such version.
        Unacceptable: there is no such move.
    """
    what, standing = f"version {int(number)}", facts.standing(number)
    if expected not in (None, standing.revision):
        raise _changed(f"{facts.model} {what}", expected, standing.revision, f"is {standing.state}")
    after = moved(standing.state, event)
    used = (*_aliases_of(facts, number), *users)
    if event in TAKES_AWAY and used:
        raise InUse(f"{facts.model} {what}", event, used)
    entry = AuditEntry(who, event.value, facts.model, what, standing.state.value, after.value, why)
    return Change(facts.model, facts.revision, entry, states={number: after})


def missing(model: str, number: int, *, deleted: bool = False) -> NotFound:
    """The error that says that there is no such version."""
    return NotFound(
        f"{model} has no version {int(number)}{', it was deleted' if deleted else ''}.",
        f"The list of {model}'s versions shows which there are.",
    )


def unnamed(model: str, alias: str, aliases: Mapping[AliasName, Alias]) -> NotFound:
    """The error that says that there is no such alias."""
    known = ", ".join(sorted(aliases))
    return NotFound(f"{model} has no alias {alias}.", f"Its aliases are {known}." if known else "It has none.")


def _aliases_of(facts: Facts, number: VersionNumber) -> tuple[str, ...]:
    names = sorted(name for name, alias in facts.aliases.items() if alias.version == number)
    return tuple(f"The alias {name} points at it." for name in names)


def _expected_alias(facts: Facts, alias: AliasName, expected: int | None) -> str | None:
    """What the alias points at now, in words, if it is at the revision that is expected."""
    there = facts.aliases.get(alias)
    revision = there.revision if there else 0
    now = f"version {int(there.version)}" if there else None
    if expected not in (None, revision):
        raise _changed(f"The alias {alias} of {facts.model}", expected, revision, f"points at {now or 'nothing'}")
    return now


def _changed(what: str, expected: int | None, revision: int, now: str) -> Conflict:
    return Conflict(
        f"{what} was expected at revision {expected}, and is at {revision}: it {now}.",
        "Look at what is there now, decide again, and send the change with its revision.",
    )


def _taken(facts: Facts, number: VersionNumber, why: str) -> Conflict:
    return Conflict(
        f"{facts.model} version {int(number)} {why}.",
        f"Leave the number out, or use one above {facts.newest}.",
    )
