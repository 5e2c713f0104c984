"""alibi-detect's detectors in the place of ours, in the sidecar itself: the same is asked of each as of ours."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from drift.detectors import alibi
from drift.detectors.alibi import WHOLE_ROWS, Test
from drift.model_watch import Held, ModelWatch
from drift.reading import Layer
from drift.samples import Request
from drift.settings import ALIBI
from drift.sidecar import Sidecar
from tests.drift.live import MODEL, Installation, calm, drained, held, records, request, settings_of

_THEIRS = [
    pytest.param(
        one, marks=[pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")], id=one.value
    )
    for one in Test
]
_CALM, _SHIFTED = 24, 36


@pytest.fixture(autouse=True)
def _afresh() -> Iterator[None]:
    """Nobody has asked for the library yet, so that its licence is said anew."""
    alibi._library.cache_clear()
    yield
    alibi._library.cache_clear()


def _settings(test: Test) -> dict[str, object]:
    return {"backend": f"{ALIBI}{test.value}"}


def _shifted(at: int) -> Request:
    """Numbers and levels, by themselves and together, are far from what they were."""
    rng = np.random.default_rng([5, at])
    country = rng.choice(np.array(["at", "de"], object), 50, p=[0.8, 0.2])
    return request(at, 1_000.0 + at, {"x": rng.normal(1.5, 1, (50, 4)), "country": country})


def _layer(test: Test) -> Layer:
    return Layer.MULTIVARIATE if test in WHOLE_ROWS else Layer.UNIVARIATE


@pytest.mark.parametrize("test", _THEIRS)
async def test_calm_is_calm_and_a_shift_is_one_episode(
    here: Installation, test: Test, caplog: pytest.LogCaptureFixture
) -> None:
    """By the detector that was chosen, and by no other for inputs; its licence is in the log once."""
    pytest.importorskip("alibi_detect")
    here.settings = settings_of(**_settings(test))
    with caplog.at_level(logging.WARNING):
        calm(here, _CALM)
        watch = await drained(here, await held(here))
        assert here.findings() == []
        assert here.status().sentence == "Watched: calm."
        for at in range(_CALM, _CALM + _SHIFTED):
            here.keeper.write(_shifted(at))
        await drained(here, watch)
        await drained(here, await held(here))  # another look at the same version, as after a restart
    found, told = {one.layer: one for one in here.findings()}, here.status()
    assert len({one.episode for one in found.values()}) == 1
    assert found[_layer(test)].statistic == test.value
    assert found[_layer(test)].changes[0].moved.feature.split("[")[0] in {"x", "country"}
    assert told.is_drifting
    assert told.backend == f"{ALIBI}{test.value}"
    assert {one.layer for one in told.layers} == {"schema", _layer(test).value, "prediction"}
    assert sum("Business Source License" in one.message for one in caplog.records) == 1


@pytest.mark.parametrize("test", _THEIRS)
async def test_whoever_comes_after_a_sudden_end_ends_in_the_same_place(here: Installation, test: Test) -> None:
    """Rows, windows and evidence are those of an undisturbed run, to the byte: also where permutations are drawn."""
    pytest.importorskip("alibi_detect")
    here.settings = settings_of(**_settings(test))
    undisturbed = Installation(here.url, settings=here.settings)
    await undisturbed.bring()
    for one in (here, undisturbed):
        calm(one, 6)
        for at in range(6, 36):
            one.keeper.write(_shifted(at))
    await drained(undisturbed, await held(undisturbed))
    await (await held(here)).tick(await records(here), 1_000.0)  # stores at once, as the first look does
    here.keeper.put(here.keeper.last)  # a keeper that does not know whether its batch came sends it again
    second = ModelWatch(Held(MODEL, "t1", "another"), here.settings.of(MODEL), here.store, here.kept)
    await second.tick(await records(here), 1_000.0)
    del second  # read, in part not stored
    await drained(here, await held(here))
    assert here.status().rows == 36 * 50
    assert here.state() == undisturbed.state()
    assert here.history() == undisturbed.history()
    assert [one.plain() for one in here.findings()] == [one.plain() for one in undisturbed.findings()] != []
    await undisturbed.store.close()
    undisturbed.client.close()
    undisturbed.keeper.client.close()


@pytest.mark.parametrize("test", _THEIRS)
async def test_what_is_missing_is_a_finding_and_never_a_crash(here: Installation, test: Test) -> None:
    """NaN, infinite numbers, levels that are missing or unknown, a column that is gone: each window is heard."""
    pytest.importorskip("alibi_detect")
    here.settings = settings_of(**_settings(test))
    rng = np.random.default_rng(2)
    for at in range(12):
        x, price = rng.normal(size=(50, 4)), rng.lognormal(3, 1, 50)
        x[::2], price[::3], price[1::3] = np.nan, np.inf, np.nan
        country = rng.choice(np.array(["at", "nowhere", ""], object), 50)
        here.keeper.write(request(at, 1_000.0 + at, {"x": x, "price": price, "country": country}))
    one = request(12, 1_012.0)
    left = [tensor for tensor in one.inputs if tensor.name != "price"]
    for at in range(12, 18):
        here.keeper.write(Request(1_000.0 + at, at * 1_000 + 1, {}, tuple(left), one.answers))
    await drained(here, await held(here), now_s=2_000.0)
    assert "cannot be held against" not in here.status().sentence
    assert here.status().rows == 18 * 50
    assert all(_layer(test).value in window.layers for window in here.history())
    assert Layer.SCHEMA in {one.layer for one in here.findings()}


async def test_where_it_is_not_installed_ours_watch_and_the_status_says_so(
    here: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Through the whole process: a shift is found all the same, and nothing is said of a licence."""
    monkeypatch.setitem(sys.modules, "alibi_detect.cd", None)
    here.settings = settings_of(**_settings(Test.MMD))
    calm(here, 6)
    for at in range(6, 36):
        here.keeper.write(_shifted(at))
    begin_s, stop = time.monotonic(), asyncio.Event()
    sidecar = Sidecar(here.settings, here.store, here.kept, lambda: 2_000.0 + time.monotonic() - begin_s)
    running = asyncio.create_task(sidecar.run(stop))
    async with asyncio.timeout(60):
        while not here.findings():  # noqa: ASYNC110 - what is waited for is on a server
            await asyncio.sleep(0.02)
    stop.set()
    await running
    told = here.status()
    assert told.backend == "sluice"
    assert "is not installed." in told.sentence
    assert "Sluice's own detectors watch meanwhile." in told.sentence
    assert {one.statistic for one in here.findings()} & {"distance", "discrepancy"}
    assert not [one for one in caplog.records if "Business Source License" in one.message]
