"""The real tritonserver with the demo's models: answers, batches, failures, and nothing left behind."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException

from serving.demo.train import DemoModels
from serving.errors import StartFailed
from serving.pools import PoolOptions
from serving.triton import process
from serving.triton.binary import find
from serving.triton.burst import LASTS_S
from serving.triton.guard import Guard, gone
from serving.triton.layout import ModelVersion, write_repository
from serving.triton.metrics import PendingCount
from serving.triton.ports import free_ports
from serving.triton.process import ServerDied, ServerOptions, TritonProcess
from serving.triton.warmup import warm_up
from tests.e2e.system import until

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
_POISON = textwrap.dedent("""
    import torch
    class Picky(torch.nn.Module):
        def forward(self, x):
            torch._assert_async((x >= 0).all(), "a value below zero")
            return (x * 2,)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Picky(), (torch.ones(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, "model.pt2")
""")

_LIGHT_CONFIG = """
backend: "python" max_batch_size: 8
input { name: "x" data_type: TYPE_FP32 dims: 4 } output { name: "y" data_type: TYPE_FP32 dims: 4 }
"""
_LIGHT = textwrap.dedent("""
    import triton_python_backend_utils as triton
    class TritonPythonModel:
        def execute(self, requests):
            arrays = [triton.get_input_tensor_by_name(one, "x").as_numpy() for one in requests]
            return [triton.InferenceResponse([triton.Tensor("y", 2 * array)]) for array in arrays]
""")


@pytest.fixture(scope="session")
def models(digits: DemoModels) -> DemoModels:
    """The demo's versions."""
    return digits


@pytest.fixture(scope="module")
def rows(models: DemoModels) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The held-out pixels and labels."""
    with np.load(models.rows) as held_out:
        yield held_out["pixels"], held_out["labels"]


@pytest.fixture(scope="module")
def picky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that doubles numbers and fails on those below zero."""
    artifact = tmp_path_factory.mktemp("picky")
    subprocess.run([sys.executable, "-c", _POISON], check=True, cwd=artifact, capture_output=True)
    tensor = {"datatype": "FP32", "shape": [4]}
    signature = {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]}
    (artifact / "signature.json").write_text(json.dumps(signature))
    return artifact


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose stub imports nothing: for what is said of servers, whatever they serve."""
    artifact = tmp_path_factory.mktemp("light")
    (artifact / "1").mkdir()
    (artifact / "1" / "model.py").write_text(_LIGHT)
    (artifact / "config.pbtxt").write_text(_LIGHT_CONFIG)
    return artifact


async def serve(
    artifact: Path,
    version: int,
    folder: Path,
    guard: Guard | None = None,
    **how: Any,  # noqa: ANN401 - fields of PoolOptions
) -> TritonProcess:
    """A warmed-up server of that artifact."""
    repository = write_repository(
        ModelVersion("digits", version, artifact, PoolOptions(**how)), folder / f"repository-{version}"
    )
    options = ServerOptions(log_file=folder / f"triton-{version}.log")
    server = await TritonProcess.start(find(), repository, "digits", version, options, guard=guard)
    await warm_up(server, repository.example.read_bytes() if repository.example else None)
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(
    models: DemoModels, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[int, TritonProcess]]:
    """Both versions, each on a server of its own."""
    folder = tmp_path_factory.mktemp("triton")
    running = {}
    try:
        for version, artifact in models.versions.items():
            running[version] = await serve(artifact, version, folder)
        yield running
    finally:
        for server in running.values():
            await server.stop(10.0)


def pixels_input(pixels: NDArray[np.float32], *, binary: bool) -> aio.InferInput:
    """Rows as an input tensor, in JSON or binary."""
    tensor = aio.InferInput("pixels", list(pixels.shape), "FP32")
    tensor.set_data_from_numpy(pixels, binary_data=binary)
    return tensor


def family(server: TritonProcess) -> list[int]:
    """The server's process and those of its session: its stubs."""
    listed = subprocess.run(["ps", "-o", "pid=", "-g", str(server.pid)], capture_output=True, check=False)  # noqa: S607
    return [int(pid) for pid in listed.stdout.split()]


