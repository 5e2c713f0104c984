"""Whole runs against a small gateway of the test's own: what the report says is what happened there."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtests.load import generator
from loadtests.load.__main__ import main
from loadtests.load.control import Control
from loadtests.load.playing import Wish, made_ready
from loadtests.load.records import Error, Kind, read
from loadtests.load.results import results_of
from loadtests.load.room import records_of
from loadtests.load.running import Processes
from loadtests.load.shapes import steady
from loadtests.load.spec import Place, Spec
from router.choose import Choice, Facts, bucket_of
from tests.loadtests.load.places import MODEL, SPLIT, Gateway, served, served_grpc
from tests.serving.certificates import Authority


def report_of(folder: Path, gateway: Gateway, *typed: str) -> tuple[int, Mapping[str, Any], str]:
    """A run: its exit code, and its report as JSON and as HTML."""
    page = folder / "report.html"
    code = main([
        MODEL, *typed, "--gateway", gateway.url, "--url", gateway.url, "--report", str(page),
    ])  # fmt: skip
    return code, json.loads(page.with_suffix(".json").read_text()), page.read_text()


def test_a_stall_shows_in_the_latencies_of_all_that_were_due_in_it(tmp_path: Path) -> None:
    """Nothing is answered for two seconds, and four connections: not four requests show it, but two seconds' worth."""
    with served(Gateway(stalls=(10, 2.0))) as gateway:
        code, report, page = report_of(
            tmp_path, gateway, "--rps", "50", "--for", "2s", "--connections", "4", "--slo", "p50=500ms,errors=0.1%"
        )
    assert code == 1
    assert gateway.stalled_s >= 2
    assert (report["requests"], report["answered"], report["verified"]["wrong"]) == (100, 100, 0)
    assert report["latency_s"]["p90"] > 1.0  # 50 of 100 were due in the first of the two seconds
    assert report["from_sending_s"]["p90"] < report["latency_s"]["p90"]
    assert report["waited_for_a_connection"] >= 50
    assert [(one["name"], one["kept"]) for one in report["objectives"]] == [("p50", False), ("errors", True)]
    assert max(value for value in report["timeline"]["latency_s"]["p50"] if isinstance(value, float)) > 1.0
    assert len(re.findall("<svg", page)) == 4
    assert "Not good" in page
    assert "http" not in re.sub(r"HTTP|https?://www\.w3\.org", "", page)  # the file asks nobody for anything


