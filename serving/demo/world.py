"""The world of the drift demo: real digits in four parts, and what happens to them when the camera is knocked over.

The rows are scikit-learn's copy of the UCI digits, cut into what the first version is trained on, what is held back to
judge by, what people ask before there is a new version, and what they ask after. So no version is ever judged, or asked
after its promotion, on a row that any version was trained on. The shift is a turn: the same digits, seen askew.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

TRAINED: Final = 800
HELD: Final = 250
EARLIER: Final = 447
LATER: Final = 300
DEGREES: Final = 30.0

_SEED: Final = 20_240_229
_SIDE: Final = 8
_BRIGHTEST: Final = 16.0


class Part(NamedTuple):
    """Rows with what they show.

    Attributes:
        pixels: FP32 [n, 64], 0 to 16.
        labels: INT64 [n].
    """

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]


class World(NamedTuple):
    """All rows, each in one part.

    Attributes:
        training: of the first version.
        held: never trained on.
        earlier: asked until there is a new version.
        later: asked from then on.
    """

    training: Part
    held: Part
    earlier: Part
    later: Part


def world() -> World:
    """The same at each call."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 - takes a second

    data = load_digits()
    order = np.random.default_rng(_SEED).permutation(len(data.target))
    pixels, labels = data.data[order].astype(np.float32), data.target[order].astype(np.int64)
    cuts = np.cumsum([TRAINED, HELD, EARLIER])
    return World(*map(Part, np.split(pixels, cuts), np.split(labels, cuts)))


def turned(part: Part, degrees: float = DEGREES) -> Part:
    """The same digits, turned by so many degrees."""
    from scipy import ndimage  # type: ignore[import-untyped]  # noqa: PLC0415 - takes a while

    images = part.pixels.reshape(-1, _SIDE, _SIDE)
    seen = ndimage.rotate(images, degrees, axes=(2, 1), reshape=False, order=1)
    return Part(np.clip(seen.reshape(len(images), -1), 0, _BRIGHTEST).astype(np.float32), part.labels)
