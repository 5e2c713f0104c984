"""A conductor that dies anywhere in an episode is followed by one that goes on: no action lost, and none done twice.

Every call of the store is a place to die: before it (nothing was asked), or after it (the store did it and nobody
heard). An episode is first taken without a death, to count the calls; then once for each of them, with a death there,
and everything new after it, under a new lead.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from drift.attribution import Act
from drift.findings import Finding
from drift.keys import DriftKeys
from drift.reading import Layer
from drift.settings import DriftSettings
from drift.status import Status
from router.phases import Phase
from serving.control.errors import NotNow
from serving.control.fake_store import FakeStore
from serving.control.rolling.drift_episodes import Episodes
from serving.control.rolling.drift_findings import FindingsHeard
from serving.control.rolling.drift_incidents import Incidents
from serving.control.rolling.service import Rollouts
from serving.control.valkey import EmbeddedValkey
from tests.drift.incidents import CANDIDATE, STABLE, finding, status
from tests.serving.control.rolling.rooms import STEPS, Room, fake_room, valkey_room
from tests.serving.control.rolling.test_crashes import Death
from tests.serving.control.rolling.test_drift_incidents import HOOKS, TIMES
from tests.serving.drifting import BROKEN
from tests.valkey import valkey

__all__ = ["valkey"]

_STEP_S = 30.0
_ROUNDS = 3


class Deadly:
    """A store whose nth call, counted from when it is armed, is the last; its time goes forward as a test says.

    Args:
        store: that does it.
    """

    def __init__(self, store: Any) -> None:  # noqa: ANN401 - either store
        self._inner = store
        self.later_s = 0.0
        self.calls = 0
        self.dies_at = 0
        self.does_it_first = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        there = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(there):
            return there

        async def call(*args: Any, **more: Any) -> Any:  # noqa: ANN401
            self.calls += 1
            dies = self.calls == self.dies_at
            if dies and not self.does_it_first:
                raise Death
            answer = await there(*args, **more)
            if dies:
                raise Death
            return replace(answer, now_s=answer.now_s + self.later_s) if name == "look" else answer

        return call


@dataclass
class Episode:
    """One room with a rollout in progress, and what its sidecar finds."""

    room: Room
    store: Deadly
    act: Act
    broken: bool
    fence: int = 0

    async def lead(self, name: str) -> None:
        """Another conductor leads, with everything new."""
        await self.room.store.resign("tests")
        self.fence = await self.room.store.lead(name, 600) or 0
        await self.room.store.resign(name)

    def made(self) -> tuple[FindingsHeard, Incidents, Episodes]:
        """Everybody who has to do with drift, with nothing remembered."""
        traffic = self.room.service.traffic
        rollouts = Rollouts(self.store, traffic, self.room.post, walks=self.room.walker)
        settings = DriftSettings.model_validate({**TIMES, "act": self.act})
        incidents = Incidents(self.store, HOOKS, settings, self.room.walker)
        hearing = FindingsHeard(self.store, rollouts, HOOKS, incidents)
        return hearing, incidents, Episodes(self.store, incidents, HOOKS, traffic)

    async def finds(self, one: Finding) -> None:
        """As a sidecar writes it."""
        store = self.room.store
        if isinstance(store, FakeStore):
            await store.sidecar_finds(one)
        else:
            await store._redis.xadd(DriftKeys(store.keys.namespace).findings, {"f": json.dumps(one.plain())})

    async def tells(self, *statuses: Status) -> None:
        """As a sidecar writes them."""
        store = self.room.store
        for one in statuses:
            said = replace(one, last_s=(await store.look()).now_s + self.store.later_s)
            if isinstance(store, FakeStore):
                await store.sidecar_tells(said)
            else:
                keys = DriftKeys(store.keys.namespace)
                await store._redis.hset(keys.status, f"{said.model}/{said.version}", json.dumps(said.plain()))

    async def goes(self) -> None:
        """Round by round: what was found is heard, all versions are looked at, and an operator approves what waits."""
        hearing, incidents, episodes = self.made()
        for _ in range(_ROUNDS):
            await hearing.hear(self.fence)
            await incidents.look_at_all(self.fence)
            for one in await episodes.open():
                if one.pending.acts:
                    with suppress(NotNow):
                        await episodes.approve(one.identity, who="ada", why="it is so")
            await self.passes()

    async def passes(self) -> None:
        """Time, in which two windows of each version close."""
        self.store.later_s += _STEP_S
        windows = 10 + 2 * round(self.store.later_s / _STEP_S)
        raised = (Layer.PREDICTION, *([Layer.SCHEMA] if self.broken else []))
        await self.tells(status(STABLE, windows), status(CANDIDATE, windows, *raised))

    async def came_of_it(self) -> Any:  # noqa: ANN401 - compared only
        """What the ledger says, what webhooks are to hear, and where the rollout and the episode stand."""
        store = self.room.store
        entries = [one.entry for one in await self.room.entries()]
        about = [one for one in entries if one.kind == "drift"]
        jobs = await store.jobs(await store.due_jobs())
        (record,) = await store.rollouts(None, 10)
        (incident,) = await store.incidents(10)
        paused = [one.facts["what"] for one in entries if one.facts.get("what") == "pause"]
        return {
            "ledger": [(one.facts["event"], one.who, bool(one.facts.get("paused"))) for one in about],
            "told": sorted(json.loads(one.entry)["facts"]["event"] for one in jobs),
            "rollout": (record.rollout.phase, paused),
            "episode": (incident.told, incident.acted, incident.pending, incident.alerted, len(incident.findings)),
        }


@asynccontextmanager
async def in_memory() -> AsyncIterator[Room]:
    """A room without a server."""
    yield await fake_room()


@asynccontextmanager
async def begun(where: AbstractAsyncContextManager[Room], act: Act, *, broken: bool) -> AsyncIterator[Episode]:
    """An episode: only the candidate's answers moved; or its schema broke as well."""
    async with where as room:
        episode = Episode(room, Deadly(room.store), act, broken)
        room.fence = await room.store.lead("tests", 600) or 0
        await room.start(STEPS)
        await room.tick(1)
        await episode.lead("first")
        await episode.tells(status(STABLE, 10), status(CANDIDATE, 10, Layer.PREDICTION))
        await episode.finds(finding(CANDIDATE, Layer.PREDICTION))
        if broken:
            await episode.finds(BROKEN)
        yield episode


