"""Whatever the order of events, a rollout stays within its table, and traffic follows its state.

Hypothesis plays operators, evidence, clock and calendar against rollouts of all kinds of plans, and after every step
looks at what must never be broken.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router.advance import gated, tick
from router.codec import decode_policy, encode_policy
from router.commands import Approve, Command, Pause, Promote, Resume, Retry, RollBack, SetShares, Stop, ask
from router.errors import RolloutError
from router.freeze import frozen_by
from router.phases import MOVES, OVER, Phase
from router.plan import End, Plan, grows
from router.policy import WHOLE, Policy
from router.rollout import Approval, Automation, Evidence, Rollout, Says, Seen, Step, cut_words, policy_of, start
from router.rollout_form import fact_as_dict, rollout_as_dict, rollout_from
from tests.examples import examples
from tests.router.cases import STABLE, VERSIONS, plans

BASE = Policy(STABLE, salt="base")
REACHED = {(before, after) for (before, _), after in MOVES.items()}
UP = frozenset(range(STABLE, 10))


class Rollouts(RuleBasedStateMachine):
    """One rollout, and everybody who may move it."""

    rollout: Rollout
    now_s: float
    turns = 0

    @initialize(
        plan=plans(most=3),
        automation=st.sampled_from([*Automation, Automation.ALONE]),
        at_s=st.sampled_from([0.0, 1.8e9]),
    )
    def begin(self, plan: Plan, automation: Automation, at_s: float) -> None:
        """A plan is started."""
        self.now_s = at_s
        self.used: set[Approval] = set()
        self.rollout = start("r1", plan, BASE, at_s, automation)

    def evidence(self, says: Says, behind: int, age_s: float, winner: int | None) -> Evidence:
        """Of this leg or an earlier one, fresh or not."""
        leg = max(0, self.rollout.leg - behind)
        return Evidence(leg, self.now_s - age_s, says, dict.fromkeys(UP, 10_000), winner)

    @rule(
        after_s=st.sampled_from([0, 1, 61, 301, 601, 6_000, 200_000]),
        says=st.sampled_from([Says.PROMOTE, Says.PROMOTE, Says.NOT_YET, Says.ROLL_BACK]),
        behind=st.sampled_from([0, 0, 0, 1, 3]),
        age_s=st.sampled_from([0, 0, 1, 1_000]),
        winner=st.none() | st.sampled_from([STABLE, *VERSIONS, 99]),
        up=st.sampled_from([UP, UP, frozenset({STABLE})]),
        carries=st.sampled_from([None, None, {}, {2: 5_000}, {2: 400_000, 3: 0}]),
    )
    def looks(  # noqa: PLR0917 (hypothesis hands them in by name)
        self,
        after_s: int,
        says: Says,
        behind: int,
        age_s: float,
        winner: int | None,
        up: frozenset[int],
        carries: dict[int, int] | None,
    ) -> None:
        """The loop shows it the time, the evidence, and what versions carry."""
        self.now_s += after_s
        evidence = self.evidence(says, behind, age_s, winner)
        before = self.rollout
        step = tick(before, Seen(self.now_s, up, evidence, carries=carries))
        self.carries(before, step.rollout, carries or {})
        self.moved(before, step)
        if step.rollout.phase is Phase.ROLLED_BACK and not before.over:
            assert says is Says.ROLL_BACK
            assert before.first_leg <= evidence.leg <= before.leg
        if before.automation in {Automation.OBSERVE, Automation.RECOMMEND} and before.entered is not None:
            assert policy_of(step.rollout) == policy_of(before)

    @rule(after_s=st.sampled_from([61, 601]), winner=st.sampled_from([*VERSIONS]))
    def goes_well(self, after_s: int, winner: int) -> None:
        """The loop shows it all that it needs, so that walks get far."""
        self.looks(after_s, Says.PROMOTE, 0, 0, winner, UP, None)

    @rule(after_s=st.sampled_from([0, 61, 6_000, 200_000]))
    def looks_in_silence(self, after_s: int) -> None:
        """The loop has nothing to show but the time: no verdict is invented."""
        self.now_s += after_s
        before = self.rollout
        step = tick(before, Seen(self.now_s, UP))
        self.moved(before, step)
        assert step.rollout.over is before.over or step.rollout.phase in {Phase.PROMOTED, Phase.FAILED}
        if step.rollout.phase is Phase.FAILED and not before.over:
            assert before.entered is None
        if step.rollout.stage > before.stage >= 0:
            stage = before.plan.stages[before.stage]
            assert not stage.versions or not (stage.min_s or stage.min_requests)

    @rule(
        make=st.sampled_from([Pause, Resume, Resume, Retry, Promote, Promote]),
        to_end=st.booleans(),
        again=st.booleans(),
        version=st.none() | st.sampled_from([STABLE, *VERSIONS]),
    )
    def asks(self, make: type[Command], to_end: bool, again: bool, version: int | None) -> None:  # noqa: FBT001 (drawn)
        """An operator asks for one thing or another."""
        more: dict[type[Command], dict[str, Any]] = {
            Promote: {"to_end": to_end, "version": version},
            Retry: {"again": again},
        }
        self.hands_in(make(who="ada", **more.get(make, {})))

    @rule(shares=st.dictionaries(st.sampled_from([STABLE, *VERSIONS]), st.integers(0, WHOLE), max_size=2))
    def sets(self, shares: dict[int, int]) -> None:
        """An operator sets shares, possible or not."""
        self.hands_in(SetShares(who="ada", shares=shares))

    @precondition(lambda self: self.turns % 8 == 7)  # seldom, or nothing would get far
    @rule()
    def stops(self) -> None:
        """Break glass, wherever it stands."""
        before = self.rollout
        self.hands_in(Stop(who="ada"))
        assert before.over or self.rollout.phase is Phase.ROLLED_BACK

    @precondition(lambda self: self.turns % 8 == 3)
    @rule(why=st.sampled_from(["", "errors"]))
    def rolls_back(self, why: str) -> None:
        """An operator goes back: refused only without a reason, or where it is over."""
        before = self.rollout
        self.hands_in(RollBack(who="ada", why=why))
        assert before.over or not why or self.rollout.phase is Phase.ROLLED_BACK

    @precondition(lambda self: self.rollout.phase is Phase.WAITING)
    @rule(behind=st.sampled_from([0, 0, 1]), farther=st.sampled_from([0, 0, 1]))
    def approves(self, behind: int, farther: int) -> None:
        """Somebody approves, with the right record or a wrong one."""
        before = self.rollout
        approval = Approval("ada", "r1", before.revision - behind, (before.target or 0) + farther)
        self.hands_in(Approve(who="ada", approval=approval))
        if self.rollout is not before:
            assert (behind, farther) == (0, 0)
            self.used.add(approval)

    @precondition(lambda self: bool(self.used))
    @rule(data=st.data())
    def approves_twice(self, data: st.DataObject) -> None:
        """A record that let it in once lets it in nowhere again."""
        before = self.rollout
        self.hands_in(Approve(who="ada", approval=data.draw(st.sampled_from(sorted(self.used)))))
        assert self.rollout is before

    def hands_in(self, command: Command) -> None:
        """What becomes of it, or the refusal, which changes nothing."""
        before = self.rollout
        evidence = self.evidence(Says.NOT_YET, 0, 0, None)
        try:
            step = ask(before, command, Seen(self.now_s, UP, evidence))
        except RolloutError as refused:
            assert str(refused)  # noqa: PT017 (that it may be refused is the point; that it says why is checked)
            return
        assert [fact.who for fact in step.facts] == ["ada"]
        self.moved(before, step)

    def moved(self, before: Rollout, step: Step) -> None:
        """What must hold of every step, whoever took it."""
        after = self.rollout = step.rollout
        if after is before:
            assert step.facts == ()
            return
        assert after.revision == before.revision + 1
        assert len(step.facts) == 1
        assert json.dumps(fact_as_dict(step.facts[0]))
        assert (before.phase, after.phase) in REACHED or after.advised != before.advised
        same = policy_of(before) == policy_of(after)
        assert same or after.leg == before.leg + 1
        self.gates_hold(before, after)
        if frozen_by(after.plan.freezes, self.now_s) and after.phase not in {Phase.ROLLED_BACK, Phase.FAILED}:
            assert grows(policy_of(before), policy_of(after), STABLE) == ()

    def carries(self, before: Rollout, after: Rollout, carries: dict[int, int]) -> None:
        """Whatever the loop does, no arm is given more than it carries, and what is cut down is not gone on from."""
        had = policy_of(before).shares()
        for version, share in policy_of(after).shares().items():
            if version in carries and version in after.plan.places and after.phase is Phase.RUNNING:
                by_hand = after.entered is not None and after.entered.policy is not None
                assert share <= max(carries[version], had.get(version, 0)) or by_hand
        if any(cut_words(before)) and after.stage > before.stage:
            assert before.phase is not Phase.RUNNING

    def gates_hold(self, before: Rollout, after: Rollout) -> None:
        """No stage that asks for an approval is entered without a record of its own."""
        if after.leg == before.leg or after.stage < before.stage or after.phase in {Phase.ROLLED_BACK, Phase.FAILED}:
            return
        target = after.end if after.phase is Phase.PROMOTED else after.stage
        if target == before.stage:
            return
        named = before if after.chosen is None else before.with_choice(after.chosen)
        gates = gated(named, target)
        assert not gates or len(after.approvals) == len(before.approvals) + 1
        assert all(gate == target for gate in gates) or before.by_hand is not None

    @invariant()
    def traffic_follows_state(self) -> None:
        """The policy is one, sums, and goes back to exactly what was before."""
        self.turns += 1
        policy = policy_of(self.rollout)
        assert sum(policy.shares().values()) == WHOLE
        assert decode_policy(encode_policy(policy)) == policy
        if self.rollout.phase in {Phase.WARMING, Phase.ROLLED_BACK, Phase.FAILED}:
            assert policy == BASE
        if self.rollout.phase is Phase.PROMOTED and self.rollout.plan.end is End.RESTORE:
            assert policy == BASE

    @invariant()
    def it_comes_back_from_its_form(self) -> None:
        """So whoever resumes it begins where it stood."""
        assert rollout_from(json.loads(json.dumps(rollout_as_dict(self.rollout)))) == self.rollout

    @invariant()
    def what_is_over_stays_over(self) -> None:
        """However long one looks."""
        if self.rollout.phase in OVER:
            assert (
                tick(self.rollout, Seen(self.now_s, UP, self.evidence(Says.PROMOTE, 0, 0, 2))).rollout is self.rollout
            )


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=examples(120), stateful_step_count=30, deadline=None)
