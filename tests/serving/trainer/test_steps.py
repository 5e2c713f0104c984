"""A trainer may be killed before or after any call: one version, one baseline, one rollout come of an episode."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drift import baseline as baselines
from drift.baseline import Baseline, Order
from drift.tables import Table
from router.plan import End
from serving.control.rolling.document_plans import plan_of
from serving.trainer import retraining, steps
from serving.trainer.diary import Diary, Episode, Step
from serving.trainer.judging import compared, verdict
from serving.trainer.retraining import Retrained
from serving.trainer.rows import Rows, split
from serving.trainer.setup import Setup, rollout_of
from serving.trainer.steps import Steps
from serving.trainer.worker import Worker
from tests.serving.trainer.rooms import EPISODE, MODEL, SOMEBODY_ELSES, Killed, Room, asked, window

SIGNATURE = {
    "inputs": [{"name": "pixels", "datatype": "FP32", "shape": [64]}],
    "outputs": [
        {"name": "scores", "datatype": "FP32", "shape": [10], "labels": [str(digit) for digit in range(10)]},
        {"name": "digit", "datatype": "INT64", "shape": [1]}
    ],
}  # fmt: skip
CALLS = 11
_MADE: dict[int, Baseline] = {}


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """All that the trainer needs, with labels for the whole window."""
    pixels, ids, labels = asked()
    for name in ("training", "held"):
        np.savez(tmp_path / f"{name}.npz", pixels=pixels[:120], labels=np.array(labels[:120]))
    lines = [json.dumps({"request_id": id_, "label": label}) for id_, label in zip(ids, labels, strict=True)]
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    return Setup(
        MODEL, tmp_path / "episodes", tmp_path / "training.npz", tmp_path / "held.npz", tmp_path / "labels.jsonl",
        fewest=300, window_rows=50,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are killed here, not machines; some hundred syncs are most of the time where others write as well."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture(autouse=True)
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of torch: a version that is right where the old one never is; how many rows it was given each time."""
    given: list[int] = []

    def made(training: Rows, held: Rows, window: Rows, ask: Callable[..., Any], folder: Path) -> Retrained:
        fresh, back = split(window)
        given.append(len(window))
        folder.mkdir(parents=True)
        (folder / "signature.json").write_text(json.dumps(SIGNATURE))
        wrong, right = ask(back.inputs) == back.labels, np.ones(len(back), bool)
        scores = np.eye(10, dtype=np.float32)[back.labels]
        old = np.ones(len(held), bool)
        said = verdict((old, old), (wrong, right), {})
        return Retrained(said, training + fresh, len(fresh), {"scores": scores, "digit": back.labels[:, None]})

    monkeypatch.setattr(retraining, "retrained", made)
    monkeypatch.setattr(steps, "made", baseline_made)
    return given


def baseline_made(order: Order, inputs: Table, outputs: Table, now_s: float) -> Baseline:
    """A real one; of each version it is made once, for it takes seconds and all tests have the same rows."""
    number = int(order.version)
    if number not in _MADE:
        _MADE[number] = baselines.made(order, inputs, outputs, now_s)
    return _MADE[number]


