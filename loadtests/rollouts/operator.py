"""What an operator does in the proof, over HTTP: versions brought, rollouts started, moved and taken back."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import httpx

from loadtests.installation import Failed, finished

MODEL = "numbered"
_ARTIFACT = Path(__file__).parents[1] / "flips" / "numbered"
_OPERATION_WITHIN_S = 300.0
_LOOK_S = 0.05
_WITHIN_S = 30.0


class Operator:
    """Somebody at the control API.

    Args:
        control: the API's client, at /api/v1.
        folder: where artifacts may be brought from.
    """

    def __init__(self, control: httpx.AsyncClient, folder: Path) -> None:
        self._control = control
        self._folder = folder

    async def bring(self, version: int) -> None:
        """Registers and deploys a version that says its number."""
        artifact = self._folder / "models" / str(version)
        (artifact / "1").mkdir(parents=True)
        shutil.copyfile(_ARTIFACT / "config.pbtxt", artifact / "config.pbtxt")
        shutil.copyfile(_ARTIFACT / "model.py", artifact / "1" / "model.py")
        (artifact / "1" / "number.txt").write_text(str(version))
        await self.serve(version, artifact)

    async def serve(self, version: int, artifact: Path) -> None:
        """Registers and deploys a version from that folder."""
        registered = {"source": str(artifact), "number": version}
        for path, said in (
            (f"/registry/models/{MODEL}/versions", registered),
            (f"/models/{MODEL}/versions/{version}/deploy", {}),
        ):
            await finished(self._control, await self._control.post(path, json=said), _OPERATION_WITHIN_S)

    async def all_to(self, version: int) -> None:
        """The model's first policy."""
        policy = {"stable": version, "arms": []}
        await self._asked("PUT", f"/models/{MODEL}/policy", {"policy": policy}, match='"0"')

    async def start(self, document: Mapping[str, Any], until: Collection[str]) -> str:
        """The id of a rollout that has begun and come to one of these phases."""
        said = await self._asked("POST", f"/models/{MODEL}/rollouts", {**document, "again": True})
        rollout = str(said["rollout"]["id"])
        await self.comes_to(rollout, until)
        return rollout

    async def comes_to(self, rollout: str, phases: Collection[str]) -> None:
        """Returns once the rollout is in one of these phases."""
        deadline = time.monotonic() + _WITHIN_S
        while True:
            there = await self._asked("GET", f"/rollouts/{rollout}")
            if there["phase"] in phases:
                return
            if time.monotonic() > deadline:
                raise Failed(f"{rollout} is {there['phase']} and not {' or '.join(phases)}: {there['waits']}")
            await asyncio.sleep(_LOOK_S)

    async def set_share(self, rollout: str, version: int, share_ppm: int) -> Mapping[str, Any]:
        """The answer to a share set by hand."""
        return await self._moved("PATCH", f"/rollouts/{rollout}", {"shares": {str(version): f"{share_ppm}ppm"}})

    async def roll_back(self, rollout: str) -> Mapping[str, Any]:
        """The answer to a rollback."""
        return await self._moved("POST", f"/rollouts/{rollout}/rollback", {"why": "the proof"})

    async def approve(self, rollout: str) -> Mapping[str, Any]:
        """The answer to an approval."""
        return await self._moved("POST", f"/rollouts/{rollout}/approve", {})

    async def stable(self) -> int:
        """The version that is stable now."""
        return int((await self._asked("GET", f"/models/{MODEL}/policy"))["policy"]["stable"])

    async def ledger(self) -> list[Mapping[str, Any]]:
        """Every entry, those in the archive as well."""
        answer = await self._control.get("/ledger/export")
        answer.raise_for_status()
        return [json.loads(line) for line in answer.text.splitlines() if line]

    async def _moved(self, method: str, path: str, said: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await self._asked(method, path, said)
        seen = answer["acknowledged"]
        if seen is None or seen["by"] < seen["of"] or seen["waiting"] or seen["expired"]:
            raise Failed(f"{method} {path}: not every gateway has acknowledged: {seen}")
        return answer

    async def _asked(
        self, method: str, path: str, said: Mapping[str, Any] | None = None, *, match: str = "*"
    ) -> dict[str, Any]:
        headers, wait = ({}, {}) if said is None else ({"If-Match": match}, {"wait_s": 10})
        answer = await self._control.request(method, path, json=said, headers=headers, params=wait)
        if answer.status_code >= httpx.codes.BAD_REQUEST:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return dict(answer.json())
