"""`grpc.health.v1`: whether the gateway is ready, once or at each change.

The service is the gateway as a whole (an empty name) or the inference service; they are ready together. Of any other
there is no telling: a model's readiness is `ModelReady`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from serving.errors import Refusal
from serving.gateway.grpc.conversation import Conversation
from serving.gateway.grpc.messages import fields_of, whole
from serving.gateway.grpc.methods import HEALTH, INFERENCE
from serving.gateway.h2.stream import ServerStream
from serving.gateway.request import Bad

if TYPE_CHECKING:
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.grpc.port import Line

SERVING: Final = 1
NOT_SERVING: Final = 2
SERVICE_UNKNOWN: Final = 3
_KNOWN = frozenset((b"", INFERENCE.encode(), HEALTH.encode()))
_LONGEST_NAME = 128


class HealthCall(Conversation):
    """`Check`, or `Watch`."""

    __slots__ = ("_last", "_service")

    def __init__(self, line: Line, stream: ServerStream, head: CallHead) -> None:
        super().__init__(line, stream, head)
        self._service: bytes | None = None
        self._last = 0

    def answer(self, question: bytes) -> None:
        """How the service is; `Watch` says so again when it changes."""
        if self._service is not None:
            self.refuse(Bad(Refusal.MALFORMED, "This method takes one message: send each further one in a call."))
            return
        named = dict(fields_of(question)).get(1, b"")
        self._service = named if isinstance(named, bytes) else b""
        if self._head.watches:
            self._line.port.watchers.add(self)
            self.look()
        elif self._service in _KNOWN:
            self.say(whole(1, self._status))
            self.finish()
        else:
            shown = self._service[:_LONGEST_NAME].decode("utf-8", "replace")
            self.refuse(Bad(Refusal.UNKNOWN_MODEL, f"There is no service '{shown}' here: ask for '' or {INFERENCE}."))

    def asked_all(self) -> None:
        """A watcher asks once and goes on listening."""
        if self._service is None:
            self.refuse(Bad(Refusal.MALFORMED, "This method takes one message, and none was sent."))
        elif not self._head.watches:
            self.finish()

    def look(self) -> None:
        """Says how it is, where that has changed."""
        status = self._status
        if status != self._last and not self.over:
            self._last = status
            self.say(whole(1, status))

    def end(self) -> None:
        """The worker ends: whoever watches asks the next one."""
        self.refuse(Bad(Refusal.NO_REPLICA, "The gateway is about to end: try again."))

    @property
    def _status(self) -> int:
        if self._service not in _KNOWN:
            return SERVICE_UNKNOWN
        return SERVING if self._line.worker.standing.ready else NOT_SERVING

    def leave(self) -> None:
        """It is over: nobody listens any more."""
        super().leave()
        self._line.port.watchers.discard(self)
