"""What is noted of requests travels whole, and whatever is not that is refused in a sentence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.counters import Outcome, Role
from serving.noted import ROLES, CopyNoted, Lost, Noted, Step, Traced
from serving.totals import OUTCOMES

_TEXTS = st.text(max_size=50)
_COUNTS = st.integers(0, 2**63)
_TIMES = st.floats(0, 2e9)
_SPANS = st.integers(0, 2**64 - 1)
_TRACED = st.builds(Traced, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), _SPANS, _TEXTS)
_STEPS = st.builds(
    Step, _SPANS, _COUNTS, st.sampled_from(ROLES), _TEXTS, st.sampled_from(OUTCOMES), _COUNTS, _TIMES, _TIMES
)
_NOTED = st.builds(
    Noted, _TIMES, _TIMES, _TEXTS, _TEXTS, _TEXTS, _COUNTS, _COUNTS, _TEXTS, _TEXTS, _TEXTS, _COUNTS, _COUNTS, _TEXTS,
    _TEXTS, st.booleans(), _COUNTS, _COUNTS, st.lists(_STEPS, max_size=4).map(tuple), st.none() | _TRACED,
    st.booleans(), st.booleans(), _COUNTS,
)  # fmt: skip
STEP = Step(3, 2, "first", "127.0.0.1:9000", "ok", 200, 1.5, 0.25)


def test_attempts_are_called_as_counters_call_them() -> None:
    """The names here are those of the enumerations that the worker counts by."""
    assert tuple(role.name.lower() for role in Role) == ROLES
    assert tuple(outcome.name.lower() for outcome in Outcome) == OUTCOMES


@given(noted=_NOTED)
def test_a_note_travels_whole(noted: Noted) -> None:
    """Every member, also the largest id."""
    assert Noted.decode(noted.encode()) == noted


@given(copied=st.builds(CopyNoted, _TEXTS, _TEXTS, _STEPS, _TRACED), counts=st.dictionaries(_TEXTS, _COUNTS))
def test_copies_and_losses_travel_whole(copied: CopyNoted, counts: dict[str, int]) -> None:
    """Likewise."""
    assert CopyNoted.decode(copied.encode()) == copied
    assert Lost.decode(Lost(counts).encode()) == Lost(counts)


def test_members_of_a_newer_release_are_passed_over() -> None:
    """A keeper outlives the workers that it began with, and the other way round."""
    noted = Noted(1.0, 2.0, "http", "infer", steps=(STEP,), traced=Traced(1, 2))
    said = json.loads(noted.encode())
    said[17][0].append("more")
    assert Noted.decode(json.dumps([*said, "more"]).encode()) == noted


@given(payload=st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(
    lambda value: json.dumps(value).encode()
))  # fmt: skip
def test_what_is_damaged_is_a_value_error(payload: bytes) -> None:
    """And nothing else."""
    for kind in (Noted, CopyNoted, Lost):
        try:
            kind.decode(payload)
        except ValueError:
            continue
        assert (kind, payload) == (Lost, b"{}")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Traced(0, 1), lambda: Traced(2**128, 1), lambda: Traced(1, 0), lambda: Traced(1, 1, -1),
        lambda: Noted(-1.0, 0.0, "http", "infer"), lambda: Noted(0.0, float("nan"), "http", "infer"),
        lambda: Noted(0.0, 0.0, "http", "infer", status=True), lambda: Noted(0.0, 0.0, "http", "x" * 1_025),
        lambda: Noted(0.0, 0.0, "http", "infer", access=1),  # type: ignore[arg-type]
        lambda: Noted(0.0, 0.0, "http", "infer", steps=(STEP._replace(role="other"),)),
        lambda: Noted(0.0, 0.0, "http", "infer", steps=(STEP._replace(outcome="odd"),)),
        lambda: CopyNoted("m", "http", STEP._replace(took_s=-1.0), Traced(1, 1)),
        lambda: Lost({"x": -1}),
    ],
)  # fmt: skip
def test_values_check_themselves(wrong: object) -> None:
    """Where they are built."""
    with pytest.raises(ValueError, match=r"\w+"):
        wrong()  # type: ignore[operator]
