"""One model's samples become windows, findings and a status, each once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import numpy as np
import pytest

from drift import learning
from drift.baseline import Baseline
from drift.model_watch import Held, Lost, ModelWatch
from drift.progress import Course
from drift.reading import Layer
from drift.samples import Batch, Totals
from drift.settings import WatchSettings
from drift.status import WindowSeen
from drift.store import VersionStep
from drift.window import read as window_read
from registry.errors import StoreDamaged
from registry.models import ModelName, VersionNumber
from tests.drift import samples
from tests.drift.live import (
    LEASE_MS,
    MODEL,
    Installation,
    Keeper,
    calm,
    drained,
    held,
    moved,
    records,
    request,
    settings_of,
)  # fmt: skip

_OTHERS = Batch("another", "k", 1, Totals()).encode()


async def _learned(here: Installation, watch: ModelWatch) -> None:
    """Until nothing is learned any more."""
    async with asyncio.timeout(60):
        while here.status().learning is not None and not here.status().sentence.startswith("Not watched: no baseline"):
            await watch.tick(await records(here), 1_000.0)
            await watch.store(1_000.0)
            await asyncio.sleep(0.01)


async def test_windows_close_by_rows_and_time_and_what_is_left_is_under_way(here: Installation) -> None:
    """Windows of 100 rows and 2 seconds: 50 rows a second make one of three batches each."""
    calm(here, 10)
    await drained(here, await held(here))
    seen = here.history()
    assert [(one.rows, one.first_s, one.last_s) for one in seen] == [
        (150, 1_000.0, 1_002.0), (150, 1_003.0, 1_005.0), (150, 1_006.0, 1_008.0),
    ]  # fmt: skip
    told = here.status()
    assert (told.rows, told.windows, told.under_way.rows, told.under_way.first_s) == (500, 3, 50, 1_009.0)
    assert (told.sentence, told.baseline) == ("Watched: calm.", samples.baseline().digest)
    assert {one.layer for one in told.layers} == {"schema", "univariate", "multivariate", "prediction"}
    assert here.findings() == []
    assert here.waiting == 0


async def test_a_shift_is_one_episode_with_its_feature_named_first(here: Installation) -> None:
    """Findings of all layers share the episode's identity, and none is told again while it lasts."""
    calm(here, 6)
    for at in range(6, 36):
        here.keeper.write(moved(at, 1_000.0 + at))
    await drained(here, await held(here))
    found = here.findings()
    by_layer = {one.layer: one for one in found}
    assert len(found) == len(by_layer) > 0
    assert len({one.episode for one in found}) == 1
    assert by_layer[Layer.UNIVARIATE].changes[0].moved.feature == "x[2]"
    told = here.status()
    assert told.is_drifting
    assert told.episode is not None
    assert told.episode.identity == found[0].episode
    assert any(one.alarmed for one in here.history())


async def test_a_broken_schema_waits_for_no_rows(here: Installation) -> None:
    """A window of one request that lacks a column is a finding once its seconds have passed, without further rows."""
    one = request(1, 1_000.0, rows=1)
    here.keeper.write(dataclasses.replace(one, inputs=tuple(t for t in one.inputs if t.name != "price")))
    watch = await drained(here, await held(here), now_s=1_000.5)
    assert here.findings() == []
    await drained(here, watch, now_s=1_010.0)
    (found,) = here.findings()
    assert (found.layer, found.breaks[0].column) == (Layer.SCHEMA, "price")


async def test_whoever_comes_after_a_sudden_end_ends_in_the_same_place(here: Installation) -> None:
    """What was read and not stored is read again: state, history and findings are those of an undisturbed run."""
    undisturbed = Installation(here.url)
    await undisturbed.bring()
    for one in (here, undisturbed):
        calm(one, 6)
        for at in range(6, 36):
            one.keeper.write(moved(at, 1_000.0 + at))
    await drained(undisturbed, await held(undisturbed))
    first = await held(here)
    await first.tick(await records(here), 1_000.0)  # stores at once, as the first look does
    assert here.waiting > 0
    here.keeper.put(here.keeper.last)  # a keeper that does not know whether its batch came sends it again
    second = ModelWatch(Held(MODEL, "t1", "another"), here.settings.of(MODEL), here.store, here.kept)
    await second.tick(await records(here), 1_000.0)
    del second  # read, in part not stored
    await drained(here, await held(here))
    assert here.state() == undisturbed.state()
    assert here.history() == undisturbed.history()
    assert [one.plain() for one in here.findings()] == [one.plain() for one in undisturbed.findings()]
    assert here.status().samples == undisturbed.status().samples
    await undisturbed.store.close()


