"""What wrk prints, read: samples recorded from wrk 4.1.0."""

import stat
from pathlib import Path

import pytest

from loadtests.compare import wrk
from loadtests.compare.errors import NotStarted, Void
from loadtests.compare.payloads import json_floats

# wrk pads a unit of one letter with a blank: the lines in seconds end in one.
GOOD = """\
Running 3s test @ http://127.0.0.1:21114/v2/models/m/infer
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.42ms    0.95ms   8.12ms   71.60%
    Req/Sec    13.23k     1.93k   16.65k    70.00%
  Latency Distribution
     50%  843.00us
     75%    2.96ms
     90%    3.52ms
     99%    1.30s\x20
  39512 requests in 3.00s, 7.84MB read
Requests/sec:  13167.72
Transfer/sec:      2.61MB
"""
SOCKETS = "  Socket errors: connect 0, read 12, write 0, timeout 3\n"
STATUSES = "  Non-2xx or 3xx responses: 17\n"


def with_faults(faults: str) -> str:
    """The good sample, with these lines where wrk prints them."""
    return GOOD.replace("Requests/sec:", f"{faults}Requests/sec:")


def test_rates_and_latencies_are_read_in_their_units() -> None:
    """Microseconds and seconds become milliseconds; the padding after a short unit does not hide it."""
    assert wrk.read(GOOD) == wrk.Report(requests=39_512, rps=13_167.72, p50_ms=0.843, p99_ms=1_300.0)


@pytest.mark.parametrize("faults", [SOCKETS, STATUSES, SOCKETS + STATUSES])
def test_every_fault_is_reported_in_the_words_of_wrk(faults: str) -> None:
    """An answer that is an error, and a connection that broke, are both faults."""
    assert wrk.read(with_faults(faults)).faults == tuple(line.strip() for line in faults.splitlines())


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:1 Connection refused\n", GOOD.replace("%", "")])
def test_what_wrk_does_not_print_is_refused(text: str) -> None:
    """A figure is never made up from an output that is not understood."""
    with pytest.raises(Void, match="wrk's output"):
        wrk.read(text)


def test_a_missing_wrk_is_one_sentence_that_names_the_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whoever lacks it reads what to do."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotStarted, match=r"^There is no `wrk` on this machine: scripts/install-system-packages"):
        wrk.find(tmp_path)
    assert (Path(__file__).parents[2] / "scripts" / "install-system-packages").stat().st_mode & 0o111


def test_what_a_request_shows_is_in_no_process_s_arguments(tmp_path: Path) -> None:
    """Arguments are everybody's to read: headers go by a file that is its owner's alone, two at once by two."""
    program, said = tmp_path / "wrk", tmp_path / "said"
    program.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {said}\ncat <<'END'\n{GOOD}END\n")
    program.chmod(0o700)
    payload = json_floats("json", 8).shown_with({"Authorization": "Bearer secret"})
    for port in (1, 2):
        wrk.Wrk(str(program), tmp_path).drive(f"http://127.0.0.1:{port}/", payload, 1, 1)
        body, headers, units = said.read_text().splitlines()[-3:]
        assert "secret" not in said.read_text()
        assert f"json-{port}." in body
        assert Path(headers).read_text() == "Content-Type: application/json\nAuthorization: Bearer secret\n"
        assert stat.S_IMODE(Path(headers).stat().st_mode) == 0o600
        assert units == "0"
