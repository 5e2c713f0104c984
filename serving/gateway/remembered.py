"""Heads that have been parsed before, by their bytes: equal bytes mean the same again.

Most clients send the same head with every request, and most models answer with the same one; what the parser made of it
is kept, so that a message that comes whole in one read needs no parser. Anything else goes the long way. Bounded: only
short heads, only so many, and all are forgotten when there are too many.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

END = b"\r\n\r\n"
_LONGEST = 4096
"""Bytes of a head: room for a token in it."""
_MOST = 1024


class HasLength(Protocol):
    """A parsed head."""

    @property
    def length(self) -> int | None:
        """Of the body in bytes, None where the head does not say."""


Head = TypeVar("Head", bound=HasLength)


class Remembered(Generic[Head]):
    """Parsed heads by their bytes, the empty line included."""

    __slots__ = ("_by_bytes",)

    def __init__(self) -> None:
        self._by_bytes: dict[bytes, Head] = {}

    def whole(self, data: bytes) -> tuple[Head, bytes] | None:
        """Head and body, where these bytes are one whole message whose head is known."""
        end = data.find(END, 0, _LONGEST) + len(END)
        head = self._by_bytes.get(data[:end])
        return None if head is None or head.length != len(data) - end else (head, data[end:])

    def put(self, data: bytes, head: Head) -> None:
        """Keeps the head of these bytes for the next time, where they are one whole message.

        Args:
            data: what came in one read.
            head: what the parser made of its beginning.
        """
        end = data.find(END, 0, _LONGEST) + len(END)
        raw = data[:end]
        if head.length != len(data) - end or not (raw[:1].isalpha() and raw.endswith(END)):
            return  # parsers skip empty lines in front
        if len(self._by_bytes) >= _MOST:
            self._by_bytes.clear()
        self._by_bytes[raw] = head
