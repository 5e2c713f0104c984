"""The table from what is known of a drift to its cause and to what is done: every row, and what holds for all cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.attribution import TABLE, Action, Arms, Blame, Cause, Evidence, Inputs, attribute

CALM = Evidence(inputs=Inputs.CALM)
EVIDENCE = st.builds(
    Evidence,
    schema=st.booleans(),
    inputs=st.sampled_from(Inputs),
    outputs=st.sampled_from(Blame),
    labels=st.sampled_from(Blame),
    arms=st.sampled_from(Arms),
    against=st.booleans(),
)


def every() -> Iterator[Evidence]:
    """Every cell."""
    for said in product((False, True), Inputs, Blame, Blame, Arms, (False, True)):
        yield Evidence(*said)


@pytest.mark.parametrize(
    ("said", "cause", "action"),
    [
        # Nothing is alarmed, or only within what was declared.
        ({"inputs": Inputs.CALM}, Cause.UNKNOWN, Action.NOTHING),
        ({"inputs": Inputs.RISING}, Cause.UNKNOWN, Action.NOTHING),
        ({"inputs": Inputs.CALM, "arms": Arms.WITHIN}, Cause.ARMS, Action.NOTHING),
        ({"inputs": Inputs.CALM, "against": True}, Cause.UNKNOWN, Action.NOTHING),
        # Inputs moved, and all versions with them.
        ({"inputs": Inputs.ALL}, Cause.INPUTS, Action.NOTIFY),
        ({"inputs": Inputs.ALL, "outputs": Blame.OTHERS}, Cause.INPUTS, Action.NOTIFY),
        ({"inputs": Inputs.ALL, "outputs": Blame.CANDIDATE}, Cause.INPUTS, Action.NOTIFY),
        ({"inputs": Inputs.ALL, "labels": Blame.OTHERS}, Cause.INPUTS, Action.RETRAIN),
        ({"inputs": Inputs.ALL, "labels": Blame.DOUBT}, Cause.INPUTS, Action.RETRAIN),
        # A verdict alone, which may be that the candidate is slow, trains nothing anew.
        ({"inputs": Inputs.ALL, "against": True}, Cause.INPUTS, Action.RECOMMEND),
        ({"inputs": Inputs.ALL, "outputs": Blame.CANDIDATE, "against": True}, Cause.INPUTS, Action.RECOMMEND),
        # The candidate's inputs moved, and stable is not cleared.
        ({"inputs": Inputs.DOUBT}, Cause.INPUTS, Action.NOTIFY),
        ({"inputs": Inputs.DOUBT, "against": True}, Cause.INPUTS, Action.RECOMMEND),
        ({"inputs": Inputs.DOUBT, "labels": Blame.DOUBT}, Cause.CANDIDATE, Action.RECOMMEND),
        ({"inputs": Inputs.DOUBT, "labels": Blame.CANDIDATE}, Cause.CANDIDATE, Action.RECOMMEND),
        ({"inputs": Inputs.DOUBT, "labels": Blame.OTHERS}, Cause.LABELS, Action.RETRAIN),
        # A version of the model knows such inputs.
        ({"inputs": Inputs.PART}, Cause.INPUTS, Action.NOTIFY),
        ({"inputs": Inputs.PART, "against": True}, Cause.INPUTS, Action.RECOMMEND),
        ({"inputs": Inputs.PART, "labels": Blame.OTHERS}, Cause.INPUTS, Action.RECOMMEND),
        # Only the candidate's own baseline is unlike what comes.
        ({"inputs": Inputs.CANDIDATE}, Cause.CANDIDATE, Action.NOTIFY),
        ({"inputs": Inputs.CANDIDATE, "outputs": Blame.CANDIDATE}, Cause.CANDIDATE, Action.NOTIFY),
        ({"inputs": Inputs.CANDIDATE, "against": True}, Cause.CANDIDATE, Action.RECOMMEND),
        # Only the candidate's answers moved.
        ({"inputs": Inputs.CALM, "outputs": Blame.CANDIDATE}, Cause.CANDIDATE, Action.ROLLBACK),
        ({"inputs": Inputs.CALM, "outputs": Blame.DOUBT}, Cause.CANDIDATE, Action.RECOMMEND),
        ({"inputs": Inputs.UNSEEN, "outputs": Blame.CANDIDATE}, Cause.CANDIDATE, Action.RECOMMEND),
        ({"inputs": Inputs.RISING, "outputs": Blame.CANDIDATE}, Cause.CANDIDATE, Action.RECOMMEND),
        ({"inputs": Inputs.CALM, "outputs": Blame.OTHERS}, Cause.UNKNOWN, Action.NOTIFY),
        # A difference between arms alone.
        ({"inputs": Inputs.CALM, "arms": Arms.UNDECLARED}, Cause.ARMS, Action.RECOMMEND),
        ({"inputs": Inputs.CALM, "arms": Arms.BEYOND}, Cause.ARMS, Action.ROLLBACK),
        ({"inputs": Inputs.ALL, "arms": Arms.BEYOND}, Cause.ARMS, Action.RECOMMEND),
        # A broken schema, whatever else.
        ({"schema": True, "inputs": Inputs.ALL, "labels": Blame.OTHERS}, Cause.SCHEMA, Action.ALERT),
        ({"schema": True, "inputs": Inputs.CALM, "outputs": Blame.CANDIDATE}, Cause.SCHEMA, Action.ALERT),
        # One segment alone.
        ({"inputs": Inputs.SEGMENT}, Cause.SEGMENT, Action.ALERT),
        ({"inputs": Inputs.SEGMENT, "labels": Blame.OTHERS}, Cause.SEGMENT, Action.ALERT),
        # What labels show.
        ({"inputs": Inputs.CALM, "labels": Blame.OTHERS}, Cause.LABELS, Action.RETRAIN),
        ({"inputs": Inputs.UNSEEN, "labels": Blame.OTHERS}, Cause.LABELS, Action.RETRAIN),
        ({"inputs": Inputs.CANDIDATE, "labels": Blame.OTHERS}, Cause.LABELS, Action.RETRAIN),
        ({"inputs": Inputs.CALM, "labels": Blame.CANDIDATE}, Cause.CANDIDATE, Action.ROLLBACK),
        ({"inputs": Inputs.UNSEEN, "labels": Blame.CANDIDATE}, Cause.CANDIDATE, Action.ROLLBACK),
        ({"inputs": Inputs.CANDIDATE, "labels": Blame.CANDIDATE}, Cause.CANDIDATE, Action.ROLLBACK),
        ({"inputs": Inputs.RISING, "labels": Blame.CANDIDATE}, Cause.CANDIDATE, Action.RECOMMEND),
        ({"inputs": Inputs.ALL, "labels": Blame.CANDIDATE}, Cause.CANDIDATE, Action.RECOMMEND),
        ({"inputs": Inputs.CALM, "labels": Blame.DOUBT}, Cause.CANDIDATE, Action.RECOMMEND),
    ],
)
def test_what_follows_is_what_the_table_says(said: dict[str, Any], cause: Cause, action: Action) -> None:
    """By the design: the cause, and what is done."""
    found = attribute(Evidence(**said))
    assert (found.cause, found.action) == (cause, action)
    assert found.words.endswith(".")


def test_every_cell_has_its_row_and_every_row_a_cell() -> None:
    """The table is total, and no row is hidden behind those above it."""
    first = {next(at for at, row in enumerate(TABLE) if row.fits(cell)) for cell in every()}
    assert first == set(range(len(TABLE)))


def test_nothing_is_done_without_an_alarm() -> None:
    """A verdict alone is the rollout's own business, and so is evidence that is only rising."""
    for cell in every():
        if not cell.alarmed:
            assert attribute(cell).action is Action.NOTHING


