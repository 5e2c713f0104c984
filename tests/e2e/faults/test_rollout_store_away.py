"""The store is away for half a minute in the middle of a rollout, by the times that an installation has by default."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serving.control.rolling.faults.installation import installed
from tests.serving.control.rolling.faults.test_store_away import Away, goes_on_without, gone, silent

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

AWAY_S = 30.0


@pytest.mark.parametrize("away", [silent, gone])
async def test_half_a_minute(tmp_path: Path, away: Away) -> None:
    """Requests are answered as they were, none fails, no share grows; then the rollout goes on to its end."""
    async with installed(tmp_path, gateways=3, lease_s=3.0, poll_s=1.0) as here:
        await goes_on_without(here, away, AWAY_S)
