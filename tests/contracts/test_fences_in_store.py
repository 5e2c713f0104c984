"""What a deposed conductor still has in hand is refused, whatever it is; and what takes traffic back is not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from router.codec import digest_of, encode_policy, encode_snapshot
from router.commands import SetShares, ask
from router.match import Match
from router.phases import Phase
from router.policy import Arm, Policy, Rule
from router.rollout import Rollout, Seen, Step, fact
from serving.control.errors import Deposed, GatewayTooOld
from serving.control.publishing import Beside, Change, LedgerEntry, publish
from serving.control.recovery import Plan, publication
from serving.control.rolling.moving import move
from serving.control.rolling.outward import Hook
from serving.control.rolling.records import Record, decode_record
from serving.control.rolling.stopping import stop
from serving.control.store import Store
from serving.control.traffic import Traffic
from serving.leases import GatewayLease, Recovery
from tests.contracts.conftest import Bench
from tests.contracts.test_rollouts_in_store import MODEL, SECRET, back, base, begun

RULED = Policy(1, salt="s", rules=(Rule(2, (Match("x-tier", ("staff",)),)),))
"""What gateways of the first form cannot read."""
OLD = GatewayLease("old", "b", 7, "h", 8000, 0, "", reader=1)


async def leading(bench: Bench) -> tuple[int, int]:
    """The fence of a deposed conductor, and of the one that leads."""
    first = await bench.store.lead("one", 60)
    await bench.store.resign("one")
    second = await bench.store.lead("two", 60)
    assert first is not None
    assert second is not None
    return first, second


async def test_a_fence_is_not_handed_out_twice_by_a_store_that_was_put_back(bench: Bench) -> None:
    """It is no less than the time, which no copy of the store puts back, and grows with every change of hands."""
    first, second = await leading(bench)
    assert first >= await _time_ms(bench) - 60_000
    assert second > first


async def _time_ms(bench: Bench) -> int:
    return round((await bench.store.look()).now_s * 1000)


@pytest.mark.parametrize("bench", ["valkey"], indirect=True)
async def test_what_a_leader_of_a_copy_has_in_hand_is_refused(bench: Bench) -> None:
    """The copy is from before it led, and another one leads now."""
    store = bench.store
    assert isinstance(store, Store)
    copy, deposed = await leading(bench)
    await store.resign("two")
    await store._redis.set(store.keys.fence, copy)
    await asyncio.sleep(0.002)
    assert (await store.lead("three", 60) or 0) > deposed
    with pytest.raises(Deposed):
        await store.keep_watched(7.0, deposed)


async def test_a_deposed_conductor_keeps_no_counts(bench: Bench) -> None:
    """Neither what was counted, nor until when it watched."""
    deposed, leads = await leading(bench)
    await bench.store.keep_counts("ro_000000000000", "a", leads)
    await bench.store.keep_watched(5.25, leads)
    with pytest.raises(Deposed):
        await bench.store.keep_counts("ro_000000000000", "b", deposed)
    with pytest.raises(Deposed):
        await bench.store.keep_watched(7.0, deposed)
    assert await bench.store.counts("ro_000000000000") == "a"
    assert await bench.store.watched_s() == 5.25


async def test_a_deposed_conductor_ends_no_delivery(bench: Bench) -> None:
    """Nor does it put one off: whoever leads delivers it."""
    deposed, leads = await leading(bench)
    await base(bench)
    await begun(bench, hooks=(Hook("https://a.example.com/", SECRET),))
    [job] = await bench.store.due_jobs()
    with pytest.raises(Deposed):
        await bench.store.end_job(job, deposed)
    with pytest.raises(Deposed):
        await bench.store.put_off_job(job, 60, deposed)
    assert await bench.store.due_jobs() == [job]
    [due] = await bench.store.jobs([job])
    assert due.tries == 0
    await bench.store.end_job(job, leads)
    await bench.store.put_off_job(job, 60, leads)  # of what is over nothing is kept
    assert await bench.store.jobs([job]) == [(job, "", 0)]


async def test_a_deposed_conductor_shortens_no_ledger(bench: Bench) -> None:
    """Its archive may lack what another one has."""
    deposed, leads = await leading(bench)
    for number in range(3):
        await bench.store.note(Beside(entries=(LedgerEntry("x", f"who {number}", "", {}),)))
    newest = (await bench.store.ledger(1))[0].id
    with pytest.raises(Deposed):
        await bench.store.trim_ledger(newest, deposed)
    assert await bench.store.ledger_length() == 3
    await bench.store.trim_ledger(newest, leads)
    assert await bench.store.ledger_length() == 0


# What takes traffic back is held up by no gateway.


async def taken_back(bench: Bench) -> None:
    """A rollout back to a policy that not every gateway reads."""
    record = (await bench.store.look()).records[0]
    assert (await back(bench, record)).rollout.phase is Phase.ROLLED_BACK


async def broken_glass(bench: Bench) -> None:
    """A stop, of everything."""
    done = await stop(bench.store, None, who="ada")
    assert done.models == (MODEL, "other")


async def set_by_hand(bench: Bench) -> None:
    """Less for a version than before, and nothing more for anybody."""
    policy = replace(RULED, arms=())
    state = await bench.store.state()
    had = await bench.store.policy(state.snapshot.models["other"].digest)
    await Traffic(bench.store).publish("other", had, policy, state.snapshot.revision_of("other"), who="ada", why="")


@pytest.mark.parametrize("takes_back", [taken_back, broken_glass, set_by_hand], ids=lambda one: one.__name__)
async def test_no_gateway_holds_up_what_takes_traffic_back(
    bench: Bench, takes_back: Callable[[Bench], Awaitable[None]]
) -> None:
    """One that is too old to read what was there before holds what it runs; all the others go back."""
    await bench.store.change(MODEL, RULED, 0, who="settings")
    await bench.store.change("other", replace(RULED, arms=(Arm(2, 100_000, 0),)), 0, who="settings")
    record = await begun(bench)
    moved = await move(bench.store, record, _entered(record.rollout, record.rollout.with_stage(0, 2.0)))
    bench.gateway.gateway_says(OLD, 60)
    more = ask(moved.record.rollout, SetShares(who="ada", shares={2: 20_000}), Seen(3.0, frozenset({2})))
    with pytest.raises(GatewayTooOld, match="old"):
        await move(bench.store, moved.record, more)
    await takes_back(bench)


def _entered(before: Rollout, after: Rollout) -> Step:
    return Step(after, (fact(before, after, Seen(2.0), who="ada", what="enter", why=""),))


async def test_a_recovery_names_its_reader_and_waits_for_no_gateway(bench: Bench) -> None:
    """What gateways run is published again whoever joined meanwhile: till then nobody follows, not even a rollback."""
    await bench.store.change(MODEL, RULED, 0, who="settings")
    state, blob = await bench.store.state(), encode_policy(RULED)
    kept = Recovery(state.head, encode_snapshot(state.snapshot), {digest_of(blob): blob})
    called_for = Plan(state.head, state.head[:2], state.head.epoch + 1, {}, ("g1",))
    again = publication(called_for, state, kept)
    assert again.reader == 2
    bench.gateway.gateway_says(OLD, 60)
    assert (await bench.store.swap(again)).done
    plain = Policy(1, salt="t")
    others = publication(replace(called_for, epoch=9), state, kept, others=[plain])
    assert others.reader == 2


async def test_a_change_by_hand_that_gives_more_waits_for_old_gateways(bench: Bench) -> None:
    """The other half of it: a rule that is new is refused."""
    await base(bench)
    bench.gateway.gateway_says(OLD, 60)
    with pytest.raises(GatewayTooOld):
        await publish(bench.store, Change(MODEL, RULED, None, "ada", grows=True))


@pytest.mark.parametrize("bench", ["valkey"], indirect=True)
async def test_what_did_not_change_is_not_decoded_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at rollouts in progress decodes those that moved since the last one, and no other."""
    decoded: list[str] = []

    def counted(said: str | bytes) -> Record:
        record = decode_record(said)
        decoded.append(record.id)
        return record

    monkeypatch.setattr("serving.control.rollouts_store.decode_record", counted)
    for number in range(20):
        await base(bench, f"m{number}")
        await begun(bench, f"m{number}")
    first = await bench.store.look()
    assert len(decoded) == 20
    second = await bench.store.look()
    assert (len(decoded), second.records) == (20, first.records)
    assert all(one is other for one, other in zip(first.records, second.records, strict=True))
    await back(bench, first.records[3])
    await base(bench, "late")
    late = await begun(bench, "late")
    third = await bench.store.look()
    assert len(decoded) == 21
    assert {one.id for one in third.records} == {one.id for one in first.records} - {first.records[3].id} | {late.id}
