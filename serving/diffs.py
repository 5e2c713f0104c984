"""What was found in one candidate's pairs, as a keeper leaves it in the store and as operators are shown it.

Beside the totals (`serving.pair_totals`) that is a breakdown by output and by segment, and the worst pairs with their
values. Each gateway's keeper leaves one; whoever reads adds them up. All of it is bounded: names that are too many are
counted together under `OTHER`, values were cut before they came here, and what is longer than `MOST_BYTES` is without
its least bad pairs.

Plain values and JSON. What decodes badly is refused with ValueError, whatever it is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

from serving.pair_totals import PairTotals, Signs, series_from

READER: Final = 1
MOST_BYTES: Final = 256 * 1024
"""Of one keeper's, as JSON."""
MOST_OUTPUTS: Final = 64
MOST_VALUES: Final = 50
"""Of one header, that are told apart."""
MOST_CONFUSED: Final = 20
OTHER: Final = "(other)"
"""Names what is not told apart."""
_LATEST_S: Final = 2.0**37
_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class OutputDiff:
    """One output.

    Attributes:
        compared: pairs in which it was.
        disagreed: those in which it differs.
        kinds: how many by how it differs: "values", "shape", "datatype", "missing" (from the candidate's) or "extra".
        largest: how far its values were apart at most, in the measure of its rule; 1.8e308 is infinitely.
        confused: how often the candidate said the second where stable said the first: the most frequent.
    """

    compared: int = 0
    disagreed: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    largest: float = 0.0
    confused: Mapping[tuple[str, str], int] = field(default_factory=dict)


class SegmentDiff(NamedTuple):
    """Pairs whose requests said one value in a header."""

    compared: int = 0
    disagreed: int = 0


@dataclass(frozen=True, slots=True)
class KeptPair:
    """One pair whose answers differ.

    Attributes:
        request_id: that the client was told.
        at_s: when it was answered, seconds since 1970.
        epoch: under which policy.
        protocol: "http" or "grpc".
        badness: how many times what is tolerated; 1e9 where an output has another shape or type or is not there.
        segment: what the request said in the headers that segments are told by.
        outputs: how each output differs: {"kind": ..., "size": ...}.
        inputs: the request's tensors: {"datatype", "shape", "values", "cut"}, or "redacted" in place of the values.
        first: stable's answer, likewise.
        other: the candidate's, likewise.
    """

    request_id: str
    at_s: float
    epoch: int
    protocol: str
    badness: float
    segment: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    first: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    other: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diff:
    """All that was found in one candidate's pairs.

    Attributes:
        totals: what was counted.
        since_s: when the first pair came, seconds since 1970 by the keeper's clock.
        at_s: when this was written.
        outputs: by name.
        segments: by header, and by what requests said in it.
        worst: the worst first.
        keep: how many of them are kept.
        dropped: what was handed over and not looked at, or not handed over, by the reason.
    """

    totals: PairTotals
    since_s: float
    at_s: float
    outputs: Mapping[str, OutputDiff] = field(default_factory=dict)
    segments: Mapping[str, Mapping[str, SegmentDiff]] = field(default_factory=dict)
    worst: tuple[KeptPair, ...] = ()
    keep: int = 20
    dropped: Mapping[str, int] = field(default_factory=dict)

    def encode(self) -> bytes:
        """As it stands in the store, at most `MOST_BYTES` of it; `diff_from` reads it."""
        bounded = replace(
            self,
            outputs=_fewest(self.outputs, MOST_OUTPUTS, _joined_outputs),
            segments={name: _fewest(by, MOST_VALUES, _joined_segments) for name, by in self.segments.items()},
            worst=(),
        )
        pairs = [json.dumps(asdict(one), separators=(",", ":")) for one in self.worst[: self.keep]]
        head = json.dumps(_plain(bounded), separators=(",", ":"))[:-1]
        room = MOST_BYTES - len(head) - len(',"worst":[]}')
        while pairs and sum(map(len, pairs)) + len(pairs) > room:
            pairs.pop()
        return f'{head},"worst":[{",".join(pairs)}]}}'.encode()


def diff_from(raw: bytes | str) -> Diff:
    """What `Diff.encode` wrote.

    Raises:
        ValueError: it is something else, or of a later form than this release understands.
    """
    try:
        said = json.loads(raw, parse_float=_finite, parse_constant=_finite)
        if said["reader"] > READER:
            raise ValueError(f"a diff of form {said['reader']!r} is of a later release than this one")
        return Diff(
            series_from(said["totals"]),
            _moment(said["since_s"]),
            _moment(said["at_s"]),
            {name: _output_from(one) for name, one in said["outputs"].items()},
            {
                name: {value: SegmentDiff(int(of[0]), int(of[1])) for value, of in by.items()}
                for name, by in said["segments"].items()
            },
            tuple(_pair_from(one) for one in said["worst"]),
            int(said["keep"]),
            {name: int(count) for name, count in said["dropped"].items()},
        )
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(f"what a keeper has found is damaged: {error!r:.200}") from error


