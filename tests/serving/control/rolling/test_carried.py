"""Where the policy clamps, stages give what versions carry: held there, raised later, and said all along."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.codec import policy_as_dict
from router.commands import Promote, SetShares
from router.phases import Phase
from router.policy import Arm, OverCapacity
from router.salts import DEALT_ANEW
from serving.control.api.rollout_shapes import detail_out
from serving.control.errors import NotNow
from serving.control.rates import Rates
from serving.control.rolling.document import document_from
from serving.control.views import Wanted
from serving.endpoint import Endpoint, Load
from tests.serving.control.rolling.rooms import MODEL, Room, fake_room

SMALL = Endpoint("127.0.0.1", 9_002, 0, MODEL, 2)
HALVES = {"candidate": 2, "canary": {"steps": ["1%", "50%"], "needs": "minima", "hold": "10s"}}
WORDS = "version 2 gets 10 % of its 50 %: that is what it carries"


@pytest.fixture
async def room() -> Room:
    """A room in memory, whose policy clamps; its model gets 1,000 requests/s, of which version 2 carries 100."""
    made = await fake_room()
    await made.service.set_policy(
        MODEL, Wanted(1, {}, over_capacity=OverCapacity.CLAMP), None, who="ada", why="", wait_s=0, force=False
    )
    await carries(made, 100)
    for total in (0, 5_000):
        made.requests[f"{MODEL}/1"] = total
        await made.follow()
        made.service.rates = made.service.rates.with_totals(await made.store.gateways(), made.clock())
        made.clock.now_s += 5
    return made


async def carries(room: Room, per_s: float) -> None:
    """Version 2 carries so many requests per second."""
    await room.store.hold(SMALL, 1e6, Load(0, per_s))


async def test_a_stage_gives_what_is_carried_and_more_once_more_is(room: Room) -> None:
    """Desired and given are both shown, the ledger has the figures, and the stage is passed with its whole share."""
    record = await room.start(HALVES)
    for _ in range(30):
        await room.tick(1)
    shown = detail_out(await room.rollouts.rollout(record.id))
    assert (shown.shares, shown.desired) == ({"1": 900_000, "2": 100_000}, {"1": 500_000, "2": 500_000})
    assert (shown.stage, WORDS in shown.waits) == ("50 %", True)
    assert await room.shares() == {1: 900_000, 2: 100_000}
    assert WORDS in (await room.entries())[-1].entry.why
    await carries(room, 300)
    await room.tick(1)
    assert await room.shares() == {1: 700_000, 2: 300_000}
    assert (await room.entries())[-1].entry.facts["what"] == "set: version 2 gets 30 %"
    await carries(room, 2_000)
    await room.tick(1)
    assert await room.shares() == {1: 500_000, 2: 500_000}
    assert (await room.walked(record, 30)).rollout.phase is Phase.PROMOTED


@pytest.mark.parametrize("lost", ["version", "rate", "traffic", "throughput"])
async def test_nothing_is_raised_on_what_nobody_knows(room: Room, lost: str) -> None:
    """A version that is gone, a conductor that has just begun, gateways that count nothing, a silent replica."""
    record = await room.start(HALVES)
    for _ in range(30):
        await room.tick(1)
    assert await room.shares() == {1: 900_000, 2: 100_000}
    if lost == "version":
        await room.store.drop(SMALL)
    elif lost == "rate":
        room.service.rates = Rates()
    elif lost == "throughput":
        await room.store.hold(replace(SMALL, http_port=9_102), 1e6, Load(0, None))
    for _ in range(3 if lost == "traffic" else 0):
        room.service.rates = room.service.rates.with_totals(await room.store.gateways(), room.clock())
        room.clock.now_s += 6
    for _ in range(3):
        await room.tick(1)
    assert await room.shares() == {1: 900_000, 2: 100_000}
    assert WORDS in (await room.rollouts.rollout(record.id)).waits


async def test_a_kept_split_ends_with_what_was_known_to_be_carried(room: Room) -> None:
    """The end of a watch is no reason either to give an arm more than anybody knows that it carries."""
    stages = [
        {"name": "half", "shares": {"2": "50%"}, "needs": "minima", "min_s": 60},
        {"name": "watch", "does": "watch", "needs": "minima", "min_s": 10},
    ]
    record = await room.start({"plan": {"form": 1, "end": "keep", "stages": stages}})
    await room.tick(1)
    await room.ask(record, Promote(who="ada"))
    assert (await room.shares(), (await room.now(record)).rollout.phase) == (
        {1: 900_000, 2: 100_000},
        Phase.WATCHING,
    )
    room.service.rates = Rates()
    assert (await room.walked(record, 30)).rollout.phase is Phase.PROMOTED
    assert await room.shares() == {1: 900_000, 2: 100_000}


async def test_a_policy_set_by_hand_waits_with_the_figures(room: Room) -> None:
    """It is one value, of which nothing is cut down: it is given whole, once it is carried."""
    base = (await room.service.current(MODEL)).policy
    by_hand = policy_as_dict(replace(base, arms=(Arm(2, 500_000),)))
    stage = {"name": "set", "policy": by_hand, "needs": "minima"}
    record = await room.start({"plan": {"form": 1, "end": "keep", "stages": [stage]}})
    for _ in range(5):
        await room.tick(1)
    assert await room.shares() == {1: 1_000_000}
    waits = (await room.rollouts.rollout(record.id)).waits
    assert any("would get 500 requests/s" in one and "carries 100" in one for one in waits), waits
    await carries(room, 2_000)
    await room.tick(1)
    assert await room.shares() == {1: 500_000, 2: 500_000}


async def test_a_split_whose_units_are_dealt_out_anew_says_so(room: Room) -> None:
    """Before it starts, and in the ledger's entry of its start; one that stays where it is has nothing to say."""
    for shares in ({2: 10_000, 3: 10_000}, {2: 10_000, 3: 0}, {3: 10_000, 2: 0}):
        await room.service.set_policy(MODEL, Wanted(1, shares), None, who="ada", why="", wait_s=0, force=True)
    document = {"candidate": 3, "canary": {"steps": ["5%", "100%"], "needs": "minima", "hold": "10s"}}
    _, notes = await room.rollouts.stages(MODEL, document_from(document))
    assert DEALT_ANEW in notes
    await room.start(document)
    assert DEALT_ANEW in (await room.entries())[-1].entry.why
    smaller = document_from({"candidate": 3, "canary": {"steps": ["5%"], "needs": "minima", "hold": "10s"}})
    assert DEALT_ANEW not in (await room.rollouts.stages(MODEL, smaller))[1]


