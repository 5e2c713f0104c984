"""A trial of a registered artifact by the real Triton: what passes, what is refused with which words, what is left."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from registry.artifacts import ArtifactStore
from registry.roots import Roots
from serving.errors import SluiceError, StartFailed
from serving.triton.arguments import PoolArguments
from serving.triton.guard import Guard
from serving.triton.layout import ArtifactRefused
from serving.triton.trial import tried
from tests.e2e.system import until
from tests.serving.triton import artifacts

pytestmark = pytest.mark.e2e

REPOSITORY = Path(__file__).parents[2]
CONFIG = """
backend: "python"
max_batch_size: 8
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ {size} ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ {size} ] }} ]
"""
MODEL = """
import time
import triton_python_backend_utils as triton

class TritonPythonModel:
    def initialize(self, args):
        {load}

    def execute(self, requests):
        {work}
        tensors = [triton.get_input_tensor_by_name(one, "x").as_numpy() for one in requests]
        return [triton.InferenceResponse([triton.Tensor("y", one * 2)]) for one in tensors]
"""


STARTING = "starting Triton, which runs its author's code"


def signature(shape: list[int], *, datatype: str = "FP32", output: str = "y") -> str:
    """One that the model has, or has not."""
    tensor = {"datatype": datatype, "shape": shape}
    return json.dumps({"inputs": [{"name": "x", **tensor}], "outputs": [{"name": output, **tensor}]})


@dataclass
class Bench:
    """An artifact store, and what the trials on it leave.

    Attributes:
        folder: of the test.
        marks: those of the guards that were started.
    """

    folder: Path
    marks: list[str] = field(default_factory=list)

    @property
    def artifacts(self) -> Path:
        """The store's folder."""
        return self.folder / "artifacts"

    def registered(self, load: str = "pass", work: str = "pass", config: str = CONFIG.format(size=4)) -> str:
        """The digest of a Triton directory with a model that does this when it is loaded, and at work."""
        source = self.folder / "source" / str(len(list((self.folder / "source").glob("*"))))
        (source / "1").mkdir(parents=True)
        (source / "config.pbtxt").write_text(config)
        (source / "1" / "model.py").write_text(MODEL.format(load=load, work=work))
        return self.stored(source)

    def stored(self, folder: Path) -> str:
        """The digest of the artifact in that folder."""
        return ArtifactStore(str(self.artifacts), Roots.of([str(self.folder)])).bring(str(folder)).digest

    def pool(self, digest: str, **how: Any) -> PoolArguments:  # noqa: ANN401 - fields of PoolArguments
        """What a trial of it is told."""
        told: dict[str, Any] = {
            "kind": "triton",
            "signature": signature([4]),
            "ready_timeout_s": 30.0,
            "log_dir": str(self.folder / "logs"),
            **how,
        }
        state_dir = str(self.folder / "state")
        return PoolArguments("m", 3, state_dir, "", artifact=digest, artifacts=str(self.artifacts), **told)

    def left(self) -> list[str]:
        """Processes, folders and shared memory of all trials."""
        regions = [str(region) for mark in self.marks for region in Path("/dev/shm").glob(f"{mark}*")]  # noqa: S108
        return [*regions, *map(str, (self.folder / "state" / "triton").glob("*")), *_processes(str(self.folder))]

    async def refused(self, pool: PoolArguments, kind: type[SluiceError]) -> str:
        """The sentence of a trial that does not pass; nothing is left of it."""
        with pytest.raises(kind) as refusal:
            await tried(pool)
        assert "\n" not in refusal.value.sentence
        assert self.left() == []
        return refusal.value.sentence


