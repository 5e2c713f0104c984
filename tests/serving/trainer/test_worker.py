"""Episodes go on step by step: what may be well later is tried again, what is refused ends, and each is heard once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.control.models_client import Cancelled
from serving.errors import ControlError
from serving.trainer.diary import Diary, Episode, Step
from serving.trainer.rows import Unusable
from serving.trainer.worker import PAUSES_S, Worker
from tests.serving.processes import eventually
from tests.serving.trainer.rooms import EPISODE


class Steps:
    """Does what it is told, one thing after the other; then everything ends well."""

    def __init__(self, *does: Exception | Step) -> None:
        self.does = list(does)
        self.asked: list[str] = []

    def after(self, episode: Episode) -> Episode:
        """The next one of them."""
        self.asked.append(episode.id)
        what = self.does.pop(0) if self.does else Step.PROMOTED
        if isinstance(what, Exception):
            raise what
        return episode.waiting("still there") if what is episode.step else episode.at(what, "", 200.0)


class Clock:
    """Stands still until it is moved."""

    now_s = 100.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


Work = Callable[..., tuple[Worker, Steps, Clock]]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """A worker over these steps, which has heard of one episode."""

    def made(*does: Exception | Step) -> tuple[Worker, Steps, Clock]:
        steps, clock = Steps(*does), Clock()
        worker = Worker(Diary(tmp_path), steps, clock)
        worker.hear(EPISODE)
        return worker, steps, clock

    return made


def only(worker: Worker) -> Episode:
    """The one episode that there is."""
    [episode] = worker.episodes
    return episode


def test_an_episode_is_heard_once(work: Work, tmp_path: Path) -> None:
    """Told again, also after it is over and after a restart, it is the same one."""
    worker, steps, _ = work()
    assert not worker.hear(EPISODE)
    worker.tick()
    assert not worker.hear(EPISODE)
    again = Worker(Diary(tmp_path), steps)
    assert not again.hear(replace(EPISODE, received_s=999.0))
    assert not again.tick()
    assert steps.asked == ["ep-1"]
    assert only(again).step is Step.PROMOTED


@pytest.mark.parametrize(
    "error",
    [
        ControlError("nothing answers"), ControlError("slow", "", 503), ControlError("somebody else is at it", "", 409),
        ControlError("later", "", None, {"refusal": "in-use"}), OSError(28, "No space left on device"),
    ],
)  # fmt: skip
def test_what_may_be_well_later_is_tried_again(work: Work, error: Exception) -> None:
    """After growing pauses, and says meanwhile why it waits; then it goes on as if nothing had been."""
    worker, steps, clock = work(*[error] * 8)
    for tried in range(8):
        assert not worker.tick()
        assert len(steps.asked) == tried + 1
        assert only(worker).words.startswith("waits: ")
        clock.now_s += PAUSES_S[min(tried, len(PAUSES_S) - 1)] - 0.01
        assert not worker.tick()
        clock.now_s += 0.01
    assert worker.tick()
    assert only(worker).step is Step.PROMOTED


@pytest.mark.parametrize(
    "error",
    [
        ControlError("it is not shown a key", "name one", 401), ControlError("version 1 does not answer", "", 404),
        Cancelled("bob cancelled it", "begin it again if you want it"), Unusable("none has a label.", "Send some."),
        ControlError("the trial failed", "", None, {"refusal": "did-not-start"}), ValueError("a mistake"),
    ],
)  # fmt: skip
def test_what_is_refused_ends(work: Work, error: Exception) -> None:
    """With the sentence and what to do about it; others go on."""
    worker, _, _ = work(error)
    worker.hear(replace(EPISODE, id="ep-2"))
    assert worker.tick()
    first = worker.episodes[0]
    assert first.step is Step.FAILED
    assert str(error) in first.words
    worker.tick()
    assert worker.episodes[1].step is Step.PROMOTED


def test_two_of_one_model_are_taken_in_their_order(work: Work) -> None:
    """The second waits for the first; that of another model does not."""
    worker, steps, _ = work(Step.RECEIVED)
    worker.hear(replace(EPISODE, id="ep-2"))
    worker.hear(replace(EPISODE, id="ep-3", model="other"))
    worker.tick()
    assert steps.asked == ["ep-1", "ep-3"]
    worker.tick()
    worker.tick()
    assert steps.asked == ["ep-1", "ep-3", "ep-1", "ep-2"]


def test_it_runs_in_a_thread_until_it_is_told_to_end(work: Work) -> None:
    """What is heard while it sleeps wakes it."""
    worker, _, _ = work(Step.FETCHED, Step.TRAINED)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert eventually(lambda: only(worker).is_over)
        worker.hear(replace(EPISODE, id="ep-2"))
        assert eventually(lambda: all(one.is_over for one in worker.episodes))
    finally:
        worker.end()
        thread.join(5)
    assert not thread.is_alive()


def test_a_full_disk_is_waited_for(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written down has not been done: it is done again after growing pauses, and then goes on."""
    worker, steps, clock = work(*[Step.FETCHED] * 3)
    with monkeypatch.context() as full:
        full.setattr(Diary, "keep", no_room)
        for pause_s in PAUSES_S[:2]:
            assert not worker.tick()
            clock.now_s += pause_s - 0.01
            assert not worker.tick()
            clock.now_s += 0.01
    assert (only(worker).step, len(steps.asked)) == (Step.RECEIVED, 2)
    assert worker.tick()
    assert only(worker).step is Diary(tmp_path).episodes[0].step is Step.FETCHED


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("a mistake")])
def test_its_thread_outlives_what_goes_wrong(work: Work, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever that is: there is no other thread, and it looks alive from outside."""
    worker, _, _ = work()
    kept, failed = Diary.keep, threading.Event()

    def fails_once(diary: Diary, episode: Episode) -> None:
        if not failed.is_set():
            failed.set()
            raise error
        kept(diary, episode)

    monkeypatch.setattr("serving.trainer.worker.PAUSES_S", (0.0,))
    monkeypatch.setattr("serving.trainer.worker.LOOK_S", 0.01)
    monkeypatch.setattr(Diary, "keep", fails_once)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert eventually(lambda: only(worker).is_over)
    finally:
        worker.end()
        thread.join(5)
    assert failed.is_set()


def no_room(*_: object) -> None:
    """As a disk that is full."""
    raise OSError(28, "No space left on device")


def test_every_step_is_on_disk_before_the_next(work: Work, tmp_path: Path) -> None:
    """Whoever starts anew begins where the last one was."""
    worker, _, _ = work(Step.FETCHED, Step.TRAINED)
    seen: list[Any] = []
    for _ in range(3):
        worker.tick()
        seen.append(Diary(tmp_path).episodes[0].step)
    assert seen == [Step.FETCHED, Step.TRAINED, Step.PROMOTED]
