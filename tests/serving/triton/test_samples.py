"""A server's first request is made from an example, or from the model's metadata."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.triton.samples import from_example, inputs, rows_of, with_rows, zeros
from serving.triton.version import ArtifactRefused

EXAMPLE = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2], [3, 4]]}]}'


@given(
    st.sampled_from(["BOOL", "UINT8", "INT32", "FP16", "FP32", "FP64", "BYTES"]),
    st.lists(st.integers(-1, 5), min_size=1, max_size=4),
)
def test_zeros_fit_any_metadata(datatype: str, shape: list[int]) -> None:
    """For every datatype and shape there is a row, with 1 in place of each size that varies."""
    (tensor,) = inputs(zeros({"inputs": [{"name": "x", "datatype": datatype, "shape": shape}]}))
    assert (tensor.name(), tensor.datatype()) == ("x", datatype)
    assert tensor.shape() == [max(1, size) for size in shape]


def test_an_example_has_any_number_of_its_first_row() -> None:
    """Where its inputs agree on how many rows there are."""
    sample = from_example(EXAMPLE)
    assert rows_of(sample) == 2
    assert [one.values.tolist() for one in with_rows(sample, 3)] == [[[1, 2]] * 3]
    assert rows_of(with_rows(sample, 1)) == 1
    assert rows_of([*sample, *with_rows(sample, 1)]) is None


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
