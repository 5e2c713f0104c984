"""Deploy, promote, remove: what they bring about, what they refuse, and what is left when they fail or are killed."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from registry.errors import NotFound
from registry.fake_store import FakeStore as FakeRegistryStore
from registry.lifecycle import Event, State
from registry.service import Registry
from router.policy import WHOLE, Arm, Policy
from serving.control.deploying import Deployments
from serving.control.errors import InUse, Unacceptable, Unknown
from serving.control.fake_pools import FakePools
from serving.control.fake_store import FakeStore
from serving.control.keeper import PoolKeeper
from serving.control.operations import Operation, Operations, OperationState
from serving.control.service import ControlService
from serving.control.starts import Starts
from serving.control.store import Store, connect
from serving.control.tasks import end
from serving.control.usage import Routable, Usage
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Crash, Endpoint
from serving.errors import StartFailed
from serving.leases import GatewayLease
from serving.pools import PoolKey, PoolSpec
from tests.registry.made import contents
from tests.serving.control.waiting import until
from tests.valkey import Gateway

_MOST_CALLS = 150
DECLARED = PoolSpec("digits", 1, path="models/digits/1")


class Room:
    """A whole control room on fakes of the store and of Serve; the registry's rules are its own."""

    def __init__(self, store: FakeStore | Store | None = None) -> None:
        self.fake = FakeStore()
        self.store: FakeStore | Store = store or self.fake
        self.gateway_says = self.fake.gateway_says
        self.pools = FakePools(self.store, at_once=True)
        self.service = ControlService(self.store, {"digits": {1: "pool", 9: "static"}})
        self.registry = Registry(FakeRegistryStore(), Usage(self.service))
        self.service.routable = Routable(self.registry)
        self.restart()

    def restart(self) -> None:
        """A control room that knows nothing yet."""
        self.keeper = PoolKeeper(self.service, self.store, self.pools, [DECLARED])
        deployments = Deployments(
            self.service, self.store, self.pools, self.registry, [DECLARED], patience_s=self.patience_s
        )
        self.operations = Operations(self.store, deployments.performers())

    patience_s = 5.0

    async def register(self, number: int, *, verify: bool = True, seed: int | None = None) -> None:
        """A version of digits in the registry."""
        await self.registry.register("digits", contents(seed or number), who="ada", number=number)
        if verify:
            await self.registry.move("digits", number, Event.VERIFY, expected=None, who="ada")

    async def run(self) -> None:
        """Its loops, fast."""
        # No task group: that cancels what is in it once, and a client of Redis may lose a cancel.
        beside = [asyncio.create_task(self.operations.run()), asyncio.create_task(self.follow())]
        try:
            while not any(one.done() for one in beside):
                with suppress(StartFailed):  # it is tried again
                    await self.keeper.keep()
                await self.keeper.look()
                await asyncio.sleep(0.01)
        finally:
            await end(beside)
        for one in beside:
            one.result()

    async def follow(self) -> None:
        """A gateway that runs whatever the store shows."""
        while True:
            head = await self.store.head()
            self.gateway_says(GatewayLease("g", "b", 1, "h", 1, head.epoch, head.digest), 60)
            await asyncio.sleep(0.01)

    async def do(self, kind: str, version: int, **arguments: Any) -> Operation:  # noqa: ANN401 - whatever it takes
        """One operation from its beginning to its end."""
        begun = await self.operations.begin(kind, "digits", version, arguments, who="ada")
        ended = await self.operations.settled(begun.id, 10)
        assert ended.ended, ended
        return ended

    async def state_of(self, version: int) -> State:
        """Where the version is in its life."""
        return (await self.registry.show("digits", version)).standing.state

    def running(self) -> dict[int, int]:
        """Replicas by version."""
        return {key.version: state.replicas_running for key, state in self.pools.there.items()}

    async def shares(self) -> Mapping[int, int]:
        """What traffic goes where."""
        return {one: share for one, share in (await self.service.current("digits")).policy.shares().items() if share}


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.control.standing._LOOK_S", 0.01)


