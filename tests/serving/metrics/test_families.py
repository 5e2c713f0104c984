"""The figures are what the table says, as Prometheus wants them, and bounded."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.epoch import NO_HEAD
from router.phases import Phase
from serving.control.rolling.spreads import Spread
from serving.control.views import Status
from serving.figures import Figures
from serving.metrics.families import MOST_SERIES, TABLE, render
from serving.metrics.figure import Facts, Figure, Kind, Source
from serving.metrics.gateways import spread_of
from serving.metrics.installation import LEFT_OUT
from serving.stream_counts import BOUNDS_S
from tests.serving.metrics.facts import BEGAN_S, FIRST, FULL, GAPS, STREAMS, lease, status
from tests.serving.metrics.promtool import promtool

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
OF_STREAMS = (("gateway", "gateway-2"), ("model", "digits"), ("role", "first"), ("version", "2"))


def histogram(
    name: str, counts: tuple[int, ...], total_s: float, labels: tuple[tuple[str, str], ...] = OF_STREAMS
) -> Samples:
    """Its samples: each bucket holds those before it."""
    found: Samples = {
        (f"{name}_bucket", tuple(sorted((*labels, ("le", str(bound)))))): sum(counts[: number + 1])
        for number, bound in enumerate((*BOUNDS_S, "+Inf"))
    }
    return found | {(f"{name}_count", labels): sum(counts), (f"{name}_sum", labels): total_s}


SHADOWED = (("gateway", "gateway-2"), ("model", "a/b"), ("version", "2"))
ODDS = (("guardrail", "errors"), ("model", "digits"), ("version", "2"))
TOOK = Spread(tuple(int(bound == 0.01) * 2 + int(bound == 0.1) for bound in (*BOUNDS_S, 0.0)), 0.082_944)
TESTED = (("model", "digits"), ("test", "harm"), ("version", "2"))


def samples(facts: Facts, most: int = MOST_SERIES) -> Samples:
    """By name and labels."""
    families = text_string_to_metric_families(render(facts, most).decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_figures_are_what_is_known() -> None:
    """Every value of the status is found under its name and labels, and nothing else is."""
    expected: Samples = {
        ("sluice_build_info", (("version", "1.2.3"),)): 1,
        ("sluice_store_reachable", ()): 1,
        ("sluice_epoch", ()): 8,
        ("sluice_gateway_epoch", (("gateway", "gateway-1"),)): 7,
        ("sluice_gateway_epoch", (("gateway", "gateway-2"),)): 7,
        ("sluice_gateway_held", (("gateway", "gateway-1"),)): 0,
        ("sluice_gateway_held", (("gateway", "gateway-2"),)): 1,
        ("sluice_gateway_connections", (("gateway", "gateway-1"),)): 3,
        ("sluice_gateway_connections", (("gateway", "gateway-2"),)): 3,
        ("sluice_requests_total", (("gateway", "gateway-1"), ("model", "digits"), ("version", "1"))): 5,
        ("sluice_requests_total", (("gateway", "gateway-1"), ("model", "a/b"), ("version", "2"))): 7,
        ("sluice_requests_in_flight", (("gateway", "gateway-1"), ("model", "digits"), ("version", "1"))): 2,
        ("sluice_requests_in_flight", (("gateway", "gateway-1"), ("model", "a/b"), ("version", "2"))): 0,
        ("sluice_attempts_total", (*SHADOWED[:2], ("outcome", "ok"), ("role", "first"), SHADOWED[2])): 3,
        ("sluice_attempts_total", (*SHADOWED[:2], ("outcome", "late"), ("role", "fallback"), SHADOWED[2])): 1,
        **histogram("sluice_attempt_duration_seconds", TOOK.counts, TOOK.total_s, SHADOWED),
        ("sluice_replicas_ejected", (("gateway", "gateway-1"), ("model", "digits"), ("version", "1"))): 1,
        ("sluice_version_braked", SHADOWED): 0,
        ("sluice_shadow_copies_total", SHADOWED): 4,
        ("sluice_shadow_copies_shed_total", (*SHADOWED[:2], ("reason", "queue"), SHADOWED[2])): 3,
        ("sluice_not_captured_total", (("gateway", "gateway-2"), ("kind", "pair"), ("reason", "away"))): 2,
        ("sluice_notes_lost_total", (("gateway", "gateway-2"), ("kind", "span"), ("reason", "queue"))): 6,
        ("sluice_streams_total", (("end", "complete"), *OF_STREAMS)): 2,
        ("sluice_streams_total", (("end", "error"), *OF_STREAMS)): 1,
        ("sluice_stream_events_total", OF_STREAMS): 10,
        ("sluice_stream_errors_total", OF_STREAMS): 1,
        **histogram("sluice_stream_first_event_seconds", FIRST, 80.004),
        **histogram("sluice_stream_event_gap_seconds", GAPS, 0.0015),
        **histogram("sluice_change_propagation_seconds", Spread().plus(0.03).counts, 0.03, (("changed", "policy"),)),
        **histogram("sluice_rollback_detection_seconds", Spread().plus(3.5).counts, 3.5, ()),
        **histogram("sluice_rollback_propagation_seconds", Spread().plus(0.02).counts, 0.02, ()),
        ("sluice_verdict_evidence", TESTED): 1.5,
        ("sluice_verdict_evidence_needed", TESTED): 2.0,
        ("sluice_verdict_odds_ratio", (("bound", "lower"), *ODDS)): 0.5,
        ("sluice_verdict_odds_ratio", (("bound", "likeliest"), *ODDS)): 1.0,
        ("sluice_verdict_odds_ratio", (("bound", "upper"), *ODDS)): float("inf"),
        ("sluice_share_desired_ratio", (("model", "digits"), ("version", "1"))): 0.8,
        ("sluice_share_desired_ratio", (("model", "digits"), ("version", "2"))): 0.2,
        ("sluice_share_effective_ratio", (("model", "digits"), ("version", "1"))): 0.9,
        ("sluice_share_effective_ratio", (("model", "digits"), ("version", "2"))): 0.1,
        **{
            ("sluice_rollout_phase", (("model", "digits"), ("phase", phase.replace(" ", "_")))): float(
                phase == "running"
            )
            for phase in Phase
        },
        ("sluice_rollout_step_timestamp_seconds", (("model", "digits"),)): BEGAN_S,
        ("sluice_shadow_pairs_total", (("found", "agreed"), ("model", "digits"), ("version", "2"))): 9,
        ("sluice_shadow_pairs_total", (("found", "disagreed"), ("model", "digits"), ("version", "2"))): 1,
        ("sluice_shadow_pairs_total", (("found", "unread"), ("model", "digits"), ("version", "2"))): 2,
        ("sluice_feedback_total", (("kind", "accepted"), ("model", "digits"))): 2,
        ("sluice_feedback_values_total", (("metric", "reward"), ("model", "digits"), ("version", "2"))): 2,
        ("sluice_feedback_values_amount", (("metric", "reward"), ("model", "digits"), ("version", "2"))): 1.5,
        ("sluice_pool_replicas_ready", (("model", "digits"), ("version", "1"))): 3,
        ("sluice_pool_replicas_wanted", (("model", "digits"), ("version", "1"))): 4,
        ("sluice_pool_crashes", (("model", "digits"), ("version", "1"))): 1,
        ("sluice_pool_replicas_ready", (("model", "words"), ("version", "1"))): 0,
        ("sluice_pool_replicas_wanted", (("model", "words"), ("version", "1"))): 1,
        ("sluice_pool_crashes", (("model", "words"), ("version", "1"))): 0,
        ("sluice_payloads_kept_total", (("reason", "sample"),)): 9,
        ("sluice_payloads_dropped_total", (("reason", "queue"),)): 1,
        ("sluice_endpoints_ready", (("model", "digits"), ("version", "1"))): 2,
        ("sluice_endpoints_ready", (("model", "digits"), ("version", "2"))): 0,
        ("sluice_pools", (("state", "RUNNING"),)): 2,
        ("sluice_pools", (("state", "UNHEALTHY"),)): 1,
        ("sluice_refused_attempts_total", (("door", "control"), ("kind", "wrong"))): 4,
        ("sluice_certificate_expiry_timestamp_seconds", ()): 1_900_000_000,
        ("sluice_drift_episode_open", (("cause", "inputs"), ("model", "digits"))): 1,
        ("sluice_drift_episode_open", (("cause", "not_yet"), ("model", "words"))): 0,
        ("sluice_drift_approval_pending", (("action", "retrain"), ("model", "digits"))): 1,
        ("sluice_webhook_deliveries_total", (("result", "delivered"),)): 9,
        ("sluice_webhook_deliveries_total", (("result", "dead"),)): 2,
        ("sluice_webhook_deliveries_total", (("result", "ended"),)): 1,
        ("sluice_webhook_deliveries_total", (("result", "dropped"),)): 0,
    }
    assert samples(FULL) == expected


def test_a_store_that_is_away_is_a_figure() -> None:
    """And an answer all the same."""
    away = Status(NO_HEAD, (), (), (), (), reachable=False, warnings=("The store is away.",))
    assert samples(Facts("1", away))["sluice_store_reachable", ()] == 0


def test_no_figure_grows_without_end() -> None:
    """What is over the limit is left out, and counted."""
    found = samples(Facts("1", status(*(lease(number) for number in range(10)))), most=4)
    assert sum(name == "sluice_gateway_epoch" for name, _ in found) == 4
    assert found["sluice_series_left_out", (("figure", "sluice_gateway_epoch"),)] == 6


def test_a_histogram_counts_as_what_it_costs() -> None:
    """Each of its lines is a series: it is left out whole, and with all of them."""
    each = len(BOUNDS_S) + 3
    found = samples(Facts("1", status(*(lease(number, streams=(STREAMS,)) for number in range(5)))), most=2 * each + 1)
    assert sum(name.startswith("sluice_stream_event_gap_seconds") for name, _ in found) == 2 * each
    assert found["sluice_series_left_out", (("figure", "sluice_stream_event_gap_seconds"),)] == 3 * each


def test_promtool_has_nothing_to_say() -> None:
    """`promtool check metrics` reads a scrape of everything, and finds names, units and help good."""
    assert promtool("check", "metrics", given=render(FULL)) == ""


def test_every_figure_is_in_the_answer() -> None:
    """With its help and its type, once; and a scrape of everything has a series of each but one."""
    text = render(FULL).decode()
    named = {name for name, _ in samples(FULL)}
    for name, figure in TABLE.items():
        own = figure.source is Source.CONTROL
        assert text.count(f"# HELP {name} ") == own
        assert name == LEFT_OUT or bool(named & {name, f"{name}_count"}) == own
    assert "_created" not in text


def test_units_are_read_off_the_names() -> None:
    """Prometheus' base units, of gauges, histograms and times alike; a number of something has none."""
    units = {name: TABLE[name].unit for name in TABLE}
    assert units["sluice_attempt_duration_seconds"] == units["sluice_certificate_expiry_timestamp_seconds"] == "seconds"
    assert units["sluice_share_desired_ratio"] == "ratio"
    assert units["sluice_requests_total"] == units["sluice_epoch"] == units["sluice_gateway_epoch"] == ""


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("sluice_Requests", Kind.GAUGE, "What."), ("requests", Kind.GAUGE, "What."),
        ("sluice_requests", Kind.GAUGE, "What"),
        ("sluice_requests", Kind.COUNTER, "What."), ("sluice_requests_total", Kind.GAUGE, "What."),
        ("sluice_reward_sum", Kind.GAUGE, "What."),
        ("sluice_build", Kind.INFO, "What."), ("sluice_build_info", Kind.GAUGE, "What."),
    ],
)  # fmt: skip
def test_a_name_against_the_conventions_is_refused(name: str, kind: Kind, words: str) -> None:
    """Where the table is built."""
    with pytest.raises(ValueError, match=name):
        Figure(name, kind, (), words, lambda _: ())


def test_a_bucket_across_a_bound_is_above_it() -> None:
    """So that no quantile is better than it was."""
    assert spread_of(Figures(1, 0, {896: 1})).counts[:2] == (0, 1)  # from 896 to 1,024 us
    assert spread_of(Figures(1, 0, {768: 1})).counts[:2] == (1, 0)  # from 768 to 896 us
    assert spread_of(Figures(1, 0, {768: 1})).total_s == pytest.approx(0.000832)
