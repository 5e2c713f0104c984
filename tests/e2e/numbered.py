"""Artifacts that say their number: their servers start in a moment, for what is true of whatever they serve."""

from __future__ import annotations

import shutil
from pathlib import Path

_ARTIFACT = Path(__file__).parents[2] / "loadtests" / "flips" / "numbered"
ROW = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]}]}
"""A request of one row."""


def numbered(folder: Path, version: int) -> Path:
    """One, made in that folder, which is not there yet."""
    (folder / "1").mkdir(parents=True)
    shutil.copyfile(_ARTIFACT / "config.pbtxt", folder / "config.pbtxt")
    shutil.copyfile(_ARTIFACT / "model.py", folder / "1" / "model.py")
    (folder / "1" / "number.txt").write_text(str(version))
    return folder
