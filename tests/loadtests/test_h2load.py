"""What h2load prints and logs, read: samples recorded from nghttp2 1.52.0."""

from pathlib import Path

import pytest

from loadtests.compare import h2load
from loadtests.compare.calls import CALLS
from loadtests.compare.errors import NotStarted, Void
from loadtests.compare.wrk import Report

SIZE = 60
GOOD = """\
starting benchmark...
spawning thread #0: 8 total client(s). Timing-based test with 0s of warm-up time and 3s of main duration.
Application protocol: h2c

finished in 3.00s, 6741.67 req/s, 685.44KB/s
requests: 20225 total, 20233 started, 20225 done, 20225 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 20225 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 2.01MB (2105674) total, 59.84KB (61275) headers (space savings 96.26%), 1.16MB (1213500) data
"""
LOG = "".join(f"1795309580824711\t200\t{taken}\n" for taken in range(1_000, 102_000, 1_000))


def test_rates_and_latencies_are_read() -> None:
    """The rate is h2load's, the percentiles are those of its log, in milliseconds."""
    assert h2load.read(GOOD, LOG, SIZE) == Report(requests=20_225, rps=6_741.67, p50_ms=51.0, p99_ms=100.0)


@pytest.mark.parametrize("figures", ["20224 succeeded, 0 failed", "20225 succeeded, 1 failed"])
def test_what_h2load_calls_a_failure_is_a_fault(figures: str) -> None:
    """An HTTP status that is not 2xx, and a stream that was reset, void the figure."""
    [fault] = h2load.read(GOOD.replace("20225 succeeded, 0 failed", figures), LOG, SIZE).faults
    assert figures in fault


@pytest.mark.parametrize(("missing", "faulty"), [(1, True), (0, False), (-SIZE, True)])
def test_a_call_that_failed_shows_in_the_bytes(missing: int, faulty: bool) -> None:  # noqa: FBT001 - a case's answer
    """It has status 200 too, but no answer, or another one."""
    text = GOOD.replace("(1213500) data", f"({1_213_500 - missing}) data")
    assert bool(h2load.read(text, LOG, SIZE).faults) is faulty


@pytest.mark.parametrize("text", ["", "[ERROR] Could not resolve\n", GOOD.replace("traffic", "")])
def test_what_h2load_does_not_print_is_refused(text: str) -> None:
    """A figure is never made up from an output that is not understood."""
    with pytest.raises(Void, match="h2load's output"):
        h2load.read(text, LOG, SIZE)


def test_a_peer_that_answers_nothing_voids_the_run() -> None:
    """There are no percentiles of nothing."""
    with pytest.raises(Void, match="logged 0 answers"):
        h2load.read(GOOD, "", SIZE)


def test_a_missing_h2load_is_one_sentence_that_names_the_script(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever lacks it reads what to do, and the script installs it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotStarted, match=r"^There is no `h2load` on this machine: scripts/install-system-packages"):
        h2load.find(tmp_path)
    assert "[h2load]=" in (Path(__file__).parents[2] / "scripts" / "install-system-packages").read_text()


@pytest.mark.parametrize(("name", "clients", "each"), [("grpc", 8, 1), ("grpc-shared", 1, 8)])
def test_calls_in_flight_have_a_connection_each_or_share_one(
    tmp_path: Path, name: str, clients: int, each: int
) -> None:
    """Many clients, or one channel; either way it says that it speaks gRPC, and sends the message in its frame."""
    program, said, call = tmp_path / "h2load", tmp_path / "said", CALLS[name]
    log = tmp_path / f"{name}-1.log"
    log.write_text("of another run\n")
    program.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {said}\ncat > {log} <<'END'\n{LOG}END\ncat <<'END'\n{GOOD}END\n"
    )
    program.chmod(0o700)
    report = h2load.H2load(str(program), tmp_path).drive("http://127.0.0.1:1", call, SIZE, 8, 3)
    arguments = said.read_text().splitlines()
    assert report.p50_ms == 51.0
    assert {f"--clients={clients}", f"--max-concurrent-streams={each}", "--requests=160"} <= set(arguments)
    assert f"--requests={round(6741.67 * 3 / 8) * 8}" in arguments, "as many as take three seconds at that rate"
    assert not any(one.startswith("--duration") for one in arguments)
    assert {"--header=content-type: application/grpc", "--header=te: trailers"} <= set(arguments)
    assert arguments[-1] == "http://127.0.0.1:1/inference.GRPCInferenceService/ModelInfer"
    assert (tmp_path / f"{name}-1.message").read_bytes() == call.body
