"""`generate` and `generate_stream`: exchanges whose answer may fail although it began well.

Triton reports what goes wrong in a model that generates by an `error` in the answer's body. In mid-stream the status
was 200 long ago; before the first event it is 400, which elsewhere means that the client is to blame. So what counts is
the body: an answer that carries an error is a failure of its version, as a 500 is to `infer`.

No client has got anything before the first sound event, so until then stable may still answer in a candidate's place.
Afterwards a stream stays where it is, whatever becomes of the policy or the replicas, and a failure is the client's:
it gets a last event, `{"error": ...}` as Triton says it, and no end of the answer, by which it knows that this was not
all. Who is to blame: whoever breaks a stream off, or lets it stand still although the client reads. Not who says that
it failed, for that may be the request's own fault, and a client could have a replica ejected by what it sends; nor is
it a sign of health.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from serving.gateway.attempts import SERVER_ERROR
from serving.gateway.counters import Ended, Outcome, Role
from serving.gateway.exchange import Exchange
from serving.gateway.paths import Operation
from serving.gateway.request import Bad
from serving.gateway.streaming import ENDED, EventStream, failed_in, is_event_stream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from serving.gateway.http import ClientConnection
    from serving.gateway.request import RequestHead
    from serving.gateway.routing import VersionRoute
    from serving.gateway.upstream import AnswerHead, Upstream, UpstreamConnection
    from serving.gateway.worker import Worker


_COMMENT = b":\n\n"


def exchange_of(client: ClientConnection, worker: Worker, head: RequestHead) -> Exchange:
    """The exchange for what this asks."""
    return _KINDS.get(head.target.operation, Exchange)(client, worker, head)


class GenerateExchange(Exchange):
    """A request with one answer, which a model generates."""

    __slots__ = ()

    def _counts_as(self, answer: AnswerHead, pieces: list[bytes]) -> int:
        return SERVER_ERROR if failed_in(answer, pieces) else answer.code


class StreamExchange(Exchange):
    """A request whose answer is a stream of events."""

    __slots__ = ("_ended", "_stream", "_unread")

    def __init__(self, client: ClientConnection, worker: Worker, head: RequestHead) -> None:
        super().__init__(client, worker, head)
        self._stream: EventStream | None = None  # of the attempt under way, once it has begun
        self._ended: Ended | None = None  # where that is not what the attempt's outcome says
        self._unread = 0  # what the client had not taken when it was last looked at, bytes

    @property
    def probe(self) -> bytes:
        """A comment, where an event might be."""
        if not self.reply.begun:
            return super().probe
        return self.reply.framed(_COMMENT) if self._between_events and not self.answered else b""

    # What comes of the attempt.

    def on_answer(self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes]) -> None:
        """A part of the stream, relayed as it is."""
        if connection is self._connection:
            self._look(answer, pieces)
        super().on_answer(connection, answer, pieces)

    def on_answer_end(
        self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes], *, keep_alive: bool
    ) -> None:
        """The rest of the stream, or all of it."""
        if connection is self._connection:
            self._look(answer, pieces)
        super().on_answer_end(connection, answer, pieces, keep_alive=keep_alive)

    def _look(self, answer: AnswerHead, pieces: list[bytes]) -> None:
        if self._stream is None:
            if not is_event_stream(answer.headers):
                return
            self._stream = EventStream(self._began)
        self._stream.take(pieces, self._worker.loop.time())

    def _holds(self, answer: AnswerHead) -> bool:
        stream = self._stream
        if stream is None:
            return answer.code >= SERVER_ERROR and super()._holds(answer)
        most = self._worker.config.repeat_max_response
        return stream.only_failed and self._may_repeat and sum(map(len, self._held)) <= most

    def _counts_as(self, answer: AnswerHead, pieces: list[bytes]) -> int:
        del pieces
        return SERVER_ERROR if self._stream is not None and self._stream.errors else answer.code

    # How it ends.

    def on_client_full(self) -> None:
        """The client reads too slowly for now."""
        self._unread = self._client.unread
        super().on_client_full()

    def on_deadline(self) -> None:
        """Nothing has moved for too long; that is the model's fault only where the client is there to read."""
        if not self.reply.begun or self._worker.loop.time() >= self._latest:
            super().on_deadline()
        elif self._client.full:
            self._wait_for_client()
        else:
            if self._upstream is not None and self.body.ended:
                self._blame(self._upstream)
            super().on_deadline()

    def _wait_for_client(self) -> None:
        """As long as it takes anything at all."""
        unread, before = self._client.unread, self._unread
        if unread < before:
            self._unread = unread
            self._moves()
        else:
            self.answered = True
            self._leave_upstream()
            self._client.cut()

    def refuse(self, bad: Bad) -> None:
        """An error of the gateway's own; a stream that has begun gets it as its last event."""
        if self.answered or not self.reply.begun:
            super().refuse(bad)
            return
        may_speak = self._between_events
        if self._worker.draining:
            self._ended = Ended.DRAINED
        self.answered = True
        self._fail(bad)
        self._leave_upstream()
        self.reply.break_off(b"data: %s\n\n" % json.dumps({"error": bad.sentence}).encode() if may_speak else b"")

    def _attempt(self, route: VersionRoute, role: Role, failed: Upstream | None = None) -> None:
        self._stream = None
        super()._attempt(route, role, failed)

    def _end_attempt(self, outcome: Outcome) -> None:
        upstream, stream = self._upstream, self._stream
        if upstream is not None and stream is not None:
            role = Role.SYNTHETIC if self._head.synthetic else self._role
            upstream.count_stream(role, stream, self._ended or ENDED.get(outcome, Ended.COMPLETE))
            if stream.errors:
                outcome = Outcome.SERVER_ERROR
                self._failed = self._failed or SERVER_ERROR * self.reply.begun
        super()._end_attempt(outcome)

    @property
    def _between_events(self) -> bool:
        """Whether an event may be put here."""
        return self._stream is not None and self._stream.between


_KINDS: Mapping[Operation, type[Exchange]] = {
    Operation.GENERATE: GenerateExchange,
    Operation.GENERATE_STREAM: StreamExchange,
}
