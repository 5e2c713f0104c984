"""A model whose baseline names an encoder: live rows go through it, wait while it is away, and are counted once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from drift.asking import Encoders
from drift.baseline import Baseline, Order, made
from drift.inbox import PAUSES_S
from drift.model_watch import Held, ModelWatch
from drift.samples import Answer, Request, Role
from drift.tables import Table
from drift.watched import Watched
from drift.wire import Server
from registry.models import VersionNumber
from serving.control.valkey import EmbeddedValkey
from tests.drift import samples
from tests.drift.encoder import ENCODER, POISON, EncoderServer, embedded, encoder_server
from tests.drift.live import LEASE_MS, MODEL, Installation, records, tensors

_LIMIT_S = 60.0


def images(seed: int, rows: int) -> NDArray[np.float32]:
    """Calm ones."""
    return np.random.default_rng([17, seed]).normal(size=(rows, 4, 4)).astype(np.float32)


def baseline() -> Baseline:
    """Of images as the encoder sees them, and a price."""
    rows = images(0, 4_000)
    price = np.random.default_rng(2).normal(size=4_000)
    order = Order(samples.MODEL, VersionNumber(1), window_rows=samples.ROWS, encoders=(ENCODER,))
    table = Table({"image": rows, "price": price}, ordered=True)
    return made(order, table, None, 1.0, embedded={ENCODER.column: embedded(rows)})


def request(seed: int, at_s: float, image: NDArray[np.float32] | None = None, *, version: int = 1) -> Request:
    """Fifty rows, one of whose answers is by that version."""
    table = Table({
        "image": images(seed, 50) if image is None else image,
        "price": np.random.default_rng([19, seed]).normal(size=50),
    })  # fmt: skip
    return Request(at_s, seed * 1_000 + 1, {}, tensors(table), (Answer(version, Role.STABLE, None),))


@pytest.fixture
def there() -> Iterator[EncoderServer]:
    """The encoder."""
    with encoder_server() as found:
        yield found


@pytest.fixture
async def encoders(there: EncoderServer) -> AsyncIterator[Encoders]:
    """Who asks it."""
    async with Encoders({"": Server(there.url, is_ours=True)}, timeout_s=10) as found:
        yield found


@pytest.fixture
async def here(valkey: EmbeddedValkey) -> AsyncIterator[Installation]:
    """An installation whose version 1 is held against embeddings."""
    found = Installation(valkey.url)
    await found.bring(baseline().blob)
    yield found
    await found.store.close()
    found.client.close()
    found.keeper.client.close()


async def watching(here: Installation, encoders: Encoders | None, by: str = "t1") -> ModelWatch:
    """The model in somebody's hands."""
    assert await here.store.hold(MODEL, by, LEASE_MS)
    return ModelWatch(Held(MODEL, by, "sidecar"), here.settings.of(MODEL), here.store, here.kept, encoders)


async def through(here: Installation, watch: ModelWatch, now_s: float = 1_000.0) -> None:
    """Until nothing of the stream is left."""
    async with asyncio.timeout(_LIMIT_S):
        while here.waiting:
            await watch.tick(await records(here), now_s)
            await watch.store(now_s)
            await asyncio.sleep(0.001)


