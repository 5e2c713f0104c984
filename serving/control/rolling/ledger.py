"""The ledger as people ask for it: the newest entries, those of a model or a rollout, and all of them for export."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final, Protocol

from serving.control.publication import Recorded
from serving.control.rolling.archive import Archive, place_of, recorded_as_dict

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
        """Every entry, oldest first, as a line of JSON each."""
        last = (0, 0)
        old = iter(()) if self._archive is None else self._archive.entries()
        while chunk := await asyncio.to_thread(_some, old):
            for one in chunk:
                last = max(last, place_of(one.id))
                yield _line(one)
        after = "" if last == (0, 0) else f"{last[0]}-{last[1]}"
        while page := await self._store.ledger_after(after, _PAGE):
            for one in page:
                yield _line(one)
            after = page[-1].id


def concerns(recorded: Recorded, model: str | None, rollout: str | None) -> bool:
    """Whether an entry is about that model and that rollout."""
    facts = recorded.entry.facts
    about = facts.get("rollout")
    of = about.get("id") if isinstance(about, dict) else None
    models = facts.get("models")
    is_of_model = model in (None, facts.get("model")) or (isinstance(models, list) and model in models)
    return is_of_model and rollout in (None, of)


def _some(entries: object) -> list[Recorded]:
    found: list[Recorded] = []
    for one in entries:  # type: ignore[attr-defined]  # an iterator that is gone through in threads, one after the other
        found.append(one)
        if len(found) == _PAGE:
            break
    return found


def _line(one: Recorded) -> str:
    return json.dumps(recorded_as_dict(one)) + "\n"
