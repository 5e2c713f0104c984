"""A stream of events as it goes by: how many, how soon, how far apart, whether one of them says that it failed.

`StreamWatch` is fed with times by whoever relays a stream, and its numbers are added up in `counters`: over gRPC one
answer is one event. `EventScanner` finds the server-sent events in the bytes of an HTTP stream, however they are cut,
and `EventStream` is both. None of them holds a stream up, changes it, or keeps more of it than one event of some KiB.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from serving.gateway.counters import Durations, Ended, Outcome

if TYPE_CHECKING:
    from serving.gateway.upstream import AnswerHead

ENDED = {Outcome.BROKEN: Ended.BROKEN, Outcome.LATE: Ended.LATE, Outcome.CANCELLED: Ended.CANCELLED}
"""How a stream ended whose attempt ended so; it is complete where there is nothing else to say."""
MOST_HELD: Final = 16 * 1024
"""Bytes of an event that are kept to find out what it says; a longer one is judged by how it begins."""
_EVENT_STREAM = b"\r\ncontent-type: text/event-stream"
_ENCODED = b"\r\ncontent-encoding: "
_BLANK_LINE = b"\n\n"
_ERROR = b'"error"'
_HAS_DATA = re.compile(rb"^data(?::|$)", re.MULTILINE)
_BEGINS_AS_ERROR = re.compile(rb'\s*data: ?\s*\{\s*"error"\s*:\s*["{]')


class StreamWatch:
    """One stream, from when its model was asked.

    Args:
        opened_s: when that was, by the loop's clock.
    """

    __slots__ = ("_last_s", "errors", "events", "first_s", "gaps", "opened_s")

    def __init__(self, opened_s: float) -> None:
        self.opened_s = opened_s
        self.first_s: float | None = None
        """Seconds from then to the first event; None while there was none."""
        self.events = 0
        """All of them, those that carry an error among them."""
        self.errors = 0
        """Events that carry an error."""
        self.gaps = Durations()
        """The time from each event to the next."""
        self._last_s = opened_s

    def saw(self, events: int, now_s: float, *, errors: int = 0) -> None:
        """So many events came at once, and so many of them carry an error.

        Args:
            events: 0 or more.
            now_s: by the loop's clock.
            errors: of these.
        """
        if not events:
            return
        if self.first_s is None:
            self.first_s = now_s - self.opened_s
        else:
            self.gaps.add(now_s - self._last_s)
        if events > 1:  # what came in one read came at one time
            self.gaps.add(0.0, events - 1)
        self.events += events
        self.errors += errors
        self._last_s = now_s

    def ended(self, how: Ended) -> Ended:
        """How it counts that it ended so: an error in mid-stream went wrong first, and most clients hang up on one."""
        return Ended.ERROR if self.errors else how


class Seen(NamedTuple):
    """What came with one piece of a stream.

    Attributes:
        events: that were completed by it.
        errors: of these, the ones that carry an error.
    """

    events: int
    errors: int


class EventScanner:
    """Finds server-sent events (WHATWG HTML, 9.2.6) in the pieces of an answer's body."""

    __slots__ = ("_after_cr", "_held", "_long")

    def __init__(self) -> None:
        self._held = bytearray()  # of the event that is under way
        self._long: Seen | None = None  # what that one is, where it is too long to be held
        self._after_cr = False

    @property
    def between(self) -> bool:
        """Whether no event is under way, so that another may be put here."""
        return self._long is None and not self._held.strip(b"\n")

    def feed(self, piece: bytes) -> Seen:
        """The next bytes, cut anywhere."""
        if self._after_cr or b"\r" in piece:
            piece = self._plain_ends(piece)
        held = self._held
        events = errors = begin = 0
        look = max(0, len(held) - 1)
        held += piece
        while (end := held.find(_BLANK_LINE, look)) >= 0:
            seen, self._long = self._long or _seen(held[begin:end]), None
            events += seen.events
            errors += seen.errors
            begin = look = end + len(_BLANK_LINE)
        del held[:begin]
        if len(held) > MOST_HELD:
            self._long = self._long or Seen(
                _HAS_DATA.search(held) is not None, _BEGINS_AS_ERROR.match(held) is not None
            )
            del held[:-1]
        return Seen(events, errors)

    def _plain_ends(self, piece: bytes) -> bytes:
        """The same with LF alone, where lines may also end in CRLF, or in CR."""
        if self._after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._after_cr = False
        if piece:
            self._after_cr = piece.endswith(b"\r")
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class EventStream(StreamWatch):
    """A stream of server-sent events."""

    __slots__ = ("_scanner",)

    def __init__(self, opened_s: float) -> None:
        super().__init__(opened_s)
        self._scanner = EventScanner()

    @property
    def between(self) -> bool:
        """Whether no event is under way, so that another may be put here."""
        return self._scanner.between

    @property
    def only_failed(self) -> bool:
        """Whether there was no event yet but such as carry an error."""
        return self.events == self.errors

    def take(self, pieces: list[bytes], now_s: float) -> None:
        """More of its bytes."""
        for piece in pieces:
            events, errors = self._scanner.feed(piece)
            self.saw(events, now_s, errors=errors)


def is_event_stream(headers: bytes) -> bool:
    """Whether an answer with these header lines is a stream of events that can be read.

    Args:
        headers: lines, each ended by CRLF, as `AnswerHead` has them.
    """
    lines = b"\r\n" + headers.lower()
    return _EVENT_STREAM in lines and _ENCODED not in lines


def failed_in(answer: AnswerHead, pieces: list[bytes]) -> bool:
    """Whether a model's whole answer to `generate` says that it failed.

    A model's answer comes in chunks, which tells it from a refusal of Triton's own, whose length is known.
    """
    return answer.length is None and says_error(b"".join(pieces))


def _guessed(beginning: bytes | bytearray) -> Seen:
    """Of an event that is too long to be held."""
    if _HAS_DATA.search(beginning) is None:
        return Seen(0, 0)
    return Seen(1, int(_BEGINS_AS_ERROR.match(beginning) is not None))


def _seen(block: bytes | bytearray) -> Seen:
    """Of what stands between two blank lines; a comment that keeps the connection alive is no event."""
    if _HAS_DATA.search(block) is None:
        return Seen(0, 0)
    return Seen(1, int(_ERROR in block and _carries_error(block)))


def _carries_error(block: bytes | bytearray) -> bool:
    lines = (line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:"))
    return says_error(b"\n".join(lines))


def says_error(data: bytes | bytearray) -> bool:
    """Whether this is JSON with an `error`, as Triton reports what went wrong in a model, whatever the status was.

    A model may have an output of that name: beside it stands `model_name`, which an error of Triton's has not.
    """
    if _ERROR not in data:
        return False
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return False
    if not isinstance(said, dict) or "model_name" in said:
        return False
    error = said.get("error")
    return isinstance(error, str | dict) and bool(error)
