"""A call of several messages: how one begins, and how it ends, whoever answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.access.principal import UNLIMITED, Principal
from serving.gateway.grpc.answers import HEAD, WELL, refuse_on
from serving.gateway.h2.stream import Fields, ServerStream, StreamHandler
from serving.gateway.request import Bad

if TYPE_CHECKING:
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.grpc.port import Line
    from serving.gateway.limits import Meter


class Dialogue(StreamHandler):
    """One such call.

    Args:
        line: the client's connection.
        stream: its stream.
        head: of the call.

    Attributes:
        over: whether the client has all of its answer, or will never have.
    """

    __slots__ = ("_begun", "_head", "_line", "_meter", "_stream", "_who", "over")

    def __init__(self, line: Line, stream: ServerStream, head: CallHead) -> None:
        self._line = line
        self._stream = stream
        self._head = head
        self._who: Principal
        self._meter: Meter | None = None  # of whoever asks, while it counts this call
        self._begun = False
        self.over = False

    def on_headers(self, fields: Fields, *, end: bool) -> None:
        """The call begins: whether it may go on is known from its head alone."""
        del fields
        worker, head = self._line.worker, self._head
        who = worker.admission.admit(head, worker.wall_s, self._line)
        if isinstance(who, Bad):
            self._turn_away(who)
            return
        self._who = who
        bad = head.bad if who.limits is UNLIMITED else self._count_in() or head.bad
        if bad is not None:
            self._turn_away(bad)
            return
        self.opened()
        if end:
            self.on_end()

    def _turn_away(self, bad: Bad) -> None:
        journal = self._line.worker.journal
        if journal is not None:
            journal.refused(self._head, None, None, bad)
        self.refuse(bad)

    def _count_in(self) -> Bad | None:
        """Counts it among the calls of somebody who has limits; why it exceeds them, if so."""
        meter = self._line.worker.meters.of(self._who)
        bad = meter.enter()
        if bad is None:
            self._meter = meter
        return bad

    def opened(self) -> None:
        """It may go on."""

    def on_trailers(self, fields: Fields) -> None:
        """A client has nothing to say there."""
        del fields
        self.on_end()

    def on_reset(self, code: int) -> None:
        """The client has given up, or is gone."""
        del code
        self.leave()

    def finish(self) -> None:
        """There are no more answers."""
        if self.over:
            return
        self.leave()
        if self._begun:
            self._stream.write_trailers(WELL)
        else:
            self._stream.write_headers(HEAD + WELL, end=True)

    def refuse(self, bad: Bad) -> None:
        """There are no more answers, and this is why."""
        if not self.over:
            self.leave()
            refuse_on(self._stream, bad, begun=self._begun, is_grpc=self._head.is_grpc)

    def leave(self) -> None:
        """It is over: its place is given back."""
        self.over = True
        meter, self._meter = self._meter, None
        if meter is not None:
            meter.leave()
