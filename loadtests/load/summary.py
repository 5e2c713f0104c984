"""A run as plain values, which are the JSON report, and as sentences for whoever typed the command."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.load.objectives import Kept, in_ms
from loadtests.load.records import Error
from loadtests.load.results import QUANTILES, Latencies, Results, Timeline
from loadtests.load.running import Died
from loadtests.load.spec import Spec
from loadtests.load.verified import Event, Verified

_MOST_SHOWN = 10
_TOO_LATE_S = 0.02
"""For one request in a hundred."""
_TOO_BUSY = 0.25
"""Of the run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that is known of a run.

    Attributes:
        spec: what was asked.
        began: seconds since 1970.
        results: the figures.
        kept: the objectives.
        verified: where the answers were; None where nobody looked.
        events: what happened to the model's traffic.
        died: workers that did not live to see the end.
        told: what went wrong, in the servers' words, and how often.
        fed: what became of feedback.
        mistakes: why the run was not what was asked for.
        busy_s: for how long the busiest of the generator's processes was never idle, seconds.
    """

    spec: Spec
    began: float
    results: Results
    kept: Sequence[Kept] = ()
    verified: Verified | None = None
    events: Sequence[Event] = ()
    died: Sequence[Died] = ()
    told: Mapping[str, int] | None = None
    fed: Mapping[str, int] | None = None
    mistakes: Sequence[str] = ()
    busy_s: float = 0.0

    @property
    def problems(self) -> Sequence[str]:
        """Why the run is not good; empty where it is."""
        return tuple(_problems(self))

    @property
    def busy(self) -> bool:
        """Whether the generator had so little time to spare that it measured itself."""
        return self.busy_s > _TOO_BUSY * self.results.seconds

    @property
    def generator_late(self) -> bool:
        """Whether what the generator could send was less than what was asked for: then no server was at fault."""
        return self.busy or self.results.lateness.quantile(0.99) > _TOO_LATE_S


def _problems(outcome: Outcome) -> Iterator[str]:
    if not outcome.results.good:
        yield "No request was answered."
    if outcome.results.unsent:
        why = "no connection came free in time, or their worker died"
        yield f"{outcome.results.unsent:,} requests were never sent: {why}."
    yield from (f"An objective was missed: {one}." for one in outcome.kept if not one.good)
    found = outcome.verified
    if found is not None and found.judged.wrong:
        shown = ", ".join(found.misplaced[:_MOST_SHOWN])
        more = len(found.misplaced) - _MOST_SHOWN
        others = f" and {more:,} more" if more > 0 else ""
        yield f"{found.judged.wrong:,} answers were misplaced, those of {shown}{others}."
    if found is not None and found.unnamed:
        yield f"{found.unnamed:,} answers do not say which version gave them: no gateway of ours is there."
    yield from map(str, outcome.died)
    yield from (f"The run was not what was asked for: {words}" for words in outcome.mistakes)


def notes(outcome: Outcome) -> Iterator[str]:
    """What a reader of the figures has to know."""
    spec, results = outcome.spec, outcome.results
    if spec.synthetic:
        yield "Requests were marked synthetic: no verdict, sample, payload log or feedback counted them."
    else:
        yield "Requests were NOT marked synthetic: verdicts, samples and payload logs counted them as traffic."
    if spec.closed:
        yield "Closed loop: a user asks again when it has its answer, so only a few requests see a stall."
    else:
        yield "Open loop: a latency counts from when the request was due, so all that were due in a stall show it."
    if outcome.verified is None:
        yield "Nobody looked whether answers were where the policy says they should be."
    late = results.lateness.quantile(0.99)
    if late > _TOO_LATE_S:
        yield (
            f"The generator itself was late: by {in_ms(late)} for 1 request in 100, which is in the latencies. "
            "Give it more processes (--processes), or a machine of its own."
        )
    if outcome.busy:
        yield (
            f"The generator itself was never idle for {outcome.busy_s:.1f} s: what was slow then may be its doing, and "
            "no server's. Give it more processes (--processes), or a machine of its own."
        )
    if results.waited and not spec.closed:
        yield f"{results.waited:,} requests were due while all {spec.connections} connections were busy, and waited."


def lines(outcome: Outcome) -> Iterator[str]:
    """The summary, a line each."""
    spec, results = outcome.spec, outcome.results
    good = f"{results.good:,} good answers ({results.rps:,.1f} a second)"
    yield f"{results.due:,} requests in {results.seconds:g} s, {good}"
    yield "latency: " + ", ".join(f"{_name(share)} {in_ms(results.latencies.quantile(share))}" for share in QUANTILES)
    for version, took in results.by_version.items():
        share = len(took.answered_s) / results.good
        yield f"version {version}: {len(took.answered_s):,} answers ({share:.2%}), p99 {in_ms(took.quantile(0.99))}"
    for error, count in results.errors.items():
        yield f"{error.words}: {count:,} ({count / results.due:.3%})"
    yield from (f"  {count:,} times: {words}" for words, count in list((outcome.told or {}).items())[:_MOST_SHOWN])
    if outcome.verified is not None:
        judged = outcome.verified.judged
        fallbacks = f", {judged.fallbacks:,} fallbacks" if judged.fallbacks else ""
        yield f"{judged.right:,} answers where the policy puts them, {judged.wrong:,} elsewhere{fallbacks}"
    if spec.feedback:
        yield "feedback: " + (", ".join(f"{n:,} {kind}" for kind, n in (outcome.fed or {}).items()) or "none")
    yield from (f"{'kept' if one.good else 'MISSED'}: {one}" for one in outcome.kept)
    yield from notes(outcome)


def plain(outcome: Outcome) -> dict[str, Any]:
    """The report as JSON holds it; nothing of what was shown to the servers is in it."""
    return {
        "good": not outcome.problems,
        "problems": list(outcome.problems),
        "notes": list(notes(outcome)),
        **_asked(outcome),
        **_found(outcome.results),
        "generator_busy_s": outcome.busy_s,
        "told": dict(outcome.told or {}),
        "verified": _verified(outcome.verified),
        "objectives": [
            {"name": one.objective.name, "most": one.objective.most, "found": _number(one.found), "kept": one.good}
            for one in outcome.kept
        ],
        "events": [{"at_s": at_s, "words": words} for at_s, words in outcome.events],
        "died": [{"worker": one.worker, "at_s": one.at_s, "how": one.how} for one in outcome.died],
        "feedback": dict(outcome.fed or {}),
        "timeline": _timeline(outcome.results.timeline),
    }


def _asked(outcome: Outcome) -> dict[str, Any]:
    spec = outcome.spec
    return {
        "model": spec.model, "began": outcome.began, "seconds": outcome.results.seconds,
        "loop": "closed" if spec.closed else "open", "synthetic": spec.synthetic, "version": spec.version,
        "shape": [list(point) for point in spec.shape.points],
        "mix": {kind.name.lower(): share for kind, share in spec.mix.items()},
        "connections": spec.connections, "processes": spec.workers,
    }  # fmt: skip


def _found(results: Results) -> dict[str, Any]:
    return {
        "requests": results.due, "answered": results.good, "rps": results.rps,
        "error_share": _number(results.error_share),
        "errors": {error.name.lower(): count for error, count in results.errors.items()},
        "latency_s": _quantiles(results.latencies), "from_sending_s": _quantiles(results.sending),
        "generator_late_s": _quantiles(results.lateness), "waited_for_a_connection": results.waited,
        "by_kind": {kind.name.lower(): count for kind, count in results.by_kind.items()},
        "by_version": {
            str(version): {"answers": len(took.answered_s), "latency_s": _quantiles(took)}
            for version, took in results.by_version.items()
        },
    }  # fmt: skip


def _verified(found: Verified | None) -> dict[str, Any] | None:
    if found is None:
        return None
    judged = found.judged
    return {
        "right": judged.right, "wrong": judged.wrong, "fallbacks": judged.fallbacks, "unnamed": found.unnamed,
        "epochs": judged.epochs, "told": judged.told, "misplaced_units": list(found.misplaced),
    }  # fmt: skip


def _timeline(line: Timeline) -> dict[str, Any]:
    return {
        "width_s": line.width_s,
        "at_s": line.at_s.tolist(),
        "due_rps": line.due.tolist(),
        "answered_rps": line.answered.tolist(),
        "errors_rps": line.errors.tolist(),
        "latency_s": {_name(share): [_number(one) for one in each] for share, each in line.quantiles_s.items()},
        "by_version_rps": {str(version): each.tolist() for version, each in line.by_version.items()},
    }


def table(outcome: Outcome) -> Sequence[tuple[str, ...]]:
    """Latencies by version, for a table: the head first."""
    results = outcome.results
    head = ("", "answers", *(_name(share) for share in QUANTILES), "max")
    rows = [("all", results.latencies)] + [(f"version {number}", took) for number, took in results.by_version.items()]
    return [head, *((name, f"{len(took.answered_s):,}", *map(in_ms, _each(took))) for name, took in rows)]


def error_words(errors: Mapping[Error, int]) -> Sequence[tuple[str, str]]:
    """The failures for a table."""
    return [(error.words, f"{count:,}") for error, count in errors.items()]


def _quantiles(took: Latencies) -> dict[str, float | str | None]:
    names = (*map(_name, QUANTILES), "max")
    return {name: _number(value) for name, value in zip(names, _each(took), strict=True)}


def _each(took: Latencies) -> Sequence[float]:
    return [took.quantile(share) for share in (*QUANTILES, 1.0)]


def _name(share: float) -> str:
    return f"p{share * 100:g}"


def _number(value: float) -> float | str | None:
    """A number as JSON can hold it: 'no answer' for an infinite one, null for none."""
    if math.isnan(value):
        return None
    return "no answer" if math.isinf(value) else float(value)
