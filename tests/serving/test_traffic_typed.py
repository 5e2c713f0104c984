"""Traffic as people type it: what is read, what it means, and what is refused with the option's name."""

from __future__ import annotations

import math

import pytest

from router.verdicts.described import Incident, Manner
from serving.traffic_typed import Known, Typed, described, known_from, known_of

NOW = Known(100.0, 0.005, 20.0, 60.0)


def test_what_is_typed_wins_over_what_is_known() -> None:
    """And what nobody typed is what was seen."""
    assert known_from(Typed(), NOW) == NOW
    assert known_from(Typed(rps=5.0, errors="2%", latency="1.5s"), NOW) == Known(5.0, 0.02, 1_500.0, 60.0)
    assert known_from(Typed(rps=5.0, errors="1/200"), None) == Known(5.0, 0.005)


def test_a_candidate_is_five_times_as_bad_unless_somebody_says_how() -> None:
    """Slower alone leaves its errors as they are."""
    assert described(Typed(), NOW).candidate.errors == pytest.approx(0.025)
    slower = described(Typed(slower="1.25x"), NOW)
    assert slower.candidate.errors == slower.stable.errors
    assert slower.candidate.median_ms == 25.0
    assert described(Typed(candidate_errors="3%"), NOW).candidate == Manner(0.03, 20.0, slower.stable.spread)


def test_everything_else_that_can_be_described() -> None:
    """Replicas, bursts, an incident and an onset, in their units; the spread from the 99th percentile."""
    typed = Typed(replicas="1,9", bursts=2.0, incident="5%,10m,3m", onset="1h", p99="40ms", latency="20ms")
    traffic = described(typed, known_from(typed, NOW))
    assert traffic.replicas == (1, 9)
    assert traffic.hiccups_per_hour == 2.0
    assert traffic.incident == Incident(0.05, 600.0, 180.0)
    assert traffic.onset_s == 3_600.0
    assert traffic.stable.spread == pytest.approx(math.log(2) / 2.3263)


def test_the_version_that_is_asked_most_is_taken_for_stable() -> None:
    """With the model's own rate."""
    versions = {"1": Known(95.0, 0.004), "2": Known(5.0, 0.02)}
    assert known_of(versions, 101.0) == Known(101.0, 0.004)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (Typed(errors="5"), "--errors:"),
        (Typed(errors="0%"), "--errors: '0%' is not a part"),
        (Typed(errors="100%"), "--errors:"),
        (Typed(rps=0.0), "--rps:"),
        (Typed(rps=math.nan), "--rps:"),
        (Typed(latency="20"), "--latency: '20' is no duration"),
        (Typed(latency="0ms"), "--latency:"),
        (Typed(p99="10ms"), "--p99:"),
        (Typed(slower="-1"), "--slower:"),
        (Typed(slower="0x"), "--slower:"),
        (Typed(candidate_errors="all"), "--candidate-errors:"),
        (Typed(replicas="0,3"), "--replicas:"),
        (Typed(replicas="3"), "--replicas:"),
        (Typed(incident="5%"), "--incident:"),
        (Typed(onset="10"), "--onset:"),
        (Typed(bursts=1e9), "bursts an hour"),
        (Typed(bursts=math.nan), "bursts an hour"),
    ],
    ids=range(17),
)
def test_what_cannot_be_read(typed: Typed, said: str) -> None:
    """Is refused in a sentence with the option."""
    with pytest.raises(ValueError, match=said):
        described(typed, known_from(typed, NOW))


def test_without_a_model_somebody_has_to_say_how_much_there_is() -> None:
    """A rate alone is not enough."""
    with pytest.raises(ValueError, match="--rps and --errors"):
        known_from(Typed(rps=1.0), None)
