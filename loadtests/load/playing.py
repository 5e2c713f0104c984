"""A run from its begin to its end: what it needs is asked for, its processes are started, what they heard is judged."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadtests.installation import Failed
from loadtests.load import records
from loadtests.load.control import Control
from loadtests.load.objectives import Objective, judged
from loadtests.load.payloads import drawn, from_file, prepared
from loadtests.load.records import Kind
from loadtests.load.results import results_of
from loadtests.load.room import notes_of, records_of
from loadtests.load.running import Processes, Tell
from loadtests.load.spec import Moving, Spec
from loadtests.load.summary import Outcome
from loadtests.load.verified import events, moves, verified


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted beside the load.

    Attributes:
        objectives: that are to be kept.
        verify: whether every answer is held against the policy of its epoch.
        candidate: a version with a rollout whose shares change under way; None for none.
        change_every_s: how often they do, seconds.
    """

    objectives: tuple[Objective, ...] = ()
    verify: bool = True
    candidate: int | None = None
    change_every_s: float = 5.0


@contextmanager
def place_for_runs() -> Iterator[Path]:
    """A folder for what processes leave, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="sluice-loadtest-") as folder:
        yield Path(folder)


def made_ready(spec: Spec, control: Control, *, verify: bool) -> Spec:
    """The spec with what the gateway and the policy say; one request of it was answered.

    Raises:
        Failed: nobody is there, the requests cannot be made, or the first is refused.
    """
    if not spec.data:
        spec = replace(spec, inputs=_inputs(control, spec.version))
    if verify:
        spec = replace(spec, unit_header=str(control.policy().get("unit_header") or spec.unit_header))
    try:
        samples = from_file(Path(spec.data)) if spec.data else drawn(spec.inputs, spec.seed, count=1, rows=spec.rows)
        made = [prepared(samples[0], kind, spec.model, spec.version) for kind in spec.users]
        first = prepared(samples[0], Kind.BINARY, spec.model, spec.version) if Kind.JSON not in spec.users else made[0]
    except (ValueError, KeyError, TypeError) as error:
        raise Failed(f"No request can be made: {error}") from error
    control.try_out(first, {**spec.sent_headers(), spec.unit_header: spec.unit(0)}, spec.version)
    return spec


def _inputs(control: Control, version: int | None) -> tuple[Mapping[str, Any], ...]:
    inputs = control.metadata(version)["inputs"]
    if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
        raise Failed("The model's metadata does not say what it takes: is this the right address?")
    return tuple(inputs)


def play(spec: Spec, control: Control, wish: Wish, tell: Tell) -> Outcome:
    """The whole run.

    Args:
        spec: made ready.
        control: who is asked before and after.
        wish: what is wanted beside the load.
        tell: hears how far it is.

    Raises:
        Failed: it could not be made.
    """
    if wish.candidate is None:
        return _played(spec, control, wish, tell)
    outcome = None
    try:
        with control.rollout(wish.candidate) as rollout:
            moving = Moving(rollout, wish.candidate, wish.change_every_s)
            outcome = _played(replace(spec, moving=moving), control, wish, tell)
    except Failed as error:
        if outcome is None:
            raise
        # The rollout could not be taken back: what was measured is worth a report all the same.
        return replace(outcome, mistakes=[*outcome.mistakes, str(error)])
    return outcome


def _played(spec: Spec, control: Control, wish: Wish, tell: Tell) -> Outcome:
    ran = Processes(spec).play(tell)
    rows = records.read([path for path in _of_all(spec, records_of) if path.exists()])
    notes = [json.loads(path.read_text()) for path in _of_all(spec, notes_of) if path.exists()]
    results = results_of(spec, rows)
    entries, unread = _ledger(control) if wish.verify else (None, [])
    happened = moves(notes) if entries is None else events(entries, spec.model, ran.began, spec.shape.seconds)
    return Outcome(
        spec=spec,
        began=ran.began,
        results=results,
        kept=judged(wish.objectives, results.latencies.quantile, results.error_share),
        verified=None if entries is None else verified(spec, rows, entries),
        events=happened,
        died=ran.died,
        told=_summed(notes, "told"),
        fed=_summed(notes, "fed"),
        mistakes=ran.mistakes + _refused(notes) + unread,
        busy_s=max((float(one["busy_s"]) for one in notes), default=0.0),
    )


def _ledger(control: Control) -> tuple[list[Mapping[str, Any]] | None, list[str]]:
    """The ledger, or why nobody can read it: what was measured is worth a report all the same."""
    try:
        return control.ledger(), []
    except Failed as error:
        return None, [f"nobody could look where answers were: {error}"]


def _of_all(spec: Spec, place: Any) -> list[Path]:  # noqa: ANN401 - records_of or notes_of
    return [place(spec.folder, worker) for worker in range(spec.workers)]


def _summed(notes: Sequence[Mapping[str, Any]], name: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for one in notes:
        total.update(one[name])
    return Counter(dict(total.most_common()))


def _refused(notes: Sequence[Mapping[str, Any]]) -> list[str]:
    """What operators wanted and did not get: then the run was not what was asked for."""
    return [words for _, words in moves(notes) if "refused" in words][:5]
