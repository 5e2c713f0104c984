"""A figure that is void: who it is named after, whose is taken again, and what ends a run."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from loadtests.compare import report
from loadtests.compare.bench import Bench
from loadtests.compare.errors import Void
from loadtests.compare.figures import Sample
from loadtests.compare.peers import Peer
from loadtests.compare.plan import DIRECT, ENVOY, ENVOY_MIRROR, GATEWAY, GATEWAY_SHADOW, PEERS, SERVE, Plan, Point
from loadtests.compare.voids import MOST_AGAIN, taken
from loadtests.compare.wrk import Report

SPLIT = (DIRECT, ENVOY, GATEWAY)
POINT = Point("json", 32, SPLIT)
STANDING = {path: Peer(f"http://{path}") for path in SPLIT}


@dataclass
class FakeWrk:
    """A load whose answers are wrong as often as is said of an address."""

    wrong: Counter[str]
    drives: Counter[str] = field(default_factory=Counter)

    def drive(self, url: str, *_how: object) -> Report:
        """One figure."""
        self.drives[url] += 1
        if self.wrong[url] > 0:
            self.wrong[url] -= 1
            raise Void(f"json at 32 connections on {url}: Non-2xx or 3xx responses: 7")
        return Report(1_000, 100.0, 1.0, 2.0)


def bench_with(**wrong: int) -> tuple[Bench, FakeWrk, list[str]]:
    """A bench of one round, its load, and what it tells."""
    wrk, told = FakeWrk(Counter({f"http://{path}": count for path, count in wrong.items()})), list[str]()
    plan = Plan(rounds=1, seconds=1, points=(POINT,), serve=())
    return Bench(plan, cast("Any", wrk), cast("Any", None), Path(), told.append), wrk, told


def measured(bench: Bench) -> list[Sample]:
    """One round over all three, as `run` makes it once they are up."""
    return list(bench._rounds(STANDING, (POINT,)))


@pytest.mark.parametrize("path", [DIRECT, ENVOY])
def test_a_peers_figure_is_taken_again_and_said_to_be(path: str) -> None:
    """The run goes on, no figure is missing, and whoever reads them is told whose was void and why."""
    bench, wrk, told = bench_with(**{path: MOST_AGAIN})
    assert [sample.path for sample in measured(bench)] == list(SPLIT)
    assert wrk.drives[f"http://{path}"] == MOST_AGAIN + 2  # to warm it, and to measure it
    assert len(bench.voids) == MOST_AGAIN
    assert all(why.startswith(f"{path}: json at 32 connections") for why in bench.voids)
    assert sum(line.startswith(f"  void, taken again: {path}: ") for line in told) == MOST_AGAIN


def test_a_peer_that_fails_time_after_time_ends_the_run_by_name() -> None:
    """There is nobody to compare with."""
    bench, wrk, _ = bench_with(**{ENVOY: MOST_AGAIN + 1})
    with pytest.raises(Void, match=r"^envoy: json at 32 connections"):
        measured(bench)
    assert wrk.drives["http://envoy"] == MOST_AGAIN + 1


def test_the_gateways_own_void_ends_the_run_at_once() -> None:
    """It is what is measured: one wrong answer of it is one too many."""
    bench, wrk, _ = bench_with(**{GATEWAY: 1})
    with pytest.raises(Void, match=r"^gateway: json at 32 connections"):
        measured(bench)
    assert (wrk.drives["http://gateway"], bench.voids) == (1, [])


@pytest.mark.parametrize("path", [GATEWAY, GATEWAY_SHADOW, f"{GATEWAY}+1000", "open", "key", "teller"])
def test_whatever_is_no_peer_is_the_gateway(path: str) -> None:
    """However it is set up: a path that nobody has thought of ends the run, too."""
    tries, again = list[int](), list[str]()

    def take() -> None:
        tries.append(1)
        raise Void("wrong")

    with pytest.raises(Void, match=rf"^{path.replace('+', '.')}: wrong$"):
        taken(path, take, again.append)
    assert (tries, again) == ([1], [])
    assert path not in PEERS
    assert {DIRECT, ENVOY, ENVOY_MIRROR, SERVE} == PEERS


def test_the_report_says_what_was_taken_again() -> None:
    """On the terminal and in docs/benchmarks.md."""
    why, said = "envoy: 7 answers wrong", io.StringIO()
    report.show(Console(file=said, width=120), {}, {}, [why])
    assert said.getvalue() == f"void, taken again: {why}\n"
    assert f"\n- void, taken again: {why}\n" in report.markdown({}, {}, [], {}, [why])
    assert "void" not in report.markdown({}, {}, [], {})
