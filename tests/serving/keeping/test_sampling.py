"""What a keeper samples: which rows, without what is redacted, so much and no more, all of it counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb

from drift.samples import LONGEST, MOST_ROWS, Batch, Request, Role, Totals, batch_from
from drift.sampling import SampleRule, SampleRules, drawn, key_of
from router.agreement import Comparison
from serving.captured import Answered, Captured
from serving.keeping.sampled import Unsampled, answers_of, sampled
from serving.keeping.sampling import ENTRY_BYTES, SampleSink
from serving.payloads.rules import in_share
from tests.serving.keeping.pairs import CANDIDATE, JSON, STABLE, answered, body_of, pair

Outputs = dict[str, tuple[str, list[Any]]]
SCORE: Outputs = {"score": ("FP32", [0.25, 0.75])}
GENEROUS = SampleRule(rows_per_s=1e9, bytes_per_s=1e12, always=True)


class FakeStreams:
    """Remembers what was written; may be away, or take what it says it did not."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, bytes, int]] = []
        self.fails: Callable[[str], bool] = lambda _: False
        self.takes_anyway = False
        self.have_baselines = frozenset[str]()

    async def watched(self) -> frozenset[str]:
        """Models that have a baseline."""
        if self.fails(""):
            raise OSError("away")
        return self.have_baselines

    async def sample(self, model: str, batch: bytes, most: int) -> None:
        """One more."""
        fails = self.fails(model)
        if not fails or self.takes_anyway:
            self.entries.append((model, batch, most))
        if fails:
            raise OSError("away")

    def batches(self, model: str = "digits") -> list[Batch]:
        """Of one model."""
        return [batch_from(raw) for name, raw, _ in self.entries if name == model]


class Room:
    """A sink with streams and a clock."""

    def __init__(self, rules: SampleRules | None = None) -> None:
        self.now_s = 1_000.0
        self.streams = FakeStreams()
        self.sink = SampleSink("gw 1", rules or SampleRules(GENEROUS), self.streams, clock=lambda: self.now_s)

    def take(self, captured: Captured, comparison: Comparison | None = None) -> None:
        """As a keeper hands it over."""
        self.sink.take(captured, comparison, None)

    async def written(self) -> list[Batch]:
        """All that there is, once everything was written."""
        await self.sink.write(last=True)
        return self.streams.batches()


def one(nonce: int, **said: Any) -> Captured:  # noqa: ANN401
    """A request of two rows that went well."""
    return pair(answered(STABLE, SCORE), nonce=nonce, **said)


def binary(values: np.ndarray[Any, Any], datatype: str) -> tuple[bytes, bytes]:
    """Headers and a body with one input behind its JSON."""
    raw = values.tobytes()
    tensor = {
        "name": "x", "datatype": datatype, "shape": list(values.shape), "parameters": {"binary_data_size": len(raw)},
    }  # fmt: skip
    head = json.dumps({"inputs": [tensor]}).encode()
    return b"inference-header-content-length: %d\r\n" % len(head), head + raw


def only(captured: Captured) -> Request:
    """As it is sampled, with all of its answers."""
    return sampled(captured, list(answers_of(captured))).request


# One request.


def test_a_request_is_sampled_with_its_answers() -> None:
    """By the client's version and those of copies, and never twice by one."""
    captured = pair(
        answered(STABLE, SCORE), answered(CANDIDATE, {"score": ("FP32", [0.5, 0.5])}), answered(STABLE, SCORE),
        segment={"x-country": "nl"},
    )  # fmt: skip
    found = only(captured)
    assert (found.at_s, found.key, dict(found.segment)) == (1_001.0, key_of(1), {"x-country": "nl"})
    assert [(one.version, one.role) for one in found.answers] == [(1, Role.STABLE), (2, Role.SHADOW)]
    assert found.inputs[0].values().tolist() == [0.5, 1.5]
    outputs = [answer.outputs[0].values().tolist() for answer in found.answers if answer.outputs]
    assert outputs == [[0.25, 0.75], [0.5, 0.5]]
    assert found.rows == 4


