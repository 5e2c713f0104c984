"""Embeddings stand where their inputs stood: of the right rows, in their order, and missing where there are none."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from drift import baseline as baselines
from drift import encoding
from drift.baseline import Baseline, Order, made
from drift.encoding import Encoder
from drift.errors import Damaged, Unfit
from drift.flattening import Part, row_keys
from drift.samples import Role
from drift.schema import Broken, Declared
from drift.tables import Table
from drift.watched import folded
from registry.models import ModelName, VersionNumber
from registry.signature import Signature, TensorSpec
from tests.drift.encoder import ENCODER, WIDTH, embedded, images

OF = {1: (ENCODER,)}


def part(columns: dict[str, NDArray[Any]], version: int = 1, seed: int = 1) -> Part:
    """Rows of one version."""
    table = Table(columns)
    rows = table.rows
    return Part(version, Role.STABLE, table, None, row_keys(seed, rows), np.full(rows, 9.0), ({},) * rows)


def baseline(rows: int = 2_000) -> Baseline:
    """Of images through the encoder, and a price beside them."""
    rng = np.random.default_rng(5)
    table = Table({"image": images(rows, 7), "price": rng.normal(size=rows)}, ordered=True)
    order = Order(ModelName("demo"), VersionNumber(1), window_rows=100, encoders=(ENCODER,))
    return made(order, table, None, 1.0, embedded={ENCODER.column: embedded(table.columns["image"])})


@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 2), st.sampled_from(["fits", "other shape", "absent"])),
        min_size=1, max_size=8,
    )
)  # fmt: skip
def test_each_row_gets_its_own_embedding(plan: list[tuple[int, int, str]]) -> None:
    """Whatever lies between: parts of versions without encoders, and tensors that cannot be encoded."""
    parts = []
    for seed, (rows, version, how) in enumerate(plan):
        columns: dict[str, NDArray[Any]] = {"price": np.zeros(rows)}
        if how != "absent":
            columns["image"] = images(rows, seed) if how == "fits" else np.zeros((rows, 2))
        parts.append(part(columns, version, seed))
    wanted = encoding.wanted(parts, OF)
    found = encoding.with_embeddings(parts, OF, {one: embedded(rows) for one, rows in wanted.items()})
    for one, before, (_, version, how) in zip(found, parts, plan, strict=True):
        assert one.inputs is before.inputs
        if version == 1 and how == "fits":
            np.testing.assert_array_equal(one.embedded[ENCODER.column], embedded(before.inputs.columns["image"]))
        else:
            assert not one.embedded


def test_parts_of_a_part_keep_their_embeddings() -> None:
    """As they keep their rows."""
    [whole] = encoding.with_embeddings([part({"image": images(6)})], OF, {ENCODER: embedded(images(6))})
    some = whole.part(np.array([4, 1]))
    np.testing.assert_array_equal(some.embedded[ENCODER.column], embedded(images(6))[[4, 1]])


def test_a_baseline_says_what_encodes_what() -> None:
    """It comes back from its bytes; one without encoders has the bytes that it always had."""
    one = baseline()
    again = baselines.read(one.blob)
    assert again.encoders == (ENCODER,)
    assert again.digest == one.digest
    assert [column.name for column in again.inputs.schema.columns] == ["price", "image.embedding"]
    assert b"encoders" not in dataclasses.replace(one, encoders=()).blob
    with pytest.raises(Damaged, match="version of an encoder"):
        baselines.read(dataclasses.replace(one, encoders=(_with_version(0),)).blob)


def _with_version(version: int) -> Encoder:
    """An encoder that could not be made."""
    odd = dataclasses.replace(ENCODER)
    object.__setattr__(odd, "version", version)
    return odd


def test_live_rows_are_folded_by_their_embeddings() -> None:
    """Calm ones fit; what they were made of is no extra column."""
    rows = images(100, 11)
    live = part({"image": rows, "price": np.zeros(100)})
    window = folded(baseline(), dataclasses.replace(live, embedded={ENCODER.column: embedded(rows)}))
    assert window.inputs.breaks == ()
    assert window.inputs.kept.numbers.shape == (100, 1 + WIDTH)
    assert not np.isnan(window.inputs.kept.numbers).any()


@pytest.mark.parametrize(
    ("column", "how", "words"),
    [
        (np.zeros((5, 3), np.float32), Broken.SHAPE, "has rows of the shape [3], and was trained on [4, 4]"),
        (np.full((5, 4, 4), "a", object), Broken.KIND, "holds something else where it held numbers"),
        (None, Broken.ABSENT, "'image' is not there"),
    ],
)
def test_what_cannot_be_encoded_is_a_break_and_missing(
    column: NDArray[Any] | None, how: Broken, words: str
) -> None:  # fmt: skip
    """Said of the tensor as it came, once, and of no embedding."""
    columns: dict[str, NDArray[Any]] = {"price": np.zeros(5), **({} if column is None else {"image": column})}
    window = folded(baseline(), part(columns))
    [broken] = window.inputs.breaks
    assert (broken.how, broken.column) == (how, "image")
    assert words in broken.sentence
    assert np.isnan(window.inputs.kept.numbers[:, 1:]).all()


def test_tensors_are_cut_into_rows_as_they_come() -> None:
    """The widths that rows are cut by are those of the tensor, not of its embedding."""
    assert encoding.widths((ENCODER,), {"price": 1, "image.embedding": WIDTH}) == {"price": 1, "image": 16}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"of": "a/b"}, "no name of a model"),
        ({"shape": (0,)}, "fixed shape"),
        ({"shape": (5,)}, r"A row of \[5\] is none of \[4, 4\]"),
        ({"datatype": "UINT128"}, "which nothing is sent as"),
        ({"version": True}, "The version of an encoder"),
        ({"rows_at_once": 65}, "The rows_at_once of an encoder"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused(said: dict[str, Any], words: str) -> None:
    """Where it is made, and where it is read."""
    with pytest.raises(Unfit, match=words):
        Encoder(**{**ENCODER.plain(), **said})


@pytest.mark.parametrize(
    ("columns", "declared", "given", "words"),
    [
        ({"price": np.zeros(2_000)}, Declared(), {}, "there is no such column"),
        ({"image": images(2_000), "image.embedding": np.zeros(2_000)}, Declared(), {}, "there is such"),
        ({"image": images(2_000)}, Declared(), {}, "made an embedding of no row of image"),
        ({"image": images(2_000)}, Declared(wide=frozenset({"nothing"})), {"image.embedding": 1}, "nothing"),
    ],
)  # fmt: skip
def test_what_no_baseline_can_be_made_of_is_refused(
    columns: dict[str, NDArray[Any]], declared: Declared, given: dict[str, int], words: str
) -> None:
    """With a reason."""
    embeddings = {name: embedded(images(2_000)) for name in given}
    order = Order(ModelName("demo"), VersionNumber(1), None, declared, window_rows=100, encoders=(ENCODER,))
    with pytest.raises(Unfit, match=words):
        made(order, Table(columns, ordered=True), None, 1.0, embedded=embeddings)


def test_the_signature_is_of_what_comes() -> None:
    """Rows are held against it before they are encoded, and an embedding may be declared as wide."""
    signature = Signature((TensorSpec("image", "FP32", (-1, 4, 4)),), (TensorSpec("y", "FP32", (-1, 1)),))
    declared = Declared(wide=frozenset({ENCODER.column}))
    order = Order(ModelName("demo"), VersionNumber(1), signature, declared, window_rows=100, encoders=(ENCODER,))
    table = Table({"image": images(2_000)}, ordered=True)
    one = made(order, table, None, 1.0, embedded={ENCODER.column: embedded(images(2_000))})
    assert one.inputs.schema.features == ("image.embedding.present",)
