"""The keeper as its supervisor runs it: a process beside a real store, which is told everything before it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from drift.keys import DriftKeys
from drift.samples import Batch, Totals, batch_from
from drift.sampling import SampleRule, SampleRules, key_of
from registry.keys import Keys as RegistryKeys
from router.agreement import Comparison, comparison_as_dict
from serving.captured import Kind, ModelTerms, Terms, framed
from serving.control.valkey import EmbeddedValkey
from serving.diffs import Diff, diff_from, merged
from serving.keeping.config import KeeperConfig
from serving.keeping.store import Store
from serving.noted import Noted, Traced
from serving.pair_totals import PairTotals, pair_message_from
from serving.store_keys import Keys
from tests.serving.keeping.pairs import labels

_WITHIN_S = 60.0


def handed_over(config: KeeperConfig, first: int) -> None:
    """Runs a keeper, hands ten pairs to it as a worker would, and ends it."""
    with subprocess.Popen(
        [sys.executable, "-m", "serving.keeping"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as keeper:
        assert keeper.stdin is not None
        keeper.stdin.write(config.to_json().encode() + b"\n")
        keeper.stdin.flush()
        deadline_s = time.monotonic() + _WITHIN_S
        while not Path(config.socket).is_socket() and time.monotonic() < deadline_s:
            time.sleep(0.02)
        rules = Comparison(segments=("x-country",))
        with socket.socket(socket.AF_UNIX) as worker:
            worker.connect(config.socket)
            worker.sendall(framed(Kind.TERMS, Terms({"digits": ModelTerms(7, comparison_as_dict(rules))}).encode()))
            for nonce in range(first, first + 10):
                captured = labels("cat", "dog" if nonce % 2 else "cat", nonce=nonce, segment={"x-country": "nl"})
                worker.sendall(framed(Kind.CAPTURED, captured.encode()))
        keeper.send_signal(signal.SIGTERM)
        try:
            _, said = keeper.communicate(timeout=_WITHIN_S)
        finally:
            keeper.kill()
        assert keeper.returncode == 0, said.decode()
        assert b"password" not in said


def test_two_lives_of_a_keeper_are_told_and_left_whole(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """SIGTERM comes right after the last frame: all of it is in the store, and the second goes on from the first."""
    keys = Keys("keeping")
    config = KeeperConfig("gw", str(tmp_path / "keeper"), valkey.url, keys.namespace)
    handed_over(config, 0)
    handed_over(config, 10)
    store = redis.Redis.from_url(valkey.url)
    told: Any = store.xrange(keys.pairs)
    said = [pair_message_from(fields[b"m"]) for _, fields in told]
    by_life = {one.keeper: one.series[0] for one in said if one.series}
    assert [(one.compared, one.disagreed) for one in by_life.values()] == [(10, 5), (10, 5)]
    assert {one.split()[0] for one in by_life} == {"gw"}
    found: Any = store.hgetall(keys.diff("digits", 2, "ro_1"))
    diff = merged([diff_from(raw) for raw in found.values()])
    assert (len(found), diff.totals.compared, len(diff.worst)) == (1, 20, 10)
    assert diff.segments["x-country"]["nl"].disagreed == 10
    left_ms: Any = store.pttl(keys.diff("digits", 2, "ro_1"))
    assert 0 < left_ms <= 7 * 86_400_000
    store.close()


def test_samples_are_in_the_stream_when_a_keeper_has_ended(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Every request's two answers, numbered, in a stream that is bounded, of a model that is known to have one."""
    keys = DriftKeys("sampling")
    rules = SampleRules(SampleRule(rows_per_s=1e6, always=True), redact=("pixels",)).to_json()
    config = KeeperConfig("gw", str(tmp_path / "keeper"), valkey.url, keys.namespace, samples=rules)
    handed_over(config, 0)
    store = redis.Redis.from_url(valkey.url)
    entries: Any = store.xrange(keys.samples("digits"))
    batches = [batch_from(fields[b"b"]) for _, fields in entries]
    assert sorted(one.key for batch in batches for one in batch.requests) == sorted(key_of(at) for at in range(10))
    assert [batch.number for batch in batches] == list(range(1, len(batches) + 1))
    assert (batches[-1].totals.written, batches[-1].keeper.split()[0]) == (20, "gw")
    assert {one.version for batch in batches for request in batch.requests for one in request.answers} == {1, 2}
    assert batches[-1].hidden == ("pixels",)
    assert store.smembers(keys.sampled) == {b"digits"}
    assert 0 < store.pttl(keys.samples("digits")) <= 7 * 86_400_000
    store.close()


async def test_a_stream_that_nobody_reads_stays_as_long_as_it_may_be(valkey: EmbeddedValkey) -> None:
    """To the entry; what fell off is missing in the numbers. And the store knows who has a baseline."""
    keys = DriftKeys("bounded")
    there = Store(KeeperConfig("gw", "none", valkey.url, keys.namespace))
    assert await there.watched() == frozenset()
    for number in range(1, 31):
        await there.sample("m", Batch("m", "gw 1", number, Totals()).encode(), 7)
    store = redis.Redis.from_url(valkey.url)
    registry = RegistryKeys(keys.namespace)
    store.hset(registry.baselines, registry.baseline_field("digits", 3), "{}")
    assert await there.watched() == {"digits"}
    await there.close()
    entries: Any = store.xrange(keys.samples("m"))
    assert [batch_from(fields[b"b"]).number for _, fields in entries] == list(range(24, 31))
    store.close()