def test_an_arm_is_no_stable() -> None:
    """Whoever was to answer: what counts is who did."""
    assert [role for _, role in answers_of(pair(answered(CANDIDATE, SCORE)))] == [Role.ARM]
    assert [role for _, role in answers_of(pair(answered(STABLE, SCORE), assigned=CANDIDATE))] == [Role.STABLE]


@pytest.mark.parametrize(
    "datatype",
    ["BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"],
)
def test_every_type_in_every_form(datatype: str) -> None:
    """JSON, binary behind JSON, and gRPC come to the same; so do texts, and tensors without elements."""
    numpy = {"BOOL": "?", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}.get(datatype) or (
        f"<{datatype[0].lower()}{int(datatype.removeprefix('U').removeprefix('INT')) // 8}"
    )
    for values in (np.array([[1, 0], [1, 1]], numpy), np.zeros((2, 0), numpy)):
        headers, body = binary(values, datatype)
        forms = [only(one(1, headers=headers, request=body))]
        tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=values.shape)
        message = pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[values.tobytes()])
        answer = Answered(STABLE, "ok", 200, 0.01, b"", pb.ModelInferResponse().SerializeToString(), 0)
        forms.append(only(pair(answer, headers=b"", protocol="grpc", request=message.SerializeToString())))
        if datatype != "FP16":  # which JSON does not have
            said = {"name": "x", "datatype": datatype, "shape": list(values.shape), "data": values.tolist()}
            forms.append(only(one(1, request=json.dumps({"inputs": [said]}).encode())))
        for found in forms:
            assert found.inputs[0].datatype == datatype
            np.testing.assert_array_equal(found.inputs[0].values(), values)


def test_texts_are_bytes() -> None:
    """Those of no letters among them."""
    found = only(one(1, request=body_of({"words": ("BYTES", ["", "ä"])}, "inputs")))
    assert found.inputs[0].values().tolist() == [b"", "ä".encode()]


def test_a_long_request_is_sampled_in_part() -> None:
    """Every so many-th row of inputs and outputs alike, and the rest is counted."""
    rows = 10_000
    values = np.arange(rows, dtype="<f4")
    headers, body = binary(values, "FP32")
    reply = answered(STABLE, {"y": ("FP32", values.tolist())})
    found = sampled(captured := pair(reply, nonce=7, headers=headers, request=body), list(answers_of(captured)))
    (given,), (answer,) = found.request.inputs, found.request.answers
    assert answer.outputs is not None
    assert given.values().tolist() == answer.outputs[0].values().tolist()
    assert len(set(given.values().tolist())) == MOST_ROWS
    assert given.values()[-1] > rows / 2
    assert (found.request.rows, found.thinned) == (MOST_ROWS, rows - MOST_ROWS)


def test_an_embedding_of_a_mebibyte_is_one_row_and_a_longer_request_none() -> None:
    """So is one that is longer than may be captured; that it was is counted."""
    wide = np.zeros((1, 262_144), "<f4")
    headers, body = binary(wide, "FP32")
    assert only(one(1, headers=headers, request=body)).inputs[0].size == 262_144
    headers, body = binary(np.zeros((1, 2_000_000), "<f4"), "FP32")
    for said in ({"headers": headers, "request": body}, {"request": None}):
        with pytest.raises(Unsampled) as caught:
            only(one(1, **said))
        assert caught.value.why == "long"


def test_many_rows_of_nothing_cost_nothing() -> None:
    """A tensor without elements says that it has millions of rows, or more than any tensor of ours."""
    headers, body = binary(np.zeros((LONGEST - 1, 0), "<f4"), "FP32")
    assert only(pair(answered(STABLE, SCORE, body=None), headers=headers, request=body)).rows == MOST_ROWS
    with pytest.raises(Unsampled, match="unreadable"):
        only(one(1, headers=headers, request=body.replace(str(LONGEST - 1).encode(), b"9" * 8)))


