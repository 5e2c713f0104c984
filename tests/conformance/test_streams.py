"""Answers of a stream come when the model gives them, not when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.conformance.grpc.calls import PATIENCE_S, dial
from tests.conformance.grpc.messages import STREAM
from tests.conformance.grpc.streams import counting
from tests.conformance.http.requests import post
from tests.conformance.http.wire import Connection
from tests.conformance.targets import Place, Profile

pytestmark = [pytest.mark.e2e, pytest.mark.profile(Profile.GENERATE)]

_TIMES, _WAIT_MS = 12, 40


def check_spread(begun: float, came: list[float]) -> None:
    """The first answer came before half of the time was over that all of them took."""
    assert len(came) == _TIMES
    assert came[0] - begun < (came[-1] - begun) / 2


def test_events_over_http_come_one_by_one(http_place: Place) -> None:
    """`generate_stream`: each event is there before the model has given the next ones."""
    asked = b'{"times": %d, "wait_ms": %d}' % (_TIMES, _WAIT_MS)

    def steps(connection: Connection) -> Iterator[float]:
        for step in range(_TIMES):
            connection.until_it_says(b'"step":%d' % step)
            yield time.monotonic()

    with Connection(http_place) as connection:
        begun = time.monotonic()
        connection.send(post(asked, target="/v2/models/repeat/generate_stream"))
        check_spread(begun, list(steps(connection)))


def test_answers_over_grpc_come_one_by_one(grpc_address: str) -> None:
    """`ModelStreamInfer` of a decoupled model: the same."""
    with dial(grpc_address) as channel:
        begun = time.monotonic()
        call = channel.stream_stream(STREAM)(iter([counting(_TIMES, _WAIT_MS)]), timeout=PATIENCE_S)
        check_spread(begun, [time.monotonic() for _ in call])
