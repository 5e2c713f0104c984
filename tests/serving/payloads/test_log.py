"""What is kept becomes rows, rows become files, files give way; and nothing stands in a file that should not."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.captured import Answered, Captured
from serving.payloads.counts import Counts, read_counts, write_counts
from serving.payloads.files import Unfinished, finished_in, place_of, remove_oldest, sweep
from serving.payloads.form import MOST_COLUMNS, Form
from serving.payloads.log import PayloadLog
from serving.payloads.reading import KeptRow, rows_in, told_in
from serving.payloads.rows import rows_of
from serving.payloads.rules import Kept, PayloadRules, in_share, kept_because, redacted
from tests.serving.payloads.made import NOW_S, answered, body, captured, rules


def written(
    folder: Path, *several: Captured, redact: tuple[str, ...] = (), exact: tuple[str, ...] = ()
) -> list[KeptRow]:
    """What stands in the files once these were kept."""
    log = PayloadLog(rules(folder), NOW_S)
    for one in several:
        log.add(rows_of(one, Kept.SAMPLE, redact, exact), NOW_S)
    log.close(NOW_S)
    assert not log.counts.dropped
    return list(rows_in(one.path for one in finished_in(folder)))


def test_a_request_is_a_row_with_all_that_it_held(tmp_path: Path) -> None:
    """Tensors with their types and shapes, and what is known of the request beside them."""
    [row] = written(tmp_path, captured(9, segment={"country": "de"}))
    assert {name: (one.datatype, one.values.tolist()) for name, one in row.inputs.items()} == {
        "amount": ("FP32", [1.5, 2.5]), "card": ("BYTES", [b"4111", b"4222"]),
    }  # fmt: skip
    assert row.outputs["score"].values.tolist() == [0.25, 0.75]
    about = row.about
    assert (row.model, about["request_id"], about["nonce"], about["epoch"], about["role"]) == (
        "fraud",
        "id-9",
        9,
        7,
        "first",
    )
    assert (about["outcome"], about["code"], about["kept"], about["unread"]) == ("ok", 200, "sample", None)
    assert (about["at"].timestamp(), dict(about["segment"])) == (NOW_S, {"country": "de"})


def test_each_copy_is_a_row_of_its_own_versions_file(tmp_path: Path) -> None:
    """The candidate's answer, and the one that says how noisy stable is; none is there twice."""
    both = captured(3, first=answered(1), copies=(answered(2), answered(1)))
    rows = written(tmp_path, both)
    assert sorted((one.about["role"], one.about["answered"]) for one in rows) == [
        ("first", 1),
        ("noise", 1),
        ("shadow", 2),
    ]
    assert {one.about["shadow"] for one in rows} == {"shadow-salt"}
    assert {(one.model, one.version) for one in finished_in(tmp_path)} == {("fraud", 1), ("fraud", 2)}


def test_the_same_row_is_kept_once(tmp_path: Path) -> None:
    """A request that is handed over twice, once with its copy, adds the copy's row only."""
    log = PayloadLog(rules(tmp_path), NOW_S)
    log.add(rows_of(captured(3), Kept.SAMPLE), NOW_S)
    log.add(rows_of(captured(3, copies=(answered(2),)), Kept.DISAGREEMENT), NOW_S)
    log.close(NOW_S)
    assert [one.about["role"] for one in rows_in(x.path for x in finished_in(tmp_path))] == ["first", "shadow"]
    assert log.counts.dropped == {"twice": 1}


def test_redacted_values_are_in_no_file(tmp_path: Path) -> None:
    """By a pattern, by one for this model, by the comparison's own; of inputs, outputs and segments. Columns stay."""
    said = captured(1, segment={"card-holder": "Ada Lovelace"}, request=body("inputs", card=("BYTES", ["secret-4111"])))
    rows = written(tmp_path, said, redact=("ca*",), exact=("score",))
    [row] = rows
    assert (dict(row.inputs), dict(row.outputs), set(row.hidden)) == ({}, {}, {"card", "score"})
    assert row.shapes == {"input.card": (1,), "output.score": (2,)}
    assert dict(row.about["segment"]) == {"card-holder": None}
    [file] = tmp_path.rglob("*.parquet")
    assert b"secret" not in file.read_bytes()
    assert b"Lovelace" not in file.read_bytes()
    assert pq.read_schema(file).field("input.card").metadata == {b"datatype": b"BYTES"}