def test_a_broken_schema_comes_first() -> None:
    """Whatever else is known, for all else may follow from it."""
    found = {attribute(cell) for cell in every() if cell.schema}
    assert [(one.cause, one.action) for one in found] == [(Cause.SCHEMA, Action.ALERT)]


def test_nobody_goes_back_but_for_the_candidates_own_fault() -> None:
    """Never where inputs moved for stable too, or may have; never on a doubt; never with a broken schema."""
    for cell in every():
        if attribute(cell).action is not Action.ROLLBACK:
            continue
        assert not cell.schema
        assert cell.inputs in {Inputs.CALM, Inputs.UNSEEN, Inputs.CANDIDATE}
        blamed = cell.labels is Blame.CANDIDATE
        if not blamed:
            assert cell.inputs is Inputs.CALM
            assert cell.labels is Blame.NOWHERE
            assert cell.outputs is Blame.CANDIDATE or cell.arms is Arms.BEYOND


def test_nothing_is_trained_anew_but_for_what_labels_show() -> None:
    """Neither inputs nor answers that moved do, nor a verdict; and a segment's fault is not taught to the model."""
    for cell in every():
        if attribute(cell).action is Action.RETRAIN:
            assert cell.labels in {Blame.OTHERS, Blame.DOUBT}
            assert cell.labels is Blame.OTHERS or cell.inputs is Inputs.ALL
            assert cell.inputs is not Inputs.SEGMENT


@given(EVIDENCE)
def test_harm_never_makes_it_less(cell: Evidence) -> None:
    """Where a verdict is against the candidate as well, no less is done than without."""
    assert attribute(replace(cell, against=True)).action.rank >= attribute(replace(cell, against=False)).action.rank