@asynccontextmanager
async def opened() -> AsyncIterator[Room]:
    """Up, with version 1 of the settings serving everything."""
    room = Room()
    loop = asyncio.create_task(room.run())
    try:
        await room.store.change("digits", Policy(stable=1), 0, who="settings")
        await until(lambda: room.running() == {1: 1})
        yield room
    finally:
        await end([loop])


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """One for this test."""
    async with opened() as room:
        yield room


# Deploying.


async def test_a_verified_version_is_deployed(room: Room) -> None:
    """From what the registry holds of it; then it is serving, and gets no traffic by that."""
    await room.register(2)
    done = await room.do("deploy", 2, options={"replicas": 2})
    assert (done.state, done.result["replicas"]) == (OperationState.DONE, 2)
    assert room.running() == {1: 1, 2: 2}
    assert await room.state_of(2) is State.SERVING
    assert await room.shares() == {1: WHOLE}
    [wish] = await room.store.wishes()
    assert (wish.operation, wish.before) == ("", None)
    spec, version = wish.spec, (await room.registry.show("digits", 2)).version
    assert (spec.artifact, spec.kind) == (version.contents.artifact.digest, "torch-export")
    assert '"name": "pixels"' in spec.signature


async def test_what_is_left_out_stays_as_it_is(room: Room) -> None:
    """A second deployment names only what is to be different, and comes up beside the first."""
    await room.register(2)
    await room.do("deploy", 2, options={"replicas": 2, "max_batch_size": 16})
    await room.do("deploy", 2, options={"max_batch_size": 8})
    [wish] = await room.store.wishes()
    assert (wish.spec.options.replicas, wish.spec.options.max_batch_size) == (2, 8)
    await until(lambda: len(room.pools.there) == 2)
    assert room.running() == {1: 1, 2: 2}


async def test_a_version_of_the_settings_needs_no_registry(room: Room) -> None:
    """A wish that says what the settings say is none; other options stand above them."""
    await room.do("deploy", 1)
    assert list(await room.store.wishes()) == []
    await room.do("deploy", 1, options={"replicas": 3})
    [wish] = await room.store.wishes()
    assert (wish.spec.path, wish.spec.options.replicas) == (DECLARED.path, 3)
    assert room.running() == {1: 3}


@pytest.mark.parametrize(
    ("version", "arguments", "error", "words"),
    [
        (7, {}, NotFound, "no version 7"),
        (3, {}, Unacceptable, "is registered, and only a verified version"),
        (9, {}, Unacceptable, "somebody else's Triton"),
        (2, {"options": {"replicas": 0}}, Unacceptable, "replicas: 0 is given"),
        (2, {"options": {"replica": 1}}, Unacceptable, "no such key; did you mean replicas"),
        (2, {"options": {"max_batch_size": 4, "preferred_batch_sizes": [8]}}, Unacceptable, "4 rows at most"),
    ],
)
async def test_what_can_never_be_deployed_is_refused_at_once(
    room: Room, version: int, arguments: Mapping[str, Any], error: type[Exception], words: str
) -> None:
    """Nothing is begun for it."""
    await room.register(2)
    await room.register(3, verify=False)
    for kind in ("deploy", "promote"):
        with pytest.raises(error, match=words):
            await room.operations.begin(kind, "digits", version, arguments, who="ada")
    assert list(await room.operations.list()) == []


async def test_a_deployment_that_fails_leaves_everything_as_it_was(room: Room) -> None:
    """No wish, no pool, the version still verified, and the reason in Triton's words."""
    await room.register(2)
    room.pools.failing[await spec_of(room, 2)] = "Triton: unexpected inference output 'scores'."
    failed = await room.do("deploy", 2)
    assert failed.state is OperationState.FAILED
    assert failed.problem is not None
    assert "unexpected inference output 'scores'" in failed.problem.sentence
    assert failed.problem.refusal == "did-not-start"
    assert (room.running(), list(await room.store.wishes())) == ({1: 1}, [])
    assert await room.state_of(2) is State.VERIFIED


async def test_other_options_that_fail_leave_the_old_servers(room: Room) -> None:
    """They were never touched."""
    await room.register(2)
    await room.do("deploy", 2)
    before = await room.store.wish("digits", 2)
    served = {one.key for one in await room.store.endpoints()}
    assert before is not None
    room.pools.failing[await spec_of(room, 2, max_batch_size=1)] = "no"
    failed = await room.do("deploy", 2, options={"max_batch_size": 1})
    assert failed.state is OperationState.FAILED
    after = await room.store.wish("digits", 2)
    assert after is not None
    assert (after.spec, after.operation) == (before.spec, "")
    assert {one.key for one in await room.store.endpoints()} == served
    assert await room.state_of(2) is State.SERVING


