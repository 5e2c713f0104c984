"""What the tests of rollouts share: a store with one model, gateways that follow it, and the loop by hand."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from router.commands import Command
from router.epoch import Head
from serving.control.fake_store import FakeStore
from serving.control.publishing import Recorded
from serving.control.rolling.document import document_from
from serving.control.rolling.gates import Gatekeeper
from serving.control.rolling.hooks import Courier
from serving.control.rolling.records import Record
from serving.control.rolling.service import Rollouts
from serving.control.rolling.views import RolloutChange
from serving.control.rolling.walker import Walker
from serving.control.service import ControlService
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Endpoint
from serving.leases import GatewayLease
from serving.store_keys import Keys
from serving.totals import Message, SeriesTotals
from tests.valkey import Gateway

MODEL = "digits"
VERSIONS = (1, 2, 3)
STEPS = {"candidate": 2, "canary": {"steps": ["1%", "25%"], "hold": "10s", "watch": "30s", "needs": "minima"}}
FLIP = {"candidate": 2, "blue_green": {"bake": "0s", "approval": False, "keep_warm": "10s"}}


class Clock:
    """Seconds that go forward when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


class Post:
    """Where gates and hooks live: it answers what a test has set, and remembers what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.sent: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.refuses = ""

    def check(self, url: str) -> None:
        """Everything may be called."""

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """What was set."""
        self.sent.append((url, body, headers))
        return self.status


class GatewaySide(Protocol):
    """What a gateway does to a store."""

    def gateway_says(self, lease: GatewayLease, ttl_s: float) -> None:
        """Renews its lease."""

    async def gateway_tells(self, said: bytes) -> None:
        """Tells what it has counted."""


@dataclass
class Room:
    """One model, its rollouts, and the loop, a tick at a time."""

    store: Any
    side: GatewaySide
    clock: Clock
    post: Post
    service: ControlService
    rollouts: Rollouts
    walker: Walker
    gates: Gatekeeper
    fence: int = 0
    set_s: float = 0.0
    requests: dict[str, int] = field(default_factory=dict)
    copied: dict[str, int] = field(default_factory=dict)
    counted: dict[int, tuple[dict[str, int], dict[int, int], dict[int, int]]] = field(default_factory=dict)
    tells: bool = True

    async def follow(self, name: str = "g1", *, boot: str = "b", head: Head | None = None, reader: int = 2) -> None:
        """A gateway takes the head and says so."""
        shown = head or await self.store.head()
        lease = GatewayLease(
            name, boot, 7, "h", 8000, shown.epoch, shown.digest, requests=self.requests, copied=self.copied,
            reader=reader,
        )  # fmt: skip
        self.side.gateway_says(lease, 1e6)
        await self.tell(f"{name} {boot}", shown.epoch)

    async def tell(self, gateway: str, epoch: int, **more: Any) -> None:  # noqa: ANN401 - what a message may say
        """A gateway tells all that it has counted, of every version at one replica each."""
        if not self.tells:
            return
        series = tuple(SeriesTotals(MODEL, version, f"r{version}", *counts) for version, counts in self.counted.items())
        await self.side.gateway_tells(Message(gateway, epoch, series, whole=True, **more).encode())

    def serves(self, version: int, ok: int = 0, *, failed: int = 0, bucket: int = 200) -> None:
        """So many more first attempts at a version; they take as long as that bucket says."""
        outcomes, answered, unanswered = self.counted.setdefault(version, ({}, {}, {}))
        for name, count in (("ok", ok), ("server_error", failed)):
            outcomes[name] = outcomes.get(name, 0) + count
        answered[bucket] = answered.get(bucket, 0) + ok + failed
        self.requests[f"{MODEL}/{version}"] = sum(outcomes.values())
        del unanswered

    async def start(self, document: Mapping[str, Any], **more: Any) -> Record:  # noqa: ANN401
        """Starts a rollout; the record."""
        done = await self.rollouts.start(MODEL, document_from(dict(document)), who="ada", **more)
        return done.view.record

    async def tick(self, seconds: float = 0.0) -> None:
        """Time passes, gateways follow, and the loop looks once; what it does beside its ticks is done."""
        self.clock.now_s += seconds
        await self.follow()
        await self.walker.tick(self.fence)
        await self.settled()

    def set_clock(self, by_s: float) -> None:
        """Somebody sets the store's clock; a walker that subtracts `set_s` measures time by itself."""
        self.clock.now_s += by_s
        self.set_s += by_s

    async def settled(self) -> None:
        """Flips and questions that are under way come to their end, gateways following all along."""
        for _ in range(1_000):
            flips = [one.flip for one in self.walker._memories.values() if one.flip is not None and not one.flip.done()]
            if not flips and not self.gates._asking and not self.walker.propagation.waits:
                return
            await self.follow()
            await asyncio.sleep(0.002)
        raise AssertionError("what was begun did not end")

    async def walked(self, record: Record, seconds: float = 200.0, step_s: float = 1.0) -> Record:
        """The rollout once it is over, or once that much time has passed."""
        for _ in range(round(seconds / step_s)):
            await self.tick(step_s)
            if (await self.now(record)).rollout.over:
                break
        return await self.now(record)

    async def now(self, record: Record) -> Record:
        """The record as it is now."""
        found: Record | None = await self.store.rollout(record.id)
        assert found is not None
        return found

    async def ask(self, record: Record, command: Command, expected: int | None = None) -> RolloutChange:
        """An operator's command."""
        return await self.rollouts.ask(record.id, lambda _: command, expected=expected, wait_s=0)

    async def entries(self) -> Sequence[Recorded]:
        """The ledger, oldest first."""
        found: Sequence[Recorded] = (await self.store.ledger(1_000))[::-1]
        return found

    async def shares(self) -> Mapping[int, int]:
        """What the model runs."""
        return (await self.service.current(MODEL)).policy.shares()


