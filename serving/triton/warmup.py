"""The first requests of a server, which nobody waits for: they make what is made once, and show that it answers.

The request is the artifact's `example.json`, the body of a v2 inference request in JSON; without one, zeros (empty
strings) of one row, made from the model's metadata. What the model answers is not judged here, only that it does.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from serving.errors import StartFailed
from serving.triton.layout import ArtifactRefused

_ROUNDS = 3


class Server(Protocol):
    """What is warmed up; a `TritonProcess` is one."""

    model: str
    version: int

    async def metadata(self) -> dict[str, Any]:
        """The model's metadata, as the v2 protocol gives it."""

    async def infer(self, inputs: Sequence[aio.InferInput]) -> aio.InferResult:
        """One inference."""


async def warm_up(server: Server, example: bytes | None) -> None:
    """Sends the example, or zeros where there is none, a few times.

    Raises:
        ArtifactRefused: the example is no request for this model.
        StartFailed: the model does not answer it.
    """
    inputs = from_example(example) if example else zeros(await server.metadata())
    try:
        for _ in range(_ROUNDS):
            await server.infer(inputs)
    except InferenceServerException as error:
        what = "its example.json" if example else "a request of zeros"
        raise StartFailed(
            f"{server.model} version {server.version} is loaded, but does not answer {what}: {error.message()}.",
            "Correct the model, or put an example.json that it does answer into its artifact folder.",
        ) from error


def from_example(body: bytes) -> list[aio.InferInput]:
    """The inputs of a v2 inference request in JSON.

    Raises:
        ArtifactRefused: it is not one.
    """
    try:
        return [_from_json(tensor) for tensor in json.loads(body)["inputs"]]
    except (ValueError, KeyError, TypeError, InferenceServerException) as error:
        raise ArtifactRefused(f"example.json is not the body of a v2 inference request: {error!r}.") from error


def zeros(metadata: Mapping[str, Any]) -> list[aio.InferInput]:
    """One row of nothing for each input; a dimension that varies is 1."""
    inputs = []
    for tensor in metadata["inputs"]:
        shape = [max(1, int(size)) for size in tensor["shape"]]
        empty = b"" if tensor["datatype"] == "BYTES" else 0
        inputs.append(_input(tensor["name"], tensor["datatype"], shape, [empty] * math.prod(shape)))
    return inputs


def _from_json(tensor: Mapping[str, Any]) -> aio.InferInput:
    return _input(tensor["name"], tensor["datatype"], tensor["shape"], tensor["data"])


def _input(name: str, datatype: str, shape: Sequence[int], data: Any) -> aio.InferInput:  # noqa: ANN401 - JSON
    values = np.array(data, dtype=triton_to_np_dtype(datatype)).reshape(shape)
    tensor = aio.InferInput(name, list(shape), datatype)
    tensor.set_data_from_numpy(values)
    return tensor