async def test_servers_that_keep_crashing_end_a_deployment(room: Room) -> None:
    """With the last words of the last of them; nobody waits for Serve to give up."""
    await room.register(2)
    room.pools.hanging.add(await spec_of(room, 2))
    begun = await room.operations.begin("deploy", "digits", 2, {}, who="ada")
    for number in range(3):
        await room.store.crashed("digits", 2, Crash(0, 1, "h", f"words {number}"))
    ended = await room.operations.settled(begun.id, 10)
    assert ended.problem is not None
    assert "crashed 3 times while it was to come up: words 2" in ended.problem.sentence


async def test_crashes_of_other_options_do_not_end_the_deployment_that_cures_them(room: Room) -> None:
    """Only those of the pool that is to come up count."""
    await room.register(2)
    for _ in range(5):
        await room.store.crashed("digits", 2, Crash(0, 1, "h", "broken options", "0ldd1gest000"))
    room.pools.hanging.add(await spec_of(room, 2))
    begun = await room.operations.begin("deploy", "digits", 2, {}, who="ada")
    await until(lambda: 2 in room.running())
    for _ in range(5):
        await room.store.crashed("digits", 2, Crash(0, 1, "h", "broken options", "0ldd1gest000"))
    await asyncio.sleep(0.1)
    room.pools.hanging.clear()
    await room.pools.work()
    assert (await room.operations.settled(begun.id, 10)).state is OperationState.DONE


@pytest.mark.parametrize("how", ["cannot be asked for", "does not come up"])
async def test_a_deployment_does_not_hear_of_failures_before_it(room: Room, how: str) -> None:
    """Whoever has mended what was wrong deploys again, and neither gets the old reason nor waits for an old pause."""
    key = DECLARED.key_with_digest
    failures = room.pools.refused if how == "cannot be asked for" else room.pools.failing
    failures[key] = "There is no GPU."
    await room.pools.lose(key)
    if how == "cannot be asked for":
        del room.pools.there[key]
    else:
        await room.pools.work()
    await until(lambda: any(one.message == "There is no GPU." for one in room.service.pools))
    await until(lambda: key in room.keeper._attempts)
    failures.clear()
    done = await room.do("deploy", 1)
    assert (done.state, room.running()) == (OperationState.DONE, {1: 1})


async def test_patience_ends(room: Room) -> None:
    """A pool that there is no room for is told, and taken back."""
    await room.register(2)
    room.patience_s = 0.1
    room.operations._performers = Deployments(
        room.service, room.store, room.pools, room.registry, [DECLARED], patience_s=0.1
    ).performers()  # type: ignore[assignment]
    room.pools.hanging.add(await spec_of(room, 2))
    failed = await room.do("deploy", 2)
    assert failed.problem is not None
    assert "0 of 1 replicas of digits version 2 were ready after 0.1 s" in failed.problem.sentence
    assert room.running() == {1: 1}


async def test_a_cancelled_deployment_is_taken_back(room: Room) -> None:
    """As if it had never been begun."""
    await room.register(2)
    room.pools.hanging.add(await spec_of(room, 2))
    begun = await room.operations.begin("deploy", "digits", 2, {}, who="ada")
    await until(lambda: 2 in room.running())
    await room.operations.cancel(begun.id, who="bob")
    assert (await room.operations.settled(begun.id, 10)).state is OperationState.CANCELLED
    assert (room.running(), list(await room.store.wishes())) == ({1: 1}, [])


# Promoting.


