"""What an operator does in the proof: begins rollouts by the product's own command, and reads how they stand."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from loadtests.installation import Failed, Installation

_SLUICE = str(Path(sys.executable).with_name("sluice"))
_LOOK_S = 0.2
_COMMAND_WITHIN_S = 60.0

Standing = Mapping[str, Any]
"""A rollout as the API shows it."""
Entry = Mapping[str, Any]
"""An entry of the ledger."""


class Operator:
    """Somebody at the command line, and at the control API.

    Args:
        running: the installation.
        control: the API's client, at /api/v1.
    """

    def __init__(self, running: Installation, control: httpx.AsyncClient) -> None:
        self._running = running
        self._control = control

    async def start(self, model: str, candidate: int, canary: str, hold: str) -> str:
        """The id of a rollout that has begun: `sluice rollout start` with steps and their time, and no more than that.

        Raises:
            Failed: it was refused.
        """
        words = ("rollout", "start", model, "--candidate", str(candidate), "--canary", canary, "--hold", hold)
        said = await self._typed(*words, "--again", "--json")
        return str(json.loads(said)["rollout"]["id"])

    async def standing(self, rollout: str) -> Standing:
        """How it stands."""
        return await self._asked("GET", f"/rollouts/{rollout}")

    async def comes_to(self, rollout: str, good: Callable[[Standing], bool], what: str, within_s: float) -> Standing:
        """How it stands as soon as this is true of it.

        Raises:
            Failed: that does not happen in time, or it is over before.
        """
        deadline = time.monotonic() + within_s
        while not good(there := await self.standing(rollout)):
            if there["over"] or time.monotonic() > deadline:
                raise Failed(f"{rollout} is {told(there)} and not {what}")
            await asyncio.sleep(_LOOK_S)
        return there

    async def story(self, rollout: str) -> Sequence[Entry]:
        """What the ledger says of it, oldest first."""
        return list((await self._asked("GET", f"/rollouts/{rollout}/why"))["entries"])

    async def hears(self, rollout: str, event: str, within_s: float) -> Sequence[Entry]:
        """The same, as soon as an entry says that this happened; without one where that is not in time."""
        deadline = time.monotonic() + within_s
        while True:
            story = await self.story(rollout)
            if time.monotonic() > deadline or any(one["facts"].get("event") == event for one in story):
                return story
            await asyncio.sleep(_LOOK_S)

    async def restore(self, model: str) -> None:
        """No rollout in progress, and version 1 alone."""
        for one in (await self._asked("GET", f"/models/{model}/rollouts"))["rollouts"]:
            if not one["over"]:
                await self._asked("POST", f"/rollouts/{one['id']}/rollback", {"why": "the scenario is over"})
        policy = (await self._asked("GET", f"/models/{model}/policy"))["policy"]
        if policy["stable"] != 1 or policy["arms"]:
            await self._asked("PUT", f"/models/{model}/policy", {"policy": {"stable": 1, "arms": []}})

    async def is_up(self, model: str, version: int, replicas: int, within_s: float) -> None:
        """Returns once so many replicas of the version are ready.

        Raises:
            Failed: they are not, in time.
        """
        deadline = time.monotonic() + within_s
        while True:
            endpoints = (await self._asked("GET", "/status"))["endpoints"]
            ready = sum((one["model"], one["version"]) == (model, version) for one in endpoints)
            if ready == replicas:
                return
            if time.monotonic() > deadline:
                raise Failed(f"{ready} of {replicas} replicas of {model}/{version} are ready after {within_s:g} s")
            await asyncio.sleep(_LOOK_S)

    async def _typed(self, *words: str) -> str:
        command = await asyncio.create_subprocess_exec(
            _SLUICE, *words, cwd=self._running.folder, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, error = await asyncio.wait_for(command.communicate(), _COMMAND_WITHIN_S)
        except TimeoutError:
            command.kill()
            raise Failed(f"`sluice {' '.join(words)}` did not end within {_COMMAND_WITHIN_S:g} s") from None
        if command.returncode:
            raise Failed(f"`sluice {' '.join(words)}`: {error.decode().strip() or out.decode().strip()}")
        return out.decode()

    async def _asked(self, method: str, path: str, said: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers, wait = ({}, {}) if said is None else ({"If-Match": "*"}, {"wait_s": 10})
        answer = await self._control.request(method, path, json=said, headers=headers, params=wait)
        if answer.is_error:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return dict(answer.json())


def told(there: Standing) -> str:
    """How a rollout stands, in words."""
    why = there["cause"] or "; ".join(there["waits"])
    return f"{there['phase']} at {there['stage'] or 'no stage yet'}{f' ({why})' if why else ''}"
