"""Drift detection on real and simulated data, row by row, beside other detectors on the same windows.

    make proof-drift [ARGS="--quick --seed 20 --processes 2"]

Prints a table, writes a picture, and exits with 1 where a row falls short of its bar.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits  # comes with scikit-learn

from tests.drift.proof import calm, costs, digits, employment, hours, picture
from tests.drift.proof.rows import Row, highest, lowest

SEED = 20

_TIMES_CHEAPER = 40.0
_BUDGET = 1e-3


@dataclass(frozen=True)
class Scale:
    """How much is simulated.

    Attributes:
        references: each with a hundred windows without drift.
        runs: windows of each cell of the digits grid.
        every: which of the employment windows alibi-detect is shown.
        seed: from which everything is drawn.
    """

    references: int
    runs: int
    every: int
    seed: int


@dataclass(frozen=True)
class Found:
    """All that was measured, for the picture."""

    employed: employment.Outcome
    filed: employment.Outcome
    rhythms: tuple[hours.Seen, ...]
    cells: tuple[digits.Cell, ...]
    seen: tuple[calm.Seen, ...]
    costs: tuple[costs.Cost, ...]


def on_employment(found: employment.Outcome, order: str, *, is_time: bool) -> Iterator[Row]:
    """Real drift that harms nobody.

    Args:
        found: in one of the orders that the data can have.
        order: which, in words.
        is_time: whether it is one of time: the rule without labels is held to that alone, and shown in others.
    """
    yield from _calls(found, found.retrained, f"employment 2016-18, {order}: drift.retrain")
    yield from _calls(found, found.unlabelled, "  retraining without labels", judged=is_time)
    yield Row("  told or written", ", ".join(f"{kind} {times}" for kind, times in found.told.items()) or "nothing")
    for year in found.years:
        shares = f"ours {year.ours:.0%} (predictions {year.predicted:.0%})"
        peers = f"KSDrift {year.ks:.0%}, TabularDrift {year.tabular:.0%}"
        yield Row(f"  {year.year}: AUC {year.auc:.3f} (2015: {found.auc:.3f}), windows alarmed", f"{shares}; {peers}")


def _calls(
    found: employment.Outcome, calls: Sequence[employment.Call], title: str, *, judged: bool = True
) -> Iterator[Row]:
    """By either reading of "while AUC holds"; where it is not judged, what falls short is said to."""
    readings = (f"{title} while AUC holds", "    in a year whose AUC is that of 2015")
    for reading, times in zip(readings, found.needless(calls), strict=True):
        told = str(times) if judged or not times else f"{times}: falls short, not judged"
        yield Row(reading, told, "0" if judged else "", times == 0 or not judged)
    for call in calls:
        rows = f"AUC {call.rows.auc:.3f}, at most {call.rows.highest:.3f}; that year {call.year.auc:.3f}"
        yield Row(f"    called for by windows {call.first} to {call.last}", f"{rows} (2015: {found.auc:.3f})")


def on_hours(seen: Sequence[hours.Seen]) -> Iterator[Row]:
    """Rows with a rhythm of days, by a baseline that tells hours apart and by one that does not."""
    null, apart, alike = sum(one.null for one in seen), sum(one.apart for one in seen), sum(one.alike for one in seen)
    budget = null * _BUDGET * 3
    yield Row(
        f"a daily rhythm, false alarms in {null:,} windows, A = 1000",
        f"{apart} (all hours alike: {alike})",
        f"<= {budget:.0f}",
        lowest(apart, null) <= _BUDGET and apart <= budget,
    )
    found, missed = (float(np.mean([getattr(one, name) for one in seen])) for name in ("delay", "alike_delay"))
    yield Row(
        "windows until night's rows at noon are found, A = 1000",
        f"{found:.1f} (all hours alike: {missed:.1f})",
        "< hours alike",
        found < missed,
    )


def on_digits(cells: Sequence[digits.Cell]) -> Iterator[Row]:
    """Shifts of images."""
    for cell in cells:
        ours, bbsd, mmd = (cell.found[name] for name in ("ours", "bbsd", "mmd"))
        best = max(bbsd, mmd)
        told = f"{ours / cell.runs:.2f} (BBSD {bbsd / cell.runs:.2f}, MMD {mmd / cell.runs:.2f})"
        if cell.shift.harms:
            bar, holds = ">= the better of both", not_below(ours, best, cell.runs)
        else:
            bar, holds = "<= 0.05", lowest(ours, cell.runs) <= digits.ALPHA
        yield Row(f"digits, {cell.shift.name}, {cell.size} rows", told, bar, holds)


def not_below(ours: int, best: int, runs: int) -> bool:
    """Whether a rate of detection is no lower than another by more than chance: their 99 % bounds meet."""
    return highest(ours, runs) >= lowest(best, runs)


def on_calm(seen: Sequence[calm.Seen]) -> Iterator[Row]:
    """False alarms and delays."""
    null, alarms = sum(one.null for one in seen), sum(one.alarms for one in seen)
    budget = null * _BUDGET * 3
    yield Row(
        f"false alarms in {null:,} windows, three layers, A = 1000",
        str(alarms),
        f"<= {budget:.0f}",
        lowest(alarms, null) <= _BUDGET and alarms <= budget,
    )
    for shift in calm.SHIFTS:
        delays = [one.delays[shift] for one in seen]
        usual = float(np.mean([one.usual[shift] for one in seen]))
        mean, error = float(np.mean(delays)), calm.deviation(delays)
        yield Row(
            f"windows until {shift} is found, A = 1000",
            f"{mean:.1f} (default budget {usual:.1f})",
            f"<= {shift.windows:g}",
            mean - 2.33 * error <= shift.windows,
        )


def on_costs(found: Sequence[costs.Cost]) -> Iterator[Row]:
    """Beside KSDrift."""
    for one in found:
        times = one.theirs / one.ours
        told = f"{one.ours:.2f} ms, KSDrift {one.theirs:.1f} ms ({one.kept:.1f} on 2,000 rows): {times:.0f}x"
        yield Row(f"a window of {costs.ROWS} rows, {one.features} features", told, "40x", times >= _TIMES_CHEAPER)


def measured(pool: Executor, scale: Scale, wheel: Path) -> Found:
    """Everything, costs by themselves at the end."""
    seeds = np.random.SeedSequence(scale.seed).generate_state(scale.references).tolist()
    seen = [pool.submit(calm.seen, int(seed)) for seed in seeds]
    shifts = (*digits.GRID, *digits.drawn(scale.seed))
    grid = [pool.submit(digits.cells, shifts, scale.runs, scale.seed, size) for size in digits.SIZES]
    rhythms = [pool.submit(hours.seen, int(seed)) for seed in seeds[: max(2, scale.references // 6)]]
    employed = pool.submit(_employment, wheel, scale, by_year=True)
    filed = pool.submit(_employment, wheel, scale, by_year=False)
    cells = tuple(cell for one in grid for cell in one.result())
    heard = tuple(one.result() for one in seen)
    both = employed.result(), filed.result()
    days = tuple(one.result() for one in rhythms)
    return Found(*both, days, cells, heard, tuple(costs.cost(one, scale.seed) for one in costs.FEATURES))


def _single_threaded() -> None:
    """Several processes whose arithmetic has several threads each stand in each other's way."""
    threadpool_limits(1)


