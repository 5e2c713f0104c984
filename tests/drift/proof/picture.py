"""The proof's picture: detection on the digits grid, and three calm years of employment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.drift.proof.digits import SIZES, Cell
from tests.drift.proof.employment import Outcome

_NAMES = {"ours": "Sluice", "bbsd": "BBSD", "mmd": "MMD on 12 components"}


def drawn(employed: Outcome, cells: Sequence[Cell], path: Path) -> None:
    """Writes it as a PNG."""
    import matplotlib as mpl  # noqa: PLC0415 - only where there is something to draw

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    shifts = list(dict.fromkeys(cell.shift for cell in cells))
    columns = 4
    lines = -(-(len(shifts) + 1) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(16, 3.4 * lines), sharey=True)
    axes = iter(grid.flat)
    for shift in shifts:
        axis = next(axes)
        for name, label in _NAMES.items():
            rates = [one.found[name] / one.runs for one in cells if one.shift == shift]
            axis.plot(range(len(SIZES)), rates, marker="o", label=label)
        axis.axhline(0.05, color="grey", linewidth=0.5)
        axis.set_xticks(range(len(SIZES)), [str(size) for size in SIZES])
        axis.set_title(f"{shift.name} ({'harmful' if shift.harms else 'harmless'})", fontsize=10)
        axis.set_xlabel("rows of a window")
        axis.set_ylim(-0.03, 1.03)
    axis = next(axes)
    for at, (name, label) in enumerate((("ours", "Sluice"), ("ks", "KSDrift"), ("tabular", "TabularDrift"))):
        shares = [getattr(year, name) for year in employed.years]
        axis.bar([x + at * 0.27 for x in range(len(shares))], shares, 0.25, label=label)
    axis.set_xticks([x + 0.27 for x in range(len(employed.years))], [str(year.year) for year in employed.years])
    axis.set_title("employment: windows beyond 5 %, none harmful", fontsize=10)
    axis.legend(fontsize=8)
    for left in axes:
        left.set_axis_off()
    grid.flat[0].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
