"""The attempts at one request: which replica is asked, how long it has, and what follows when it fails.

There is one attempt at a time. `failover` decides what follows a failure; here the decision is carried out, budgets are
charged, and it is settled who is to blame: never the replica alone for what may be the request's own fault. Each
attempt is counted once, when it ends.

What travels on an attempt's connection, in either direction, is the business of `exchange` for HTTP and of `grpc` for
gRPC: here a request is known by what both have in common.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from http import HTTPStatus
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from router.choose import Reason
from serving.errors import Refusal
from serving.gateway.counters import Outcome, Role, outcome_of
from serving.gateway.failover import Failure, Next, next_step
from serving.gateway.request import Bad
from serving.gateway.units import NOBODY

if TYPE_CHECKING:
    from serving.gateway.dispatch import Way
    from serving.gateway.notes import Note
    from serving.gateway.request import Asked
    from serving.gateway.routing import VersionRoute
    from serving.gateway.upstream import Upstream
    from serving.gateway.worker import Worker

SERVER_ERROR = int(HTTPStatus.INTERNAL_SERVER_ERROR)  # to look a member up costs more than to compare with it
"""Status codes from here on say that an attempt failed."""
_TRIALS = frozenset((Reason.ARM, Reason.CANARY, Reason.RULE))  # where the client did not name the version itself
_A_MOMENT_S = 0.1
"""So near to its end a client's deadline leaves nobody else the time to answer."""
_OUTCOMES = {Failure.REFUSED: Outcome.REFUSED, Failure.BROKEN: Outcome.BROKEN, Failure.LATE: Outcome.LATE}


class Answered(Protocol):
    """The head of an answer, in either protocol."""

    @property
    def code(self) -> int:
        """HTTP's status code, or the one that stands for gRPC's."""


class Asks(Protocol):
    """What has come of a request's body."""

    ended: bool
    """Whether it is complete."""
    held: bool
    """Whether it can be sent again."""
    received: int
    """Bytes so far."""
    pieces: list[bytes]
    """All that came, while `held`."""


class Tells(Protocol):
    """The answer half."""

    begun: bool
    """Whether the client has a part of it."""
    sent: int
    """Bytes of a model's answer that the client was sent."""


class Carrier(Protocol):
    """What carries an attempt: a connection, or a stream of one."""

    def close(self) -> None:
        """Gives the attempt up, without a word to it."""


Answer = TypeVar("Answer", bound=Answered)


class Spare(NamedTuple, Generic[Answer]):
    """A 5xx that is the client's answer unless another attempt does better."""

    route: VersionRoute
    role: Role
    answer: Answer
    pieces: list[bytes]


