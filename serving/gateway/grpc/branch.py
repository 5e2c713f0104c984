"""One upstream stream of a client's stream: where it goes, what it carries both ways, and how it ends.

It is one request in the counters, as a stream over HTTP is, and each answer is one event of it. As long as no answer
has come, what was sent may be sent again elsewhere, by the rules of `attempts`; from then on it stays where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serving.errors import Refusal
from serving.gateway.attempts import SERVER_ERROR
from serving.gateway.counters import Ended, Outcome, Role
from serving.gateway.grpc import copies
from serving.gateway.grpc.attempt import Sending
from serving.gateway.grpc.framing import PREFIX, Cut, Cutter, framed
from serving.gateway.grpc.messages import for_version
from serving.gateway.request import Bad
from serving.gateway.streaming import ENDED, StreamWatch

if TYPE_CHECKING:
    from serving.gateway.dispatch import Way
    from serving.gateway.grpc.answers import Answer
    from serving.gateway.grpc.heads import CallHead
    from serving.gateway.grpc.leg import Leg
    from serving.gateway.grpc.stream import StreamCall
    from serving.gateway.h2.client import ClientConnection
    from serving.gateway.h2.stream import Fields, Piece
    from serving.gateway.routing import VersionRoute
    from serving.gateway.served import Signature
    from serving.gateway.upstream import Upstream

_SURE = frozenset((Refusal.NO_REPLICA, Refusal.OVERLOADED))
"""What is said only where no model has seen anything."""


class Flow:
    """What was sent on a branch."""

    __slots__ = ("ended", "held", "pieces", "received")

    def __init__(self) -> None:
        self.ended = False
        self.held = True
        self.received = 0
        self.pieces: list[bytes] = []

    def add(self, message: bytes, most: int) -> None:
        """One more message; what outgrows `most` bytes cannot be sent again."""
        self.received += len(message) + PREFIX
        if self.held:
            self.pieces.append(message)
        if self.received > most:
            self.let_go()

    def let_go(self) -> None:
        """It cannot be sent again from here on."""
        self.held = False
        self.pieces = []


class Branch(Sending):
    """One such stream.

    Args:
        call: the client's stream.
        head: of its first message.
        key: what tells it from the other branches of the call.
    """

    body: Flow

    __slots__ = ("_answers", "_asked", "_call", "_came", "_copies", "_owed", "_waiting", "_watch", "key")

    def __init__(self, call: StreamCall, head: CallHead, key: tuple[str, int, bytes]) -> None:
        super().__init__(call.worker, head, Flow())
        self.key = key
        self._call = call
        self._waiting: list[bytes] = []  # messages that no connection has taken yet
        self._answers = Cutter()
        self._asked = 0
        self._came = 0
        self._owed = 0  # bytes of answers that wait for the client
        self._watch: StreamWatch | None = None
        self._copies: list[bytes] = []  # messages whose copies wait for an answer

    # What the call asks of it.

    def open(self, way: Way) -> Bad | None:
        """Takes its place; why it gets none."""
        bad = self._take_place(way)
        if bad is None:
            self._way = way
        return bad

    def send(self, message: bytes) -> None:
        """One message, in the clear."""
        self.body.add(message, self._worker.config.repeat_max_request)
        self._asked += 1
        self._expect(self._worker.loop.time())
        leg = self._connection
        if leg is not None:
            leg.stream.write_data(for_version(framed(message), self._version))
        else:
            self._waiting.append(message)
        if not self._started and self._way is not None:
            self._start(self._way)
        self._keep_for_copies(message)

    def end(self) -> None:
        """The client asks no more."""
        self.body.ended = True
        if self._connection is not None:
            self._connection.stream.write_end()

    def go_on(self) -> None:
        """The client reads again."""
        owed, self._owed = self._owed, 0
        if owed and self._connection is not None:
            self._connection.take(owed)

    def abandon(self) -> None:
        """The client is gone, or has been told that this is the end."""
        if not self.answered:
            self.answered = True
            self._leave_upstream()
            self.body.let_go()

    @property
    def full(self) -> bool:
        """Whether it takes no more for now."""
        leg = self._connection
        return bool(self._waiting) if leg is None else leg.stream.full

    @property
    def answer_head(self) -> Fields | None:
        """The head of its answer, where that is there."""
        return None if self._connection is None else self._connection.head

    def signature(self) -> Signature | None:
        """What the gateway says of its way."""
        return self._signature()

    # One attempt.

    def _attempt(self, route: VersionRoute, role: Role, failed: Upstream | None = None) -> None:
        if self.body.held:
            self._waiting = list(self.body.pieces)
        self._watch = None
        self._answers = Cutter()  # a part of an answer that another attempt left is nobody's
        super()._attempt(route, role, failed)

    def on_line(self, line: ClientConnection) -> None:
        """A connection stands: out with what there is."""
        self._watch = StreamWatch(self._worker.loop.time())
        super().on_line(line)
        self._expect(self._watch.opened_s)
        self._call.take_more()

    def _pieces(self) -> list[Piece]:
        waiting, self._waiting = self._waiting, []
        return [piece for message in waiting for piece in for_version(framed(message), self._version)]

    def on_not_taken(self, leg: Leg) -> None:
        """That connection was about to end: another one carries it, if all of it is still there."""
        if leg is self._connection and self.body.held:
            self._waiting = list(self.body.pieces)
        super().on_not_taken(leg)

    def on_room(self, leg: Leg) -> None:
        """It takes more."""
        del leg
        self._call.take_more()

    # The answers.

    def on_piece(self, leg: Leg, data: bytes) -> None:
        """Answers, or a part of one; they go on whole, for those of other versions may stand between."""
        if leg is not self._connection:
            return
        cut = self._answers.feed(data)
        if not cut.messages:  # the rest of it must come, whoever is waiting
            leg.take(len(data))
            return
        now = self._worker.loop.time()
        self._see(cut, now)
        self.reply.sent += len(cut.data)
        self._call.say(self, cut.data, now)
        if self._call.full:
            self._owed += len(data)
        else:
            leg.take(len(data))

    def _see(self, cut: Cut, now: float) -> None:
        if not self.reply.begun:
            self.reply.begun = True
            self.body.let_go()
        self._came += cut.messages
        self._expect(now)
        if self._watch is not None:
            self._watch.saw(cut.messages, now, errors=cut.errors)
        if self._copies:
            self._send_copies()

    def _expect(self, now: float) -> None:
        """Until when the next answer has to be there: only where one is owed, as far as can be told."""
        if self._asked > self._came:
            self.deadline = min(now + self._worker.config.upstream_timeout_s, self._latest)
        else:
            self.deadline = self._latest

    def on_answered(self, leg: Leg, answer: Answer) -> None:
        """The model's server has ended the stream."""
        if leg is not self._connection:
            return
        if not self.reply.begun and answer.code >= SERVER_ERROR:
            self._connection = None
            self._on_server_error(answer, [])
            return
        self._connection = None
        self._conclude(answer.code)
        self._answer_whole(answer, [])

    def _answer_whole(self, answer: Answer, pieces: list[bytes]) -> None:
        del pieces
        if answer.code >= SERVER_ERROR:
            self._failed = answer.code
        self._finish()
        self._call.done(self, answer)

    def refuse(self, bad: Bad) -> None:
        """It goes no further: what no model has seen is answered one by one, anything else ends the client's stream."""
        if self.answered:
            return
        messages = self._waiting or (self.body.pieces if self.body.held else [])
        lost = self.reply.begun or bad.kind not in _SURE or not messages
        self._fail(bad)
        self._leave_upstream()
        self._finish()
        if lost:
            self._call.refuse(bad)
        else:
            self._call.drop(self, bad, messages)

    def _end_attempt(self, outcome: Outcome) -> None:
        upstream, watch = self._upstream, self._watch
        if upstream is not None and watch is not None:
            role = Role.SYNTHETIC if self._head.synthetic else self._role
            drained = outcome is Outcome.LATE and self._worker.draining
            upstream.count_stream(role, watch, Ended.DRAINED if drained else ENDED.get(outcome, Ended.COMPLETE))
            if watch.errors:
                outcome = Outcome.SERVER_ERROR
                self._failed = self._failed or SERVER_ERROR * self.reply.begun
            self._watch = None
        super()._end_attempt(outcome)

    def _finish(self) -> None:
        self.answered = True
        self._send_copies()
        self.body.let_go()
        self._waiting = []
        self._give_back_place()

    # Copies.

    def _keep_for_copies(self, message: bytes) -> None:
        way = self._way
        if way is not None and way.model.policy.shadows and not self._head.synthetic:
            self._copies.append(message)
            if sum(map(len, self._copies)) > self._worker.config.repeat_max_request:
                del self._copies[0]

    def _send_copies(self) -> None:
        """A copy is a stream of its own with one message, once an answer has come."""
        messages, self._copies = self._copies, []
        way = self._way
        if way is not None and self._broke_at is None:
            for message in messages:
                copies.send(self._worker, way, self._head, Whole(message), framed(message), took_s=0.0, note=self._note)


class Whole:
    """A message that is there, for a copy."""

    __slots__ = ("ended", "held", "pieces", "received")

    def __init__(self, message: bytes) -> None:
        self.ended = self.held = True
        self.pieces = [message]
        self.received = len(message)
