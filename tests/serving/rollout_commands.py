"""What the tests of commands on rollouts share: an API that answers, and a file to start one from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.fake_rollouts import FakeRollouts, serving

ONE = "/api/v1/rollouts/ro_0123456789ab"
FILE = """\
model: digits
candidate: 2
canary:
  steps: [1%, 5%, 25%, 50%]
  hold: 10m
  min_requests: 1000
  approve: [50%]
  watch: 1d
"""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRollouts]:
    """An API on a port of its own, which SLUICE_URL names; the folder holds nothing but a rollout.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    Path("rollout.yaml").write_text(FILE)
    api = FakeRollouts()
    with serving(api) as address:
        monkeypatch.setenv("SLUICE_URL", address)
        yield api
