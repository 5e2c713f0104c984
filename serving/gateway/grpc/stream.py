"""ModelStreamInfer: one stream of the client's, and one to each version that its messages go to.

The unit is fixed when the stream opens; each message is chosen by its model, and one that is part of a sequence goes to
the replica that keeps that sequence. So there is one upstream stream for each version (and for each further replica
that keeps a sequence), in which order is kept. A message that goes nowhere is answered as Triton answers one: by an
answer with an error in it, and the stream goes on. What breaks a stream ends all of it, with a status.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from serving.gateway.dispatch import Way, find_way
from serving.gateway.grpc.answers import HEAD, Answer, signed
from serving.gateway.grpc.branch import Branch
from serving.gateway.grpc.dialogue import Dialogue
from serving.gateway.grpc.framing import Sent, Splitter, framed, inflated
from serving.gateway.grpc.heads import CallHead
from serving.gateway.grpc.messages import Malformed, request_id_in, text
from serving.gateway.h2.stream import ServerStream
from serving.gateway.request import Bad
from serving.gateway.wording import LATE, UNREADABLE

if TYPE_CHECKING:
    from serving.gateway.grpc.port import Line
    from serving.gateway.upstream import Upstream
    from serving.gateway.worker import Worker

_AS_STATUS = b"triton_grpc_error"
"""A client that sends this has errors told by the stream's status, as Triton does."""
_Key = tuple[str, int, bytes]
_FIRST_BAD = 400


