"""The sink takes what comes and returns at once; what does not fit is counted, and nobody waits for a disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.agreement import Comparison
from serving.captured import Captured
from serving.keeping.sinks import Disagreement, Sink
from serving.payloads.counts import read_counts
from serving.payloads.files import finished_in
from serving.payloads.reading import rows_in
from serving.payloads.rows import Row, rows_of
from serving.payloads.sink import PayloadSink, sink_of
from serving.settings import load_settings
from tests.serving.payloads.made import answered, captured, rules


def kept_in(folder: Path) -> dict[int, str]:
    """Why each request is kept, by its nonce."""
    return {row.about["nonce"]: row.about["kept"] for row in rows_in(one.path for one in finished_in(folder))}


async def test_a_sink_keeps_what_the_rules_ask_for(tmp_path: Path) -> None:
    """Errors, disagreements with what the comparison redacts, and none of the rest; the counts are left beside them."""
    sink: Sink = PayloadSink(rules(tmp_path, share_ppm=0))
    sink.take(captured(1), None, None)
    sink.take(captured(2, first=answered(outcome="server_error", code=500)), None, None)
    redacting = Comparison(redact=("amount",))
    sink.take(captured(3, copies=(answered(2),)), redacting, Disagreement(2, {"score": "values"}))
    await sink.close()
    assert kept_in(tmp_path) == {2: "error", 3: "disagreement"}
    rows = list(rows_in(one.path for one in finished_in(tmp_path)))
    assert [row.hidden for row in rows if row.about["nonce"] == 3] == [{"amount"}] * 2
    assert sink.dropped() == {}
    assert read_counts(tmp_path).rows == 3


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that lets nothing through until the event is set."""
    through = threading.Event()

    def waits(*given: object) -> Iterator[Row]:
        through.wait(60)
        return rows_of(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("serving.payloads.sink.rows_of", waits)
    yield through
    through.set()


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path, stuck: threading.Event) -> None:
    """The queue fills, the rest is counted as dropped; what was taken is written once the disk goes on."""
    sink = PayloadSink(rules(tmp_path), queue_bytes=20_000)
    for nonce in range(200):
        sink.take(captured(nonce), None, None)
    dropped = sink.dropped()["queue"]
    assert 150 < dropped < 200
    assert not sink.finish(0.05)
    stuck.set()
    assert sink.finish(60)
    assert len(kept_in(tmp_path)) == 200 - dropped
    sink.take(captured(999), None, None)
    assert sink.dropped()["queue"] == dropped + 1


def test_files_are_finished_while_nothing_comes(tmp_path: Path) -> None:
    """By their age: what was kept can be read without an end of the process."""
    sink = PayloadSink(rules(tmp_path, file_s=0.05))
    sink.take(captured(1), None, None)
    deadline_s = time.monotonic() + 60
    while not finished_in(tmp_path):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert kept_in(tmp_path) == {1: "sample"}
    assert sink.finish(60)


def test_one_request_that_breaks_the_log_does_not_end_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and the next is kept."""

    def breaks(one: Captured, *more: object) -> Iterator[Row]:
        if one.nonce == 1:
            raise ZeroDivisionError
        return rows_of(one, *more)  # type: ignore[arg-type]

    monkeypatch.setattr("serving.payloads.sink.rows_of", breaks)
    sink = PayloadSink(rules(tmp_path))
    sink.take(captured(1), None, None)
    sink.take(captured(2), None, None)
    assert sink.finish(60)
    assert kept_in(tmp_path) == {2: "sample"}
    assert sink.dropped() == {"broken": 1}


def test_a_keeper_goes_on_without_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    """None is asked for, or its folder is a file."""
    assert sink_of("") is None
    (tmp_path / "taken").write_text("")
    assert sink_of(rules(tmp_path / "taken").to_json()) is None
    made = sink_of(rules(tmp_path / "log").to_json())
    assert made is not None
    assert made.finish(60)


def test_the_settings_say_what_a_log_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing unless they are asked to; then beside the settings file, or in the state folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    plain = load_settings()
    assert plain.payloads.rules(plain.state_dir) is None
    (tmp_path / "sluice.yaml").write_text(
        "payloads: {enabled: true, share: 2.5%, folder: kept, keep_days: 2, redact: ['card', 'fraud:*']}"
    )
    settings = load_settings()
    made = settings.payloads.rules(settings.state_dir)
    assert made is not None
    assert (made.folder, made.share_ppm, made.keep_s, made.redact) == (
        tmp_path / "kept", 25_000, 172_800.0, ("card", "fraud:*"),
    )  # fmt: skip
    (tmp_path / "sluice.yaml").write_text("payloads: {enabled: true}")
    settings = load_settings()
    made = settings.payloads.rules(settings.state_dir)
    assert made is not None
    assert made.folder == tmp_path / ".sluice" / "payloads"