def _employment(wheel: Path, scale: Scale, *, by_year: bool) -> employment.Outcome:
    warnings.simplefilter("ignore")
    data = employment.read(wheel)
    return employment.outcome(employment.shuffled(data, scale.seed) if by_year else data, scale.every)


def rows_of(found: Found) -> Iterator[Row]:
    """Every line."""
    yield from on_employment(found.employed, "rows of a year at random", is_time=True)
    yield from on_employment(found.filed, "as filed (institutions together)", is_time=False)
    yield from on_digits(found.cells)
    yield from on_calm(found.seen)
    yield from on_hours(found.rhythms)
    yield from on_costs(found.costs)


def main(given: Sequence[str] | None = None) -> int:
    """Prints the rows; 0 if all of them hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="nannyml's wheel, for the files in it")
    parser.add_argument("--quick", action="store_true", help="a tenth of the windows")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--picture", type=Path, default=Path("build/proof-drift.png"))
    asked = parser.parse_args(given)
    if asked.seed < 0 or asked.processes < 1:
        parser.error("it takes a seed of 0 or more, and a process, at least")
    if not asked.data.is_file():
        parser.error(f"{asked.data} is not there: `make proof-drift` fetches it")
    warnings.simplefilter("ignore")
    scale = Scale(10, 50, 20, asked.seed) if asked.quick else Scale(60, 200, 4, asked.seed)
    with ProcessPoolExecutor(asked.processes, initializer=_single_threaded) as pool:
        found = measured(pool, scale, asked.data)
    rows = list(rows_of(found))
    sys.stdout.write("\n".join(map(str, rows)) + "\n")
    picture.drawn(found.employed, found.cells, asked.picture)
    failed = sum(not row.holds for row in rows)
    sys.stdout.write(f"\n{asked.picture}\n{f'{failed} rows fail' if failed else 'every row holds'}\n")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
