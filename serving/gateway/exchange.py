"""One request and its answer: two independent halves between a client's connection and an upstream's.

The request half goes from the client to the upstream (head, pieces, end), the answer half the other way, and each can
begin, pause and end without the other: an answer may be complete before the body is. A request that is whole when it
is sent, and an answer that comes in one read, take one write each; that is a fast path of the same steps, not another
shape. A request is held until its answer begins, up to a size, so that it can be sent again where that is allowed.

Parsing is the two connections' business; which version answers is decided in `dispatch`.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from router.choose import Reason
from router.request_id import flags_of
from serving.errors import Refusal
from serving.gateway import answers
from serving.gateway.dispatch import Way, find_way, own_answer
from serving.gateway.nesting import DepthGauge, surely_shallow
from serving.gateway.paths import Operation
from serving.gateway.request import Bad, RequestHead

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
_WITH_JSON = frozenset((Operation.INFER, Operation.GENERATE))
_REASON_BYTES = {reason: reason.value.encode() for reason in Reason}


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_answered", "_attempts", "_client", "_connection", "_failed", "_gauge", "_head", "_head_sent", "_held",
        "_in_chunks", "_in_flight", "_pieces", "_received", "_replayable", "_upstream", "_way", "_worker", "deadline",
        "ended", "opened",
    )  # fmt: skip

    def __init__(self, client: ClientConnection, worker: Worker, head: RequestHead) -> None:
        self._client = client
        self._worker = worker
        self._head = head
        self.opened = False
        self._way: Way | None = None
        # the request half
        self._pieces: list[bytes] = []  # what came, as long as it may have to be sent (again)
        self._received = 0
        self._replayable = True
        self._gauge: DepthGauge | None = None
        self.ended = False
        # where it is
        self._upstream: Upstream | None = None
        self._connection: UpstreamConnection | None = None
        self._attempts = 0
        self._in_flight = False
        self.deadline = 0.0
        # the answer half
        self._head_sent = False
        self._in_chunks = False
        self._held: list[bytes] = []  # metadata that is rewritten as a whole
        self._answered = False
        self._failed = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request after this one."""
        return self._head.keep_alive

    @property
    def answering(self) -> bool:
        """Whether the client has a part of the answer already."""
        return self._head_sent

    # The request half, driven by the client's connection.

    def open(self) -> None:
        """Its turn on the connection: finds the way, or answers at once."""
        self.opened = True
        head, worker = self._head, self._worker
        found = head.bad or own_answer(worker.standing, head.target) or find_way(worker.routing, head, worker.nonce())
        if isinstance(found, Way):
            self._way = found
            if head.expects and not self.ended:
                self._client.write(answers.CONTINUE)
        elif isinstance(found, Bad):
            self.refuse(found)
        else:
            self._head_sent = True
            self._client.write_answer(found, head)
            self._finish()

    def receive(self, piece: bytes) -> None:
        """A piece of the body."""
        if self._answered:
            return
        self._received += len(piece)
        if self._received > self._worker.config.max_body:
            limit = self._worker.config.max_body
            self.refuse(Bad(Refusal.TOO_LARGE, f"The body is larger than {limit} bytes: send less."))
        elif self._connection is None:
            self._pieces.append(piece)
        else:
            self._stream(self._connection, piece)

    def receive_end(self) -> None:
        """The body is complete."""
        self.ended = True
        if self._answered:
            self._client.finished(self)
        elif self._connection is not None and self._head.length is None:
            self._connection.write(_END_OF_CHUNKS)

    def proceed(self) -> None:
        """After each read: sends the request once enough of it is there."""
        if self._way is None or self._answered or not (self.ended or self._received >= STREAM_FROM):
            return
        if not self._attempts and self._is_sound():
            self._send(self._way.route.pick())
        if self._connection is None and not self.ended and not self._answered:
            self._client.pause_reading()  # until a connection stands

    def abandon(self) -> None:
        """The client is gone: the place at the model is given back at once."""
        self._answered = True
        self._leave_upstream()

    def _is_sound(self) -> bool:
        """Whether the JSON in what came so far may be shown to a model; answers where it may not."""
        if self._head.target.operation not in _WITH_JSON:
            return True
        limit = self._head.json_length
        if limit is not None and self.ended and limit > self._received:  # in chunks, else the head was refused
            longer = f"Inference-Header-Content-Length is {limit}, more than the body's {self._received} bytes."
            self.refuse(Bad(Refusal.MALFORMED, longer))
            return False
        pieces = self._pieces if limit is None else [b"".join(self._pieces)[:limit]]
        if self.ended and len(pieces) == 1 and surely_shallow(pieces[0]):
            return True
        self._gauge = DepthGauge()
        if any(map(self._gauge.too_deep, pieces)):
            self._refuse_depth()
            return False
        if limit is not None:
            self._gauge = None  # the rest is tensors
        return True

    def _stream(self, connection: UpstreamConnection, piece: bytes) -> None:
        if self._gauge is not None and self._gauge.too_deep(piece):
            self._refuse_depth()
            return
        connection.write(_chunk(piece) if self._head.length is None else piece)
        if self._replayable:
            self._pieces.append(piece)
            self._let_go_of_large()

    def _let_go_of_large(self) -> None:
        if self._received > self._worker.config.repeat_max_request:
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
        self.deadline = worker.loop.time() + (self._head.timeout_s or worker.config.upstream_timeout_s)
        return True

    def awaits(self, upstream: Upstream) -> bool:
        """Whether it still waits for a connection to this upstream."""
        return self._upstream is upstream and self._connection is None

    def on_connected(self, connection: UpstreamConnection) -> None:
        """A connection stands: the request goes out, as far as it has come."""
        self._connection = connection
        pieces = self._pieces
        if self._head.length is None and not self.ended:
            pieces = [_chunk(piece) for piece in pieces]
        if self._received <= _JOIN_UP_TO:
            connection.write(self._upstream_head() + b"".join(pieces))
        else:
            connection.writelines([self._upstream_head(), *pieces])
        self._let_go_of_large()
        if not self.ended:
            self._client.resume_reading()

    def _upstream_head(self) -> bytes:
        """The head as the upstream gets it: our framing, the chosen version in the path."""
        head, way = self._head, self._way
        if way is None:
            raise RuntimeError("a request was sent before it had a way")
        if self.ended:
            framing = b"Content-Length: %d\r\n" % self._received if head.method == b"POST" else b""
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
        if self._head_sent:
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
        if self._head_sent:
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
        if self._rewrites(answer):
            self._hold(pieces)
            return
        head = b"" if self._head_sent else self._begin_answer(answer)
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
        if self._head_sent:
            self._client.write(b"".join((*self._framed(pieces), _END_OF_CHUNKS if self._in_chunks else b"")))
        else:
            self._client.write(self._whole_answer(answer, pieces))
        self._failed = answer.code >= HTTPStatus.INTERNAL_SERVER_ERROR
        self._finish()

    def _whole_answer(self, answer: AnswerHead, pieces: list[bytes]) -> bytes:
        self._head_sent = True
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        framing = b"Content-Length: %d\r\n" % len(body)
        return self._answer_head(answer, framing) + body

    def _begin_answer(self, answer: AnswerHead) -> bytes:
        self._head_sent = True
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
        """An error of the gateway's own."""
        if self._answered:
            return
        self._failed = self._head_sent = True
        self._leave_upstream()
        self._client.refuse(bad, self._head)
        self._finish()

    def _refuse_depth(self) -> None:
        self.refuse(Bad(Refusal.NESTED_TOO_DEEP, "The JSON is nested deeper than 512 levels: flatten it."))

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
        self._answered = True
        self._pieces.clear()
        self._release_upstream()
        self._give_back_place()
        if self.ended:
            self._client.finished(self)
        else:
            self._client.resume_reading()  # what is left of the body is read and dropped

    def _cut(self) -> None:
        self._answered = self._failed = True
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