def never_right(_: int, rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """The old version, on its worst day."""
    return np.full(len(rows), -1)


def worker_of(room: Room, setup: Setup) -> Worker:
    """A trainer that has just been started."""
    diary = Diary(setup.folder)
    worker = Worker(diary, Steps(room.client, setup, diary, never_right, lambda: 150.0), lambda: 150.0)
    worker.hear(EPISODE)
    return worker


def through(room: Room, setup: Setup) -> Episode:
    """The episode once its trainer has nothing left to do."""
    worker = worker_of(room, setup)
    while worker.tick():
        pass
    [episode] = worker.episodes
    return episode


def test_an_episode_leads_to_a_promoted_version(setup: Setup, trained: list[int]) -> None:
    """Version 2 with lineage, metrics and the digest of its baseline; then the baseline, servers and a rollout."""
    room = Room()
    episode = through(room, setup)
    assert (episode.step, episode.number, episode.rollout) == (Step.PROMOTED, 2, "ro_0")
    body = room.versions[2]
    assert (body["parent"], body["tags"]) == (1, {"episode": "ep-1", "cause": "inputs"})
    assert body["metrics"] == {
        "accuracy": 1.0, "accuracy_before": 0.0, "accuracy_old_rows": 1.0, "accuracy_old_rows_before": 1.0
    }  # fmt: skip
    kept = baselines.read((setup.folder / "ep-1" / "baseline.bin").read_bytes())
    assert (kept.digest, int(kept.version), kept.inputs.calm.size) == (body["baseline_digest"], 2, 50)
    assert body["data"]["rows"] == body["parameters"]["rows"] == 120 + body["parameters"]["new_rows"]
    assert (room.baselines, room.deployed, len(room.rollouts)) == ({2: 1}, {2: 1}, 1)
    assert trained == [400]
    assert len(room.calls) == CALLS


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", range(CALLS))
def test_killed_at_any_call_nothing_is_lost_or_done_twice(setup: Setup, call: int, *, after: bool) -> None:
    """One version is registered and one rollout started, whichever call was the last before the kill."""
    room = Room(dies_at=call, after=after)
    with pytest.raises(Killed):
        through(room, setup)
    room.dies_at = None
    episode = through(room, setup)
    assert episode.step is Step.PROMOTED
    assert (sorted(room.versions), len(room.rollouts)) == ([1, 2], 1)
    assert room.versions[2]["tags"]["episode"] == "ep-1"
    assert set(room.baselines) == set(room.deployed) == {2}


def test_killed_again_and_again_it_still_ends(setup: Setup) -> None:
    """Each life gets as far as a few calls, and the last one to the end."""
    room, lives = Room(), 0
    while True:
        room.dies_at, room.after, lives = len(room.calls) + lives % 7, lives % 2 == 0, lives + 1
        try:
            episode = through(room, setup)
        except Killed:
            assert lives < 100
            continue
        break
    assert episode.step is Step.PROMOTED
    assert (sorted(room.versions), len(room.rollouts)) == ([1, 2], 1)


def test_a_number_that_somebody_else_took_is_not_fought_for(setup: Setup) -> None:
    """The next one is taken, and what somebody else registered stays theirs."""
    room = Room()
    worker = worker_of(room, setup)
    while worker.episodes[0].step is not Step.PREPARED:
        worker.tick()
    room.versions[2] = {"tags": {"team": "others"}}
    episode = through(room, setup)
    assert (episode.step, episode.number) == (Step.PROMOTED, 3)
    assert room.versions[2] == {"tags": {"team": "others"}}
    assert baselines.read((setup.folder / "ep-1" / "baseline.bin").read_bytes()).version == 3


def test_it_waits_for_a_rollout_that_is_under_way(setup: Setup) -> None:
    """Nothing is started meanwhile; once that is over its own begins."""
    room = Room(rollouts=[dict(SOMEBODY_ELSES)])
    episode = through(room, setup)
    assert (episode.step, episode.words) == (Step.DEPLOYED, "waits: Another rollout is under way.")
    room.rollouts[0]["over"] = True
    assert through(room, setup).rollout == "ro_1"


def test_a_rollout_without_the_version_is_told(setup: Setup) -> None:
    """It went back: the episode says so, and nothing else follows."""
    episode = through(Room(phase="rolled_back"), setup)
    assert episode.step is Step.WENT_BACK
    assert "version 2 went back" in episode.words


def test_a_rollout_that_left_the_old_version_promoted_nothing(setup: Setup) -> None:
    """An A/B test that stable wins ends well, and the new version has nothing of it."""
    room = Room()
    worker = worker_of(room, setup)
    while worker.episodes[0].step is not Step.ROLLING:
        worker.tick()
    room.rollouts[0]["chosen"] = 1
    assert through(room, setup).step is Step.WENT_BACK


def test_what_is_no_better_is_not_registered(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is declined, the objection is told and kept with both versions' figures, and nothing is registered."""
    same = np.ones(50, bool)
    made = retraining.retrained

    def as_good(*args: Any) -> Retrained:  # noqa: ANN401 - as the real one
        found = made(*args)
        return Retrained(verdict((same, same), (same, same), {}), found.trained_on, found.new_rows, found.predictions)

    monkeypatch.setattr(retraining, "retrained", as_good)
    room = Room()
    episode = through(room, setup)
    assert episode.step is Step.DECLINED
    assert "not shown to be better" in episode.words
    assert episode.report is not None
    assert episode.report["new"] == compared("new rows", same, same).plain()
    assert sorted(room.versions) == [1]


def test_labels_are_waited_for(setup: Setup) -> None:
    """Which come later than requests, and with them the window is fetched anew; after long enough it is declined."""
    lines = setup.labels.read_text().splitlines()
    setup.labels.write_text("\n".join(lines[:299]))
    episode = through(Room(), setup)
    assert (episode.step, episode.words) == (
        Step.RECEIVED, "waits: 299 captured rows have labels, and 300 are needed"
    )  # fmt: skip
    late = replace(setup, patience_s=0.0)
    assert through(Room(), late).step is Step.DECLINED
    shutil.rmtree(setup.folder)
    setup.labels.write_text("\n".join(lines))
    assert through(Room(), setup).step is Step.PROMOTED


def test_an_episode_without_a_window_is_declined(setup: Setup, tmp_path: Path) -> None:
    """Whoever keeps no rows cannot train on them."""
    diary = Diary(tmp_path / "other")
    worker = Worker(diary, Steps(Room().client, setup, diary, never_right))
    worker.hear(replace(EPISODE, window=""))
    worker.tick()
    assert worker.episodes[0].step is Step.DECLINED


def test_a_room_that_is_away_for_a_while_is_asked_again(setup: Setup) -> None:
    """Any call may fail in passing; nothing is done twice for it."""
    room = Room(answers=[503])
    assert through(room, setup).words.startswith("waits: ")
    shutil.rmtree(setup.folder)
    room.answers = [401]
    assert through(room, setup).step is Step.FAILED


def test_its_rollout_is_one_that_can_be_started(setup: Setup) -> None:
    """Copies, a tenth, a half that feedback decides, a watch; a stage for each, and the winner stays."""
    plan = plan_of(rollout_of(setup, 3, "ep-1"))
    assert plan.end is End.WINNER
    assert [stage.name for stage in plan.stages] == ["shadow", "10 %", "a/b", "watch"]
    assert [stage.shares.get(3, 0) for stage in plan.stages][1:3] == [100_000, 500_000]
    [deciding] = [one for one in plan.judged_by.guardrails if one.decides]
    assert (deciding.metric, deciding.weight > 0) == ("correct", True)


def test_the_window_of_these_tests_is_what_is_fetched(setup: Setup) -> None:
    """Byte for byte, in the episode's folder."""
    worker = worker_of(Room(), setup)
    worker.tick()
    assert (setup.folder / "ep-1" / "window.parquet").read_bytes() == window()
