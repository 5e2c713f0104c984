"""An incident of both arms pauses a rollout once for each leg, and what asks for a person calls one once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.advance import ALERT, tick
from router.commands import Resume, SetShares, ask
from router.phases import Event, Phase
from router.plan import Incident
from router.policy import Policy
from router.rollout import Automation, Evidence, Rollout, Says, Seen, start
from router.strategies import CanaryStep, canary

UP = frozenset({1, 2})


def running(automation: Automation = Automation.ALONE, on_incident: Incident = Incident.PAUSE) -> Rollout:
    """A canary in its first stage."""
    plan = replace(canary(2, [CanaryStep(10_000, 60), CanaryStep(500_000, 60)]), on_incident=on_incident)
    return tick(start("r1", plan, Policy(1), 0.0, automation), Seen(1.0, UP)).rollout


def seen(rollout: Rollout, now_s: float = 5.0, **evidence: bool) -> Seen:
    """Fresh evidence of the present leg."""
    return Seen(now_s, UP, Evidence(rollout.leg, now_s, Says.NOT_YET, because="it rains", **evidence))  # type: ignore[arg-type]


def test_an_incident_pauses_and_is_resumed_by_a_person() -> None:
    """It does not go on by itself when the incident is over."""
    rollout = running()
    step = tick(rollout, seen(rollout, incident=True, stand_still=True))
    assert (step.rollout.phase, step.rollout.cause) == (Phase.PAUSED, "it rains")
    assert [one.what for one in step.facts] == [Event.INCIDENT]
    assert tick(step.rollout, seen(rollout, 100.0)).rollout is step.rollout


def test_who_resumes_it_is_not_overruled_on_that_leg() -> None:
    """It stands still; on the next leg an incident pauses it again."""
    rollout = running()
    paused = tick(rollout, seen(rollout, incident=True, stand_still=True)).rollout
    resumed = ask(paused, Resume(who="ada"), seen(paused, 9.0)).rollout
    step = tick(resumed, seen(resumed, 10.0, incident=True, stand_still=True))
    assert step.rollout is resumed
    assert "the evidence asks to stand still: it rains" in step.waits
    more = ask(resumed, SetShares(who="ada", shares={2: 20_000}), seen(resumed, 11.0)).rollout
    assert tick(more, seen(more, 12.0, incident=True, stand_still=True)).rollout.phase is Phase.PAUSED


def test_a_plan_that_holds_is_not_paused() -> None:
    """It goes on by itself when the incident is over."""
    rollout = running(on_incident=Incident.HOLD)
    assert tick(rollout, seen(rollout, incident=True, stand_still=True)).rollout is rollout


@pytest.mark.parametrize("automation", [Automation.OBSERVE, Automation.RECOMMEND])
def test_what_only_observes_says_so_once(automation: Automation) -> None:
    """And stays where it is."""
    rollout = running(automation)
    step = tick(rollout, seen(rollout, incident=True))
    assert (step.rollout.phase, len(step.facts)) == (Phase.RUNNING, 1)
    assert tick(step.rollout, seen(rollout, 6.0, incident=True)).facts == ()


def test_somebody_is_called_once_for_each_leg() -> None:
    """A mismatch moves nothing; the entry is what hooks hear of."""
    rollout = running()
    step = tick(rollout, seen(rollout, alert=True, stand_still=True))
    assert [one.what for one in step.facts] == [ALERT]
    assert (step.rollout.phase, step.rollout.stage) == (rollout.phase, rollout.stage)
    assert tick(step.rollout, seen(rollout, 6.0, alert=True, stand_still=True)).facts == ()


def test_old_evidence_pauses_nothing_and_calls_nobody() -> None:
    """What is older than the plan allows is no evidence."""
    rollout = running()
    stale = seen(rollout, 5.0, incident=True, alert=True)._replace(now_s=500.0)
    assert tick(rollout, stale).rollout.phase is Phase.RUNNING
