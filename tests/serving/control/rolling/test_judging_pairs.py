"""The conductor judges what keepers tell of pairs: a version that only gets copies goes back by itself as well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from router.phases import Phase
from router.verdicts.guardrails import USUAL_WITH_COPIES
from router.verdicts.replaying import recorded, replayed
from serving.control.rolling.gates import Gatekeeper
from serving.control.rolling.judged import Beside, tried_in
from serving.control.rolling.records import Record
from serving.control.rolling.walker import Walker
from serving.pair_totals import PairMessage, PairTotals, Signs
from tests.serving.control.rolling.rooms import MODEL, Room, fake_room
from tests.serving.control.rolling.test_judging import successor

COPIES = {"candidate": 2, "shadow": {"for": "60s"}}
COUNTED = {"candidate": 2, "shadow": {"for": "60s", "min_requests": 50}}


@pytest.fixture
async def room() -> Room:
    """A room in memory."""
    return await fake_room()


@dataclass
class Keeper:
    """A gateway's keeper, and the shadow that it holds answers of."""

    room: Room
    totals: PairTotals
    name: str = "g1 k"

    async def finds(self, **more: Any) -> None:  # noqa: ANN401 - totals' own
        """So much more of each; and tells all that it has found."""
        grown = {name: _sum(getattr(self.totals, name), value) for name, value in more.items()}
        epoch = (await self.room.store.head()).epoch
        self.totals = replace(self.totals, epoch=epoch, **grown)
        await self.tells()

    async def tells(self) -> None:
        """All that it has found."""
        await self.says(PairMessage(self.name, (self.totals,), whole=True).encode())

    async def says(self, message: bytes) -> None:
        """Any message."""
        await self.room.store.keeper_tells(message)


def _sum(had: Any, more: Any) -> Any:  # noqa: ANN401 - totals' own
    if isinstance(had, Signs):
        return Signs(*(one + other for one, other in zip(had, more, strict=True)))
    return {**had, **{key: had.get(key, 0) + n for key, n in more.items()}} if isinstance(more, dict) else had + more


async def begun(room: Room, document: dict[str, Any], name: str = "g1 k", version: int = 2) -> tuple[Record, Keeper]:
    """The rollout in its first stage, and a keeper that has found nothing yet."""
    record = await room.start(document)
    await room.tick(1)
    await room.tick(1)
    salt = (await room.service.current(MODEL)).policy.shadows[0].salt
    keeper = Keeper(room, PairTotals(MODEL, salt, 1, version, 0), name)
    await keeper.finds()
    await room.tick(1)
    return record, keeper


async def seconds(room: Room, keeper: Keeper, count: int, **more: Any) -> None:  # noqa: ANN401 - totals' own
    """So many seconds in each of which so much is found, while fifty requests are answered by stable and copied."""
    for _ in range(count):
        room.serves(1, 50)
        room.copied[f"{MODEL}/2"] = room.copied.get(f"{MODEL}/2", 0) + 50
        await keeper.finds(**more)
        await room.tick(1)


def pairs(disagreed: int = 0, compared: int = 50) -> dict[str, Any]:
    """A second's pairs."""
    return {
        "compared": compared, "disagreed": disagreed, "errors": Signs(0, 0, compared), "offered": compared,
        "sent": compared,
    }  # fmt: skip


async def test_a_version_that_answers_otherwise_goes_back_though_nobody_got_its_answers(room: Room) -> None:
    """Its shadow ends, the ledger says on what it rested, and people are shown the pairs."""
    record, keeper = await begun(room, COPIES)
    await seconds(room, keeper, 5, **pairs())
    view = await room.rollouts.rollout(record.id)
    assert view.record.rollout.phase is Phase.RUNNING
    assert view.verdicts[2].words == "Go on: nothing speaks against the candidate in 250 pairs of answers."
    await seconds(room, keeper, 5, **pairs(disagreed=10))
    rollout = (await room.now(record)).rollout
    assert rollout.phase is Phase.ROLLED_BACK
    assert "'disagreements' speaks against the candidate" in rollout.cause
    assert not (await room.service.current(MODEL)).policy.shadows
    [breach] = [one for one in await room.entries() if one.entry.facts.get("what") == "breach"]
    numbers = breach.entry.facts["numbers"]
    assert numbers["log10_e.2.copies and feedback"] >= numbers["log10_needed.2.harm"]
    assert 0 < numbers["detection_s"] < 6
    shown = {one.name: one for one in (await room.rollouts.rollout(record.id)).verdicts[2].guardrails}
    assert shown["disagreements"].counted == "pairs"
    assert shown["disagreements"].candidate.events >= 10
    assert shown["errors"].stable.total == 0, "requests that it did not get were held against it"