async def test_what_becomes_stable_is_not_cut_down(room: Room) -> None:
    """All traffic cannot be given in part: the end waits, and an operator is refused with the figures."""
    record = await room.start({"candidate": 2, "canary": {"steps": ["5%"], "needs": "minima", "hold": "1s"}})
    for _ in range(10):
        await room.tick(1)
    waits = (await room.rollouts.rollout(record.id)).waits
    assert any("would get 1000 requests/s" in one and "carries 100" in one for one in waits), waits
    with pytest.raises(NotNow, match="carries 100"):
        await room.ask(record, Promote(who="ada"))
    assert await room.shares() == {1: 950_000, 2: 50_000}


async def test_shares_set_by_hand_are_cut_down_unless_somebody_insists(room: Room) -> None:
    """As a policy set by hand would be; what was asked for stands beside it."""
    record = await room.start(HALVES)
    await room.tick(1)
    asked = SetShares(who="ada", shares={2: 400_000})
    shown = detail_out((await room.ask(record, asked)).view)
    assert (shown.shares["2"], shown.desired["2"], shown.by_hand) == (100_000, 400_000, True)
    done = await room.rollouts.ask(record.id, lambda _: asked, expected=None, wait_s=0, force=True)
    assert done.view.shares == done.view.desired == {1: 600_000, 2: 400_000}


async def test_a_policy_that_refuses_holds_as_before(room: Room) -> None:
    """Cutting down is asked for, never done on its own."""
    await room.service.set_policy(
        MODEL, Wanted(1, {}, over_capacity=OverCapacity.REFUSE), None, who="ada", why="", wait_s=0, force=False
    )
    record = await room.start(HALVES)
    for _ in range(30):
        await room.tick(1)
    view = await room.rollouts.rollout(record.id)
    assert view.shares == view.desired == {1: 990_000, 2: 10_000}
    assert any("carries 100" in one for one in view.waits)
