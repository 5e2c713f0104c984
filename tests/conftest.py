"""What tests of several rooms share: the demo's models, the thorough profile, and what runs beside what."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from serving.demo.train import MODEL, DemoModels, Training
from serving.triton import scratch
from tests.examples import SHORT, THOROUGH

_SAME_DRAWS = "CI" in os.environ
"""Whether properties are tried on the same examples each time: what lets a change in draws no lots."""

for _profile in (SHORT, THOROUGH):  # how fast a machine is, is nothing that a property says
    settings.register_profile(
        _profile, settings(), deadline=None, derandomize=_SAME_DRAWS, suppress_health_check=[HealthCheck.too_slow]
    )
settings.load_profile(SHORT)
_BEGAN_S = time.time()


@pytest.fixture(autouse=True)
def _log_of_its_own() -> Iterator[None]:
    """A process's `main` that a test calls logs to that test's streams, where no other test is to find them."""
    level = logging.root.level
    yield
    for handler in logging.root.handlers[:]:
        if type(handler) is logging.StreamHandler:  # pytest's own are of kinds of their own
            logging.root.removeHandler(handler)
    logging.root.setLevel(level)


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


_TOGETHER = ("tests/e2e/", "tests/serving/control/importing/")
"""What starts Ray runs one by one; and tests that ask one MLflow server run where it is."""
_BY_FILE = ("tests/e2e/fidelity/", "tests/e2e/test_triton.py", "tests/e2e/test_trials.py")
"""They start Tritons, and no Ray."""


class Rooms(LoadScopeScheduling):  # type: ignore[misc]  # it has no types of its own
    """Where tests run in several processes: a file stays together, and so do some folders."""

    def _split_scope(self, nodeid: str) -> str:
        folders = () if nodeid.startswith(_BY_FILE) else _TOGETHER
        return next((folder for folder in folders if nodeid.startswith(folder)), nodeid.partition("::")[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first. Ray reads its environment when it is imported, and tests set that before."""
    if "ray" in sys.modules:
        raise pytest.UsageError("A test imports Ray as soon as it is collected: import it where it is used.")
    items.sort(key=_turn)


_SHARED = ("ray_cluster", "demo")
"""What several files of tests/e2e share: it is up from the first that needs it until the last of that folder."""


def _turn(item: pytest.Item) -> int:
    if not item.nodeid.startswith("tests/e2e/"):
        return len(_SHARED) + 1
    needed = getattr(item, "fixturenames", ())
    return max((turn for turn, name in enumerate(_SHARED, 1) if name in needed), default=0)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Servers that were killed while others ran have left folders in /tmp; by now nobody can be using them."""
    if not hasattr(session.config, "workerinput"):
        scratch.remove_orphans(_BEGAN_S)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Rooms:
    """Part of pytest-xdist."""
    return Rooms(config, log)
