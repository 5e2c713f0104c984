"""A rollout goes on when it has earned it, goes back at once, holds when it knows nothing, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from router.advance import obstacles, tick
from router.commands import Approve, Command, Pause, Promote, Resume, Retry, RollBack, SetShares, Stop, ask
from router.errors import PlanError, PolicyError, RolloutError
from router.freeze import Weekly
from router.phases import Phase
from router.plan import End, Kind, Plan, Stalled
from router.policy import WHOLE, Arm, Policy, Shadow
from router.rollout import Approval, Automation, Evidence, Fact, Rollout, Says, Seen, policy_of, start
from router.stage import Does, Needs, Stage
from router.strategies import CanaryStep, Decide, ab_test, blue_green, canary, manual, shadow

BASE = Policy(1, salt="base")
UP = frozenset({2, 3})
MONDAY = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
STEPS = canary(
    2, [CanaryStep(10_000, 60, 100), CanaryStep(250_000, 60), CanaryStep(WHOLE, 60)], watch_s=600, needs=Needs.VERDICT
)


class Walk:
    """A rollout, the time, and what has been written down."""

    def __init__(self, plan: Plan = STEPS, automation: Automation = Automation.ALONE, at_s: float = MONDAY) -> None:
        self.now_s = at_s
        self.rollout = start("r1", plan, BASE, at_s, automation)
        self.facts: list[Fact] = []
        self.waits: tuple[str, ...] = ()

    def evidence(self, says: Says = Says.PROMOTE, **more: Any) -> Evidence:  # noqa: ANN401 (any of its fields)
        """Of this leg and this moment, with requests enough."""
        requests = {1: 10_000, 2: 10_000, 3: 10_000}
        return Evidence(**{"leg": self.rollout.leg, "at_s": self.now_s, "says": says, "requests": requests, **more})

    def seen(self, evidence: Evidence | None) -> Seen:
        """Every version is up."""
        return Seen(self.now_s, UP, evidence)

    def tick(self, after_s: float = 0, evidence: Evidence | None = None, ready: frozenset[int] = UP) -> Phase:
        """So much later, with this evidence or none."""
        self.now_s += after_s
        step = tick(self.rollout, Seen(self.now_s, ready, evidence))
        self.rollout, self.waits = step.rollout, step.waits
        self.facts += step.facts
        return self.rollout.phase

    def go_on(self, after_s: float = 61) -> str:
        """Later, with all the evidence that it needs, and where it stands then."""
        self.now_s += after_s
        self.tick(0, self.evidence())
        return self.rollout.place

    def ask(self, command: Command, evidence: Evidence | None = None) -> Phase:
        """What an operator asks."""
        step = ask(self.rollout, command, self.seen(evidence))
        self.rollout = step.rollout
        self.facts += step.facts
        return self.rollout.phase

    def approve(self, who: str = "ada", **more: Any) -> Phase:  # noqa: ANN401 (any of its fields)
        """The approval that fits, or another."""
        assert self.rollout.target is not None
        fields = {"who": who, "rollout": "r1", "revision": self.rollout.revision, "stage": self.rollout.target, **more}
        return self.ask(Approve(who=who, approval=Approval(**fields)))

    @property
    def shares(self) -> dict[int, int]:
        """What each version gets."""
        return dict(policy_of(self.rollout).shares())


def test_a_canary_walks_from_start_to_finish() -> None:
    """Each stage in its turn, none skipped, none repeated, and the ledger has a line for each."""
    walk = Walk()
    assert (walk.tick(ready=frozenset()), walk.shares) == (Phase.WARMING, {1: WHOLE})
    assert walk.waits == ("version 2 is not up",)
    places = [walk.go_on() for _ in range(4)] + [walk.go_on(601)]
    assert places == [
        "running, stage '1 %'",
        "running, stage '25 %'",
        "running, stage '100 %'",
        "watching, stage 'watch'",
        "promoted",
    ]
    assert walk.shares == {2: WHOLE}
    assert [fact.after for fact in walk.facts] == places
    assert all(fact.who == "the rollout" and fact.why for fact in walk.facts)
    assert walk.facts[1].numbers["requests.2"] == 10_000
    assert walk.facts[1].numbers["share_ppm.2"] == 250_000
    assert walk.facts[1].numbers["stage_s"] == 61


@pytest.mark.parametrize(
    ("after_s", "more", "wait"),
    [
        (59, {}, "1 s of its shortest time are left"),
        (61, {"requests": {2: 99}}, "version 2 has had 99 of 100 requests"),
        (61, {"requests": {}}, "version 2 has had 0 of 100 requests"),
        (61, {"says": Says.NOT_YET}, "the evidence is not enough yet"),
        (61, {"stand_still": True, "because": "an alarm"}, "the evidence asks to stand still: an alarm"),
        (61, {"leg": 0}, "there is no evidence of this leg"),
        (61, {"leg": 2}, "there is no evidence of this leg"),
        (61, {"at_s": MONDAY - 1}, "the newest evidence is 62 s old"),
        (61, {"at_s": MONDAY + 200}, "the newest evidence is 139 s old"),
    ],
)
def test_a_stage_is_not_passed_before_it_is_earned(after_s: float, more: dict[str, Any], wait: str) -> None:
    """Its time, its requests, a verdict, and evidence of this leg that is fresh: each of them alone holds it."""
    walk = Walk()
    walk.go_on(0)
    walk.now_s += after_s
    before = walk.rollout
    walk.tick(0, walk.evidence(**more))
    assert walk.waits == (wait,)
    assert walk.rollout is before


def test_silence_neither_promotes_nor_goes_back() -> None:
    """A day without a word: traffic stays as it was, and goes on being as it was."""
    walk = Walk()
    walk.go_on(0)
    before = walk.rollout
    for _ in range(24):
        assert walk.tick(3_600) is Phase.RUNNING
    assert walk.rollout is before


def test_the_evidence_takes_it_back_at_once() -> None:
    """In every phase that has traffic, paused or waiting as well; late evidence of an earlier leg counts too."""
    prepares: list[Callable[[Walk], object]] = [
        lambda _: None,
        lambda walk: walk.ask(Pause(who="ada")),
        lambda walk: walk.go_on(),
    ]
    for prepare in prepares:
        walk = Walk()
        walk.go_on(0)
        prepare(walk)
        assert walk.tick(1, walk.evidence(Says.ROLL_BACK, leg=1, because="errors")) is Phase.ROLLED_BACK
        assert policy_of(walk.rollout) == BASE
        assert (walk.facts[-1].what, walk.facts[-1].why, walk.rollout.cause) == ("breach", "errors", "errors")


def test_the_watch_takes_it_back_to_the_warm_old_version() -> None:
    """After it was promoted, at once, to exactly the policy from before."""
    walk = Walk()
    for _ in range(4):
        walk.go_on()
    assert (walk.rollout.phase, walk.shares) == (Phase.WATCHING, {2: WHOLE, 1: 0})
    assert 1 in policy_of(walk.rollout).versions
    assert walk.tick(5, walk.evidence(Says.ROLL_BACK)) is Phase.ROLLED_BACK
    assert policy_of(walk.rollout) == BASE


def test_evidence_of_an_earlier_attempt_says_nothing() -> None:
    """A retry is judged by what it does itself."""
    walk = Walk()
    walk.go_on(0)
    old = walk.evidence(Says.ROLL_BACK)
    walk.tick(1, old)
    with pytest.raises(RolloutError, match="insist"):
        walk.ask(Retry(who="ada"))
    assert walk.ask(Retry(who="ada", again=True, why="fixed")) is Phase.WARMING
    walk.go_on(0)
    assert walk.tick(1, old) is Phase.RUNNING
    assert walk.rollout.place == "running, stage '1 %'"


GATED = canary(2, [CanaryStep(10_000), CanaryStep(250_000, approval=True), CanaryStep(WHOLE, approval=True)])


def test_an_approval_lets_it_into_one_stage() -> None:
    """The record names the revision, so what let it into the second stage does not let it into the third."""
    walk = Walk(GATED)
    walk.go_on()
    walk.go_on()
    assert (walk.rollout.phase, walk.shares[2], walk.rollout.target) == (Phase.WAITING, 10_000, 1)
    used = Approval("ada", "r1", walk.rollout.revision, 1)
    assert walk.ask(Approve(who="ada", approval=used)) is Phase.RUNNING
    assert (walk.shares[2], walk.rollout.approvals) == (250_000, (used,))
    with pytest.raises(RolloutError, match="nothing to approve"):
        walk.ask(Approve(who="ada", approval=used))
    walk.go_on()
    assert walk.rollout.phase is Phase.WAITING
    with pytest.raises(RolloutError, match="what waits is stage 2 of r1"):
        walk.ask(Approve(who="ada", approval=used))
    assert walk.shares[2] == 250_000


@pytest.mark.parametrize("wrong", [{"rollout": "r2"}, {"revision": 1}, {"stage": 2}])
def test_an_approval_of_something_else_is_none(wrong: dict[str, Any]) -> None:
    """Another rollout, another revision, another stage, or somebody else's."""
    walk = Walk(GATED)
    walk.go_on()
    walk.go_on()
    with pytest.raises(RolloutError, match="this approval is for"):
        walk.approve(**wrong)
    right = Approval("ada", "r1", walk.rollout.revision, 1)
    with pytest.raises(RolloutError, match="bob cannot hand in"):
        walk.ask(Approve(who="bob", approval=right))