async def test_noise_of_stables_own_is_no_reason_to_go_back(room: Room) -> None:
    """Where stable is asked twice, only what is more than that is held against the candidate."""
    record, keeper = await begun(room, {"candidate": 2, "shadow": {"for": "20s", "noise": "100%"}})
    noisy = {**pairs(disagreed=10), "noise": Signs(8, 8, 34), "noise_compared": 50, "noise_disagreed": 10}
    await seconds(room, keeper, 10, **noisy)
    view = await room.rollouts.rollout(record.id)
    assert view.verdicts[2].copies is not None
    assert view.verdicts[2].copies.noise == (100, 500)
    await seconds(room, keeper, 15, **noisy)
    assert (await room.now(record)).rollout.phase is Phase.PROMOTED, "a look that was passed"


async def test_what_is_more_than_noise_goes_back(room: Room) -> None:
    """Triples in which the candidate's answer differs alone."""
    record, keeper = await begun(room, {"candidate": 2, "shadow": {"for": "60s", "noise": "100%"}})
    await seconds(room, keeper, 10, **{**pairs(disagreed=20), "noise": Signs(15, 5, 30)})
    assert (await room.now(record)).rollout.phase is Phase.ROLLED_BACK


async def test_copies_that_fail_go_back(room: Room) -> None:
    """Where the request itself was answered."""
    record, keeper = await begun(room, COPIES)
    await seconds(room, keeper, 10, **{**pairs(compared=40), "errors": Signs(10, 0, 40)})
    assert "'shadow_errors'" in (await room.now(record)).rollout.cause


async def test_time_and_requests_pass_a_stage_of_copies(room: Room) -> None:
    """As they did before anything was compared, and also where nobody tells of pairs."""
    record, keeper = await begun(room, COUNTED)
    await seconds(room, keeper, 70, **pairs())
    assert (await room.now(record)).rollout.phase is Phase.PROMOTED
    again, silent = await begun(room, COUNTED)
    await seconds(room, silent, 70)
    assert (await room.now(again)).rollout.phase is Phase.PROMOTED


async def test_a_shed_sample_is_said_and_passes_no_stage_that_asks_for_a_verdict(room: Room) -> None:
    """What was shed may be just what was unlike."""
    stages = [
        {"name": "a part", "shares": {"2": "10%"}, "min_s": 1, "needs": "minima"},
        {"name": "a look", "shadows": [{"version": 2}], "min_s": 5, "min_requests": 5, "needs": "verdict"},
    ]
    document = {"plan": {"form": 1, "kind": "custom", "end": "promote", "candidate": 2, "stages": stages}}
    record = await room.start(document)
    for _ in range(6):
        room.serves(2, 20)
        room.serves(1, 20)
        await room.tick(1)
    assert (await room.now(record)).rollout.stage == 1
    salt = (await room.service.current(MODEL)).policy.shadows[0].salt
    keeper = Keeper(room, PairTotals(MODEL, salt, 1, 2, 0))
    await keeper.finds()
    await seconds(room, keeper, 20, **{**pairs(compared=31), "offered": 50, "shed": {"busy": 19}})
    view = await room.rollouts.rollout(record.id)
    assert view.record.rollout.phase is Phase.RUNNING
    assert view.verdicts[2].words == "Not yet: only 62 % of the copies were compared: not representative."
    await seconds(room, keeper, 60, **pairs(compared=500))
    assert (await room.now(record)).rollout.phase is Phase.PROMOTED


