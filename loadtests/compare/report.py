"""What people see of a run: a table on the terminal, the same as Markdown, rows as JSON, and a picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from loadtests.compare.figures import Row, Rows
from loadtests.compare.plan import DIRECT, ENVOY, GATEWAY
from loadtests.compare.targets import Facts, Verdict

_HEADINGS = (
    *("path", "payload", "in flight", "requests/s", "p50 ms", "p99 ms"),
    *("CPU s per 1,000", "resident MB", "to Envoy", "to direct"),
)
_TEXTS = 2
"""So many columns at the left hold text; the others hold figures."""

_INTRODUCTION = """\
# Benchmarks

What `make bench` found in its last full run: the gateway beside its peers, on one machine that load, peer and model
servers share. Hold on to the ratios; absolute figures are the machine's. Medians over the rounds, in brackets how far
the rounds lie apart ((highest - lowest) / median). CPU and memory are those of what stands between client and Triton.
Over HTTP/1 each request in flight has a connection of its own. Payloads that begin with `grpc` are calls over gRPC:
8 floats with a connection each or on one that they share, 1 MB, and a stream of 100 answers, which counts as one call.
How it is measured: [loadtests/compare](../loadtests/compare/README.md).
"""


def show(console: Console, table: Rows, facts: Facts, voids: Iterable[str] = ()) -> None:
    """The one table, the figures that are no row's, and what had to be taken again."""
    if table:
        _show_rows(console, table)
    for why in voids:
        console.print(f"void, taken again: {why}")
    for fact, value in facts.items():
        console.print(f"{fact}: {value:.3g}")


def _show_rows(console: Console, table: Rows) -> None:
    shown = Table(title="medians over the rounds (and how far the rounds lie apart)")
    for number, heading in enumerate(_HEADINGS):
        shown.add_column(heading, justify="left" if number < _TEXTS else "right")
    for row in table.values():
        shown.add_row(*_cells(row))
    console.print(shown)


def markdown(
    table: Rows, facts: Facts, verdicts: Iterable[Verdict], about: Mapping[str, object], voids: Iterable[str] = ()
) -> str:
    """The whole of docs/benchmarks.md."""
    rule = ["---"] * _TEXTS + ["---:"] * (len(_HEADINGS) - _TEXTS)
    lines = [_HEADINGS, rule, *(_cells(row) for row in table.values())]
    return "\n".join(
        (
            _INTRODUCTION,
            *(f"- {name}: {value}" for name, value in about.items()),
            "",
            *(f"| {' | '.join(cells)} |" for cells in lines),
            "",
            *(f"- {fact}: {value:.3g}" for fact, value in facts.items()),
            *(f"- void, taken again: {why}" for why in voids),
            "",
            "## Targets",
            "",
            *(f"- {verdict.line}" for verdict in verdicts),
            "",
        )
    )


def write_json(table: Rows, file: Path) -> None:
    """A list of rows."""
    file.write_text(json.dumps([asdict(row) for row in table.values()], indent=1) + "\n")


def draw(table: Rows, file: Path) -> None:
    """Requests/s over how many were in flight, a panel for each payload."""
    import matplotlib as mpl  # noqa: PLC0415 (slow to import, and only wanted at the end)

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 (as above)

    payloads = list(dict.fromkeys(row.payload for row in table.values()))
    figure, panels = plt.subplots(1, len(payloads), figsize=(5 * len(payloads), 4), squeeze=False)
    for panel, payload in zip(panels[0], payloads, strict=True):
        for path in dict.fromkeys(row.path for row in table.values() if row.payload == payload):
            line = [row for row in table.values() if row.payload == payload and row.path == path]
            _draw_line(panel, path, line)
        panel.set(title=payload, xlabel="in flight", ylabel="requests/s", xscale="log", ylim=(0, None))
        counts = sorted({row.in_flight for row in table.values() if row.payload == payload})
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.minorticks_off()
        panel.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _draw_line(panel, path: str, line: Sequence[Row]) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    style = "-o" if path in {DIRECT, ENVOY, GATEWAY} else "--o"
    panel.plot([row.in_flight for row in line], [row.rps for row in line], style, label=path)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.path,
        row.payload,
        str(row.in_flight),
        f"{row.rps:,.0f} ({row.rps_spread:.0%})",
        f"{row.p50_ms:.2f} ({row.p50_spread:.0%})",
        f"{row.p99_ms:.2f} ({row.p99_spread:.0%})",
        _optional(row.cpu_s_per_1000, ".3f"),
        _optional(row.resident_mb, ".0f"),
        _optional(row.rps_to_envoy, ".2f"),
        _optional(row.rps_to_direct, ".2f"),
    )


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
