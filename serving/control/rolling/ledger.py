"""The ledger as people ask for it: the newest entries, those of a model or a rollout, and all of them for export.

What the store has let go of is read from the archive, so that there is one ledger and one order. Nobody waits for more
than a page: an answer that may have more behind it has an id to go on with. A rollout's entries are found by its name,
for the store notes which they are; a model's are looked for, so many entries at a time. So are those of a rollout that
began before the store noted them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from serving.control.publication import Recorded
from serving.control.publication_form import MOST_ENTRIES_OF_ONE
from serving.control.rolling.archive import BEGINNING, Archive, place_of, recorded_as_dict
from serving.control.rolling.stopping import STOP

MOST_LISTED: Final = 1_000
MOST_LOOKED_AT: Final = 2_000
"""How many entries one request looks at, whatever it looks for."""

_PAGE: Final = 1_000
_AT_ONCE: Final = 500
_BEGINNING: Final = "start"
"""What a rollout's first entry says that it is about."""


class Reads(Protocol):
    """The ledger from either end."""

    async def ledger_after(self, after: str, limit: int) -> Sequence[Recorded]:
        """The oldest entries after that id, oldest first."""

    async def ledger(self, limit: int, before: str = "") -> Sequence[Recorded]:
        """The newest entries, newest first; of those before that id, where one is given."""

    async def entries_of(self, rollout_id: str) -> Sequence[str]:
        """Ids of the entries about that rollout, oldest first."""

    async def entries_at(self, ids: Collection[str]) -> Mapping[str, Recorded]:
        """Those of these entries that are there."""


class Page(NamedTuple):
    """Some entries, and the id to go on with: there may be more behind it. Empty where there is nothing more."""

    entries: Sequence[Recorded]
    next: str = ""


class Ledger:
    """What was decided, the archive included.

    Args:
        store: what it keeps.
        folder: of the archive; None for none.
    """

    def __init__(self, store: Reads, folder: Path | None = None) -> None:
        self._store = store
        self._archive = None if folder is None else Archive(folder)

    async def newest(
        self, limit: int, *, model: str | None = None, rollout: str | None = None, after: str = "", before: str = ""
    ) -> Page:
        """The newest entries, newest first. A page may have fewer than were asked for, and more behind it.

        Args:
            limit: how many, at most `MOST_LISTED`.
            model: of this model only.
            rollout: of this rollout only.
            after: only those after this id.
            before: only those before this id, such as the last page says to go on with.
        """
        limit = max(1, min(limit, MOST_LISTED))
        found: list[Recorded] = []
        if rollout is not None and (ids := await self._store.entries_of(rollout)):
            noted = await self._picked([one for one in reversed(ids) if _between(one, after, before)], limit, model)
            if noted.next or await self._all_noted(ids) or not _between(ids[0], after, ""):
                return noted
            found, before = [*noted.entries], min(before or ids[0], ids[0], key=place_of)
        looked_at = 0
        while len(found) < limit and looked_at < MOST_LOOKED_AT:
            wanted = _AT_ONCE if model or rollout else limit
            page = await self._back(before, wanted)
            new = [one for one in page if _between(one.id, after, "")]
            found += [one for one in new if concerns(one, model, rollout)]
            if len(new) < wanted:
                return Page(found[:limit], found[limit - 1].id if len(found) > limit else "")
            before, looked_at = page[-1].id, looked_at + len(page)
        return Page(found[:limit], found[limit - 1].id if len(found) >= limit else before)

    async def of_rollout(self, rollout: str, limit: int = MOST_LISTED, after: str = "") -> Page:
        """What happened to that rollout, oldest first; of what is after that id, where one is given."""
        ids = await self._store.entries_of(rollout)
        if not await self._all_noted(ids):
            ids = [*await self._not_noted(rollout, ids[0] if ids else ""), *ids]
        ids = [one for one in ids if _between(one, after, "")]
        return await self._picked(ids, max(1, min(limit, MOST_LISTED)), None)

    async def export(self) -> AsyncIterator[str]:
        """Every entry, oldest first, as a line of JSON each.

        What the store lets go of meanwhile is in the archive by then: whatever is missing before a page is there.
        """
        last, page = "", await self._store.ledger_after("", _PAGE)
        while True:
            old = self._archived(last, page[0].id if page else "")
            while chunk := await asyncio.to_thread(_some, old, _PAGE):
                for one in chunk:
                    yield _line(one)
                last = chunk[-1].id
            if not page:
                return
            for one in page:
                yield _line(one)
            last = page[-1].id
            page = await self._store.ledger_after(last, _PAGE)

    async def _all_noted(self, ids: Sequence[str]) -> bool:
        """Whether these are all entries of a rollout, or as many as are noted: a release did not note any yet."""
        if len(ids) >= MOST_ENTRIES_OF_ONE:
            return True
        return any(map(_begins, (await self._picked(ids, 1, None)).entries))

    async def _not_noted(self, rollout: str, before: str) -> Sequence[str]:
        """Ids of that rollout's entries before that id, oldest first, back to its beginning or as far as one looks."""
        found: list[Recorded] = []
        looked_at = 0
        while looked_at < MOST_LOOKED_AT and not any(map(_begins, found)):
            page = await self._back(before, _AT_ONCE)
            found += [one for one in page if concerns(one, None, rollout)]
            if len(page) < _AT_ONCE:
                break
            before, looked_at = page[-1].id, looked_at + len(page)
        return [one.id for one in reversed(found)]

    async def _back(self, before: str, limit: int) -> Sequence[Recorded]:
        """The newest before that id, the archive's after the store's: what was let go of since is there by then."""
        page = [*await self._store.ledger(limit, before)]
        if self._archive is not None and len(page) < limit:
            older = self._archive.back(page[-1].id if page else before)
            page += await asyncio.to_thread(_some, older, limit - len(page))
        return page

    async def _picked(self, ids: Sequence[str], limit: int, model: str | None) -> Page:
        """The first of these entries, wherever they are."""
        asked = ids[:limit]
        there = dict(await self._store.entries_at(asked))
        if self._archive is not None and (gone := [one for one in asked if one not in there]):
            there |= await asyncio.to_thread(self._archive.at, gone)
        entries = [there[one] for one in asked if one in there]
        return Page([one for one in entries if concerns(one, model, None)], asked[-1] if len(ids) > len(asked) else "")

    def _archived(self, after: str, before: str) -> Iterator[Recorded]:
        if self._archive is None:
            return iter(())
        return self._archive.entries(place_of(after) if after else BEGINNING, before)


def concerns(recorded: Recorded, model: str | None, rollout: str | None) -> bool:
    """Whether an entry is about that model and that rollout."""
    facts = recorded.entry.facts
    about = facts.get("rollout")
    of = about.get("id") if isinstance(about, dict) else None
    models = facts.get("models")
    is_of_model = model in (None, facts.get("model")) or (isinstance(models, list) and model in models)
    is_of_model = is_of_model or (recorded.entry.kind == STOP and facts.get("all") is True)
    return is_of_model and rollout in (None, of)


def _begins(recorded: Recorded) -> bool:
    return recorded.entry.facts.get("what") == _BEGINNING


def _between(entry: str, after: str, before: str) -> bool:
    place = place_of(entry)
    return (not after or place > place_of(after)) and (not before or place < place_of(before))


def _some(entries: Iterator[Recorded], limit: int) -> list[Recorded]:
    return list(islice(entries, limit))


def _line(one: Recorded) -> str:
    return json.dumps(recorded_as_dict(one)) + "\n"
