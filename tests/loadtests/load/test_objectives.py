"""Objectives as they are typed, and whether they were kept."""

from __future__ import annotations

import math

import pytest

from loadtests.load.objectives import in_ms, judged, read


def test_objectives_are_read_as_typed() -> None:
    """Latencies in us, ms or s, errors as a percentage."""
    found = read("p99=50ms, p99.9=1.5s,max=900us,errors=0.1%")
    assert [(one.name, one.most) for one in found] == [
        ("p99", 0.05), ("p99.9", 1.5), ("max", pytest.approx(0.0009)), ("errors", 0.001),
    ]  # fmt: skip
    assert [one.quantile for one in found] == [0.99, pytest.approx(0.999), 1.0, None]


@pytest.mark.parametrize(
    "text", ["", "p99", "p99=50", "p99=0.1%", "errors=5", "errors=101%", "p100=1s", "px=1s", "p99=1s,p99=2s", "p99=-1s"]
)
def test_what_is_no_objective_is_refused(text: str) -> None:
    """The sentence shows how one is written."""
    with pytest.raises(ValueError, match="write it like"):
        read(text)


def test_a_limit_is_kept_up_to_itself() -> None:
    """At the limit is kept, beyond is not, and neither is what has no answer or was not measured."""
    [limit] = read("p99=50ms")
    found = {value: judged((limit,), {0.99: value}.__getitem__, 0.0)[0].good for value in (0.05, 0.0501, math.inf)}
    assert found == {0.05: True, 0.0501: False, math.inf: False}
    assert not judged((limit,), lambda _: math.nan, 0.0)[0].good
    [errors] = judged(read("errors=1%"), lambda _: 0.0, 0.02)
    assert not errors.good
    assert str(errors) == "errors is 2 %, at most 1 %"


def test_a_latency_without_an_answer_says_so() -> None:
    """Infinite is no answer, and no number is unknown."""
    assert (in_ms(0.0125), in_ms(math.inf), in_ms(math.nan)) == ("12.5 ms", "no answer", "unknown")