def _processes(words: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode() if entry.name.isdigit() else ""
        except OSError:
            continue
        if words in line and int(entry.name) != os.getpid():
            yield f"{entry.name} {line}"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """An empty one."""
    bench = Bench(tmp_path)
    start: Callable[..., Guard] = Guard.start

    def noted(*folders: Path) -> Guard:
        guard = start(*folders)
        bench.marks.append(guard.mark)
        return guard

    monkeypatch.setattr(Guard, "start", noted)
    return bench


async def test_a_good_one_is_measured_and_leaves_nothing(bench: Bench) -> None:
    """Its inputs and outputs, its configuration and its figures come back; what was being done was told."""
    example = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]})
    told: list[str] = []
    result = await tried(bench.pool(bench.registered(), example=example), told.append)
    assert [str(one) for one in (*result.inputs, *result.outputs)] == ["x FP32 [4]", "y FP32 [4]"]
    assert 'name: "m"' in result.config
    assert result.latency_ms > 0
    assert result.throughput is not None
    assert result.throughput >= 1_000 / result.latency_ms
    assert told == ["loading the artifact", STARTING, "comparing the model with its signature", "warming up"]
    assert bench.left() == []
    assert len(bench.marks) == 1


async def test_a_flipped_byte_is_refused_with_both_digests(bench: Bench) -> None:
    """What the store has is not what was registered: nothing is started."""
    digest = bench.registered()
    file = bench.artifacts / digest / "1" / "model.py"
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    sentence = await bench.refused(bench.pool(digest), ArtifactRefused)
    expected, found = sentence.partition("its SHA-256 must be ")[2].rstrip(".").split(", and is ")
    assert expected == digest
    assert len(found) == 64
    assert found != digest


async def test_one_that_does_not_load_is_refused_in_tritons_words(bench: Bench) -> None:
    """The error that the model raised is in the sentence."""
    digest = bench.registered(load='raise ValueError("the weights are not of this model")')
    sentence = await bench.refused(bench.pool(digest), StartFailed)
    assert "ended before m version 3 was ready" in sentence
    assert "the weights are not of this model" in sentence


async def test_one_that_hangs_while_it_loads_is_refused_when_its_time_is_over(bench: Bench) -> None:
    """The time is the pool's, and what hung is ended."""
    digest = bench.registered(load="time.sleep(600)")
    sentence = await bench.refused(bench.pool(digest, ready_timeout_s=3.0), StartFailed)
    assert "did not get m version 3 ready within 3 s" in sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "words"),
    [
        ('raise ValueError("no such label")', "no such label"),
        ('return [triton.InferenceResponse(error=triton.TritonError("a bad mood")) for _ in requests]', "a bad mood"),
        ("time.sleep(600)", "no answer came within 4 s"),
        ("import os; os._exit(3)", "stub"),
    ],
    ids=["raises", "answers with an error", "hangs", "ends"],
)
async def test_one_that_does_not_answer_is_refused_in_its_own_words(bench: Bench, work: str, words: str) -> None:
    """Loading is not answering."""
    sentence = await bench.refused(bench.pool(bench.registered(work=work), ready_timeout_s=4.0), StartFailed)
    assert words in sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "words"),
    [
        (signature([5]), ("the signature has the input x FP32 [5], and the model has x FP32 [4]", "output y FP32 [5]")),
        (signature([4], datatype="INT64"), ("the input x INT64 [4], and the model has x FP32 [4]",)),
        (signature([4], output="z"), ("the output z FP32 [4], and the model has none", "the model has the output y")),
        (signature([-1, 4]), ("the input x FP32 [-1, 4], and the model has x FP32 [4]",)),
    ],
    ids=["shapes", "datatypes", "names", "a batch dimension too many"],
)
async def test_one_that_is_not_what_its_signature_says_is_refused(
    bench: Bench, said: str, words: tuple[str, ...]
) -> None:
    """Every difference is named, with what the signature says and what the model has."""
    sentence = await bench.refused(bench.pool(bench.registered(), signature=said), ArtifactRefused)
    assert "m version 3 is not what its signature says" in sentence
    for one in words:
        assert one in sentence


