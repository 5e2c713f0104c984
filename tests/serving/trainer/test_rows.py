"""What is trained on: rows whose labels are known, each once, and none of them on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from serving.trainer.rows import HELD, Rows, Unusable, labels_in, rows_in, split, window_in
from tests.serving.trainer.rooms import asked, window


def test_a_row_is_held_out_or_not_whoever_asks_it(tmp_path: Path) -> None:
    """The same rows in another order, and some of them again: the sides are the same, and have no row in common."""
    pixels, _, labels = asked()
    rows = Rows(pixels, np.array(labels))
    again = np.random.default_rng(1).integers(0, len(rows), 300)
    fresh, held = split(rows)
    later, later_held = split(Rows(rows.inputs[again], rows.labels[again]))
    sides = [{row.tobytes() for row in side.inputs} for side in (fresh, held, later, later_held)]
    assert not sides[0] & sides[1]
    assert sides[2] <= sides[0]
    assert sides[3] <= sides[1]
    assert abs(len(held) / len(rows) - HELD) < 4 * np.sqrt(HELD * (1 - HELD) / len(rows))


def test_rows_of_the_window_are_those_whose_labels_are_known(tmp_path: Path) -> None:
    """By request id, each row once; one without a label, and one that was not kept, are left out."""
    (tmp_path / "window.parquet").write_bytes(window())
    pixels, ids, labels = asked()
    known = dict(zip(ids[:50], labels[:50], strict=True))
    found = window_in(tmp_path / "window.parquet", "pixels", known)
    assert np.array_equal(found.inputs, pixels[:50])
    assert found.labels.tolist() == labels[:50]


def test_a_row_that_was_asked_twice_counts_once(tmp_path: Path) -> None:
    """Else whoever asks most would decide; a request whose inputs were redacted has no row."""
    table = pa.table({"request_id": ["a", "b", "c"], "input.pixels": [[1.0, 2.0], [1.0, 2.0], None]})
    parquet.write_table(table, tmp_path / "window.parquet")
    found = window_in(tmp_path / "window.parquet", "pixels", {"a": 1, "b": 1, "c": 2})
    assert (found.inputs.tolist(), found.labels.tolist()) == ([[1.0, 2.0]], [1])


def test_without_labels_there_are_no_rows(tmp_path: Path) -> None:
    """They may come later."""
    (tmp_path / "window.parquet").write_bytes(window())
    assert len(window_in(tmp_path / "window.parquet", "pixels", {})) == 0


def test_labels_are_the_lines_of_feedback(tmp_path: Path) -> None:
    """Lines of metrics, torn ones and those of texts are passed over."""
    lines = [
        json.dumps({"request_id": "a", "label": 3, "predicted": 4}), json.dumps({"request_id": "b", "label": "7"}),
        json.dumps({"request_id": "c", "metrics": {"reward": 1}}), json.dumps({"request_id": "d", "label": "cat"}),
        "[]", '{"request_id": "e", "lab',
    ]  # fmt: skip
    (tmp_path / "labels.jsonl").write_text("\n".join(lines))
    assert labels_in(tmp_path / "labels.jsonl") == {"a": 3, "b": 7}


def test_what_cannot_be_used_is_said(tmp_path: Path) -> None:
    """No file, another file, no label: a sentence each."""
    (tmp_path / "window.parquet").write_bytes(window())
    (tmp_path / "text").write_text("neither")
    np.savez(tmp_path / "other.npz", pixels=np.zeros((2, 64)), labels=np.zeros(3))
    for use, words in (
        (lambda: labels_in(tmp_path / "nowhere"), "cannot be read"),
        (lambda: rows_in(tmp_path / "text", "pixels"), "cannot be read"),
        (lambda: rows_in(tmp_path / "other.npz", "pixels"), "3 labels"),
        (lambda: rows_in(tmp_path / "other.npz", "x"), "cannot be read"),
        (lambda: window_in(tmp_path / "text", "pixels", {}), "cannot be read"),
        (lambda: window_in(tmp_path / "window.parquet", "x", {}), "no column input.x"),
    ):
        with pytest.raises(Unusable, match=words):
            use()
