"""Every HTTP vector, sent to each server under test and held against its column."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.http.exchange import Outcome, Vector, ask, outcome
from tests.conformance.http.judging import judge
from tests.conformance.http.vectors import vectors
from tests.conformance.recording import Recording
from tests.conformance.targets import Column, Place

pytestmark = pytest.mark.e2e

VECTORS = vectors()


def test_every_vector_has_a_name_of_its_own_and_is_recorded(http_recording: Recording) -> None:
    """The table and the recording list the same vectors."""
    names = [vector.name for vector in VECTORS]
    assert len(names) == len(set(names))
    assert http_recording.renew or http_recording.names() == set(names)


@pytest.mark.parametrize(
    "vector", [pytest.param(one, id=one.name, marks=pytest.mark.profile(one.profile)) for one in VECTORS]
)
def test_a_vector_is_answered_as_its_column_says(
    over_http: tuple[tuple[Column, Place], ...], http_recording: Recording, answers: dict[str, Any], vector: Vector
) -> None:
    """Triton answers as recorded; the gateway the same, or what the protocol says in its place; others by the rules."""
    seen: dict[Column, Outcome] = {}
    for column, place in over_http:
        seen[column] = got = ask(place, vector, column)
        answers[f"HTTP {vector.name}"] = got.plain()
        if column is Column.TRITON:
            http_recording.check(vector.name, got.plain())
        judge(column, vector, outcome(http_recording.known(vector.name)), got)
    if len(seen) > 1 and vector.gateway is None:
        assert seen[Column.GATEWAY] == seen[Column.TRITON]
