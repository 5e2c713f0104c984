"""Who is let in, and what they may use up: by the same rules as over HTTP."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from serving.access.principal import Limits
from serving.access.roles import Role
from tests.serving.gateway.callers import Holder, caller, lets_in
from tests.serving.gateway.grpc.rig import Rig, request, told
from tests.serving.gateway.grpc.test_stream import ended, gathered, sends
from tests.serving.gateway.grpc.triton import waits
from tests.serving.gateway.rig import eventually

OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED


def shows(key: Holder) -> tuple[tuple[str, str], ...]:
    """Metadata that shows it."""
    return (("authorization", key.header.removeprefix("Authorization: ")),)


async def test_without_a_key_nothing_is_answered_but_health(rig: Rig) -> None:
    """Before any message is read; a good key opens; no model sees it."""
    good = caller()
    trail = lets_in(rig.worker, good)
    answer = await rig.infer()
    assert answer.code is grpc.StatusCode.UNAUTHENTICATED
    code, _ = await ended(rig.stub().ModelStreamInfer(sends()))  # grpc.aio calls a write after the end "internal"
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert [one[1] for one in trail.refusals] == ["missing", "missing"]
    assert not rig.triton.asked
    assert await rig.channel().unary_unary("/grpc.health.v1.Health/Check")(b"") == b"\x08\x01"
    listing = rig.channel().unary_unary("/inference.GRPCInferenceService/RepositoryIndex")
    assert (await told(listing(b""))).code is grpc.StatusCode.UNAUTHENTICATED
    assert (await rig.infer(metadata=shows(good))).code is OK
    assert "authorization" not in rig.triton.asked[0].metadata


async def test_a_key_for_some_models_asks_no_other(rig: Rig) -> None:
    """Which model it is stands in the message; what there is beside is not told either."""
    narrow = caller(models=frozenset({"n"}))
    lets_in(rig.worker, narrow)
    answer = await rig.infer(metadata=shows(narrow))
    assert (answer.code, answer.words) == (DENIED, "This key may not ask model 'm'.")
    [said] = await gathered(rig.stub().ModelStreamInfer(sends(request()), metadata=shows(narrow)))
    assert said.error_message == "This key may not ask model 'm'."
    assert not rig.triton.asked


async def test_a_synthetic_request_takes_the_right_to_operate(rig: Rig) -> None:
    """And is counted apart."""
    plain, operator = caller(), caller(Role.OPERATE)
    lets_in(rig.worker, plain, operator)
    mark = ("sluice-synthetic", "1")
    assert (await rig.infer(metadata=(*shows(plain), mark))).code is DENIED
    assert (await rig.infer(metadata=(*shows(operator), mark))).code is OK
    await rig.rests()
    assert rig.outcomes() == {(1, "synthetic"): {"ok": 1}}


async def test_a_keys_rate_and_places_hold(rig: Rig) -> None:
    """RESOURCE_EXHAUSTED, with the sentence of HTTP and when to try again."""
    slow = caller(limits=Limits(rate_per_s=0.001, burst=2))
    single = caller(limits=Limits(in_flight=1, max_body=1_000))
    lets_in(rig.worker, slow, single)
    codes = [(await rig.infer(metadata=shows(slow))) for _ in range(8)]
    refused = [one for one in codes if one.code is grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused
    assert refused[0].words == "This key may send 0.001 requests per second."
    assert int(refused[0].end["retry-after"]) > 1
    gate = asyncio.Event()
    rig.triton.script.append(waits(gate))
    first = asyncio.ensure_future(rig.infer(metadata=shows(single)))
    await eventually(lambda: rig.triton.script == type(rig.triton.script)())
    assert (await rig.infer(metadata=shows(single))).words.startswith("This key may have 1 requests in flight")
    gate.set()
    assert (await first).code is OK
    large = await rig.infer(request(raw_input_contents=[bytes(2_000)]), metadata=shows(single))
    assert large.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert large.words.endswith("this key sends 1000 at most.")


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_a_call_that_is_refused_by_its_head_gives_its_place_back(rig: Rig, method: str) -> None:
    """As often as it is sent: the place is free for one that is sound."""
    single = caller(limits=Limits(in_flight=1))
    lets_in(rig.worker, single)
    bad = (*shows(single), ("sluice-version", "x"))
    for _ in range(3):
        if method == "ModelInfer":
            code = (await rig.infer(metadata=bad)).code
        else:
            code, _ = await ended(rig.stub().ModelStreamInfer(sends(), metadata=bad))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert (await rig.infer(metadata=shows(single))).code is OK


async def test_each_message_of_a_stream_counts_against_the_rate(rig: Rig) -> None:
    """What is too fast is answered in the stream, which goes on."""
    slow = caller(limits=Limits(rate_per_s=0.001, burst=3))
    lets_in(rig.worker, slow)
    asked = [request(id=str(number)) for number in range(12)]
    answers = await gathered(rig.stub().ModelStreamInfer(sends(*asked), metadata=shows(slow)))
    assert len(answers) == 12
    errors = {one.error_message for one in answers if one.error_message}
    assert errors == {"This key may send 0.001 requests per second."}
    assert any(not one.error_message for one in answers)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ((("sluice-version", "x"),), "sluice-version is 'x': it is a version's number."),
        ((("sluice-timeout-ms", "0"),), "sluice-timeout-ms is '0'"),
        ((("sluice-synthetic", "maybe"),), "sluice-synthetic is 'maybe'"),
    ],
    ids=["version", "timeout", "synthetic"],
)
async def test_metadata_that_says_what_it_cannot_is_refused(
    rig: Rig, metadata: tuple[tuple[str, str], ...], words: str
) -> None:
    """INVALID_ARGUMENT, with the sentence of HTTP."""
    answer = await rig.infer(metadata=metadata)
    assert answer.code is grpc.StatusCode.INVALID_ARGUMENT
    assert answer.words.startswith(words)
