"""The two versions that are served, and what each must answer.

Both are the same small torch program with weights of their own, so that an answer tells which version gave it. What it
must be is computed by the program itself, on the CPU, in this process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

MODEL = "scores"
VERSIONS = (1, 2)
INPUT, OUTPUT = "features", "scores"
WIDTH, CLASSES = 64, 10
TOLERANCE = 1e-3
"""The most that an answer may differ, absolutely; scores are of the order of 1, and the versions' lie far apart."""

_HIDDEN = 512
_BATCHES = 32
_MOST_ROWS = 4
_LARGEST_BATCH = 64

Rows = NDArray[np.float32]
"""float32, (rows, width)."""

_SIGNATURE = MappingProxyType(
    {
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [WIDTH]}],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [CLASSES]}],
    }
)


def model(version: int) -> torch.nn.Module:
    """The version, with weights that its number determines."""
    torch.manual_seed(version)
    layers = (torch.nn.Linear(WIDTH, _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, CLASSES))
    with torch.no_grad():
        layers[-1].weight.mul_(4.0)  # scores of the order of 1
    return torch.nn.Sequential(*layers).eval()


def write(version: int, folder: Path) -> Path:
    """The version's artifact folder: the exported program, and its signature."""
    folder.mkdir(parents=True)
    example = torch.zeros(2, WIDTH)
    rows = torch.export.Dim("rows", min=1, max=_LARGEST_BATCH)
    torch.export.save(
        torch.export.export(model(version), (example,), dynamic_shapes=({0: rows},)), folder / "model.pt2"
    )
    (folder / "signature.json").write_text(json.dumps(dict(_SIGNATURE)))
    return folder


def batches() -> Sequence[Rows]:
    """What is asked about: batches of one to four rows, the first of one; the same ones in every run."""
    source = np.random.default_rng(0)
    sizes = (1 + number % _MOST_ROWS for number in range(_BATCHES))
    return tuple(source.standard_normal((size, WIDTH), np.float32) for size in sizes)


def expected(asked: Sequence[Rows]) -> Mapping[int, Sequence[Rows]]:
    """By version, what torch answers to each batch on the CPU: (rows, classes)."""
    with torch.inference_mode():
        return {
            version: tuple(model(version)(torch.from_numpy(rows)).numpy() for rows in asked) for version in VERSIONS
        }
