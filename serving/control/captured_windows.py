"""The rows that episodes of drift rest on: put aside when it is decided what to do, and handed out as Parquet.

What a sidecar captured gives way to newer samples, and a trainer may hear of an episode hours later. So the leading
control room puts the samples of every episode aside that it has put down to something. While an episode lasts, what is
captured meanwhile belongs to it as well.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from drift.captured import Captured, batches_in, parquet_of
from drift.incidents import Incident
from serving.control.errors import Overloaded, Unknown
from serving.control.windows_store import WindowAbout

_AT_ONCE: Final = 2
"""Files that are made at once: each takes some times its size of memory."""


class Store(Protocol):
    """What this needs of a store."""

    async def open_incidents(self) -> Mapping[str, Incident]:
        """Those that are not over, by model."""

    async def incident(self, incident_id: str) -> Incident | None:
        """The one of that id; None where there is none."""

    async def keep_window(self, episode: str, about: WindowAbout) -> None:
        """Puts aside what is captured of the model since then, if that was not done before."""

    async def window_about(self, episode: str) -> WindowAbout | None:
        """What is said of that episode's window; None where none is kept."""

    async def window_blobs(self, episode: str, model: str) -> Sequence[bytes]:
        """The batches that were put aside, and those that were captured since."""


class CapturedWindows:
    """The rows of episodes.

    Args:
        store: where they are.
        clock: seconds since 1970.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._making = 0
        self._kept: dict[str, WindowAbout] = {}

    async def keep(self) -> None:
        """Puts aside what episodes rest on that were put down to something."""
        there = await self._store.open_incidents()
        decided = {one.identity: about_of(one) for one in there.values() if one.decided is not None}
        for episode, about in decided.items():
            if self._kept.get(episode) != about:
                await self._store.keep_window(episode, about)
        self._kept = decided

    async def parquet(self, episode: str) -> Captured:
        """The rows of one episode.

        Raises:
            Unknown: there is no such episode, or its rows are not kept any more.
            Overloaded: as many are handed out as may be.
        """
        about = await self._about(episode)
        if self._making >= _AT_ONCE:
            raise Overloaded("Rows of other episodes are being handed out.", "Ask again in a moment.")
        self._making += 1
        try:
            blobs = await self._store.window_blobs(episode, about.model)
            return await asyncio.to_thread(self._made, episode, about, blobs)
        finally:
            self._making -= 1

    def _made(self, episode: str, about: WindowAbout, blobs: Sequence[bytes]) -> Captured:
        to_s = self._clock() if about.to_s is None else about.to_s
        said = {"model": about.model, "episode": episode, "from_s": about.from_s, "to_s": to_s}
        ours = (one for one in batches_in(blobs) if one.model == about.model)
        return parquet_of(ours, about.from_s, to_s, said)

    async def _about(self, episode: str) -> WindowAbout:
        incident = await self._store.incident(episode)
        about = await self._store.window_about(episode)
        if incident is not None and not incident.over:
            about = about_of(incident)
            await self._store.keep_window(episode, about)
        if about is None:
            raise Unknown(
                f"No rows of an episode {episode} are kept.",
                "They are kept for a week, of the newest episodes that were put down to something "
                "(drift.captured_bytes).",
            )
        return about


def about_of(incident: Incident) -> WindowAbout:
    """What is said of its window: from the first row that any alarm rests on, to the end of the drift."""
    first_s = min((one.first_s for one in incident.raised.values()), default=incident.opened_s)
    return WindowAbout(incident.model, first_s, incident.closed_s)
