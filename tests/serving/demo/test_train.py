"""The demo's models are trained on real rows, the same each time, and judged on rows that they never saw."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from serving.demo import train as demo
from serving.triton.layout import read_signature


@pytest.fixture
def models(digits: demo.DemoModels) -> demo.DemoModels:
    """Both versions."""
    return digits


def test_both_versions_are_good_and_the_second_is_better(models: demo.DemoModels) -> None:
    """On the 300 rows both versions are right far more often than by chance, the second more often than the first."""
    accuracy = {version: training.accuracy for version, training in models.trainings.items()}
    assert accuracy[1] > 0.9
    assert accuracy[2] > accuracy[1]


def test_the_held_out_rows_were_not_trained_on() -> None:
    """All rows of the data set are on one side of the split, each once."""
    split = demo._digits()
    assert len(split.held_labels) == demo.HELD_OUT
    assert len(split.labels) + len(split.held_labels) == 1_797


def test_the_artifacts_are_complete(models: demo.DemoModels) -> None:
    """Each version's folder says what it takes and gives, how it was made, and holds an example request."""
    for version, folder in models.versions.items():
        signature = read_signature((folder / "signature.json").read_bytes())
        assert [tensor.name for tensor in signature.outputs] == ["scores", "digit"]
        assert json.loads((folder / "training.json").read_text())["version"] == version
        assert json.loads((folder / "example.json").read_text())["inputs"][0]["shape"] == [1, 64]
    with np.load(models.rows) as rows:
        assert rows["pixels"].shape == (300, 64)
        assert rows["pixels"].dtype == np.float32


def test_an_exported_version_answers_any_number_of_rows_as_measured(models: demo.DemoModels) -> None:
    """Loaded from its file, a version gets exactly the share right that its training.json says, one row or many."""
    import torch  # noqa: PLC0415

    with np.load(models.rows) as rows:
        pixels, labels = torch.from_numpy(rows["pixels"]), rows["labels"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(models.versions[2] / "model.pt2").module()
    scores, digits = program(pixels)
    assert (digits.squeeze(1).numpy() == labels).mean() == models.trainings[2].accuracy
    one, _ = program(pixels[:1])
    assert torch.allclose(one, scores[:1], atol=1e-6)


def test_training_is_the_same_each_time(models: demo.DemoModels, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process drew before, a version comes out with the same weights."""
    import torch  # noqa: PLC0415

    torch.rand(7)
    monkeypatch.setattr(demo, "export", lambda *_: None)
    again = demo._make(1, demo._digits(), Path(), lambda: None)
    assert again == models.trainings[1]


def test_the_command_line_wants_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a folder the command says how it is used and exits with 2."""
    assert demo.main([]) == 2
    assert "usage" in capsys.readouterr().err
