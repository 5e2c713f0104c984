"""Rows become embeddings in batches; blame for a refusal is laid right, and what an encoder is is found out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from drift.asking import MOST_PASSES, Asked
from drift.errors import Unencoded, Unfit
from tests.drift.encoder import ENCODER, POISON, WIDTH, EncoderServer, asking, embedded, encoder_server, images


@pytest.fixture
def there() -> Iterator[EncoderServer]:
    """An encoder that is well."""
    with encoder_server() as found:
        yield found


@pytest.mark.parametrize("binary", [True, False])
async def test_rows_become_embeddings_in_their_order(there: EncoderServer, *, binary: bool) -> None:
    """In batches, whether tensors travel as bytes or as JSON; requests say that they are synthetic."""
    rows = images(200)
    there.binary = binary
    async with asking(there) as encoders:
        encoder = await encoders.described(Asked("image", (4, 4), "embedder"))
        found = await encoders.rows(encoder, rows)
    np.testing.assert_allclose(found, embedded(rows), rtol=1e-5, atol=1e-6)
    assert sorted(there.asked) == [8, 64, 64, 64]
    assert there.headers["sluice-synthetic"] == "1"
    assert (encoder.binary, encoder.version, encoder.takes, encoder.gives) == (binary, 3, "image", "embedding")


async def test_rows_that_lack_a_value_are_not_sent(there: EncoderServer) -> None:
    """They have no embedding, and the others have theirs."""
    rows = images(10)
    rows[3, 0, 0], rows[7, 2, 2] = np.nan, np.inf
    async with asking(there) as encoders:
        found = await encoders.rows(ENCODER, rows)
    assert np.isnan(found).all(axis=1).tolist() == [at in {3, 7} for at in range(10)]
    assert there.asked == [8]


async def test_a_row_that_it_fails_on_is_found_and_is_missing(there: EncoderServer) -> None:
    """All others are encoded, though they came in one request with it."""
    rows = images(100)
    for at in (0, 41, 99):
        rows[at, 1, 1] = POISON
    async with asking(there) as encoders:
        found = await encoders.rows(ENCODER, rows)
    assert np.flatnonzero(np.isnan(found[:, 0])).tolist() == [0, 41, 99]
    good = np.delete(np.arange(100), [0, 41, 99])
    np.testing.assert_allclose(found[good], embedded(rows[good]), rtol=1e-5, atol=1e-6)


async def test_one_row_that_it_fails_on_is_no_encoder_that_is_away(there: EncoderServer) -> None:
    """Though nothing else is asked with it: it answers to zeros."""
    rows = np.full((1, 4, 4), POISON, np.float32)
    async with asking(there) as encoders:
        assert np.isnan(await encoders.rows(ENCODER, rows)).all()


@pytest.mark.parametrize("well_for", [0, 1, 3, 7])
async def test_an_encoder_that_dies_in_the_middle_makes_no_row_missing(there: EncoderServer, well_for: int) -> None:
    """However many it has answered: all are asked again, and have their embeddings then."""
    rows = images(600)
    there.well_for = well_for
    async with asking(there) as encoders:
        for _ in range(MOST_PASSES + 1):
            with pytest.raises(Unencoded, match="embedder version 3 answers nothing: 500, in ensemble, CUDA error"):
                await encoders.rows(ENCODER, rows)
        there.well_for = None
        assert not np.isnan(await encoders.rows(ENCODER, rows)).any()


async def test_one_that_died_after_it_was_well_is_waited_for_however_long(there: EncoderServer) -> None:
    """What it answered once it would answer now."""
    async with asking(there) as encoders:
        await encoders.rows(ENCODER, images(5))
        there.status, there.refuses_zeros = 500, True
        for _ in range(MOST_PASSES + 1):
            with pytest.raises(Unencoded, match="answers nothing"):
                await encoders.rows(ENCODER, images(1, seed=2))


async def test_a_row_is_found_by_an_encoder_that_refuses_zeros(there: EncoderServer) -> None:
    """By what it has answered before, though now nothing else is asked."""
    there.refuses_zeros = True
    async with asking(there) as encoders:
        await encoders.rows(ENCODER, images(5))
        assert np.isnan(await encoders.rows(ENCODER, np.full((1, 4, 4), POISON, np.float32))).all()


async def test_no_row_stops_an_encoder_for_good(there: EncoderServer) -> None:
    """The first one ever, and zeros are refused as well: it is missing in the end, and the others are encoded."""
    there.refuses_zeros = True
    rows = images(3)
    rows[0, 1, 1] = POISON
    async with asking(there) as encoders:
        for _ in range(MOST_PASSES - 1):
            with pytest.raises(Unencoded, match="answers nothing"):
                await encoders.rows(ENCODER, rows)
        found = await encoders.rows(ENCODER, rows)
    assert np.isnan(found).all(axis=1).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("said", "asked", "words"),
    [
        ({"versions": ("1", "2")}, {}, "The encoder's version must be named"),
        ({"versions": ()}, {}, "The encoder's version must be named"),
        ({}, {"model": "other"}, r"other does not answer \(404\): Request for unknown model"),
        ({}, {"takes": "pixels"}, "The encoder has no input pixels"),
        ({}, {"gives": "logits"}, "The encoder has no output logits"),
        ({}, {"shape": (5,)}, r"The encoder takes image in the shape \[-1, 4, 4\], and rows have \[5\]"),
        ({"datatype": "BF16"}, {}, "takes 'BF16', which nothing is sent as"),
        ({"width": 1_000_000}, {}, "The width of an encoder is 1 to 16,384"),
    ],
)
async def test_an_encoder_that_cannot_be_used_is_refused_with_a_reason(
    there: EncoderServer, said: dict[str, object], asked: dict[str, object], words: str
) -> None:
    """Before any row is sent."""
    for name, value in said.items():
        setattr(there, name, value)
    wanted = {"of": "image", "shape": (4, 4), "model": "embedder", **asked}
    async with asking(there) as encoders:
        with pytest.raises((Unencoded, Unfit), match=words):
            await encoders.described(Asked(**wanted))  # type: ignore[arg-type]
    assert there.asked == []


@pytest.mark.parametrize(
    ("said", "shape", "expected"),
    [
        ({"most": 8}, (4, 4), ((4, 4), True, 8, WIDTH)),
        ({"most": None}, (4, 4), ((4, 4), True, 64, WIDTH)),
        ({"shape": (-1, 16)}, (4, 4), ((16,), True, 64, WIDTH)),
        ({"width": -1}, (4, 4), ((4, 4), True, 64, WIDTH)),
        ({"most": 0, "shape": (1, 4, 4)}, (4, 4), ((1, 4, 4), False, 1, WIDTH)),
    ],
)
async def test_what_an_encoder_takes_is_found_out(
    there: EncoderServer, said: dict[str, object], shape: tuple[int, ...], expected: tuple[object, ...]
) -> None:
    """Shapes of its own, batches that it knows or not, a width that it does not say: rows go through all the same."""
    for name, value in said.items():
        setattr(there, name, value)
    rows = images(20)
    async with asking(there) as encoders:
        one = await encoders.described(Asked("image", shape, "embedder", 3))
        found = await encoders.rows(one, rows)
    assert (one.takes_shape, one.batched, one.rows_at_once, one.width) == expected
    np.testing.assert_allclose(found, embedded(rows), rtol=1e-5, atol=1e-6)
