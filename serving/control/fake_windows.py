"""Rows of episodes in memory: the part of `serving.control.fake_store` that is about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from serving.control.windows_store import MOST_WINDOWS, WindowAbout


class FakeWindows:
    """What the store's part for captured rows does, without a server.

    Args:
        reach: called first by everything; raises where the store is away.
    """

    def __init__(self, reach: Callable[[], None]) -> None:
        self._before_windows = reach
        self._captured: dict[str, list[bytes]] = {}
        self._put_aside: dict[str, list[bytes]] = {}
        self._window_about: dict[str, WindowAbout] = {}

    async def sidecar_captures(self, model: str, *blobs: bytes) -> None:
        """What a sidecar captures, in the place of what was captured before."""
        self._captured[model] = list(blobs)

    async def keep_window(self, episode: str, about: WindowAbout) -> None:
        """Puts aside what is captured of the model since then, if that was not done before."""
        self._before_windows()
        self._window_about[episode] = about
        if about.model in self._captured:
            self._put_aside.setdefault(episode, list(self._captured[about.model]))
        while len(self._window_about) > MOST_WINDOWS:
            oldest = next(iter(self._window_about))
            del self._window_about[oldest]
            self._put_aside.pop(oldest, None)

    async def window_about(self, episode: str) -> WindowAbout | None:
        """What is said of that episode's window."""
        self._before_windows()
        return self._window_about.get(episode)

    async def window_blobs(self, episode: str, model: str) -> Sequence[bytes]:
        """The batches that were put aside, and those that were captured since."""
        self._before_windows()
        return [*self._put_aside.get(episode, ()), *self._captured.get(model, ())]
