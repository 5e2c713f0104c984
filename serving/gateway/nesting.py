"""How deep a JSON body is nested, measured before a model sees it.

250,000 levels kill Triton 2.51 (its parser recurses), so a body nested deeper than 512 is refused here. Nothing is
decoded: strings are skipped and brackets counted, piece by piece, with a state of a few words and in time that grows
with the body's length alone. A compressed body is looked at inflated, in steps of a bounded size; one that cannot be
inflated is refused, for Triton 2.51 parses what came out before the mistake.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from itertools import accumulate
from typing import Protocol

from serving.errors import Refusal
from serving.gateway.request import Bad, is_compressed

DEEPEST = 512
_BLOCK = 128
_SLICE = 256 * 1024
_ALL_ALIKE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("]"): -1}
_EITHER_HEADER = 32 + zlib.MAX_WBITS  # like Triton, which tells gzip from deflate by the first bytes
_TOO_DEEP = Bad(Refusal.NESTED_TOO_DEEP, f"The JSON is nested deeper than {DEEPEST} levels: flatten it.")
_NOT_COMPRESSED = Bad(Refusal.MALFORMED, "The body is not what its Content-Encoding says: it cannot be inflated.")


class Gauge(Protocol):
    """Measures one body that comes in pieces, cut anywhere."""

    def fault(self, piece: bytes) -> Bad | None:
        """Takes the next piece; why the body may not be shown to a model, None while it may."""


def surely_shallow(pieces: Iterable[bytes]) -> bool:
    """Whether there are too few brackets to nest deeper than the limit, whatever they stand in."""
    brackets = 0
    for piece in pieces:
        brackets += piece.count(b"[") + piece.count(b"{")
    return brackets <= DEEPEST


def gauge_for(coding: bytes, length: int | None, most: int) -> Gauge:
    """A gauge for a body.

    Args:
        coding: its `Content-Encoding`, empty for none.
        length: of its JSON in bytes, after inflation; None where all of it is JSON.
        most: how many bytes of it are inflated at most.
    """
    plain = DepthGauge(length)
    return InflatingGauge(plain, most) if is_compressed(coding) else plain


class DepthGauge:
    """The depth of one body of plain JSON.

    Args:
        length: how many bytes of it are JSON; None for all.
    """

    __slots__ = ("_depth", "_in_string", "_left", "_tail")

    def __init__(self, length: int | None = None) -> None:
        self._left = length
        self._depth = 0
        self._in_string = False
        self._tail = b""  # a backslash at the end of a piece: what it escapes is in the next

    def fault(self, piece: bytes) -> Bad | None:
        """Takes the next piece; refuses a body once it is nested deeper than 512."""
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        brackets = self._outside_strings(self._tail + piece).translate(_ALL_ALIKE, _NO_BRACKETS)
        too_deep = any(self._too_deep_in(brackets[at : at + _BLOCK]) for at in range(0, len(brackets), _BLOCK))
        return _TOO_DEEP if too_deep else None

    def _too_deep_in(self, block: bytes) -> bool:
        before, opening = self._depth, block.count(b"[")
        self._depth = before + 2 * opening - len(block)
        if before + opening <= DEEPEST:  # even if all that opens came first
            return False
        return max(accumulate((_STEP[byte] for byte in block), initial=before)) > DEEPEST

    def _outside_strings(self, data: bytes) -> bytes:
        if (len(data) - len(data.rstrip(b"\\"))) % 2:
            data, self._tail = data[:-1], b"\\"
        else:
            self._tail = b""
        parts = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[self._in_string :: 2])
        self._in_string ^= len(parts) % 2 == 0
        return outside


class InflatingGauge:
    """The depth of a body that is compressed.

    Args:
        plain: measures what comes out.
        most: how many bytes may come out.
    """

    __slots__ = ("_inflater", "_left", "_most", "_plain")

    def __init__(self, plain: DepthGauge, most: int) -> None:
        self._plain = plain
        self._most = self._left = most
        self._inflater = zlib.decompressobj(_EITHER_HEADER)

    def fault(self, piece: bytes) -> Bad | None:
        """Takes the next piece as it came; refuses what is too deep, too much, or not compressed."""
        while not self._inflater.eof:
            try:
                out = self._inflater.decompress(piece, _SLICE)
            except zlib.error:
                return _NOT_COMPRESSED
            self._left -= len(out)
            if self._left < 0:
                return Bad(Refusal.TOO_LARGE, f"The body inflates to more than {self._most} bytes: send less.")
            found = self._plain.fault(out)
            if found is not None or not out:
                return found
            piece = self._inflater.unconsumed_tail
        return None