@pytest.mark.parametrize("request_", [b"", b"{", b"\xff", b"[1]", b'{"inputs": 1}'])
def test_a_request_that_cannot_be_read_is_not_sampled(request_: bytes) -> None:
    """It is counted."""
    with pytest.raises(Unsampled, match="unreadable"):
        only(one(1, request=request_))


def test_outputs_that_are_not_known() -> None:
    """An answer that is too long, or cannot be read, leaves its inputs; classes are no values of the output."""
    for said in ({"body": None}, {"body": b"{"}):
        assert only(pair(answered(STABLE, SCORE, **said))).answers[0].outputs is None
    asked = {"inputs": [], "outputs": [{"name": "score", "parameters": {"classification": 2}}, {"name": "label"}]}
    both: Outputs = {"score": ("BYTES", ["0.9:1"]), "label": ("INT64", [3])}
    found = only(pair(answered(STABLE, both), request=json.dumps(asked).encode()))
    assert [one.name for one in found.answers[0].outputs or ()] == ["label"]
    assert found.named
    assert not only(one(1)).named


def test_what_is_redacted_is_nowhere() -> None:
    """By pattern as in the payload log, by name as in the comparison; its name alone is told."""
    inputs = body_of({"card_number": ("BYTES", ["4111"]), "age": ("INT64", [33]), "pixels": ("FP32", [1.0])}, "inputs")
    reply = answered(STABLE, {"score": ("FP32", [0.5]), "card_kind": ("BYTES", ["visa"])})
    captured = pair(reply, request=inputs, segment={"x-card": "5500", "x-country": "nl"})
    found = sampled(captured, list(answers_of(captured)), ("digits:card_*", "x-card", "other:age"), ("pixels",))
    assert [one.name for one in found.request.inputs] == ["age"]
    assert [one.name for one in found.request.answers[0].outputs or ()] == ["score"]
    assert found.hidden == {"card_number", "card_kind", "pixels"}
    assert dict(found.request.segment) == {"x-country": "nl"}
    raw = Batch("digits", "gw 1", 1, Totals(), (found.request,)).encode()
    assert not [secret for secret in (b"4111", b"visa", b"5500") if secret in raw]


# The sink.


async def test_batches_are_numbered_and_say_what_became_of_all() -> None:
    """From one on for each model, with running totals; what was failed or refused is not written, and counted."""
    room = Room()
    room.take(one(1))
    room.take(pair(answered(STABLE, None), nonce=2))
    room.take(one(3, model="other"))
    room.take(pair(answered(STABLE, SCORE), answered(CANDIDATE, None), nonce=4))
    (first,) = await room.written()
    assert (first.model, first.keeper, first.number) == ("digits", "gw 1", 1)
    assert (first.totals.offered, first.totals.written, dict(first.totals.dropped)) == (6, 4, {"failed": 2})
    assert [one.key for one in first.requests] == [key_of(1), key_of(4)]
    room.take(one(5, request=None))
    room.take(one(6))
    _, second = await room.written()
    assert (second.number, second.totals.offered, second.totals.written) == (2, 9, 6)
    assert dict(second.totals.dropped) == {"failed": 2, "long": 1}
    assert [batch.number for batch in room.streams.batches("other")] == [1]
    assert room.sink.dropped() == {"failed": 2, "long": 1}


async def test_a_request_that_comes_again_is_no_other() -> None:
    """With the copies of two shadows it is handed over twice: its first answer counts once, each copy's once."""
    room = Room()
    for copy in (2, 3, 3):
        room.take(pair(answered(STABLE, SCORE), answered(copy, SCORE), salt=f"r{copy}"))
    (batch,) = await room.written()
    assert [one.version for request in batch.requests for one in request.answers] == [1, 2, 3]
    assert (batch.totals.offered, batch.totals.written) == (6, 6)


