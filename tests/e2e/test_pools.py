"""Pools on a real Ray cluster: scaled in place, replaced when something dies, tried out, removed."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import pytest
import pytest_asyncio

from registry.artifacts import ArtifactStore
from registry.roots import Roots
from serving.control.store import Store, connect
from serving.control.valkey import EmbeddedValkey
from serving.endpoint import Crash, Endpoint
from serving.errors import StartFailed
from serving.pools import PoolKey, PoolOptions, PoolSpec, PoolState
from serving.settings import Settings
from serving.triton.layout import ArtifactRefused
from tests.e2e.system import until

if TYPE_CHECKING:
    from serving.triton.pool import ServePools

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore")]  # Ray's own

REPOSITORY = Path(__file__).parents[2]
CONFIG = """
backend: "python"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
MODEL = """
import time
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        {load}

    def execute(self, requests):
        tensors = [triton.get_input_tensor_by_name(one, "x").as_numpy() for one in requests]
        return [triton.InferenceResponse([triton.Tensor("y", one * 2)]) for one in tensors]
"""
PATIENCE_S = 60.0
SERVER = "bin/tritonserver "
STUB = "triton_python_backend_stub "
REPLICA = "its owner"
CRASH = Crash(0, -9, "h", "words")
_CALLED_OFF = """
    import asyncio, json, os, sys
    import ray
    from serving.pools import PoolSpec
    from serving.settings import Settings
    from serving.triton.pool import ServePools
    told = json.load(sys.stdin)
    ray.init(address=os.environ["RAY_ADDRESS"], namespace="sluice", log_to_driver=False)
    pools = ServePools(Settings.model_validate(told["settings"]), "redis://nobody")
    asyncio.run(pools.try_out(PoolSpec.from_plain(told["spec"]), print))
"""


