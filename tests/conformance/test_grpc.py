"""Every gRPC vector, called at each server under test and held against its column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.conformance.grpc.calls import Outcome, Vector, ask, dial
from tests.conformance.grpc.judging import judge
from tests.conformance.grpc.vectors import vectors
from tests.conformance.recording import Recording
from tests.conformance.targets import Column

pytestmark = pytest.mark.e2e

VECTORS = vectors()


@pytest.fixture(scope="module")
def channels(over_grpc: tuple[tuple[Column, str], ...]) -> Iterator[dict[Column, grpc.Channel]]:
    """A connection to each server."""
    dialled = {column: dial(address) for column, address in over_grpc}
    yield dialled
    for channel in dialled.values():
        channel.close()


def test_every_vector_has_a_name_of_its_own_and_is_recorded(grpc_recording: Recording) -> None:
    """The table and the recording list the same vectors."""
    names = [vector.name for vector in VECTORS]
    assert len(names) == len(set(names))
    assert grpc_recording.renew or grpc_recording.names() == set(names)


@pytest.mark.parametrize(
    "vector", [pytest.param(one, id=one.name, marks=pytest.mark.profile(one.profile)) for one in VECTORS]
)
def test_a_vector_is_answered_as_its_column_says(
    channels: dict[Column, grpc.Channel], grpc_recording: Recording, answers: dict[str, Any], vector: Vector
) -> None:
    """Triton answers as recorded; the gateway the same, or what the protocol says in its place; others by the rules."""
    seen: dict[Column, Outcome] = {}
    for column, channel in channels.items():
        seen[column] = got = ask(channel, vector)
        answers[f"gRPC {vector.name}"] = {**got.plain(vector), "bytes": [message.hex() for message in got.messages]}
        if column is Column.TRITON:
            grpc_recording.check(vector.name, got.plain(vector))
        judge(column, vector, grpc_recording, got)
    if len(seen) > 1 and vector.gateway is None:
        assert seen[Column.GATEWAY] == seen[Column.TRITON]