@pytest.mark.parametrize(
    ("pattern", "hidden"),
    [
        ("card", True),
        ("fraud:card", True),
        ("other:card", False),
        ("*", True),
        ("car?", True),
        ("Card", False),
        ("car", False),
    ],
)
def test_a_pattern_names_tensors_of_all_models_or_of_one(pattern: str, *, hidden: bool) -> None:
    """`*` is anything, case counts."""
    assert (redacted("fraud", ["card"], [pattern]) == {"card"}) is hidden


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (captured(request=b"\x00 4111"), "the request: not as the protocol has it (JSONDecodeError)"),
        (captured(first=answered(body=b"{}")), "the answer: it names no outputs"),
        (
            captured(first=Answered(1, "ok", 200, 0.1, b"", None, 9_000_000)),
            "the answer is longer than may be captured",
        ),
    ],
    ids=["request", "answer", "long"],
)
def test_what_cannot_be_read_is_a_row_that_says_so(said: Captured, why: str, tmp_path: Path) -> None:
    """Without a value of it."""
    [row] = written(tmp_path, said)
    assert row.about["unread"] == why


def test_a_failure_keeps_its_request_and_none_of_its_words(tmp_path: Path) -> None:
    """What a failing model says may quote the request."""
    failed = answered(outcome="server_error", code=500, body=b'{"error": "no such card: 4111"}')
    [row] = written(tmp_path, captured(1, first=failed))
    assert (row.about["outcome"], row.about["code"], row.about["unread"], dict(row.outputs)) == (
        "server_error",
        500,
        None,
        {},
    )
    assert row.inputs.keys() == {"amount", "card"}


def test_errors_and_disagreements_are_kept_whatever_the_share() -> None:
    """A client's mistake is no error; a copy's failure is one."""
    assert kept_because(captured(), 0, disagrees=False) is None
    assert kept_because(captured(), 1_000_000, disagrees=False) is Kept.SAMPLE
    assert kept_because(captured(), 0, disagrees=True) is Kept.DISAGREEMENT
    assert kept_because(captured(first=answered(outcome="late", code=504)), 0, disagrees=True) is Kept.ERROR
    assert kept_because(captured(copies=(answered(2, "broken", 502),)), 0, disagrees=False) is Kept.ERROR
    assert kept_because(captured(first=answered(outcome="client_error", code=400)), 0, disagrees=False) is None


@given(st.integers(0, 2**64 - 1), st.integers(0, 1_000_000), st.integers(0, 1_000_000))
def test_a_larger_share_holds_a_smaller_one(nonce: int, one: int, other: int) -> None:
    """So that raising it loses nobody, and every arm keeps the same requests."""
    assert in_share(nonce, min(one, other)) <= in_share(nonce, max(one, other))


def test_the_share_is_kept() -> None:
    """A tenth of 20,000 nonces, within five standard deviations."""
    kept = sum(in_share(nonce * 0x9E3779B97F4A7C15 % 2**64, 100_000) for nonce in range(20_000))
    assert abs(kept - 2_000) < 5 * (20_000 * 0.1 * 0.9) ** 0.5


_KINDS = st.sampled_from(["FP32", "TEXT", "BYTES", "INT64"])
_FORMS = st.dictionaries(st.sampled_from(["input.a", "input.b", "output.c"]), _KINDS).map(Form)


@given(_FORMS, _FORMS)
def test_joined_forms_hold_both(one: Form, other: Form) -> None:
    """And where two forms cannot be joined, a tensor has two types that nothing holds."""
    joined = one.joined(other)
    if joined is not None:
        assert joined.holds(one)
        assert joined.holds(other)
        assert joined.columns.keys() == one.columns.keys() | other.columns.keys()
    else:
        both = one.columns.keys() & other.columns.keys()
        assert any({one.columns[name], other.columns[name]} - {"TEXT", "BYTES"} for name in both)


def test_a_form_has_an_end() -> None:
    """Columns that strangers can invent are bounded."""
    large = Form({f"input.{number}": "FP32" for number in range(MOST_COLUMNS)})
    assert large.joined(Form({"input.more": "FP32"})) is None


