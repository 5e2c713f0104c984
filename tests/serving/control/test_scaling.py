"""Replicas follow the load: up at once, down after a minute, within their bounds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.control.scaling import Sample, kept, loads, replicas
from serving.endpoint import Endpoint, Load
from serving.leases import GatewayLease
from serving.pools import PoolOptions

OPTIONS = PoolOptions(replicas=2, max_replicas=10, target_in_flight=4)


def steady(load: float, seconds: int = 60, until: float = 1_000.0) -> list[Sample]:
    """One sample a second, the last of them at `until`."""
    return [Sample(until - back, load) for back in range(seconds, -1, -1)]


def test_up_at_once() -> None:
    """One look at a load that is too much is enough; a share of a replica is a whole one."""
    assert replicas(OPTIONS, 2, [Sample(1_000, 17)], 1_000) == 5


def test_down_only_after_a_whole_minute_below() -> None:
    """And to what the largest load of that minute needs."""
    samples = [*steady(17, 30, 960), *steady(9, 39, 1_000)]
    assert replicas(OPTIONS, 5, samples, 1_000) == 5
    assert replicas(OPTIONS, 5, steady(9, 59), 1_000) == 5
    assert replicas(OPTIONS, 5, steady(9), 1_000) == 3


def test_silence_changes_nothing() -> None:
    """No samples, or none that is recent, are no reason to take servers away."""
    assert replicas(OPTIONS, 5, [], 1_000) == 5
    assert replicas(OPTIONS, 5, steady(0, until=900), 1_000) == 5


def test_a_floor_holds_what_a_rollout_may_need() -> None:
    """Up to the most that there may be."""
    assert replicas(OPTIONS, 2, steady(0), 1_000, floor=6) == 6
    assert replicas(OPTIONS, 2, steady(0), 1_000, floor=99) == 10


def test_without_a_target_a_replica_is_meant_to_do_what_it_does_at_once() -> None:
    """Its batch, times its instances."""
    options = PoolOptions(max_replicas=9, max_batch_size=8, instance_count=2)
    assert replicas(options, 1, [Sample(0, 33)], 0) == 3


def test_what_a_replica_says_of_itself_counts_for_more_than_the_options() -> None:
    """A ready Triton directory has its own batch and instances; a target that was set counts for most."""
    options = PoolOptions(max_replicas=9, max_batch_size=64)
    assert replicas(options, 1, [Sample(0, 5)], 0, capacity=1) == 5
    assert replicas(options, 1, [Sample(0, 5)], 0) == 1
    assert replicas(OPTIONS, 2, [Sample(0, 17)], 0, capacity=1) == 5


def test_the_load_is_what_gateways_or_triton_see() -> None:
    """Whichever is larger: a queue in Triton may outlive the gateway that sent it."""
    leases = [
        GatewayLease(f"g{n}", "b", 1, "h", 1, 1, "d", in_flight_by={"a/b/1": 3, "m/2": 1, "odd": 9}) for n in range(2)
    ]
    endpoints = [(Endpoint("h", port, 0, "m", 2), Load(pending=port)) for port in (4, 5)]
    assert loads(leases, endpoints) == {("a/b", 1): 6, ("m", 2): 9}


SAMPLES = st.lists(
    st.builds(Sample, st.floats(0, 200), st.floats(0, 1_000)), max_size=30
).map(lambda found: sorted(found, key=lambda one: one.at_s))  # fmt: skip
BOUNDS = st.tuples(st.integers(1, 9), st.integers(0, 9), st.floats(0.1, 64)).map(
    lambda drawn: PoolOptions(replicas=drawn[0], max_replicas=drawn[0] + drawn[1], target_in_flight=drawn[2])
)


@given(BOUNDS, st.integers(0, 30), SAMPLES, st.integers(0, 30))
def test_it_stays_within_its_bounds(options: PoolOptions, current: int, samples: list[Sample], floor: int) -> None:
    """Whatever was measured."""
    found = replicas(options, current, samples, 200, floor=floor)
    assert options.replicas <= found <= options.most_replicas
    assert found >= min(floor, options.most_replicas)


@given(BOUNDS, st.integers(1, 18), SAMPLES)
def test_it_settles(options: PoolOptions, current: int, samples: list[Sample]) -> None:
    """What it says is what it says again, from the same samples."""
    once = replicas(options, current, samples, 200)
    assert replicas(options, once, samples, 200) == once


@given(BOUNDS, st.integers(1, 18), SAMPLES, st.floats(0, 1_000))
def test_more_load_never_means_fewer_replicas(
    options: PoolOptions, current: int, samples: list[Sample], more: float
) -> None:
    """At every moment of the minute."""
    busier = [Sample(one.at_s, one.load + more) for one in samples]
    assert replicas(options, current, busier, 200) >= replicas(options, current, samples, 200)


@given(BOUNDS, st.integers(1, 18), SAMPLES)
def test_samples_that_are_too_old_do_not_count(options: PoolOptions, current: int, samples: list[Sample]) -> None:
    """Memory is bounded, and what is thrown away is not missed."""
    assert replicas(options, current, kept(samples, 200), 200) == replicas(options, current, samples, 200)
    assert len([one for one in kept(samples, 200) if one.at_s <= 140]) <= 1
