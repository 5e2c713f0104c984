"""`sluice drift` against the real control API with a real Valkey: computed here, brought there, shown, reported."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drift import baseline as baselines
from drift.keys import DriftKeys
from serving.control.client import ControlClient
from serving.control.drift_client import DriftClient
from serving.control.store import connect
from serving.control.valkey import EmbeddedValkey
from tests.drift.encoder import encoder_server
from tests.serving.drifting import FINDING, STATUS, WINDOW
from tests.serving.rolling_room import RollingRoom, rolling_room
from tests.serving.test_cli import Command, sluice
from tests.valkey import valkey

__all__ = ["sluice", "valkey"]


@pytest.fixture
def room(valkey: EmbeddedValkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RollingRoom]:
    """A control room of this test's own, which SLUICE_URL names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLUICE_CONFIG", raising=False)
    with rolling_room(valkey.url, f"test-{secrets.token_hex(6)}") as there:
        monkeypatch.setenv("SLUICE_URL", there.address)
        yield there


def sidecar_writes(room: RollingRoom) -> str:
    """A status, a window and a finding; the finding's id."""

    async def write() -> str:
        store, keys = connect(room.url, room.namespace), DriftKeys(room.namespace)
        redis: Any = store._redis
        try:
            await redis.hset(keys.status, "digits/2", json.dumps(STATUS.plain()))
            await redis.rpush(keys.history("digits", 2), json.dumps(WINDOW.plain()))
            said: bytes = await redis.xadd(keys.findings, {"f": json.dumps(FINDING.plain())})
            return said.decode()
        finally:
            await store.close()

    return asyncio.run(write())


def training(rows: int) -> None:
    """train.csv with a time, a price and a country; answers.npz with scores."""
    rng = np.random.default_rng(3)
    lines = ["at,price,country"]
    lines += [f"{at},{rng.normal():.4f},{('nl', 'de')[at % 2]}" for at in rng.permutation(rows)]
    Path("train.csv").write_text("\n".join(lines))
    np.savez("answers.npz", scores=rng.random((rows, 2)))


