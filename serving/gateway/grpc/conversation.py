"""A call in which the gateway itself answers message by message: health and reflection."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from serving.access.principal import UNLIMITED
from serving.gateway.grpc.answers import HEAD, WELL, failed
from serving.gateway.grpc.framing import Splitter, framed, inflated
from serving.gateway.grpc.messages import Malformed
from serving.gateway.grpc.opening import Taker
from serving.gateway.grpc.status import code_of, refusal
from serving.gateway.h2.stream import Fields, ServerStream
from serving.gateway.request import Bad
from serving.gateway.wording import UNREADABLE

if TYPE_CHECKING:
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.grpc.port import Line
    from serving.gateway.limits import Meter

_LARGEST: Final = 64 * 1024
"""Bytes of a question: names of services and files."""


class Conversation(Taker):
    """One such call.

    Args:
        line: the client's connection.
        stream: its stream.
        head: of the call.
    """

    __slots__ = ("_begun", "_head", "_line", "_meter", "_splitter", "_stream", "over")

    def __init__(self, line: Line, stream: ServerStream, head: CallHead) -> None:
        self._line = line
        self._stream = stream
        self._head = head
        self._splitter = Splitter(_LARGEST)
        self._begun = False
        self._meter: Meter | None = None
        self.over = False

    @abstractmethod
    def answer(self, question: bytes) -> None:
        """What is said to this question, by `say` and `finish`, or `refuse`.

        Raises:
            Malformed: it is none.
        """

    def asked_all(self) -> None:
        """The client asks no more."""
        self.finish()

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """Part of `Taker`."""
        del fields
        worker, head = self._line.worker, self._head
        who = worker.admission.admit(head, worker.wall_s, self._line)
        if isinstance(who, Bad):
            self.refuse(who)
            return
        bad = head.bad
        if who.limits is not UNLIMITED:
            meter = worker.meters.of(who)
            bad = meter.enter() or bad
            self._meter = None if bad else meter
        if bad is not None:
            self.refuse(bad)
        elif end:
            self.on_end()

    def on_data(self, data: bytes) -> None:
        """Part of `Taker`."""
        self._stream.consume(len(data))
        for sent in self._splitter.feed(data):
            if self.over:
                return
            question = sent if isinstance(sent, Bad) else inflated(sent, self._head.coding, _LARGEST)
            if isinstance(question, Bad):
                self.refuse(question)
                return
            try:
                self.answer(question)
            except Malformed:
                self.refuse(UNREADABLE)

    def on_end(self) -> None:
        """Part of `Taker`."""
        if not self.over:
            self.asked_all()

    def on_trailers(self, fields: Fields) -> None:
        """Part of `Taker`."""
        del fields
        self.on_end()

    def on_reset(self, code: int) -> None:
        """Part of `Taker`."""
        del code
        self._leave()

    def on_writable(self) -> None:
        """The answers are small."""

    def say(self, message: bytes) -> None:
        """One answer."""
        if not self._begun:
            self._begun = True
            self._stream.write_headers(HEAD)
        self._stream.write_data([framed(message)])
        if self._stream.full:  # it asks, and does not read
            self._stream.reset(0)
            self._leave()

    def finish(self) -> None:
        """There are no more answers."""
        if self.over:
            return
        self._leave()
        if self._begun:
            self._stream.write_trailers(WELL)
        else:
            self._stream.write_headers(HEAD + WELL, end=True)

    def refuse(self, bad: Bad) -> None:
        """Why there are no more."""
        if self.over:
            return
        self._leave()
        if self._begun:
            self._stream.write_trailers(failed(code_of(bad), bad.sentence))
        else:
            self._stream.write_headers(refusal(bad, is_grpc=self._head.is_grpc), end=True)

    def _leave(self) -> None:
        self.over = True
        meter, self._meter = self._meter, None
        if meter is not None:
            meter.leave()