async def silent(here: Installation, watch: ModelWatch, now_s: float = 1_000.0) -> None:
    """Until the status says that samples wait."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            await watch.tick(await records(here), now_s)
            await watch.store(now_s)
            told = here.client.hget(here.keys.status, here.keys.status_field(MODEL, 1))
            if isinstance(told, bytes) and b"Its samples wait for an encoder" in told:
                return
            await asyncio.sleep(0.001)


def calm(here: Installation, batches: int, begin: int = 0) -> None:
    """So many batches of 50 rows, one a second."""
    for at in range(begin, begin + batches):
        here.keeper.write(request(at, 1_000.0 + at))


async def test_live_rows_are_encoded_before_they_are_counted(here: Installation, encoders: Encoders) -> None:
    """Calm images are calm, the status says what encodes what, and none of it is a break."""
    calm(here, 12)
    await through(here, await watching(here, encoders))
    told = here.status()
    assert (told.rows, told.windows, told.sentence) == (600, 4, "Watched: calm.")
    assert told.encoders == ("image by embedder version 3 (embedding)",)
    assert here.findings() == []


async def test_a_shift_of_what_the_encoder_sees_is_found(here: Installation, encoders: Encoders) -> None:
    """By the embedding's element that moved."""
    calm(here, 6)
    for at in range(6, 40):
        here.keeper.write(request(at, 1_000.0 + at, images(at, 50) * 2.0))
    await through(here, await watching(here, encoders))
    first = next(one for one in here.findings() if one.changes)
    assert first.changes[0].moved.feature == "image.embedding[1]"


async def test_samples_wait_unacknowledged_while_the_encoder_is_away(
    here: Installation, there: EncoderServer, encoders: Encoders
) -> None:
    """Nothing is counted or acknowledged, the status says why; once it is back everything is counted, once."""
    undisturbed = Installation(here.url)
    await undisturbed.bring(baseline().blob)
    for one in (here, undisturbed):
        calm(one, 12)
    await through(undisturbed, await watching(undisturbed, encoders))
    there.status = 503
    watch = await watching(here, encoders)
    await silent(here, watch)
    assert (here.waiting, here.status().samples.pending) == (12, 12)
    assert "embedder version 3 does not answer for now (503)" in here.status().sentence
    there.status = 200
    await through(here, watch, 1_000.0 + PAUSES_S[-1])
    assert here.state() == undisturbed.state()
    assert here.history() == undisturbed.history()
    assert here.status().samples.lost == 0
    assert here.status().sentence == "Watched: calm."
    await undisturbed.store.close()


async def test_it_is_asked_again_after_growing_pauses(
    here: Installation, there: EncoderServer, encoders: Encoders
) -> None:
    """A hundred looks in the same moment ask once."""
    there.status = 503
    calm(here, 2)
    watch = await watching(here, encoders)
    await silent(here, watch)
    before = there.refused
    for _ in range(100):
        await watch.tick(await records(here), 1_000.0)
    assert there.refused == before
    await watch.tick(await records(here), 1_000.0 + PAUSES_S[0])
    async with asyncio.timeout(_LIMIT_S):
        while there.refused == before:  # noqa: ASYNC110 - what is waited for is on a server
            await asyncio.sleep(0.001)


async def test_whoever_takes_over_counts_nothing_twice(
    here: Installation, there: EncoderServer, encoders: Encoders
) -> None:
    """One stops while its encoder is away, one while rows are encoded: the end is that of an undisturbed run."""
    undisturbed = Installation(here.url)
    await undisturbed.bring(baseline().blob)
    for one in (here, undisturbed):
        calm(one, 40)
    await through(undisturbed, await watching(undisturbed, encoders))
    first = await watching(here, encoders)
    async with asyncio.timeout(_LIMIT_S):
        while here.waiting == 40:
            await first.tick(await records(here), 1_000.0)
            await first.store(1_000.0)
            await asyncio.sleep(0.001)
    assert here.waiting > 0
    there.status = 503
    await silent(here, first)
    first.close()
    there.status, there.hangs_s = 200, 0.2
    second = ModelWatch(Held(MODEL, "t1", "another"), here.settings.of(MODEL), here.store, here.kept, encoders)
    for _ in range(3):
        await second.tick(await records(here), 1_000.0)
    second.close()
    there.hangs_s = 0.0
    third = ModelWatch(Held(MODEL, "t1", "third"), here.settings.of(MODEL), here.store, here.kept, encoders)
    await through(here, third)
    assert here.state() == undisturbed.state()
    assert here.history() == undisturbed.history()
    assert here.status().samples == undisturbed.status().samples
    await undisturbed.store.close()


