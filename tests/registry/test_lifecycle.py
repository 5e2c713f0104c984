"""A version's life is the table, and nothing beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import Unacceptable
from registry.lifecycle import CAN_BE_NAMED, MOVES, TAKES_AWAY, Event, State, moved


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_what_is_not_in_the_table_is_refused(state: State, event: Event) -> None:
    """With the moves that there are."""
    if (state, event) in MOVES:
        assert moved(state, event) is MOVES[state, event]
        return
    with pytest.raises(Unacceptable, match=f"A version that is {state} cannot be asked to '{event}'") as refused:
        moved(state, event)
    assert all(other in refused.value.hint for known, other in MOVES if known is state)


@given(st.lists(st.sampled_from(Event), max_size=20))
def test_nothing_serves_that_was_not_verified_since_it_was_last_out_of_sight(events: list[Event]) -> None:
    """Whatever is asked in whatever order."""
    state, verified = State.REGISTERED, False
    for event in events:
        if (state, event) in MOVES:
            state = moved(state, event)
            verified = (verified or event is Event.VERIFY) and event is not Event.ARCHIVE
        assert verified or state is not State.SERVING


def test_every_state_is_reached_and_what_is_gone_stays_gone() -> None:
    """From `registered`, where every life begins."""
    reached = {State.REGISTERED, *MOVES.values()}
    assert reached == set(State)
    assert not [pair for pair in MOVES if pair[0] is State.GONE]


def test_only_what_takes_a_version_away_ends_where_no_alias_may_point() -> None:
    """So an alias never points at what is archived or gone."""
    assert {event for (_, event), after in MOVES.items() if after not in CAN_BE_NAMED} == TAKES_AWAY
