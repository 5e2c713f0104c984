"""Takes episodes through their steps, one after the other, in a thread; what fails and may be well later is repeated.

Training takes the machine, so there is one thread. An episode that waits for a rollout holds up no other; two of one
model would, and are taken in their order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import structlog

from serving.errors import ControlError, SluiceError
from serving.trainer.diary import Diary, Episode, Step
from serving.trainer.steps import NotYet, is_passing

PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Before a step is tried again; the last one from then on."""
LOOK_S: Final = 1.0
"""How often rollouts are looked at."""

_log = structlog.get_logger(__name__)


class Advances(Protocol):
    """Who does what comes next (`serving.trainer.steps`)."""

    def after(self, episode: Episode) -> Episode:
        """The episode after its next step; the same where that has to wait."""


class Worker:
    """One thread over a diary. `hear` may be called from others.

    Args:
        diary: of the episodes.
        steps: does them.
        clock: seconds since 1970.
    """

    def __init__(self, diary: Diary, steps: Advances, clock: Callable[[], float] = time.time) -> None:
        self._diary, self._steps, self._clock = diary, steps, clock
        self._lock = threading.Lock()
        self._tries: dict[str, int] = {}
        self._due_s: dict[str, float] = {}
        self._news, self._over = threading.Event(), threading.Event()

    @property
    def episodes(self) -> tuple[Episode, ...]:
        """All of them, in the order in which they were heard."""
        with self._lock:
            return self._diary.episodes

    def hear(self, episode: Episode) -> bool:
        """Whether nobody had told of it before; it is on disk when this returns."""
        with self._lock:
            if self._diary.has(episode.id):
                return False
            self._diary.keep(episode)
        _log.info("an episode asks for retraining", episode=episode.id, model=episode.model, cause=episode.cause)
        self._news.set()
        return True

    def run(self) -> None:
        """Works until `end`."""
        while not self._over.is_set():
            self._news.clear()
            if not self._ticked():
                self._news.wait(LOOK_S)

    def end(self) -> None:
        """Ends `run` after the step that it is at; what is left goes on with the next start."""
        self._over.set()
        self._news.set()

    def tick(self) -> bool:
        """One step of each episode that is due; whether any of them has moved."""
        moved = [self._advance(episode) for episode in self._due()]
        return any(moved)

    def _ticked(self) -> bool:
        """As `tick`; whatever goes wrong in it, the next one comes."""
        try:
            return self.tick()
        except Exception:  # noqa: BLE001 - the thread's end would be the end of all episodes
            _log.exception("a round broke off, for a mistake of the trainer's; the next one comes")
            return False

    def _due(self) -> Iterator[Episode]:
        """Of each model the oldest episode that is not over, if it is not to wait any longer."""
        models = set()
        for episode in self.episodes:
            if episode.is_over or episode.model in models or self._over.is_set():
                continue
            models.add(episode.model)
            if self._due_s.get(episode.id, 0.0) <= self._clock():
                yield episode

    def _advance(self, episode: Episode) -> bool:
        tries = self._tries.get(episode.id, 0)
        after = self._after(episode)
        is_put_off = self._tries.get(episode.id, 0) > tries
        try:
            self._keep(episode, after)
        except OSError as error:  # what is not on disk has not been done: it is done again
            if not is_put_off:
                self._put_off(episode, error)
            return False
        if not is_put_off:
            self._tries.pop(episode.id, None)
        if after.step is episode.step:
            return False
        _log.info("one step on", episode=after.id, step=after.step.value, words=after.words, version=after.number)
        return True

    def _keep(self, before: Episode, after: Episode) -> None:
        if after != before:
            with self._lock:
                self._diary.keep(after)

    def _after(self, episode: Episode) -> Episode:
        """The episode after its next step, or with the reason why there is none, or not yet."""
        try:
            return self._steps.after(episode)
        except ControlError as error:
            return self._put_off(episode, error) if is_passing(error) else self._failed(episode, error)
        except (NotYet, OSError) as error:
            return self._put_off(episode, error)
        except SluiceError as error:
            return self._failed(episode, error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends this episode, and no other
            _log.exception("it cannot go on, for a mistake of the trainer's", episode=episode.id)
            return self._failed(episode, SluiceError(f"A mistake of the trainer's: {error!r}.", "Its log says where."))

    def _put_off(self, episode: Episode, error: Exception) -> Episode:
        tries = self._tries.get(episode.id, 0)
        pause_s = PAUSES_S[min(tries, len(PAUSES_S) - 1)]
        self._tries[episode.id] = tries + 1
        self._due_s[episode.id] = self._clock() + pause_s
        _log.warning("it is tried again", episode=episode.id, step=episode.step.value, why=str(error), in_s=pause_s)
        return episode.waiting(f"waits: {error}")

    def _failed(self, episode: Episode, error: SluiceError) -> Episode:
        _log.error("it cannot go on", episode=episode.id, step=episode.step.value, why=str(error), hint=error.hint)
        return episode.at(Step.FAILED, " ".join(filter(None, (str(error), error.hint))), self._clock())
