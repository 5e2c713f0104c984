"""What the tests of tritonclient's four clients have in common: the values that they send."""

from __future__ import annotations

from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Client: TypeAlias = Any
"""One of tritonclient's, which has no types."""

_LARGEST = {
    name: np.iinfo(name.lower()) for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
}
VALUES: dict[str, Array] = {
    **{name: np.array([info.min, 0, info.max], info.dtype) for name, info in _LARGEST.items()},
    "BOOL": np.array([True, False, True]),
    "FP16": np.array([1.5, -2.0, 65504.0], np.float16),
    "BF16": np.array([1.0, -2.5, 3.0], ml_dtypes.bfloat16),
    "FP32": np.array([1.5, -3.25, 3.4e38], np.float32),
    "FP64": np.array([0.1, -1.7e308, 5e-324]),
    "BYTES": np.array(["grün", "", "a b"], np.object_),
}
"""Three values of every datatype."""
BINARY_ONLY = frozenset(("FP16", "BF16"))
"""What JSON cannot hold."""
SCORES = np.array([[1.0, 4.0, 3.0, 2.0], [9.0, 0.0, 0.0, 8.0]], np.float32)
"""Two rows for `compass`; the best two of each are `BEST`."""
BEST = [["east", "south"], ["north", "west"]]


def same(got: Array, sent: Array) -> bool:
    """Whether an answer holds what was sent; strings come back as bytes in binary, as text in JSON."""
    if sent.dtype == np.object_:
        return [one if isinstance(one, str) else one.decode() for one in got] == list(sent)
    return got.dtype == sent.dtype and bool((got == sent).all())


def named(best: Array) -> list[list[str]]:
    """The labels of classes, which come as score:index:label."""
    return [[(one.decode() if isinstance(one, bytes) else str(one)).split(":")[2] for one in row] for row in best]
