"""A sidecar that dies at random moments under load loses nothing and counts nothing twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from drift.samples import Request
from drift.settings import Installation as Told
from drift.settings import SidecarSettings
from registry.baselines import Baselines
from registry.store import connect
from serving.control.valkey import EmbeddedValkey
from tests.drift import samples
from tests.drift.live import MODEL, Installation, moved, request, settings_of

_KILLS = 20
_BATCHES = 600
_SHIFTED = 400
_AGAIN = 40  # each such batch is written twice, as by a keeper whose answer was lost
_LIMIT_S = 120.0


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_twenty_sudden_ends_change_nothing(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """SIGKILL at random moments while samples come: state, history and findings equal those of an undisturbed run."""
    killed, undisturbed = Installation(valkey.url), Installation(valkey.url)
    both = (killed, undisturbed)
    for here in both:
        await _bring(here)
    begin_s = time.time() + 3_600  # ahead of the clock, so that windows close by their rows' times alone
    requests = [_request(at, begin_s + at) for at in range(_BATCHES)]
    draws = random.Random(20)
    written = 0
    for kill in range(_KILLS):
        until = (kill + 1) * _BATCHES // (_KILLS + 1)
        with _sidecar(killed, tmp_path / f"killed-{kill}.log") as process:
            if kill:  # the first one dies while it starts
                _wait(lambda: killed.client.exists(killed.keys.lease(MODEL)) == 1)
            moment_s = time.monotonic() + draws.uniform(0.0, 2.0)
            while time.monotonic() < moment_s or written < until:
                if written < until:
                    _write(killed, written, requests[written])
                    written += 1
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        _wait(lambda: killed.client.exists(killed.keys.lease(MODEL)) == 0)
    for at in range(written, _BATCHES):
        _write(killed, at, requests[at])
    for at, one in enumerate(requests):
        _write(undisturbed, at, one)
    for here in both:
        with _sidecar(here, tmp_path / "last.log") as process:
            _wait(partial(_is_through, here))
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert killed.status().rows == _BATCHES * 50
    assert killed.state() == undisturbed.state()
    assert killed.history() == undisturbed.history()
    assert [one.plain() for one in killed.findings()] == [one.plain() for one in undisturbed.findings()] != []
    assert killed.status().samples == undisturbed.status().samples
    for here in both:
        await here.store.close()


def _request(at: int, at_s: float) -> Request:
    return request(at, at_s) if at < _SHIFTED else moved(at, at_s)


def _write(here: Installation, at: int, one: Request) -> None:
    here.keeper.write(one)
    if at % _AGAIN == 0:
        here.keeper.put(here.keeper.last)


async def _bring(here: Installation) -> None:
    """A baseline that tells hours apart, where processes find it."""
    registry = connect(here.url, here.keys.namespace)
    made = samples.by_hour()
    await Baselines(registry).keep(
        MODEL, 1, made.blob, rows=4_000, learned=False, made_at_s=1.0, who="test", elsewhere=True
    )
    await registry.close()


def _is_through(here: Installation) -> bool:
    told = here.client.hexists(here.keys.status, here.keys.status_field(MODEL, 1))
    return bool(told) and here.waiting == 0 and here.status().rows == _BATCHES * 50


@contextmanager
def _sidecar(here: Installation, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own, gone afterwards."""
    settings = settings_of(sidecar=SidecarSettings(metrics_port=0, lease_s=1.0))
    file = log.with_suffix(".json")
    file.write_text(Told(redis_url=SecretStr(here.url), namespace=here.keys.namespace, drift=settings).to_json())
    with log.open("ab") as out:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "drift", str(file)], stdout=out, stderr=subprocess.STDOUT, env=environment
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _wait(done: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _LIMIT_S
    while not done():
        assert time.monotonic() < until_s, "it took too long"
        time.sleep(0.02)
