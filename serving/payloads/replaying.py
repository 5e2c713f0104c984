"""Kept requests, sent again to a version, and its answers held against those that were kept.

The pace is the caller's, a few requests are on their way at once at most, and it ends with the last row. Answers are
compared as those of shadows are, by the same rules; what was not kept, or kept without its values, is not compared, and
counted. Who carries a request is a port of one function; when is now is told by the event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from router.agreement import OutputRule
from serving.keeping.comparing import compare
from serving.keeping.decoding import Tensors, Unreadable, answer_in
from serving.payloads.form import OUTPUT
from serving.payloads.reading import KeptRow
from serving.payloads.requests import Rebuilt, rebuilt, why_not

_OK: Final = 200
_MOST_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        status: of HTTP; 0 where no answer came.
        headers: the lines that it takes to read the body, each ended by CRLF.
        body: as it came.
        took_s: seconds.
    """

    status: int
    headers: bytes
    body: bytes
    took_s: float


Send = Callable[[Rebuilt], Awaitable[Reply]]


@dataclass(slots=True)
class OutputSummary:
    """What became of one output.

    Attributes:
        compared: pairs of answers.
        differ: of those.
        kinds: how they differ, one of `serving.keeping.comparing.Kind`.
        largest: how far values were apart at most, in the rule's measure.
    """

    compared: int = 0
    differ: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    largest: float = 0.0


@dataclass(slots=True)
class Summary:
    """What came of a replay.

    Attributes:
        rows: that were read.
        skipped: that were not sent, by why.
        sent: requests.
        answered: well.
        failed: by the status, 0 for no answer, or 'unreadable'.
        compared: answers that were held against kept ones.
        same: of those.
        differ: of those.
        uncompared: answered well, but there is nothing to compare them with.
        outputs: by name.
        differing: ids of the first requests that were answered otherwise.
        took_s: all requests together, seconds.
    """

    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    compared: int = 0
    same: int = 0
    differ: int = 0
    uncompared: int = 0
    outputs: dict[str, OutputSummary] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def good(self) -> bool:
        """Whether something was sent, all of it was answered well, and nothing otherwise than before."""
        return self.sent > 0 and not self.failed and not self.differ

    def as_dict(self) -> dict[str, Any]:
        """It as JSON values."""
        outputs = {
            name: {"compared": one.compared, "differ": one.differ, "kinds": dict(one.kinds), "largest": one.largest}
            for name, one in self.outputs.items()
        }
        return {
            "rows": self.rows, "skipped": dict(self.skipped), "sent": self.sent, "answered": self.answered,
            "failed": dict(self.failed), "compared": self.compared, "same": self.same, "differ": self.differ,
            "uncompared": self.uncompared, "outputs": outputs, "differing": self.differing,
            "mean_s": self.took_s / self.answered if self.answered else None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast, and how compared.

    Attributes:
        per_s: requests a second; 0 for as fast as answers come.
        at_once: requests on their way at most.
        rules: of the comparison, by output; None for none at all.

    Raises:
        ValueError: one of them is none.
    """

    per_s: float = 50.0
    at_once: int = 4
    rules: Mapping[str, OutputRule] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.per_s < float("inf") or self.at_once < 1:
            raise ValueError("a replay has a rate of 0 or more requests a second, and at least one at once")


async def replay(
    rows: Iterable[KeptRow], send: Send, pace: Pace, tell: Callable[[Summary], None] = lambda _: None
) -> Summary:
    """Sends them and says what came of it.

    Args:
        rows: each is read when its turn comes.
        send: carries a request. The first is sent alone: if it raises, nothing else is sent.
        pace: how fast, and how compared.
        tell: hears of every answer.

    Raises:
        Exception: whatever reading a row or `send` raises.
    """
    summary = Summary()
    under_way: set[asyncio.Task[None]] = set()
    loop = asyncio.get_running_loop()
    next_s = loop.time()
    try:
        for row in rows:
            summary.rows += 1
            if why := why_not(row):
                summary.skipped[why] += 1
                continue
            await asyncio.sleep(max(0.0, next_s - loop.time()))
            if pace.per_s:
                next_s = max(next_s, loop.time() - 1.0) + 1.0 / pace.per_s
            under_way.add(asyncio.create_task(_one(row, send, pace, summary, tell)))
            summary.sent += 1
            room = 1 if summary.sent == 1 else pace.at_once
            while len(under_way) >= room:
                under_way = await _fewer(under_way)
        while under_way:
            under_way = await _fewer(under_way)
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
    return summary


async def _fewer(under_way: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    done, rest = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return rest


async def _one(row: KeptRow, send: Send, pace: Pace, summary: Summary, tell: Callable[[Summary], None]) -> None:
    reply = await send(rebuilt(row))
    outputs = _outputs(reply, summary)
    if outputs is not None:
        summary.answered += 1
        summary.took_s += reply.took_s
        if pace.rules is not None:
            _compare(row, outputs, pace.rules, summary)
    tell(summary)


def _outputs(reply: Reply, summary: Summary) -> Tensors | None:
    if reply.status != _OK:
        summary.failed[str(reply.status)] += 1
        return None
    try:
        return answer_in("http", reply.headers, reply.body)
    except Unreadable:
        summary.failed["unreadable"] += 1
        return None


def _compare(row: KeptRow, outputs: Tensors, rules: Mapping[str, OutputRule], summary: Summary) -> None:
    """Holds an answer against the kept one, but for outputs whose values were not kept."""
    if not any(name.startswith(OUTPUT) for name in row.shapes):
        summary.uncompared += 1
        return
    seen = {name: one for name, one in outputs.items() if name not in row.hidden}
    found = compare(row.outputs, seen, rules)
    if not found:
        summary.uncompared += 1
        return
    for name, held in found.items():
        output = summary.outputs.setdefault(name, OutputSummary())
        output.compared += 1
        output.differ += bool(held.kind)
        output.kinds.update([held.kind] if held.kind else [])
        output.largest = max(output.largest, held.size)
    differs = any(held.kind for held in found.values())
    summary.compared += 1
    summary.same += not differs
    summary.differ += differs
    if differs and len(summary.differing) < _MOST_NAMED:
        summary.differing.append(row.about["request_id"])
