"""Warm-up requests are made from an example, or from metadata, and a model that does not answer is not ready."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from serving.errors import StartFailed
from serving.triton.layout import ArtifactRefused
from serving.triton.warmup import from_example, warm_up, zeros

EXAMPLE = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}]}'


class Model:
    """A server that takes requests down, or fails them."""

    model = "m"
    version = 3

    def __init__(self, failure: str = "") -> None:
        self.failure = failure
        self.seen: list[Sequence[Any]] = []

    async def metadata(self) -> dict[str, Any]:
        """One input of four numbers a row."""
        return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]}

    async def infer(self, inputs: Sequence[Any]) -> None:
        """No answer."""
        if self.failure:
            raise InferenceServerException(self.failure)
        self.seen.append(inputs)


@pytest.mark.parametrize(("example", "shape"), [(EXAMPLE, [2, 2]), (None, [1, 4])])
async def test_a_server_is_warmed_up_with_its_example_or_with_zeros(example: bytes | None, shape: list[int]) -> None:
    """The example is sent if there is one, else one row of zeros."""
    model = Model()
    await warm_up(model, example)
    assert {tuple(inputs[0].shape()) for inputs in model.seen} == {tuple(shape)}


async def test_a_model_that_does_not_answer_is_refused() -> None:
    """A model that is loaded but fails its first request is refused with what it said."""
    with pytest.raises(StartFailed, match=r"m version 3 .* example\.json: wrong shape\."):
        await warm_up(Model("wrong shape"), EXAMPLE)


@given(
    st.sampled_from(["BOOL", "UINT8", "INT32", "FP16", "FP32", "FP64", "BYTES"]),
    st.lists(st.integers(-1, 5), min_size=1, max_size=4),
)
def test_zeros_fit_any_metadata(datatype: str, shape: list[int]) -> None:
    """For every datatype and shape there is a row, with 1 in place of each size that varies."""
    (tensor,) = zeros({"inputs": [{"name": "x", "datatype": datatype, "shape": shape}]})
    assert (tensor.name(), tensor.datatype()) == ("x", datatype)
    assert tensor.shape() == [max(1, size) for size in shape]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"inputs": [{"name": "x"}]}',
        EXAMPLE.replace(b"[2, 2]", b"[3, 3]"),
        EXAMPLE.replace(b"FP32", b"FLOAT"),
    ],
)
def test_an_example_that_is_no_request_is_refused(body: bytes) -> None:
    """An example that is not JSON, incomplete, or of another shape than it says is refused."""
    with pytest.raises(ArtifactRefused, match=r"example\.json"):
        from_example(body)