def test_a_promotion_by_hand_passes_no_approval() -> None:
    """It asks for it; and it cannot go past one to the end."""
    walk = Walk(GATED)
    walk.go_on()
    assert walk.ask(Promote(who="ada")) is Phase.WAITING
    with pytest.raises(RolloutError, match="waits for an approval"):
        walk.ask(Promote(who="ada"))
    with pytest.raises(RolloutError, match="an approval of its own"):
        walk.ask(Promote(who="ada", to_end=True))


def test_operators_promote_without_waiting() -> None:
    """To the next stage, or to the end, which is watched first."""
    walk = Walk()
    walk.go_on(0)
    walk.ask(Promote(who="ada", why="looks good"))
    assert (walk.rollout.place, walk.facts[-1].who, walk.facts[-1].why) == (
        "running, stage '25 %'",
        "ada",
        "looks good",
    )
    assert walk.ask(Promote(who="ada", to_end=True)) is Phase.WATCHING
    assert walk.ask(Promote(who="ada")) is Phase.PROMOTED
    with pytest.raises(RolloutError, match="nothing to promote"):
        walk.ask(Promote(who="ada"))


def test_degrees_of_automation() -> None:
    """Observe and recommend move nothing and say it once; approve goes on when it is let, and goes back alone."""
    for automation, words in ((Automation.OBSERVE, "would have done"), (Automation.RECOMMEND, "recommends")):
        walk = Walk(automation=automation)
        for _ in range(3):
            walk.go_on()
        assert (walk.rollout.place, walk.facts[-1].what) == ("running, stage '1 %'", f"{words}: stage '25 %'")
        for _ in range(3):
            assert walk.tick(1, walk.evidence(Says.ROLL_BACK)) is Phase.RUNNING
        assert walk.facts[-1].what == f"{words}: going back"
        assert len(walk.facts) == 3
        assert walk.ask(Promote(who="ada")) is Phase.RUNNING
        assert walk.shares[2] == 250_000
    walk = Walk(automation=Automation.APPROVE)
    walk.go_on()
    assert walk.go_on() == "waiting for approval, stage '1 %'"
    assert walk.approve() is Phase.RUNNING
    assert walk.tick(1, walk.evidence(Says.ROLL_BACK)) is Phase.ROLLED_BACK


