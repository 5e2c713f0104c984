"""What the control room relies on in any store: one winner per revision, nothing half-written, leases that lapse."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from router.codec import digest_of, encode_policy, encode_snapshot
from router.epoch import EMPTY, NO_HEAD, Head
from router.policy import Arm, Policy
from serving.control.errors import Conflict, StoreDamaged
from serving.control.publishing import LedgerEntry, Publication, Published
from serving.endpoint import Endpoint
from serving.figures import Figures
from serving.leases import Applied, GatewayLease, Recovery
from tests.contracts.conftest import Bench

POLICY = Policy(stable=1, salt="s")
ENDPOINT = Endpoint(host="127.0.0.1", http_port=9001, grpc_port=0, model="digits", version=1, capacity=2)


def half(salt: str = "s") -> Policy:
    """Half of the traffic to version 2."""
    return Policy(stable=1, arms=(Arm(2, 500_000),), salt=salt)


def lease(name: str = "g1", epoch: int = 0, digest: str = "") -> GatewayLease:
    """What a gateway says that runs this."""
    return GatewayLease(
        id=name, boot="b", pid=7, host="h", http_port=8000, epoch=epoch, digest=digest, requests={"digits/1": 3}
    )


def publication(nonce: str = "n") -> Publication:
    """The first publication of an empty store."""
    blob = encode_policy(POLICY)
    snapshot = EMPTY.with_policy("digits", digest_of(blob), parent="")
    encoded = encode_snapshot(snapshot)
    return Publication(
        expected="",
        head=Head(1, digest_of(encoded), ""),
        snapshot=encoded,
        policies={digest_of(blob): blob},
        entry=LedgerEntry("policy", "me", "first", {"model": "digits"}),
        lineage={7: "aa bb"},
        nonce=nonce,
    )


async def test_an_empty_store_has_no_head_no_leases_and_no_keys(bench: Bench) -> None:
    """A store that nobody has written to says so, and does not fail."""
    assert await bench.store.head() == NO_HEAD
    assert (await bench.store.state()).snapshot == EMPTY
    assert list(await bench.store.gateways()) == []
    assert list(await bench.store.endpoints()) == []
    assert list(await bench.store.ledger(10)) == []
    assert await bench.store.id_keys() is None
    assert await bench.store.lineage([1, 2]) == {}
    assert await bench.store.recovery("no such digest") is None


async def test_a_change_is_read_back_whole(bench: Bench) -> None:
    """What was published is the head, its snapshot, its policy, its place in the lineage and a ledger entry."""
    done = await bench.store.change("digits", half(), 0, who="ada", why="try it")
    state = await bench.store.state()
    assert (done.revision, state.head) == (1, done.answer.head)
    assert (state.head.epoch, state.head.parent) == (1, "")
    assert state.snapshot.revision_of("digits") == 1
    assert await bench.store.policy(state.snapshot.models["digits"].digest) == half()
    assert await bench.store.lineage([0, 1]) == {1: state.head.digest}
    [recorded] = await bench.store.ledger(10)
    assert (recorded.entry.kind, recorded.entry.who, recorded.entry.why) == ("policy", "ada", "try it")
    assert recorded.entry.facts["policy"]["arms"][0]["share_ppm"] == 500_000
    assert recorded.at_ms > 1_600_000_000_000


async def test_a_change_is_on_disk_before_it_is_answered(bench: Bench) -> None:
    """With an append-only file, the answer says that the write is durable."""
    assert (await bench.store.change("digits", POLICY, 0, who="ada")).answer.durable


async def test_each_epoch_names_its_parent(bench: Bench) -> None:
    """The heads form a chain, and the lineage remembers every link."""
    heads = [(await bench.store.change("digits", POLICY, None, who="ada")).answer.head for _ in range(3)]
    assert [head.parent for head in heads] == ["", heads[0].digest, heads[1].digest]
    assert await bench.store.lineage([1, 2, 3]) == {head.epoch: head.digest for head in heads}


async def test_a_change_from_an_old_revision_is_refused_with_what_is_there_now(bench: Bench) -> None:
    """The loser learns the revision and the policy that won, and nothing is written."""
    await bench.store.change("digits", POLICY, 0, who="ada")
    await bench.store.change("digits", half(), 1, who="ada")
    with pytest.raises(Conflict) as refused:
        await bench.store.change("digits", POLICY, 1, who="bob")
    assert (refused.value.revision, refused.value.policy) == (2, half())
    assert (await bench.store.head()).epoch == 2


async def test_a_change_of_a_model_without_a_policy_must_not_expect_one(bench: Bench) -> None:
    """Expecting revision 3 of a model that has none is a conflict with nothing."""
    with pytest.raises(Conflict) as refused:
        await bench.store.change("digits", POLICY, 3, who="ada")
    assert (refused.value.revision, refused.value.policy) == (0, None)


async def test_of_twenty_changes_of_one_model_at_once_one_wins(bench: Bench) -> None:
    """Operators who began with the same revision cannot overwrite each other, not even with equal policies."""
    said = await asyncio.gather(
        *(bench.store.change("digits", half(), 0, who=f"operator {n}") for n in range(20)), return_exceptions=True
    )
    assert [type(one) for one in said].count(Published) == 1
    assert [type(one) for one in said].count(Conflict) == 19
    assert (await bench.store.head()).epoch == 1
    assert len(await bench.store.ledger(100)) == 1


async def test_twenty_changes_of_twenty_models_at_once_all_win(bench: Bench) -> None:
    """Operators of different models never meet: the global swap is repeated while the model's revision stands."""
    await asyncio.gather(*(bench.store.change(f"m{n}", POLICY, 0, who=f"operator {n}") for n in range(20)))
    state = await bench.store.state()
    assert state.head.epoch == 20
    assert {name: entry.revision for name, entry in state.snapshot.models.items()} == {f"m{n}": 1 for n in range(20)}


