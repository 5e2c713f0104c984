"""Whatever comes, it is a finding or a sentence: never a crash, and never a silent 'no drift'."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from drift import window
from drift.baseline import Order, made
from drift.flattening import tables_of
from drift.progress import Course
from drift.reading import Layer
from drift.samples import Batch, Request, Totals
from drift.tables import Table
from drift.watched import Unwatched, Watched
from registry.models import VersionNumber
from tests.drift import samples
from tests.drift.live import MODEL, Installation, drained, held, request, settings_of, tensors

_ROWS = 50
_SEEN: Mapping[str, tuple[dict[str, NDArray[Any]], Layer, str]] = {
    "nan": ({"x": np.full((_ROWS, 4), np.nan)}, Layer.SCHEMA, ""),
    "inf": ({"x": np.full((_ROWS, 4), np.inf)}, Layer.SCHEMA, ""),
    "extra": ({"embedding": np.ones((_ROWS, 5), np.float32)}, Layer.SCHEMA, "'embedding' is in no row"),
    "unseen": ({"country": np.full(_ROWS, "nowhere", object)}, Layer.SCHEMA, ""),
    "texts": ({"price": np.full(_ROWS, "cheap", object)}, Layer.SCHEMA, "holds texts"),
    "no elements": ({"x": np.zeros((_ROWS, 0))}, Layer.SCHEMA, "rows of the shape [0]"),
    "another shape": ({"image": np.ones((_ROWS, 4, 5), np.float32)}, Layer.SCHEMA, "rows of the shape [4, 5]"),
    "constant": ({"price": np.full(_ROWS, 20.0)}, Layer.UNIVARIATE, ""),
}


async def _watched(here: Installation, *requests: Request) -> None:
    """All of it is counted and stored, and what is old enough is heard."""
    for one in requests:
        here.keeper.write(one)
    await drained(here, await held(here), now_s=2_000.0)


@pytest.mark.parametrize("odd", _SEEN)
async def test_what_is_odd_is_found(here: Installation, odd: str) -> None:
    """By the layer that it concerns, in words where the schema is broken."""
    columns, layer, words = _SEEN[odd]
    count = 6 if layer is Layer.SCHEMA else 30
    await _watched(here, *(request(at, 1_000.0 + at, columns, rows=_ROWS) for at in range(count)))
    found = {one.layer: one for one in here.findings()}
    assert words in str(found[layer])
    assert here.status().rows == count * _ROWS


async def test_an_embedding_of_a_megabyte_is_found(here: Installation) -> None:
    """A single row of it, where nobody learned of one."""
    embedding = np.ones((1, 262_144), np.float32)
    await _watched(here, request(1, 1_000.0, {"embedding": embedding}, rows=1))
    (found,) = here.findings()
    assert "'embedding' is in no row" in str(found)


async def test_a_column_that_is_gone_is_found(here: Installation) -> None:
    """By its name, in every request or in one of them."""
    whole = [request(at, 1_000.0 + at) for at in range(6)]
    without = tuple(one for one in whole[3].inputs if one.name != "country")
    await _watched(here, *whole[:3], dataclasses.replace(whole[3], inputs=without), *whole[4:])
    (found,) = here.findings()
    assert (found.layer, [one.column for one in found.breaks]) == (Layer.SCHEMA, ["country"])
    assert here.status().rows == 6 * _ROWS


def _order() -> Order:
    return Order(samples.MODEL, VersionNumber(1), window_rows=samples.ROWS)


async def test_a_feature_that_never_moved_may_stay_and_may_not_move(here: Installation) -> None:
    """A number and a level with one value in all of the reference: the same is calm, another is found."""

    def table(rows: int, number: float, level: str, seed: int) -> Table:
        same = {"flag": np.full(rows, number), "kind": np.full(rows, level, object)}
        return Table({"x": np.random.default_rng(seed).normal(size=(rows, 2)), **same}, ordered=True)

    def asked(at: int, number: float, level: str) -> Request:
        return dataclasses.replace(request(at, 1_000.0 + at), inputs=tensors(table(_ROWS, number, level, at)))

    await here.bring(made(_order(), table(4_000, 1.0, "a", 1_000), None, 1.0).blob)
    await _watched(here, *(asked(at, 1.0, "a") for at in range(30)))
    assert here.status().sentence == "Watched: calm."
    assert here.findings() == []
    await _watched(here, *(asked(at, 2.0, "b") for at in range(30, 60)))
    named = {feature for one in here.status().layers for feature in one.features}
    assert {"flag out of range", "kind unseen"} <= named
    assert here.findings()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_an_embedding_of_a_megabyte_that_was_learned_of_is_watched(here: Installation) -> None:
    """Calm ones are calm; such that point elsewhere are found, and such with a number that is none."""

    def embeddings(rows: int, seed: int, shift: float = 0.0) -> NDArray[np.float32]:
        rng = np.random.default_rng(seed)
        points = rng.normal([shift, 0, 0, 0], size=(rows, 4))
        axes = np.random.default_rng(1).normal(size=(4, 262_144)).astype(np.float32)
        return np.asarray(points.astype(np.float32) @ axes)

    def asked(at: int, values: NDArray[np.float32]) -> Request:
        one = request(at, 1_000.0 + at, rows=1)
        return dataclasses.replace(one, inputs=tensors(Table({"embedding": values})))

    order = dataclasses.replace(_order(), window_rows=5)
    await here.bring(made(order, Table({"embedding": embeddings(100, 2)}, ordered=True), None, 1.0).blob)
    here.settings = settings_of(window={"rows": 5, "seconds": 2, "most_s": 500})
    await _watched(here, *(asked(at, embeddings(1, 100 + at)) for at in range(20)))
    assert here.status().sentence == "Watched: calm."
    assert here.status().rows == 20
    await _watched(here, *(asked(at, embeddings(1, 100 + at, shift=6.0)) for at in range(20, 80)))
    assert here.status().rows == 80
    assert Layer.MULTIVARIATE in {one.layer for one in here.findings()}, here.status()
    await _watched(here, *(asked(at, np.full((1, 262_144), np.nan, np.float32)) for at in range(80, 100)))
    assert "embedding.present missing" in {name for one in here.status().layers for name in one.features}


async def test_a_window_of_one_waits_in_words(here: Installation) -> None:
    """A calm row by itself says nothing, and how many it takes is told; after the longest time it is heard."""
    here.settings = settings_of(window={"rows": 100, "seconds": 2, "most_s": 500})
    await _watched(here, request(1, 1_900.0, rows=1))
    assert (here.status().sentence, here.status().under_way.rows) == ("Watched: its first window is being filled.", 1)
    await _watched(here, request(2, 1_000.0, rows=1))
    layers = {one.layer: one for one in here.status().layers}
    assert layers["univariate"].waiting.startswith("It has 2 rows")
    assert here.findings() == []


async def test_requests_of_no_rows_are_counted_and_say_nothing(here: Installation) -> None:
    """Their first axis is 0."""
    one = request(1, 1_000.0, rows=2)
    none = samples.inputs(np.random.default_rng(1), 2).part(slice(0, 0))
    await _watched(here, dataclasses.replace(one, inputs=tensors(none)))
    assert here.status().rows == 0
    assert here.findings() == []


def test_what_is_refused_while_a_step_is_written_is_stored_with_the_next() -> None:
    """Learning goes on beside: that it failed must reach the store, and what was gathered must go from there."""
    unwatched = Unwatched(MODEL, 1, settings_of(learn_rows=2_000), {})
    unwatched.take(2_000, 1_000.0, b"batch")
    assert unwatched.step().to_learn == (b"batch",)
    unwatched.refuse("It is too odd.")
    unwatched.stored()
    assert not unwatched.is_stored
    assert unwatched.step().learned
    unwatched.stored()
    assert unwatched.is_stored


def test_rows_that_nobody_expected_to_fail_leave_a_sentence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A defect in folding or in a detector costs rows or a window, and is told, but ends nothing and fills no disk."""
    watched = Watched(samples.baseline(), settings_of(), {}, samples.baseline().digest)
    (part,) = tables_of(Batch(MODEL, "k", 1, Totals(), (request(1, 1_000.0),)), {1: watched.known})

    def fails(*_: object) -> None:
        raise IndexError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(window, "folded_in", fails)
        assert watched.take(part, ()) is None
        assert watched.progress.rows == 0
    with monkeypatch.context() as patched:
        patched.setattr(Course, "closing", fails)
        assert watched.take(part, ()) is not None
    assert watched.progress.under_way is None
    assert [one.levelname for one in caplog.records if one.levelno > logging.DEBUG] == ["ERROR"]
    assert watched.take(part, ()) is not None
    assert watched.progress.under_way is not None