async def test_findings_that_make_room_are_named(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where there are too many, the longest silent first; one that is alive leaves all of its own again."""
    monkeypatch.setattr("serving.keeping.store.MOST_KEEPERS", 3)
    totals = PairTotals("digits", "ro_1 shadow", 1, 2, 7, compared=5)
    gateways = {name: Store(KeeperConfig(name, "none", valkey.url, "crowded")) for name in ("a", "b", "c", "d", "new")}
    for at_s, name in enumerate(("c", "a", "d")):
        await gateways[name].leave(Diff(totals, 0.0, float(at_s)))
    assert await gateways["a"].left(totals) == Diff(totals, 0.0, 1.0)
    assert not caplog.messages
    await gateways["b"].leave(Diff(totals, 0.0, 9.0))
    assert await gateways["new"].left(totals) is None
    [said] = caplog.messages
    assert said.startswith("more than 3 gateways have findings about version 2 of digits: those of 2")
    assert said.endswith("more: c, a")
    await gateways["c"].leave(Diff(totals, 0.0, 10.0))
    with redis.Redis.from_url(valkey.url) as store:
        found: Any = store.hkeys(Keys("crowded").diff("digits", 2, "ro_1 shadow"))
    assert sorted(found) == [b"b", b"c", b"d"]
    for one in gateways.values():
        await one.close()


async def test_findings_under_a_name_that_is_no_text_make_room_too(
    valkey: EmbeddedValkey, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are not named at each start from then on."""
    monkeypatch.setattr("serving.keeping.store.MOST_KEEPERS", 1)
    totals = PairTotals("digits", "ro_1 shadow", 1, 2, 7, compared=5)
    there = Store(KeeperConfig("new", "none", valkey.url, "garbled"))
    key = Keys("garbled").diff("digits", 2, "ro_1 shadow")
    with redis.Redis.from_url(valkey.url) as store:
        store.hset(key, b"g\xff", Diff(totals, 0.0, 1.0).encode())
        assert await there.left(totals) is None
        [said] = caplog.messages
        assert said.endswith("more: g\N{REPLACEMENT CHARACTER}")
        assert not store.exists(key)
    await there.left(totals)
    assert caplog.messages == [said]
    await there.close()


def test_what_a_keeper_cannot_run_with_is_said_in_a_sentence(tmp_path: Path) -> None:
    """And neither a traceback nor the address of the store, which may hold a password."""
    line = KeeperConfig("gw", str(tmp_path / "missing" / "keeper"), "redis://:password@127.0.0.1:1").to_json()
    wrong = KeeperConfig("gw", str(tmp_path / "keeper"), "redis://:password@127.0.0.1:1", samples="{").to_json()
    for given in (line, "{", '{"more": 1}', wrong):
        ran = subprocess.run(
            [sys.executable, "-m", "serving.keeping"], input=given.encode(), capture_output=True, timeout=_WITHIN_S,
            check=False,
        )  # fmt: skip
        assert ran.returncode == 1
        assert b"the keeper cannot run" in ran.stderr
        assert b"Traceback" not in ran.stderr
        assert b"password" not in ran.stderr
    assert "password" not in repr(KeeperConfig.from_json(line))


def test_without_the_exporter_all_else_is_kept(tmp_path: Path) -> None:
    """Spans are missing, and the log says so in a line; the access log is written."""
    config = KeeperConfig("gw", str(tmp_path / "keeper"), traces="http://127.0.0.1:1", logs=str(tmp_path / "logs"))
    block = (
        "import runpy, sys; sys.modules['opentelemetry'] = None; "
        "runpy.run_module('serving.keeping', run_name='__main__')"
    )
    with subprocess.Popen([sys.executable, "-c", block], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as keeper:
        try:
            assert keeper.stdin is not None
            keeper.stdin.write(config.to_json().encode() + b"\n")
            keeper.stdin.flush()
            deadline_s = time.monotonic() + _WITHIN_S
            while not Path(config.socket).is_socket() and keeper.poll() is None and time.monotonic() < deadline_s:
                time.sleep(0.02)
            with socket.socket(socket.AF_UNIX) as worker:
                worker.connect(config.socket)
                noted = Noted(1.0, 0.0, "http", "infer", "digits", access=True, traced=Traced(1, 2))
                worker.sendall(framed(Kind.NOTED, noted.encode()))
            keeper.send_signal(signal.SIGTERM)
            _, said = keeper.communicate(timeout=_WITHIN_S)
        finally:
            keeper.kill()
    assert keeper.returncode == 0, said.decode()
    assert b"no spans are sent" in said
    assert b"Traceback" not in said
    assert "digits" in (tmp_path / "logs" / "access.log").read_text()
