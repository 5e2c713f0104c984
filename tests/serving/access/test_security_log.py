"""Who was refused is written down: a line each, not more than so many, whoever else writes, and never a secret."""

from __future__ import annotations

import json
import logging
import multiprocessing
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.access.keys import create
from serving.access.security_log import MOST_KINDS, SecurityLog

NOW_S = 1_800_000_000.0


def lines(path: Path) -> list[dict[str, Any]]:
    """What was written."""
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def knocks(log: SecurityLog, times: int, at_s: float = NOW_S, kind: str = "wrong") -> None:
    """So many attempts at one moment."""
    for _ in range(times):
        log.refused("control", "10.0.0.9", kind, "GET /api/v1/keys", "0123456789ab", at_s)


def test_an_attempt_is_one_line_that_says_all(tmp_path: Path) -> None:
    """When, where, from whom, why, what, by which key; the file is for its owner alone."""
    path = tmp_path / "logs" / "security.log"
    knocks(SecurityLog(str(path)), 1)
    assert lines(path) == [
        {
            "at": "2027-01-15T08:00:00.000+00:00",
            "door": "control",
            "address": "10.0.0.9",
            "kind": "wrong",
            "operation": "GET /api/v1/keys",
            "key": "0123456789ab",
            "suppressed": 0,
        }
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_flood_is_counted_and_the_next_line_says_how_much_of_it_is_missing(tmp_path: Path) -> None:
    """Ten lines of a thousand attempts; a second later ten more, of which the first stands for the 990."""
    path = tmp_path / "security.log"
    log = SecurityLog(str(path))
    knocks(log, 1_000)
    assert len(lines(path)) == 10
    knocks(log, 1_000, NOW_S + 1)
    assert [one["suppressed"] for one in lines(path)] == [0] * 10 + [990] + [0] * 9


def test_a_flood_of_one_kind_hides_no_other(tmp_path: Path) -> None:
    """Each kind has lines of its own."""
    path = tmp_path / "security.log"
    log = SecurityLog(str(path))
    knocks(log, 1_000, kind="missing")
    knocks(log, 1, kind="revoked")
    assert [one["kind"] for one in lines(path)].count("revoked") == 1


def test_a_clock_that_goes_back_neither_stops_the_log_nor_opens_it(tmp_path: Path) -> None:
    """After a step back lines come again at their rate."""
    path = tmp_path / "security.log"
    log = SecurityLog(str(path))
    knocks(log, 20)
    knocks(log, 20, NOW_S - 3_600)
    assert len(lines(path)) == 10
    knocks(log, 20, NOW_S - 3_599)
    assert len(lines(path)) == 20


def test_kinds_that_are_made_up_do_not_make_it_grow(tmp_path: Path) -> None:
    """Beyond so many kinds they are counted together."""
    path = tmp_path / "security.log"
    log = SecurityLog(str(path), per_s=1)
    for number in range(MOST_KINDS * 3):
        knocks(log, 1, kind=f"kind {number}")
    assert len(lines(path)) == MOST_KINDS + 1


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.floats(0.5, 20))
def test_no_attempt_is_lost_and_no_second_has_more_lines_than_it_may(gaps: list[float], per_s: float) -> None:
    """Lines and what they say was left out add up; in any window of a second there are twice the rate at most."""
    written: list[dict[str, Any]] = []
    log = SecurityLog("x", per_s=per_s)
    log._write = lambda line: written.append(json.loads(line))  # type: ignore[method-assign]
    now_s, times = NOW_S, []
    for gap in gaps:
        now_s += gap
        before = len(written)
        knocks(log, 1, now_s)
        times += [now_s] * (len(written) - before)
    left = log._buckets["wrong"].suppressed
    assert len(written) + sum(one["suppressed"] for one in written) + left == len(gaps)
    for time_s in times:
        assert sum(time_s <= other < time_s + 1 for other in times) <= max(1, per_s) + per_s + 1


def test_what_was_sent_stays_one_line_and_is_ascii(tmp_path: Path) -> None:
    """Line ends, escape sequences and other control characters come out escaped; nothing is longer than it needs."""
    path = tmp_path / "security.log"
    evil = 'GET /\r\n{"at": "forged"}\x1b[2J\x00\u2028\ud800' + "x" * 5_000
    SecurityLog(str(path)).refused(evil, evil, evil, evil, evil, NOW_S)
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in raw.rstrip(b"\n"))
    assert len(raw) < 5_000
    assert lines(path)[0]["operation"].startswith("GET /\r\n")


def test_a_key_or_a_token_that_somebody_puts_into_a_path_is_not_written(tmp_path: Path) -> None:
    """Of a key its id stays, of a token nothing."""
    path = tmp_path / "security.log"
    key, token = create(), "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
    SecurityLog(str(path)).refused("control", "::1", "wrong", f"GET /keys/{key.text}/{token}", now_s=NOW_S)
    text = path.read_text()
    assert key.secret not in text
    assert "c2lnbmF0dXJl" not in text
    assert key.id in text


def test_a_rotated_file_is_left_alone_and_a_new_one_begun(tmp_path: Path) -> None:
    """Moved away or deleted: the next line opens a file of the old name, without being told."""
    path, old = tmp_path / "security.log", tmp_path / "security.log.1"
    log = SecurityLog(str(path))
    knocks(log, 1)
    path.rename(old)
    knocks(log, 2)
    assert (len(lines(old)), len(lines(path))) == (1, 2)
    path.unlink()
    knocks(log, 1)
    assert len(lines(path)) == 1


def _many(path: str, kind: str, count: int) -> None:
    log = SecurityLog(path, per_s=1e9)
    for number in range(count):
        log.refused("control", "::1", kind, f"GET /{'x' * 150}/{number}", now_s=NOW_S)


def test_two_processes_write_into_one_file_without_breaking_a_line(tmp_path: Path) -> None:
    """Each line is whole, and each is there."""
    path = tmp_path / "security.log"
    start = multiprocessing.get_context("spawn").Process
    both = [start(target=_many, args=(str(path), kind, 2_000)) for kind in ("one", "two")]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    kinds = [one["kind"] for one in lines(path)]
    assert (kinds.count("one"), kinds.count("two")) == (2_000, 2_000)


def test_without_a_file_lines_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    """For a gateway that runs alone, and for tests."""
    caplog.set_level(logging.WARNING)
    knocks(SecurityLog(""), 12)
    assert len(caplog.records) == 10
    assert json.loads(caplog.messages[0].removeprefix("refused: "))["kind"] == "wrong"


def _folder(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize("make", [_folder, _link])
def test_a_file_that_cannot_be_written_refuses_nobody_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], None]
) -> None:
    """It is said once, lines go to the ordinary log meanwhile, and a link is not followed."""
    path = tmp_path / "security.log"
    make(path)
    caplog.set_level(logging.WARNING)
    knocks(SecurityLog(str(path)), 3)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "WARNING", "WARNING"]
    assert not (tmp_path / "elsewhere").exists()


def test_a_rate_of_nothing_is_refused() -> None:
    """A log that may never write is a mistake."""
    with pytest.raises(ValueError, match="more than"):
        SecurityLog("", per_s=0)
