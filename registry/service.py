"""What can be asked of the registry, without HTTP: register, show, list, name, move, delete, compare.

A caller names the revision of what it saw, of an alias or of a version's state, and loses if that is no longer there.
Beside that, every change competes on the model's revision, because it was decided from all of the model; a change that
loses only there is read and decided again (`registry.changes`), so callers never notice each other without a reason.

Where the bytes of an artifact are is `registry.artifacts`; that they load and answer is found out by whoever can run
them, who then asks for `verify`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from registry.changes import (
    Change,
    Recorded,
    missing,
    moving,
    next_number,
    pointing,
    registering,
    unnamed,
    unpointing,
)
from registry.codec import digest_of
from registry.committing import Commits, commit, facts_with_newest
from registry.diff import VersionDiff, diff
from registry.errors import NotFound, Unacceptable
from registry.lifecycle import TAKES_AWAY, Event, Standing
from registry.models import (
    Alias,
    AliasName,
    Contents,
    Listed,
    ModelListed,
    ModelName,
    Version,
    VersionNumber,
    check_digest,
)

MOST_LISTED = 10_000
"""Versions, models or audit entries in one page."""

_MOST_TOLD = 5
_LARGEST_HALF = 2**64 - 1
_AUDIT_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")


class Reads(Protocol):
    """What can be looked at."""

    async def version(self, model: ModelName, number: VersionNumber) -> Version | None:
        """The version of that number."""

    async def listed(self, model: ModelName, *, below: int | None, limit: int) -> Sequence[Listed]:
        """A page of the model's versions, the highest number first."""

    async def models(self, *, after: str, limit: int) -> Sequence[ModelListed]:
        """A page of the models by name."""

    async def audit(self, *, before: str, limit: int) -> Sequence[Recorded]:
        """A page of the audit log, newest first."""


class Store(Commits, Reads, Protocol):
    """All that the registry needs of a store."""


class Usage(Protocol):
    """Who uses a version, as far as the registry cannot know it: policies, rollouts, pools."""

    async def __call__(self, model: ModelName, version: VersionNumber, /) -> Sequence[str]:
        """A sentence for each user; none where nobody does."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A version that is there now.

    Attributes:
        version: what is there.
        created: whether this call put it there; False where the same contents were registered before.
        durable: whether this call wrote it and had that confirmed to be on disk.
    """

    version: Version
    created: bool
    durable: bool


