"""One request and its answer: two independent halves between a client's connection and an upstream's.

The request half goes from the client to the upstream (head, pieces, end), the answer half the other way, and each can
begin, pause and end without the other: an answer may be complete before the body is. A request that is whole when it
is sent, and an answer that comes in one read, take one write each; that is a fast path of the same steps, not another
shape. The request is held until its answer begins, and a small answer until it is complete, so that a failed attempt
can be followed by another.

Which replica is asked, and what follows a failure, is in `attempts`, which an exchange is built on: one object, for it
is made for every request. Parsing is the two connections' business; which version answers is decided in `dispatch`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from serving.access.principal import UNLIMITED, Principal
from serving.errors import STATUS, Refusal
from serving.gateway import answers, shadow
from serving.gateway.attempts import SERVER_ERROR
from serving.gateway.body import Body, chunk
from serving.gateway.dispatch import Way, find_way, own_answer, settled
from serving.gateway.fetch import statistics
from serving.gateway.paths import Operation
from serving.gateway.reply import Reply, with_versions
from serving.gateway.request import Bad, RequestHead
from serving.gateway.served import Served
from serving.gateway.upstream import AnswerHead, Attempt

if TYPE_CHECKING:
    from serving.gateway.http import ClientConnection
    from serving.gateway.pairs import First
    from serving.gateway.predictions import Observer
    from serving.gateway.upstream import Upstream, UpstreamConnection
    from serving.gateway.worker import Worker

STREAM_FROM = 256 * 1024
"""A body up to this size is sent once it is whole, so that a slow client never holds a place at a model."""
_JOIN_UP_TO = 64 * 1024
_LONGEST_METADATA = 1024 * 1024
_END_OF_CHUNKS = b"0\r\n\r\n"


class Exchange(Served[AnswerHead], Attempt):
    """One request and its answer."""

    _head: RequestHead
    body: Body
    reply: Reply
    _connection: UpstreamConnection | None

    __slots__ = ("_client", "opened")

    def __init__(self, client: ClientConnection, worker: Worker, head: RequestHead) -> None:
        super().__init__(worker, head, Body(head, worker.config.max_body), Reply(client, head))
        self._client = client
        self.opened = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request after this one."""
        return self._head.keep_alive

    @property
    def probe(self) -> bytes:
        """What may be written now and every client has to skip; empty where there is no such thing."""
        interim = self._way is not None and self._head.http_1_1 and not self.reply.begun and not self.answered
        return answers.CONTINUE if interim else b""

    # The request half, driven by the client's connection.

    def open(self) -> None:
        """Its turn on the connection: asks whether it may, then finds the way, or answers at once."""
        self.opened = True
        head, worker = self._head, self._worker
        who = worker.admission.admit(head, worker.wall_s, self._client)
        if isinstance(who, Bad):
            self.refuse(who)
            return
        if who.limits.max_body is not None:  # first: what is refused is drained up to this as well
            self.body.limit(who.limits.max_body)
        bad = head.bad if who.limits is UNLIMITED else self._count_in(who, head.length) or head.bad
        if head.target.operation is Operation.ALL_STATS and bad is None:
            worker.run(self._answer_statistics(who))
            return
        found = (
            bad or own_answer(worker.standing, head.target, who) or find_way(worker.routing, head, worker.nonce(), who)
        )
        if isinstance(found, Way):
            self._way = found
            if self._awaits_leave:
                self._client.write(answers.CONTINUE)
        elif isinstance(found, Bad):
            self.refuse(found)
        else:
            self._answer_by_itself(found, last=self._awaits_leave)

    async def _answer_statistics(self, who: Principal) -> None:
        """The one answer that is put together from those of many."""
        worker = self._worker
        found = await statistics(worker.routing, worker.questions, worker.config.connect_timeout_s, who)
        if not self.answered:
            self._answer_by_itself(found, last=self._awaits_leave)

    def receive(self, piece: bytes) -> None:
        """A piece of the body."""
        bad = self.body.take(piece)
        connection = self._connection
        if self.answered:  # it is only drained
            if bad is not None and bad.kind is Refusal.TOO_LARGE:  # and there is too much to drain
                self._client.hang_up()
        elif bad is not None:
            if self._meter is not None:
                self._meter.too_large += bad.kind is Refusal.TOO_LARGE
            self.refuse(bad)
        elif connection is not None:
            connection.write(chunk(piece) if self._head.length is None else piece)
            self._moves()
            self._let_go_of_large()

    def receive_end(self) -> None:
        """The body is complete."""
        self.body.ended = True
        if self.answered:
            self._client.finished(self)
        elif self._connection is not None and self._head.length is None:
            self._connection.write(_END_OF_CHUNKS)

    def proceed(self) -> None:
        """After each read: sends the request once enough of it is there."""
        body, way = self.body, self._way
        if way is None or self.answered or not (body.ended or self._may_stream(way)):
            return
        if not self._started:
            bad = body.fault()
            if way.awaits and bad is None:
                way = self._way = settled(way, self._head, body.json(way.awaits))
            bad = bad or self._take_place(way)
            if bad is None:
                self._start(way)
            else:
                self.refuse(bad)
        if self._connection is None and not body.ended and not self.answered:
            self._client.pause_reading()  # until a connection stands

    def _may_stream(self, way: Way) -> bool:
        """Whether it may go out before it is whole: not what may name the unit, nor what may be quarantined."""
        worker, received = self._worker, self.body.received
        least = max(STREAM_FROM, worker.config.repeat_max_request + 1) if worker.quarantine else STREAM_FROM
        return received >= least and not (way.awaits and self.body.awaits_json(way.awaits))

    def abandon(self) -> None:
        """The client is gone: the place at the model is given back at once."""
        self.answered = True
        self._leave_upstream()

    @property
    def _awaits_leave(self) -> bool:
        """Whether the client holds its body back until it is told to send it, and so may never send it."""
        return self._head.expects and not self.body.ended and not self.body.received

    def _let_go_of_large(self) -> None:
        if self.body.held and self.body.received > self._worker.config.repeat_max_request:
            self.body.let_go()

    def _ask(self, upstream: Upstream, *, fresh: bool) -> None:
        if fresh:
            upstream.dial(self)
        else:
            upstream.carry(self)

    def on_connected(self, connection: UpstreamConnection) -> None:
        """A connection stands: the request goes out, as far as it has come."""
        self._connection = connection
        body = self.body
        pieces = body.framed()
        if body.received <= _JOIN_UP_TO:
            connection.write(self._upstream_head() + b"".join(pieces))
        else:
            connection.writelines([self._upstream_head(), *pieces])
        self._let_go_of_large()
        if not body.ended and not connection.full:
            self._client.resume_reading()

    def _upstream_head(self) -> bytes:
        """The head as the upstream gets it: our framing, the version in the path."""
        if self._route is None:
            raise RuntimeError("a request was sent before it had a way")
        onward = None if self._note is None else self._note.onward
        return self._head.rebuilt(self._route.prefix, self.body.framing(), onward)

    def on_upstream_full(self) -> None:
        """The upstream takes no more for now."""
        if not self.body.ended:
            self._client.pause_reading()

    def on_upstream_ready(self) -> None:
        """The upstream takes more."""
        self._client.resume_reading()

    # The answer half.

    def on_answer(self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes]) -> None:
        """A part of the answer: its head when it is the first, and what came of its body."""
        if connection is not self._connection:
            return
        if self.reply.begun:
            self._moves()
            goes_on = self.reply.more(pieces)
            if self._worker.capture is not None:
                self._worker.capture.go_on(self, pieces)
        else:
            self._held += pieces
            if self._holds(answer):
                return
            pieces, self._held = self._held, []
            goes_on = self.reply.begin(answer, self._sluice_headers(), pieces)
            self._moves()
            if self._worker.capture is not None:
                self._worker.capture.gather(self, pieces)
        if not goes_on:
            connection.pause()

    def on_answer_end(
        self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes], *, keep_alive: bool
    ) -> None:
        """The rest of the answer, or all of it."""
        if connection is not self._connection:
            connection.close()
            return
        self._connection = None
        if keep_alive and self.body.ended:
            connection.rest()
        else:  # the rest of the body has nowhere to go
            connection.close()
        if self._held:
            pieces, self._held = [*self._held, *pieces], []
        code = self._counts_as(answer, pieces)
        if self.reply.begun:
            self.reply.end(pieces)
            self._failed = code if code >= SERVER_ERROR else 0
            self._conclude(code)
            self._finish(None if self._worker.capture is None else self._first_gathered(answer, code, pieces))
        elif code >= SERVER_ERROR:
            self._on_server_error(answer, pieces)
        else:
            if self._way is not None and (observer := self._way.model.observer) is not None:
                self._look_at(observer, answer, pieces)
            self._conclude(code)
            self._answer_whole(answer, pieces)

    def _look_at(self, observer: Observer, answer: AnswerHead, pieces: list[bytes]) -> None:
        """What it predicts; not in place, for a function that makes another costs every request something."""
        if answer.code == HTTPStatus.OK:
            self._observe(observer, lambda: observer.label(answer.headers, b"".join(pieces)))

    def _counts_as(self, answer: AnswerHead, pieces: list[bytes]) -> int:
        """The status that stands for what became of it; `pieces` are what the client has not got of its body."""
        del pieces
        return answer.code

    def _answer_whole(self, answer: AnswerHead, pieces: list[bytes]) -> None:
        way = self._way
        spare = self._spare is not None and pieces is self._spare.pieces  # a generation that failed says 400, or 200
        self._failed = max(answer.code, SERVER_ERROR) if spare or answer.code >= SERVER_ERROR else 0
        if way is not None and self._rewrites(answer):
            pieces = [with_versions(b"".join(pieces), way.model.versions)]
        self.reply.whole(answer, self._sluice_headers(), pieces)
        heard = self._worker.capture is not None and self._is_heard(answer.code)
        self._finish(self._first(answer.code, answer.headers, pieces) if heard else None)

    def _holds(self, answer: AnswerHead) -> bool:
        """Whether the client gets nothing before the answer is complete, so that it can still come from elsewhere."""
        size = sum(map(len, self._held))
        if self._rewrites(answer):
            if size > _LONGEST_METADATA:
                self.refuse(Bad(Refusal.BROKEN_UPSTREAM, self._sentence("sent more than 1 MiB of metadata")))
            return True
        most = self._worker.config.repeat_max_response
        failed = answer.code >= SERVER_ERROR  # an error is no stream, whatever was asked for
        streams = not (failed or self.body.ended)  # both at once
        return not streams and size <= most and (answer.length or 0) <= most and self._may_repeat

    def _rewrites(self, answer: AnswerHead) -> bool:
        """Whether it is metadata, the one answer that is not the upstream's to the byte."""
        return self._head.target.operation is Operation.METADATA and answer.code == HTTPStatus.OK

    def _sluice_headers(self) -> bytes:
        """What the gateway adds: which version answered and why, by the policy of which epoch, and the request's id."""
        said = self._signature()
        if said is None:
            return b""
        return b"sluice-version: %d\r\nsluice-request-id: %s\r\nsluice-reason: %s\r\nsluice-epoch: %d\r\n" % said

    def refuse(self, bad: Bad) -> None:
        """An error of the gateway's own; where the answer has begun, all that is left is to cut it."""
        if self.answered:
            return
        self._fail(bad)
        if self.reply.begun:
            self._cut()
            return
        self._leave_upstream()
        first = None if self._worker.capture is None else self._first_refused(bad)
        self._answer_by_itself(answers.refusal(*bad), last=STATUS[bad.kind].closes or self._awaits_leave, first=first)

    def _answer_by_itself(self, answer: bytes, *, last: bool, first: First | None = None) -> None:
        self.reply.begun = True
        self._client.write_own(answer, self._head, last=last)
        self._finish(first)

    def on_client_full(self) -> None:
        """The client reads too slowly for now."""
        if self._connection is not None:
            self._connection.pause()

    def on_client_ready(self) -> None:
        """The client reads again."""
        if self._connection is not None:
            self._connection.resume()

    # Its place, and its end.

    def _first_gathered(self, answer: AnswerHead, code: int, pieces: list[bytes]) -> First | None:
        """An answer that has gone to the client piece by piece, as far as it was noted, where it is heard."""
        capture = self._worker.capture
        if capture is None:
            return None
        capture.go_on(self, pieces)
        held, size = capture.gathered(self)
        return self._first(code, answer.headers, held, size=size) if self._is_heard(code) else None

    def _finish(self, first: First | None = None) -> None:
        self.answered = True
        way = self._way
        if way is not None and way.model.policy.shadows and self._started and not self._head.synthetic:
            if self._broke_at is not None:  # a shadow's replica is not to be the next that it breaks
                self.body.let_go()
            took_s = self._worker.loop.time() - self._began
            shadow.send(self._worker, way, self._head, self.body, took_s=took_s, first=first, note=self._note)
        if first is not None and self._worker.capture is not None:
            self._worker.capture.close(first)
        self.body.let_go()  # what is left of it is read and dropped
        self._give_back_place()
        if self.body.ended:
            self._client.finished(self)
        else:
            self._client.resume_reading()  # what is left of the body is read and dropped

    def _cut(self) -> None:
        self.answered = True
        self._leave_upstream()
        self._client.cut()
