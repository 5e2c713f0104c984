"""A call in which the gateway itself answers message by message: health and reflection."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from serving.gateway.grpc.answers import HEAD
from serving.gateway.grpc.dialogue import Dialogue
from serving.gateway.grpc.framing import Splitter, framed, inflated
from serving.gateway.grpc.messages import Malformed
from serving.gateway.h2.frames import ErrorCode
from serving.gateway.h2.stream import ServerStream
from serving.gateway.request import Bad
from serving.gateway.wording import UNREADABLE

if TYPE_CHECKING:
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.grpc.port import Line

_LARGEST: Final = 64 * 1024
"""Bytes of a question: names of services and files."""


class Conversation(Dialogue):
    """One such call.

    Args:
        line: the client's connection.
        stream: its stream.
        head: of the call.
    """

    __slots__ = ("_splitter",)

    def __init__(self, line: Line, stream: ServerStream, head: CallHead) -> None:
        super().__init__(line, stream, head)
        self._splitter = Splitter(_LARGEST)

    @abstractmethod
    def answer(self, question: bytes) -> None:
        """What is said to this question, by `say` and `finish`, or `refuse`.

        Raises:
            Malformed: it is none.
        """

    def asked_all(self) -> None:
        """The client asks no more."""
        self.finish()

    def on_data(self, data: bytes) -> None:
        """Part of `StreamHandler`."""
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
        """Part of `StreamHandler`."""
        if not self.over:
            self.asked_all()

    def on_writable(self) -> None:
        """The answers are small."""

    def say(self, message: bytes) -> None:
        """One answer."""
        if not self._begun:
            self._begun = True
            self._stream.write_headers(HEAD)
        self._stream.write_data([framed(message)])
        if self._stream.full:  # it asks, and does not read
            self._stream.reset(ErrorCode.NO_ERROR)
            self.leave()