@pytest.fixture(scope="module")
def cluster(ray_cluster: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """A Ray cluster with Serve on it, to which this process is connected; what reaches it."""
    environment = ray_cluster
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        import ray  # noqa: PLC0415 - reads its environment when it is imported
        from ray import serve  # noqa: PLC0415

        def joined() -> bool:
            try:
                ray.init(address=environment["RAY_ADDRESS"], namespace="sluice", log_to_driver=False)
            except ConnectionError:
                return False
            return True

        try:
            until(joined, "the cluster")
            serve.start(proxy_location="Disabled")
            yield environment
        finally:
            serve.shutdown()  # type: ignore[no-untyped-call]
            ray.shutdown()


@dataclass
class Room:
    """Pools on that cluster, and their store.

    Attributes:
        folder: of the test; whatever its servers run names it.
        url: of the store.
        namespace: of this test in the store.
        ready_timeout_s: what a server is given.
        keys: of the pools that were deployed.
    """

    folder: Path
    url: str
    namespace: str
    ready_timeout_s: float = 30.0
    keys: set[PoolKey] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.store: Store = connect(self.url, self.namespace)

    @property
    def told(self) -> dict[str, Any]:
        """The settings, as plain values."""
        triton = {"port_range": 0, "ready_timeout_s": self.ready_timeout_s}
        redis = {"namespace": self.namespace, "lease_s": 2.0}
        return {"state_dir": str(self.folder / "state"), "triton": triton, "redis": redis}

    @property
    def pools(self) -> ServePools:
        """The conductor's hands."""
        from serving.triton.pool import ServePools  # noqa: PLC0415 - brings Ray, and Ray's warnings

        return ServePools(Settings.model_validate(self.told), self.url)

    def spec(self, load: str = "pass", **options: Any) -> PoolSpec:  # noqa: ANN401 - fields of PoolOptions
        """A pool of a model that does this when it is loaded."""
        source = self.folder / "source"
        (source / "1").mkdir(parents=True, exist_ok=True)
        (source / "config.pbtxt").write_text(CONFIG)
        (source / "1" / "model.py").write_text(MODEL.replace("{load}", load))
        return PoolSpec("m", 1, PoolOptions(**options), path=str(source))

    async def deploy(self, spec: PoolSpec, replicas: int) -> None:
        """Starts or scales it; at the end of the test it is removed."""
        self.keys.add(spec.key_with_digest)
        await self.pools.deploy([(spec, replicas)])

    async def ready(self, spec: PoolSpec, replicas: int) -> dict[str, Endpoint]:
        """The endpoints by key, once there are so many, and so many servers and stubs."""

        async def look() -> dict[str, Endpoint]:
            state = (await self.pools.states()).get(spec.key_with_digest)
            settled = state is not None and state.state == "RUNNING" and state.replicas_running == replicas
            endpoints = {one.key: one for one in await self.store.endpoints()}
            counts = (len(self.processes(SERVER)), len(self.processes(STUB)), len(endpoints))
            return endpoints if settled and set(counts) == {replicas} else {}

        return await eventually(look, f"{replicas} replicas")

    async def failed(self, spec: PoolSpec) -> PoolState:
        """The pool's state, once it has failed."""

        async def look() -> list[PoolState]:
            state = (await self.pools.states())[spec.key_with_digest]
            return [state] if state.state == "DEPLOY_FAILED" else []

        return (await eventually(look, "the failure"))[0]

    def processes(self, words: str = "") -> list[int]:
        """Those that run and name this folder and these words in their command line."""
        listed = ((one.pid, _command_of(one)) for one in psutil.process_iter())
        return [pid for pid, line in listed if pid != os.getpid() and str(self.folder) in line and words in line]


def _command_of(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return ""


Found = TypeVar("Found")


async def eventually(look: Callable[[], Awaitable[Found]], what: str, within_s: float = PATIENCE_S) -> Found:
    """The first true thing that `look` gives."""
    deadline = time.monotonic() + within_s
    while not (found := await look()):
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain for {what}"
        await asyncio.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def store_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store of this module's own."""
    server = EmbeddedValkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server.url
    server.stop()


@pytest_asyncio.fixture
async def room(cluster: Mapping[str, str], store_url: str, tmp_path: Path) -> AsyncIterator[Room]:
    """Pools that are removed at the end, after which nothing of them may run, or lie about but logs."""
    room = Room(tmp_path, store_url, namespace=f"t{secrets.token_hex(4)}")
    try:
        yield room
    finally:
        await room.pools.remove(list(room.keys))
        await room.store.close()

    async def gone() -> bool:
        return not room.processes()

    await eventually(gone, f"the end of {room.processes()}", 10.0)
    assert not list((tmp_path / "state" / "triton" / "triton").glob("*"))
    assert await room.pools.states() == {}


async def test_a_pool_is_scaled_in_place(room: Room) -> None:
    """From one replica to two and back: no server is started anew, and at every moment one at least has its lease."""
    spec = room.spec()
    await room.deploy(spec, 1)
    await room.ready(spec, 1)
    first = set(room.processes(SERVER))
    leases: list[int] = []

    async def count() -> None:
        while True:
            leases.append(len(await room.store.endpoints()))
            await asyncio.sleep(0.05)

    counting = asyncio.create_task(count())
    await room.deploy(spec, 2)
    await room.ready(spec, 2)
    both = set(room.processes(SERVER))
    assert first < both
    same = replace(spec, options=PoolOptions(replicas=1, max_replicas=3, keep_warm_s=1.0))
    assert same.key_with_digest == spec.key_with_digest
    await room.deploy(same, 1)
    await room.ready(spec, 1)
    counting.cancel()
    assert set(room.processes(SERVER)) < both
    assert min(leases) >= 1
    state = (await room.pools.states())[spec.key_with_digest]
    assert (state.replicas_running, state.replicas_wanted) == (1, 1)


@pytest.mark.slow
async def test_what_is_deployed_again_is_left_alone(room: Room) -> None:
    """A conductor that says the same twice changes nothing; other options are a pool beside the first."""
    spec, other = room.spec(), room.spec(instance_count=2)
    await room.deploy(spec, 1)
    await room.ready(spec, 1)
    first = room.processes(SERVER)
    await room.deploy(spec, 1)
    await room.deploy(other, 1)

    async def beside() -> bool:
        states = await room.pools.states()
        return len(states) == 2 and {one.replicas_running for one in states.values()} == {1}

    await eventually(beside, "the second pool")
    assert set(first) < set(room.processes(SERVER))
    await room.pools.remove([spec.key_with_digest, PoolKey("m", 7, "00")])
    assert set(await room.pools.states()) == {other.key_with_digest}
    assert not set(first) & set(room.processes(SERVER))
    assert len(room.processes(SERVER)) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "crash"), [(SERVER, "Triton was"), (STUB, "Triton's Python stub was"), (REPLICA, "")]
)
async def test_whatever_is_killed_is_replaced(room: Room, words: str, crash: str) -> None:
    """Server, stub or replica: its lease is gone, the others of the family end, and a new one comes up."""
    spec = room.spec()
    await room.deploy(spec, 1)
    [(key, _)] = (await room.ready(spec, 1)).items()
    family = [*room.processes(SERVER), *room.processes(STUB)]
    victim = psutil.Process(family[0]).ppid() if words == REPLICA else room.processes(words)[0]
    os.kill(victim, signal.SIGKILL)

    async def replaced() -> bool:
        return key not in {one.key for one in await room.store.endpoints()}

    await eventually(replaced, "the end of the lease", 10.0)

    async def ended() -> bool:
        return not set(family) & set(room.processes())

    await eventually(ended, f"the end of {family}", 5.0)
    assert set(await room.ready(spec, 1)) != {key}
    crashes = await room.store.crashes("m", 1)
    assert [one.exit_code for one in crashes] == ([-signal.SIGKILL] if crash else [])
    assert all(f"{crash} killed by SIGKILL while m version 1 ran" in one.words for one in crashes)