async def test_where_it_has_a_share_and_copies_both_speak(room: Room) -> None:
    """Its requests are as good as stable's; its answers are others."""
    stages = [
        {"name": "both", "shares": {"2": "10%"}, "shadows": [{"version": 2}], "min_s": 600, "needs": "minima"},
        {"name": "all", "shares": {"2": "100%"}, "needs": "minima"},
    ]
    document = {"plan": {"form": 1, "kind": "custom", "end": "promote", "candidate": 2, "stages": stages}}
    record, keeper = await begun(room, document)
    assert tried_in((await room.now(record)).rollout)[2].how is Beside.COMPARED
    for _ in range(10):
        room.serves(2, 50)
        await seconds(room, keeper, 1, **pairs())
    await seconds(room, keeper, 8, **pairs(disagreed=10))
    rollout = (await room.now(record)).rollout
    assert rollout.phase is Phase.ROLLED_BACK
    assert "'disagreements'" in rollout.cause
    lines = [line async for line in await room.rollouts.blocks(record.id, 2)]
    replay = replayed(recorded(lines), USUAL_WITH_COPIES)
    assert replay.back is not None
    assert replay.case.copies.ended > 0


async def test_only_pairs_of_this_rollouts_shadow_and_leg_count(room: Room) -> None:
    """Not another salt's, another stable's, another version's, nor what was found under an earlier epoch."""
    record, keeper = await begun(room, COPIES)
    others: list[dict[str, Any]] = [{"salt": "x"}, {"stable": 3}, {"candidate": 3}, {"model": "other"}]
    for nth, other in enumerate(others):
        stranger = Keeper(room, replace(keeper.totals, **other), f"g{nth} k")
        await stranger.finds()
        await seconds(room, stranger, 5, **pairs(disagreed=50))
    older = Keeper(room, replace(keeper.totals, epoch=1), "g9 k")
    for _ in range(5):
        older.totals = replace(older.totals, compared=older.totals.compared + 50, disagreed=older.totals.disagreed + 50)
        await older.tells()
        await room.tick(1)
    view = await room.rollouts.rollout(record.id)
    assert view.record.rollout.phase is Phase.RUNNING
    assert 2 not in view.verdicts or view.verdicts[2].copies is None


async def test_late_lost_and_repeated_messages_change_no_count(room: Room) -> None:
    """Totals only grow: what was lost is in the next one, and what is older says nothing."""
    record, keeper = await begun(room, COPIES)
    await seconds(room, keeper, 2, **pairs())
    older = keeper.totals
    keeper.totals = replace(keeper.totals, compared=keeper.totals.compared + 50)  # never told
    await seconds(room, keeper, 1, **pairs())
    for one in (keeper.totals, older, keeper.totals):
        await keeper.says(PairMessage(keeper.name, (one,), whole=True).encode())
        await room.tick(1)
    await keeper.says(b"{}")
    await seconds(room, keeper, 1, **pairs())
    await room.tick(2)
    judged = room.walker.judged(record.id)
    assert judged is not None
    assert judged.arms[2].case.copies.compared == keeper.totals.compared == 250


async def test_a_successor_goes_on_with_the_pairs_of_its_predecessor(room: Room) -> None:
    """Every pair is heard once, whoever leads."""
    record, keeper = await begun(room, COPIES)
    await seconds(room, keeper, 10, **pairs())
    room.walker = Walker(room.store, room.service.traffic, Gatekeeper(room.post), clock=room.clock)
    room.fence = await successor(room)
    await seconds(room, keeper, 10, **pairs())
    await room.tick(2)
    judged = room.walker.judged(record.id)
    assert judged is not None
    assert judged.arms[2].case.copies.compared == 1_000
    assert judged.arms[2].tried.how is Beside.SHADOWED


async def test_of_several_that_get_copies_each_is_judged_by_its_own(room: Room) -> None:
    """The level is divided between them, and the one that is worse takes the look back."""
    stages = [
        {"name": "look", "shadows": [{"version": 2}, {"version": 3, "salt": "b"}], "min_s": 600, "needs": "minima"}
    ]
    document = {"plan": {"form": 1, "kind": "custom", "end": "restore", "stages": stages}}
    record, keeper = await begun(room, document)
    worse = Keeper(room, PairTotals(MODEL, "b", 1, 3, 0), "g2 k")
    await worse.finds()
    for _ in range(10):
        await worse.finds(**pairs(disagreed=10))
        await seconds(room, keeper, 1, **pairs())
    rollout = (await room.now(record)).rollout
    assert rollout.phase is Phase.ROLLED_BACK
    assert rollout.cause.startswith("Version 3: Roll back")
    judged = room.walker.judged(record.id)
    assert judged is None or judged.arms[2].case.terms.harm == 0.005
