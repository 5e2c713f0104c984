"""Signatures, options and artifact folders that tests of the layout share; nothing in them is ever loaded."""

import json
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from serving.pools import PoolOptions
from serving.triton.binary import TritonBinary
from serving.triton.signature import Signature, Tensor

NAMES = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,30}\Z")
SIGNATURE: dict[str, Any] = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [4]}],
    "outputs": [{"name": "y", "datatype": "INT64", "shape": [1], "labels": ["no"]}],
}


def tensors(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Tensor, ...]]:
    """One to three tensors of different names."""
    tensor = st.builds(
        Tensor,
        name=NAMES,
        datatype=st.sampled_from(["BOOL", "UINT8", "INT64", "FP16", "FP32", "FP64"]),
        shape=st.lists(st.integers(1, 10_000) | st.just(-1), min_size=1, max_size=4).map(tuple),
        **more,
    )
    return st.lists(tensor, min_size=1, max_size=3, unique_by=lambda one: one.name).map(tuple)


SIGNATURES = st.builds(
    Signature,
    inputs=tensors(optional=st.booleans()),
    outputs=tensors(labels=st.just(()) | st.just(("a", "b"))),
)
RUNNABLE = st.builds(Signature, inputs=tensors(), outputs=tensors(labels=st.just(()) | st.just(("a", "b"))))


@st.composite
def options(draw: st.DrawFn) -> PoolOptions:
    """Any options of one server that contradict neither each other nor a model that is written here."""
    rows = draw(st.integers(0, 512))
    said: dict[str, Any] = {
        "device": draw(st.sampled_from(["cpu", "gpu"])),
        "instance_count": draw(st.integers(1, 8)),
        "max_batch_size": rows,
        "response_cache": draw(st.booleans()),
        "rate_limiter": draw(st.dictionaries(st.from_regex(r"\A[A-Za-z_]{1,9}\Z"), st.integers(1, 99), max_size=3)),
        "threads": draw(st.integers(1, 16)),
    }
    if rows:
        levels = draw(st.integers(0, 9))
        said |= {
            "preferred_batch_sizes": draw(st.lists(st.integers(1, rows), max_size=3)),
            "batch_delay_us": draw(st.integers(0, 1_000)),
            "max_queue_size": draw(st.integers(0, 1_000)),
            "queue_timeout_us": draw(st.integers(0, 1_000)),
            "priority_levels": levels,
            "default_priority_level": draw(st.integers(0, levels)),
        }
    return PoolOptions.model_validate(said)


def parsed(text: str) -> Any:  # noqa: ANN401 - tritonclient ships no types
    """A configuration as Triton would read it."""
    return text_format.Parse(text, ModelConfig())


def artifact(folder: Path, file: str = "model.pt2", signature: object = SIGNATURE) -> Path:
    """An artifact folder with a model that nobody opens here."""
    folder.mkdir(parents=True)
    (folder / file).write_bytes(b"program")
    (folder / "signature.json").write_text(json.dumps(signature))
    return folder


def ready_artifact(folder: Path, config: str, *versions: int) -> Path:
    """A Triton model directory with these versions."""
    folder.mkdir(parents=True, exist_ok=True)
    for version in versions:
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / "model.py").write_text(f"# {version}")
    (folder / "config.pbtxt").write_text(config)
    return folder


def server_with(folder: Path, *backends: str, cache: bool = False) -> TritonBinary:
    """A server that has these backends, told by their libraries, as NVIDIA's container has them."""
    libraries = [folder / "backends" / name / f"libtriton_{name}.so" for name in backends]
    libraries += [folder / "caches" / "local" / "libtritoncache_local.so"] if cache else []
    for library in libraries:
        library.parent.mkdir(parents=True, exist_ok=True)
        library.write_bytes(b"")
    return TritonBinary(folder / "bin" / "tritonserver")
