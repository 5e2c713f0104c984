"""Sidecars share models, give them back when they end, and say to people and Prometheus how it stands."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.exposition import generate_latest
from pydantic import SecretStr

from drift import __main__ as process
from drift.errors import Unavailable
from drift.metrics import registry_of
from drift.model_watch import ModelWatch, Ticked
from drift.settings import Installation as Told
from drift.settings import SidecarSettings
from drift.sidecar import Sidecar
from drift.store import Entry, Store, VersionStep
from registry.baselines import BaselineRecord
from serving.control.valkey import EmbeddedValkey
from tests.drift.live import MODEL, Installation, moved, request, settings_of

_LIMIT_S = 60.0


@pytest.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Installation]:
    """An installation whose version 1 has the small baseline."""
    found = Installation(valkey.url, settings=settings_of(sidecar=SidecarSettings(lease_s=1.0)))
    await found.bring()
    yield found
    await found.store.close()
    found.client.close()


def _sidecar(here: Installation) -> Sidecar:
    begin_s = time.monotonic()
    return Sidecar(here.settings, here.store, here.kept, lambda: 2_000.0 + time.monotonic() - begin_s)


async def _until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while not done():  # noqa: ASYNC110 - what is waited for is on a server
            await asyncio.sleep(0.01)


async def test_one_watches_and_tells_prometheus(here: Installation) -> None:
    """Rows, windows, each layer's value and findings, by model and version."""
    for at in range(40):
        here.keeper.write(moved(at, 1_000.0 + at) if at > 5 else request(at, 1_000.0 + at))
    sidecar, stop = _sidecar(here), asyncio.Event()
    running = asyncio.create_task(sidecar.run(stop))
    registry = registry_of(sidecar.metrics)
    await _until(lambda: here.waiting == 0 and "sluice_drift_findings_total{" in generate_latest(registry).decode())
    text = generate_latest(registry).decode()
    stop.set()
    await running
    assert 'sluice_drift_rows_total{model="demo",version="1"} 2000.0' in text
    assert 'sluice_drift_drifting{model="demo",version="1"} 1.0' in text
    assert 'sluice_drift_value{layer="univariate",model="demo",version="1"}' in text
    assert 'sluice_drift_findings_total{layer="univariate",model="demo",version="1"} 1.0' in text
    assert 'sluice_drift_samples_lost_total{model="demo"} 0.0' in text
    assert not here.client.exists(here.keys.lease(MODEL), here.keys.sidecars)


async def test_two_share_the_models_and_one_takes_over_from_the_other(here: Installation) -> None:
    """Of two models each has one; when one sidecar ends, the other has both."""
    here.keeper.write(request(0, 1_000.0))
    here.client.sadd(here.keys.sampled, "other")
    both = [_sidecar(here), _sidecar(here)]
    stops = [asyncio.Event(), asyncio.Event()]
    running = [asyncio.create_task(one.run(stop)) for one, stop in zip(both, stops, strict=True)]
    await _until(lambda: [len(one.models) for one in both] == [1, 1])
    assert both[0].models | both[1].models == {MODEL, "other"}
    stops[0].set()
    await running[0]
    await _until(lambda: len(both[1].models) == 2)
    stops[1].set()
    await running[1]


def _is_through(here: Installation) -> bool:
    return here.waiting == 0 and here.status().rows == 1_500


class _Unsure(Store):
    """Of every third step nobody learns what became of it, though it was done; of the next one, that it was not."""

    steps = 0

    async def step(
        self,
        model: str,
        token: str,
        versions: Mapping[int, VersionStep],
        keepers: Mapping[str, bytes | None],
        read: Sequence[str],
    ) -> bool:
        """As ever, or away before or after it."""
        self.steps += 1
        if self.steps % 3 == 2:
            raise Unavailable("The store is away.")
        done = await super().step(model, token, versions, keepers, read)
        if self.steps % 3 == 1:
            raise Unavailable("The store is away.")
        return done


async def test_a_store_of_which_nobody_knows_what_it_did_changes_nothing(here: Installation) -> None:
    """Steps that were done and not answered, or not done: state and findings are those of an undisturbed run."""
    undisturbed = Installation(here.url, settings=here.settings)
    await undisturbed.bring()
    for one in (here, undisturbed):
        for at in range(30):
            one.keeper.write(moved(at, 1_000.0 + at) if at > 5 else request(at, 1_000.0 + at))
    unsure = _Unsure(here.url, here.keys)
    begin_s = time.monotonic()
    for one, store in ((here, unsure), (undisturbed, undisturbed.store)):
        sidecar = Sidecar(one.settings, store, one.kept, lambda: 900.0 + time.monotonic() - begin_s)
        stop = asyncio.Event()
        running = asyncio.create_task(sidecar.run(stop))
        await _until(partial(_is_through, one))
        stop.set()
        await running
        await store.close()
    assert unsure.steps > 2
    assert here.state() == undisturbed.state()
    assert here.history() == undisturbed.history()
    assert [one.plain() for one in here.findings()] == [one.plain() for one in undisturbed.findings()] != []


