"""One request and its answer: two independent halves between a client's connection and an upstream's.

The request half goes from the client to the upstream (head, pieces, end), the answer half the other way, and each can
begin, pause and end without the other: an answer may be complete before the body is. A request that is whole when it
is sent, and an answer that comes in one read, take one write each; that is a fast path of the same steps, not another
shape. A request is held until its answer begins, up to a size, so that it can be sent again where that is allowed.

Parsing is the two connections' business; which version answers is decided in `dispatch`.
"""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING

from router.choose import Reason
from router.request_id import flags_of
from serving.errors import STATUS, Refusal
from serving.gateway import answers
from serving.gateway.dispatch import Way, find_way, own_answer
from serving.gateway.nesting import Gauge, gauge_for, surely_shallow
from serving.gateway.paths import Operation
from serving.gateway.request import Bad, RequestHead, is_compressed

if TYPE_CHECKING:
    from serving.gateway.http import ClientConnection
    from serving.gateway.upstream import AnswerHead, Upstream, UpstreamConnection
    from serving.gateway.worker import Worker

STREAM_FROM = 256 * 1024
"""A body up to this size is sent once it is whole, so that a slow client never holds a place at a model."""
_JOIN_UP_TO = 64 * 1024
_LONGEST_METADATA = 1024 * 1024
_MOST_ATTEMPTS = 2
_END_OF_CHUNKS = b"0\r\n\r\n"
_NO_BODY = frozenset((HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED))
_WITH_JSON = frozenset((Operation.INFER, Operation.GENERATE))
_REASON_BYTES = {reason: reason.value.encode() for reason in Reason}


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_attempts", "_client", "_connection", "_failed", "_gauge", "_head", "_held", "_in_chunks", "_in_flight",
        "_latest", "_pieces", "_replayable", "_upstream", "_way", "_worker", "answered", "answering", "deadline",
        "ended", "opened", "received",
    )  # fmt: skip

    def __init__(self, client: ClientConnection, worker: Worker, head: RequestHead) -> None:
        self._client = client
        self._worker = worker
        self._head = head
        self.opened = False
        self._way: Way | None = None
        # the request half
        self._pieces: list[bytes] = []  # what came, as long as it may have to be sent (again)
        self.received = 0
        """Bytes of the body so far."""
        self._replayable = True
        self._gauge: Gauge | None = None
        self.ended = False
        """Whether the body is complete."""
        # where it is
        self._upstream: Upstream | None = None
        self._connection: UpstreamConnection | None = None
        self._attempts = 0
        self._in_flight = False
        self.deadline = 0.0
        self._latest = math.inf  # when the client's own deadline passes
        # the answer half
        self.answering = False
        """Whether the client has a part of the answer already."""
        self.answered = False
        """Whether it has all of it, or will never have."""
        self._in_chunks = False
        self._held: list[bytes] = []  # metadata that is rewritten as a whole
        self._failed = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request after this one."""
        return self._head.keep_alive

    @property
    def takes_interim(self) -> bool:
        """Whether a `100 Continue` may be written now."""
        return self._way is not None and self._head.http_1_1 and not self.answering and not self.answered

    # The request half, driven by the client's connection.

    def open(self) -> None:
        """Its turn on the connection: finds the way, or answers at once."""
        self.opened = True
        head, worker = self._head, self._worker
        found = head.bad or own_answer(worker.standing, head.target) or find_way(worker.routing, head, worker.nonce())
        if isinstance(found, Way):
            self._way = found
            if self._awaits_leave:
                self._client.write(answers.CONTINUE)
        elif isinstance(found, Bad):
            self.refuse(found)
        else:
            self._answer_by_itself(found, last=self._awaits_leave)

    def receive(self, piece: bytes) -> None:
        """A piece of the body."""
        self.received += len(piece)
        if self.received > self._worker.config.max_body:
            self._refuse_large()
        elif self.answered:
            return
        elif self._connection is None:
            self._pieces.append(piece)
        else:
            self._stream(self._connection, piece)

    def receive_end(self) -> None:
        """The body is complete."""
        self.ended = True
        if self.answered:
            self._client.finished(self)
        elif self._connection is not None and self._head.length is None:
            self._connection.write(_END_OF_CHUNKS)

    def proceed(self) -> None:
        """After each read: sends the request once enough of it is there."""
        if self._way is None or self.answered or not (self.ended or self.received >= STREAM_FROM):
            return
        if not self._attempts and self._is_sound():
            self._send(self._way.route.pick())
        if self._connection is None and not self.ended and not self.answered:
            self._client.pause_reading()  # until a connection stands

    def abandon(self) -> None:
        """The client is gone: the place at the model is given back at once."""
        self.answered = True
        self._leave_upstream()

    @property
    def _awaits_leave(self) -> bool:
        """Whether the client holds its body back until it is told to send it, and so may never send it."""
        return self._head.expects and not self.ended and not self.received

    def _is_sound(self) -> bool:
        """Whether what came so far may be shown to a model; answers where it may not."""
        head = self._head
        if head.target.operation not in _WITH_JSON:
            return True
        bad = self._too_short()
        if bad is None and not (self.ended and head.json_length is None and self._is_plain_and_shallow()):
            bad = self._measure()
        if bad is not None:
            self.refuse(bad)
        return bad is None

    def _is_plain_and_shallow(self) -> bool:
        return not self._head.coding and surely_shallow(self._pieces)

    def _too_short(self) -> Bad | None:
        """For chunks only: where a length was given, the head was refused already."""
        asked = self._head.json_length
        if asked is None or not self.ended or asked <= self.received or is_compressed(self._head.coding):
            return None
        longer = f"Inference-Header-Content-Length is {asked}, more than the body's {self.received} bytes."
        return Bad(Refusal.MALFORMED, longer)

    def _measure(self) -> Bad | None:
        gauge = gauge_for(self._head.coding, self._head.json_length, self._worker.config.max_body)
        self._gauge = gauge
        for piece in self._pieces:
            bad = gauge.fault(piece)
            if bad is not None:
                return bad
        return None

    def _stream(self, connection: UpstreamConnection, piece: bytes) -> None:
        bad = None if self._gauge is None else self._gauge.fault(piece)
        if bad is not None:
            self.refuse(bad)
            return
        connection.write(_chunk(piece) if self._head.length is None else piece)
        self._moves()
        if self._replayable:
            self._pieces.append(piece)
            self._let_go_of_large()

    def _refuse_large(self) -> None:
        if self.answered:  # it is only drained, and there is too much to drain
            self._client.hang_up()
            return
        limit = self._worker.config.max_body
        self.refuse(Bad(Refusal.TOO_LARGE, f"The body is larger than {limit} bytes: send less."))

    def _let_go_of_large(self) -> None:
        if self.received > self._worker.config.repeat_max_request:
            self._replayable = False
            self._pieces.clear()

    # The way to a model and back.

    def _send(self, upstream: Upstream | None) -> None:
        if upstream is None:
            self.refuse(Bad(Refusal.NO_REPLICA, self._sentence("has no ready replica")))
            return
        if not self._in_flight and not self._take_place():
            return
        self._attempts += 1
        self._upstream = upstream
        upstream.in_flight += 1
        if self._attempts == 1:
            upstream.carry(self)
        else:  # what broke off the first time may have been an old connection's end
            upstream.dial(self)

    def _take_place(self) -> bool:
        worker = self._worker
        if len(worker.in_flight) >= worker.config.max_in_flight:
            self.refuse(Bad(Refusal.OVERLOADED, "The gateway is full: try again in a second."))
            return False
        worker.in_flight.add(self)
        self._in_flight = True
        if self._head.timeout_s is not None:
            self._latest = worker.loop.time() + self._head.timeout_s
        self._moves()
        return True

    def _moves(self) -> None:
        """The gateway's limit is on standing still, the client's on the whole."""
        self.deadline = min(self._worker.loop.time() + self._worker.config.upstream_timeout_s, self._latest)

    def awaits(self, upstream: Upstream) -> bool:
        """Whether it still waits for a connection to this upstream."""
        return self._upstream is upstream and self._connection is None

    def on_connected(self, connection: UpstreamConnection) -> None:
        """A connection stands: the request goes out, as far as it has come."""
        self._connection = connection
        pieces = self._pieces
        if self._head.length is None and not self.ended:
            pieces = [_chunk(piece) for piece in pieces]
        if self.received <= _JOIN_UP_TO:
            connection.write(self._upstream_head() + b"".join(pieces))
        else:
            connection.writelines([self._upstream_head(), *pieces])
        self._let_go_of_large()
        if not self.ended and not connection.full:
            self._client.resume_reading()

    def _upstream_head(self) -> bytes:
        """The head as the upstream gets it: our framing, the chosen version in the path."""
        head, way = self._head, self._way
        if way is None:
            raise RuntimeError("a request was sent before it had a way")
        if self.ended:
            framing = b"Content-Length: %d\r\n" % self.received if self.received or head.method == b"POST" else b""
        elif head.length is None:
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            framing = b"Content-Length: %d\r\n" % head.length
        return b"%s %s%s HTTP/1.1\r\nHost: triton\r\n%s%s\r\n" % (
            head.method, way.route.prefix, head.target.tail, b"".join(head.lines), framing,
        )  # fmt: skip

    def on_refused(self, upstream: Upstream) -> None:
        """No connection came to stand: the request never reached a model."""
        if self._upstream is upstream:
            self._release_upstream()
            self._retry(upstream, Bad(Refusal.NO_REPLICA, self._sentence("cannot be reached")))

    def on_upstream_lost(self, connection: UpstreamConnection, *, answered: bool) -> None:
        """The connection broke before the answer was complete."""
        upstream, way = self._upstream, self._way
        if connection is not self._connection or upstream is None or way is None:
            return
        self._connection = None
        self._release_upstream()
        broken = Bad(Refusal.BROKEN_UPSTREAM, self._sentence("broke off before its answer was complete"))
        if self.answering:
            self._cut()
        elif self._replayable and way.model.policy.repeatable and not answered:
            self._retry(upstream, broken)
        else:
            self.refuse(broken)

    def _retry(self, failed: Upstream, otherwise: Bad) -> None:
        """Sends the request once more, along the way as it is now; replicas may have come since."""
        way = self._way
        route = way and self._worker.route_now(way.route)
        if self._attempts >= _MOST_ATTEMPTS or route is None:
            self.refuse(otherwise)
        else:
            self._send(route.pick(avoid=failed))

    def on_upstream_full(self) -> None:
        """The upstream takes no more for now."""
        if not self.ended:
            self._client.pause_reading()

    def on_upstream_ready(self) -> None:
        """The upstream takes more."""
        self._client.resume_reading()

    def on_deadline(self) -> None:
        """The model took too long."""
        if self.answering:
            self._cut()
        else:
            self.refuse(Bad(Refusal.DEADLINE, self._sentence("did not answer within the request's deadline")))

    def _sentence(self, what: str) -> str:
        if self._way is None:
            return f"The model {what}."
        return f"Version {self._way.choice.version} of model '{self._way.model.name}' {what}: try again."

    # The answer half.

    def on_answer(self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes]) -> None:
        """A part of the answer: its head when it is the first, and what came of its body."""
        if connection is not self._connection:
            return
        self._moves()
        if self._rewrites(answer):
            self._hold(pieces)
            return
        head = b"" if self.answering else self._begin_answer(answer)
        if not self._client.write(b"".join((head, *self._framed(pieces)))):
            connection.pause()

    def on_answer_end(
        self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes], *, keep_alive: bool
    ) -> None:
        """The rest of the answer, or all of it."""
        if connection is not self._connection:
            connection.close()
            return
        self._connection = None
        if keep_alive and self.ended:
            connection.rest()
        else:  # the rest of the body has nowhere to go
            connection.close()
        if self._rewrites(answer):
            pieces = [self._with_versions(b"".join((*self._held, *pieces)))]
        if self.answering:
            self._client.write(b"".join((*self._framed(pieces), _END_OF_CHUNKS if self._in_chunks else b"")))
        else:
            self._client.write(self._whole_answer(answer, pieces))
        self._failed = answer.code >= HTTPStatus.INTERNAL_SERVER_ERROR
        self._finish()

    def _whole_answer(self, answer: AnswerHead, pieces: list[bytes]) -> bytes:
        self.answering = True
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        framing = b"" if answer.code in _NO_BODY else b"Content-Length: %d\r\n" % len(body)
        return self._answer_head(answer, framing) + body

    def _begin_answer(self, answer: AnswerHead) -> bytes:
        self.answering = True
        framing = b""
        if answer.length is not None:
            framing = b"Content-Length: %d\r\n" % answer.length
        elif self._head.http_1_1:
            framing, self._in_chunks = b"Transfer-Encoding: chunked\r\n", True
        else:  # HTTP/1.0 has no chunks: the body ends with the connection
            self._head.keep_alive = False
        return self._answer_head(answer, framing)

    def _answer_head(self, answer: AnswerHead, framing: bytes) -> bytes:
        return b"%s%s%s%s%s\r\n" % (
            answers.status_line(answer.code, answer.phrase), answer.headers, self._sluice_headers(), framing,
            self._client.connection_header(self._head),
        )  # fmt: skip

    def _sluice_headers(self) -> bytes:
        """What the gateway adds: which version answered and why, by the policy of which epoch, and the request's id."""
        way, worker = self._way, self._worker
        if way is None:
            return b""
        version, reason, _ = way.choice
        key = worker.key
        request_id = key.mint_fields(
            flags_of(reason, has_unit=way.has_unit), way.nonce, way.model.hash_by(key), version, version, way.epoch,
            worker.now_s, key.unit_hash(way.unit),
        )  # fmt: skip
        return b"sluice-version: %d\r\nsluice-request-id: %s\r\nsluice-reason: %s\r\nsluice-epoch: %d\r\n" % (
            version, request_id, _REASON_BYTES[reason], way.epoch,
        )  # fmt: skip

    def _framed(self, pieces: list[bytes]) -> list[bytes]:
        return [_chunk(piece) for piece in pieces] if self._in_chunks else pieces

    def refuse(self, bad: Bad) -> None:
        """An error of the gateway's own; where the answer has begun, all that is left is to cut it."""
        if self.answered:
            return
        if self.answering:
            self._cut()
            return
        self._failed = True
        self._leave_upstream()
        self._answer_by_itself(answers.refusal(*bad), last=STATUS[bad.kind].closes or self._awaits_leave)

    def _answer_by_itself(self, answer: bytes, *, last: bool) -> None:
        self.answering = True
        self._client.write_own(answer, self._head, last=last)
        self._finish()

    def on_client_full(self) -> None:
        """The client reads too slowly for now."""
        if self._connection is not None:
            self._connection.pause()

    def on_client_ready(self) -> None:
        """The client reads again."""
        if self._connection is not None:
            self._connection.resume()

    # Metadata, the one answer that is not the upstream's to the byte.

    def _rewrites(self, answer: AnswerHead) -> bool:
        return self._head.target.operation is Operation.METADATA and answer.code == HTTPStatus.OK

    def _hold(self, pieces: list[bytes]) -> None:
        self._held += pieces
        if sum(map(len, self._held)) > _LONGEST_METADATA:
            self.refuse(Bad(Refusal.BROKEN_UPSTREAM, self._sentence("sent more than 1 MiB of metadata")))

    def _with_versions(self, body: bytes) -> bytes:
        """With every version that the gateway routes to, not only the one that this server has."""
        try:
            metadata = json.loads(body)
            metadata["versions"] = [str(v) for v in sorted(self._way.model.versions)] if self._way else []
        except (ValueError, TypeError):
            return body
        return json.dumps(metadata, separators=(",", ":")).encode()

    # The end.

    def _finish(self) -> None:
        self.answered = True
        self._pieces.clear()
        self._release_upstream()
        self._give_back_place()
        if self.ended:
            self._client.finished(self)
        else:
            self._client.resume_reading()  # what is left of the body is read and dropped

    def _cut(self) -> None:
        self.answered = self._failed = True
        self._leave_upstream()
        self._client.cut()

    def _leave_upstream(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._release_upstream()
        self._give_back_place()

    def _release_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.in_flight -= 1
            self._upstream = None

    def _give_back_place(self) -> None:
        if self._in_flight and self._way is not None:
            self._in_flight = False
            self._worker.in_flight.discard(self)
            counts = self._way.route.counts
            counts.requests += 1
            counts.failed += self._failed


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(piece), piece)