async def test_who_lost_the_lease_stores_nothing(here: Installation) -> None:
    """A sidecar that slept while another one took over neither reads nor writes."""
    calm(here, 4)
    asleep = await held(here)
    await asleep.tick(await records(here), 1_000.0)
    here.client.delete(here.keys.lease(MODEL))
    await drained(here, await held(here, "t2"))
    before = here.state(), here.history()
    calm(here, 2, begin=4)
    with pytest.raises(Lost):
        await asleep.store(1_001.0)
    with pytest.raises(Lost):
        await asleep.tick(await records(here), 1_001.0)
    assert (here.state(), here.history()) == before


async def test_a_lease_that_ran_out_is_not_kept(here: Installation) -> None:
    """Another one may have come and gone meanwhile: whoever slept begins anew with what is stored."""
    assert await here.store.hold(MODEL, "t1", LEASE_MS)
    assert await here.store.keep(MODEL, "t1", LEASE_MS)
    here.client.delete(here.keys.lease(MODEL))
    assert not await here.store.keep(MODEL, "t1", LEASE_MS)
    assert await here.store.hold(MODEL, "t2", LEASE_MS)
    assert not await here.store.keep(MODEL, "t1", LEASE_MS)


async def test_a_window_under_way_is_heard_though_nothing_more_comes(here: Installation) -> None:
    """By whoever comes after the one that folded it, when it is old enough."""
    one = request(1, 1_000.0, rows=1)
    here.keeper.write(dataclasses.replace(one, inputs=tuple(t for t in one.inputs if t.name != "price")))
    await drained(here, await held(here), now_s=1_000.5)
    assert here.findings() == []
    await drained(here, await held(here), now_s=1_010.0)
    (found,) = here.findings()
    assert found.breaks[0].column == "price"


async def test_findings_are_told_whenever_they_are_stored(here: Installation) -> None:
    """Also where a new baseline has them stored before they are due."""
    watch = await held(here)
    await watch.tick(await records(here), 1_000.0)
    for at in range(30):
        here.keeper.write(moved(at, 1_000.0 + at))
    assert await watch.tick(await records(here), 1_000.0) == (30, ())
    await here.bring(dataclasses.replace(samples.baseline(), made_at_s=2_000.0).blob)
    ticked = await watch.tick(await records(here), 1_000.0)
    assert list(ticked.findings) == here.findings() != []


