"""What the control room needs for pools: wishes that one writer wins, crashes that count for an hour, operations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from serving.control import fake_records, operations_store
from serving.control.errors import Busy, Overloaded
from serving.control.operations import Operation, OperationState, Problem
from serving.control.wishes import Wish
from serving.endpoint import NO_LOAD, Crash, Endpoint, Load
from serving.pools import PoolOptions, PoolSpec
from tests.contracts.conftest import Bench

ENDPOINT = Endpoint(host="127.0.0.1", http_port=9001, grpc_port=0, model="digits", version=1, capacity=2)


def spec(version: int = 2, replicas: int = 1) -> PoolSpec:
    """A pool of a registered version."""
    return PoolSpec("digits", version, PoolOptions(replicas=replicas), artifact="a" * 64, kind="triton", signature="{}")


def operation(name: str = "op1", kind: str = "deploy", model: str = "digits") -> Operation:
    """One that nobody has begun."""
    return Operation(name, kind, model, 2, {"options": {"replicas": 2}}, who="ada", why="try it")


# Loads and crashes.


async def test_a_lease_carries_the_load_beside_the_endpoint(bench: Bench) -> None:
    """It is read back; a replica that says nothing of it has none that is known."""
    other = replace(ENDPOINT, version=2)
    await bench.store.hold(ENDPOINT, 60, Load(pending=3, throughput=120.5))
    await bench.store.hold(other, 60)
    assert list(await bench.store.endpoint_loads()) == [(ENDPOINT, Load(3, 120.5)), (other, NO_LOAD)]
    await bench.store.hold(ENDPOINT, 60, Load(pending=7))
    assert (await bench.store.endpoint_loads())[0] == (ENDPOINT, Load(7))
    assert list(await bench.store.endpoints()) == [ENDPOINT, other]


async def test_crashes_are_kept_newest_first_at_the_stores_time(bench: Bench) -> None:
    """Whatever the replica's clock says; those of another version are not among them."""
    assert list(await bench.store.crashes("digits", 2)) == []
    for code in (1, -9):
        await bench.store.crashed("digits", 2, Crash(0, code, "h", f"words {code}", f"pool {code}"))
    await bench.store.crashed("digits", 1, Crash(0, None, "h", "hung"))
    now = await bench.store.now_ms()
    found = await bench.store.crashes("digits", 2)
    assert [(one.exit_code, one.words, one.pool) for one in found] == [
        (-9, "words -9", "pool -9"), (1, "words 1", "pool 1"),
    ]  # fmt: skip
    assert all(0 <= now - one.at_ms < 60_000 for one in found)
    assert [one.exit_code for one in await bench.store.crashes("digits", 1)] == [None]


async def test_only_the_newest_crashes_are_kept(bench: Bench) -> None:
    """A server that dies all day fills nothing."""
    for number in range(103):
        await bench.store.crashed("digits", 2, Crash(0, number, "h", ""))
    found = await bench.store.crashes("digits", 2)
    assert (len(found), found[0].exit_code) == (100, 102)


# Wishes.


async def test_a_wish_is_read_back_whole(bench: Bench) -> None:
    """With what was there before it, for whoever has to take it back; and the ledger says who wanted it."""
    assert list(await bench.store.wishes()) == []
    assert await bench.store.wish("digits", 2) is None
    asked = Wish(spec(), operation="op1", before=spec(replicas=3))
    written = await bench.store.put_wish(asked, who="ada", why="more")
    assert written is not None
    assert written.revision > 0
    assert replace(written, revision=0) == asked
    assert await bench.store.wish("digits", 2) == written
    assert list(await bench.store.wishes()) == [written]
    [recorded] = await bench.store.ledger(10)
    assert (recorded.entry.kind, recorded.entry.who, recorded.entry.facts["version"]) == ("wish", "ada", 2)


async def test_of_many_who_wish_at_once_one_wins(bench: Bench) -> None:
    """The losers hear of it, and nothing of theirs is written, not even in the ledger."""
    said = await asyncio.gather(
        *(bench.store.put_wish(Wish(spec(replicas=n)), who=f"operator {n}") for n in range(1, 11))
    )
    [winner] = [one for one in said if one is not None]
    assert list(await bench.store.wishes()) == [winner]
    assert len(await bench.store.ledger(100)) == 1


