"""A small baseline, and live rows like it: what the tests of this room share."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from drift import window as windows
from drift.baseline import Baseline, Order, made
from drift.tables import Table
from drift.window import Window
from registry.models import ModelName, VersionNumber

ROWS = 100
"""Of a window."""

MODEL = ModelName("demo")


def inputs(rng: Generator, rows: int) -> Table:
    """Four numbers in a tensor, a price that is missing now and then, a level, and a small image."""
    price = rng.lognormal(3, 1, rows)
    price[rng.random(rows) < 0.02] = np.nan
    columns: dict[str, NDArray[Any]] = {
        "x": rng.normal(size=(rows, 4)),
        "price": price,
        "country": rng.choice(np.array(["at", "ch", "de"], object), rows, p=[0.2, 0.2, 0.6]),
        "image": rng.normal(size=(rows, 4, 4)).astype(np.float32),
    }
    return Table(columns, ordered=True)


def outputs(rng: Generator, rows: int) -> Table:
    """Scores of two classes."""
    score = rng.beta(2, 5, rows)
    return Table({"scores": np.stack((score, 1 - score), axis=1)}, ordered=True)


@cache
def baseline() -> Baseline:
    """Of 4,000 rows in order, with outputs."""
    rng = np.random.default_rng(1)
    order = Order(MODEL, VersionNumber(1), window_rows=ROWS)
    return made(order, inputs(rng, 4_000), outputs(rng, 4_000), made_at_s=1_000.0)


@cache
def by_hour() -> Baseline:
    """Of such rows over four weeks, with hours told apart though they do not differ."""
    rng, at_s = np.random.default_rng(1), 1_700_000_000.0 + np.arange(4_000) * (28 * 86_400 / 4_000)
    order = Order(MODEL, VersionNumber(1), window_rows=ROWS, strata=True)
    asked, answered = (replace(table(rng, 4_000), at_s=at_s) for table in (inputs, outputs))
    return made(order, asked, answered, made_at_s=1_000.0)


def folded(table: Table, answers: Table | None, at_s: float = 0.0, seed: int = 0) -> Window:
    """A window of these rows by the small baseline."""
    rows = table.rows or (answers.rows if answers else 0)
    return windows.folded_in(baseline(), table, answers, keys(rows, seed), at_s)


def keys(rows: int, seed: int = 0) -> NDArray[np.uint64]:
    """As hashes of requests are."""
    return np.random.default_rng([seed, rows]).integers(0, 2**63, rows, dtype=np.uint64)


def calm(seed: int, rows: int = ROWS, at_s: float = 0.0) -> Window:
    """A window like the reference."""
    rng = np.random.default_rng([7, seed])
    return folded(inputs(rng, rows), outputs(rng, rows), at_s, seed)


def changed(seed: int, rows: int = ROWS, at_s: float = 0.0, **columns: NDArray[Any]) -> Window:
    """The same with these input columns in place of its own."""
    rng = np.random.default_rng([7, seed])
    table = inputs(rng, rows)
    return folded(Table({**table.columns, **columns}), outputs(rng, rows), at_s, seed)
