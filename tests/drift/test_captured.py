"""Captured samples: kept within their bytes by the read that hands them out, and told as Parquet that trainers read."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from drift.captured import batches_in, parquet_of
from drift.samples import Answer, Batch, Request, Role, Tensor, Totals, tensor_of
from drift.store import Store
from tests.drift.live import LEASE_MS, MODEL, Installation, request

AT_S = 1_000.0


def batch(*requests: Request, number: int = 1, keeper: str = "k") -> Batch:
    """One with these requests."""
    return Batch(MODEL, keeper, number, Totals(), requests)


def asked(key: int, *inputs: Tensor, at_s: float = AT_S, answers: tuple[Answer, ...] | None = None) -> Request:
    """One request, which version 1 answered with a score."""
    score = tensor_of("score", "FP32", np.array([[key / 8]], np.float32))
    own = (Answer(1, Role.STABLE, (score,)),) if answers is None else answers
    return Request(at_s, key, {"tier": "gold"}, inputs, own, id=f"id-{key}")


def pixels(key: int, datatype: str = "FP32") -> Tensor:
    """A row of three."""
    return tensor_of("pixels", datatype, np.full((1, 3), key, np.float64))


async def store_of(here: Installation, captured_bytes: int) -> Store:
    """A sidecar's store that captures so many bytes, and holds the model."""
    made = Store(here.url, here.keys, captured_bytes=lambda _: captured_bytes)
    assert await made.hold(MODEL, "t", LEASE_MS)
    return made


def captured(here: Installation) -> list[bytes]:
    """What is captured, the oldest first."""
    client: Any = here.client
    return [fields[b"b"] for _, fields in client.xrange(here.keys.captured(MODEL))]


async def test_what_is_handed_out_for_the_first_time_is_captured_once(here: Installation) -> None:
    """Not what is read again; acknowledging takes nothing of it away."""
    store = await store_of(here, 10_000_000)
    assert await store.sampled(MODEL, "t", ">", 10) == []
    written = [here.keeper.batch(request(nth, AT_S)) for nth in range(4)]
    for one in written:
        here.keeper.put(one)
    first = await store.sampled(MODEL, "t", ">", 3)
    assert first is not None
    assert captured(here) == written[:3]
    await store.sampled(MODEL, "t", "0", 10)
    assert captured(here) == written[:3]
    assert await store.step(MODEL, "t", {}, {}, [one.id for one in first])
    await store.sampled(MODEL, "t", ">", 10)
    assert captured(here) == written
    assert 0 < here.client.pttl(here.keys.captured(MODEL)) <= 7 * 24 * 3_600 * 1_000
    await store.close()


async def test_the_oldest_make_room(here: Installation) -> None:
    """To the byte; one that is longer than all that may be held is not held."""
    written = [here.keeper.batch(request(nth, AT_S, rows=20 + nth)) for nth in range(8)]
    store = await store_of(here, sum(map(len, written[-3:])))
    await store.sampled(MODEL, "t", ">", 1)
    for one in written:
        here.keeper.put(one)
        await store.sampled(MODEL, "t", ">", 10)
    assert captured(here) == written[-3:]
    small = Store(here.url, here.keys, captured_bytes=lambda _: 10)
    here.keeper.put(written[0])
    await small.sampled(MODEL, "t", ">", 10)
    assert captured(here) == []
    for opened in (store, small):
        await opened.close()


async def test_where_nothing_is_to_be_captured_what_was_is_gone(here: Installation) -> None:
    """At the next read."""
    store, none = await store_of(here, 10_000), await store_of(here, 0)
    await store.sampled(MODEL, "t", ">", 1)
    here.keeper.write(request(1, AT_S, rows=2))
    await store.sampled(MODEL, "t", ">", 10)
    assert len(captured(here)) == 1
    here.keeper.write(request(2, AT_S, rows=2))
    assert len(await none.sampled(MODEL, "t", ">", 10) or ()) == 1
    assert captured(here) == []
    for opened in (store, none):
        await opened.close()


async def test_who_does_not_hold_the_model_captures_nothing(here: Installation) -> None:
    """As it reads nothing."""
    store = await store_of(here, 10_000)
    await store.sampled(MODEL, "t", ">", 1)
    here.keeper.write(request(1, AT_S, rows=2))
    assert await store.sampled(MODEL, "another", ">", 10) is None
    assert captured(here) == []
    await store.close()


