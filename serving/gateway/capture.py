"""What a worker hands to the keeper beside it: one stream over a Unix socket, written to without ever waiting.

Nothing depends on the keeper. While it is away, or slow, what it would have been handed is dropped and counted; a
connection that breaks is dialled anew. Beside pairs go whole answers that failed and a share of all others, drawn by a
hash of the request's own number, so that every version's requests are drawn alike; and so, under another salt, those
that are sampled for the drift sidecar. What is noted for traces and logs goes the same way (`notes`), and the keeper
says on the same stream what it could not write down of that. Terms are told at each change of them, and what was shed
once a second while it changes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, cast

from xxhash import xxh3_64_intdigest

from drift.sampling import Allowance, SampleRules, drawn
from router.agreement import comparison_as_dict
from router.policy import WHOLE
from serving.captured import LONGEST, Captured, Frame, Frames, Kind, ModelTerms, ShadowShed, Shed, Terms, begun, framed
from serving.gateway.counters import Outcome
from serving.gateway.grpc.framing import PREFIX
from serving.gateway.pairs import First, Pair, alone
from serving.noted import Lost

if TYPE_CHECKING:
    from serving.gateway.config import WorkerConfig
    from serving.gateway.dispatch import Way
    from serving.gateway.routing import Routing, Table

_log = logging.getLogger(__name__)
_MOST_UNSENT: Final = 16 * 1024 * 1024
_MOST_GATHERED: Final = 16
_LONGEST_SAID: Final = 64 * 1024
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_TELLS_EVERY_S: Final = 1.0
_SALT: Final = b"payloads"
_MOST_JOINED: Final = 64 * 1024
_OK: Final = Outcome.OK
_FINE: Final = frozenset((Outcome.OK, Outcome.CLIENT_ERROR, Outcome.CANCELLED))


class Goes(Protocol):
    """A request whose answer goes to its client piece by piece; it is known by its identity."""

    answered: bool
    """Whether the client has all of its answer, or will never have."""


class _Ration(NamedTuple):
    """What may be sampled of one model, and how much of that is left."""

    share_ppm: int
    allowance: Allowance


class Capture:
    """The worker's end of the stream.

    Args:
        config: of the worker: where the keeper listens, and how much is captured.
        table: whose shadows are told of.
        loop: that of the worker.
    """

    def __init__(self, config: WorkerConfig, table: Table, loop: asyncio.AbstractEventLoop) -> None:
        self.most = config.capture_max_body
        """Bytes of a body that is captured."""
        self.dropped: Counter[str] = Counter()
        """What was not handed over, by what it was and why."""
        self.lost: Counter[str] = Counter()
        """The same of what was noted for traces and logs, what the keeper could not write down included."""
        self._path = config.keeper_socket
        self._worker = config.worker
        self._share_ppm = config.payload_share_ppm
        self._samples = SampleRules.from_json(config.samples) if config.samples else SampleRules(None)
        self._rations: dict[str, _Ration] = {}
        self._boot = os.urandom(8).hex()
        self._table = table
        self._loop = loop
        self._line: _Line | None = None
        self._terms = Terms()
        self._told = b""
        self._gathered: dict[Goes, _Gathered] = {}

    # What exchanges hand to it.

    def takes(self, way: Way, outcome: Outcome) -> bool:
        """Whether this request's answer is handed over, copies or not; to be asked once, for it may be sampled thereby.

        Where nothing is built for a request that is not, that is all that it costs.
        """
        if self._share_ppm and self.draws(way.nonce):
            return True
        return self.samples(way.model.name, way.nonce) if outcome is _OK else outcome not in _FINE

    def draws(self, nonce: int) -> bool:
        """Whether this request is one of the share that is drawn, whichever version answers it."""
        share = self._share_ppm
        return share > 0 and xxh3_64_intdigest(_SALT + nonce.to_bytes(8, "big")) % WHOLE < share

    def samples(self, model: str, nonce: int) -> bool:
        """Whether this request is sampled, and one less may be from now on: of a share, so many a second.

        What is beyond that is a choice, as the share is, and no loss that would have to be counted.
        """
        share_ppm, allowance = self._rations.get(model) or self._ration(model)
        if not share_ppm:
            return False
        now_s = self._loop.time()
        if now_s < allowance.opens_s or not drawn(nonce, share_ppm) or not allowance.is_open(now_s):
            return False
        allowance.take()
        return True

    def _ration(self, model: str) -> _Ration:
        rule = self._samples.of(model)
        rows_per_s = 1.0 if rule is None else rule.rows_per_s
        made = _Ration(0 if rule is None else rule.share_ppm, Allowance(rows_per_s, self._loop.time()))
        self._rations[model] = made
        return made

    def pair(self, first: First, salt: str) -> Pair:
        """The pair that this answer and the copies for the shadow of this salt make."""
        return Pair(first, salt, self.most, self._send_pair)

    def tell(self, kind: Kind, payload: bytes) -> None:
        """Hands over what was noted, or counts that it was not."""
        if (why := self._why_not()) is not None:
            self.lost[f"note_{why}"] += 1
        elif self._line is not None:
            self._line.write(framed(kind, payload))

    def close(self, first: First) -> None:
        """All copies of this request have gone out."""
        if first.pairs:
            for pair in first.pairs.values():
                pair.ended()
        elif not first.may_be_copied or self.takes(first.way, first.came.outcome):
            self._send_alone(first)

    # Answers that go to their clients piece by piece.

    def gather(self, who: Goes, pieces: Iterable[bytes]) -> None:
        """Notes the beginning of an answer that goes on; only so many at once, those that were given up make room."""
        gathered = self._gathered
        if len(gathered) >= _MOST_GATHERED:
            for one in [one for one in gathered if one.answered]:
                del gathered[one]
        if len(gathered) < _MOST_GATHERED:
            gathered[who] = _Gathered()
            self.go_on(who, pieces)

    def go_on(self, who: Goes, pieces: Iterable[bytes]) -> None:
        """Notes more of it, as long as that may be captured."""
        held = self._gathered.get(who)
        if held is not None:
            held.add(pieces, self.most)

    def gathered(self, who: Goes) -> tuple[list[bytes] | None, int]:
        """All of it, and its size; None where it was not noted, or is too long."""
        held = self._gathered.pop(who, None)
        return (None, 0) if held is None else (held.pieces, held.size)

    # What the worker tells it.

    def goes_by(self, routing: Routing) -> None:
        """From here on answers are compared by the rules of this routing."""
        epoch = routing.head.epoch
        rules = {name: model.policy.comparison for name, model in routing.models.items()}
        terms = Terms({
            name: ModelTerms(epoch, None if rule is None else comparison_as_dict(rule)) for name, rule in rules.items()
        })  # fmt: skip
        if terms != self._terms:
            self._terms = terms
            if self._line is not None:
                self._line.write(framed(Kind.TERMS, terms.encode()))

    def shed(self) -> Shed:
        """What copies there were none of, and what was not handed over."""
        shadows = tuple(
            ShadowShed(
                model, version, salt, tally.offered, max(0, tally.sent),
                {why.value: count for why, count in tally.shed.items()},
            )
            for (model, version), state in self._table.states.items()
            for salt, tally in state.ration.tallies.items()
        )  # fmt: skip
        return Shed(self._worker, self._boot, shadows, dict(self.dropped))

    async def run(self) -> None:
        """Dials, tells, and dials again, until cancelled."""
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                _, line = await self._loop.create_unix_connection(lambda: _Line(self._hear), self._path)
            except OSError:
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 (spreads load, guards nothing)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            await self._tell(line)
            await asyncio.sleep(pause_s)

    async def leave(self, within_s: float) -> None:
        """Says the last of it and hangs up; what the keeper does not take in that time is lost."""
        line, self._line = self._line, None
        if line is not None:
            line.write(framed(Kind.SHED, self.shed().encode()))
            line.close()
            await line.ended_within(within_s)

    async def _tell(self, line: _Line) -> None:
        """Uses this connection for as long as it stands."""
        self._line, self._told = line, b""
        line.write(framed(Kind.TERMS, self._terms.encode()))
        while not line.gone:
            said = self.shed().encode()
            if said != self._told and line.unsent < _MOST_UNSENT:
                self._told = said
                line.write(framed(Kind.SHED, said))
            await line.ended_within(_TELLS_EVERY_S)
        if self._line is line:
            self._line = None

    def _send_pair(self, what: Captured) -> None:
        if self._can_send("pair"):
            self._send("pair", [what.encode()])

    def _send_alone(self, first: First) -> None:
        if (signature := first.sign()) is not None and self._can_send("request"):
            self._send("request", alone(first, signature.request_id.decode(), self.most))

    def _can_send(self, kind: str) -> bool:
        """Whether anything can be handed over now; counts it where not."""
        if (why := self._why_not()) is not None:
            self.dropped[f"{kind}_{why}"] += 1
        return why is None

    def _send(self, kind: str, payload: list[bytes]) -> None:
        """Hands over what was captured, in pieces, unless it is too long."""
        size = sum(map(len, payload))
        if size > LONGEST:
            self.dropped[f"{kind}_long"] += 1
        elif self._line is not None:
            self._line.write_all([begun(Kind.CAPTURED, size), *payload], size)

    def _why_not(self) -> str | None:
        """Why nothing can be handed over now."""
        line = self._line
        if line is None or line.gone:
            return "away"
        return "full" if line.unsent >= _MOST_UNSENT else None

    def _hear(self, frame: Frame) -> None:
        """What the keeper says: what it could not write down.

        Raises:
            ValueError: it is damaged.
        """
        if frame.kind == Kind.LOST:
            self.lost.update(Lost.decode(frame.payload).counts)


class _Gathered:
    """An answer that goes to its client piece by piece."""

    __slots__ = ("pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes] | None = []
        self.size = 0

    def add(self, pieces: Iterable[bytes], most: int) -> None:
        for piece in pieces:
            self.size += len(piece)
            if self.pieces is not None:
                self.pieces.append(piece)
        if self.size > most + PREFIX:
            self.pieces = None


class _Line(asyncio.Protocol):
    """One connection to the keeper."""

    def __init__(self, hear: Callable[[Frame], None]) -> None:
        self._transport: asyncio.Transport
        self._ended = asyncio.Event()
        self._hear = hear
        self._frames = Frames(_LONGEST_SAID)

    @property
    def gone(self) -> bool:
        return self._transport.is_closing()

    @property
    def unsent(self) -> int:
        return self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def write_all(self, pieces: list[bytes], size: int) -> None:
        """Writes so many bytes in pieces, of which long ones are not copied."""
        if size <= _MOST_JOINED:
            self._transport.write(b"".join(pieces))
        else:
            self._transport.writelines(pieces)

    def close(self) -> None:
        self._transport.close()

    async def ended_within(self, seconds: float) -> None:
        """Waits until the connection has ended, so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._frames.feed(data):
                self._hear(frame)
        except ValueError as error:
            _log.warning("what the keeper says makes no sense, and it is dialled anew: %s", str(error)[:200])
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._ended.set()
