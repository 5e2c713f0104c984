"""A real Valkey for what the sidecar keeps, and an installation on it."""

from collections.abc import AsyncIterator

import pytest

from serving.control.valkey import EmbeddedValkey
from tests.drift.live import Installation
from tests.valkey import valkey

__all__ = ["here", "valkey"]


@pytest.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Installation]:
    """An installation whose version 1 has the small baseline."""
    found = Installation(valkey.url)
    await found.bring()
    yield found
    await found.store.close()
    found.client.close()
    found.keeper.client.close()