def test_a_pause_stops_the_clock_and_a_resumption_goes_on() -> None:
    """Traffic stays; the time in between does not count as time of the stage."""
    walk = Walk()
    walk.go_on(0)
    walk.tick(30)
    assert walk.ask(Pause(who="ada", why="lunch")) is Phase.PAUSED
    assert walk.go_on(3_600).startswith("paused")
    assert walk.waits == ("it is paused: lunch",)
    with pytest.raises(RolloutError, match="cannot pause"):
        walk.ask(Pause(who="ada"))
    assert walk.ask(Resume(who="ada")) is Phase.RUNNING
    assert walk.rollout.spent_s(walk.now_s) == 30
    assert walk.go_on(29) == "running, stage '1 %'"
    assert walk.go_on(2) == "running, stage '25 %'"
    with pytest.raises(RolloutError, match="nothing interrupted"):
        walk.ask(Resume(who="ada"))


def test_a_pause_while_it_waits_or_warms_goes_on_there() -> None:
    """What it waited for is still what it waits for."""
    walk = Walk(GATED)
    walk.ask(Pause(who="ada"))
    assert walk.tick(1) is Phase.PAUSED
    assert walk.ask(Resume(who="ada")) is Phase.WARMING
    walk.go_on()
    walk.go_on()
    walk.ask(Pause(who="ada"))
    assert (walk.ask(Resume(who="ada")), walk.rollout.target) == (Phase.WAITING, 1)
    assert walk.approve() is Phase.RUNNING