async def room_on(store: Store | FakeStore, side: GatewaySide, clock: Clock | None = None) -> Room:
    """A room on that store: version 1 has everything, and three versions are up."""
    clock, post = clock or Clock(), Post()
    for version in VERSIONS:
        await store.hold(Endpoint("127.0.0.1", 9_000 + version, 0, MODEL, version), 1e6)
    service = ControlService(store, {MODEL: {1: "pool"}}, clock=clock)
    await service.ensure_policy(MODEL, {1: 1_000_000}, 1, "sluice-unit")
    gates = Gatekeeper(post, clock=clock)
    walker = Walker(store, service.traffic, gates, clock=clock)
    rollouts = Rollouts(store, service.traffic, post, walks=walker)
    room = Room(store, side, clock, post, service, rollouts, walker, gates)
    room.fence = await store.lead("tests", 1e6) or 0
    await room.follow()
    return room


async def fake_room() -> Room:
    """A room in memory, whose time is the test's."""
    clock = Clock()
    store = FakeStore(clock)
    return await room_on(store, store, clock)


@asynccontextmanager
async def valkey_room(valkey: EmbeddedValkey) -> AsyncIterator[Room]:
    """A room in a namespace of its own of a real server, by that server's clock; nobody leads yet."""
    namespace = f"test-{secrets.token_hex(6)}"
    store, gateway = connect(valkey.url, namespace), Gateway(valkey.url, Keys(namespace))
    made = await room_on(store, gateway)
    await store.resign("tests")
    yield made
    await made.walker.close()
    gateway.close()
    await store.close()


async def delivered(courier: Courier, room: Room) -> int:
    """How many deliveries were begun, once they have ended."""
    begun = await courier.begin(room.fence)
    while courier._under_way:
        await courier.wait(1)
    return begun


def epochs_in(entries: Sequence[Recorded]) -> list[int]:
    """The epochs that the ledger speaks of, in its order."""
    return [one.entry.facts["epoch"] for one in entries if "epoch" in one.entry.facts]


def stages_in(entries: Sequence[Recorded]) -> list[str]:
    """The stages that were entered by the ledger, in its order, and how it ended."""
    said = [str(one.entry.facts.get("what", "")) for one in entries]
    return [what for what in said if what.startswith("enter") or what == "finish"]
