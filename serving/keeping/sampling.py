"""The sink that samples: requests with their answers become batches in each model's stream, for the drift sidecar.

Taking never waits: what a rule allows is decoded and waits in memory, with a bound, and a task writes it once a second
in entries of about `ENTRY_BYTES`. An entry that nobody knows to have arrived is written again as it is, under its
number, and its reader counts it once. The stream is bounded by how many entries of the longest lately seen fit into it,
so one that nobody reads costs the store that and the gateway nothing. Whatever is not written is counted by its reason,
and told with every entry; where there is nothing to write it is told alone.

A model none of whose versions has a baseline is sampled only where one is to be learned. Redacted tensors are left out
here, as they are in the payload log. Failures are not sampled: how many there were is counted, and what they mean is
for others to judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from drift.samples import Batch, Request, Totals
from drift.sampling import Allowance, SampleRule, SampleRules, drawn
from router.agreement import Comparison
from serving.captured import Captured
from serving.keeping.sampled import Drawn, Sampled, Unsampled, answers_of, sampled
from serving.keeping.sinks import Disagreement

ENTRY_BYTES: Final = 64 * 1024
"""Of an entry, about; one request may be longer than that."""
EVERY_S: Final = 1.0
_TOLD_EVERY_S: Final = 5.0
"""How soon totals are told where there is nothing to write."""
_LOOKS_EVERY_S: Final = 2.0
_MOST_WAITING: Final = 8 * 1024 * 1024
"""Bytes that wait to be written, of all models."""
_MOST_ENTRIES: Final = 10_000
_MOST_MODELS: Final = 1_000
_MOST_REMEMBERED: Final = 16_384
_MOST_HIDDEN: Final = 1_000
"""Names of redacted tensors of a model, about."""
_LATELY: Final = 256
_PER_ENTRY: Final = 256
_OK: Final = "ok"
_log = logging.getLogger(__name__)


class Streams(Protocol):
    """Where batches go."""

    async def sample(self, model: str, batch: bytes, most: int) -> None:
        """One more entry of this model's stream, of which only the last so many are kept.

        Raises:
            OSError: nobody knows whether it came.
        """

    async def watched(self) -> frozenset[str]:
        """Models of which a version has a baseline.

        Raises:
            OSError: it cannot be asked.
        """


class SampleSink:
    """One keeper's.

    Args:
        keeper: the gateway's id and this process's own, with a blank between.
        rules: what is sampled.
        streams: where it goes.
        clock: seconds that only go forward.
    """

    def __init__(
        self, keeper: str, rules: SampleRules, streams: Streams, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._keeper = keeper
        self._rules = rules
        self._streams = streams
        self._clock = clock
        self._models: dict[str, _Model] = {}
        self._seen: OrderedDict[tuple[str, int, int], None] = OrderedDict()
        self._writing = asyncio.Lock()
        self._watched: frozenset[str] = frozenset()
        self._looked_s = -math.inf

    def take(self, captured: Captured, comparison: Comparison | None, found: Disagreement | None) -> None:
        """Samples it where the rules say so; returns at once.

        Args:
            captured: a request with its answers.
            comparison: of its model; what it redacts is not sampled.
            found: not looked at.
        """
        del found
        rule = self._rules.of(captured.model)
        if rule is None or not (rule.always or captured.model in self._watched):
            return
        if not drawn(captured.nonce, rule.share_ppm):
            return
        model = self._model(captured.model, rule)
        answers = self._new(captured)
        if model is None or not answers:
            return
        model.offered += len(answers)
        well = [one for one in answers if one.answer.outcome == _OK]
        model.dropped["failed"] += len(answers) - len(well)
        why = self._refused(model) if well else ""
        if why:
            model.dropped[why] += len(well)
        elif well:
            self._add(model, captured, well, comparison)

    def dropped(self) -> Mapping[str, int]:
        """Rows that were not sampled, by the reason."""
        found: Counter[str] = Counter()
        for model in self._models.values():
            found.update(model.dropped)
        return +found

    async def run(self) -> None:
        """Writes, once a second, and looks who is watched, until it is cancelled."""
        while True:
            for step in (self.look, self.write):
                try:
                    await step()
                except OSError as error:
                    _log.debug("samples wait: %s", error)
            await asyncio.sleep(EVERY_S)

    async def close(self) -> None:
        """Writes what waits; where the store is away it is lost."""
        with contextlib.suppress(OSError):
            await self.write(last=True)

    async def look(self) -> None:
        """Sees, every few seconds, which models have a baseline.

        Raises:
            OSError: it cannot be asked; those that had one until now go on being sampled.
        """
        if self._clock() - self._looked_s >= _LOOKS_EVERY_S:
            self._watched = await self._streams.watched()
            self._looked_s = self._clock()

    async def write(self, *, last: bool = False) -> None:
        """Writes everything that waits, and totals that were not told for a while.

        Args:
            last: whether totals are told in any case.

        Raises:
            OSError: nobody knows whether an entry came; the next time it is written again.
        """
        async with self._writing:
            for model in list(self._models.values()):
                try:
                    await self._write(model, last=last)
                except OSError:  # the next time others come first
                    self._models[model.name] = self._models.pop(model.name)
                    raise

    async def _write(self, model: _Model, *, last: bool) -> None:
        while (entry := model.next(self._clock(), last=last)) is not None:
            await self._streams.sample(model.name, entry, model.most)
            model.wrote(self._clock())

    def _model(self, name: str, rule: SampleRule) -> _Model | None:
        model = self._models.get(name)
        if model is None and len(self._models) < _MOST_MODELS:
            model = self._models[name] = _Model(name, self._keeper, rule, self._clock())
        return model

    def _new(self, captured: Captured) -> list[Drawn]:
        """Its answers that were not there before: a request comes again with the copies of another shadow."""
        found = []
        for one in answers_of(captured):
            seen = captured.model, captured.nonce, one.answer.version
            if seen not in self._seen:
                self._seen[seen] = None
                found.append(one)
        while len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        return found

    def _refused(self, model: _Model) -> str:
        """Why nothing more is sampled for now; empty where it is."""
        now_s = self._clock()
        if not model.rows.is_open(now_s):
            return "rate"
        if not model.bytes.is_open(now_s):
            return "bytes"
        return "queue" if sum(one.held for one in self._models.values()) > _MOST_WAITING else ""

    def _add(self, model: _Model, captured: Captured, answers: Sequence[Drawn], comparison: Comparison | None) -> None:
        try:
            model.add(sampled(captured, answers, self._rules.redact, comparison.redact if comparison else ()))
        except Unsampled as error:
            model.dropped[error.why] += len(answers)


class _Model:
    """What waits of one model, and what became of the rest."""

    def __init__(self, name: str, keeper: str, rule: SampleRule, now_s: float) -> None:
        self.name = name
        self.offered = 0
        self.dropped: Counter[str] = Counter()
        self.rows = Allowance(rule.rows_per_s, now_s)
        self.bytes = Allowance(rule.bytes_per_s, now_s)
        self.held = 0
        self._keeper = keeper
        self._stream_bytes = rule.stream_bytes
        self._waiting: deque[Request] = deque()
        self._hidden: set[str] = set()
        self._written = 0
        self._number = 0
        self._entry: bytes | None = None
        self._sealed = 0  # bytes of requests that are in it
        self._lately: deque[int] = deque(maxlen=_LATELY)
        self._told = (0, 0)
        self._told_s = now_s

    @property
    def most(self) -> int:
        """Entries that the stream may hold: of the longest lately seen, as many as fit."""
        return max(1, min(_MOST_ENTRIES, int(self._stream_bytes) // max(self._lately, default=1)))

    def add(self, one: Sampled) -> None:
        """One more request, beside the rows that were left out of it."""
        request = one.request
        self.offered += request.rows + one.thinned - len(request.answers)
        if not request.rows:
            return
        self.dropped["thinned"] += one.thinned
        self.rows.take(request.rows)
        self.bytes.take(request.size)
        self.held += request.size
        self._waiting.append(request)
        self._hidden |= one.hidden if len(self._hidden) < _MOST_HIDDEN else set()  # strangers name tensors, too

    def next(self, now_s: float, *, last: bool) -> bytes | None:
        """The entry that is to be written next; the same one until it was."""
        if self._entry is not None:
            return self._entry
        said = (self.offered, self.dropped.total())
        if not self._waiting and (said == self._told or (now_s - self._told_s < _TOLD_EVERY_S and not last)):
            return None
        requests = tuple(self._fitting())
        self._number += 1
        totals = Totals(self.offered, self._written, dict(+self.dropped))
        batch = Batch(self.name, self._keeper, self._number, totals, requests, tuple(sorted(self._hidden)))
        self._told = said
        self._entry = batch.encode()
        self._lately.append(len(self._entry) + _PER_ENTRY)
        return self._entry

    def wrote(self, now_s: float) -> None:
        """The entry is where it belongs."""
        self._entry = None
        self.held -= self._sealed
        self._sealed = 0
        self._told_s = now_s

    def _fitting(self) -> Iterator[Request]:
        while self._waiting and (not self._sealed or self._sealed + self._waiting[0].size <= ENTRY_BYTES):
            request = self._waiting.popleft()
            self._sealed += request.size
            self._written += request.rows
            yield request
