"""What the tests of the gateway share: uvloop, as in production, and a worker that is checked after every test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.serving.gateway.rig import Rig, running
from tests.valkey import valkey

__all__ = ["rig", "valkey"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop of production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A worker in front of one upstream; at the end nothing may be in flight, and the loop has nothing to say."""
    async with running() as one:
        yield one