class StreamCall(Dialogue):
    """One stream of a client.

    Args:
        line: the client's connection.
        stream: itself.
        head: of the call.
    """

    __slots__ = ("_branches", "_dealt", "_ended", "_moved_at", "_nonce", "_owed", "_splitter", "worker")

    def __init__(self, line: Line, stream: ServerStream, head: CallHead) -> None:
        self.worker: Worker = line.worker
        super().__init__(line, stream, head)
        self._splitter = Splitter(line.worker.config.max_body)
        self._nonce = self.worker.nonce()
        self._branches: dict[_Key, Branch] = {}
        self._dealt: set[tuple[str, int]] = set()  # models and versions that it was dealt by its nonce
        self._owed = 0  # bytes of the client's that wait for an upstream
        self._moved_at = 0.0
        self._ended = False

    # The client's side.

    def opened(self) -> None:
        """Messages may come."""
        self._moved_at = self.worker.loop.time()
        self._line.port.unfinished.add(self)

    def on_data(self, data: bytes) -> None:
        """More messages, or a part of one."""
        if self.over:
            return
        self._moved_at = self.worker.loop.time()
        self._owed += len(data)
        for sent in self._splitter.feed(data):
            bad = sent if isinstance(sent, Bad) else self._take(sent)
            if bad is not None:
                self.refuse(bad)
            if self._stopped():
                return
        self.take_more()

    def on_end(self) -> None:
        """The client asks no more; answers may go on."""
        if self.over:
            return
        if not self._splitter.between:
            self.refuse(UNREADABLE)
            return
        self._ended = True
        for branch in list(self._branches.values()):
            branch.end()
        self._finish_if_done()

    def on_writable(self) -> None:
        """The client reads again."""
        for branch in list(self._branches.values()):
            branch.go_on()

    def overdue(self, now: float) -> bool:
        """Whether it owes the rest of a message for too long, or nothing has moved at all for longer still."""
        config = self.worker.config
        waits_s = config.idle_timeout_s if self._splitter.between else config.upstream_timeout_s
        return now - self._moved_at > waits_s

    def time_out(self) -> None:
        """It does."""
        self.refuse(LATE)

    # One message.

    def _take(self, sent: Sent) -> Bad | None:
        """Sends a message where it belongs; why the stream ends with it, if so."""
        config, head = self.worker.config, self._head
        message = inflated(sent, head.coding, config.max_body)
        if isinstance(message, Bad):
            return message
        try:
            named = head.kind.named(message, 0) if head.kind.named is not None else None
        except Malformed:
            named = None
        if named is None:
            return UNREADABLE
        about = head.about(named)
        bad = self._send(about, sent, message)
        if bad is None:
            return None
        if self.worker.journal is not None:
            self.worker.journal.refused(about, None, None, bad)
        if head.fields.get(_AS_STATUS) == b"true":
            return bad
        self.say_error(bad, message)
        return None

    def _send(self, head: CallHead, sent: Sent, message: bytes) -> Bad | None:
        worker, who = self.worker, self._who
        bad = self._may(head, len(sent.data))
        if bad is not None:
            return bad
        way = find_way(worker.routing, head, self._nonce, who, sequence=head.named.sequence)
        if isinstance(way, Bad):
            return way
        known = self._branch_for(way, head)
        if isinstance(known, Bad):
            return known
        known.send(message)
        return None

    def _may(self, head: CallHead, size: int) -> Bad | None:
        """Why whoever asks may not ask this, or not now."""
        worker, who = self.worker, self._who
        if not who.sees(head.target.model):
            found = worker.admission.admit(head, worker.wall_s, self._line)
            if isinstance(found, Bad):
                return found
        meter = self._meter
        if meter is None:
            return None
        bad = meter.too_long(size)
        if bad is None and self._branches:  # the first message is what the stream came in with
            bad = meter.spend()
        return bad

    def _branch_for(self, way: Way, head: CallHead) -> Branch | Bad:
        """The upstream stream of this version, and of the replica that keeps the message's sequence."""
        sequence = head.named.sequence
        keeper: Upstream | None = None if sequence is None else way.route.keeper_of(sequence)
        key = (way.model.name, way.choice.version, b"" if keeper is None else keeper.place)
        branch = self._branches.get(key)
        if branch is not None:
            return branch
        branch = Branch(self, head, key)
        bad = branch.open(self._as_dealt(way))
        if bad is None:
            self._branches[key] = branch
            if way.choice.bucket is not None:
                self._dealt.add((way.model.name, way.choice.version))
        return branch if bad is None else bad

    def _as_dealt(self, way: Way) -> Way:
        """The way, as a draw only where it is the first: one nonce decides for all branches of a model."""
        again = not way.has_unit and (way.model.name, way.choice.version) in self._dealt
        return replace(way, choice=way.choice._replace(bucket=None)) if again else way

    # What its branches ask of it.

    @property
    def ended(self) -> bool:
        """Whether the client asks no more."""
        return self._ended

    @property
    def full(self) -> bool:
        """Whether the client reads too slowly for now."""
        return self._stream.full

    def take_more(self) -> None:
        """Lets the client send as much as came, unless an upstream takes no more for now."""
        if self._owed and not self.over and not any(branch.full for branch in self._branches.values()):
            owed, self._owed = self._owed, 0
            self._stream.consume(owed)

    def say(self, branch: Branch, answers: bytes, now: float) -> None:
        """Whole answers of a model's, each with its five bytes, as of now (by the loop's clock)."""
        self._moved_at = now
        if not self._begun:
            self._begin(branch)
        self._stream.write_data([answers])

    def say_error(self, bad: Bad, message: bytes) -> None:
        """An answer that says what is wrong with one message, or with what became of it."""
        self._begin(None)
        identity = request_id_in(message)
        answer = text(2, text(3, identity)) if identity else text(2, b"")
        self._stream.write_data([framed(text(1, bad.sentence.encode()) + answer)])

    def done(self, branch: Branch, answer: Answer) -> None:
        """A model's server has ended its stream; one that it ended badly ends all."""
        self._forget(branch)
        if answer.code >= _FIRST_BAD:
            if not self.over:
                self._begin(branch)
                self._stream.write_trailers(self._line.port.blocks.of(answer.trailers))
                self.leave()
            return
        self.take_more()
        self._finish_if_done()

    def drop(self, branch: Branch, bad: Bad, messages: list[bytes]) -> None:
        """These messages have reached nobody."""
        self._forget(branch)
        if self._head.fields.get(_AS_STATUS) == b"true":
            self.refuse(bad)
            return
        for message in messages:
            self.say_error(bad, message)
        self.take_more()
        self._finish_if_done()

    def _stopped(self) -> bool:
        """Whether it ended while something was done about it."""
        return self.over

    # Its end.

    def _begin(self, branch: Branch | None) -> None:
        """The head goes out with the first answer, and says of whom that is."""
        if self._begun:
            return
        self._begun = True
        if branch is None:
            self._stream.write_headers(HEAD)
        else:
            head = branch.answer_head
            block = HEAD if head is None else self._line.port.blocks.of(head)
            self._stream.write_headers(block + signed(branch.signature()))

    def _forget(self, branch: Branch) -> None:
        if self._branches.get(branch.key) is branch:
            del self._branches[branch.key]

    def _finish_if_done(self) -> None:
        if self._ended and not self._branches:
            self.finish()

    def leave(self) -> None:
        """It is over: whoever still answers need not."""
        super().leave()
        self._line.port.unfinished.discard(self)
        branches, self._branches = self._branches, {}
        for branch in branches.values():
            branch.abandon()
