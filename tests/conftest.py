"""What tests of several rooms share: the demo's models, the thorough profile, and what runs beside what."""

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


@pytest.hookimpl(tryfirst=True)  # the groups are read by the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes: files stay together; what starts Ray comes first, one by one."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
    for item in items:
        alone = item.get_closest_marker("e2e") is not None
        item.add_marker(pytest.mark.xdist_group("e2e" if alone else item.nodeid.partition("::")[0]))