def test_shares_set_by_hand_begin_a_new_leg() -> None:
    """Units stay where they were, the stage is earned anew, and smaller steps of the plan are passed over."""
    walk = Walk()
    walk.go_on(0)
    walk.tick(50)
    assert walk.ask(SetShares(who="ada", shares={2: 400_000})) is Phase.RUNNING
    assert walk.shares == {1: 600_000, 2: 400_000}
    assert policy_of(walk.rollout).arms[0].offset_ppm == 0
    assert walk.facts[-1].what == "set: version 2 gets 40 %"
    assert walk.go_on(59) == "running, stage '1 %'"
    assert (walk.go_on(2), walk.shares) == ("running, stage '100 %'", {1: 0, 2: WHOLE})


def test_shares_set_to_what_the_next_stage_gives_do_not_skip_it() -> None:
    """Its own time has to be spent there."""
    walk = Walk()
    walk.go_on(0)
    walk.ask(SetShares(who="ada", shares={2: 250_000}))
    assert walk.go_on() == "running, stage '25 %'"


def test_a_stage_that_was_to_take_something_away_is_not_passed_over() -> None:
    """Though it gives less than was set by hand: that is what the plan is for."""
    stages = [Stage(str(ppm), shares={2: ppm}) for ppm in (100_000, 50_000, 300_000)]
    walk = Walk(Plan(Kind.CUSTOM, tuple(stages), End.RESTORE))
    walk.go_on(0)
    walk.ask(SetShares(who="ada", shares={2: 200_000}))
    assert (walk.go_on(), walk.shares[2]) == ("running, stage '50000'", 50_000)


def test_arms_have_room_beyond_what_the_plan_gives_them() -> None:
    """What is left over lies between them, so several can be set to more by hand, and nobody moves."""
    walk = Walk(ab_test({2: 100_000, 3: 100_000}, duration_s=60))
    walk.go_on(0)
    before = {arm.version: arm.offset_ppm for arm in policy_of(walk.rollout).arms}
    walk.ask(SetShares(who="ada", shares={2: 500_000, 3: 500_000}))
    assert {arm.version: arm.offset_ppm for arm in policy_of(walk.rollout).arms} == before
    assert walk.shares == {1: 0, 2: 500_000, 3: 500_000}
    with pytest.raises(RolloutError, match="these shares cannot be"):
        walk.ask(SetShares(who="ada", shares={2: 500_001, 3: 1}))


