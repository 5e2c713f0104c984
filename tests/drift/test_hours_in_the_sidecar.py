"""A sidecar compares windows with the hours of their rows, says which, and goes on with them after a sudden end."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from drift.baseline import Order, made
from drift.model_watch import Held, ModelWatch
from drift.reading import Layer
from drift.samples import Answer, Request, Role
from drift.tables import Table
from registry.models import VersionNumber
from tests.drift import hours, samples
from tests.drift.live import MODEL, Installation, drained, held, records, settings_of, tensors

_NOON_S = hours.MONDAY_S + 28 * hours.DAY_S + 12 * hours.HOUR_S
_EVERY_S = hours.ROWS * hours.HOUR_S / hours.PER_HOUR


def _request(at: int, *, like_s: float | None = None) -> Request:
    """Half a window's rows, half an hour after those before; like those of that moment where it is given."""
    at_s = _NOON_S + at * _EVERY_S
    rows = hours.rhythm(np.random.default_rng([17, at]), np.full(hours.ROWS, like_s or at_s))
    return Request(at_s, at * 1_000 + 1, {}, tensors(Table(rows)), (Answer(1, Role.STABLE, None),))


@pytest.fixture
async def there(here: Installation) -> Installation:
    """An installation whose version 1 has a baseline by hours; two requests are a window."""
    ours = dataclasses.replace(hours.baseline(), model=samples.MODEL)
    await here.bring(ours.blob)
    here.settings = settings_of(window={"rows": hours.ROWS, "seconds": 1, "most_s": 3_600})
    return here


async def test_who_looks_is_told_which_hours_a_window_was_compared_with(there: Installation) -> None:
    """In the status, its sentence, and the history: a window an hour."""
    for at in range(5):
        there.keeper.write(_request(at))
    await drained(there, await held(there), now_s=_NOON_S + 5 * _EVERY_S)
    told, seen = there.status(), there.history()
    assert [one.strata for one in seen] == [f"daily {hour}-{hour + 1} (100%), UTC" for hour in (12, 13, 14)]
    assert told.strata == seen[-1].strata
    assert f"Watched: calm. Compared with {told.strata}." in told.sentence
    assert there.findings() == []


async def test_night_at_noon_is_one_episode(there: Installation) -> None:
    """A day of it is calm; then what is usual at three in the night comes by day, and its feature is named first."""
    for at in range(48):
        there.keeper.write(_request(at))
    watch = await drained(there, await held(there), now_s=_NOON_S + 48 * _EVERY_S)
    assert there.findings() == []
    for at in range(48, 60):
        there.keeper.write(_request(at, like_s=_NOON_S - 9 * hours.HOUR_S))
    await drained(there, watch, now_s=_NOON_S + 60 * _EVERY_S)
    found = {one.layer: one for one in there.findings()}
    assert len({one.episode for one in found.values()}) == 1
    assert found[Layer.UNIVARIATE].changes[0].moved.feature == "load"


async def test_whoever_comes_after_a_sudden_end_goes_on_with_the_same_hours(there: Installation) -> None:
    """State, history and findings are those of an undisturbed run, to the byte."""
    undisturbed = Installation(there.url, settings=there.settings)
    await undisturbed.bring(dataclasses.replace(hours.baseline(), model=samples.MODEL).blob)
    for one in (there, undisturbed):
        for at in range(24):
            one.keeper.write(_request(at, like_s=None if at < 12 else _NOON_S - 9 * hours.HOUR_S))
    await drained(undisturbed, await held(undisturbed))
    first = await held(there)
    await first.tick(await records(there), 1_000.0)
    second = ModelWatch(Held(MODEL, "t1", "another"), there.settings.of(MODEL), there.store, there.kept)
    await second.tick(await records(there), 1_000.0)
    del second  # read, in part not stored
    await drained(there, await held(there))
    assert there.state() == undisturbed.state()
    assert there.history() == undisturbed.history() != []
    assert [one.plain() for one in there.findings()] == [one.plain() for one in undisturbed.findings()] != []
    await undisturbed.store.close()
    undisturbed.client.close()
    undisturbed.keeper.client.close()


async def test_a_zone_that_this_machine_lacks_is_a_sentence(here: Installation) -> None:
    """The version is not watched, and says why."""
    table = hours.reference(np.random.default_rng(1), days=6)
    order = Order(samples.MODEL, VersionNumber(1), window_rows=hours.ROWS, zone="Europe/Vienna")
    blob = made(order, table, None, 0.0).blob
    await here.bring(blob.replace(b"Europe/Vienna", b"Europe/Atlant"))
    here.keeper.write(_request(0))
    await drained(here, await held(here))
    assert "'Europe/Atlant' is no time zone that this machine knows; it may lack tzdata" in here.status().sentence
