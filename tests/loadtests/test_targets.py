"""What a run is held to: every bound from both sides, and what was not measured."""

import pytest

from loadtests.compare.figures import Sample, rows
from loadtests.compare.plan import FULL, GRPC, GRPC_QUICK, QUICK, Plan
from loadtests.compare.targets import (
    GRPC_TARGETS,
    QUICK_TARGETS,
    TARGETS,
    Fact,
    Measured,
    Metric,
    Ratio,
    Target,
    Verdict,
    judge,
)

FASTER = Target("faster", Ratio(Metric.RPS, "gateway", "envoy", "json", 8), 1.1, at_least=True)
SOONER = Target("sooner", Ratio(Metric.P50, "gateway", "envoy", "json", 8), 1.0)
SMALL = Target("small", Measured(Fact.PRIVATE_MB), 80.0, strict=True)


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        *((FASTER, 1.1, True), (FASTER, 1.2, True), (FASTER, 1.09, False)),
        *((SOONER, 1.0, True), (SOONER, 0.9, True), (SOONER, 1.01, False)),
        *((SMALL, 79.9, True), (SMALL, 80.0, False), (SMALL, 80.1, False)),
        *((FASTER, None, False), (SMALL, None, False)),
    ],
)
def test_a_bound_is_kept_from_the_right_side(target: Target, value: float | None, met: bool) -> None:  # noqa: FBT001 - a case's answer
    """'At least' and 'at most' include the bound, 'under' does not, and what was not measured is missed."""
    assert Verdict(target, value).met is met


def test_a_verdict_says_by_how_much() -> None:
    """One line for each target."""
    assert Verdict(FASTER, 1.32).line == "met    faster: 1.32 (at least 1.1; by 20%)"
    assert Verdict(SMALL, 100.0).line == "MISSED small: 100 (under 80; by 25%)"
    assert Verdict(SMALL, None).line == "MISSED small: not measured"


def test_ratios_are_taken_from_the_rows_of_their_point() -> None:
    """Rates and latencies of gateway over Envoy at 8 connections; facts by their name."""
    table = rows([Sample("envoy", "json", 8, 100.0, 2.0, 4.0), Sample("gateway", "json", 8, 120.0, 1.0, 3.0)])
    verdicts = judge([FASTER, SOONER, SMALL], table, {Fact.PRIVATE_MB: 42.0})
    assert [verdict.value for verdict in verdicts] == [pytest.approx(1.2), 0.5, 42.0]


@pytest.mark.parametrize(
    ("plan", "targets"),
    [(FULL, TARGETS), (QUICK, QUICK_TARGETS), (GRPC, GRPC_TARGETS), (GRPC_QUICK, GRPC_TARGETS)],
    ids=["full", "quick", "grpc", "grpc-quick"],
)
def test_a_plan_measures_all_that_it_is_judged_by(plan: Plan, targets: tuple[Target, ...]) -> None:
    """A target that no run of this kind could meet would be a mistake of ours."""
    points = [*plan.points, *plan.serve, *plan.grpc, *plan.streams]
    measured = {(path, point.payload, point.in_flight) for point in points for path in point.paths}
    ratios = [target.figure for target in targets if isinstance(target.figure, Ratio)]
    wanted = {(path, figure.payload, figure.in_flight) for figure in ratios for path in (figure.path, figure.against)}
    assert wanted <= measured
    assert len(ratios) == len(targets) or (plan.pairs >= 5 and plan.requests == (100_000, 1_000_000))


def test_a_quick_run_judges_few_points() -> None:
    """Over HTTP one and thirty-two connections and the mirror among them; over gRPC eight and thirty-two."""
    figures = [target.figure for target in QUICK_TARGETS if isinstance(target.figure, Ratio)]
    assert {figure.in_flight for figure in figures if figure.payload == "json"} == {1, 32}
    assert {figure.in_flight for figure in figures if figure.payload == "grpc"} == {8, 32}
    assert any(figure.path == "gateway-shadow" for figure in figures)


def test_small_calls_are_held_to_envoy_itself() -> None:
    """At eight and at thirty-two in flight, on connections of their own and on one, the gateway makes no fewer."""
    small = [target for target in GRPC_TARGETS if target.what.startswith("gRPC calls/s against Envoy, 8 floats")]
    assert [target.bound for target in small] == [1.0] * 4
    assert all(target.at_least for target in GRPC_TARGETS)
    assert set(GRPC_TARGETS) <= set(TARGETS)
