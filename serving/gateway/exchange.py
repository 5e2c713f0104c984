"""One request and its answer: two independent halves between a client's connection and an upstream's.

The request half goes from the client to the upstream (head, pieces, end), the answer half the other way, and each can
begin, pause and end without the other: an answer may be complete before the body is. A request that is whole when it
is sent, and an answer that comes in one read, take one write each; that is a fast path of the same steps, not another
shape. The request is held until its answer begins, and a small answer until it is complete, so that a failed attempt
can be followed by another: which, is decided in `failover`.

Parsing is the two connections' business; which version answers is decided in `dispatch`.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING

from router.choose import Reason
from router.request_id import flags_of
from serving.errors import STATUS, Refusal
from serving.gateway import answers, shadow
from serving.gateway.body import Body, chunk
from serving.gateway.counters import Outcome, Role, outcome_of
from serving.gateway.dispatch import Way, find_way, own_answer
from serving.gateway.failover import Failure, Next, next_step
from serving.gateway.fetch import statistics
from serving.gateway.paths import Operation
from serving.gateway.reply import Reply, with_versions
from serving.gateway.request import Bad, RequestHead

if TYPE_CHECKING:
    from serving.gateway.http import ClientConnection
    from serving.gateway.routing import VersionRoute
    from serving.gateway.upstream import AnswerHead, Upstream, UpstreamConnection
    from serving.gateway.worker import Worker

STREAM_FROM = 256 * 1024
"""A body up to this size is sent once it is whole, so that a slow client never holds a place at a model."""
_JOIN_UP_TO = 64 * 1024
_LONGEST_METADATA = 1024 * 1024
_END_OF_CHUNKS = b"0\r\n\r\n"
_REASON_BYTES = {reason: reason.value.encode() for reason in Reason}
_TRIALS = frozenset((Reason.ARM, Reason.CANARY, Reason.RULE))  # where the client did not name the version itself
_DEADLY = Bad(Refusal.QUERY_OF_DEATH, "This body has just broken two replicas: change it before you send it again.")
_OUTCOMES = {Failure.REFUSED: Outcome.REFUSED, Failure.BROKEN: Outcome.BROKEN, Failure.LATE: Outcome.LATE}


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_attempts", "_began", "_broke_at", "_client", "_connection", "_failed", "_head", "_held", "_in_flight",
        "_latest", "_on_trial", "_patience", "_repeated", "_role", "_route", "_spare", "_upstream", "_way", "_worker",
        "answered", "body", "deadline", "opened", "reply",
    )  # fmt: skip

    def __init__(self, client: ClientConnection, worker: Worker, head: RequestHead) -> None:
        self._client = client
        self._worker = worker
        self._head = head
        self.body = Body(head, worker.config.max_body)
        self.reply = Reply(client, head)
        self.opened = False
        self._way: Way | None = None
        # the attempt under way
        self._route: VersionRoute | None = None
        self._role = Role.FIRST
        self._upstream: Upstream | None = None
        self._connection: UpstreamConnection | None = None
        self._began = 0.0
        self._held: list[bytes] = []  # of its answer, until that is complete
        # all attempts
        self._attempts = 0  # at this version
        self._repeated = False
        self._spare: tuple[VersionRoute, Role, AnswerHead, list[bytes]] | None = None  # unless there is better
        self._on_trial: Upstream | None = None  # who answered with that error
        self._broke_at: Upstream | None = None
        self._patience = math.inf  # when an attempt is given up for another
        self._in_flight = False
        self.deadline = 0.0
        self._latest = math.inf  # when the client's own deadline passes
        self.answered = False
        """Whether the client has all of its answer, or will never have."""
        self._failed = False

    @property
    def keep_alive(self) -> bool:
        """Whether the connection may carry another request after this one."""
        return self._head.keep_alive

    @property
    def takes_interim(self) -> bool:
        """Whether a `100 Continue` may be written now."""
        return self._way is not None and self._head.http_1_1 and not self.reply.begun and not self.answered

    # The request half, driven by the client's connection.

    def open(self) -> None:
        """Its turn on the connection: finds the way, or answers at once."""
        self.opened = True
        head, worker = self._head, self._worker
        if head.target.operation is Operation.ALL_STATS and head.bad is None:
            worker.run(self._answer_statistics())
            return
        found = head.bad or own_answer(worker.standing, head.target) or find_way(worker.routing, head, worker.nonce())
        if isinstance(found, Way):
            self._way = found
            if self._awaits_leave:
                self._client.write(answers.CONTINUE)
        elif isinstance(found, Bad):
            self.refuse(found)
        else:
            self._answer_by_itself(found, last=self._awaits_leave)

    async def _answer_statistics(self) -> None:
        """The one answer that is put together from those of many."""
        worker = self._worker
        found = await statistics(worker.routing, worker.questions, worker.config.connect_timeout_s)
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
        body = self.body
        if self._way is None or self.answered or not (body.ended or body.received >= self._stream_from):
            return
        if not self._attempts:
            bad = body.fault()
            if bad is None:
                self._send(self._way)
            else:
                self.refuse(bad)
        if self._connection is None and not body.ended and not self.answered:
            self._client.pause_reading()  # until a connection stands

    @property
    def _stream_from(self) -> int:
        """A body that might be one of those that are refused is looked at as a whole first."""
        worker = self._worker
        return max(STREAM_FROM, worker.config.repeat_max_request + 1) if worker.quarantine else STREAM_FROM

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

    # Attempts.

    def _send(self, way: Way) -> None:
        """The first attempt, at the version that was chosen, unless stable answers in its place for now."""
        worker, route = self._worker, way.route
        if len(worker.in_flight) >= worker.config.max_in_flight:
            self.refuse(Bad(Refusal.OVERLOADED, "The gateway is full: try again in a second."))
            return
        now = worker.loop.time()
        if worker.quarantine and worker.quarantine.holds(way.model.name, b"".join(self.body.pieces), now):
            self.refuse(_DEADLY)
            return
        worker.in_flight.add(self)
        self._in_flight = True
        if self._head.timeout_s is not None:
            self._latest = now + self._head.timeout_s
        if route.state.braked_until > now and self._has_stable:
            route.state.straight += 1
            self._attempt(way.model.stable, Role.FALLBACK)
        else:
            self._attempt(route, Role.FIRST)

    def _attempt(self, route: VersionRoute, role: Role, failed: Upstream | None = None) -> None:
        """Sends the request to a replica of this version.

        Args:
            route: where that version answers.
            role: what the attempt is for.
            failed: the replica that the last attempt failed at.
        """
        self._attempts += 1
        self._route, self._role = route, role
        if route.state.in_flight >= self._worker.config.max_in_flight_per_version:
            self._after(Failure.REFUSED, Bad(Refusal.OVERLOADED, self._sentence("has as many requests as it may")))
            return
        upstream = route.pick(failed)
        if upstream is None and not self._has_stable:
            upstream = route.pick_any(failed)
        if upstream is None:
            self._after(Failure.REFUSED, Bad(Refusal.NO_REPLICA, self._sentence("has no ready replica")))
            return
        now = self._began = self._worker.loop.time()
        self._patience = now + self._patience_s(now)
        self._moves()
        self._upstream = upstream
        upstream.in_flight += 1
        route.state.in_flight += 1
        if failed is upstream:  # what broke off may have been an old connection's end
            upstream.dial(self)
        else:
            upstream.carry(self)

    def _patience_s(self, now: float) -> float:
        """How long this attempt may take before another is made; a candidate leaves stable half of what is left."""
        if self._repeated or not self.body.ended or not self._may_repeat or not (self._has_stable or self._has_others):
            return math.inf
        longest = self._full_patience_s
        return min(longest, (self._latest - now) / 2) if self._has_stable else longest

    @property
    def _full_patience_s(self) -> float:
        """The same where the client is in no hurry: only who takes that long is to blame for it."""
        config = self._worker.config
        return min(config.attempt_timeout_s, config.upstream_timeout_s / 2)

    def _moves(self) -> None:
        """The gateway's limit is on standing still, the client's on the whole, that of an attempt on its beginning."""
        limit = self._worker.loop.time() + self._worker.config.upstream_timeout_s
        self.deadline = min(limit, self._latest, math.inf if self.reply.begun else self._patience)

    @property
    def _may_repeat(self) -> bool:
        way = self._way
        return way is not None and self.body.held and not self.reply.begun and way.model.policy.repeatable

    @property
    def _has_stable(self) -> bool:
        """Whether stable may answer where the version that was chosen does not."""
        way = self._way
        return (
            way is not None
            and self._role is not Role.FALLBACK
            and way.choice.reason in _TRIALS
            and way.choice.version != way.model.policy.stable
        )

    @property
    def _has_others(self) -> bool:
        return self._route is not None and len(self._route.upstreams) > 1

    def awaits(self, upstream: Upstream) -> bool:
        """Whether it still waits for a connection to this upstream."""
        return self._upstream is upstream and self._connection is None

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
        return self._head.rebuilt(self._route.prefix, self.body.framing())

    def on_upstream_full(self) -> None:
        """The upstream takes no more for now."""
        if not self.body.ended:
            self._client.pause_reading()

    def on_upstream_ready(self) -> None:
        """The upstream takes more."""
        self._client.resume_reading()

    # What goes wrong with them.

    def on_refused(self, upstream: Upstream) -> None:
        """No connection came to stand: the request never reached a model."""
        if self.awaits(upstream):  # else an old dial's, and the request is elsewhere or on its way
            self._blame(upstream, at_once=True)
            self._after(Failure.REFUSED, Bad(Refusal.NO_REPLICA, self._sentence("cannot be reached")))

    def on_upstream_lost(self, connection: UpstreamConnection) -> None:
        """The connection broke before the answer was complete."""
        upstream = self._upstream
        if connection is not self._connection or upstream is None:
            return
        self._connection = None
        self._blame(upstream)
        broken = Bad(Refusal.BROKEN_UPSTREAM, self._sentence("broke off before its answer was complete"))
        if self.reply.begun:
            self._end_attempt(Outcome.BROKEN)
            self._cut()
        else:
            self._after(Failure.BROKEN, broken)

    def on_deadline(self) -> None:
        """The model took too long, by our limits or by the client's own; a slow client's is nobody's fault."""
        upstream, now = self._upstream, self._worker.loop.time()
        late = Bad(Refusal.DEADLINE, self._sentence("did not answer within the request's deadline"))
        if self.reply.begun or not self.body.ended or now >= self._latest:
            self._drop_attempt(Outcome.LATE)
            self.refuse(late)
            return
        early, hurried = self._patience <= now, now < self._began + self._full_patience_s
        if not (early and self._is_last):
            if upstream is not None and not hurried:
                self._blame(upstream)
            if not early or self._affords_another(now, hurried=hurried):
                self._after(Failure.LATE, late)
                return
        self._patience = math.inf  # nobody else may be asked: a slow answer is better than none
        self.deadline = min(self._began + self._worker.config.upstream_timeout_s, self._latest)

    @property
    def _is_last(self) -> bool:
        """Whether no attempt can follow the one under way, should it be late."""
        route = None if self._route is None else self._worker.route_now(self._route)
        others = route is not None and bool(route.others(self._upstream))
        return self._repeated or not self._may_repeat or not (self._has_stable or others)

    def _affords_another(self, now: float, *, hurried: bool) -> bool:
        """Whether the budget has room; what is left of it in the end is not for clients that are in a hurry."""
        if self._way is None:
            return False
        model = self._way.model
        return model.budget.has_any(now, model.requests) and not (hurried and model.budget.is_low(now, model.requests))

    def _after(self, failure: Failure, bad: Bad, outcome: Outcome | None = None) -> None:
        """What follows a failed attempt.

        Args:
            failure: how it failed.
            bad: what the client is told where nothing follows.
            outcome: how it counts, where the failure alone does not say.
        """
        way, role, failed = self._way, self._role, self._upstream
        if way is None:
            return
        self._drop_attempt(outcome or _OUTCOMES[failure])
        self._held = []
        self._route = self._worker.route_now(self._route or way.route)  # replicas may have come since
        step = self._next(way, failure, failed)
        route, stable = self._route, self._worker.route_now(way.model.stable)
        if step is Next.STABLE and stable is not None:
            if failed is None and role is Role.FIRST:
                way.route.state.straight += 1
            self._attempts = 0  # as many dials as anyone's
            self._attempt(stable, Role.FALLBACK)
        elif step is Next.AGAIN and route is not None:
            self._attempt(route, Role.FALLBACK if role is Role.FALLBACK else Role.REPEAT, failed)
        else:
            self._give_up(bad)

    def _next(self, way: Way, failure: Failure, failed: Upstream | None) -> Next:
        route, has_stable = self._route, self._has_stable
        has_others = failed is not None and route is not None and bool(route.others(failed))
        if failure is Failure.REFUSED and failed is not None and not has_stable:
            has_others = self._has_others  # one that is ejected is better than none
        step = next_step(
            failure, attempts=self._attempts, repeated=self._repeated, may_repeat=self._may_repeat,
            has_others=has_others, has_stable=has_stable,
        )  # fmt: skip
        if failure is Failure.BROKEN:
            self._quarantine_after_two(way, failed)
        if failure is Failure.REFUSED or step is Next.GIVE_UP:
            return step
        self._repeated = True
        return step if way.model.budget.take(self._worker.loop.time(), way.model.requests) else Next.GIVE_UP

    def _quarantine_after_two(self, way: Way, broke: Upstream | None) -> None:
        """A body that broke two replicas, one after the other, is shown to no third; no body is nobody's fault."""
        body = self.body
        if self._broke_at is not None and broke is not self._broke_at and body.held and body.received:
            self._worker.quarantine.add(way.model.name, b"".join(body.pieces), self._worker.loop.time())
        self._broke_at = broke

    def _blame(self, upstream: Upstream, *, at_once: bool = False) -> None:
        """It is this replica's fault; a candidate that has used up what may be sent twice is asked no more for now."""
        self._worker.blame(upstream, at_once=at_once)
        way = self._way
        if (
            way is not None
            and upstream.version != way.model.policy.stable
            and way.model.budget.is_low(self._worker.loop.time(), way.model.requests)
        ):
            self._worker.brake(way.route)

    def _give_up(self, bad: Bad) -> None:
        if self._spare is None:
            self.refuse(bad)
        else:
            self._route, self._role, answer, pieces = self._spare
            self._answer_whole(answer, pieces)

    def _sentence(self, what: str) -> str:
        way, route = self._way, self._route
        if way is None:
            return f"The model {what}."
        version = way.choice.version if route is None else route.version
        return f"Version {version} of model '{way.model.name}' {what}: try again."

    # The answer half.

    def on_answer(self, connection: UpstreamConnection, answer: AnswerHead, pieces: list[bytes]) -> None:
        """A part of the answer: its head when it is the first, and what came of its body."""
        if connection is not self._connection:
            return
        if self.reply.begun:
            self._moves()
            goes_on = self.reply.more(pieces)
        else:
            self._held += pieces
            if self._holds(answer):
                return
            pieces, self._held = self._held, []
            goes_on = self.reply.begin(answer, self._sluice_headers(), pieces)
            self._moves()
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
        if self.reply.begun:
            self.reply.end(pieces)
            self._failed = answer.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            self._learn(answer.code)
            self._end_attempt(outcome_of(answer.code))
            self._finish()
            return
        if self._held:
            pieces, self._held = [*self._held, *pieces], []
        if answer.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._on_server_error(answer, pieces)
        else:
            self._on_good_answer(answer, pieces)

    def _on_good_answer(self, answer: AnswerHead, pieces: list[bytes]) -> None:
        self._learn(answer.code)
        self._end_attempt(outcome_of(answer.code))
        self._answer_whole(answer, pieces)

    def _on_server_error(self, answer: AnswerHead, pieces: list[bytes]) -> None:
        """The client's answer, unless another attempt does better."""
        upstream, route, way = self._upstream, self._route, self._way
        if upstream is None or route is None or way is None:
            return
        self._learn(answer.code)
        self._spare = (route, self._role, answer, pieces)
        nothing_better = Bad(Refusal.BROKEN_UPSTREAM, self._sentence("failed"))
        if answer.code == HTTPStatus.SERVICE_UNAVAILABLE:
            self._blame(upstream)
            self._after(Failure.UNAVAILABLE, nothing_better, Outcome.UNAVAILABLE)
        else:
            self._on_trial = upstream if self._has_stable else None
            self._after(Failure.ERROR, nothing_better, Outcome.SERVER_ERROR)

    def _learn(self, code: int) -> None:
        """What a complete answer says about who was asked; a 503 says nothing about who was asked before."""
        upstream, way, on_trial = self._upstream, self._way, self._on_trial
        self._on_trial = None
        if upstream is not None and code < HTTPStatus.INTERNAL_SERVER_ERROR:
            upstream.health.succeeded()
        if on_trial is None or way is None or code == HTTPStatus.SERVICE_UNAVAILABLE:
            return
        if code < HTTPStatus.BAD_REQUEST:  # stable answers well what it failed at: the fault was its own
            self._blame(on_trial)
        else:  # stable has nothing good to say either: it is the request's own fault
            way.model.budget.give_back()

    def _answer_whole(self, answer: AnswerHead, pieces: list[bytes]) -> None:
        way = self._way
        if way is not None and self._rewrites(answer):
            pieces = [with_versions(b"".join(pieces), way.model.versions)]
        self._failed = answer.code >= HTTPStatus.INTERNAL_SERVER_ERROR
        self.reply.whole(answer, self._sluice_headers(), pieces)
        self._finish()

    def _holds(self, answer: AnswerHead) -> bool:
        """Whether the client gets nothing before the answer is complete, so that it can still come from elsewhere."""
        size = sum(map(len, self._held))
        if self._rewrites(answer):
            if size > _LONGEST_METADATA:
                self.refuse(Bad(Refusal.BROKEN_UPSTREAM, self._sentence("sent more than 1 MiB of metadata")))
            return True
        most = self._worker.config.repeat_max_response
        failed = answer.code >= HTTPStatus.INTERNAL_SERVER_ERROR  # an error is no stream, whatever was asked for
        streams = not failed and (self._head.target.operation is Operation.GENERATE or not self.body.ended)
        return not streams and size <= most and (answer.length or 0) <= most and self._may_repeat

    def _rewrites(self, answer: AnswerHead) -> bool:
        """Whether it is metadata, the one answer that is not the upstream's to the byte."""
        return self._head.target.operation is Operation.METADATA and answer.code == HTTPStatus.OK

    def _sluice_headers(self) -> bytes:
        """What the gateway adds: which version answered and why, by the policy of which epoch, and the request's id."""
        way, worker, route = self._way, self._worker, self._route
        if way is None or route is None:
            return b""
        assigned, reason, _ = way.choice
        key = worker.key
        request_id = key.mint_fields(
            flags_of(reason, has_unit=way.has_unit), way.nonce, way.model.hash_by(key), assigned, route.version,
            way.epoch, worker.now_s, key.unit_hash(way.unit),
        )  # fmt: skip
        if self._role is Role.FALLBACK:
            reason = Reason.FALLBACK
        return b"sluice-version: %d\r\nsluice-request-id: %s\r\nsluice-reason: %s\r\nsluice-epoch: %d\r\n" % (
            route.version, request_id, _REASON_BYTES[reason], way.epoch,
        )  # fmt: skip

    def refuse(self, bad: Bad) -> None:
        """An error of the gateway's own; where the answer has begun, all that is left is to cut it."""
        if self.answered:
            return
        if self.reply.begun:
            self._cut()
            return
        self._failed = True
        self._leave_upstream()
        self._answer_by_itself(answers.refusal(*bad), last=STATUS[bad.kind].closes or self._awaits_leave)

    def _answer_by_itself(self, answer: bytes, *, last: bool) -> None:
        self.reply.begun = True
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

    # The end.

    def _finish(self) -> None:
        self.answered = True
        way = self._way
        if way is not None and way.model.policy.shadows and self._attempts:
            if self._broke_at is not None:  # a shadow's replica is not to be the next that it breaks
                self.body.let_go()
            shadow.send(self._worker, way, self._head, self.body)
        self.body.let_go()  # what is left of it is read and dropped
        self._give_back_place()
        if self.body.ended:
            self._client.finished(self)
        else:
            self._client.resume_reading()  # what is left of the body is read and dropped

    def _cut(self) -> None:
        self.answered = self._failed = True
        self._leave_upstream()
        self._client.cut()

    def _leave_upstream(self) -> None:
        self._drop_attempt(Outcome.CANCELLED)
        self._give_back_place()

    def _drop_attempt(self, outcome: Outcome) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._end_attempt(outcome)

    def _end_attempt(self, outcome: Outcome) -> None:
        upstream, route = self._upstream, self._route
        if upstream is None or route is None:
            return
        self._upstream = None
        upstream.in_flight -= 1
        route.state.in_flight -= 1
        upstream.count(self._role, outcome, self._worker.loop.time() - self._began)

    def _give_back_place(self) -> None:
        if self._in_flight and self._way is not None:
            self._in_flight = False
            self._worker.in_flight.discard(self)
            state = self._way.route.state
            state.requests += 1
            state.failed += self._failed