@pytest.mark.slow
async def test_a_version_whose_servers_die_is_given_pauses(room: Room) -> None:
    """After five deaths in the last ten minutes the next server waits 8 s before it starts."""
    spec = room.spec()
    for _ in range(5):
        await room.store.crashed("m", 1, CRASH)
    began = time.monotonic()
    await room.deploy(spec, 1)

    async def starts() -> bool:
        return bool(room.processes(SERVER))

    await eventually(starts, "the server")
    assert time.monotonic() - began > 8.0
    await room.ready(spec, 1)


@pytest.mark.slow
async def test_a_pool_can_be_removed_during_a_pause(room: Room) -> None:
    """What has died again and again waits for a minute, which a removal does not."""
    spec = room.spec()
    await room.deploy(spec, 1)
    await room.ready(spec, 1)
    for _ in range(10):
        await room.store.crashed("m", 1, CRASH)
    os.kill(room.processes(SERVER)[0], signal.SIGKILL)

    async def waits() -> bool:
        state = (await room.pools.states())[spec.key_with_digest]
        return state.replicas_running == 0 and not room.processes(SERVER)

    await eventually(waits, "the replica's end")
    await asyncio.sleep(8.0)  # a start without a pause takes half of it
    assert await waits()
    began = time.monotonic()
    await room.pools.remove([spec.key_with_digest])
    assert time.monotonic() - began < 20.0


async def test_why_a_pool_failed_is_said_in_our_words(room: Room) -> None:
    """What a replica could not start with is the state's message, without a traceback."""
    spec = replace(room.spec(), path=str(room.folder / "nowhere"))
    await room.deploy(spec, 1)
    state = await room.failed(spec)
    assert state.message == f"The artifact folder of m version 1, {room.folder / 'nowhere'}, is missing."


