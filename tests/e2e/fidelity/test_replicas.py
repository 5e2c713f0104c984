"""Two Tritons with the same model: what one client sends must not take them, or a body, away from the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.http.exchange import Vector, ask
from tests.conformance.http.requests import FINE, INFER, document, post, tensor
from tests.conformance.servers import gateway, triton
from tests.conformance.targets import Column, Place

pytestmark = pytest.mark.e2e

_OFTEN = 12
_TOO_LONG = {
    "a header": post(FINE, f"X-A: {'a' * 8_192}"),
    "a header's name": post(FINE, f"{'a' * 9_000}: b"),
    "a query": post(FINE, target=f"{INFER}?{'a' * 9_000}"),
}
"""Heads on which Triton 2.51 closes the connection without a word."""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Path]]:
    """A gateway in front of two Tritons, and its log."""
    one, other, front = (tmp_path_factory.mktemp(name) for name in ("one", "other", "front"))
    with (
        triton(one, ["echo"]) as first,
        triton(other, ["echo"]) as second,
        gateway(front, [first, second], ["echo"]) as worker,
    ):
        yield worker.http, front / "gateway.log"


def _code(place: Place, request: bytes) -> int:
    (answer,) = ask(place, Vector("", (request,)), Column.GATEWAY).answers
    return answer.code


@pytest.mark.parametrize("what", _TOO_LONG)
def test_a_head_that_triton_cannot_read_condemns_nothing(two: tuple[Place, Path], what: str) -> None:
    """A good request with the same body is answered afterwards, and no replica was left alone for it."""
    place, log = two
    bad = [_code(place, _TOO_LONG[what]) for _ in range(_OFTEN)]
    assert _code(place, post(FINE)) == 200
    assert _code(place, post(document(tensor("FP32", [7.0])))) == 200
    assert "left alone" not in log.read_text()
    assert set(bad) == {400}