class _Away(Store):
    """Samples cannot be read once a sidecar has looked at four models, from the first on; it is told to end then."""

    def __init__(self, here: Installation, stop: asyncio.Event) -> None:
        super().__init__(here.url, here.keys)
        self.stop, self.holds, self.failures = stop, set[str](), 0

    async def sampled(self, model: str, token: str, after: str, count: int) -> Sequence[Entry] | None:
        """Nothing at first."""
        is_early = len(self.holds) < 4 or (model != "a" and not self.failures)
        self.holds.add(model)
        if is_early:
            return []
        self.failures += 1
        self.stop.set()
        raise Unavailable("The store is away.")


async def test_a_store_that_is_away_is_asked_once_and_not_for_each_model(here: Installation) -> None:
    """Each question may take seconds: who is told to end does not ask for all the others first."""
    for name in "abcd":
        here.client.sadd(here.keys.sampled, name)
    stop = asyncio.Event()
    away = _Away(here, stop)
    async with asyncio.timeout(_LIMIT_S):
        await Sidecar(here.settings, away, here.kept).run(stop)
    assert away.failures == 1
    await away.close()


async def test_a_defect_in_one_model_is_no_end_of_others(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, the model is left alone until its lease has run out, and the others are watched."""
    here.keeper.write(request(0, 1_000.0))
    here.client.xadd(here.keys.samples("broken"), {"b": b""})
    here.client.sadd(here.keys.sampled, "broken")
    tick = ModelWatch.tick

    async def fails(watch: ModelWatch, records: Mapping[int, BaselineRecord], now_s: float) -> Ticked:
        if watch.model == "broken":
            raise RuntimeError("a defect")
        return await tick(watch, records, now_s)

    monkeypatch.setattr(ModelWatch, "tick", fails)
    sidecar, stop = _sidecar(here), asyncio.Event()
    running = asyncio.create_task(sidecar.run(stop))
    await _until(lambda: here.waiting == 0)
    stop.set()
    await running
    assert here.status().rows == 50


async def test_a_model_that_is_not_to_be_watched_is_left_alone(here: Installation) -> None:
    """By the settings; its samples stay, and fall off in time."""
    here.settings = settings_of(models=[{"name": MODEL, "enabled": False}])
    here.keeper.write(request(0, 1_000.0))
    sidecar, stop = _sidecar(here), asyncio.Event()
    running = asyncio.create_task(sidecar.run(stop))
    await _until(lambda: here.client.exists(here.keys.sidecars))
    stop.set()
    await running
    assert here.waiting == 1
    assert not here.client.exists(here.keys.lease(MODEL))


def _started(file: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen([sys.executable, "-m", "drift", str(file)], stdout=out, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("said", ["", "{}", '{"redis_url": "redis://h", "drift": {"floor": 7}}', '{"redis_url": 1}'])
def test_a_file_that_is_none_is_a_sentence(tmp_path: Path, said: str) -> None:
    """And the exit status is not 0; what the file says is not repeated."""
    file = tmp_path / "drift.json"
    file.write_text(said)
    with pytest.raises(SystemExit, match=r"the drift sidecar cannot run: .*drift\.json cannot be used"):
        process.main([str(file)])


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    """Likewise."""
    with pytest.raises(SystemExit, match=r"the drift sidecar cannot run: .*No such file"):
        process.main([str(tmp_path / "none.json")])


async def test_the_process_waits_for_a_store_that_is_away_and_ends_when_told(tmp_path: Path) -> None:
    """No crash, no traceback, though its port for metrics is taken as well; SIGTERM ends it with 0."""
    file, log = tmp_path / "drift.json", tmp_path / "log"
    taken = socket.create_server(("127.0.0.1", 0))
    settings = settings_of(sidecar=SidecarSettings(metrics_port=taken.getsockname()[1]))
    file.write_text(Told(redis_url=SecretStr("redis://:pw@127.0.0.1:1/0"), drift=settings).to_json())
    one = _started(file, log)
    try:
        await _until(lambda: "cannot be reached" in log.read_text())
        one.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(one.wait, _LIMIT_S) == 0
    finally:
        one.kill()
        one.wait()
        taken.close()
    assert "cannot be listened at" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert "pw" not in log.read_text()
