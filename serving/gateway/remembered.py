"""Heads that have been parsed before, by their bytes: equal bytes mean the same again.

Most clients send the same head with every request, and most models answer with the same one; what the parser made of it
is kept, so that a message that comes whole in one read needs no parser. Anything else goes the long way. Bounded: only
short heads, only so many, and all are forgotten when there are too many.
"""

from __future__ import annotations

from typing import Generic, TypeVar

Head = TypeVar("Head")
END = b"\r\n\r\n"
_LONGEST = 1024
_MOST = 1024


class Remembered(Generic[Head]):
    """Parsed heads by their bytes, the empty line included."""

    __slots__ = ("_by_bytes", "get")

    def __init__(self) -> None:
        self._by_bytes: dict[bytes, Head] = {}
        self.get = self._by_bytes.get
        """The head of these bytes; None where they are new."""

    def put(self, raw: bytes, head: Head) -> None:
        """Keeps it for the next time."""
        if len(raw) > _LONGEST or not (raw[:1].isalpha() and raw.endswith(END)):  # parsers skip empty lines in front
            return
        if len(self._by_bytes) >= _MOST:
            self._by_bytes.clear()
        self._by_bytes[raw] = head
