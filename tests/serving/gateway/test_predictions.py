"""What an answer predicts is read off it in each of its forms, and what cannot be read is not counted."""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from router.observed import Observed, Reading
from router.policy import Arm, Policy
from serving.gateway.counters import MOST_LABELS, OTHER, Outcome, Role, Series
from serving.gateway.predictions import LONGEST_LABEL, MOST_BYTES, MOST_PER_S, Observer, score_label
from serving.gateway.telling import Telling
from serving.totals import message_from
from tests.examples import examples
from tests.serving.gateway.rig import running
from tests.serving.gateway.upstream import answers
from tests.serving.gateway.wire import ok, post

CLASS, SCORE = Observer(Observed("out")), Observer(Observed("out", Reading.SCORE))
FORMATS = {
    "BOOL": "?", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q", "INT8": "b", "INT16": "h", "INT32": "i",
    "INT64": "q", "FP16": "e", "FP32": "f", "FP64": "d",
}  # fmt: skip
CLASSES: list[tuple[str, list[int], list[Any], str | None]] = [
    ("FP32", [1, 3], [0.1, 0.7, 0.2], "1"),
    ("FP64", [2, 2], [0.1, 0.7, 0.9, 0.2], "1"),
    ("FP16", [3], [0.5, 0.25, 0.125], "0"),
    ("FP32", [1, 1], [0.7], None),
    ("INT64", [1], [-7], "-7"),
    ("UINT8", [2, 1], [3, 4], "3"),
    ("BOOL", [1], [True], "1"),
    ("FP32", [0], [], None),
]


def in_json(datatype: str, shape: list[int], data: list[Any]) -> tuple[bytes, bytes]:
    """Head and body of an answer with this output second."""
    first = {"name": "other", "datatype": "INT32", "shape": [1], "data": [9]}
    outputs = [first, {"name": "out", "datatype": datatype, "shape": shape, "data": data}]
    return b"Content-Type: application/json\r\n", json.dumps({"outputs": outputs}).encode()


def in_binary(datatype: str, shape: list[int], raw: bytes) -> tuple[bytes, bytes]:
    """The same with tensors after the JSON, this one second."""
    outputs = [
        {"name": "other", "datatype": "INT32", "shape": [1], "parameters": {"binary_data_size": 4}},
        {"name": "third", "datatype": "INT32", "shape": [1], "data": [9]},
        {"name": "out", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}},
    ]
    header = json.dumps({"outputs": outputs}).encode()
    return b"X: y\r\nInference-Header-Content-Length: %d\r\n" % len(header), header + b"\1\2\3\4" + raw + b"rest"


def in_message(datatype: str, shape: list[int], raw: bytes) -> bytes:
    """The same over gRPC."""
    other = pb.ModelInferResponse.InferOutputTensor(name="other", datatype="INT32", shape=[1])
    ours = pb.ModelInferResponse.InferOutputTensor(name="out", datatype=datatype, shape=shape)
    message = pb.ModelInferResponse(model_name="m", outputs=[other, ours], raw_output_contents=[b"\1\2\3\4", raw])
    data: bytes = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def packed(datatype: str, values: list[Any]) -> bytes:
    """A tensor's bytes."""
    return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)


@pytest.mark.parametrize(("datatype", "shape", "values", "label"), CLASSES, ids=range(len(CLASSES)))
def test_a_class_is_read_alike_in_every_form(datatype: str, shape: list[int], values: list[Any], label: str) -> None:
    """The first element: the place of the largest of a row, or the number that it is."""
    raw = packed(datatype, values)
    assert CLASS.label(*in_json(datatype, shape, values)) == label
    assert CLASS.label(*in_binary(datatype, shape, raw)) == label
    assert CLASS.label_of_message(in_message(datatype, shape, raw)) == label


def test_a_row_may_be_nested_and_its_numbers_written_without_a_point() -> None:
    """As other servers than Triton write JSON."""
    assert CLASS.label(*in_json("FP32", [2, 3], [[0, 0, 1], [1, 0, 0]])) == "2"


