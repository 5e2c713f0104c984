"""The judge of the flips: what is a failure, what is a wrong version, and what is right at the edges."""

from __future__ import annotations

import json

from loadtests.flips.observed import Observed
from loadtests.steady import Answer


def answered(version: int, due_s: float, *, made_as: int | None = None, status: int = 200) -> Answer:
    """An answer of that version to a request that was due at that moment."""
    values = {"made_as": made_as or version, "served_as": version}
    outputs = [{"name": name, "data": [value]} for name, value in values.items()]
    body = json.dumps({"model_version": str(version), "outputs": outputs}).encode()
    return Answer(0, due_s, 0.001, status, {}, body)


def test_what_is_wanted_is_right() -> None:
    """During a flip both versions may answer."""
    seen = Observed(frozenset({1}))
    seen.hear(answered(1, 0.0))
    seen.may_answer(frozenset({1, 2}), 1.0)
    seen.hear(answered(1, 1.5))
    seen.hear(answered(2, 1.5))
    assert (seen.requests, seen.failed, seen.wrong) == (3, 0, 0)


def test_the_old_version_may_answer_what_was_due_before_the_flip_was_over() -> None:
    """And nothing that was due after it."""
    seen = Observed(frozenset({1, 2}))
    seen.may_answer(frozenset({2}), 5.0)
    seen.hear(answered(1, 4.9))
    assert seen.wrong == 0
    seen.hear(answered(1, 5.1))
    assert seen.wrong == 1
    assert "version 1 answered, when only [2]" in seen.told[0]


def test_a_version_before_its_time_is_wrong() -> None:
    """A version that nobody asked for yet."""
    seen = Observed(frozenset({1}))
    seen.hear(answered(2, 0.0))
    assert seen.wrong == 1


def test_another_artifact_under_the_right_number_is_wrong() -> None:
    """What Triton says it serves is not believed: the artifact says what it is."""
    seen = Observed(frozenset({2}))
    seen.hear(answered(2, 0.0, made_as=1))
    assert seen.wrong == 1


def test_anything_but_a_200_is_a_failure() -> None:
    """With the server's words."""
    seen = Observed(frozenset({1}))
    seen.hear(answered(1, 0.0, status=503))
    seen.hear(Answer(7, 0.0, 10.0, 0, error="the connection was lost: None"))
    assert (seen.failed, seen.wrong) == (2, 0)
    assert "request 7: 0 the connection was lost" in seen.told[1]


def test_quantiles_are_of_what_was_seen() -> None:
    """The smallest latency that the share does not exceed."""
    seen = Observed(frozenset({1}))
    for milliseconds in range(1, 101):
        seen.hear(Answer(0, 0.0, milliseconds / 1e3, 503))
    assert (seen.quantile_s(0.5), seen.quantile_s(0.99), seen.quantile_s(1.0)) == (0.05, 0.099, 0.1)


def test_a_200_that_is_no_answer_of_the_model_is_wrong() -> None:
    """No JSON, and JSON without what an answer has."""
    seen = Observed(frozenset({1}))
    for body in (b"oops", b"{}", b"[]", b'{"model_version": "1", "outputs": 7}'):
        seen.hear(Answer(0, 0.0, 0.001, 200, {}, body))
    assert (seen.requests, seen.failed, seen.wrong) == (4, 0, 4)