async def test_a_step_that_is_sent_twice_is_done_once(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client sends a script again when its connection breaks: history does not grow by it."""
    assert await here.store.hold(MODEL, "t1", LEASE_MS)
    steps = {1: VersionStep(seen=(WindowSeen(0.0, 1.0, 5, "b", 2.0, alarmed=False),))}
    monkeypatch.setattr("drift.store.secrets.token_hex", lambda _: "same")
    assert await here.store.step(MODEL, "t1", steps, {}, [])
    assert await here.store.step(MODEL, "t1", steps, {}, [])
    assert len(here.history()) == 1
    monkeypatch.undo()
    assert await here.store.step(MODEL, "t1", steps, {}, [])
    assert len(here.history()) == 2


async def test_what_fell_off_the_stream_is_counted_to_the_row(here: Installation) -> None:
    """Two keepers' batches between those that were read: their rows are lost, and said to be."""
    other = Keeper(here.url, here.keys, "gw-2 bb")
    here.keeper.write(request(0, 1_000.0))
    for at in range(1, 4):
        here.keeper.batch(request(at, 1_000.0 + at))
    here.keeper.write(request(4, 1_004.0))
    other.batch(request(5, 1_005.0, rows=7))
    other.write(request(6, 1_006.0))
    await drained(here, await held(here))
    told = here.status().samples
    assert (told.lost, told.offered, told.unreadable) == (3 * 50 + 7, 5 * 50 + 57, 0)
    other.client.close()


async def test_an_entry_that_went_while_it_was_in_hand_is_no_crash(here: Installation) -> None:
    """Read, trimmed, and read again by who comes after: it is acknowledged, and counted as lost with the next one."""
    calm(here, 3)
    assert await here.store.hold(MODEL, "t1", LEASE_MS)
    await here.store.sampled(MODEL, "t1", ">", 10)
    await here.store.sampled(MODEL, "t1", ">", 10)
    here.client.xtrim(here.keys.samples(MODEL), maxlen=0)
    calm(here, 1, begin=3)
    await drained(here, await held(here))
    told = here.status()
    assert (told.rows, told.samples.lost) == (50, 150)


async def test_bytes_that_are_no_batch_are_counted(here: Installation) -> None:
    """Whatever stands in the stream, what follows is watched."""
    for odd in (b"", b"x", b"\0\0\0\5{}", Batch(MODEL, "k", 1, Totals()).encode()[:-1], _OTHERS):
        here.keeper.put(odd)
    calm(here, 1)
    await drained(here, await held(here))
    told = here.status()
    assert (told.rows, told.samples.unreadable) == (50, 5)


async def test_a_version_without_a_baseline_says_so(here: Installation) -> None:
    """Its samples are counted and passed over; it is watched once somebody brings a baseline."""
    here.keeper.write(request(0, 1_000.0, version=2))
    watch = await drained(here, await held(here))
    told = here.status(2)
    assert told.sentence.startswith("Not watched: it has no baseline.")
    assert (told.rows, told.baseline, told.last_s) == (0, "", 1_000.0)
    await here.bring(dataclasses.replace(samples.baseline(), version=VersionNumber(2)).blob, version=2)
    here.keeper.write(request(1, 1_001.0, version=2))
    await drained(here, watch)
    assert here.status(2).rows == 50


async def test_a_baseline_that_is_none_is_a_sentence(here: Installation) -> None:
    """Bytes that nobody can read as a baseline: the version says why it is not watched, the others go on."""
    await here.bring(b"no baseline", version=2)
    here.keeper.write(request(0, 1_000.0, version=2), request(1, 1_000.0))
    await drained(here, await held(here))
    assert here.status(2).sentence.startswith("Not watched: its baseline cannot be used. These bytes are no baseline")
    assert here.status(1).rows == 50


async def test_a_baseline_that_meets_a_defect_is_a_sentence(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its version is not watched, and others of the model are."""
    of = Course.of

    def fails(baseline: Baseline, settings: WatchSettings) -> Course:
        if int(baseline.version) == 2:
            raise IndexError("a defect")
        return of(baseline, settings)

    monkeypatch.setattr(Course, "of", fails)
    await here.bring(dataclasses.replace(samples.baseline(), version=VersionNumber(2)).blob, version=2)
    here.keeper.write(request(0, 1_000.0, version=2), request(1, 1_000.0))
    await drained(here, await held(here))
    assert here.status(2).sentence.startswith("Not watched: its baseline cannot be used. It is odd: IndexError")
    assert here.status(1).rows == 50


async def test_a_baseline_whose_bytes_are_lost_is_a_sentence(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are watched, and so is it once the same bytes are there again."""
    await here.bring(dataclasses.replace(samples.baseline(), version=VersionNumber(2)).blob, version=2)
    there = here.registry.baseline_blob

    async def lost(model: ModelName, number: VersionNumber) -> bytes | None:
        return None if number == 2 else await there(model, number)

    with monkeypatch.context() as patch:
        patch.setattr(here.registry, "baseline_blob", lost)
        here.keeper.write(request(0, 1_000.0, version=2), request(1, 1_000.0))
        watch = await drained(here, await held(here))
        words = "Not watched: its baseline cannot be used. The store has lost the bytes of"
        assert here.status(2).sentence.startswith(words)
        assert here.status(1).rows == 50
        await drained(here, watch, 1_100.0)
        assert here.status(2).sentence.startswith(words)
    here.keeper.write(request(2, 1_002.0, version=2))
    await drained(here, watch, 1_200.0)
    assert here.status(2).rows == 50


async def test_a_new_baseline_begins_anew(here: Installation) -> None:
    """What was known by the old one is gone, and its window under way with it."""
    calm(here, 5)
    watch = await drained(here, await held(here))
    assert here.status().windows == 1
    other = dataclasses.replace(samples.baseline(), made_at_s=2_000.0)
    await here.bring(other.blob)
    calm(here, 1, begin=5)
    await drained(here, watch)
    told = here.status()
    assert (told.baseline, told.rows, told.windows) == (other.digest, 50, 0)
    assert window_read(here.state()[b"under_way"]).rows == 50


async def test_a_baseline_is_learned_of_live_requests(here: Installation) -> None:
    """Of the first 2,000 rows, marked as such; an odd request among them does no harm; then rows are watched by it."""
    here.settings = settings_of(learn_rows=2_000)
    await here.kept.drop(MODEL, 1, who="test")
    watch = await held(here)
    here.keeper.write(request(99, 999.0, {"x": np.zeros((3, 7))}, rows=3))
    calm(here, 39)
    await drained(here, watch)
    assert here.status().sentence.startswith("Not watched yet: it learns a baseline, 1,953 of 2,000 rows.")
    assert (here.status().learning, here.status().learn_rows) == (1_953, 2_000)
    calm(here, 3, begin=39)
    watch = await drained(here, await held(here))  # whoever comes after goes on with what was gathered
    await _learned(here, watch)
    record = (await records(here))[1]
    assert record.learned
    calm(here, 1, begin=42)
    await drained(here, await held(here))
    told = here.status()
    assert (told.baseline, told.learned, told.rows) == (record.digest, True, 50)
    assert not here.client.exists(here.keys.learning(MODEL, 1))


async def test_a_defect_that_learning_meets_is_said_once(here: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence, and learning is not begun over and over."""

    def fails(*_: object) -> None:
        raise IndexError("a defect")

    monkeypatch.setattr("drift.learning.learned", fails)
    here.settings = settings_of(learn_rows=2_000)
    await here.kept.drop(MODEL, 1, who="test")
    calm(here, 41)
    await _learned(here, await drained(here, await held(here)))
    assert here.status().sentence.startswith("Not watched: no baseline could be learned. It is odd: IndexError")


async def test_a_damaged_registry_is_said_once_and_learning_is_not_begun_again(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learned cannot be kept, and waiting does not help."""
    learned, times = learning.learned, []

    def counted(*said: Any) -> Baseline:  # noqa: ANN401 - passed on
        times.append(1)
        return learned(*said)

    async def damaged(*_: object) -> None:
        raise StoreDamaged("The store holds what this release cannot read.")

    monkeypatch.setattr("drift.learning.learned", counted)
    monkeypatch.setattr(here.registry, "keep_baseline", damaged)
    here.settings = settings_of(learn_rows=2_000)
    await here.kept.drop(MODEL, 1, who="test")
    calm(here, 42)
    watch = await drained(here, await held(here))
    await _learned(here, watch)
    for _ in range(3):
        await watch.tick(await records(here), 1_000.0)
    assert here.status().sentence.startswith("Not watched: no baseline could be learned. The store holds what")
    assert len(times) == 1


async def test_what_nothing_can_be_learned_of_is_said(here: Installation) -> None:
    """Requests that are all different: no baseline, a sentence, and nothing is gathered any more."""
    here.settings = settings_of(learn_rows=2_000)
    await here.kept.drop(MODEL, 1, who="test")
    for at in range(60):
        here.keeper.write(request(at, 1_000.0 + at, {"x": np.zeros((50, 1 + at))}))
    await _learned(here, await drained(here, await held(here)))
    told = here.status()
    assert told.sentence.startswith("Not watched: no baseline could be learned. Of 2,")
    assert not here.client.exists(here.keys.learning(MODEL, 1))


async def test_redacted_columns_are_no_drift(here: Installation) -> None:
    """A baseline that has a column which samples may not show cannot be watched, and says what to do."""
    one = request(0, 1_000.0)
    shown = dataclasses.replace(one, inputs=tuple(t for t in one.inputs if t.name != "price"))
    here.keeper.put(Batch(MODEL, "gw-1 aa", 1, Totals(50, 50), (shown,), ("price",)).encode())
    await drained(here, await held(here), now_s=2_000.0)
    told = here.status()
    assert "price, whose values are redacted" in told.sentence
    assert (told.rows, here.findings()) == (0, [])