def test_text_is_a_class_by_itself() -> None:
    """Up to so many characters of it, in every form."""
    text, shape = "größer" * 20, [1]
    raw = struct.pack("<I", len(text.encode())) + text.encode()
    expected = text[:LONGEST_LABEL]
    assert CLASS.label(*in_json("BYTES", shape, [text])) == expected
    assert CLASS.label(*in_binary("BYTES", shape, raw)) == expected
    assert CLASS.label_of_message(in_message("BYTES", shape, raw)) == expected
    assert SCORE.label(*in_json("BYTES", shape, [text])) is None


def test_half_a_float_of_the_brain_kind() -> None:
    """Whose bytes are the upper half of a float's."""
    raw = b"".join(struct.pack("<f", value)[2:] for value in (0.25, 0.5))
    assert CLASS.label(*in_binary("BF16", [1, 2], raw)) == "1"
    assert SCORE.label(*in_binary("BF16", [1, 2], raw)) == score_label(0.25)


@settings(max_examples=examples(200))
@given(st.floats(-(2.0**99), 2.0**99, width=32))
def test_a_score_is_read_alike_in_every_form(value: float) -> None:
    """By its bucket."""
    raw, label = packed("FP32", [value]), score_label(value)
    assert SCORE.label(*in_json("FP32", [1, 1], [value])) == label
    assert SCORE.label(*in_binary("FP32", [1, 1], raw)) == label
    assert SCORE.label_of_message(in_message("FP32", [1, 1], raw)) == label


def bucket(value: float) -> int:
    """A score's place among all."""
    return int(score_label(value)[1:])


@given(st.floats(2**-19, 1e30), st.floats(1, 4))
def test_buckets_of_scores_keep_their_order(value: float, times: float) -> None:
    """A larger score is in no lower bucket, a quarter of a power of two apart in another, and signs are mirrored."""
    assert bucket(value) <= bucket(value * times)
    assert bucket(value) < bucket(value * 1.26)
    assert bucket(-value) == -bucket(value) < 0
    assert score_label(0.0) == score_label(-0.0) == score_label(1e-9) == score_label(-1e-9) == "b0"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_no_number_is_a_class_of_its_own(value: float) -> None:
    """A model that answers so is seen to."""
    assert SCORE.label(*in_binary("FP32", [1], packed("FP32", [value]))) == str(value)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b"[]", b"[" * 9_000, b'{"outputs":[]}', b'{"outputs":[{"name":"out"}]}', b'{"outputs":[null]}',
        b'{"outputs":[{"name":"out","datatype":"INT8","shape":[1],"data":[]}]}',
        b'{"outputs":[{"name":"out","datatype":"INT8","shape":["x"],"data":[1]}]}',
        b'{"outputs":[{"name":"out","datatype":"INT8","shape":[1],"data":[{}]}]}',
        b'{"outputs":[{"name":"out","datatype":"INT8","shape":[1],"parameters":{"binary_data_size":9}}]}',
        b'{"outputs":[{"name":"out","datatype":"ODD","shape":[1],"parameters":{"binary_data_size":0}}]}',
        b'{"outputs":[{"name":"out","datatype":"FP32","shape":[1e300],"parameters":{"binary_data_size":0}}]}',
        b'{"outputs":[{"name":"out","datatype":"FP32","shape":[99999999999],"parameters":{"binary_data_size":0}}]}',
        b'{"outputs":[{"name":"out","datatype":"FP32","shape":[1],"data":[1.0]}]}' + b" " * MOST_BYTES,
    ],
    ids=range(15),
)  # fmt: skip
def test_what_cannot_be_read_is_not_counted(body: bytes) -> None:
    """Nothing is raised either."""
    assert CLASS.label(b"", body) is None
    assert SCORE.label(b"Inference-Header-Content-Length: 7\r\n", body) is None


@settings(max_examples=examples(300))
@given(st.binary(max_size=80), st.integers(0, 80))
def test_no_bytes_are_too_odd(data: bytes, cut: int) -> None:
    """Nor is any message, sound or cut off."""
    assert CLASS.label(data, data) is None
    CLASS.label_of_message(data)
    SCORE.label_of_message(in_message("FP32", [1, 2], b"12345678")[:cut] + data)
    head, body = in_binary("FP32", [1, 2], b"12345678")
    SCORE.label(head, body[:cut] + data)