def test_shares_set_while_it_waits_have_to_be_approved_anew() -> None:
    """The approval was for what was seen."""
    walk = Walk(GATED)
    walk.go_on()
    walk.go_on()
    old = Approval("ada", "r1", walk.rollout.revision, 1)
    assert walk.ask(SetShares(who="ada", shares={2: 5_000})) is Phase.RUNNING
    assert walk.go_on() == "waiting for approval, stage '1 %'"
    with pytest.raises(RolloutError, match="this approval is for"):
        walk.ask(Approve(who="ada", approval=old))


@pytest.mark.parametrize("shares", [{3: 5}, {1: 5}, {2: WHOLE + 1}, {2: -1}])
def test_shares_that_cannot_be_set_are_refused(shares: dict[int, int]) -> None:
    """No such arm, stable, or no share."""
    walk = Walk()
    walk.go_on(0)
    with pytest.raises(RolloutError):
        walk.ask(SetShares(who="ada", shares=shares))


def test_shares_are_set_only_where_there_are_some() -> None:
    """Not while it warms up, bakes or is watched."""
    for plan, ticks in ((STEPS, 0), (blue_green(2), 1), (STEPS, 4)):
        walk = Walk(plan)
        for _ in range(ticks):
            walk.go_on()
        with pytest.raises(RolloutError):
            walk.ask(SetShares(who="ada", shares={2: 5}))


FROZEN = replace(STEPS, freezes=(Weekly("mondays", "mon 00:00", "tue 00:00"),))


def test_nothing_grows_during_a_freeze() -> None:
    """By itself or by hand; but shares may shrink, and going back is never held up."""
    walk = Walk(replace(FROZEN, freezes=(Weekly("noon", "mon 12:30", "mon 14:00"),)))
    walk.go_on(0)
    walk.go_on(1_740)
    assert walk.rollout.place == "running, stage '25 %'"
    assert walk.go_on(120) == "running, stage '25 %'"
    assert walk.waits == ("no share grows during the freeze 'noon'",)
    for command in (Promote(who="ada"), Promote(who="ada", to_end=True), SetShares(who="ada", shares={2: 250_001})):
        with pytest.raises(RolloutError, match="freeze 'noon'"):
            walk.ask(command)
    assert walk.ask(SetShares(who="ada", shares={2: 5})) is Phase.RUNNING
    assert walk.ask(RollBack(who="ada", why="no")) is Phase.ROLLED_BACK
    assert Walk(FROZEN).go_on() == "warming"


def test_an_approval_does_not_pass_a_freeze() -> None:
    """It can be given again when the freeze is over."""
    walk = Walk(replace(GATED, freezes=(Weekly("noon", "mon 12:10", "mon 14:00"),)))
    walk.go_on(0)
    walk.go_on(60)
    walk.now_s += 600
    with pytest.raises(RolloutError, match="freeze 'noon'"):
        walk.approve()
    walk.now_s += 7_200
    assert walk.approve() is Phase.RUNNING


@pytest.mark.parametrize("what", [Stalled.PAUSE, Stalled.FAIL])
def test_a_deadline_pauses_or_fails_but_silence_only_pauses(what: Stalled) -> None:
    """What is not enough in time may fail, if the plan says so; what is not known may not."""
    plan = replace(STEPS, deadline_s=1_000, on_deadline=what)
    after = Phase.PAUSED if what is Stalled.PAUSE else Phase.FAILED
    walk = Walk(plan)
    assert walk.tick(1_001, ready=frozenset()) is after
    assert "version 2 is not up" in walk.rollout.cause
    silent, unsure = Walk(plan), Walk(plan)
    silent.go_on(0)
    unsure.go_on(0)
    assert silent.tick(1_059) is Phase.RUNNING  # its shortest time is beside the deadline
    assert silent.tick(1) is Phase.PAUSED
    unsure.now_s += 1_060
    assert unsure.tick(0, unsure.evidence(Says.NOT_YET)) is after
    assert policy_of(unsure.rollout).shares()[1] == (WHOLE if after is Phase.FAILED else 990_000)
    assert silent.ask(Resume(who="ada")) is Phase.RUNNING
    assert silent.tick(999) is Phase.RUNNING
    assert unsure.facts[-1].why.endswith("the evidence is not enough yet")