def test_a_file_has_a_row_for_each_answer_between_two_moments() -> None:
    """With the request's id, which version answered as what, when, and tensors with their shapes."""
    shadow = Answer(2, Role.SHADOW, None)
    both = asked(2, pixels(2), at_s=AT_S + 1, answers=(*asked(2).answers, shadow))
    requests = (asked(1, pixels(1)), both, asked(3, pixels(3), at_s=AT_S + 9))
    found = parquet_of([batch(*requests)], AT_S, AT_S + 5, {"episode": "ep"})
    table = pq.read_table(io.BytesIO(found.parquet))
    assert (found.rows, table.num_rows) == (3, 3)
    assert table["request_id"].to_pylist() == ["id-1", "id-2", "id-2"]
    assert table["version"].to_pylist() == [1, 1, 2]
    assert table["arm"].to_pylist() == ["stable", "stable", "shadow"]
    assert [one.timestamp() for one in table["at"].to_pylist()] == [AT_S, AT_S + 1, AT_S + 1]
    assert table["input.pixels"].to_pylist() == [[1.0] * 3, [2.0] * 3, [2.0] * 3]
    assert table["input_shape.pixels"].to_pylist() == [[1, 3]] * 3
    assert table["output.score"].to_pylist() == [[0.125], [0.25], None]
    assert [dict(one) for one in table["segment"].to_pylist()] == [{"tier": "gold"}] * 3
    assert json.loads(table.schema.metadata[b"sluice"]) == {"reader": 1, "episode": "ep", "rows": 3, "misfits": 0}


@pytest.mark.parametrize(
    "datatype",
    ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BF16"],
)
def test_numbers_of_every_type_come_as_they_were(datatype: str) -> None:
    """Halves as float32, which loses nothing."""
    found = parquet_of([batch(asked(1, pixels(1, datatype)))], 0, 1e9, {})
    (row,) = pq.read_table(io.BytesIO(found.parquet))["input.pixels"].to_pylist()
    assert [float(one) for one in row] == [1.0] * 3


@pytest.mark.parametrize("text", ["ä".encode(), b"\xff\x00"])
def test_texts_are_texts_where_all_of_them_are(text: bytes) -> None:
    """Else bytes."""
    values = np.empty((1, 1), object)
    values[0, 0] = text
    found = parquet_of([batch(asked(1, tensor_of("name", "BYTES", values)))], 0, 1e9, {})
    (row,) = pq.read_table(io.BytesIO(found.parquet))["input.name"].to_pylist()
    assert row == ([text.decode()] if text.isascii() or text[0] == 0xC3 else [text])


def test_a_tensor_of_another_type_is_null_and_counted() -> None:
    """The column is that of most; a request that lacks it is no misfit."""
    odd, none = asked(3, pixels(3, "INT64")), asked(4)
    found = parquet_of([batch(asked(1, pixels(1)), asked(2, pixels(2)), odd, none)], 0, 1e9, {})
    table = pq.read_table(io.BytesIO(found.parquet))
    assert table["input.pixels"].to_pylist() == [[1.0] * 3, [2.0] * 3, None, None]
    assert json.loads(table.schema.metadata[b"sluice"])["misfits"] == 1


def test_a_file_of_no_rows_is_a_file() -> None:
    """Readers need no case of their own."""
    found = parquet_of([], 0, 1, {})
    assert (found.rows, pq.read_table(io.BytesIO(found.parquet)).num_rows) == (0, 0)


def test_a_batch_that_comes_twice_counts_once() -> None:
    """Put aside and captured still, or written twice; what nobody can read hides no other."""
    one, two = batch(asked(1)), batch(asked(2), number=2)
    blobs = [one.encode(), b"damaged", two.encode(), one.encode(), batch(asked(1), keeper="other").encode()]
    assert [(found.keeper, found.number) for found in batches_in(blobs)] == [("k", 1), ("k", 2), ("other", 1)]
    assert [found.requests[0].id for found in batches_in(blobs)] == ["id-1", "id-2", "id-1"]
