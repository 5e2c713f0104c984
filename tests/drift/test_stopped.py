"""A sidecar that is stopped in the middle: samples stay within their bytes, and every row is accounted for later."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from drift.sampling import SampleRule, SampleRules
from serving.control.valkey import EmbeddedValkey
from serving.keeping.config import KeeperConfig
from serving.keeping.sampling import ENTRY_BYTES, SampleSink
from serving.keeping.store import Store
from tests.drift.live import Installation
from tests.serving.keeping.pairs import STABLE, answered, pair
from tests.serving.keeping.test_sampling import SCORE, binary

pytestmark = pytest.mark.timeout(120)

STREAM_BYTES = 1_000_000
_ROW_BYTES = 4_000
_TURNS, _EACH = 10, 125
_LIMIT_S = 60.0


def _started(folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("wb") as log:
        return subprocess.Popen([sys.executable, "-m", "drift", str(folder / "sidecar.json")], stderr=log)


async def _until(done: Callable[[], object]) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while not done():  # noqa: ASYNC110 - what is waited for is another process's
            await asyncio.sleep(0.02)


async def test_samples_are_never_unbounded_and_all_are_accounted_for(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Ten times as much as the stream holds comes while nobody reads; offered is read, lost and dropped together."""
    here = Installation(valkey.url)
    told = {"redis_url": valkey.url, "namespace": here.keys.namespace, "drift": {"sidecar": {"metrics_port": 0}}}
    (tmp_path / "sidecar.json").write_text(json.dumps(told))
    sidecar = _started(tmp_path)
    rule = SampleRule(rows_per_s=1e9, bytes_per_s=1e12, stream_bytes=STREAM_BYTES, always=True)
    store = Store(KeeperConfig("gw", "", valkey.url, here.keys.namespace))
    sink = SampleSink("gw 1", SampleRules(rule), store)
    stream = here.keys.samples("digits")
    headers, body = binary(np.random.default_rng(1).normal(size=(2, _ROW_BYTES // 8)).astype("<f4"), "FP32")

    async def comes(begin: int, count: int) -> None:
        for nonce in range(begin, begin + count):
            sink.take(pair(answered(STABLE, SCORE), nonce=nonce, headers=headers, request=body), None, None)
        await sink.write(last=True)

    try:
        await comes(0, 50)
        await _until(lambda: not here.client.xlen(stream))
        sidecar.send_signal(signal.SIGSTOP)
        sizes = []
        for turn in range(_TURNS):
            await comes(50 + turn * _EACH, _EACH)
            entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", here.client.xrange(stream))
            sizes.append(sum(len(fields[b"b"]) for _, fields in entries))
        assert max(sizes) <= STREAM_BYTES + ENTRY_BYTES
        assert sizes[-1] > STREAM_BYTES / 4
        sidecar.send_signal(signal.SIGCONT)
        await comes(50 + _TURNS * _EACH, 10)

        def samples() -> dict[str, int]:
            raw = here.client.hget(here.keys.status, here.keys.status_field("digits", 1))
            found: dict[str, int] = json.loads(raw)["samples"] if isinstance(raw, bytes) else {}
            return found

        await _until(lambda: not here.client.xlen(stream) and samples().get("offered") == 2 * (60 + _TURNS * _EACH))
        assert samples()["lost"] > samples()["offered"] / 2
        assert (samples()["dropped"], samples()["unreadable"]) == (0, 0)
    finally:
        sidecar.send_signal(signal.SIGCONT)
        sidecar.kill()
        sidecar.wait()
        await store.close()
        await here.store.close()
        here.client.close()
        here.keeper.client.close()
