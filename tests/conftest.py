"""What tests of several rooms share: the demo's models, the thorough profile, and what runs beside what."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

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


class Rooms(LoadScopeScheduling):  # type: ignore[misc]  # it has no types of its own
    """Where tests run in several processes: a file stays together, and what starts Ray runs one by one."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/e2e" if nodeid.startswith("tests/e2e/") else nodeid.partition("::")[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/e2e/"))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Rooms:
    """Part of pytest-xdist."""
    return Rooms(config, log)