def test_a_baseline_is_computed_here_and_kept_there(sluice: Command, room: RollingRoom) -> None:
    """From files of training rows and answers, with notes on what it cannot know; forgotten when asked."""
    training(2_200)
    files = ("--data", "train.csv", "--predictions", "answers.npz", "--time", "at", "--window-rows", "100")
    done = sluice("drift", "baseline", "digits", "2", *files, "--out", "kept.baseline", "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["rows"], said["learned"], said["size_bytes"]) == (2_200, False, Path("kept.baseline").stat().st_size)
    assert not [one for one in said["notes"] if "no time" in one]
    shown = sluice("drift", "status").out
    assert "No sidecar has looked at it yet." in shown
    without = sluice(
        "drift", "baseline", "digits", "2", "--data", "train.csv", "--ignore", "at", "--window-rows", "100"
    )
    assert "digits version 2 is held against 2,200 rows" in without.out
    assert "note: It has no outputs" in without.out
    assert "note: It is declared in the settings and not registered" in without.out
    assert sluice("drift", "forget", "digits", "2").code == 0
    assert sluice("drift", "forget", "digits", "2").err.startswith("error: digits version 2 has no baseline.")


def test_hours_are_told_apart_by_the_clock_of_a_zone(sluice: Command, room: RollingRoom) -> None:
    """Where hours differ; a zone that nobody knows is refused, and to insist where days are too few or unknown."""
    rng = np.random.default_rng(3)
    begin = datetime(2024, 3, 4, tzinfo=UTC)
    moments = [begin + timedelta(minutes=6 * at) for at in range(6 * 240)]
    lines = [f"{one.isoformat()},{rng.normal() + 3 * (one.hour >= 12):.4f}" for one in moments]
    for name, rows in (("hours.csv", 1_440), ("few.csv", 960)):
        Path(name).write_text("\n".join(("at,price", *lines[:rows])))
    typed = ("drift", "baseline", "digits", "2", "--data", "hours.csv", "--time", "at", "--window-rows", "20")
    told = sluice(*typed, "--time-zone", "Europe/Vienna").out
    assert "note: Windows are compared with the same hours of other days" in told.replace("\n", " ")
    assert "Europe/Vienna" in told
    assert "same hours" not in sluice(*typed, "--no-strata").out
    training(2_200)
    for more, words in (
        ((*typed, "--time-zone", "Mars/Base"), "'Mars/Base' is no time zone"),
        ((*typed[:5], "few.csv", *typed[6:], "--strata"), "To tell hours apart takes 5 days"),
        ((*typed[:5], "train.csv", *typed[6:], "--strata"), "takes the moment of each row"),
    ):
        refused = sluice(*more)
        assert (refused.code, refused.out) == (1, ""), refused
        assert words in refused.err


def test_rows_go_through_an_encoder_that_is_named(sluice: Command, room: RollingRoom) -> None:
    """Asked at the gateway that is named; the baseline says which one it was, and bringing it again changes nothing."""
    rows = np.random.default_rng(1).normal(size=(2_200, 4, 4)).astype(np.float32)
    np.savez("train.npz", image=rows)
    files = ("--data", "train.npz", "--window-rows", "100", "--out", "kept.baseline")
    with encoder_server() as there:
        typed = ("drift", "baseline", "digits", "2", *files, "--encoder", "embedder:3", "--gateway", there.url)
        done = sluice(*typed, "--json")
        assert done.code == 0, done.err
        assert sum(there.asked) == 2_200
        assert there.headers["sluice-synthetic"] == "1"
        blob = Path("kept.baseline").read_bytes()
        [encoder] = baselines.read(blob).encoders
        assert (encoder.words, encoder.width) == ("image by embedder version 3 (embedding)", 3)
        there.status = 404
        away = sluice(*typed[:-3], "other:1", *typed[-2:])
        assert (away.code, away.out) == (1, "")
        assert "other does not answer (404)" in away.err
    with ControlClient(room.address) as control:
        again = DriftClient(control).keep("digits", 2, blob, "")
    assert (again["again"], again["digest"]) == (True, json.loads(done.out)["digest"])
    for wrong, words in (
        (("--encoder", "embedder:x"), "it is NAME or NAME:VERSION"),
        (("--encode", "image"), "name it as --encoder"),
        (("--encoder", "embedder", "--encoder-server", "nowhere"), "drift.encoders names no server nowhere"),
        (("--encoder", "embedder", "--encode", "pixels"), "There is no column pixels to encode"),
    ):
        refused = sluice("drift", "baseline", "digits", "2", "--data", "train.npz", *wrong)
        assert refused.code != 0
        assert words in refused.err, refused.err


def test_what_no_baseline_can_be_made_of_is_refused_with_a_reason(sluice: Command, room: RollingRoom) -> None:
    """Too few windows, no such file or column, a version that nobody knows: a sentence, exit code 1, nothing kept."""
    training(300)
    for typed, words in (
        (("digits", "2", "--data", "train.csv"), "windows of 500 take"),
        (("digits", "2", "--data", "none.parquet"), "none.parquet cannot be read"),
        (("digits", "2", "--data", "train.csv", "--time", "when"), "when"),
        (("digits", "2", "--data", "train.csv", "--wide", "nothing", "--window-rows", "10"), "nothing"),
        (("digits", "9", "--data", "train.csv", "--ignore", "at", "--window-rows", "10"), "digits has no version 9"),
    ):
        refused = sluice("drift", "baseline", *typed)
        assert (refused.code, refused.out) == (1, ""), refused
        assert words in refused.err
        assert "Traceback" not in refused.err
    assert json.loads(sluice("drift", "status", "--json").out) == {"versions": [], "baselines": []}


def test_a_baseline_that_is_too_large_is_refused_before_it_is_sent(
    sluice: Command, room: RollingRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what to do about it, which a refusal of the request as such would not say."""
    training(2_000)
    monkeypatch.setattr("registry.baselines.MOST_BYTES", 1_000)
    refused = sluice("drift", "baseline", "digits", "2", "--data", "train.csv", "--time", "at", "--window-rows", "50")
    assert (refused.code, refused.out) == (1, ""), refused
    assert "at most 1,000 are" in refused.err
    assert "wide" in refused.err


def test_findings_are_told_as_they_come(room: RollingRoom) -> None:
    """Only those that come after somebody began to watch; of one model where one is named."""
    sidecar_writes(room)

    def pause(_: float) -> None:
        sidecar_writes(room)

    with ControlClient(room.address) as control:
        coming = DriftClient(control).coming("digits", pause)
        first, second = next(coming), next(coming)
        assert first["id"] < second["id"]
        assert {first["model"], second["model"]} == {"digits"}
        assert DriftClient(control).findings(None, 10)["findings"][:2] == [second, first]


def test_what_was_found_is_shown_and_reported(sluice: Command, room: RollingRoom) -> None:
    """At a glance, whole, and as a page."""
    finding = sidecar_writes(room)
    assert "since 2023-11-14" in sluice("drift", "status").out
    assert finding in sluice("drift", "findings").out
    assert "Nothing was found." in sluice("drift", "findings", "other").out
    for typed in (("digits", "2"), ("--finding", finding)):
        told = sluice("drift", "explain", *typed).out
        for words in ("price", "below 3", "country is nl", "episode ep-1"):
            assert words in told
    assert "compared with daily 9-12 (100%), UTC" in sluice("drift", "explain", "digits", "2").out
    assert sluice("drift", "explain", "digits", "2", "--html", "report.html").out == "written to report.html\n"
    assert "<svg" in Path("report.html").read_text()
    assert json.loads(sluice("drift", "explain", "--finding", finding, "--json").out)["id"] == finding
    assert sluice("drift", "explain", "digits").code == 2
    assert "cannot be written" in sluice("drift", "explain", "digits", "2", "--html", "no/such/folder.html").err
