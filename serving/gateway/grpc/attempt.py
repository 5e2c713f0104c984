"""A request's attempts over gRPC, as a call and a branch of a stream have them in common: each is a stream to a Triton.

Which replica is asked, and what follows a failure, is in `attempts`; what is sent and what becomes of the answer is
left to `call` and `branch`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serving.errors import Refusal
from serving.gateway.failover import Failure
from serving.gateway.grpc.answers import Answer
from serving.gateway.grpc.heads import CallHead, timeout_field
from serving.gateway.grpc.leg import Asker, Leg
from serving.gateway.request import Bad
from serving.gateway.served import Served

if TYPE_CHECKING:
    from serving.gateway.attempts import Asks
    from serving.gateway.h2.client import ClientConnection
    from serving.gateway.h2.stream import Piece
    from serving.gateway.upstream import Upstream
    from serving.gateway.worker import Worker


class Told:
    """The answer half: whether the client has a part of it."""

    __slots__ = ("begun", "sent")

    def __init__(self) -> None:
        self.begun = False
        self.sent = 0
        """Bytes of messages that it was sent, each with its five bytes."""


class Sending(Served[Answer], Asker):
    """A request that is sent to a Triton's gRPC port, maybe more than once."""

    _head: CallHead
    _connection: Leg | None

    __slots__ = ("_not_taken",)

    def __init__(self, worker: Worker, head: CallHead, body: Asks) -> None:
        super().__init__(worker, head, body, Told())
        self._not_taken = 0

    @abstractmethod
    def _pieces(self) -> Sequence[Piece]:
        """What is to be sent, as far as it is there, for the version that is asked."""

    def _ask(self, upstream: Upstream, *, fresh: bool) -> None:
        del fresh  # a connection that broke is not used again in any case
        self._not_taken = 0
        if upstream.lines is None:
            self._after(Failure.REFUSED, Bad(Refusal.NO_REPLICA, self._sentence("has no gRPC port")))
        else:
            upstream.lines.carry(self)

    def on_line(self, line: ClientConnection) -> None:
        """A connection stands: out with what there is."""
        leg = self._connection = Leg(self)
        block = self._head.block if self._note is None else self._head.onward(self._note.onward)
        if self._latest < math.inf:
            block += timeout_field(self._latest - self._worker.loop.time())
        leg.stream = line.open(block, leg, self._pieces(), end=self.body.ended)

    def on_not_taken(self, leg: Leg) -> None:
        """That connection was about to end: another one carries it, if all of it is still there."""
        upstream = self._upstream
        if leg is not self._connection or upstream is None or upstream.lines is None:
            return
        if not self.body.held:
            self.on_upstream_lost(leg)
            return
        self._connection = None
        self._not_taken += 1
        if self._not_taken > 1:
            self.on_refused(upstream)
        else:
            upstream.lines.carry(self)

    @property
    def _version(self) -> bytes:
        """The version that is asked, in decimal."""
        if self._route is None:
            raise RuntimeError("a request was sent before it had a way")
        return self._route.decimal
