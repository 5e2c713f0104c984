"""What `sluice up` does without starting anything; the whole of it is started in tests/e2e."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from serving.errors import StartFailed
from serving.local import _begin_ray

_UP = """
import contextlib, sys
from serving import local
from serving.errors import SluiceError, StartFailed
from serving.settings import Settings

def broken(*_):
    raise {error}

local.running = contextlib.contextmanager(broken)
try:
    local.up(Settings(state_dir=sys.argv[1]), detach=True)
except SluiceError as error:
    print(error.sentence, error.hint)
"""


@pytest.mark.parametrize(
    ("error", "says", "logged"),
    [
        ("ZeroDivisionError('nobody thought of this')", "It ended before it was ready.", "nobody thought of this"),
        ("StartFailed('No port.', 'Name one.')", "No port. Name one.", ""),
        ("KeyboardInterrupt", "It ended before it was ready.", ""),
    ],
)
def test_what_nobody_expected_is_in_the_log_of_the_detached(tmp_path: Path, error: str, says: str, logged: str) -> None:
    """With its traceback, to which the sentence leads; what was expected, or asked for, has none."""
    command = [sys.executable, "-c", _UP.format(error=error), str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    log = tmp_path / "up.log"
    assert says in ran.stdout
    assert (str(log) in ran.stdout) == says.startswith("It ended")
    said = log.read_text()
    assert (logged in said, "Traceback (most recent call last)" in said) == (True, bool(logged))


class _Ray(ModuleType):
    """Ray, as far as it is started here: fails so many times first, with the bare class as Ray does."""

    def __init__(self, failures: int) -> None:
        super().__init__("ray")
        self.failures = failures
        self.started = 0
        self.ended = 0

    def init(self, **_: object) -> None:
        """Starts, or does not."""
        self.started += 1
        if self.started <= self.failures:
            raise Exception("The current node timed out during startup.\nmore")  # noqa: TRY002 - Ray's own

    def shutdown(self) -> None:
        """Takes down what stands of it."""
        self.ended += 1


def test_an_own_ray_that_misses_its_time_gets_a_second_try() -> None:
    """On a busy machine its agents may be late once; what stood of the first try is taken down before the second."""
    ray = _Ray(failures=1)
    _begin_ray(ray, {"address": "local"})
    assert (ray.started, ray.ended) == (2, 1)


@pytest.mark.parametrize(("address", "tries"), [("local", 2), ("10.0.0.1:6379", 1)])
def test_a_ray_that_does_not_start_is_told_in_a_sentence(address: str, tries: int) -> None:
    """Ray's own first line, no traceback; somebody else's cluster is not asked twice."""
    ray = _Ray(failures=9)
    with pytest.raises(StartFailed, match=r"Ray did not start: The current node timed out during startup\."):
        _begin_ray(ray, {"address": address})
    assert ray.started == tries