async def test_a_flip_gives_all_traffic_and_ends_what_gets_none(room: Room) -> None:
    """The new version is ready before the policy names it, and the old one goes when every gateway runs that."""
    await room.register(2)
    await room.register(3)
    assert (await room.do("promote", 2)).result["asleep"] == [1]
    assert (await room.shares(), room.running()) == ({2: WHOLE}, {2: 1})
    done = await room.do("promote", 3)
    assert (done.result["removed"], done.result["asleep"]) == ([2], [])
    assert (await room.shares(), room.running()) == ({3: WHOLE}, {3: 1})
    assert (await room.state_of(2), await room.state_of(3)) == (State.VERIFIED, State.SERVING)
    asked = [one.rsplit(" ", 2)[0] if one.startswith("deploy") else one.rsplit(" ", 1)[0] for one in room.pools.done]
    assert asked.index("deploy digits/3") < asked.index("remove digits/2")


async def test_what_is_kept_goes_on_running(room: Room) -> None:
    """For a way back that takes no start."""
    await room.register(2)
    done = await room.do("promote", 2, keep=True)
    assert (done.result["removed"], done.result["asleep"]) == ([], [])
    assert room.running() == {1: 1, 2: 1}
    await room.do("promote", 1, keep=True)
    assert (await room.shares(), room.running()) == ({1: WHOLE}, {1: 1, 2: 1})


async def test_a_candidate_that_was_never_routed_to_is_left_alone(room: Room) -> None:
    """Somebody has deployed it for later."""
    for number in (2, 3):
        await room.register(number)
    await room.do("deploy", 3)
    await room.do("promote", 2)
    assert room.running() == {2: 1, 3: 1}