def merged(diffs: Sequence[Diff]) -> Diff:
    """All of them as one, which keeps as many of the worst pairs as that which keeps most.

    Args:
        diffs: at least one, of one model, candidate and salt; of stable versions that differ the newest counts.
    """
    newest = max(diffs, key=lambda one: (one.totals.epoch, one.at_s))
    keep = max(one.keep for one in diffs)
    every = {one.request_id: one for diff in diffs for one in diff.worst}
    segments = {name for one in diffs for name in one.segments}
    return Diff(
        _summed([one.totals for one in diffs], newest.totals),
        min(one.since_s for one in diffs),
        max(one.at_s for one in diffs),
        _joined([one.outputs for one in diffs], _joined_outputs),
        {name: _joined([one.segments.get(name, {}) for one in diffs], _joined_segments) for name in sorted(segments)},
        tuple(sorted(every.values(), key=rank)[:keep]),
        keep,
        counts_of(one.dropped for one in diffs),
    )


def rank(pair: KeptPair) -> tuple[float, float, str]:
    """The worst first; of two that are alike the newer one."""
    return -pair.badness, -pair.at_s, pair.request_id


def counts_of(many: Iterable[Mapping[_Key, int]]) -> dict[_Key, int]:
    """What they come to together."""
    found: dict[_Key, int] = {}
    for name, count in chain.from_iterable(one.items() for one in many):
        found[name] = found.get(name, 0) + count
    return found


def _summed(totals: Sequence[PairTotals], newest: PairTotals) -> PairTotals:
    names = ("compared", "disagreed", "noise_compared", "noise_disagreed", "unread", "offered", "sent")
    counts: dict[str, Any] = {name: sum(getattr(one, name) for one in totals) for name in names}
    for name in ("errors", "slower", "noise"):
        counts[name] = Signs(*map(sum, zip(*(getattr(one, name) for one in totals), strict=True)))
    return replace(newest, **counts, shed=counts_of(one.shed for one in totals))


def _joined(many: Sequence[Mapping[str, _Key]], join: Callable[[Sequence[_Key]], _Key]) -> dict[str, _Key]:
    names = sorted({name for one in many for name in one})
    return {name: join([one[name] for one in many if name in one]) for name in names}


def _joined_outputs(many: Sequence[OutputDiff]) -> OutputDiff:
    return OutputDiff(
        sum(one.compared for one in many),
        sum(one.disagreed for one in many),
        counts_of(one.kinds for one in many),
        max(one.largest for one in many),
        most_frequent(counts_of(one.confused for one in many)),
    )


def _joined_segments(many: Sequence[SegmentDiff]) -> SegmentDiff:
    return SegmentDiff(sum(one.compared for one in many), sum(one.disagreed for one in many))


def most_frequent(counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """The `MOST_CONFUSED` of them, the most frequent first."""
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:MOST_CONFUSED])


def _fewest(by: Mapping[str, Any], most: int, join: Callable[[Sequence[Any]], Any]) -> dict[str, Any]:
    """Those with most disagreements, then with most pairs; the rest as one."""
    if len(by) <= most:
        return dict(by)
    order = sorted(by, key=lambda name: (name == OTHER, -by[name].disagreed, -by[name].compared, name))
    return {name: by[name] for name in order[: most - 1]} | {OTHER: join([by[name] for name in order[most - 1 :]])}


def _plain(diff: Diff) -> dict[str, Any]:
    outputs = {
        name: {**asdict(one), "confused": [[*pair, count] for pair, count in most_frequent(one.confused).items()]}
        for name, one in diff.outputs.items()
    }
    return {
        "reader": READER, "totals": diff.totals.plain(), "since_s": diff.since_s, "at_s": diff.at_s, "outputs": outputs,
        "segments": diff.segments, "keep": diff.keep, "dropped": dict(diff.dropped),
    }  # fmt: skip


def _output_from(said: Mapping[str, Any]) -> OutputDiff:
    confused = {(str(one), str(other)): int(count) for one, other, count in said["confused"]}
    kinds = {str(kind): int(count) for kind, count in said["kinds"].items()}
    return OutputDiff(int(said["compared"]), int(said["disagreed"]), kinds, float(said["largest"]), confused)


def _pair_from(said: Mapping[str, Any]) -> KeptPair:
    objects = {name: said[name] for name in ("segment", "outputs", "inputs", "first", "other")}
    if not all(isinstance(one, dict) for one in objects.values()):
        raise ValueError("a kept pair has objects by name")
    told = (str(said["request_id"]), _moment(said["at_s"]), int(said["epoch"]), str(said["protocol"]))
    return KeptPair(*told, float(said["badness"]), **objects)


def _finite(text: str) -> float:
    """A number that JSON can say again."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.20} is no number")
    return value


def _moment(value: float) -> float:
    if not 0 <= value < _LATEST_S:
        raise ValueError(f"{value!r:.40} is no moment")
    return float(value)
