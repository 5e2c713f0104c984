"""What is found in the pairs that workers hand over: counted, broken down, and the worst of them kept.

A pair is stable's answer, which the client got, and a candidate's to a copy of the same request. Where stable was asked
a second time as well (the A/A lane), its second answer says how far one version's answers differ by themselves.

Only what both answered well is compared. A pair of which an answer is missing for a reason that is nobody's fault (the
client went away) is not counted at all; one whose answers cannot be read is counted as that. What is told of this is
`serving.pair_totals` and `serving.diffs`; how it gets anywhere is not known here, and neither is the time.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from router.agreement import Comparison
from router.evidence.pairs import TOLERANCE
from serving.captured import Answered, Captured
from serving.diffs import OTHER, Diff, KeptPair, OutputDiff, SegmentDiff, merged, most_frequent, rank
from serving.keeping.comparing import Held, compare
from serving.keeping.decoding import Tensors, Unreadable, answer_in
from serving.keeping.showing import kept_pair
from serving.keeping.sinks import Disagreement
from serving.pair_totals import PairTotals, Signs

MOST_SERIES: Final = 1_000
FORGOTTEN_S: Final = 86_400.0
"""A series of which there was no pair for so long is over: its rollout is."""
MOST_NAMES: Final = 1_000
"""Outputs, values of a header and confused classes that are told apart while counting."""
NONE_SAID: Final = "(none)"
"""The segment of requests that do not have the header."""
_OK: Final = "ok"
_NOBODYS: Final = frozenset({"cancelled"})
_UNANSWERED: Final = frozenset({"late", "broken", "refused", "unavailable"})

Named = tuple[str, str, int, int]
"""Model, salt, stable's version, candidate's version."""


class Told(NamedTuple):
    """What workers said of one shadow's copies: how many were in its sample, were sent, were not and why."""

    offered: int = 0
    sent: int = 0
    shed: Mapping[str, int] = {}


@dataclass(slots=True)
class _Output:
    compared: int = 0
    disagreed: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    largest: float = 0.0
    confused: Counter[tuple[str, str]] = field(default_factory=Counter)


class Answers:
    """Of one request, each decoded once, and only where it is wanted."""

    def __init__(self, captured: Captured) -> None:
        self._captured = captured
        self._read: dict[int, Tensors | None] = {}

    def __getitem__(self, answer: Answered) -> Tensors | None:
        """Its outputs; None where they cannot be read."""
        if id(answer) not in self._read:
            self._read[id(answer)] = self._outputs(answer)
        return self._read[id(answer)]

    def _outputs(self, answer: Answered) -> Tensors | None:
        if answer.body is None:
            return None
        try:
            return answer_in(self._captured.protocol, answer.headers, answer.body)
        except Unreadable:
            return None


