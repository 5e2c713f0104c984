"""The soak's report: the load test's page, with the figures of the processes and their plots on the same time axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadtests.load import report, summary
from loadtests.load.plots import Series, lines
from loadtests.rollback.figures import Figure
from loadtests.soak.figures import MIB, Soak
from loadtests.soak.growth import Growth
from loadtests.soak.held import GATEWAY

_TITLES = {True: "the gateway", False: "beside it"}


def page(soak: Soak, figures: Sequence[Figure]) -> str:
    """The whole file."""
    rows = [("", "", "")] + [("ok" if one.good else "FAIL", one.name, one.value) for one in figures]
    below = f'<h2>Figures</h2><div class="words">{report.table(rows)}</div>'
    short = [f"{one.name}: {one.value}" for one in figures if not one.good]
    more = report.More(f"Soak of {soak.outcome.spec.model}", short, below, tuple(_plots(soak)))
    return report.page(soak.outcome, more)


def plain(soak: Soak, figures: Sequence[Figure]) -> Mapping[str, Any]:
    """The same as JSON: the load test's report, and what the soak adds to it."""
    began, watch = soak.outcome.began, soak.watch
    measured = {
        name: {"memory_bytes": watch.memory[name], "open_files": watch.files[name]} for name in watch.memory
    }  # fmt: skip
    held = {name: {what: _numbers(values) for what, values in of.items()} for name, of in measured.items()}
    grown = {name: {what: _growth(soak.grown(values)) for what, values in of.items()} for name, of in measured.items()}
    said = {
        "good": all(one.good for one in figures), "capacity_rps": soak.capacity, "at_least": soak.at_least,
        "figures": [{"name": one.name, "value": one.value, "good": one.good} for one in figures],
        "warm_at_s": soak.warm_s - began, "at_s": [at_s - began for at_s in watch.at_s],
        "held": held, "grown": grown, "rollouts": soak.rollouts, "shares_set": soak.rolled.changes,
    }  # fmt: skip
    return {**summary.plain(soak.outcome), "soak": said}


def _plots(soak: Soak) -> Iterator[str]:
    watch = soak.watch
    moments = [at_s - soak.outcome.began for at_s in watch.at_s]
    during = [nth for nth, at_s in enumerate(moments) if 0 <= at_s <= soak.outcome.results.seconds]
    axis = report.axis_of(soak.outcome)._replace(at_s=[moments[nth] for nth in during])
    for title, unit, held, scale in (("Memory", "MiB", watch.memory, MIB), ("Open files", "", watch.files, 1)):
        for gateway, where in _TITLES.items():
            series = [
                Series(name, [values[nth] / scale for nth in during])
                for name, values in held.items()
                if name.startswith(GATEWAY) is gateway
            ]
            yield lines(f"{title}: {where}", unit, series, axis)


def _growth(found: Growth) -> Mapping[str, float | None]:
    values = _numbers([found.level, found.gained, found.late, found.seconds])
    return dict(zip(("level", "gained", "late", "seconds"), values, strict=True))


def _numbers(values: Sequence[float]) -> Sequence[float | None]:
    """JSON has no word for what could not be measured."""
    return [None if value != value else value for value in values]  # noqa: PLR0124 - NaN
