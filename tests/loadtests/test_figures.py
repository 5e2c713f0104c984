"""Medians, spreads, ratios, and the rule that voids a run."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.compare.figures import Sample, added, rows, spread, void

RATES = st.floats(1.0, 1e6)


def sample(path: str, rps: float, *, payload: str = "json", in_flight: int = 32) -> Sample:
    """A measurement of which only the rate matters."""
    return Sample(path, payload, in_flight, rps, p50_ms=1.0, p99_ms=2.0)


def test_a_row_holds_the_medians_over_its_rounds() -> None:
    """One round that was disturbed does not move the row."""
    rates = [sample("gateway", rps) for rps in (9_000.0, 10_000.0, 1_000.0)]
    measured = [replace(one, cpu_s=0.05, resident_mb=42.0) for one in rates]
    row = rows(measured)["gateway", "json", 32]
    assert (row.rps, row.rounds, row.cpu_s_per_1000, row.resident_mb) == (9_000.0, 3, 0.05, 42.0)
    assert row.rps_spread == 1.0


def test_ratios_are_of_medians_at_the_same_point() -> None:
    """Another payload and another number of connections are other rows."""
    table = rows(
        [sample("direct", 20.0), sample("envoy", 10.0), sample("gateway", 12.0), sample("direct", 4.0, payload="1MB")]
    )
    ours = table["gateway", "json", 32]
    assert [ours.rps_to_envoy, ours.rps_to_direct] == pytest.approx([1.2, 0.6])
    assert table["direct", "1MB", 32].rps_to_envoy is None


def test_a_shadow_is_held_against_the_envoy_that_mirrors() -> None:
    """Both do the same work twice; the Envoy that only splits does it once."""
    table = rows([sample("envoy", 100.0), sample("envoy-mirror", 50.0), sample("gateway-shadow", 40.0)])
    assert table["gateway-shadow", "json", 32].rps_to_envoy == pytest.approx(0.8)


@pytest.mark.parametrize(("rps", "voided"), [(39.9, True), (40.0, False), (80.0, False)])
def test_a_run_is_void_below_four_tenths_of_direct(rps: float, voided: bool) -> None:  # noqa: FBT001 - a case's answer
    """The bound itself counts."""
    assert (void(rows([sample("direct", 100.0), sample("envoy", rps)])) is not None) is voided


@pytest.mark.parametrize(
    ("payload", "voided"), [("grpc", True), ("grpc-shared", False), ("grpc-1MB", False), ("grpc-stream", False)]
)
def test_over_grpc_small_calls_void_a_run(payload: str, voided: bool) -> None:  # noqa: FBT001 - a case's answer
    """As small requests do over HTTP; what large ones and streams cost says nothing of how an Envoy is set up."""
    table = rows([sample("direct", 100.0, payload=payload), sample("envoy", 39.9, payload=payload)])
    assert (void(table) is not None) is voided


def test_only_the_envoy_that_splits_voids_a_run() -> None:
    """A slow gateway misses targets, a slow mirror is what a mirror costs: neither makes the run void."""
    assert void(rows([sample("direct", 100.0), sample("gateway", 1.0), sample("envoy-mirror", 1.0)])) is None


@given(st.lists(RATES, min_size=1, max_size=9))
def test_a_median_lies_among_its_rounds(rates: list[float]) -> None:
    """And the spread is zero where they agree, never negative."""
    row = rows(sample("gateway", rps) for rps in rates)["gateway", "json", 32]
    assert min(rates) <= row.rps <= max(rates)
    assert spread(rates) >= 0.0
    assert spread([rates[0]] * 3) == 0.0


def test_what_is_added_is_the_median_over_the_pairs() -> None:
    """A pair that was disturbed does not decide."""
    assert added([(1.0, 1.02), (2.0, 2.06), (1.0, 5.0)]) == pytest.approx(0.03)