def test_a_failed_rollout_is_retried_without_insisting() -> None:
    """It is nobody's fault yet."""
    walk = Walk(replace(STEPS, deadline_s=100, on_deadline=Stalled.FAIL))
    assert walk.tick(101, ready=frozenset()) is Phase.FAILED
    assert walk.ask(Retry(who="ada")) is Phase.WARMING
    assert walk.go_on() == "running, stage '1 %'"


def test_break_glass_stops_everything() -> None:
    """From any phase that is not over: to what was before, and it is not begun again unless somebody insists."""
    for ticks in range(4):
        walk = Walk()
        for _ in range(ticks):
            walk.go_on()
        assert walk.ask(Stop(who="ada", why="fire")) is Phase.ROLLED_BACK
        assert (policy_of(walk.rollout), walk.rollout.cause) == (BASE, "stopped by ada: fire")
        with pytest.raises(RolloutError, match="insist"):
            walk.ask(Retry(who="ada"))


def test_a_rollback_says_why() -> None:
    """Whoever reads the ledger wants to know."""
    walk = Walk()
    with pytest.raises(RolloutError, match="say why"):
        walk.ask(RollBack(who="ada"))
    with pytest.raises(RolloutError, match="who asks"):
        RollBack(who="")


def test_a_command_for_an_earlier_revision_is_refused() -> None:
    """Of two operators who saw the same, one wins."""
    walk = Walk()
    walk.go_on(0)
    seen = walk.rollout.revision
    walk.ask(Pause(who="ada", revision=seen))
    with pytest.raises(RolloutError, match="has moved on: it is at revision 3"):
        walk.ask(Resume(who="bob", revision=seen))


def test_a_shadow_leaves_everything_as_it_was() -> None:
    """Copies while it runs, nothing after."""
    walk = Walk(shadow(Shadow(2), duration_s=60))
    walk.go_on()
    assert policy_of(walk.rollout).shadows == (Shadow(2, salt="r1 shadow"),)
    assert walk.go_on() == "promoted"
    assert policy_of(walk.rollout) == BASE


def test_blue_green_bakes_waits_flips_and_keeps_the_old_colour_warm() -> None:
    """Nothing is measured before the flip, so time and an approval pass it; it is published in two steps."""
    walk = Walk(blue_green(2, bake_s=60, keep_warm_s=600))
    assert walk.go_on() == "baking, stage 'preview'"
    assert walk.tick(30) is Phase.BAKING
    assert walk.tick(31) is Phase.WAITING
    approval = Approval("ada", "r1", walk.rollout.revision, 1)
    step = ask(walk.rollout, Approve(who="ada", approval=approval), walk.seen(None))
    assert (step.flip, step.rollout.phase, dict(step.policy.shares())) == (True, Phase.WATCHING, {2: WHOLE, 1: 0})
    walk.rollout = step.rollout
    assert walk.tick(601) is Phase.WATCHING
    assert walk.go_on(0) == "promoted"
    assert policy_of(walk.rollout).versions == (2,)


def test_an_ab_test_ends_with_what_the_evidence_names() -> None:
    """The winner, stable if that is best, what is agreed where there is none; never on silence."""
    plan = ab_test({2: 300_000, 3: 300_000}, duration_s=60, sample_size=100)
    for winner, shares in ((3, {3: WHOLE}), (1, {1: WHOLE}), (None, {1: WHOLE}), (9, {1: WHOLE})):
        walk = Walk(plan)
        walk.go_on(0)
        assert walk.tick(61) is Phase.RUNNING
        assert walk.tick(0, walk.evidence(Says.NOT_YET, winner=winner)) is Phase.PROMOTED
        assert walk.shares == shares