@dataclass(frozen=True, slots=True)
class Done:
    """A change that took place: the revision for the next one, and whether it was confirmed to be on disk."""

    revision: int
    durable: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A version, its state, and the aliases that point at it."""

    version: Version
    standing: Standing
    aliases: tuple[AliasName, ...]


class Registry:
    """One installation's registry.

    Args:
        store: where it is kept.
        usage: who else uses a version; asked before one is archived or deleted.
    """

    def __init__(self, store: Store, usage: Usage) -> None:
        self._store = store
        self._usage = usage

    async def register(
        self,
        model: str,
        contents: Contents,
        *,
        who: str,
        why: str = "",
        number: int | None = None,
        serves: int | None = None,
        force: bool = False,
        verified: bool = False,
        above: int = 0,
    ) -> Registered:
        """Registers these contents. Doing so again is harmless: it finds what is there.

        Args:
            model: made if it is not there.
            contents: what the version is made of; its artifact must already be in the artifact store.
            who: registers it.
            why: for the audit log.
            number: what it is to be called; None for the next free number, or the newest version's if that has the
                same contents.
            serves: the version whose clients it must be able to serve; None for none.
            force: register it even if it cannot.
            verified: whether it has loaded and answered already: then it is verified from its first moment.
            above: numbers up to this one are taken elsewhere, and are not given to it.

        Raises:
            Conflict: the number is something else.
            NotFound: its parent, or the version that it must serve, is not there.
            Unacceptable: it cannot serve those clients, or a value is none.
        """
        name, wanted = ModelName(model), None if number is None else VersionNumber(number)
        if serves is not None and not force:
            await self._check_serves(name, contents, VersionNumber(serves))
        parent = () if contents.parent is None else (contents.parent,)
        asked = parent if wanted is None else (*parent, wanted)
        chosen = wanted or VersionNumber(1)

        async def decide() -> Change | None:
            nonlocal chosen
            facts = await facts_with_newest(self._store, name, asked)
            chosen = wanted or next_number(facts, contents, above)
            return registering(facts, contents, chosen, who=who, why=why, verified=verified)

        change, answer = await commit(self._store, name, decide)
        if change is not None and change.created is not None:
            return Registered(change.created, created=True, durable=answer.durable)
        there = await self.show(name, chosen)
        return Registered(there.version, created=False, durable=False)

    async def check(
        self,
        model: str,
        contents: Contents,
        *,
        number: int | None = None,
        serves: int | None = None,
        force: bool = False,
        measured: bool = True,
    ) -> None:
        """Refuses now what `register` would refuse then, as far as it can be known before.

        Args:
            model: as for `register`, as all of these but the last.
            contents: what the version is to be made of.
            number: what it is to be called.
            serves: the version whose clients it must be able to serve.
            force: it need not.
            measured: whether the contents' artifact is the one that it will be; else it counts for nothing.

        Raises:
            Conflict, NotFound, Unacceptable: as for `register`.
        """
        name, wanted = ModelName(model), None if number is None else VersionNumber(number)
        if serves is not None and not force:
            await self._check_serves(name, contents, VersionNumber(serves))
        facts = await self._store.facts(name, [one for one in (contents.parent, wanted) if one is not None])
        if contents.parent is not None:
            facts.standing(contents.parent)
        if wanted is None:
            return
        there = None if measured else await self._store.version(name, wanted)
        if there is not None:  # somebody may be asking again, and brings the same artifact again
            contents = replace(contents, artifact=there.contents.artifact)
        registering(facts, contents, wanted, who="nobody")

    async def holders(self, digest: str) -> Sequence[str]:
        """Every version that is made of this artifact, in words; it looks at all versions of all models."""
        check_digest("artifact's digest", digest)
        found: list[str] = []
        after = ""
        while models := await self.models(after=after, limit=MOST_LISTED):
            for model in models:
                found += [f"{model.name} version {one}" for one in await self._made_of(model.name, digest)]
            after = models[-1].name
        return found

    async def same(self, model: str, contents: Contents) -> Shown | None:
        """The newest version that has the same contents, None where none has."""
        wanted = digest_of(contents)
        async for listed in self._all(ModelName(model)):
            if listed["contents_digest"] == wanted:
                with suppress(NotFound):  # deleted between the two looks
                    return await self.show(model, listed["version"])
        return None

    async def show(self, model: str, version: int | str) -> Shown:
        """A version, by its number or an alias of it.

        Raises:
            NotFound: there is none.
        """
        name = ModelName(model)
        number = await self.resolve(name, version)
        facts = await self._store.facts(name, (number,))
        standing = facts.standing(number)
        found = await self._store.version(name, number)
        if found is None:  # deleted between the two looks
            raise missing(name, number, deleted=True)
        names = sorted(alias for alias, target in facts.aliases.items() if target.version == number)
        return Shown(found, standing, tuple(names))

    async def resolve(self, model: str, version: int | str) -> VersionNumber:
        """The number of a version that is named by number (as a number or as text) or by alias."""
        if not isinstance(version, str):
            return VersionNumber(version)
        if version.isascii() and version.isdigit() and len(version) <= len(str(2**31)):
            return VersionNumber(int(version))
        name, alias = ModelName(model), AliasName(version)
        aliases = (await self._store.facts(name)).aliases
        if alias not in aliases:
            raise unnamed(name, alias, aliases)
        return aliases[alias].version

    async def versions(self, model: str, *, below: int | None = None, limit: int = 100) -> Sequence[Listed]:
        """A page of a model's versions, the highest number first; `below` is the last page's lowest number.

        Raises:
            NotFound: there is no such model.
        """
        name, below = ModelName(model), None if below is None else VersionNumber(below)
        found = await self._store.listed(name, below=below, limit=_page(limit))
        if not found and not (await self._store.facts(name)).revision:
            raise NotFound(f"There is no model {name}.", "The list of models shows which there are.")
        return found

    async def models(self, *, after: str = "", limit: int = 100) -> Sequence[ModelListed]:
        """A page of the models by name; `after` is the last page's last name."""
        return await self._store.models(after=ModelName(after) if after else "", limit=_page(limit))

    async def audit(self, *, before: str = "", limit: int = 100) -> Sequence[Recorded]:
        """A page of the audit log, newest first; `before` is the last page's last id."""
        found = _AUDIT_ID.fullmatch(before or "1-0")
        halves = [int(half) for half in found.groups()] if found else [_LARGEST_HALF + 1]
        if max(halves) > _LARGEST_HALF:
            raise Unacceptable(f"{before[:80]!r} is no id of an audit entry: it looks like 1700000000000-0.")
        # Nothing is older than that, and Redis refuses to look.
        return await self._store.audit(before=before, limit=_page(limit)) if any(halves) else ()

    async def aliases(self, model: str) -> dict[AliasName, Alias]:
        """A model's aliases by name."""
        return dict(sorted((await self._store.facts(ModelName(model))).aliases.items()))

    async def point(
        self, model: str, alias: str, version: int, *, expected: int | None, who: str, why: str = ""
    ) -> Done:
        """Puts an alias on a version; see `registry.changes.pointing`."""
        name, label, number = ModelName(model), AliasName(alias), VersionNumber(version)

        async def decide() -> Change:
            return pointing(await self._store.facts(name, (number,)), label, number, expected, who=who, why=why)

        change, answer = await commit(self._store, name, decide)
        return Done(change.revision, answer.durable)

    async def unpoint(self, model: str, alias: str, *, expected: int | None, who: str, why: str = "") -> Done:
        """Takes an alias away; see `registry.changes.unpointing`."""
        name, label = ModelName(model), AliasName(alias)

        async def decide() -> Change:
            return unpointing(await self._store.facts(name), label, expected, who=who, why=why)

        change, answer = await commit(self._store, name, decide)
        return Done(change.revision, answer.durable)

    async def move(
        self, model: str, version: int, event: Event, *, expected: int | None, who: str, why: str = ""
    ) -> Done:
        """Lets an event happen to a version, deleting it among them; see `registry.changes.moving`.

        A deleted version's artifact stays in the artifact store: another version may be made of the same files.
        """
        name, number = ModelName(model), VersionNumber(version)

        async def decide() -> Change:
            facts = await self._store.facts(name, (number,))
            users = await self._usage(name, number) if event in TAKES_AWAY else ()
            return moving(facts, number, event, expected, users=users, who=who, why=why)

        change, answer = await commit(self._store, name, decide)
        return Done(change.revision, answer.durable)

    async def diff(self, model: str, before: int | str, after: int | str) -> VersionDiff:
        """What is different between two versions of a model."""
        return diff((await self.show(model, before)).version, (await self.show(model, after)).version)

    async def _made_of(self, model: ModelName, digest: str) -> Sequence[int]:
        return [listed["version"] async for listed in self._all(model) if listed["artifact_digest"] == digest]

    async def _all(self, model: ModelName) -> AsyncIterator[Listed]:
        below: int | None = None
        while page := await self._store.listed(model, below=below, limit=MOST_LISTED):
            for listed in page:
                yield listed
            below = page[-1]["version"]

    async def _check_serves(self, model: ModelName, contents: Contents, stable: VersionNumber) -> None:
        there = (await self.show(model, stable)).version
        if objections := contents.signature.objections(there.contents.signature):
            more = f" And {len(objections) - _MOST_TOLD} more." if len(objections) > _MOST_TOLD else ""
            raise Unacceptable(
                f"This cannot serve the clients of {there}: {' '.join(objections[:_MOST_TOLD])}{more}",
                "Give it a signature that can, or force it if no such client is left.",
            )


def _page(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_LISTED:
        raise Unacceptable(f"A page of {limit!r} entries is none: use 1 to {MOST_LISTED:,}.")
    return limit
