"""`sluice stop` with nobody there but the store and the gateways; whoever conducts later leaves it as it is."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from router.phases import Phase
from serving.control.errors import ModelStopped
from tests.serving.control.rolling.faults.installation import MODEL, Installation, comes_to, installed
from tests.serving.control.rolling.faults.steady import steadily, versions

CANARY = {"candidate": 2, "canary": {"steps": ["30%", "60%"], "needs": "minima", "hold": "1s", "watch": "1s"}}
STAGES_S = 5.0
"""Longer than all stages together."""


@pytest.mark.slow
@pytest.mark.parametrize("what", [MODEL, "--all"])
async def test_without_api_and_conductor(tmp_path: Path, what: str) -> None:
    """Every gateway gives all to stable and says so, the rollout is over, and a new conductor changes nothing of it."""
    async with installed(tmp_path) as here, steadily(here.ports) as steady:
        await here.conduct()
        record = await here.start(CANARY)
        await comes_to(lambda: here.entered(record, "30 %"), "the first share")
        await here.kill_leader()
        said = await _sluice(here, "stop", what, "--why", "smoke", "--json")
        stopped_s = here.now_s
        assert said["stopped"] == [MODEL]
        assert said["rolled_back"] == [record.id]
        assert said["acknowledged"] == {"of": 2, "by": 2, "expired": [], "waiting": []}
        await here.conduct()
        await comes_to(here.leader, "a conductor")
        await asyncio.sleep(STAGES_S)
        rollout = (await here.now(record)).rollout
        assert rollout.phase is Phase.ROLLED_BACK
        assert "smoke" in rollout.cause
        assert (await here.store.head()).epoch == said["epoch"]
        with pytest.raises(ModelStopped):
            await here.start(CANARY)
        after = steady.since(stopped_s)
        assert versions(after) == {1}
        assert {one.gateway for one in after} == set(here.ports)
        assert steady.failed == []


async def _sluice(here: Installation, *words: str) -> dict[str, object]:
    """What the command says as JSON."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    settings = {"SLUICE_REDIS__URL": here.valkey.url, "SLUICE_REDIS__NAMESPACE": here.namespace}
    command = str(Path(sys.executable).with_name("sluice"))
    process = await asyncio.create_subprocess_exec(
        command, *words, cwd=here.folder, env={**kept, **settings}, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    said: dict[str, object] = json.loads(out)
    return said