async def taken(where: AbstractAsyncContextManager[Room], act: Act, *, broken: bool, at: int, after: bool) -> Any:  # noqa: ANN401
    """What comes of it with a death at that call, 0 for none; and how many calls there were."""
    async with begun(where, act, broken=broken) as episode:
        episode.store.dies_at, episode.store.does_it_first = at, after
        if at:
            with suppress(Death):
                await episode.goes()
            episode.store.dies_at = 0
            await episode.lead("second")
        await episode.goes()
        return await episode.came_of_it(), episode.store.calls


@pytest.mark.parametrize("broken", [False, True], ids=["answers", "schema"])
@pytest.mark.parametrize("act", [Act.APPROVE, Act.ACT])
async def test_a_death_at_any_call_changes_nothing(act: Act, *, broken: bool) -> None:
    """In memory: each call, before and after it."""
    whole, calls = await taken(in_memory(), act, broken=broken, at=0, after=False)
    _is_right(whole, act, broken=broken)
    for at in range(1, calls + 1):
        for after in (False, True):
            found, _ = await taken(in_memory(), act, broken=broken, at=at, after=after)
            assert found == whole, f"it died {'after' if after else 'before'} call {at}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("broken", [False, True], ids=["answers", "schema"])
@pytest.mark.parametrize("act", [Act.APPROVE, Act.ACT])
async def test_a_death_at_any_call_changes_nothing_on_a_server(
    valkey: EmbeddedValkey, act: Act, *, broken: bool
) -> None:  # fmt: skip
    """On a real Valkey."""
    whole, calls = await taken(valkey_room(valkey), act, broken=broken, at=0, after=False)
    _is_right(whole, act, broken=broken)
    for at in range(1, calls + 1):
        for after in (False, True):
            found, _ = await taken(valkey_room(valkey), act, broken=broken, at=at, after=after)
            assert found == whole, f"it died {'after' if after else 'before'} call {at}"


def _is_right(whole: Any, act: Act, *, broken: bool) -> None:  # noqa: ANN401
    """That the episode which others are compared with is what it should be."""
    events = [event for event, _, _ in whole["ledger"]]
    if broken:
        assert sorted(events) == ["alert", "finding", "finding", "paused"]
        assert whole["rollout"] == (Phase.PAUSED, ["pause"])
        assert whole["told"] == ["alert", "paused"]
        return
    asked = ["recommend"] if act is Act.APPROVE else []
    assert events == ["finding", *asked, "rollback"]
    assert whole["told"] == sorted([*asked, "rollback"])
