"""How deep a JSON body is nested, measured before a model sees it.

250,000 levels kill Triton 2.51 (its parser recurses), so a body nested deeper than 512 is refused here. Nothing is
decoded: strings are skipped, brackets counted, piece by piece, with a state of a few words.
"""

from __future__ import annotations

import re
from itertools import accumulate

DEEPEST = 512
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def surely_shallow(body: bytes) -> bool:
    """Whether there are too few brackets to nest deeper than the limit, whatever they stand in."""
    return body.count(b"[") + body.count(b"{") <= DEEPEST


class DepthGauge:
    """The depth of one body that comes in pieces, cut anywhere."""

    __slots__ = ("_depth", "_in_string", "_tail")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._tail = b""  # a backslash at the end of a piece: what it escapes is in the next

    def too_deep(self, piece: bytes) -> bool:
        """Takes the next piece; True once the body is nested deeper than 512."""
        outside = self._outside_strings(self._tail + piece)
        brackets = outside.translate(None, _NO_BRACKETS)
        if not brackets:
            return False
        depths = list(accumulate((_STEP[byte] for byte in brackets), initial=self._depth))
        self._depth = depths[-1]
        return max(depths) > DEEPEST

    def _outside_strings(self, data: bytes) -> bytes:
        self._tail = b""
        start = 0
        if self._in_string:
            end = _REST_OF_STRING.match(data)
            if not end:
                self._keep_escape(data)
                return b""
            start = end.end()
            self._in_string = False
        outside = _STRING.sub(b"", data[start:])
        outside, quote, inside = outside.partition(b'"')
        if quote:
            self._in_string = True
            self._keep_escape(inside)
        return outside

    def _keep_escape(self, data: bytes) -> None:
        if (len(data) - len(data.rstrip(b"\\"))) % 2:
            self._tail = b"\\"