async def test_a_wish_that_came_back_is_not_the_one_that_went(bench: Bench) -> None:
    """Whoever saw the first cannot overwrite the second."""
    first = await bench.store.put_wish(Wish(spec()), who="ada")
    assert first is not None
    assert await bench.store.take_wish(first, who="ada")
    assert not await bench.store.take_wish(first, who="bob")
    second = await bench.store.put_wish(Wish(spec()), who="ada")
    assert second is not None
    assert second.revision != first.revision
    assert await bench.store.put_wish(first, who="bob") is None
    assert [one.entry.kind for one in await bench.store.ledger(10)] == ["wish", "withdrawal", "wish"]


async def test_a_wish_touches_its_version(bench: Bench) -> None:
    """Its servers are given their time even where nothing routes to them yet."""
    await bench.store.put_wish(Wish(spec()), who="ada")
    touched = await bench.store.touched()
    assert 0 <= touched.now_ms - touched.at_ms["digits", 2] < 60_000


async def test_versions_are_touched_put_to_sleep_and_forgotten(bench: Bench) -> None:
    """All by the store's clock."""
    await bench.store.touch([("digits", 1), ("a/b", 2)])
    await bench.store.touch([])
    await bench.store.put_to_sleep("digits", 1)
    touched = await bench.store.touched()
    assert touched.at_ms["digits", 1] == 0
    assert 0 <= touched.now_ms - touched.at_ms["a/b", 2] < 60_000
    await bench.store.forget_touched([("digits", 1)])
    await bench.store.forget_touched([])
    assert set((await bench.store.touched()).at_ms) == {("a/b", 2)}


async def test_only_the_first_control_room_of_a_boot_is_the_first(bench: Bench) -> None:
    """One that comes back after it was killed is not."""
    assert [await bench.store.first_of(boot) for boot in ("a", "a", "b", "b")] == [True, False, True, False]


# Operations.


async def test_an_operation_is_read_back_whole(bench: Bench) -> None:
    """From its beginning to its end, with the store's times."""
    begun = await bench.store.add_operation(operation())
    assert (begun.revision, begun.ended_ms) == (1, None)
    assert abs(await bench.store.now_ms() - begun.began_ms) < 60_000
    assert await bench.store.operation("op1") == begun
    assert list(await bench.store.unfinished_operations()) == [begun]
    said = replace(
        begun, state=OperationState.FAILED, words="w", steps=("a", "b"), result={"x": [1]}, cancelled_by="bob",
        problem=Problem("unacceptable", "No.", "Do."),
    )  # fmt: skip
    saved = await bench.store.save_operation(said)
    assert saved is not None
    assert saved.ended_ms is not None
    assert replace(saved, revision=1, ended_ms=None) == said
    assert await bench.store.operation("op1") == saved
    assert list(await bench.store.unfinished_operations()) == []
    assert await bench.store.operation("op2") is None


async def test_what_it_was_asked_is_kept_beside_the_record_until_it_ends(bench: Bench) -> None:
    """It may be megabytes, so only whoever runs it reads it; what is small stays with the record."""
    asked = {"source": "/a", "number": 7, "force": False, "contents": {"example": "x" * 10_000}, "long": "y" * 300}
    begun = await bench.store.add_operation(Operation("op1", "register", "digits", None, asked))
    small = {"source": "/a", "number": 7, "force": False}
    told = await bench.store.save_operation(begun.saying("now", {"artifact": "a"}))
    assert told is not None
    for one in (begun, told, *await bench.store.operations(None, 9), *await bench.store.unfinished_operations()):
        assert (one.arguments, one.about) == ({}, small)
    assert dict(await bench.store.arguments_of("op1")) == asked
    assert told.known == {"artifact": "a"}
    await bench.store.save_operation(replace(told, state=OperationState.DONE))
    assert dict(await bench.store.arguments_of("op1")) == {}
    assert (await bench.store.operations(None, 9))[0].about == small


async def test_the_claim_on_an_operation_is_none(bench: Bench) -> None:
    """No name of a record is that of another key."""
    await bench.store.add_operation(operation())
    assert await bench.store.claim_operation("op1", "a", 60)
    for name in ("op1:runner", "s", "s:holders", "op1:arguments"):
        assert await bench.store.operation(name) is None