async def test_nothing_is_taken_away_before_every_gateway_runs_the_policy(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not follow is named; all servers stay."""
    monkeypatch.setattr("serving.control.flips._GATEWAYS_WITHIN_S", 0.2)
    await room.register(2)
    room.fake.gateway_says(GatewayLease("slow", "b", 1, "h", 1, 1, (await room.store.head()).digest), 60)
    failed = await room.do("promote", 2)
    assert failed.state is OperationState.FAILED
    assert failed.problem is not None
    assert "the gateway slow does not run that" in failed.problem.sentence
    assert room.running() == {1: 1, 2: 1}


async def test_a_flip_to_a_version_that_cannot_come_up_changes_nothing(room: Room) -> None:
    """Stable serves on."""
    await room.register(2)
    room.pools.failing[await spec_of(room, 2)] = "no"
    assert (await room.do("promote", 2)).state is OperationState.FAILED
    assert (await room.shares(), room.running()) == ({1: WHOLE}, {1: 1})


async def test_a_flip_that_is_refused_leaves_nothing(room: Room) -> None:
    """The servers were ready, and are taken back like those of any deployment that failed."""
    await room.register(2)

    async def nothing_is(_model: str, _versions: object, /) -> list[str]:
        return ["It must not get traffic."]

    room.service.routable = nothing_is
    failed = await room.do("promote", 2)
    assert failed.state is OperationState.FAILED
    await until(lambda: room.running() == {1: 1})
    assert (list(await room.store.wishes()), await room.shares()) == ([], {1: WHOLE})
    assert await room.state_of(2) is State.VERIFIED


async def test_a_flip_that_is_cancelled_too_late_keeps_the_servers_that_have_the_traffic(room: Room) -> None:
    """The policy is published, so the wish stands."""
    await room.register(2)
    published = asyncio.Event()
    real = room.service.set_policy

    async def hangs(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes
        await real(*args, **named)
        published.set()
        await asyncio.Event().wait()

    room.service.set_policy = hangs  # type: ignore[method-assign]
    begun = await room.operations.begin("promote", "digits", 2, {}, who="ada")
    await published.wait()
    await room.operations.cancel(begun.id, who="bob")
    assert (await room.operations.settled(begun.id, 10)).state is OperationState.CANCELLED
    [wish] = await room.store.wishes()
    assert (wish.operation, await room.shares()) == ("", {2: WHOLE})
    assert room.running() == {1: 1, 2: 1}
    assert await room.state_of(2) is State.SERVING


@pytest.mark.parametrize("published", [True, False])
async def test_a_flip_that_is_run_again_overwrites_nobodys_later_decision(room: Room, *, published: bool) -> None:
    """Whether the control room was killed just after its policy was published or just before."""
    await room.register(2)
    real = room.service.set_policy

    async def dies(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes
        room.service.set_policy = real  # type: ignore[method-assign]
        if published:
            await real(*args, **named)
        await room.store.change("digits", Policy(stable=1, allow_override=True), None, who="eve")
        raise asyncio.CancelledError

    room.service.set_policy = dies  # type: ignore[method-assign]
    failed = await room.do("promote", 2)
    assert failed.state is OperationState.FAILED
    assert failed.problem is not None
    assert failed.problem.refusal == "changed-meanwhile"
    assert await room.shares() == {1: WHOLE}
    await until(lambda: room.running() == {1: 1})


async def test_a_gateway_whose_lease_lapsed_is_waited_for(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there when the policy was published, and nothing says that it does not serve on."""
    monkeypatch.setattr("serving.control.flips._GATEWAYS_WITHIN_S", 0.5)
    await room.register(2)
    real = room.service.set_policy

    async def lapses(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes
        lease = GatewayLease("silent", "b", 1, "h", 1, 1, (await room.store.head()).digest)
        room.gateway_says(lease, 60)
        done = await real(*args, **named)
        room.gateway_says(lease, 0)
        return done

    room.service.set_policy = lapses  # type: ignore[method-assign]
    failed = await room.do("promote", 2)
    assert failed.state is OperationState.FAILED
    assert failed.problem is not None
    assert "the gateway silent does not run that" in failed.problem.sentence
    assert room.running() == {1: 1, 2: 1}


async def test_a_flip_back_to_what_is_being_drained_waits_for_new_servers(room: Room) -> None:
    """Those that go take no traffic any more."""
    await room.register(2)
    await room.do("promote", 2, keep=True)
    room.pools.drained.clear()
    removal = await room.operations.begin("remove", "digits", 1, {}, who="ada")
    await until(lambda: ("digits", 1) in room.service.going)
    await room.operations.cancel(removal.id, who="ada")
    await room.operations.settled(removal.id, 10)
    begun = await room.operations.begin("promote", "digits", 1, {}, who="ada")
    await asyncio.sleep(0.1)
    assert await room.shares() == {2: WHOLE}
    room.pools.drained.set()
    assert (await room.operations.settled(begun.id, 10)).state is OperationState.DONE
    assert (await room.shares(), room.running()) == ({1: WHOLE}, {1: 1})


async def test_a_static_version_is_promoted_as_it_is(room: Room) -> None:
    """Its servers are somebody else's."""
    await room.store.hold(Endpoint("h", 9, 0, "digits", 9), 60)
    assert (await room.do("promote", 9)).state is OperationState.DONE
    assert (await room.shares(), room.running()) == ({9: WHOLE}, {})


class Killer:
    """Breaks the operations that run off, at the so-many-th call to the store; the loop begins them again."""

    def __init__(self, room: Room, after: int) -> None:
        self.left = after
        self._room = room
        for name in (
            *("put_wish", "take_wish", "swap", "save_operation", "arguments_of", "endpoints", "gateways", "wish"),
            *("state", "touched"),
        ):
            setattr(room.store, name, self._counted(getattr(room.store, name)))

    def _counted(self, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - whatever it takes
            if asyncio.current_task() in self._room.operations._runs.values():
                self.left -= 1
                if self.left == 0:
                    raise asyncio.CancelledError
            return await real(*args, **options)

        return call


@pytest.mark.parametrize(("kind", "least"), [("deploy", 10), ("failing", 10), ("promote", 20), ("remove", 6)])
async def test_a_control_room_that_is_killed_anywhere_ends_as_wanted(kind: str, least: int) -> None:
    """At each call in turn, whatever it had done: the next one begins the operation again, and the end is the same."""
    for after in range(1, _MOST_CALLS):
        async with opened() as room:
            if not await killed(room, kind, after):
                assert after > least, "it makes more calls than that"
                return
    pytest.fail(f"it was killed at each of {_MOST_CALLS} calls, and still has more")


async def killed(room: Room, kind: str, after: int) -> bool:
    """Whether it was, at that call; in any case the end is as it should be."""
    await room.register(2)
    await room.register(3)
    await room.do("promote", 2)
    if kind == "remove":
        await room.do("deploy", 3)
    if kind == "failing":
        room.pools.failing[await spec_of(room, 3)] = "no"
    killer = Killer(room, after)
    ended = await room.do("deploy" if kind == "failing" else kind, 3)
    wished, stable, running = {
        "deploy": ([2, 3], 2, {2: 1, 3: 1}),
        "failing": ([2], 2, {2: 1}),
        "promote": ([3], 3, {3: 1}),
        "remove": ([2], 2, {2: 1}),
    }[kind]
    assert ended.state is (OperationState.FAILED if kind == "failing" else OperationState.DONE)
    assert (await room.shares(), room.running()) == ({stable: WHOLE}, running)
    assert [wish.spec.version for wish in await room.store.wishes()] == wished
    assert not any(wish.operation for wish in await room.store.wishes())
    for version in (2, 3):
        state = State.SERVING if version in wished else State.VERIFIED
        assert await room.state_of(version) is state
    return killer.left <= 0


# Removing.


async def test_a_version_without_traffic_is_removed(room: Room) -> None:
    """Its servers are gone when the operation is, and the registry has it as verified again."""
    await room.register(2)
    await room.do("deploy", 2)
    assert (await room.do("remove", 2)).state is OperationState.DONE
    assert (room.running(), await room.state_of(2)) == ({1: 1}, State.VERIFIED)


async def test_what_is_in_use_is_not_removed(room: Room) -> None:
    """The refusal says by whom."""
    await room.register(2)
    await room.do("deploy", 2)
    await room.store.change("digits", Policy(stable=1, arms=(Arm(2, 100_000),)), None, who="ada")
    with pytest.raises(InUse, match=r"It gets 10 % of the traffic"):
        await room.operations.begin("remove", "digits", 2, {}, who="ada")
    with pytest.raises(InUse, match="stable version of digits"):
        await room.operations.begin("remove", "digits", 1, {}, who="ada")
    with pytest.raises(Unknown, match="is not deployed"):
        await room.operations.begin("remove", "digits", 3, {}, who="ada")


async def test_traffic_that_comes_while_it_drains_is_right(room: Room) -> None:
    """The wish is there again."""
    await room.register(2)
    await room.do("deploy", 2)
    room.pools.drained.clear()
    begun = await room.operations.begin("remove", "digits", 2, {}, who="ada")
    await until(lambda: not room.fake._wishes)
    await room.store.change("digits", Policy(stable=2), None, who="eve")
    ended = await room.operations.settled(begun.id, 10)
    room.pools.drained.set()
    assert ended.state is OperationState.FAILED
    await until(lambda: room.running() == {1: 1, 2: 1})
    assert await room.state_of(2) is State.SERVING


async def test_a_version_of_the_settings_sleeps_when_it_is_removed(room: Room) -> None:
    """It is declared, so it is there again when something needs it."""
    await room.register(2)
    await room.do("promote", 2, keep=True)
    assert (await room.do("remove", 1)).result["asleep"]
    assert room.running() == {2: 1}
    await room.do("promote", 1)
    assert (await room.shares(), room.running()) == ({1: WHOLE}, {1: 1})


async def spec_of(room: Room, version: int, **options: int) -> PoolKey:
    """The key of the pool that a deployment of that version asks for."""
    operation = Operation("x", "deploy", "digits", version, {"options": options})
    performer = room.operations._performers["deploy"]
    starts: Starts = performer.perform.__self__  # type: ignore[attr-defined]
    return (await starts._asked.spec(operation)).key_with_digest


async def test_a_flip_on_a_real_server(valkey: EmbeddedValkey) -> None:
    """The same on Valkey: wishes, operations, policy and ledger are as they should be."""
    store = connect(valkey.url, f"test-{secrets.token_hex(6)}")
    room = Room(store)
    side = Gateway(valkey.url, store.keys)
    room.gateway_says = side.gateway_says
    loop = asyncio.create_task(room.run())
    try:
        await store.change("digits", Policy(stable=1), 0, who="settings")
        await until(lambda: room.running() == {1: 1})
        await room.register(2)
        done = await room.do("promote", 2, options={"replicas": 2})
        assert done.state is OperationState.DONE
        assert (await room.shares(), room.running()) == ({2: WHOLE}, {2: 2})
        kinds = [one.entry.kind for one in await store.ledger(10)]
        assert kinds == ["wish", "policy", "wish", "policy"]
    finally:
        await end([loop])
        side.close()
        await store.close()
