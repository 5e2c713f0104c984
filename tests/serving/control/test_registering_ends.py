"""How a registration ends that is killed or cancelled at a bad moment: nothing is left, and what is told is true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serving.control.operations import OperationState
from serving.control.valkey import EmbeddedValkey
from tests.serving.control.workshops import BASE, Room, room


@pytest.fixture
async def here(valkey: EmbeddedValkey, tmp_path: Path) -> AsyncIterator[Room]:
    """A control room on folders of its own."""
    async with room(valkey.url, tmp_path) as opened:
        yield opened


async def kill_in_its_trial(here: Room, monkeypatch: pytest.MonkeyPatch, **more: Any) -> str:  # noqa: ANN401 - JSON
    """The id of a registration whose process was killed while its version was tried, and which nobody has taken up."""
    here.trials.gate = asyncio.Event()
    here.trials.begun.clear()
    begun = (await here.register(here.artifact(), wait_s=0, **more)).json()
    await here.trials.begun.wait()
    operations = here.workshop.operations
    with monkeypatch.context() as dying:

        async def nothing(_digest: str) -> None:
            """A process that is killed cleans nothing up."""

        dying.setattr(here.registrar._bringing, "_let_go", nothing)
        operations._at_once = 0
        run = operations._runs[begun["id"]]
        run.cancel()
        await asyncio.wait({run})
    here.registrar._bringing._held.clear()
    here.trials.gate.set()
    return str(begun["id"])


async def cancelled(here: Room, operation_id: str) -> dict[str, Any]:
    """How it ends when somebody wants that."""
    await here.http.delete(f"/api/v1/operations/{operation_id}")
    here.workshop.operations._at_once = 8
    response = await here.http.get(f"/api/v1/operations/{operation_id}", params={"wait_s": 20})
    ended: dict[str, Any] = response.json()
    return ended


async def test_a_registration_that_was_killed_and_is_cancelled_leaves_no_artifact(
    here: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record says what it had brought in."""
    operation_id = await kill_in_its_trial(here, monkeypatch)
    assert len(here.digests()) == 1
    assert (await cancelled(here, operation_id))["state"] == OperationState.CANCELLED
    assert here.digests() == []


async def test_what_another_version_is_made_of_stays(here: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what nobody holds is taken away."""
    number = await here.registered("a")
    same = here.artifact("b", content=b"a")
    monkeypatch.setattr(here, "artifact", lambda: same)
    operation_id = await kill_in_its_trial(here, monkeypatch, tags={"other": "contents"})
    assert (await cancelled(here, operation_id))["state"] == OperationState.CANCELLED
    assert len(here.digests()) == 1
    assert (await here.http.get(f"{BASE}/versions/{number}")).status_code == 200


async def test_one_that_is_cancelled_after_it_was_recorded_is_done(here: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that exists is told, whoever came too late to stop it."""
    recorded, real = asyncio.Event(), here.workshop.registry.register

    async def hangs(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes
        await real(*args, **named)
        recorded.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(here.workshop.registry, "register", hangs)
    begun = (await here.register(here.artifact(), wait_s=0)).json()
    await recorded.wait()
    ended = await cancelled(here, begun["id"])
    assert (ended["state"], ended["result"]["version"], ended["result"]["created"]) == ("done", 1, True)
    assert here.digests() == [ended["result"]["digest"]]
    assert (await here.http.get(f"{BASE}/versions/1")).status_code == 200


@pytest.mark.parametrize("suffix", [":runner", "g", "/../x", "0"])
async def test_what_is_no_id_is_no_operation(here: Room, suffix: str) -> None:
    """No key of another kind is read by it."""
    here.trials.gate = asyncio.Event()
    begun = (await here.register(here.artifact(), wait_s=0)).json()
    await here.trials.begun.wait()  # so somebody has it, and a key says who
    for method in ("GET", "DELETE"):
        response = await here.http.request(method, f"/api/v1/operations/{begun['id']}{suffix}")
        assert response.status_code == 404, response.text
    here.trials.gate.set()
    ended = await here.http.get(f"/api/v1/operations/{begun['id']}", params={"wait_s": 20})
    assert ended.json()["state"] == "done"