@pytest.mark.slow
async def test_a_configuration_that_is_made_of_the_signature_proves_nothing(bench: Bench) -> None:
    """One number for each row, said to be five: what it answers tells."""
    rows = np.arange(12.0).reshape(4, 3)
    inputs, outputs = [("x", "FP32", [3])], [("predict", "FP16", [5])]
    folder = artifacts.sklearn(bench.folder / "a", LinearRegression().fit(rows, rows.sum(axis=1)), inputs, outputs)
    said = (folder / "signature.json").read_text()
    sentence = await bench.refused(bench.pool(bench.stored(folder), kind="sklearn", signature=said), StartFailed)
    assert "the model gives rows of predict as [1], and its signature as [5]" in sentence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "words"),
    [
        (
            "return [triton.InferenceResponse([triton.Tensor('y', numpy.ones((1, 5), 'f4'))]) for _ in requests]",
            "the signature has the output y FP32 [4], and the answer for 1 row has y FP32 [1, 5]",
        ),
        ("return [triton.InferenceResponse([]) for _ in requests]", "and the answer has none of that name"),
        (
            "assert [len(triton.get_input_tensor_by_name(one, 'x').as_numpy()) for one in requests] == [1], 'one'",
            "batches of up to 8 rows, and answers 1 row but does not take 2 rows",
        ),
        (
            "return [triton.InferenceResponse([triton.Tensor('y', numpy.ones((1, 4), 'f4'))]) for _ in requests]",
            "and the answer for 2 rows has y FP32 [1, 4]",
        ),
    ],
    ids=["shape", "missing", "one row only", "one row for two"],
)
async def test_one_that_answers_something_else_is_refused(bench: Bench, work: str, words: str) -> None:
    """Its configuration is as its signature says, and its answers are not."""
    digest = bench.registered(work=f"import numpy; {work}")
    assert words in await bench.refused(bench.pool(digest), ArtifactRefused)


@pytest.mark.slow
async def test_a_model_that_does_not_batch_may_have_its_rows_in_front(bench: Bench) -> None:
    """Without a batch dimension of Triton's, rows are a dimension that varies: both signatures are the model's."""
    config = CONFIG.format(size="-1, 4").replace("max_batch_size: 8", "max_batch_size: 0")
    digest = bench.registered(config=config)
    for said in ([4], [-1, 4]):
        result = await tried(bench.pool(digest, signature=signature(said)))
        assert result.inputs[0].shape == tuple(said)
    assert "[4, 4]" in await bench.refused(bench.pool(digest, signature=signature([4, 4])), ArtifactRefused)


@pytest.mark.slow
async def test_a_trial_that_is_called_off_leaves_nothing(bench: Bench) -> None:
    """Cancelled while Triton starts, it is gone when the cancellation returns."""
    pool = bench.pool(bench.registered(load="time.sleep(600)"))
    trial = asyncio.create_task(tried(pool))
    async with asyncio.timeout(20.0):
        while not any("stub" in line for line in bench.left()):  # noqa: ASYNC110 - processes have no event
            await asyncio.sleep(0.05)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert bench.left() == []


@pytest.mark.slow
def test_a_trial_whose_process_is_killed_leaves_nothing(bench: Bench) -> None:
    """SIGKILL while Triton starts: neither server nor stub nor folder outlives it by more than moments."""
    pool = bench.pool(bench.registered(load="time.sleep(600)"))
    code = textwrap.dedent("""
        import asyncio, json, sys
        from serving.triton.arguments import read
        from serving.triton.trial import tried
        asyncio.run(tried(read(json.load(sys.stdin))))
    """)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=REPOSITORY) as trial:
        assert trial.stdin is not None
        trial.stdin.write(json.dumps(pool.plain()).encode())
        trial.stdin.close()
        until(lambda: any("stub" in line for line in bench.left()), "the stub", 20.0)
        trial.kill()
    until(lambda: not bench.left(), "the end of all", 5.0)