def test_one_request_in_eight_and_so_many_a_second() -> None:
    """By its nonce, which the split does not look at where there is a unit; the allowance is each second's own."""
    one = Observer(Observed("out"))
    assert sum(one.wants(nonce, 5.0) for nonce in range(800)) == 100
    assert sum(one.wants(0, 5.5) for _ in range(1_000)) == MOST_PER_S - 100
    assert sum(one.wants(0, 6.0) for _ in range(1_000)) == MOST_PER_S


def test_labels_are_bounded() -> None:
    """What comes after the first so many is one label; those that have a place keep it."""
    series = Series()
    for number in range(1_000):
        series.add_prediction(str(number % 200))
    found = series.predicted
    assert found is not None
    assert len(found) == MOST_LABELS + 1
    assert (found["0"], found[OTHER]) == (5, 5 * (200 - MOST_LABELS))
    both = Series()
    both.merge(series)
    both.merge(series)
    assert both.predicted == {label: 2 * count for label, count in found.items()}


def test_labels_of_many_series_together_are_bounded() -> None:
    """Replicas come and go, each with labels of its own; none of what they predicted is lost."""
    together = Series()
    for replica in range(20):
        gone = Series()
        for number in range(100):
            gone.add_prediction(f"{replica} {number}")
        together.merge(gone)
    found = together.predicted
    assert found is not None
    assert (len(found), sum(found.values())) == (MOST_LABELS + 1, 2_000)


@pytest.mark.parametrize(
    "said", [str(10**4_000), '"a\\ud800"', f'"{"x" * 1_000}"'], ids=["a number", "half a character", "a text"]
)
def test_a_label_is_short_and_can_be_written_down(said: str) -> None:
    """Whatever the model says."""
    body = f'{{"outputs":[{{"name":"out","shape":[1],"datatype":"INT64","data":[{said}]}}]}}'
    label = Observer(Observed("out")).label(b"", body.encode())
    assert label is not None
    assert 0 < len(label.encode()) <= LONGEST_LABEL


@pytest.mark.parametrize("observed", [None, Observed("out")], ids=["nobody compares", "compared"])
async def test_answers_are_counted_where_the_policy_observes(
    observed: Observed | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First attempts that went well, by version and label; not those in another's place, and not a failure."""
    heard = []

    async def hear(raw: bytes) -> None:
        heard.append(message_from(raw))

    policy = Policy(1, (Arm(2, 500_000),), salt="s", observes=observed)
    async with running(policy=policy, replicas={1: 1, 2: 1}) as rig:
        monkeypatch.setattr(rig.worker, "nonce", lambda: 8)
        for version, data in ((1, [0.9, 0.1]), (2, [0.1, 0.9])):
            rig.upstreams[version][0].usual = answers(ok(in_json("FP32", [1, 2], data)[1]))
        wrong = answers(ok(b"{}", code="500 Internal Server Error"))
        rig.upstreams[2][0].script.append(wrong)
        client = await rig.client()
        seen: Counter[tuple[int, str]] = Counter()
        for number in range(20):
            await client.send(post(headers=[f"sluice-unit: u{number}"]))
            answer = await client.answer()
            if answer.one("sluice-reason") != b"fallback":
                version = int(answer.one("sluice-version") or b"0")
                seen[version, str(version - 1)] += 1
        await rig.rests()
        await Telling(rig.worker, "g b", hear).tell()
        assert Counter(role for _, _, _, role, _ in rig.worker.table.series())[Role.FALLBACK] == 1
    told = {(one.version, label): n for one in heard[0].series for label, n in one.predicted.items()}
    assert told == ({} if observed is None else seen)
    failed = {one.version: one.outcomes.get(Outcome.SERVER_ERROR.name.lower(), 0) for one in heard[0].series}
    assert failed == {1: 0, 2: 1}
