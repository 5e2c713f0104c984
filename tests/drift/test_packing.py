"""Packed values come back as they were; anything else is refused whole."""

from __future__ import annotations

import numpy as np
import pytest

from drift.errors import Damaged
from drift.packing import digest, pack, unpack

_PLAIN = {"rows": 3, "name": "é"}
_ARRAYS = {"b": np.arange(6.0).reshape(2, 3), "a": np.array([1, 2], np.uint64), "none": np.empty((0, 4), np.float32)}


def test_what_is_packed_comes_back() -> None:
    """Values, names, shapes and types; the order in which arrays were given does not matter."""
    blob = pack("thing", _PLAIN, _ARRAYS)
    plain, arrays = unpack("thing", blob)
    assert plain == _PLAIN
    assert {name: (one.dtype, one.tolist()) for name, one in arrays.items()} == {
        name: (one.dtype, one.tolist()) for name, one in _ARRAYS.items()
    }
    assert digest(pack("thing", _PLAIN, dict(reversed(_ARRAYS.items())))) == digest(blob)


def test_bytes_that_are_cut_anywhere_are_refused() -> None:
    """And those with more behind them, of another kind, or of no kind at all."""
    blob = pack("thing", _PLAIN, _ARRAYS)
    for broken in (*(blob[:at] for at in range(0, len(blob), 7)), blob + b"x", b"{}", blob.replace(b"thing", b"other")):
        with pytest.raises(Damaged):
            unpack("thing", broken)


def test_a_newer_form_is_refused() -> None:
    """Half of what it says would be a lie."""
    with pytest.raises(Damaged, match="readers of form"):
        unpack("thing", pack("thing", {}, {}).replace(b'"reader":1', b'"reader":3'))