async def test_a_repeated_command_is_not_a_second_change(bench: Bench) -> None:
    """A client whose connection broke sends the command again, and gets the answer of the first time."""
    bench.gateway.gateway_says(lease("g1"), 60)
    first = await bench.store.swap(publication())
    second = await bench.store.swap(publication())
    assert (first.done, first.head, first.members) == (second.done, second.head, second.members)
    assert second.durable
    assert len(await bench.store.ledger(10)) == 1


async def test_a_twin_of_a_change_is_refused(bench: Bench) -> None:
    """The same bytes from somebody else are another change, and come too late."""
    assert (await bench.store.swap(publication("mine"))).done
    answer = await bench.store.swap(publication("yours"))
    assert (answer.done, answer.head) == (False, publication().head)


async def test_a_publication_brings_its_own_lineage(bench: Bench) -> None:
    """A recovery can say which lines it joins, two digests for one epoch among them."""
    await bench.store.swap(publication())
    assert await bench.store.lineage([1, 7]) == {1: publication().head.digest, 7: "aa bb"}


async def test_a_policy_that_comes_back_is_there(bench: Bench) -> None:
    """Going back to an earlier policy finds its bytes, whatever became of them in between."""
    for policy in (POLICY, half(), POLICY):
        await bench.store.change("digits", policy, None, who="ada")
    state = await bench.store.state()
    assert await bench.store.policy(state.snapshot.models["digits"].digest) == POLICY


async def test_an_unknown_digest_is_damage(bench: Bench) -> None:
    """A blob that a snapshot names and the store lacks is an error of its own kind, not an empty policy."""
    with pytest.raises(StoreDamaged):
        await bench.store.policy("0" * 64)


async def test_the_members_of_an_epoch_are_the_leases_alive_when_it_was_written(bench: Bench) -> None:
    """A lapsed gateway is not waited for, and one that joins later is not either."""
    bench.gateway.gateway_says(lease("lapsed"), 0.02)
    bench.gateway.gateway_says(lease("alive"), 60)
    await asyncio.sleep(0.06)
    done = await bench.store.change("digits", POLICY, 0, who="ada")
    bench.gateway.gateway_says(lease("later"), 60)
    assert done.answer.members == {"alive"}


async def test_a_gateway_is_seen_for_as_long_as_its_lease_lives(bench: Bench) -> None:
    """Its lease is read back as it was written, then lapses, and comes back with the next renewal."""
    bench.gateway.gateway_says(lease(), 0.05)
    assert list(await bench.store.gateways()) == [lease()]
    await asyncio.sleep(0.1)
    assert list(await bench.store.gateways()) == []
    bench.gateway.gateway_says(lease(epoch=2, digest="d"), 60)
    assert list(await bench.store.gateways()) == [lease(epoch=2, digest="d")]


