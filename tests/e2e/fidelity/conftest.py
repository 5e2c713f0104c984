"""What the fidelity tests share: one Triton and one gateway for the session, and what Triton is known to answer."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.e2e.fidelity.recording import RECORD, Recording
from tests.e2e.fidelity.servers import Pair
from tests.e2e.fidelity.servers import pair as running


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers, with all models."""
    with running(tmp_path_factory.mktemp("fidelity")) as both:
        yield both


@pytest.fixture(scope="session")
def recording() -> Iterator[Recording]:
    """What Triton 2.51 answered when it was last recorded; written anew where the environment says so."""
    kept = Recording(renew=bool(os.environ.get(RECORD)))
    yield kept
    kept.close()
