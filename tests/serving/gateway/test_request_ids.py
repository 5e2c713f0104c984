"""What an answer's headers say about it, and that nobody else can say it."""

from __future__ import annotations

import time

import pytest

from router.choose import Facts, Reason, choose
from router.policy import Arm, Policy, Role
from router.request_id import Key
from tests.serving.gateway.rig import HEAD, KEY_ID, SECRET, Rig, read_id, running
from tests.serving.gateway.wire import get, post

KEY = Key(KEY_ID, SECRET)
SPLIT = Policy(1, (Arm(2, 300_000, 0, Role.CANARY), Arm(3, 200_000, 500_000)), salt="s")


async def test_what_an_answer_says(rig: Rig) -> None:
    """An answer says version, reason and epoch, and its id says the same, verified, with the unit only as a hash."""
    answer = await rig.ask(post(headers=["Sluice-Unit: user-1"]))
    said = read_id(answer)
    assert (answer.one("sluice-version"), answer.one("sluice-reason")) == (b"1", b"stable")
    assert answer.one("sluice-epoch") == str(HEAD.epoch).encode()
    assert (said.assigned, said.answered, said.reason, said.epoch) == (1, 1, Reason.STABLE, HEAD.epoch)
    assert (said.has_unit, said.unit) == (True, KEY.unit_hash(b"user-1"))
    assert said.model == KEY.model_hash("m")
    assert abs(said.at_s - time.time()) < 60


async def test_a_request_without_a_unit(rig: Rig) -> None:
    """A request that names no unit gets its own nonce as one, another for each request."""
    first, second = read_id(await rig.ask(post())), read_id(await rig.ask(post()))
    assert not first.has_unit
    assert first.unit == KEY.unit_hash(first.nonce.to_bytes(8, "big"))
    assert first.nonce != second.nonce


async def test_an_empty_unit_is_none(rig: Rig) -> None:
    """A unit header without a value names nobody: one unit for all who leave it empty would be one arm for them all."""
    first, second = [read_id(await rig.ask(post(headers=["sluice-unit:"]))) for _ in range(2)]
    assert (first.has_unit, first.unit) == (False, KEY.unit_hash(first.nonce.to_bytes(8, "big")))
    assert first.unit != second.unit


async def test_a_pinned_version() -> None:
    """A version in the path bypasses the split, and the answer says so."""
    async with running(policy=SPLIT, replicas={1: 1, 2: 1, 3: 1}) as rig:
        answer = await rig.ask(post("/v2/models/m/versions/3/infer"))
        assert (answer.one("sluice-version"), answer.one("sluice-reason")) == (b"3", b"pinned")
        assert read_id(answer).reason is Reason.PINNED


@pytest.mark.parametrize("header", ["sluice-unit", "x-user"])
async def test_the_split_is_the_routers(header: str) -> None:
    """For fixed units every single answer comes from exactly the version, and for the reason, that the router gives."""
    policy = Policy(1, SPLIT.arms, salt="salt", unit_header=header)
    async with running(policy=policy, replicas={1: 1, 2: 1, 3: 1}) as rig:
        client = await rig.client()
        for number in range(200):
            unit = f"unit-{number}"
            await client.send(post(headers=[f"{header.title()}: {unit}"]))
            answer = await client.answer()
            expected = choose(policy, Facts(unit.encode()))
            said = read_id(answer)
            assert (said.assigned, said.answered, said.reason) == (expected.version, expected.version, expected.reason)
            assert answer.one("sluice-version") == str(expected.version).encode()
            assert answer.one("sluice-reason") == expected.reason.value.encode()
            target = rig.upstreams[expected.version][0].requests[-1].target
            assert target == f"/v2/models/m/versions/{expected.version}/infer".encode()


async def test_own_answers_carry_no_id(rig: Rig) -> None:
    """What the gateway answers by itself came from no version, and does not say that it did."""
    for request in (get("/v2"), post("/v2/models/n/infer")):
        answer = await rig.ask(request)
        assert not [name for name, _ in answer.headers if name.lower().startswith(b"sluice-")]
