"""The table of moves is whole, and the diagram in the documents is drawn from it."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from router.errors import RolloutError
from router.phases import MOVES, OVER, Event, Phase, diagram, moved

DOCUMENT = Path(__file__).parents[2] / "docs" / "rollouts.md"


def test_the_diagram_in_the_documents_is_that_of_the_table() -> None:
    """To the letter: `python -c 'from router.phases import diagram; print(diagram())'` prints what belongs there."""
    assert f"```mermaid\n{diagram()}```\n" in DOCUMENT.read_text()


def test_every_move_of_the_table_is_an_arrow() -> None:
    """And nothing else is, but the start."""
    arrows = [line.strip() for line in diagram().splitlines() if "-->" in line]
    drawn = sum(len(arrow.split(": ")[1].split(", ")) for arrow in arrows)
    assert drawn == len(MOVES) + 1


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)))
def test_a_pair_that_is_not_in_the_table_is_refused(phase: Phase, event: Event) -> None:
    """With a sentence that says what there is."""
    if (phase, event) in MOVES:
        assert moved(phase, event) is MOVES[phase, event]
        return
    with pytest.raises(RolloutError, match=f"a rollout that is {phase} cannot {event}"):
        moved(phase, event)


def test_every_phase_is_reached() -> None:
    """From the first, in some number of moves."""
    reached = {Phase.WARMING}
    while more := {after for (before, _), after in MOVES.items() if before in reached} - reached:
        reached |= more
    assert reached == set(Phase)


def test_going_back_is_possible_wherever_there_is_traffic() -> None:
    """For operators in every phase that is not over; for evidence wherever something can be measured."""
    for phase in set(Phase) - OVER:
        assert MOVES[phase, Event.ROLL_BACK] is MOVES[phase, Event.STOP] is Phase.ROLLED_BACK
    for phase in set(Phase) - OVER - {Phase.WARMING}:
        assert MOVES[phase, Event.BREACH] is Phase.ROLLED_BACK


def test_what_is_over_only_a_retry_moves() -> None:
    """And nothing moves what was walked to its end."""
    assert {(phase, event) for phase, event in MOVES if phase in OVER} == {
        (Phase.ROLLED_BACK, Event.RETRY),
        (Phase.FAILED, Event.RETRY),
    }
