"""What is asked: from a file of requests, or drawn from what the model says that it takes; in the form of each kind.

All of them are made before the first is due, so that sending one costs no encoding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc.service_pb2 import ModelInferRequest
from tritonclient.utils import serialize_byte_tensor, triton_to_np_dtype

from loadtests.load.records import Kind
from serving.triton.samples import Sample, SampleTensor, from_example
from serving.triton.version import ArtifactRefused

DRAWN = 64
MOST_FROM_FILE = 10_000
_LONGEST_LINE = 1_048_576
_NO_JSON = frozenset({"FP16", "BF16"})
_WORDS = ("alpha", "beta", "gamma", "delta")
_LARGEST_DRAWN = 10


@dataclass(frozen=True, slots=True)
class Payload:
    """One request's body, and the headers that go with it."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def from_file(path: Path) -> list[Sample]:
    """The requests of a file: a line each, the JSON body of a v2 inference request.

    Raises:
        ValueError: it cannot be read, holds none, more than `MOST_FROM_FILE`, or a line that is none.
    """
    samples = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE + 1), b""), start=1):
                if line.strip():
                    samples.append(_line(line, f"{path}, line {number}"))
                if len(samples) > MOST_FROM_FILE:
                    raise ValueError(f"{path} holds more than {MOST_FROM_FILE:,} requests: leave some out")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    if not samples:
        raise ValueError(f"{path} holds no request: write a line of JSON for each, such as sluice predict takes")
    return samples


def drawn(inputs: Sequence[Mapping[str, Any]], seed: int, *, count: int = DRAWN, rows: int = 1) -> list[Sample]:
    """Requests that a model takes, as its metadata says.

    Args:
        inputs: `name`, `datatype` and `shape` of each; a dimension that varies is 1, the first of them `rows`.
        seed: of what is drawn; equal ones draw equal requests.
        count: how many.
        rows: how many rows each has, where the first dimension varies.

    Raises:
        ValueError: an input is of a type that nothing is drawn for.
    """
    draw = np.random.default_rng(seed)
    return [[_drawn(one, draw, rows) for one in inputs] for _ in range(count)]


def prepared(sample: Sample, kind: Kind, model: str, version: int | None) -> Payload:
    """The request as that kind sends it.

    Raises:
        ValueError: this kind cannot send it.
    """
    if kind is Kind.GRPC:
        return Payload(_message(sample, model, version))
    if kind is Kind.BINARY:
        return _binary(sample)
    if stray := [one for one in sample if one.datatype in _NO_JSON]:
        raise ValueError(f"{stray[0].name} is {stray[0].datatype}, which JSON cannot hold: use --mix binary or grpc")
    said = [_header(one) | {"data": _plain(one)} for one in sample]
    return Payload(json.dumps({"inputs": said}).encode(), {"content-type": "application/json"})


def _binary(sample: Sample) -> Payload:
    parts = [_raw(one) for one in sample]
    said = [
        _header(one) | {"parameters": {"binary_data_size": len(part)}} for one, part in zip(sample, parts, strict=True)
    ]
    head = json.dumps({"inputs": said, "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Payload(head + b"".join(parts), headers)


def _message(sample: Sample, model: str, version: int | None) -> bytes:
    request = ModelInferRequest(model_name=model, model_version="" if version is None else str(version))
    for one in sample:
        request.inputs.add(name=one.name, datatype=one.datatype, shape=list(one.values.shape))
        request.raw_input_contents.append(_raw(one))
    return bytes(request.SerializeToString())


def _header(tensor: SampleTensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.values.shape)}


def _plain(tensor: SampleTensor) -> list[Any]:
    flat = tensor.values.ravel().tolist()
    return [one.decode() if isinstance(one, bytes) else one for one in flat]


def _raw(tensor: SampleTensor) -> bytes:
    """The tensor's bytes, as the binary extension has them."""
    if tensor.datatype == "BYTES":
        packed = serialize_byte_tensor(tensor.values)
        return bytes(packed.item()) if packed.size else b""
    if tensor.datatype == "BF16":
        halves = np.ascontiguousarray(tensor.values, np.float32).view(np.uint16)
        return halves.reshape(-1, 2)[:, 1].tobytes()  # little endian: the upper half of a float comes second
    return np.ascontiguousarray(tensor.values).tobytes()


def _drawn(said: Mapping[str, Any], draw: np.random.Generator, rows: int) -> SampleTensor:
    sizes = [int(size) for size in said["shape"]]
    shape = [(rows if nth == 0 else 1) if size < 0 else size for nth, size in enumerate(sizes)]
    return SampleTensor(said["name"], said["datatype"], _values(said["datatype"], shape, draw))


def _values(datatype: str, shape: list[int], draw: np.random.Generator) -> NDArray[Any]:
    kind = triton_to_np_dtype(datatype)
    if datatype == "BYTES":
        return np.asarray(draw.choice(_WORDS, size=shape), dtype=object).reshape(shape)
    if datatype == "BOOL":
        return draw.integers(0, 2, size=shape).astype(bool)
    if kind is None:
        raise ValueError(f"nothing is drawn for {datatype}: give requests in a file, with --data")
    if np.issubdtype(kind, np.floating):
        return draw.standard_normal(size=shape).astype(kind)
    return draw.integers(0, _LARGEST_DRAWN, size=shape).astype(kind)


def _line(line: bytes, where: str) -> Sample:
    if len(line) > _LONGEST_LINE:
        raise ValueError(f"{where} is longer than {_LONGEST_LINE:,} bytes")
    try:
        return from_example(line)
    except (ArtifactRefused, RecursionError) as error:
        raise ValueError(f"{where} is no v2 inference request in JSON: it takes inputs with their data") from error