class Attempts(ABC, Generic[Answer]):
    """The attempts at one request; what is said on the connection of each is left to the exchange."""

    __slots__ = (
        "_attempts_here", "_began", "_broke_at", "_connection", "_head", "_held", "_latest", "_note", "_on_trial",
        "_patience", "_repeated", "_role", "_route", "_spare", "_started", "_unit", "_upstream", "_way", "_worker",
        "body", "deadline", "reply",
    )  # fmt: skip

    def __init__(self, worker: Worker, head: Asked, body: Asks, reply: Tells) -> None:
        self._worker = worker
        self._head = head
        self.body = body
        self.reply = reply
        self._way: Way | None = None
        self._note: Note | None = None  # for traces and the access log; most requests have none
        # the attempt under way
        self._route: VersionRoute | None = None
        self._role = Role.FIRST
        self._upstream: Upstream | None = None
        self._connection: Carrier | None = None
        self._began = 0.0
        self._held: list[bytes] = []  # of its answer, until that is complete
        self._patience = math.inf  # when it is given up for another
        # all attempts
        self._started = False
        self._unit = NOBODY
        self._attempts_here = 0  # at the version of the latest
        self._repeated = False
        self._spare: Spare[Answer] | None = None
        self._on_trial: Upstream | None = None  # who answered with that error
        self._broke_at: Upstream | None = None
        self.deadline = 0.0
        self._latest = math.inf  # when the client's own deadline passes

    # What the exchange does with what comes of them.

    @abstractmethod
    def refuse(self, bad: Bad) -> None:
        """The client gets an error of the gateway's own."""

    @abstractmethod
    def _answer_whole(self, answer: Answer, pieces: list[bytes]) -> None:
        """The client gets this answer."""

    @abstractmethod
    def _ask(self, upstream: Upstream, *, fresh: bool) -> None:
        """Sends the request to this replica, as soon as there is a connection; on one that nobody has used, if so told.

        What comes of it is told to `on_refused`, `on_upstream_lost` and `_on_server_error` or `_conclude`.
        """

    # One attempt.

    def _start(self, way: Way) -> None:
        """The first attempt, at the version that was chosen, unless stable answers in its place for now."""
        self._started = True
        route, loop = way.route, self._worker.loop
        if self._head.timeout_s is not None:
            self._latest = loop.time() + self._head.timeout_s
        dealt = way.model.dealt
        if dealt is not None and not self._head.synthetic:
            self._unit = dealt.deal(way)
        brake = route.state.brake
        if brake.until and self._has_stable and not brake.lets(loop.time()):
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
        config = self._worker.config
        self._attempts_here += 1
        self._route, self._role = route, role
        if route.state.in_flight >= config.max_in_flight_per_version:
            self._after(Failure.REFUSED, Bad(Refusal.OVERLOADED, self._sentence("has as many requests as it may")))
            return
        upstream = self._pick(route, failed)
        if upstream is None:
            self._after(Failure.REFUSED, Bad(Refusal.NO_REPLICA, self._sentence("has no ready replica")))
            return
        now = self._began = self._worker.loop.time()
        self._patience = now + self._patience_s(now)
        self.deadline = min(now + config.upstream_timeout_s, self._latest, self._patience)
        self._upstream = upstream
        upstream.in_flight += 1
        route.state.in_flight += 1
        if self._note is not None:
            self._note.asks()
        self._ask(upstream, fresh=failed is upstream)  # what broke off may have been an old connection's end

    def _pick(self, route: VersionRoute, failed: Upstream | None) -> Upstream | None:
        """The replica to ask; None where none is fit, or where stable may answer better than one that is not."""
        sequence = self._head.sequence
        if sequence is not None:
            return route.keeper_of(sequence, failed)
        upstream = route.pick(failed)
        return route.pick_any(failed) if upstream is None and not self._has_stable else upstream

    def _patience_s(self, now: float) -> float:
        """How long this attempt may take before another is made; a candidate leaves stable half of what is left."""
        has_stable = self._has_stable
        if not (has_stable or self._has_others) or self._repeated or not self.body.ended or not self._may_repeat:
            return math.inf
        return min(self._full_patience_s, (self._latest - now) / 2) if has_stable else self._full_patience_s

    @property
    def _full_patience_s(self) -> float:
        """The same where the client is in no hurry: only who takes that long is to blame for it."""
        config = self._worker.config
        return min(config.attempt_timeout_s, config.upstream_timeout_s / 2)

    def _moves(self) -> None:
        """The gateway's limit is on standing still, the client's on the whole, that of an attempt on its beginning."""
        limit = self._worker.loop.time() + self._worker.config.upstream_timeout_s
        self.deadline = min(limit, self._latest, math.inf if self.reply.begun else self._patience)

    def awaits(self, upstream: Upstream) -> bool:
        """Whether it still waits for a connection to this upstream."""
        return self._upstream is upstream and self._connection is None

    def _drop_attempt(self, outcome: Outcome) -> None:
        self._held = []
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
        role = Role.SYNTHETIC if self._head.synthetic else self._role
        bucket = upstream.count(role, outcome, self._worker.loop.time() - self._began)
        if self._note is not None:
            self._note.ended(upstream, role, outcome, self._began)
        if self._unit >= 0 and role is Role.FIRST and (way := self._way) is not None and way.model.dealt is not None:
            way.model.dealt.ended(self._unit, way, outcome, bucket)

    # What there is to fall back on.

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

    # How it ends.

    def on_refused(self, upstream: Upstream) -> None:
        """No connection came to stand: the request never reached a model."""
        if self.awaits(upstream):  # else an old dial's, and the request is elsewhere or on its way
            self._blame(upstream, at_once=True)
            self._after(Failure.REFUSED, Bad(Refusal.NO_REPLICA, self._sentence("cannot be reached")))

    def on_upstream_lost(self, connection: Carrier) -> None:
        """The connection broke before the answer was complete."""
        upstream = self._upstream
        if connection is not self._connection or upstream is None:
            return
        self._connection = None
        self._blame(upstream)
        broken = Bad(Refusal.BROKEN_UPSTREAM, self._sentence("broke off before its answer was complete"))
        if self.reply.begun:
            self._end_attempt(Outcome.BROKEN)
            self.refuse(broken)
        else:
            self._after(Failure.BROKEN, broken)

    def on_deadline(self) -> None:
        """The model took too long, by our limits or by the client's own; a slow client's is nobody's fault."""
        now = self._worker.loop.time()
        late = Bad(Refusal.DEADLINE, self._sentence("did not answer within the request's deadline"))
        if self.reply.begun or not self.body.ended or now >= self._latest:
            self._drop_attempt(Outcome.LATE)
            self.refuse(late)
            return
        by_patience = self._patience <= now  # else by the limit on standing still
        if by_patience and self._is_last:
            self._wait_on()
            return
        hurried = now < self._began + self._full_patience_s
        if self._upstream is not None and not hurried:
            self._blame(self._upstream)
        if by_patience and not self._affords_another(now, hurried=hurried):
            self._wait_on()
        else:
            self._after(Failure.LATE, late)

    def _wait_on(self) -> None:
        """Nobody else may be asked: a slow answer is better than none."""
        self._patience = math.inf
        self.deadline = min(self._began + self._worker.config.upstream_timeout_s, self._latest)

    def _on_server_error(self, answer: Answer, pieces: list[bytes]) -> None:
        """The client's answer, unless another attempt does better."""
        upstream, route = self._upstream, self._route
        if upstream is None or route is None:
            return
        if self._note is not None:
            self._note.code = answer.code
        if answer.code == HTTPStatus.GATEWAY_TIMEOUT:
            self._on_given_up(upstream, route, answer, pieces)
            return
        self._learn(answer.code)
        self._spare = Spare(route, self._role, answer, pieces)
        nothing_better = Bad(Refusal.BROKEN_UPSTREAM, self._sentence("failed"))
        if answer.code == HTTPStatus.SERVICE_UNAVAILABLE:
            self._blame(upstream)
            self._after(Failure.UNAVAILABLE, nothing_better, Outcome.UNAVAILABLE)
        else:
            self._on_trial = upstream if self._has_stable else None
            self._after(Failure.ERROR, nothing_better, Outcome.SERVER_ERROR)

    def _on_given_up(self, upstream: Upstream, route: VersionRoute, answer: Answer, pieces: list[bytes]) -> None:
        """The model's server kept the deadline that it was told, maybe a moment before we did: as in `on_deadline`."""
        now = self._worker.loop.time()
        if now >= self._began + self._full_patience_s:
            self._blame(upstream)
        if now + _A_MOMENT_S >= self._latest:
            self._end_attempt(Outcome.LATE)
            self._answer_whole(answer, pieces)
            return
        self._spare = Spare(route, self._role, answer, pieces)
        self._after(Failure.LATE, Bad(Refusal.DEADLINE, self._sentence("did not answer within the request's deadline")))

    def _conclude(self, code: int) -> None:
        """The answer is complete and the client's, whatever it is."""
        self._learn(code)
        if self._note is not None:
            self._note.code = code
        self._end_attempt(outcome_of(code))

    def _learn(self, code: int) -> None:
        """What a complete answer says about who was asked; a 503 says nothing about who was asked before."""
        upstream, way, on_trial = self._upstream, self._way, self._on_trial
        self._on_trial = None
        if upstream is not None and code < SERVER_ERROR:
            upstream.health.succeeded()
            if self._route is not None and (brake := self._route.state.brake).in_a_row:
                brake.succeeded(self._began)
        if on_trial is None or way is None or code == HTTPStatus.SERVICE_UNAVAILABLE:
            return
        if code < HTTPStatus.BAD_REQUEST:  # stable answers well what it failed at: the fault was its own
            self._blame(on_trial)
        else:  # stable has nothing good to say either: it is the request's own fault
            way.model.budget.give_back()

    def _blame(self, upstream: Upstream, *, at_once: bool = False) -> None:
        """It is this replica's fault, and its version's: a candidate that fails too often is asked no more for now."""
        self._worker.blame(upstream, at_once=at_once)
        way = self._way
        if way is not None and upstream.version != way.model.policy.stable:
            spent = way.model.budget.is_low(self._worker.loop.time(), way.model.requests)
            self._worker.blame_version(way.route, spent=spent)

    # What follows a failure.

    def _after(self, failure: Failure, bad: Bad, outcome: Outcome | None = None) -> None:
        """Ends the attempt and carries out what follows.

        Args:
            failure: how it failed.
            bad: what the client is told where nothing follows.
            outcome: how it counts, where the failure alone does not say.
        """
        way, failed = self._way, self._upstream
        if way is None:
            return
        if failed is None and self._note is not None:
            self._note.nobody((self._route or way.route).version, self._role)
        self._drop_attempt(outcome or _OUTCOMES[failure])
        self._route = self._worker.route_now(self._route or way.route)  # replicas may have come since
        if failure is Failure.BROKEN:
            self._quarantine_after_two(way, failed)
        step = self._step_after(failure, failed)
        repeats = failure is not Failure.REFUSED and step is not Next.GIVE_UP
        if repeats and not self._charge_repeat(way):
            step = Next.GIVE_UP
        route, stable = self._route, self._worker.route_now(way.model.stable)
        if step is Next.STABLE and stable is not None:
            if failed is None and self._role is Role.FIRST:
                way.route.state.straight += 1
            self._attempts_here = 0
            self._attempt(stable, Role.FALLBACK)
        elif step is Next.AGAIN and route is not None:
            self._attempt(route, Role.FALLBACK if self._role is Role.FALLBACK else Role.REPEAT, failed)
        else:
            self._give_up(bad)

    def _step_after(self, failure: Failure, failed: Upstream | None) -> Next:
        """What is to follow, as long as the budget pays for it; decides only."""
        route, has_stable = self._route, self._has_stable
        has_others = failed is not None and route is not None and bool(route.others(failed))
        if failure is Failure.REFUSED and failed is not None and not has_stable:
            # one that is ejected is better than none, and the one that failed may have left the version meanwhile
            has_others = route is not None and any(one is not failed for one in route.upstreams)
        return next_step(
            failure, attempts=self._attempts_here, repeated=self._repeated, may_repeat=self._may_repeat,
            has_others=has_others, has_stable=has_stable,
        )  # fmt: skip

    def _charge_repeat(self, way: Way) -> bool:
        """Uses up the one repeat that a request has, and one of its model's; whether there was one."""
        self._repeated = True
        return way.model.budget.take(self._worker.loop.time(), way.model.requests)

    def _quarantine_after_two(self, way: Way, broke: Upstream | None) -> None:
        """A body that broke two replicas, one after the other, is shown to no third; no body is nobody's fault."""
        body = self.body
        if self._broke_at is not None and broke is not self._broke_at and body.held and body.received:
            self._worker.quarantine.add(way.model.name, b"".join(body.pieces), self._worker.loop.time())
        self._broke_at = broke

    def _give_up(self, bad: Bad) -> None:
        spare = self._spare
        if spare is None:
            self.refuse(bad)
        else:
            self._route, self._role = spare.route, spare.role
            self._answer_whole(spare.answer, spare.pieces)

    def _sentence(self, what: str) -> str:
        way, route = self._way, self._route
        if way is None:
            return f"The model {what}."
        version = way.choice.version if route is None else route.version
        return f"Version {version} of model '{way.model.name}' {what}: try again."