async def test_the_share_is_drawn_by_number_under_a_salt_of_its_own() -> None:
    """Both arms keep the same requests, whoever hands over what; a model may say otherwise, or nothing."""
    share = SampleRule(500_000, 1e9, 1e12, always=True)
    room = Room(SampleRules(share, {"quiet": None, "loud": GENEROUS}))
    for nonce in range(200):
        version = STABLE if nonce % 3 else CANDIDATE
        for model in ("digits", "quiet", "loud"):
            room.take(pair(answered(version, SCORE), nonce=nonce, model=model))
    (batch,) = await room.written()
    kept = [nonce for nonce in range(200) if drawn(nonce, 500_000)]
    assert [one.key for one in batch.requests] == [key_of(nonce) for nonce in kept]
    assert kept != [nonce for nonce in range(200) if in_share(nonce, 500_000)]
    assert len(room.streams.batches("loud")[0].requests) == 200
    assert room.streams.batches("quiet") == []


async def test_no_more_than_a_rate_of_rows_and_of_bytes() -> None:
    """A second's worth at once, then as time goes on; what is beyond is counted by which of the two it was."""
    rule = replace(GENEROUS, rows_per_s=10.0)
    room = Room(SampleRules(rule, {"wide": replace(GENEROUS, bytes_per_s=200.0)}))
    for nonce in range(20):
        room.take(one(nonce))
        room.take(one(nonce, model="wide"))
    (batch,) = await room.written()
    assert (batch.totals.written, dict(batch.totals.dropped)) == (10, {"rate": 15})
    (wide,) = room.streams.batches("wide")
    assert (len(wide.requests), dict(wide.totals.dropped)) == (1, {"bytes": 19})
    room.now_s += 1.0
    for nonce in range(20, 40):
        room.take(one(nonce))
    _, batch = await room.written()
    assert batch.totals.written == 20


async def test_an_entry_that_may_not_have_come_is_written_again_as_it_is() -> None:
    """Under its number, before all that came later: whoever reads it twice counts it once."""
    room = Room()
    room.streams.fails, room.streams.takes_anyway = (lambda _: True), True
    room.take(one(1))
    for nonce in (2, 3):
        with pytest.raises(OSError, match="away"):
            await room.sink.write()
        room.take(one(nonce))
    room.streams.fails = lambda _: False
    assert [batch.number for batch in await room.written()] == [1, 1, 1, 2]
    assert len({raw for _, raw, _ in room.streams.entries}) == 2
    assert [batch.totals.written for batch in room.streams.batches()] == [2, 2, 2, 6]


async def test_a_store_that_is_away_costs_bounded_memory() -> None:
    """What no longer fits is dropped and counted; what waits is written when it is back."""
    room = Room()
    room.streams.fails = lambda _: True
    headers, body = binary(np.zeros((2, 125_000), "<f4"), "FP32")
    for nonce in range(40):
        room.take(one(nonce, headers=headers, request=body))
        with pytest.raises(OSError, match="away"):
            await room.sink.write()
    waiting = 40 - room.sink.dropped()["queue"]
    assert 5 <= waiting <= 12
    room.streams.fails = lambda _: False
    assert sum(len(batch.requests) for batch in await room.written()) == waiting
    assert room.streams.batches()[-1].totals.written == 2 * waiting


async def test_a_stream_that_refuses_holds_up_no_other() -> None:
    """The others come first the next time."""
    room = Room()
    room.streams.fails = lambda model: model == "bad"
    for model in ("bad", "digits"):
        room.take(one(1, model=model))
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            await room.sink.write()
    assert len(room.streams.batches()) == 1