def test_an_ab_test_may_end_as_soon_as_it_is_clear() -> None:
    """If its rule says so; else its time is spent first."""
    for decide, phase in ((Decide.FIRST, Phase.PROMOTED), (Decide.BEST, Phase.RUNNING)):
        walk = Walk(ab_test({2: 300_000}, duration_s=3_600, decide=decide))
        walk.go_on(0)
        assert walk.tick(10, replace(walk.evidence(winner=2), at_s=walk.now_s + 10)) is phase


def test_the_winner_of_an_ab_test_is_watched() -> None:
    """With the old version warm; where nothing won, there is nothing to watch."""
    plan = ab_test({2: 300_000}, duration_s=60, watch_s=600)
    for winner, phase in ((2, Phase.WATCHING), (None, Phase.PROMOTED)):
        walk = Walk(plan)
        walk.go_on(0)
        walk.now_s += 61
        assert walk.tick(0, walk.evidence(winner=winner)) is phase
    walk = Walk(replace(plan, undecided=End.KEEP))
    walk.go_on(0)
    assert walk.go_on() == "watching, stage 'watch'"
    walk.now_s += 601
    walk.tick(0, walk.evidence(winner=2))  # too late to win: what is watched is the split
    assert walk.shares == {1: 700_000, 2: 300_000}


def test_an_operator_names_the_winner() -> None:
    """By promoting a version, which is the approval; a nameless one does not do."""
    walk = Walk(ab_test({2: 300_000, 3: 300_000}, duration_s=60, decide=Decide.HAND, watch_s=600))
    walk.go_on(0)
    assert walk.go_on() == "waiting for approval, stage 'a/b'"
    walk.tick(0)
    assert walk.waits == ("somebody has to name the version that wins, by promoting it",)
    with pytest.raises(RolloutError, match="say which version wins"):
        walk.approve()
    for command, why in (
        (Promote(who="ada"), "say which version wins"),
        (Promote(who="ada", version=9), "cannot be promoted here: there are 1, 2, 3"),
    ):
        with pytest.raises(RolloutError, match=why):
            walk.ask(command)
    assert walk.ask(Promote(who="ada", version=3)) is Phase.WATCHING
    assert walk.shares == {3: WHOLE, 1: 0}
    with pytest.raises(RolloutError, match="version 3 is chosen already"):
        walk.ask(Promote(who="ada", version=2))


def test_a_split_by_hand_is_in_force_at_once_and_stays() -> None:
    """It is a rollout like any other, that waits for nothing, and what it leaves is the next one's base."""
    walk = Walk(manual(BASE.with_shares({2: 125_000})))
    walk.tick()
    assert walk.tick() is Phase.PROMOTED
    assert walk.shares == {1: 875_000, 2: 125_000}
    left = policy_of(walk.rollout)
    grown = start("r2", manual(left.with_shares({2: 250_000})), left, 0)
    assert policy_of(tick(grown, Seen(0, UP)).rollout).arms == (Arm(2, 250_000),)
    undone = ask(tick(grown, Seen(0, UP)).rollout, RollBack(who="ada", why="no"), Seen(1, UP))
    assert undone.policy == left


def test_a_rollout_that_could_not_be_carried_out_is_not_started() -> None:
    """Every stage is tried on the policy before the first is entered."""
    with pytest.raises(PlanError, match="is stable"):
        start("r1", canary(1, [CanaryStep(5)]), BASE, 0)
    with pytest.raises(PolicyError, match="second time"):
        start("r1", shadow(Shadow(2), duration_s=5), replace(BASE, repeatable=False), 0)
    with pytest.raises(RolloutError, match="no name"):
        start("", STEPS, BASE, 0)