class Series:
    """One candidate's pairs since this process began.

    Args:
        named: whose they are.
        since_s: when the first of them came.
    """

    def __init__(self, named: Named, since_s: float) -> None:
        model, salt, stable, candidate = named
        self._totals = PairTotals(model, salt, stable, candidate, 0)
        self._counts: Counter[str] = Counter()
        self._signs = {name: [0, 0, 0] for name in ("errors", "slower", "noise")}
        self._outputs: dict[str, _Output] = {}
        self._segments: dict[str, dict[str, list[int]]] = {}
        self._worst: list[tuple[tuple[float, float, str], KeptPair]] = []
        self._since_s = since_s
        self.newest_s = since_s
        """When the newest of them came."""
        self._keep = 0
        self.told = Told()
        self.changed = 0
        """Grows with every change of the totals."""
        self.before: Diff | None = None
        """What was found by this gateway's keeper before this process."""

    def totals(self) -> PairTotals:
        """What was counted."""
        counted: dict[str, Any] = {**self._counts, **{name: Signs(*counts) for name, counts in self._signs.items()}}
        told = self.told
        return replace(self._totals, **counted, offered=told.offered, sent=told.sent, shed=dict(told.shed))

    def diff(self, now_s: float, dropped: Mapping[str, int]) -> Diff:
        """All that was found, with what was found before this process."""
        outputs = {
            name: OutputDiff(one.compared, one.disagreed, dict(one.kinds), one.largest, most_frequent(one.confused))
            for name, one in self._outputs.items()
        }
        segments = {
            name: {value: SegmentDiff(*counts) for value, counts in by.items()} for name, by in self._segments.items()
        }
        worst = tuple(pair for _, pair in self._worst)
        own = Diff(self.totals(), self._since_s, now_s, outputs, segments, worst, self._keep, dropped)
        return own if self.before is None else replace(merged((self.before, own)), keep=self._keep)

    def hear(self, told: Told) -> None:
        """Takes over what workers say of its copies."""
        if told != self.told:
            self.told = told
            self.changed += 1

    # One pair after the other.

    def add(
        self, captured: Captured, copy: Answered, again: Answered | None, answers: Answers, rules: Comparison
    ) -> Disagreement | None:
        """One more pair.

        Args:
            captured: the request, with stable's answer.
            copy: the candidate's.
            again: stable's second answer, where it was asked for.
            answers: of this request.
            rules: by which they are compared.

        Returns:
            how they differ, where they do.
        """
        if captured.epoch > self._totals.epoch:
            self._totals = replace(self._totals, epoch=captured.epoch)
        self._keep = rules.keep
        self.changed += 1
        self._count_signs(captured.first, copy)
        held = self._compared(captured, copy, answers, rules)
        self._count_noise(captured, again, answers, rules, held)
        if held is None:
            return None
        differs = {name: one.kind for name, one in held.items() if one.kind}
        self._count(captured, held, rules, differs=bool(differs))
        if not differs:
            return None
        self._keep_worst(captured, copy, answers, held, rules)
        return Disagreement(copy.version, differs)

    def _count_signs(self, first: Answered, copy: Answered) -> None:
        self._sign("errors", worse=copy.outcome != _OK, better=first.outcome != _OK)
        slower = copy.took_s > TOLERANCE * first.took_s and first.outcome not in _UNANSWERED
        faster = first.took_s > TOLERANCE * copy.took_s and copy.outcome not in _UNANSWERED
        self._sign("slower", worse=slower, better=faster)

    def _compared(
        self, captured: Captured, copy: Answered, answers: Answers, rules: Comparison
    ) -> Mapping[str, Held] | None:
        if not captured.first.outcome == copy.outcome == _OK:
            return None
        first, other = answers[captured.first], answers[copy]
        if first is None or other is None:
            self._counts["unread"] += 1
            return None
        return compare(first, other, rules.outputs)

    def _count_noise(
        self,
        captured: Captured,
        again: Answered | None,
        answers: Answers,
        rules: Comparison,
        held: Mapping[str, Held] | None,
    ) -> None:
        if again is None or not captured.first.outcome == again.outcome == _OK:
            return
        first, second = answers[captured.first], answers[again]
        if first is None or second is None:
            return
        floor = _differ(compare(first, second, rules.outputs))
        self._counts["noise_compared"] += 1
        self._counts["noise_disagreed"] += floor
        if held is not None:
            self._sign("noise", worse=_differ(held), better=floor)

    def _sign(self, name: str, *, worse: bool, better: bool) -> None:
        self._signs[name][2 if worse == better else 0 if worse else 1] += 1

    def _count(self, captured: Captured, held: Mapping[str, Held], rules: Comparison, *, differs: bool) -> None:
        self._counts["compared"] += 1
        self._counts["disagreed"] += differs
        for name, one in held.items():
            of = self._outputs.setdefault(_bounded(name, self._outputs), _Output())
            of.compared += 1
            of.largest = max(of.largest, one.size)
            if one.kind:
                of.disagreed += 1
                of.kinds[one.kind] += 1
            if name not in rules.redact:
                of.confused.update(
                    pair for pair in one.confused if pair in of.confused or len(of.confused) < MOST_NAMES
                )
        for name in rules.segments:
            by = self._segments.setdefault(name, {})
            counts = by.setdefault(_bounded(captured.segment.get(name) or NONE_SAID, by), [0, 0])
            counts[0] += 1
            counts[1] += differs

    def _keep_worst(
        self, captured: Captured, copy: Answered, answers: Answers, held: Mapping[str, Held], rules: Comparison
    ) -> None:
        badness = max(one.badness for one in held.values() if one.kind)
        place = (-badness, -captured.at_s, captured.request_id)
        first, other = answers[captured.first], answers[copy]
        if first is None or other is None or (len(self._worst) >= rules.keep and place >= self._last(rules.keep)):
            return
        pair = kept_pair(captured, first, other, held, rules)
        insort(self._worst, (rank(pair), pair), key=lambda one: one[0])
        del self._worst[rules.keep :]

    def _last(self, keep: int) -> tuple[float, float, str]:
        return self._worst[keep - 1][0] if keep else (-float("inf"), 0.0, "")


class Findings:
    """All series of one keeper."""

    def __init__(self) -> None:
        self.series: dict[Named, Series] = {}
        self.beyond = 0
        """Pairs of series that are too many to be counted."""

    def add(self, captured: Captured, rules: Comparison, now_s: float) -> Disagreement | None:
        """One request with the answers of its copies.

        Args:
            captured: which.
            rules: of its model.
            now_s: seconds since 1970.

        Returns:
            how a candidate's answer differs, where one does.
        """
        found: Disagreement | None = None
        answers = Answers(captured)
        for copy, again in _pairs(captured):
            series = self._of((captured.model, captured.salt, captured.stable, copy.version), now_s)
            if series is None:
                self.beyond += 1
            else:
                series.newest_s = now_s
                found = series.add(captured, copy, again, answers, rules) or found
        return found

    def hear(self, told: Mapping[tuple[str, str, int], Told]) -> None:
        """Takes over what workers say of shadows, by model, salt and version."""
        newest = {(model, salt, candidate): one for (model, salt, _, candidate), one in self.series.items()}
        for named, series in newest.items():
            if named in told:
                series.hear(told[named])

    def forget(self, now_s: float) -> None:
        """Lets go of series that are over; what was found of them stays where it was left."""
        self.series = {named: one for named, one in self.series.items() if now_s - one.newest_s < FORGOTTEN_S}

    def _of(self, named: Named, now_s: float) -> Series | None:
        if named not in self.series:
            if len(self.series) >= MOST_SERIES:
                return None
            self.series[named] = Series(named, now_s)
        return self.series[named]


def _pairs(captured: Captured) -> Iterator[tuple[Answered, Answered | None]]:
    """The candidates' answers, each with stable's second one; nothing where it was not stable that answered."""
    first = captured.first
    if first.version != captured.stable or first.outcome in _NOBODYS:
        return
    again = next((one for one in captured.copies if one.version == first.version), None)
    for copy in captured.copies:
        if copy.version != first.version and copy.outcome not in _NOBODYS:
            yield copy, again


def _differ(held: Mapping[str, Held]) -> bool:
    return any(one.kind for one in held.values())


def _bounded(name: str, there: Mapping[str, object]) -> str:
    return name if name in there or len(there) < MOST_NAMES else OTHER