def test_a_wrong_split_fails_with_the_units_that_were_misplaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway that sends a tenth of the units elsewhere: exactly those units are named, in every kind of request."""
    strays: set[str] = set()

    def chosen(facts: Facts, choice: Choice) -> Choice:
        if bucket_of(b"other", facts.unit) >= 100_000:
            return choice
        strays.add(facts.unit.decode())
        return choice._replace(version=3 - choice.version)

    with served(Gateway(chosen=chosen)) as gateway, served_grpc(gateway) as address:
        mix = "json=50%,binary=25%,grpc=25%"
        code, report, page = report_of(
            tmp_path, gateway, "--rps", "200", "--for", "1s", "--mix", mix, "--grpc", address, "--processes", "2"
        )
    first = "unit-" in str(gateway.seen[0]) and gateway.seen[0]["sluice-unit"]
    named = set(report["verified"]["misplaced_units"])
    assert code == 1
    assert len(strays) >= 5
    assert strays - {first} <= named <= strays  # the trial request is not among the judged
    assert report["verified"]["right"] + report["verified"]["wrong"] == report["answered"] == 200
    assert report["by_kind"] == {"json": 100, "binary": 50, "grpc": 50}
    assert report["synthetic"]
    assert all(headers["sluice-synthetic"] == "1" for headers in gateway.seen)
    told = capsys.readouterr().err
    assert any(unit in told for unit in named)
    assert next(iter(named)) in page


@pytest.mark.slow
def test_a_worker_that_dies_is_reported(tmp_path: Path) -> None:
    """Killed under way: it is told, what it had to send counts as never sent, and the other goes on to its end."""
    with served(Gateway()) as gateway, Control(Place(gateway.url, control_url=gateway.url), MODEL) as control:
        spec = Spec(MODEL, control.place, steady(100, 3), {Kind.JSON: 1.0}, tmp_path, workers=2, connections=8)
        processes = Processes(made_ready(spec, control, verify=True))

        def kill_one(_: Mapping[str, Any]) -> None:
            if records_of(tmp_path, 1).stat().st_size and processes.workers[1].poll() is None:
                processes.workers[1].send_signal(signal.SIGKILL)

        ran = processes.play(kill_one)
    rows = [read([records_of(tmp_path, worker)]) for worker in (0, 1)]
    results = results_of(spec, read([records_of(tmp_path, worker) for worker in (0, 1)]))
    assert [(one.worker, one.how) for one in ran.died] == [(1, "SIGKILL")]
    assert len(rows[0]) == 150
    assert 0 < len(rows[1]) < 150
    assert results.errors == {Error.UNSENT: 150 - len(rows[1])}
    assert results.latencies.quantile(1.0) == float("inf")


@pytest.mark.slow
def test_operators_and_feedback_are_part_of_the_load(tmp_path: Path) -> None:
    """A rollout is started, moved under way and rolled back; answers get feedback; nothing is marked synthetic."""
    with served(Gateway()) as gateway:
        code, report, _ = report_of(
            tmp_path, gateway, "--users", "6", "--for", "3s", "--while-rollout", "2", "--change-every", "1s",
            "--as-traffic", "--feedback", "100%",
        )  # fmt: skip
    assert code == 0
    calls = [(method, path) for method, path, _ in gateway.calls]
    assert calls[0] == ("POST", f"/api/v1/models/{MODEL}/rollouts")
    assert calls[-1] == ("POST", "/api/v1/rollouts/ro_1/rollback")
    assert ("PATCH", "/api/v1/rollouts/ro_1") in calls
    assert report["feedback"]["accepted"] > 0
    assert (report["loop"], report["synthetic"]) == ("closed", False)
    assert not any("sluice-synthetic" in headers for headers in gateway.seen)


@pytest.mark.slow
@pytest.mark.parametrize("trusted", ["certificate", "ca_file"])
def test_a_run_over_tls_shows_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: str) -> None:
    """Whoever is trusted by the authority or as itself gets every request, each with the key; the report has no key."""
    files = Authority(tmp_path).issue()
    file = files.certificate if trusted == "certificate" else files.authority
    with served(Gateway(), files.server().context) as gateway:
        place = {"http_url": gateway.url, "control_url": gateway.url, "key": "sk_hidden", trusted: str(file)}
        monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(place)))
        code, report, page = report_of(tmp_path, gateway, "--rps", "30", "--for", "1s", "--place-from-stdin")
    assert (code, report["answered"]) == (0, 30)
    assert {headers["authorization"] for headers in gateway.seen} == {"Bearer sk_hidden"}
    assert "sk_hidden" not in page + json.dumps(report)


def test_a_run_whose_first_request_is_refused_does_not_begin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that may not mark requests: the sentence says which right it needs, and what to do without."""
    with served(Gateway(forbids_marks=True)) as gateway:
        code = main([MODEL, "--rps", "9", "--gateway", gateway.url, "--url", gateway.url,
                     "--report", str(tmp_path / "r.html")])  # fmt: skip
    assert code == 2
    assert "--as-traffic" in capsys.readouterr().err
    assert len(gateway.seen) == 1
    assert not list(tmp_path.iterdir())


def test_nobody_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback, exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        typed = [MODEL, "--rps", "9", "--gateway", url, "--url", url, "--report", str(tmp_path / "r.html")]
        assert main(typed) == 2
    assert "gave no answer" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["report.json", "missing/report.html", "", "folder"])
def test_a_report_that_could_not_be_written_stops_the_run_before_it_begins(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A place that is a folder or is not there, or that the JSON needs: nothing is asked, and it is said."""
    (tmp_path / "folder.json").mkdir()
    assert main([MODEL, "--rps", "5", "--gateway", "http://192.0.2.1:9", "--report", str(tmp_path / name)]) == 2
    assert "no file that a report can be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed",
    [
        [], ["--rps", "5", "--users", "5"], ["--rps", "x"], ["--rps", "5", "--mix", "json=50%"],
        ["--rps", "5", "--slo", "p99"], ["--rps", "5", "--feedback", "10%"],
        ["--rps", "5", "--while-rollout", "2", "--version", "1"], ["--rps", "5", "--recorded", "/nowhere"],
    ],
)  # fmt: skip
def test_wrong_usage_is_told_before_anything_is_asked(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a sentence."""
    with pytest.raises(SystemExit) as ended:
        main([MODEL, *typed])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_gevent_stays_in_the_generator_s_processes() -> None:
    """Whoever starts a run, and imports all of it but the users, keeps the sockets and threads of Python."""
    assert generator.HOST == "127.0.0.1"
    assert socket.socket.__module__ == "socket"
    assert "locust" not in sys.modules


def test_units_stick_and_splits_are_theirs() -> None:
    """A request's number says its unit, so that whoever judges knows it without having been told."""
    spec = Spec(MODEL, Place("http://h"), steady(1, 1), {Kind.JSON: 1.0}, Path(), units=10)
    again = Spec.decode(spec.encode())
    assert [spec.unit(number) for number in range(50)] == [again.unit(number) for number in range(50)]
    assert len({spec.unit(number) for number in range(500)}) == 10
    assert spec.facts(3).unit == spec.unit(3).encode()
    assert "secret" not in repr(Place("http://h", key="secret"))
    assert Wish().verify
    assert SPLIT.stable == 1