async def test_entries_are_of_a_size_and_the_stream_holds_as_many_as_fit() -> None:
    """Small ones up to ten thousand; of the longest lately seen, so many that the stream stays within its bytes."""
    room = Room(SampleRules(replace(GENEROUS, stream_bytes=1_000_000)))
    room.take(one(0))
    await room.written()
    for nonce in range(1, 1_200):
        room.take(one(nonce))
    await room.written()
    headers, body = binary(np.zeros((2, 50_000), "<f4"), "FP32")
    room.take(one(1_200, headers=headers, request=body))
    await room.written()
    sizes = [len(raw) for _, raw, _ in room.streams.entries]
    longest = [most for *_, most in room.streams.entries]
    assert max(sizes[:-1]) < 2 * ENTRY_BYTES < sizes[-1]
    assert len(sizes) > 4
    assert longest[0] > 1_000
    assert longest[-1] == 2
    for at, most in enumerate(longest):
        assert most * max(sizes[: at + 1]) <= 1_000_000
    assert [batch.number for batch in room.streams.batches()] == list(range(1, len(sizes) + 1))


async def test_totals_are_told_where_there_is_nothing_to_write() -> None:
    """A model of which nothing can be sampled is not silent; and one of which nothing new is to be said is."""
    room = Room()
    room.take(one(1, request=None))
    await room.sink.write()
    assert room.streams.batches() == []
    room.now_s += 6.0
    await room.sink.write()
    (batch,) = room.streams.batches()
    assert (batch.requests, batch.totals.offered, dict(batch.totals.dropped)) == ((), 1, {"long": 1})
    room.now_s += 60.0
    await room.sink.write()
    assert len(room.streams.entries) == 1


async def test_a_request_of_no_rows_is_no_sample() -> None:
    """And counts as none."""
    room = Room()
    headers, body = binary(np.zeros((0, 3), "<f4"), "FP32")
    room.take(pair(answered(STABLE, {"y": ("FP32", [])}), headers=headers, request=body))
    assert await room.written() == []
    assert room.sink.dropped() == {}


async def test_closing_writes_what_waits() -> None:
    """A store that is away then is not waited for."""
    room = Room()
    writing = asyncio.create_task(room.sink.run())
    room.take(one(1))
    await room.sink.close()
    writing.cancel()
    assert len(room.streams.batches()) == 1
    room.streams.fails = lambda _: True
    room.take(one(2))
    await room.sink.close()


async def test_what_is_redacted_by_the_rules_of_a_comparison_is_told_by_name() -> None:
    """So that whoever reads knows that it is not missing."""
    room = Room()
    room.take(one(1, headers=JSON), Comparison(redact=("pixels",)))
    (batch,) = await room.written()
    assert (batch.hidden, batch.requests[0].inputs) == (("pixels",), ())


async def test_strangers_names_are_not_told_without_end() -> None:
    """Of tensors that are redacted by a pattern the names are told, up to a number; one that is none hurts nothing."""
    room = Room(SampleRules(GENEROUS, redact=("*",)))
    for nonce in range(1, 8):
        names = ["", "n" * 2_000, *(f"{nonce} {nth}" for nth in range(300))]
        room.take(one(nonce, request=body_of({name: ("FP32", [1.0]) for name in names}, "inputs")))
    hidden = (await room.written())[-1].hidden
    assert 1_000 <= len(hidden) < 1_500
    assert {"", "n" * 2_000}.isdisjoint(hidden)


async def test_a_model_without_a_baseline_is_not_sampled() -> None:
    """Unless one is to be learned; a baseline that comes later is seen, and one that was seen goes on while away."""
    room = Room(SampleRules(replace(GENEROUS, always=False)))
    await room.sink.look()
    room.take(one(1))
    assert await room.written() == []
    room.streams.have_baselines = frozenset({"digits"})
    room.now_s += 10.0
    await room.sink.look()
    room.take(one(2))
    room.streams.fails = lambda _: True
    room.now_s += 10.0
    with pytest.raises(OSError, match="away"):
        await room.sink.look()
    room.take(one(3))
    room.streams.fails = lambda _: False
    (batch,) = await room.written()
    assert [one.key for one in batch.requests] == [key_of(2), key_of(3)]
    assert batch.totals.offered == 4
