"""Something is killed in the middle of a flip: the end is what was asked for, and no request fails that need not.

The version that serves has two replicas, so one that is killed leaves one; the version that comes has no traffic yet.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from tests.e2e.room import Room, flip_room
from tests.e2e.system import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]

TWO = {"replicas": 2}
WITHIN_S = 240.0
"""Two servers of each version, and one of each that has to come once more, on two cores."""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Up for all of these tests."""
    with flip_room(tmp_path_factory.mktemp("killed"), TWO) as room:
        yield room


def servers(room: Room, version: int) -> list[psutil.Process]:
    """The tritonservers of the version."""
    return [one for one in room.installation.processes(f"digits-{version}-") if one.name() == "tritonserver"]


def stubs(room: Room, version: int) -> list[psutil.Process]:
    """What runs its Python."""
    words = f"digits-{version}-"
    return [one for one in room.installation.processes(words) if one.name().startswith("triton_python")]


def replicas(room: Room, version: int) -> list[psutil.Process]:
    """The replicas of its pool: each is its server's parent."""
    return [parent for one in servers(room, version) if (parent := one.parent()) is not None]


def killed(find: Callable[[], list[psutil.Process]], what: str) -> None:
    """Kills the first of them, as soon as there is one."""
    victim = until(find, what)[0]
    victim.send_signal(signal.SIGKILL)
    psutil.wait_procs([victim], timeout=10)


VICTIMS = {"tritonserver": servers, "stub": stubs, "replica": replicas}


@pytest.mark.parametrize("victim", VICTIMS)
def test_both_sides_of_a_flip_lose_one(room: Room, victim: str) -> None:
    """One of the two that serve, and the one that is coming: replaced, the flip is done, and no client noticed."""
    find = VICTIMS[victim]
    [before] = room.shares()
    after = 3 - before
    until(lambda: room.versions()[before]["ready"] == 2, "both replicas of the version that serves", WITHIN_S)
    with room.hammer() as hammer:
        operation = room.begin("/models/digits/promote", {"version": after, "options": TWO})
        killed(lambda: find(room, after), f"a {victim} of the version that comes")
        killed(lambda: find(room, before), f"a {victim} of the version that serves")
        ended = room.ended(operation, WITHIN_S)
        flipped_s = time.monotonic()
        time.sleep(0.5)
    assert ended["state"] == "done", ended
    assert hammer.failures == []
    assert {answer.version for answer in hammer.since(flipped_s)} == {after}
    assert room.shares() == {after: 1_000_000}
    until(lambda: room.versions()[after]["ready"] == 2, "both replicas of the version that came", WITHIN_S)
    until(lambda: not servers(room, before), "the end of the version that went")


def test_the_control_room_dies_at_every_step_of_a_flip(room: Room) -> None:
    """SIGKILL whenever the flip says something new: it is done all the same, and no client noticed."""
    [before] = room.shares()
    after = 3 - before
    with room.hammer() as hammer:
        operation = room.begin("/models/digits/promote", {"version": after, "options": TWO})
        said: set[str] = set()
        while (found := room.get(f"/operations/{operation}"))["state"] not in {"done", "failed", "cancelled"}:
            if found["words"] and found["words"] not in said:
                said.add(found["words"])
                killed(room.control_replicas, "the control room's process")
            time.sleep(0.02)
    assert found["state"] == "done", found
    assert len(said) >= 2, said
    assert hammer.failures == []
    assert room.shares() == {after: 1_000_000}
    until(lambda: not servers(room, before), "the end of the version that went")
