"""What people see of a run: one table, on the terminal and in docs/scale.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from loadtests.scale.rounds import Row

BEGINS: Final = "<!-- measured: make bench-scale ARGS=--record -->"
ENDS: Final = "<!-- measured: to here -->"
_HEADINGS = (
    *("installation", "requests/s", "to the first", "CPU s per 1,000", "to the first", "p99 ms", "MB a worker"),
    *("CPU at rest: a worker", "control room", "store", "store: commands/s", "KB/s", "connections", "up after s"),
)


def markdown(rows: Iterable[Row], about: Mapping[str, str]) -> str:
    """The table, and what it was found on."""
    lines = [_HEADINGS, ["---", *["---:"] * (len(_HEADINGS) - 1)], *map(_cells, rows)]
    facts = (f"- {name}: {value}" for name, value in about.items())
    return "\n".join((*(f"| {' | '.join(cells)} |" for cells in lines), "", *facts))


def keep(file: Path, text: str) -> None:
    """Puts a table in the place of the one that the file has.

    Raises:
        ValueError: the file has no place for one.
    """
    before, begins, rest = file.read_text().partition(BEGINS)
    _, ends, after = rest.partition(ENDS)
    if not ends:
        raise ValueError(f"{file} has no place for a table: {BEGINS} … {ENDS}")
    file.write_text(f"{before}{begins}\n\n{text}\n\n{ends}{after}")


def _cells(row: Row) -> tuple[str, ...]:
    pace, rest = row.pace, row.rest
    return (
        row.point.name,
        f"{pace.per_s:,.0f}",
        f"{row.rate_to_first:.2f}",
        f"{pace.cpu_s_per_1000:.3f}",
        f"{row.cpu_to_first:.2f}",
        f"{pace.p99_ms:.1f}",
        f"{rest.worker_mb:.0f}",
        f"{rest.worker_cpu:.1%}",
        f"{rest.control_cpu:.1%}",
        f"{rest.store_cpu:.1%}",
        f"{rest.commands_per_s:,.0f}",
        f"{rest.bytes_per_s / 1_000:,.1f}",
        f"{rest.clients}",
        f"{row.ready_s:.0f}",
    )