def test_rows_of_other_forms_do_not_make_a_file_each(tmp_path: Path) -> None:
    """An optional input widens the form once; a type that changes to and fro has one file for each type."""
    with_note = body("inputs", amount=("FP32", [1.0]), note=("BYTES", ["x"]))
    without = body("inputs", amount=("FP32", [1.0]))
    whole = body("inputs", amount=("INT64", [1]))
    log = PayloadLog(rules(tmp_path), NOW_S)
    for nonce in range(30):
        log.add(rows_of(captured(nonce, request=(without, with_note, whole)[nonce % 3]), Kept.SAMPLE), NOW_S)
    log.close(NOW_S)
    files = told_in(tmp_path)
    assert sorted(one.rows for one in files) == [1, 10, 19]
    assert sum(one.rows for one in files) == log.counts.rows == 30
    assert [row.about["nonce"] for row in rows_in(one.path for one in files) if "note" in row.inputs] == list(
        range(1, 30, 3)
    )


def test_bytes_that_are_no_text_widen_the_column(tmp_path: Path) -> None:
    """Texts before and after them are read back as they were."""
    head = b'{"inputs":[{"name":"t","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}'
    length = b"inference-header-content-length: %d\r\n" % len(head)
    binary = replace(captured(2, request=head + b"\x02\0\0\0\xff\xfe"), headers=length)
    text = body("inputs", t=("BYTES", ["é"]))
    rows = written(tmp_path, captured(1, request=text), binary, captured(3, request=text))
    assert [row.inputs["t"].values.tolist() for row in rows] == [["é".encode()], [b"\xff\xfe"], ["é".encode()]]
    assert len(finished_in(tmp_path)) == 2


def test_half_precision_is_widened_and_read_back(tmp_path: Path) -> None:
    """FP16 and BF16 stand as float32, and are what they were when they are read."""
    values = np.array([1.5, -2.25, np.inf], dtype="<f2")
    head = json.dumps({"outputs": [
        {"name": "h", "datatype": "FP16", "shape": [3], "parameters": {"binary_data_size": 6}},
        {"name": "b", "datatype": "BF16", "shape": [1], "parameters": {"binary_data_size": 2}},
    ]}).encode()  # fmt: skip
    first = answered(
        body=head + values.tobytes() + b"\xc0\x3f", headers=b"inference-header-content-length: %d\r\n" % len(head)
    )
    [row] = written(tmp_path, captured(1, first=first))
    assert (row.outputs["h"].datatype, row.outputs["h"].values.dtype.str) == ("FP16", "<f2")
    np.testing.assert_array_equal(row.outputs["h"].values, values)
    assert (row.outputs["b"].datatype, row.outputs["b"].values.tolist()) == ("BF16", [1.5])


def test_files_end_by_size_and_by_age(tmp_path: Path) -> None:
    """And have a mode that keeps everybody else out, as have the folders."""
    log = PayloadLog(rules(tmp_path / "log", file_s=10, file_bytes=600), NOW_S)
    log.add(rows_of(captured(1), Kept.SAMPLE), NOW_S)
    assert len(finished_in(tmp_path / "log")) == 1
    slow = PayloadLog(rules(tmp_path / "log", file_s=10), NOW_S)
    slow.add(rows_of(captured(2), Kept.SAMPLE), NOW_S)
    slow.tick(NOW_S + 9)
    assert len(finished_in(tmp_path / "log")) == 1
    slow.tick(NOW_S + 10)
    assert len(finished_in(tmp_path / "log")) == 2
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "log").rglob("*") if path.is_dir()}
    assert modes == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*.parquet")} == {0o600}


def test_the_oldest_files_give_way(tmp_path: Path) -> None:
    """By bytes, by number and by age; what is left is the newest."""
    for number in range(6):
        one = Unfinished(tmp_path, "m", 1, f"{(number + 1) * 1_000_000:016d}-{'0' * 16}-{number:06d}")
        one.file.write(b"x" * 100)
        one.finish()
    assert remove_oldest(tmp_path, most_bytes=450, before_us=0) == 2
    assert remove_oldest(tmp_path, most_bytes=450, before_us=0, most_files=3) == 1
    assert remove_oldest(tmp_path, most_bytes=450, before_us=6_000_000) == 2
    assert [one.begun_us for one in finished_in(tmp_path)] == [6_000_000]


