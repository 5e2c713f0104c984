"""Keepers' numbers say what was counted already, and their totals what never came."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from drift import keepers
from drift.keepers import MOST, Keepers
from drift.samples import Batch, Totals
from tests.drift.live import request
from tests.examples import examples

_ROWS = 3


def _batches(count: int, keeper: str = "gw a") -> list[Batch]:
    return [
        Batch("m", keeper, at, Totals(at * _ROWS + 2, at * _ROWS, {"rate": 2}), (request(at, 1.0, rows=_ROWS),))
        for at in range(1, count + 1)
    ]


_ALL = _batches(12)


@given(st.lists(st.integers(0, 11), max_size=30))
@settings(max_examples=examples(60))
def test_each_batch_counts_once_and_what_is_missing_is_lost(came: list[int]) -> None:
    """Whatever comes in whatever order: rows that were counted and rows that were lost are all that were written."""
    found, counted = Keepers(), 0
    for at in came:
        if not found.has(_ALL[at]):
            found = found.heard(_ALL[at])
            counted += _ROWS
    told = found.samples(0)
    assert counted + told.lost == (max(came) + 1 if came else 0) * _ROWS


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 11)), max_size=20), st.integers(0, 20))
@settings(max_examples=examples(40))
def test_what_changed_is_enough_to_go_on(came: list[tuple[int, int]], stored_at: int) -> None:
    """Fields of the changes since a first store, on top of those of all that was there, read as what there is."""
    found = before = Keepers()
    fields: dict[str, bytes] = {}
    for at, (who, which) in enumerate(came):
        if at == stored_at:
            fields, before = _stored(fields, found, before), found
        found = found.heard(_batches(12, f"gw {who}")[which]) if which else found.damaged()
    assert keepers.read(_stored(fields, found, before)) == found


def _stored(fields: dict[str, bytes], now: Keepers, before: Keepers) -> dict[str, bytes]:
    changed = now.fields(before)
    kept = {**fields, **{name: raw for name, raw in changed.items() if raw is not None}}
    return {name: raw for name, raw in kept.items() if changed.get(name, b"") is not None}


def test_too_many_keepers_make_room_and_their_sums_stay() -> None:
    """The one that was silent for longest goes; what it lost and dropped is still told."""
    found = Keepers()
    for at in range(MOST + 5):
        found = found.heard(Batch("m", f"gw {at}", 3, Totals(10, 7, {"rate": 3})))
    told = found.samples(4)
    assert len(found.lives) == MOST
    assert (told.offered, told.dropped, told.lost, told.pending) == (10 * (MOST + 5), 3 * (MOST + 5), 7 * (MOST + 5), 4)
    assert None in found.damaged().fields(Keepers({"gw 0": keepers.Life()})).values()
