"""What tests of several rooms share: the demo's models, which take long to train, and the thorough profile."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import settings

from serving.demo.train import MODEL, DemoModels, Training
from tests.examples import THOROUGH

settings.register_profile(THOROUGH)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> DemoModels:
    """Both versions of the demo's model, trained once by its own command; nobody may write to their folders."""
    out = tmp_path_factory.mktemp("models")
    subprocess.run([sys.executable, "-m", "serving.demo.train", str(out)], check=True, capture_output=True)
    versions = {version: out / MODEL / str(version) for version in (1, 2)}
    trainings = {
        version: Training(**json.loads((folder / "training.json").read_text())) for version, folder in versions.items()
    }
    return DemoModels(MODEL, versions, out / MODEL / "rows.npz", trainings)
