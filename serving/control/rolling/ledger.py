"""The ledger as people ask for it: the newest entries, those of a model or a rollout, and all of them for export."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

from serving.control.publication import Recorded
from serving.control.rolling.archive import BEGINNING, Archive, place_of, recorded_as_dict
from serving.control.rolling.stopping import STOP

MOST_LISTED: Final = 1_000
_MOST_LOOKED_AT: Final = 100_000
_PAGE: Final = 1_000


class Reads(Protocol):
    """The ledger from either end."""

    async def ledger_after(self, after: str, limit: int) -> Sequence[Recorded]:
        """The oldest entries after that id, oldest first."""

    async def ledger(self, limit: int, before: str = "") -> Sequence[Recorded]:
        """The newest entries, newest first; of those before that id, where one is given."""


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
        self, limit: int, *, model: str | None = None, rollout: str | None = None, after: str = ""
    ) -> list[Recorded]:
        """The newest entries that the store has, newest first.

        Args:
            limit: how many.
            model: of this model only.
            rollout: of this rollout only.
            after: only those after this id.
        """
        found: list[Recorded] = []
        before, looked_at = "", 0
        while len(found) < limit and looked_at < _MOST_LOOKED_AT:
            page = await self._store.ledger(_PAGE, before)
            new = [one for one in page if not after or place_of(one.id) > place_of(after)]
            found += [one for one in new if concerns(one, model, rollout)]
            if len(page) < _PAGE or len(new) < len(page):
                break
            before, looked_at = page[-1].id, looked_at + len(page)
        return found[:limit]

    async def of_rollout(self, rollout: str) -> list[Recorded]:
        """What happened to that rollout, oldest first, at most the last `MOST_LISTED` entries."""
        return (await self.newest(MOST_LISTED, rollout=rollout))[::-1]

    async def export(self) -> AsyncIterator[str]:
        """Every entry, oldest first, as a line of JSON each.

        What the store lets go of meanwhile is in the archive by then: whatever is missing before a page is there.
        """
        last, page = "", await self._store.ledger_after("", _PAGE)
        while True:
            old = self._archived(last, page[0].id if page else "")
            while chunk := await asyncio.to_thread(_some, old):
                for one in chunk:
                    yield _line(one)
                last = chunk[-1].id
            if not page:
                return
            for one in page:
                yield _line(one)
            last = page[-1].id
            page = await self._store.ledger_after(last, _PAGE)

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


def _some(entries: Iterator[Recorded]) -> list[Recorded]:
    return list(islice(entries, _PAGE))


def _line(one: Recorded) -> str:
    return json.dumps(recorded_as_dict(one)) + "\n"
