"""A worker with its gRPC port, which is checked after every test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.serving.certificates import Authority, Files
from tests.serving.gateway.grpc.rig import Rig, running


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A worker in front of one fake Triton; at the end nothing may be in flight, and the loop has nothing to say."""
    async with running() as one:
        yield one


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """An authority, and a certificate of its own for 127.0.0.1."""
    return Authority(tmp_path_factory.mktemp("certificates")).issue()