async def test_a_record_that_somebody_else_wrote_is_not_overwritten(bench: Bench) -> None:
    """Of two writers who began at one revision, one hears that it came too late."""
    begun = await bench.store.add_operation(operation())
    assert await bench.store.save_operation(begun.saying("first"))
    assert await bench.store.save_operation(begun.saying("second")) is None
    found = await bench.store.operation("op1")
    assert found is not None
    assert found.words == "first"


async def test_a_repeated_write_is_written_once(bench: Bench) -> None:
    """A client whose connection broke sends its command again."""
    first = await bench.store.add_operation(operation())
    assert await bench.store.add_operation(operation()) == first
    assert len(await bench.store.operations(None, 10)) == 1


async def test_one_operation_on_the_pools_of_a_model_excludes_the_others(bench: Bench) -> None:
    """The refusal names it; other models and other kinds go on; once it has ended the next may begin."""
    first = await bench.store.add_operation(operation("op1", "deploy"))
    for kind in ("deploy", "promote", "remove"):
        with pytest.raises(Busy, match=r"deploy of digits version 2 \(operation op1, begun by ada\)"):
            await bench.store.add_operation(operation(f"{kind}-2", kind))
    await bench.store.add_operation(operation("op3", "deploy", "fraud"))
    await bench.store.add_operation(operation("op4", "register"))
    await bench.store.save_operation(replace(first, state=OperationState.DONE))
    await bench.store.add_operation(operation("op5", "promote"))
    assert {one.id for one in await bench.store.unfinished_operations()} == {"op3", "op4", "op5"}


async def test_of_many_at_once_one_begins(bench: Bench) -> None:
    """Exclusion does not depend on who looks first."""
    said: Sequence[object] = await asyncio.gather(
        *(bench.store.add_operation(operation(f"op{n}")) for n in range(10)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in said) == ["Busy"] * 9 + ["Operation"]


async def test_operations_are_listed_newest_first(bench: Bench) -> None:
    """Of all models or of one, and no more than was asked for."""
    for number in range(4):
        await bench.store.add_operation(operation(f"op{number}", "verify", f"m{number % 2}"))
    assert [one.id for one in await bench.store.operations(None, 3)] == ["op3", "op2", "op1"]
    assert [one.id for one in await bench.store.operations("m0", 9)] == ["op2", "op0"]
    assert list(await bench.store.operations("ghost", 9)) == []


async def test_old_operations_are_forgotten_and_unfinished_ones_never(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that have ended the newest stay, in the order in which they ended."""
    for module in (operations_store, fake_records):
        monkeypatch.setattr(module, "KEPT_ENDED", 2)
    begun = [await bench.store.add_operation(operation(f"op{n}", "verify")) for n in range(5)]
    for one in (begun[4], begun[1], begun[2], begun[3]):
        await bench.store.save_operation(replace(one, state=OperationState.DONE))
    assert {one.id for one in await bench.store.operations("digits", 9)} == {"op0", "op2", "op3"}
    assert {one.id for one in await bench.store.operations(None, 9)} == {"op0", "op2", "op3"}
    assert await bench.store.operation("op4") is None


async def test_too_many_unfinished_operations_are_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing grows without a bound."""
    for module in (operations_store, fake_records):
        monkeypatch.setattr(module, "MOST_UNFINISHED", 2)
    for number in range(2):
        await bench.store.add_operation(operation(f"op{number}", "verify"))
    with pytest.raises(Overloaded):
        await bench.store.add_operation(operation("op2", "verify"))


async def test_one_runner_at_a_time_has_an_operation(bench: Bench) -> None:
    """Until it lets go or has not been heard of for a while."""
    assert await bench.store.claim_operation("op1", "a", 60)
    assert await bench.store.claim_operation("op1", "a", 60)
    assert not await bench.store.claim_operation("op1", "b", 60)
    await bench.store.yield_operation("op1", "b")
    assert not await bench.store.claim_operation("op1", "b", 60)
    await bench.store.yield_operation("op1", "a")
    assert await bench.store.claim_operation("op1", "b", 0.03)
    await asyncio.sleep(0.06)
    assert await bench.store.claim_operation("op1", "a", 60)
