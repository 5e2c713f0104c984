"""How the process's heap gives memory back: not at once, for the next large message wants it again.

The C library returns what is free at the end of its heap to the kernel as soon as that is a few times the largest
message, and gets it back page by page, zeroed. Between messages of 1 MB that costs a worker more than to relay them
(`docs/decisions/0013-grpc-by-hand.md` has figures). So some is kept. Where there is no `mallopt` (another C library),
nothing changes but the price.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
KEPT: Final = 64 * 1024 * 1024
"""Bytes at the end of the heap that stay although they are free."""
_APART: Final = 8 * 1024 * 1024
"""Blocks of so many bytes and more are mapped, and given back, one by one."""


def keep() -> None:
    """Keeps up to `KEPT` bytes; to be called once, before any large block was."""
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, KEPT)
        library.mallopt(_MMAP_THRESHOLD, _APART)
