"""The request that a server is asked before anybody else asks it: its example, or zeros.

An example is the body of a v2 inference request in JSON. Without one, it is zeros (empty strings) of one row, made from
the model's metadata. When it is sent, and what is made of the answer, is `warmup.py`'s and `answers.py`'s.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tritonclient.http import aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from serving.triton.version import ArtifactRefused


class SampleTensor(NamedTuple):
    """One input of a request.

    Attributes:
        name: as the model calls it.
        datatype: as the v2 protocol calls it.
        values: of numpy's datatype for that, in the request's shape.
    """

    name: str
    datatype: str
    values: NDArray[Any]


Sample = Sequence[SampleTensor]


def sample_of(metadata: Mapping[str, Any], example: bytes | None) -> Sample:
    """The example, or zeros where there is none.

    Raises:
        ArtifactRefused: the example is no request.
    """
    return from_example(example) if example else zeros(metadata)


def from_example(body: bytes) -> Sample:
    """What a v2 inference request in JSON sends.

    Raises:
        ArtifactRefused: it is none.
    """
    try:
        said = json.loads(body)["inputs"]
        sample = [_tensor(one["name"], one["datatype"], one["shape"], one["data"]) for one in said]
        inputs(sample)  # the client refuses more than numpy does
    except (ValueError, KeyError, TypeError, InferenceServerException) as error:
        raise ArtifactRefused(f"example.json is not the body of a v2 inference request: {error!r}.") from error
    return sample


def zeros(metadata: Mapping[str, Any]) -> Sample:
    """One row of nothing for each input; a dimension that varies is 1."""
    sample = []
    for tensor in metadata["inputs"]:
        shape = [max(1, int(size)) for size in tensor["shape"]]
        empty = b"" if tensor["datatype"] == "BYTES" else 0
        sample.append(_tensor(tensor["name"], tensor["datatype"], shape, [empty] * math.prod(shape)))
    return sample


def rows_of(sample: Sample) -> int | None:
    """How many rows it has; None where its inputs do not agree on that."""
    counts = {tensor.values.shape[:1] for tensor in sample}
    return next(iter(counts))[0] if len(counts) == 1 and () not in counts else None


def with_rows(sample: Sample, count: int) -> Sample:
    """Its first row so many times."""
    return [tensor._replace(values=tensor.values[:1].repeat(count, axis=0)) for tensor in sample]


def inputs(sample: Sample) -> list[aio.InferInput]:
    """It, as the client sends it."""
    made = []
    for name, datatype, values in sample:
        tensor = aio.InferInput(name, list(values.shape), datatype)
        made.append(tensor.set_data_from_numpy(values))
    return made


def _tensor(name: str, datatype: str, shape: Sequence[int], data: Any) -> SampleTensor:  # noqa: ANN401 - JSON
    return SampleTensor(name, datatype, np.array(data, dtype=triton_to_np_dtype(datatype)).reshape(shape))
