"""What there is to train on: rows with their labels, from files, and what belongs to training and what is held out.

The captured window has what clients asked, by request id; what was true comes from those who know it, by the same id,
in the lines that `sluice feedback send --file` sends. A row that was asked twice counts once, and which rows are held
out hangs on the row itself, so that no row is on both sides, whoever asks it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from serving.errors import SluiceError

HELD: Final = 0.4
"""The share of the new rows that nothing is trained on."""

_ID: Final = "request_id"
_LABEL: Final = "label"


class Unusable(SluiceError):  # noqa: N818 - named after what the rows are
    """Rows of which nothing can be learned."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with their labels.

    Attributes:
        inputs: FP32 [n, features].
        labels: INT64 [n].
    """

    inputs: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __add__(self, other: Rows) -> Rows:
        return Rows(np.concatenate((self.inputs, other.inputs)), np.concatenate((self.labels, other.labels)))

    def part(self, at: NDArray[np.bool_]) -> Rows:
        """Those of them."""
        return Rows(self.inputs[at], self.labels[at])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all rows and labels, in their order."""
        return hashlib.sha256(self.inputs.tobytes() + self.labels.tobytes()).hexdigest()


def rows_in(file: Path, tensor: str) -> Rows:
    """The rows of an npz file, whose arrays are called as the tensor and `labels`.

    Raises:
        Unusable: it cannot be read, or has other arrays.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:
            found = Rows(kept[tensor].astype(np.float32), kept["labels"].astype(np.int64).reshape(-1))
    except (OSError, ValueError, KeyError) as error:
        raise Unusable(f"{file} cannot be read: {error}.", f"It takes an npz with {tensor} and labels.") from error
    if found.inputs.ndim != 2 or len(found.inputs) != len(found):  # noqa: PLR2004 - rows and features
        raise Unusable(f"{file} has {tensor} of the shape {list(found.inputs.shape)} and {len(found)} labels.")
    return found


def labels_in(file: Path) -> dict[str, int]:
    """What was true, by request id, of the lines of feedback that name a label; a torn last line is passed over.

    Raises:
        Unusable: it cannot be read.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{file} cannot be read: {error}.", "Name the file with the lines of feedback.") from error
    return dict(found for line in lines if (found := _label_in(line)) is not None)


def window_in(file: Path, tensor: str, labels: Mapping[str, int]) -> Rows:
    """The rows of a captured window whose labels are known, each once, in the order of the window.

    Args:
        file: Parquet, with `request_id` and `input.TENSOR`; a request of several rows has no label of its own.
        tensor: the input.
        labels: by request id.

    Raises:
        Unusable: it cannot be read.
    """
    column = f"input.{tensor}"
    try:
        table = parquet.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise Unusable(f"{file} cannot be read: {error}.") from error
    if missing := {_ID, column} - set(table.column_names):
        raise Unusable(f"The captured window has no column {', '.join(sorted(missing))}.")
    asked = zip(table.column(_ID).to_pylist(), table.column(column).to_pylist(), strict=True)
    known = [(values, labels[request]) for request, values in asked if values is not None and request in labels]
    if not known:
        return Rows(np.zeros((0, 0), np.float32), np.zeros(0, np.int64))
    width = min(len(values) for values, _ in known)
    found = [(np.asarray(values, np.float32), label) for values, label in known if len(values) == width]
    return _once(Rows(np.stack([values for values, _ in found]), np.array([label for _, label in found], np.int64)))


def split(rows: Rows) -> tuple[Rows, Rows]:
    """Rows to train on, and those held out: the same row is always on the same side."""
    held = np.array([_draw(row) < HELD for row in rows.inputs], bool)
    return rows.part(~held), rows.part(held)


def _label_in(line: str) -> tuple[str, int] | None:
    try:
        said = json.loads(line)
        return str(said["request_id"]), int(said[_LABEL])
    except (ValueError, KeyError, TypeError):
        return None


def _once(rows: Rows) -> Rows:
    _, first = np.unique(rows.inputs, axis=0, return_index=True)
    chosen = np.zeros(len(rows), bool)
    chosen[first] = True
    return rows.part(chosen)


def _draw(row: NDArray[np.float32]) -> float:
    """Between 0 and 1, by the row's bytes alone."""
    return int.from_bytes(hashlib.blake2b(row.tobytes(), digest_size=8).digest(), "big") / 2**64
