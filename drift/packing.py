"""Values and arrays as canonical bytes, and back: how baselines and windows are kept and sent.

JSON says what there is and where, arrays follow as little-endian bytes. Equal contents have equal bytes, so a digest
names them; nothing that is read is ever run, as a pickle would be. What is longer or shorter than it says, or written
for a newer reader, is refused whole.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from drift.errors import Damaged

READER: Final = 2
"""The newest form that this code reads; what says nothing new is written in the oldest."""

OLDEST: Final = 1

_MAGIC: Final = b"sluice-drift\n"
_LENGTH: Final = 8
_TYPES: Final = frozenset({"<f4", "<f8", "<i8", "<u8", "|u1"})
_MOST_BYTES: Final = 2**31

Arrays = Mapping[str, NDArray[Any]]


def pack(kind: str, plain: Mapping[str, Any], arrays: Arrays, reader: int = OLDEST) -> bytes:
    """These values as bytes.

    Args:
        kind: what they are.
        plain: what JSON can say, finite numbers only.
        arrays: by name; 32- and 64-bit floats, 64-bit integers, bytes.
        reader: the form of the oldest reader that understands all of them.
    """
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    written = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in ordered.items()}
    index = {name: [array.dtype.str, list(arrays[name].shape)] for name, array in written.items()}
    said = {"reader": reader, "kind": kind, "plain": plain, "arrays": index}
    head = json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return b"".join((_MAGIC, len(head).to_bytes(_LENGTH, "little"), head, *(one.tobytes() for one in written.values())))


def unpack(kind: str, blob: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The values and the arrays in these bytes.

    Raises:
        Damaged: anything but what `pack` wrote for this kind.
    """
    try:
        return _unpacked(kind, blob)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise Damaged(f"These bytes are no {kind}: {error}.", "Make it anew, or restore it from a backup.") from error


def digest(blob: bytes) -> str:
    """SHA-256, 64 digits of 0-9 and a-f."""
    return hashlib.sha256(blob).hexdigest()


def _unpacked(kind: str, blob: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    if not blob.startswith(_MAGIC):
        raise ValueError("they begin otherwise")
    start = len(_MAGIC) + _LENGTH
    end = start + int.from_bytes(blob[len(_MAGIC) : start], "little")
    head = json.loads(blob[start:end])
    if head["reader"] not in range(OLDEST, READER + 1) or head["kind"] != kind:
        raise ValueError(
            f"they are {head['kind']!r} for readers of form {head['reader']!r}, and this one reads {OLDEST} to {READER}"
        )
    arrays = {}
    for name, (dtype, shape) in head["arrays"].items():
        array, end = _array(blob, end, dtype, shape)
        arrays[name] = array
    if end != len(blob):
        raise ValueError(f"they are {len(blob):,} bytes, not {end:,}")
    return dict(head["plain"]), arrays


def _array(blob: bytes, start: int, dtype: str, shape: list[int]) -> tuple[NDArray[Any], int]:
    if dtype not in _TYPES or any(type(size) is not int or size < 0 for size in shape):
        raise ValueError(f"an array of {dtype!r} {shape}")
    count = math.prod(shape)
    size = count * np.dtype(dtype).itemsize
    if size > _MOST_BYTES or start + size > len(blob):
        raise ValueError(f"an array of {size:,} bytes is cut short")
    array = np.frombuffer(blob, dtype, count, start) if count else np.empty(0, dtype)
    return array.reshape(shape).astype(np.dtype(dtype).newbyteorder("="), copy=True), start + size