@pytest.mark.slow
async def test_a_registered_pool_is_loaded_by_its_digest(room: Room) -> None:
    """Each replica loads its own copy; one that is not what was registered is refused with both digests."""
    store = ArtifactStore(str(room.folder / "state" / "artifacts"), Roots.of([str(room.folder)]))
    artifact = await asyncio.to_thread(store.bring, room.spec().path)
    spec = PoolSpec("m", 1, artifact=artifact.digest, kind=artifact.kind)
    await room.deploy(spec, 1)
    await room.ready(spec, 1)
    await room.pools.remove([spec.key_with_digest])
    model = room.folder / "state" / "artifacts" / artifact.digest / "1" / "model.py"
    model.write_bytes(model.read_bytes() + b"#")
    await room.deploy(spec, 1)
    state = await room.failed(spec)
    assert artifact.digest in state.message
    assert "is not what was registered" in state.message
    assert not room.processes()


async def test_a_trial_runs_beside_the_pools(room: Room) -> None:
    """Its figures come back, and its refusals as our own errors; no lease, no application, no process is left."""
    told: list[str] = []
    result = await room.pools.try_out(room.spec(), told.append)
    assert [str(one) for one in result.inputs] == ["x FP32 [4]"]
    assert told == ["starting", "starting Triton", "comparing the model with its signature", "warming up"]
    with pytest.raises(StartFailed, match=r"before m version 1 was ready: .*wrong weights") as failed:
        await room.pools.try_out(room.spec(load='raise ValueError("wrong weights")'), told.append)
    assert "\n" not in failed.value.sentence
    assert failed.value.hint
    with pytest.raises(ArtifactRefused, match="nowhere, is missing"):
        await room.pools.try_out(replace(room.spec(), path="/nowhere"), told.append)
    with pytest.raises(StartFailed, match="is to run on a GPU"):
        await room.pools.try_out(room.spec(device="gpu"), told.append)
    assert await room.store.endpoints() == []
    assert room.processes() == []


@pytest.mark.slow
async def test_a_trial_that_is_called_off_leaves_nothing(room: Room) -> None:
    """Cancelled, the actor is killed, and all that it had started ends."""
    trial = asyncio.create_task(room.pools.try_out(room.spec(load="time.sleep(600)"), print))

    async def begun() -> bool:
        return bool(room.processes(STUB))

    await eventually(begun, "the stub")
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial


@pytest.mark.slow
async def test_a_trial_dies_with_its_owner(room: Room, cluster: Mapping[str, str]) -> None:
    """SIGKILL of the process that asked for it: the actor, its server and its stub end."""
    told = json.dumps({"settings": room.told, "spec": room.spec(load="time.sleep(600)").plain()}).encode()
    code = textwrap.dedent(_CALLED_OFF)
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=subprocess.PIPE, cwd=REPOSITORY, env={**os.environ, **cluster}
    )
    assert owner.stdin is not None
    owner.stdin.write(told)
    owner.stdin.close()

    async def begun() -> bool:
        return bool(room.processes(STUB))

    await eventually(begun, "the stub")
    owner.kill()
    await owner.wait()


async def test_a_cluster_without_room_is_told(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that cannot even begin ends when its time is over."""
    import ray  # noqa: PLC0415 - as in the fixture

    from serving.triton import pool  # noqa: PLC0415 - as above

    monkeypatch.setattr(pool, "_ROOM_WITHIN_S", 1.0)

    class Full:
        """Takes all there is."""

        def here(self) -> bool:
            """Whether it runs."""
            return True

    full: Any = ray.remote(Full).options(num_cpus=2).remote()
    try:
        assert await full.here.remote()
        room.ready_timeout_s = 2.0
        with pytest.raises(StartFailed, match="no room for a trial of m version 1 within 2 s"):
            await room.pools.try_out(room.spec(), print)
    finally:
        ray.kill(full)