@pytest.mark.parametrize(
    "fields",
    [
        {"stage": 9},
        {"stage": -2},
        {"stage": 0},
        {"phase": Phase.RUNNING},
        {"phase": Phase.RUNNING, "stage": 3},
        {"phase": Phase.WAITING},
        {"phase": Phase.WAITING, "stage": 1, "target": 1, "stopped_s": 1.0},
        {"phase": Phase.PAUSED, "stopped_s": 1.0},
        {"phase": Phase.PROMOTED},
        {"target": 1},
        {"resumes": Phase.RUNNING},
        {"stopped_s": 1.0},
    ],
)
def test_a_rollout_that_stands_nowhere_is_not_built(fields: dict[str, Any]) -> None:
    """Phase, stage and what it waits for belong together."""
    with pytest.raises(RolloutError):
        Rollout(**{"id": "r1", "plan": STEPS, "base": BASE, "since_s": 0.0, "progress_s": 0.0, **fields})


def test_what_it_waits_for_is_told() -> None:
    """Everything at once, for people; nothing where it is over."""
    walk = Walk()
    walk.go_on(0)
    assert list(obstacles(walk.rollout, Seen(walk.now_s + 10, frozenset()))) == [
        "there is no evidence of this leg",
        "50 s of its shortest time are left",
        "version 2 is not up",
    ]
    walk.ask(Stop(who="ada"))
    assert list(obstacles(walk.rollout, Seen(walk.now_s))) == []


def test_the_end_of_a_watch_may_need_an_approval() -> None:
    """The old version is warm until somebody lets it go; a pause in the middle changes nothing."""
    walk = Walk(replace(STEPS, approve_end=True))
    for _ in range(4):
        walk.go_on()
    assert walk.go_on(601) == "waiting for approval, stage 'watch'"
    assert walk.shares == {2: WHOLE, 1: 0}
    with pytest.raises(RolloutError, match="no shares to set"):
        walk.ask(SetShares(who="ada", shares={2: 5}))
    walk.ask(Pause(who="ada"))
    walk.ask(Resume(who="ada"))
    assert walk.approve() is Phase.PROMOTED
    assert walk.shares == {2: WHOLE}


def test_a_flip_without_a_look_is_possible() -> None:
    """A plan may begin with its watch; its deadline and a pause work there as anywhere."""
    plan = Plan(Kind.BLUE_GREEN, (Stage("warm", Does.WATCH, min_s=600),), End.PROMOTE, candidate=2, deadline_s=60)
    walk = Walk(plan)
    assert walk.go_on() == "watching, stage 'warm'"
    assert walk.ask(Pause(who="ada")) is Phase.PAUSED
    assert walk.ask(Resume(who="ada")) is Phase.WATCHING
    assert walk.tick(660) is Phase.PAUSED
    failing = Walk(replace(plan, on_deadline=Stalled.FAIL))
    failing.go_on()
    failing.now_s += 660
    assert failing.tick(0, failing.evidence(Says.NOT_YET)) is Phase.FAILED
    assert policy_of(failing.rollout) == BASE


def test_a_clock_that_goes_backwards_counts_as_no_time() -> None:
    """Nothing is passed by it, and nothing breaks."""
    walk = Walk()
    walk.go_on(0)
    walk.tick(-5_000, walk.evidence())
    assert walk.rollout.spent_s(walk.now_s) == 0
    assert walk.rollout.phase is Phase.RUNNING


def test_a_stage_without_anything_to_show_passes_by_time_alone() -> None:
    """There is nothing that could be measured, so nothing is waited for but the time."""
    bake = Stage("bake", Does.BAKE, min_s=60, needs=Needs.MINIMA)
    walk = Walk(Plan(Kind.CUSTOM, (bake,), End.RESTORE))
    walk.tick()
    assert walk.tick(61) is Phase.PROMOTED