async def test_what_falls_off_meanwhile_is_counted(
    here: Installation, there: EncoderServer, encoders: Encoders
) -> None:  # fmt: skip
    """The stream is bounded: a sidecar that comes later knows how many rows it never saw."""
    there.status = 503
    calm(here, 10)
    await silent(here, await watching(here, encoders))
    here.client.xtrim(here.keys.samples(MODEL), maxlen=4, approximate=False)
    there.status = 200
    after = ModelWatch(Held(MODEL, "t1", "another"), here.settings.of(MODEL), here.store, here.kept, encoders)
    await through(here, after)
    told = here.status()
    assert (told.rows, told.samples.lost) == (200, 300)


async def test_a_row_that_the_encoder_fails_on_is_missing_and_stops_nothing(
    here: Installation, encoders: Encoders
) -> None:
    """It counts as a row without a value, as the gate sees them."""
    rows = images(3, 50)
    rows[7, 0, 0] = POISON
    here.keeper.write(request(3, 1_000.0, rows))
    watch = await watching(here, encoders)
    await through(here, watch)
    version = watch.versions[1]
    assert isinstance(version, Watched)
    window = version.progress.under_way
    assert window is not None
    assert np.isnan(window.inputs.kept.numbers).any(axis=1).sum() == 1
    assert (window.rows, window.breaks) == (50, ())


async def test_an_image_of_another_shape_is_a_finding(here: Installation, encoders: Encoders) -> None:
    """Of the schema, by the tensor's own name, though nothing could be asked about it."""
    here.keeper.write(request(3, 1_000.0, np.zeros((50, 3, 3), np.float32)))
    watch = await watching(here, encoders)
    await through(here, watch)
    for now_s in (1_010.0, 1_011.0):
        await watch.tick(await records(here), now_s)
        await watch.store(now_s)
    [found] = here.findings()
    assert found.breaks[0].column == "image"
    assert "was trained on [4, 4]" in found.breaks[0].sentence


async def test_versions_without_an_encoder_keep_their_order_behind_those_that_have_one(
    here: Installation, encoders: Encoders
) -> None:
    """Rows of both are counted."""
    plain = made(
        Order(samples.MODEL, VersionNumber(2), window_rows=samples.ROWS),
        Table({"image": images(0, 4_000), "price": np.random.default_rng(2).normal(size=4_000)}, ordered=True),
        None, 1.0,
    )  # fmt: skip
    await here.bring(plain.blob, 2)
    for at in range(8):
        here.keeper.write(request(at, 1_000.0 + at, version=1 + at % 2))
    await through(here, await watching(here, encoders))
    assert (here.status(1).rows, here.status(2).rows) == (200, 200)
    assert (here.status(1).encoders != (), here.status(2).encoders) == (True, ())


async def test_a_baseline_that_comes_while_rows_are_being_encoded_is_heeded(
    here: Installation, there: EncoderServer, encoders: Encoders
) -> None:
    """What was encoded for the one before is not taken for the new one's."""
    calm(here, 4)
    there.hangs_s = 0.2
    watch = await watching(here, encoders)
    for _ in range(3):  # the first look is for what was read before
        await watch.tick(await records(here), 1_000.0)
    plain = made(
        Order(samples.MODEL, VersionNumber(1), window_rows=samples.ROWS),
        Table({"image": images(0, 4_000), "price": np.random.default_rng(2).normal(size=4_000)}, ordered=True),
        None, 1.0,
    )  # fmt: skip
    await here.bring(plain.blob)
    await through(here, watch)
    told = here.status()
    assert (told.baseline, told.rows, told.encoders) == (plain.digest, 200, ())


async def test_without_anybody_who_asks_the_status_says_so(here: Installation) -> None:
    """And samples wait."""
    calm(here, 2)
    await silent(here, await watching(here, None))
    assert "Nobody here can ask an encoder" in json.dumps(here.status().plain())
    assert here.waiting == 2