async def test_what_a_gateway_goes_by_is_told_for_as_long_as_its_lease_lives(bench: Bench) -> None:
    """Of all, or of those that are asked about; a gateway that is gone, or was never there, is left out."""
    assert await bench.store.applied() == {}
    bench.gateway.gateway_says(lease("lapsed", 9, "e"), 0.02)
    bench.gateway.gateway_says(lease("other"), 60)
    bench.gateway.gateway_says(replace(lease(epoch=2, digest="d"), access=7), 60)
    await asyncio.sleep(0.06)
    assert await bench.store.applied() == {"g1": Applied(2, "d", 7), "other": Applied(0, "", 0)}
    assert await bench.store.applied(["g1", "lapsed", "unknown"]) == {"g1": Applied(2, "d", 7)}
    assert await bench.store.applied([]) == {}
    bench.gateway.gateway_says(lease(epoch=3, digest="f"), 60)
    assert await bench.store.applied(["g1"]) == {"g1": Applied(3, "f", 0)}


async def test_an_endpoint_is_held_renewed_and_dropped(bench: Bench) -> None:
    """An endpoint is there while its lease is, and goes at once when it is given back."""
    other = Endpoint(host="127.0.0.1", http_port=9002, grpc_port=0, model="digits", version=2)
    await bench.store.hold(other, 60)
    await bench.store.hold(ENDPOINT, 60)
    await bench.store.hold(ENDPOINT, 60)
    assert list(await bench.store.endpoints()) == [ENDPOINT, other]
    await bench.store.drop(other)
    assert list(await bench.store.endpoints()) == [ENDPOINT]


async def test_an_endpoint_that_is_not_renewed_lapses(bench: Bench) -> None:
    """Silence is an answer: no renewal, no endpoint."""
    await bench.store.hold(ENDPOINT, 0.03)
    await asyncio.sleep(0.08)
    assert list(await bench.store.endpoints()) == []


async def test_what_a_gateway_says_for_people_is_for_those_who_ask(bench: Bench) -> None:
    """It is much, and most who read leases do not show it."""
    assert list(await bench.store.gateways_with_figures()) == []
    told = replace(lease(), figures={"digits/1": Figures(3, 1, {64: 2})})
    bench.gateway.gateway_says(told, 60)
    assert list(await bench.store.gateways_with_figures()) == [told]
    assert list(await bench.store.gateways()) == [lease()]


async def test_figures_are_those_of_the_leases_that_are_asked_for(bench: Bench) -> None:
    """As they are by then, beside leases as they were; those of another boot are of somebody else."""
    early = [lease()]
    bench.gateway.gateway_says(replace(lease(epoch=1, digest="d"), figures={"digits/1": Figures(3)}), 60)
    assert list(await bench.store.with_figures(early)) == [replace(lease(), figures={"digits/1": Figures(3)})]
    others = [replace(lease(), boot="before"), replace(lease(), id="gone")]
    assert list(await bench.store.with_figures(others)) == others


async def test_what_a_gateway_hands_back_is_read_whole(bench: Bench) -> None:
    """A recovery blob keeps its bytes."""
    kept = Recovery(Head(3, "d" * 64, "p" * 64), b'{"a":1}', {"e" * 64: b'{"b":2}'})
    bench.gateway.gateway_hands_back(kept)
    assert await bench.store.recovery("d" * 64) == kept


async def test_the_first_key_is_made_once(bench: Bench) -> None:
    """Of many first starts at once, all end with the same key."""
    found: Sequence[object] = await asyncio.gather(*(bench.store.ensure_keys() for _ in range(10)))
    assert all(keys == found[0] for keys in found)


async def test_after_a_rotation_the_old_key_is_kept(bench: Bench) -> None:
    """The new key mints, and the old one still verifies."""
    before = await bench.store.ensure_keys()
    after = await bench.store.rotate_keys()
    assert after.current != before.current
    assert after.secrets[before.current] == before.secrets[before.current]
    assert len(after.secrets[after.current]) == 32


async def test_the_ledger_shows_the_newest_first(bench: Bench) -> None:
    """And no more than was asked for."""
    for n in range(5):
        await bench.store.change("digits", POLICY, None, who=f"operator {n}")
    assert [one.entry.who for one in await bench.store.ledger(2)] == ["operator 4", "operator 3"]


async def test_an_endless_remark_is_cut(bench: Bench) -> None:
    """Nobody fills the ledger with one entry."""
    await bench.store.change("digits", POLICY, 0, who="w" * 5_000, why="y" * 5_000)
    [recorded] = await bench.store.ledger(1)
    assert (len(recorded.entry.who), len(recorded.entry.why)) == (1_000, 1_000)