def test_a_log_keeps_to_its_bounds(tmp_path: Path) -> None:
    """Whatever is written, the files together stay below, and what went is counted."""
    log = PayloadLog(rules(tmp_path, max_bytes=40_000, file_bytes=5_000, keep_s=1e9), NOW_S)
    for nonce in range(300):
        log.add(rows_of(captured(nonce), Kept.SAMPLE), NOW_S + nonce)
    log.close(NOW_S + 300)
    files = finished_in(tmp_path)
    assert 0 < sum(one.size for one in files) <= 40_000
    assert log.counts.removed == log.counts.files - len(files) > 0
    assert list(rows_in([files[-1].path]))[-1].about["nonce"] == 299


def test_a_disk_that_refuses_costs_rows_and_nothing_else(tmp_path: Path) -> None:
    """They are counted, the disk is left alone for a while, and then it goes on."""
    log = PayloadLog(rules(tmp_path), NOW_S)
    place_of(tmp_path, "fraud", 1).parent.write_text("a file where a folder should be")
    log.add(rows_of(captured(1), Kept.SAMPLE), NOW_S)
    log.add(rows_of(captured(2), Kept.SAMPLE), NOW_S + 1)
    assert log.counts.dropped == {"disk": 2}
    place_of(tmp_path, "fraud", 1).parent.unlink()
    log.add(rows_of(captured(3), Kept.SAMPLE), NOW_S + 6)
    log.close(NOW_S + 6)
    assert [row.about["nonce"] for row in rows_in(one.path for one in finished_in(tmp_path))] == [3]


def test_a_folder_that_is_taken_away_costs_its_rows(tmp_path: Path) -> None:
    """The next file is made anew."""
    log = PayloadLog(rules(tmp_path / "log"), NOW_S)
    log.add(rows_of(captured(1), Kept.SAMPLE), NOW_S)
    (tmp_path / "log").rename(tmp_path / "elsewhere")
    log.close(NOW_S)
    assert log.counts.dropped == {"disk": 1}
    log.add(rows_of(captured(2), Kept.SAMPLE), NOW_S + 10)
    log.close(NOW_S + 10)
    assert [row.about["nonce"] for row in rows_in(one.path for one in finished_in(tmp_path / "log"))] == [2]


@pytest.mark.parametrize("model", ["fraud", "..", "a/b", "ü ü", "m=1", "%2e"])
def test_any_name_of_a_model_is_a_folder_of_its_own(model: str, tmp_path: Path) -> None:
    """And is read back as it was; no name leads out of the log."""
    [row] = written(tmp_path / "log", captured(1, model=model))
    assert row.model == model
    assert [one.model for one in finished_in(tmp_path / "log", model)] == [model]
    assert list(tmp_path.iterdir()) == [tmp_path / "log"]


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """What somebody else put there is neither read nor removed."""
    place = place_of(tmp_path, "m", 1)
    place.mkdir(parents=True)
    for name in ("notes.parquet", "notes.txt", ".hidden"):
        (place / name).write_text("mine")
    assert finished_in(tmp_path) == []
    assert sweep(tmp_path) == 0
    assert remove_oldest(tmp_path, most_bytes=0, before_us=2**62) == 0
    assert len(list(place.iterdir())) == 3


def test_counts_of_several_processes_are_added_up(tmp_path: Path) -> None:
    """A damaged one counts for nothing."""
    one, other = Counts(rows=3, files=1, removed=2), Counts(rows=4)
    one.dropped["queue"] += 5
    other.dropped.update({"queue": 1, "disk": 2})
    write_counts(tmp_path, "a", one, NOW_S)
    write_counts(tmp_path, "b", other, NOW_S)
    (tmp_path / ".counts" / "c.json").write_text("{")
    total = read_counts(tmp_path)
    assert (total.rows, total.files, total.removed, dict(total.dropped)) == (7, 1, 2, {"queue": 6, "disk": 2})


def test_rules_travel_and_refuse_what_is_none(tmp_path: Path) -> None:
    """As one line of JSON."""
    some = rules(tmp_path, redact=("a", "b:*"))
    assert PayloadRules.from_json(some.to_json()) == some
    for wrong in ({"folder": "relative"}, {"share_ppm": -1}, {"file_bytes": 0}, {"file_s": 0}, {"nonsense": 1}):
        with pytest.raises(ValueError, match="payload log"):
            PayloadRules.from_json(json.dumps({**json.loads(some.to_json()), **wrong}))