def runs(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("version", [1, 2])
async def test_both_versions_answer_as_they_were_measured(
    servers: dict[int, TritonProcess],
    models: DemoModels,
    rows: tuple[NDArray[np.float32], NDArray[np.int64]],
    version: int,
    *,
    binary: bool,
) -> None:
    """Through tritonclient, in JSON and binary, a version gets the share right that its training.json says."""
    pixels, labels = rows
    server = servers[version]
    wanted = [aio.InferRequestedOutput("digit", binary_data=binary)]
    async with aio.InferenceServerClient(f"127.0.0.1:{server.http_port}") as client:
        answers = [
            await client.infer(
                "digits", [pixels_input(pixels[start : start + 60], binary=binary)], str(version), outputs=wanted
            )
            for start in range(0, 300, 60)
        ]
    digits = np.concatenate([answer.as_numpy("digit")[:, 0] for answer in answers])
    training = json.loads((models.versions[version] / "training.json").read_text())
    assert (digits == labels).mean() == training["accuracy"]


@pytest.mark.asyncio(loop_scope="module")
async def test_metadata_and_statistics_are_of_exactly_this_version(servers: dict[int, TritonProcess]) -> None:
    """A server lists the one version that it was started for, and counts for it."""
    for version, server in servers.items():
        assert (await server.metadata())["versions"] == [str(version)]
        (counted,) = (await server.statistics())["model_stats"]
        assert counted["version"] == str(version)
        assert counted["inference_count"] > 0


@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_can_load_code_into_a_server(servers: dict[int, TritonProcess]) -> None:
    """A load with a file override, which would run code, is refused."""
    async with aio.InferenceServerClient(f"127.0.0.1:{servers[1].http_port}") as client:
        with pytest.raises(InferenceServerException, match="model load / unload is not allowed"):
            await client.load_model("evil", config='{"backend": "python"}', files={"file:1/model.py": b"import os"})


@pytest.mark.asyncio(loop_scope="module")
async def test_labels_name_the_classes(servers: dict[int, TritonProcess], rows: Any) -> None:  # noqa: ANN401
    """Triton's classification extension names classes with the signature's labels."""
    wanted = [aio.InferRequestedOutput("scores", binary_data=False, class_count=1)]
    async with aio.InferenceServerClient(f"127.0.0.1:{servers[2].http_port}") as client:
        answer = await client.infer("digits", [pixels_input(rows[0][:1], binary=True)], "2", outputs=wanted)
    _, number, label = str(answer.as_numpy("scores")[0, 0]).split(":")
    assert number == label


async def test_a_batch_is_one_pass_and_one_bad_request_spoils_no_other(picky: Path, tmp_path: Path) -> None:
    """Requests that wait are merged into fewer passes; of a merged batch only the request at fault fails."""
    server = await serve(picky, 3, tmp_path, batch_delay_us=200_000)
    try:
        values = [float(number) for number in range(16)]
        values[5] = -1.0
        before = await executions(server)
        answers = await asyncio.gather(*(ask(server, value) for value in values), return_exceptions=True)
        failed = [index for index, answer in enumerate(answers) if isinstance(answer, BaseException)]
        assert failed == [5]
        assert "a value below zero" in str(answers[5])
        assert [answer for answer in answers if isinstance(answer, float)] == [
            2 * value for value in values if value >= 0
        ]
        assert await executions(server) - before < len(values)
    finally:
        await server.stop(10.0)


async def executions(server: TritonProcess) -> int:
    """How often the model has run."""
    (counted,) = (await server.statistics())["model_stats"]
    return int(counted["execution_count"])


async def ask(server: TritonProcess, value: float) -> float:
    """The picky model's first number for a row of this one."""
    tensor = aio.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.full((1, 4), value, np.float32))
    return float((await server.infer([tensor])).as_numpy("y")[0, 0])


