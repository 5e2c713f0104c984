"""The demo's model, trained on the spot on rows that have turned: better at those, and no worse at the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from serving.demo import train, world
from serving.errors import ControlError
from serving.trainer.retraining import Asks, Retrained, retrained
from serving.trainer.rows import Rows


@pytest.fixture(scope="module")
def ask() -> Asks:
    """The old version; trained once."""
    there = world.world()
    old = train.fitted(2, there.training.pixels, there.training.labels)
    return lambda pixels: np.asarray(train.answered(old, pixels)["digit"].ravel(), np.int64)


@pytest.fixture(scope="module")
def made(ask: Asks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Retrained, Path]:
    """A new version after the world has turned, and its folder."""
    there = world.world()
    training, held, window = (
        Rows(part.pixels, part.labels) for part in (there.training, there.held, world.turned(there.earlier))
    )
    folder = tmp_path_factory.mktemp("retrained") / "model"
    return retrained(training, held, window, ask, folder), folder


def test_it_is_better_where_the_world_has_moved(made: tuple[Retrained, Path]) -> None:
    """Right far more often on turned rows that it never saw, with nothing lost that may not be."""
    found, _ = made
    assert found.verdict.is_better, found.verdict.objections
    assert found.verdict.new.after > found.verdict.new.before + 0.2
    assert found.metrics["accuracy"] == found.verdict.new.after
    assert sum(one.rows for one in found.verdict.slices) == found.verdict.new.rows


def test_its_folder_is_what_is_registered(made: tuple[Retrained, Path]) -> None:
    """An artifact with its signature, and what it was made from."""
    found, folder = made
    assert sorted(file.name for file in folder.iterdir()) == [
        "example.json", "model.pt2", "signature.json", "training.json"
    ]  # fmt: skip
    said = json.loads((folder / "training.json").read_text())
    assert said["data_sha256"] == found.trained_on.fingerprint
    assert said["trained_on"] == found.parameters["rows"] == len(found.trained_on)
    assert found.predictions["digit"].shape == (found.verdict.new.rows, 1)


def test_a_world_that_has_not_moved_needs_no_new_version(ask: Asks, tmp_path: Path) -> None:
    """The same kind of rows: nothing is shown to be better, and it says so."""
    there = world.world()
    training, held, window = (Rows(part.pixels, part.labels) for part in (there.training, there.held, there.earlier))
    found = retrained(training, held, window, ask, tmp_path / "model")
    assert any("not shown to be better" in one for one in found.verdict.objections)


def test_nothing_is_trained_where_the_old_version_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked first, for training takes the machine."""
    there = world.world()
    rows = Rows(there.held.pixels, there.held.labels)
    trained: list[object] = []
    monkeypatch.setattr(train, "fitted", lambda *given: trained.append(given))

    def gone(_: object) -> NoReturn:
        raise ControlError("version 1 does not answer", "", 404)

    with pytest.raises(ControlError, match="does not answer"):
        retrained(rows, rows, rows, gone, tmp_path / "model")
    assert trained == []
