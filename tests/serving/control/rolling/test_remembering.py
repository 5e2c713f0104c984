"""What went back, and what was stopped, stays so though the store is put back from a copy, or comes up empty."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from router.commands import RollBack
from router.phases import Phase
from serving.control.errors import Deposed, ModelStopped, NotNow
from serving.control.rolling.folder import ledger_folder
from serving.control.rolling.kept import EVERYTHING
from serving.control.rolling.remembering import FILE, Memory, Remembering, decode_memory
from tests.contracts.conftest import Bench
from tests.contracts.test_rollouts_in_store import MODEL as MODEL_THERE
from tests.contracts.test_rollouts_in_store import back, base, begun
from tests.serving.control.rolling.rooms import MODEL, STEPS, Room, fake_room

_KEPT = ("_head", "_blobs", "_lineage", "_ledger", "_rollouts", "_active", "_barred", "_stopped", "_entries_about")


@pytest.fixture
async def room() -> Room:
    """A room in memory."""
    return await fake_room()


def copied(room: Room) -> dict[str, Any]:
    """A copy of what its store holds."""
    return {name: copy.copy(getattr(room.store, name)) for name in _KEPT}


def put_back(room: Room, held: dict[str, Any]) -> None:
    """The store holds that again."""
    for name, value in held.items():
        setattr(room.store, name, copy.copy(value))


async def went_back(room: Room) -> str:
    """A rollout that did; its id."""
    record = await room.start(STEPS)
    await room.tick(1)
    await room.ask(record, RollBack(who="ada", why="it is bad"))
    return record.id


async def test_a_copy_that_is_older_than_the_rollout(room: Room, tmp_path: Path) -> None:
    """The version that went back is not started again, though the store knows nothing of any rollout."""
    remembering = Remembering(room.store, tmp_path, "ours")
    held = copied(room)
    await remembering.look(room.fence)
    rollout = await went_back(room)
    await remembering.look(room.fence)
    put_back(room, held)
    assert await room.store.barred(MODEL) == {}
    found = await Remembering(room.store, tmp_path, "ours").look(room.fence)
    assert found.barred == {(MODEL, 2): rollout}
    with pytest.raises(NotNow, match=rollout):
        await room.start(STEPS)
    await room.start({**STEPS, "again": True})
    [said] = [one.entry for one in await room.entries() if one.entry.kind == "recovery"]
    assert said.facts["barred"] == {f"{MODEL}/2": rollout}
    assert not (await Remembering(room.store, tmp_path, "ours").look(room.fence)).barred


async def test_what_was_begun_before_anybody_looked_is_paused(room: Room, tmp_path: Path) -> None:
    """Whoever started it could not know; the bad version gets nothing until somebody decides."""
    remembering = Remembering(room.store, tmp_path, "ours")
    held = copied(room)
    await went_back(room)
    await remembering.look(room.fence)
    put_back(room, held)
    record = await room.start(STEPS)
    await remembering.look(room.fence)
    await room.tick(30)
    assert (await room.now(record)).rollout.phase is Phase.PAUSED
    assert await room.shares() == {1: 1_000_000}


async def test_a_stop_is_not_forgotten_either(room: Room, tmp_path: Path) -> None:
    """Nothing grows before somebody takes it back."""
    remembering = Remembering(room.store, tmp_path, "ours")
    held = copied(room)
    await room.rollouts.stop(None, who="ada", why="smoke", wait_s=0)
    await remembering.look(room.fence)
    put_back(room, held)
    assert set((await remembering.look(room.fence)).stopped) == {EVERYTHING}
    with pytest.raises(ModelStopped):
        await room.start(STEPS)
    assert (await room.store.stopped())[EVERYTHING].who == "ada"


async def test_what_was_taken_back_properly_stays_taken_back(room: Room, tmp_path: Path) -> None:
    """A bar that somebody insisted against, and a stop that was undone, while this conductor was away."""
    remembering = Remembering(room.store, tmp_path, "ours")
    await went_back(room)
    await room.rollouts.stop([MODEL], who="ada", why="", wait_s=0)
    await remembering.look(room.fence)
    await room.rollouts.unstop(MODEL, who="ada", why="")
    await room.start({**STEPS, "again": True})
    assert await remembering.look(room.fence) == Memory()
    assert (await room.store.barred(MODEL), await room.store.stopped()) == ({}, {})


async def test_who_does_not_lead_writes_nothing_back_and_forgets_nothing(room: Room, tmp_path: Path) -> None:
    """It does once it leads; and a deposed one is refused."""
    remembering = Remembering(room.store, tmp_path, "ours")
    held = copied(room)
    rollout = await went_back(room)
    await remembering.look(None)
    put_back(room, held)
    assert await remembering.look(None) == Memory()
    assert await room.store.barred(MODEL) == {}
    with pytest.raises(Deposed):
        await remembering.look(room.fence - 1)
    assert (await remembering.look(room.fence)).barred == {(MODEL, 2): rollout}


async def test_a_store_remembers_by_its_ledger(bench: Bench) -> None:
    """Whether it has an entry says whether it has forgotten; what it lacks is added, and what it has stays."""
    await base(bench)
    record = await back(bench, await begun(bench))
    there, knows = await bench.store.memory("")
    assert knows
    assert there.barred == {(MODEL_THERE, 2): record.id}
    assert (await bench.store.memory(there.last)) == (there, True)
    assert (await bench.store.memory("99999999999999-0"))[1] is False
    assert (await bench.store.memory("1-7"))[1] is False


def test_a_memory_is_read_back_whole(tmp_path: Path) -> None:
    """And what is none is said to be none."""
    memory = Memory("5-1", {("a/b", 3): "ro_000000000000"})
    assert decode_memory(memory.encode("ours"), "ours") == memory
    for said in ("", "{}", "[]", '{"last": 5}', '{"last": "", "barred": 3, "stopped": {}}'):
        with pytest.raises(ValueError, match=r"."):
            decode_memory(said, "ours")


async def test_a_file_that_nobody_can_read_holds_nothing_up(room: Room, tmp_path: Path) -> None:
    """It is written anew, for its owner alone."""
    (tmp_path / FILE).write_text("{")
    assert await Remembering(room.store, tmp_path, "ours").look(room.fence) == Memory()
    assert decode_memory((tmp_path / FILE).read_text(), "ours").last
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_what_another_installation_stopped_holds_nobody_up(room: Room, tmp_path: Path) -> None:
    """In a state folder that it had before; a file from before it named a namespace has its say."""
    await room.rollouts.stop(None, who="ada", why="smoke", wait_s=0)
    await Remembering(room.store, tmp_path, "theirs").look(room.fence)
    ours = await fake_room()
    assert await Remembering(ours.store, tmp_path, "ours").look(ours.fence) == Memory()
    assert await ours.store.stopped() == {}
    await Remembering(room.store, tmp_path, "ours").look(room.fence)
    plain = json.loads((tmp_path / FILE).read_text())
    assert plain.pop("namespace") == "ours"
    (tmp_path / FILE).write_text(json.dumps(plain))
    assert set((await Remembering(ours.store, tmp_path, "ours").look(ours.fence)).stopped) == {EVERYTHING}


def test_every_namespace_has_a_folder_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who finds another one's in the state folder takes one beside it; one that nobody has marked is taken."""
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "2026-01.jsonl").write_text("")
    first = ledger_folder(tmp_path, "first")
    assert first == tmp_path / "ledger"
    second = ledger_folder(tmp_path, "second")
    assert second == tmp_path / "ledger-second"
    assert "of namespace 'first'" in caplog.text
    assert (ledger_folder(tmp_path, "first"), ledger_folder(tmp_path, "second")) == (first, second)


def test_a_state_folder_that_cannot_be_written_to_keeps_nobody_from_serving(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a line in the log."""
    (tmp_path / "file").write_text("")
    assert ledger_folder(tmp_path / "file", "ours") == tmp_path / "file" / "ledger"
    assert "cannot be told" in caplog.text
