"""The figures are what the table says, what the documentation says, and bounded."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from router.epoch import NO_HEAD, Head
from serving.control.views import ModelView, PoolView, Status, VersionView
from serving.leases import GatewayLease
from serving.metrics.families import MOST_SERIES, TABLE, Facts, render
from serving.stream_counts import BOUNDS_S, StreamCounts

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
_UNITS = ("seconds", "bytes", "ratio", "total", "info")


def lease(number: int, **more: object) -> GatewayLease:
    """Of one gateway worker."""
    return GatewayLease(f"gateway-{number}", "boot", 1, "h", 8000, 7, "digest", connections=3, **more)  # type: ignore[arg-type]


def status(*gateways: GatewayLease) -> Status:
    """Of an installation with one model."""
    model = ModelView("digits", 1, None, (VersionView(1, 2, "pool"), VersionView(2, 0, "static")))
    pools = (PoolView("digits", 1, "RUNNING"), PoolView("digits", 3, "RUNNING"), PoolView("words", 1, "UNHEALTHY"))
    return Status(Head(8, "d", "p"), gateways, (), (model,), pools, reachable=True, warnings=())


FIRST = (0, 2, *[0] * (len(BOUNDS_S) - 2), 1)
GAPS = (7, *[0] * len(BOUNDS_S))
STREAMS = StreamCounts("digits/2", "first", {"complete": 2, "error": 1}, 10, 1, FIRST, 80_004_000, GAPS, 1_500)
OF_STREAMS = (("gateway", "gateway-2"), ("model", "digits"), ("role", "first"), ("version", "2"))


def histogram(
    name: str, counts: tuple[int, ...], total_s: float
) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Its samples: each bucket holds those before it."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        (f"{name}_bucket", tuple(sorted((*OF_STREAMS, ("le", str(bound)))))): sum(counts[: number + 1])
        for number, bound in enumerate((*BOUNDS_S, "+Inf"))
    }
    return found | {(f"{name}_count", OF_STREAMS): sum(counts), (f"{name}_sum", OF_STREAMS): total_s}


FULL = Facts(
    "1.2.3",
    status(lease(1, requests={"digits/1": 5, "a/b/2": 7}, in_flight_by={"digits/1": 2}), lease(2, streams=(STREAMS,))),
    {("control", "wrong"): 4},
    1_900_000_000.0,
)


def samples(facts: Facts, most: int = MOST_SERIES) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels."""
    families = text_string_to_metric_families(render(facts, most).decode())
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def test_figures_are_what_is_known() -> None:
    """Every value of the status is found under its name and labels, and nothing else is."""
    assert samples(FULL) == {
        ("sluice_build_info", (("version", "1.2.3"),)): 1,
        ("sluice_store_reachable", ()): 1,
        ("sluice_epoch", ()): 8,
        ("sluice_gateway_epoch", (("gateway", "gateway-1"),)): 7,
        ("sluice_gateway_epoch", (("gateway", "gateway-2"),)): 7,
        ("sluice_gateway_connections", (("gateway", "gateway-1"),)): 3,
        ("sluice_gateway_connections", (("gateway", "gateway-2"),)): 3,
        ("sluice_requests_total", (("gateway", "gateway-1"), ("model", "digits"), ("version", "1"))): 5,
        ("sluice_requests_total", (("gateway", "gateway-1"), ("model", "a/b"), ("version", "2"))): 7,
        ("sluice_requests_in_flight", (("gateway", "gateway-1"), ("model", "digits"), ("version", "1"))): 2,
        ("sluice_requests_in_flight", (("gateway", "gateway-1"), ("model", "a/b"), ("version", "2"))): 0,
        ("sluice_streams_total", (("end", "complete"), *OF_STREAMS)): 2,
        ("sluice_streams_total", (("end", "error"), *OF_STREAMS)): 1,
        ("sluice_stream_events_total", OF_STREAMS): 10,
        ("sluice_stream_errors_total", OF_STREAMS): 1,
        **histogram("sluice_stream_first_event_seconds", FIRST, 80.004),
        **histogram("sluice_stream_event_gap_seconds", GAPS, 0.0015),
        ("sluice_endpoints_ready", (("model", "digits"), ("version", "1"))): 2,
        ("sluice_endpoints_ready", (("model", "digits"), ("version", "2"))): 0,
        ("sluice_pools", (("state", "RUNNING"),)): 2,
        ("sluice_pools", (("state", "UNHEALTHY"),)): 1,
        ("sluice_refused_attempts_total", (("door", "control"), ("kind", "wrong"))): 4,
        ("sluice_certificate_expiry_timestamp_seconds", ()): 1_900_000_000,
    }


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


def test_the_text_is_as_it_should_be() -> None:
    """Each figure has one line of help and one of type, and names as Prometheus' own checker wants them."""
    text = render(FULL).decode()
    for name, figure in TABLE.items():
        # `promtool check metrics`: prefix, snake case, base units, _total for counters and for nothing else, help.
        assert re.fullmatch(r"sluice(_[a-z]+)+", name)
        assert (figure.kind == "counter") == name.endswith("_total")
        assert (figure.kind == "info") == name.endswith("_info")
        assert not re.search(r"_(milliseconds|ms|kb|mb|percent|counter|gauge)(_|$)", name)
        assert figure.words.endswith((".", ";", "1."))
        assert text.count(f"# HELP {name} ") == 1
    assert "_created" not in text


@pytest.mark.parametrize("line", [line for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")])
def test_what_is_documented_is_there(line: str) -> None:
    """Name, kind, labels and words."""
    name, kind, labels, words = (cell.strip() for cell in line.strip("|").split("|"))
    figure = TABLE[name.strip("`")]
    assert (figure.kind, ", ".join(f"`{one}`" for one in figure.labels), figure.words) == (kind, labels, words)


def test_what_is_there_is_documented() -> None:
    """Every figure has a line, in the order of the answer."""
    named = [line.split("`")[1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    assert named == list(TABLE)