async def test_a_wrong_artifact_is_one_sentence(models: DemoModels, tmp_path: Path) -> None:
    """A program that is cut short is refused in one sentence with Triton's reason, and leaves nothing running."""
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    whole = (models.versions[1] / "model.pt2").read_bytes()
    (artifact / "model.pt2").write_bytes(whole[: len(whole) // 2])
    (artifact / "signature.json").write_bytes((models.versions[1] / "signature.json").read_bytes())
    with pytest.raises(StartFailed, match=r"^Triton ended before digits version 1 was ready: .*\.$") as refused:
        await serve(artifact, 1, tmp_path)
    assert "failed to load 'digits' version 1" in str(refused.value)
    assert "\n" not in str(refused.value)


async def test_a_signature_that_does_not_fit_is_found_while_warming_up(models: DemoModels, tmp_path: Path) -> None:
    """A program that loads but does not give what its signature says never becomes ready."""
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "model.pt2").write_bytes((models.versions[1] / "model.pt2").read_bytes())
    signature = json.loads((models.versions[1] / "signature.json").read_text())
    signature["outputs"].pop()
    (artifact / "signature.json").write_text(json.dumps(signature))
    repository = write_repository(ModelVersion("digits", 1, artifact), tmp_path / "repository")
    server = await TritonProcess.start(find(), repository, "digits", 1, ServerOptions())
    try:
        with pytest.raises(StartFailed, match="gives 2 outputs, its signature 1"):
            await warm_up(server, None)
    finally:
        await server.stop(5.0)


async def test_stop_leaves_nothing(light: Path, tmp_path: Path) -> None:
    """After stop neither server nor stub runs, its port is free, and its shared memory is gone."""
    server = await serve(light, 1, tmp_path)
    pids = family(server)
    assert len(pids) >= 2
    await server.stop(10.0)
    assert not server.alive
    assert not any(map(runs, pids))
    assert not list(Path("/dev/shm").glob(f"{server._identity}*"))  # noqa: ASYNC240, S108
    assert server.http_port not in listening()


def listening() -> set[int]:
    """The TCP ports that somebody on this machine listens on."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {int(line.split()[1].rpartition(":")[2], 16) for line in lines if line.split()[3] == "0A"}


def eventually_gone(pids: list[int], within_s: float) -> bool:
    """Whether none of these runs after that time at the latest."""
    deadline = time.monotonic() + within_s
    while any(map(runs, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(runs, pids))


def pending(count: PendingCount) -> int | None:
    """What it is now; another task changes it."""
    return count.value


@pytest.mark.slow
async def test_pending_requests_are_counted_by_the_server(picky: Path, tmp_path: Path) -> None:
    """Requests that wait for company in Triton's queue are its pending count, on the port that the server says."""
    server = await serve(picky, 3, tmp_path, batch_delay_us=2_000_000)
    try:
        waiting = [asyncio.create_task(ask(server, 1.0)) for _ in range(5)]
        count = PendingCount(server.metrics_url, "digits", 3)
        looking = asyncio.create_task(count.run())
        async with asyncio.timeout(10.0):
            while pending(count) != 5:  # noqa: ASYNC110 - a figure has no event
                await asyncio.sleep(0.05)
            await asyncio.gather(*waiting)
            while pending(count) != 0:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        looking.cancel()
    finally:
        await server.stop(10.0)


@pytest.mark.slow
async def test_a_burst_measures_what_the_server_counts(models: DemoModels, tmp_path: Path) -> None:
    """The throughput is of requests that the model really had, many at once."""
    server = await serve(models.versions[1], 1, tmp_path)
    try:
        before = await requests(server)
        warmth = await warm_up(server, None, at_once=16)
        counted = await requests(server) - before - warmth.requests
        assert warmth.throughput is not None
        assert 0.5 * counted <= LASTS_S * warmth.throughput <= counted
    finally:
        await server.stop(10.0)


async def requests(server: TritonProcess) -> int:
    """How many requests the model has answered."""
    (counted,) = (await server.statistics())["model_stats"]
    return int(counted["inference_stats"]["success"]["count"])


async def test_a_server_that_is_killed_takes_its_stubs_with_it(light: Path, tmp_path: Path) -> None:
    """Even while nobody has waited for it, so that its stub still finds its number; and its death is told."""
    guard = Guard.start()
    server = await serve(light, 1, tmp_path, guard, instance_count=2)
    try:
        pids = family(server)
        assert len(pids) == 3
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.wait_for(server.ended(), 2.0)
        assert not server.alive
        assert await asyncio.to_thread(eventually_gone, pids, 5.0)
        death = server.death()
        assert death.exit_code == -signal.SIGKILL
        assert "Triton was killed by SIGKILL while digits version 1 ran" in str(death)
    finally:
        await server.stop(0.0)
        await gone(guard)


async def test_a_stub_that_is_killed_is_the_servers_end(light: Path, tmp_path: Path) -> None:
    """Triton goes on without it and fails requests, so whoever watches the server is told that it has ended."""
    guard = Guard.start()
    server = await serve(light, 1, tmp_path, guard, instance_count=2)
    try:
        stub = next(pid for pid in family(server) if pid != server.pid)
        watching = asyncio.create_task(server.ended())
        await asyncio.sleep(0.1)
        assert not watching.done()
        os.kill(stub, signal.SIGSEGV)
        await asyncio.wait_for(watching, 5.0)
        assert not server.alive
        assert server.death().exit_code == -signal.SIGSEGV
        assert "Triton's Python stub was killed by SIGSEGV" in server.death().words
    finally:
        await server.stop(0.0)
        await gone(guard)


@pytest.mark.slow
@pytest.mark.parametrize("taken", [1, 2], ids=["gRPC", "metrics"])
async def test_a_port_that_is_lost_is_tried_again(
    models: DemoModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """The guard ends what the first server has left, and not the one that follows it."""
    choices: list[list[int]] = []

    def chosen(host: str, within: range, count: int) -> list[int]:
        ports = free_ports(host, within, count)
        if not choices:
            ports[taken] = other.getsockname()[1]
        choices.append(ports)
        return ports

    monkeypatch.setattr(process, "free_ports", chosen)
    guard = Guard.start()
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = await serve(models.versions[1], 1, tmp_path, guard)
    try:
        assert len(choices) == 2
        await asyncio.sleep(1.0)
        assert server.alive
        pids = family(server)
    finally:
        await server.stop(0.0)
        await gone(guard)
    assert eventually_gone(pids, 1.0)


@pytest.mark.slow
async def test_a_stub_that_ends_as_its_server_gets_ready_is_not_overlooked(
    models: DemoModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton says that it is ready, and goes on saying so."""
    until_ready = TritonProcess._until_ready

    async def ready(server: TritonProcess) -> None:
        await until_ready(server)
        stub = next(pid for pid in family(server) if pid != server.pid)
        os.kill(stub, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: not runs(stub), "the end of the stub")

    monkeypatch.setattr(TritonProcess, "_until_ready", ready)
    with pytest.raises(ServerDied, match="stub was killed by SIGKILL while digits version 1 was starting"):
        await serve(models.versions[1], 1, tmp_path)


@pytest.mark.slow
async def test_a_stub_that_is_killed_while_it_loads_is_not_waited_for(models: DemoModels, tmp_path: Path) -> None:
    """Triton waits for its answer until the end of its time; here it is the server's end, and says so."""
    repository = write_repository(ModelVersion("digits", 1, models.versions[1]), tmp_path / "repository")
    guard = Guard.start()
    options = ServerOptions(ready_timeout_s=60.0)
    others = psutil.Process().children(recursive=True)
    starting = asyncio.create_task(TritonProcess.start(find(), repository, "digits", 1, options, guard=guard))

    def stub() -> int:
        children = [one for one in psutil.Process().children(recursive=True) if one not in others]
        return next((one.pid for one in children if one.name().startswith("triton_python")), 0)

    try:
        os.kill(await asyncio.to_thread(until, stub, "the stub"), signal.SIGKILL)
        killed_s = time.monotonic()
        # Depending on when it dies, Triton notices by itself.
        words = "Python stub was killed by SIGKILL while digits version 1 was starting|Stub process '.*' is not healthy"
        with pytest.raises(StartFailed, match=words):
            await starting
        assert time.monotonic() - killed_s < options.ready_timeout_s / 2
    finally:
        await gone(guard)


def test_sigkill_of_the_parent_leaves_nothing(light: Path, tmp_path: Path) -> None:
    """A parent that is killed takes server, stubs, shared memory and folder with it, and its guard ends as well."""
    parent_code = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from serving.triton.guard import Guard
        from tests.e2e.test_triton import family, serve
        async def main():
            guard = Guard.start(Path({str(tmp_path / "home")!r}))
            server = await serve(Path({str(light)!r}), 1, Path({str(tmp_path / "home")!r}), guard)
            print(guard.mark, *family(server), flush=True)
            await asyncio.sleep(60)
        asyncio.run(main())
    """)
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, cwd=REPOSITORY) as parent:
        assert parent.stdout is not None
        mark, *told = parent.stdout.readline().decode().split()
        pids = [int(pid) for pid in told]
        assert len(pids) >= 2
        os.kill(parent.pid, signal.SIGKILL)
    assert eventually_gone(pids, 5.0)
    until(lambda: not (tmp_path / "home").exists(), "the end of the folder", 5.0)
    until(lambda: not list(Path("/dev/shm").glob(f"{mark}*")), "the end of shared memory", 5.0)  # noqa: S108
    listed = ["ps", "-eo", "args="]
    until(lambda: mark not in subprocess.run(listed, capture_output=True, text=True, check=True).stdout, "no guard", 5)
