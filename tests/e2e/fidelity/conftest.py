"""What the fidelity tests share: one Triton and one gateway for the session, and what Triton is known to answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.recording import Recording, recorded
from tests.conformance.servers import Pair
from tests.conformance.servers import pair as running


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers, with all models."""
    with running(tmp_path_factory.mktemp("fidelity")) as both:
        yield both


@pytest.fixture(scope="session")
def recording() -> Iterator[Recording]:
    """What Triton 2.51 answered to what kills it, when it was last recorded."""
    with recorded(Path(__file__).with_name("recorded.json")) as kept:
        yield kept
