"""An incident is told of, and acted on, once: whatever its evidence does, and however often somebody looks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.attribution import Act, Action, Attribution, Cause
from drift.errors import Damaged
from drift.explaining import Segment
from drift.incidents import TOLD, Incident, Kind, Step, Word, aged, alerted, approved, is_id, judged, raised_of, read
from drift.reading import Layer
from tests.drift.incidents import CANDIDATE, MODEL, NOW_S, STABLE, finding, incident

NOTIFIED = Attribution(Cause.INPUTS, Action.NOTIFY, "Inputs moved.")
RETRAINED = Attribution(Cause.INPUTS, Action.RETRAIN, "Inputs moved, and it does harm.")
BACK = Attribution(Cause.CANDIDATE, Action.ROLLBACK, "Only the candidate's answers moved.")
LOOKED = Attribution(Cause.CANDIDATE, Action.RECOMMEND, "Look at both.")
NOTHING = Attribution(Cause.UNKNOWN, Action.NOTHING, "Nothing is alarmed.")
ATTRIBUTIONS = st.builds(
    Attribution, cause=st.sampled_from(Cause), action=st.sampled_from(Action), words=st.just("It moved.")
)
ONE = incident(finding(CANDIDATE, Layer.PREDICTION))


def step(about: Incident, said: Attribution, act: Act = Act.ACT, *, held: bool = False) -> Step:
    """What follows, which something does."""
    found = judged(about, said, act, held=held)
    assert found is not None
    assert found.incident.revision == about.revision + 1
    return found


def test_an_episode_has_a_name_of_its_own() -> None:
    """The same for the same first finding, so that whoever gathers it again makes no second one."""
    again = incident(finding(CANDIDATE, Layer.PREDICTION))
    assert again.identity == ONE.identity
    assert is_id(ONE.identity)
    other = Incident.begun(raised_of("2-0", finding(CANDIDATE, Layer.PREDICTION)), MODEL, {}, NOW_S)
    assert other.identity != ONE.identity
    assert not is_id("ep_1")
    assert not is_id("../" + ONE.identity)


def test_what_is_known_already_makes_nobody_wait_anew() -> None:
    """A layer that was calm before does: its version's windows of then count from there."""
    again = ONE.with_finding(raised_of("2-0", finding(CANDIDATE, Layer.PREDICTION)), {CANDIDATE: 9}, NOW_S + 50)
    assert (again.changed_s, again.windows, again.findings) == (NOW_S, {}, ("1-0", "2-0"))
    more = again.with_finding(raised_of("3-0", finding(STABLE, Layer.UNIVARIATE)), {STABLE: 9}, NOW_S + 60)
    assert (more.changed_s, more.windows, more.revision) == (NOW_S + 60, {STABLE: 9}, 3)
    closed = replace(more, closed_s=NOW_S + 70)
    assert closed.with_finding(raised_of("4-0", finding(STABLE, Layer.UNIVARIATE)), {}, NOW_S + 80).closed_s is None


@pytest.mark.parametrize(
    ("act", "kind", "acted", "pending"),
    [
        (Act.OBSERVE, Kind.OBSERVED, Action.NOTHING, Action.NOTHING),
        (Act.RECOMMEND, Kind.RECOMMEND, Action.NOTHING, Action.NOTHING),
        (Act.APPROVE, Kind.RECOMMEND, Action.NOTHING, Action.RETRAIN),
        (Act.ACT, Kind.RETRAIN, Action.RETRAIN, Action.NOTHING),
    ],
)
def test_how_much_is_done_by_itself(act: Act, kind: Kind, acted: Action, pending: Action) -> None:
    """By what the model's settings say; what is only told is told in all but the first."""
    found = step(ONE, RETRAINED, act)
    assert (found.kind, found.incident.acted, found.incident.pending) == (kind, acted, pending)
    assert judged(found.incident, RETRAINED, act, held=False) is None
    assert step(ONE, NOTIFIED, act).kind is (Kind.OBSERVED if act is Act.OBSERVE else Kind.NOTIFY)


def test_it_may_become_more_and_never_less() -> None:
    """Labels come late: what was worth a word becomes worth an action; back again is nobody's news."""
    first = step(ONE, NOTIFIED)
    second = step(first.incident, RETRAINED)
    assert [first.kind, second.kind] == [Kind.NOTIFY, Kind.RETRAIN]
    for said in (NOTIFIED, LOOKED, BACK, NOTHING):
        assert judged(second.incident, said, Act.ACT, held=False) is None


def test_an_approval_lets_it_out_once() -> None:
    """And there is none where nothing waits, or where nothing drifts any more."""
    assert approved(ONE) is None
    waits = step(ONE, RETRAINED, Act.APPROVE).incident
    assert approved(replace(waits, closed_s=NOW_S)) is None
    out = approved(waits)
    assert out is not None
    assert (out.kind, out.incident.acted, out.words) == (Kind.RETRAIN, Action.RETRAIN, RETRAINED.words)
    assert approved(out.incident) is None
    assert judged(out.incident, RETRAINED, Act.APPROVE, held=False) is None


def test_what_waits_is_withdrawn_where_it_no_longer_holds() -> None:
    """A doubt does not withdraw it; that it was something else does, and it may come back as that."""
    waits = step(ONE, BACK, Act.APPROVE).incident
    assert judged(waits, LOOKED, Act.APPROVE, held=False) is None
    calmer = step(waits, NOTIFIED, Act.APPROVE)
    assert (calmer.kind, calmer.incident.pending) == (Kind.WITHDRAWN, Action.NOTHING)
    assert approved(calmer.incident) is None
    again = step(calmer.incident, RETRAINED, Act.APPROVE)
    assert (again.kind, again.incident.pending) == (Kind.RECOMMEND, Action.RETRAIN)


def test_whoever_is_silent_hears_of_it_later() -> None:
    """The ledger says it meanwhile, once; what still holds is told when the time is over."""
    quiet = step(ONE, RETRAINED, held=True)
    assert (quiet.kind, quiet.incident.told) == (Kind.OBSERVED, Action.NOTHING)
    assert judged(quiet.incident, RETRAINED, Act.ACT, held=True) is None
    assert step(quiet.incident, RETRAINED).kind is Kind.RETRAIN


def test_words_of_operators_hold() -> None:
    """An acknowledgement for good, a silence for its time."""
    assert not ONE.is_held(NOW_S)
    assert replace(ONE, acknowledged=Word("ada", "", NOW_S)).is_held(NOW_S + 1e9)
    silent = replace(ONE, silenced=Word("ada", "", NOW_S, NOW_S + 60))
    assert silent.is_held(NOW_S + 59)
    assert not silent.is_held(NOW_S + 60)


def test_a_broken_schema_calls_somebody_whatever_was_told() -> None:
    """At once, and nothing that was told before is told again after it."""
    acted = step(ONE, RETRAINED).incident
    called = alerted(acted, Attribution(Cause.SCHEMA, Action.ALERT, "Broken."))
    assert (called.kind, called.incident.told, called.incident.alerted) == (Kind.ALERT, Action.RETRAIN, True)
    first = alerted(ONE, Attribution(Cause.SCHEMA, Action.ALERT, "Broken.")).incident
    assert first.told is Action.ALERT


def test_it_ends_and_comes_back_within_its_cool_down() -> None:
    """Then it is the same one; after it, another."""
    decided = step(ONE, NOTIFIED).incident
    assert aged(decided, NOW_S + 10, 600.0, drifting=True, last_s=NOW_S) is None
    closed = aged(decided, NOW_S + 10, 600.0, drifting=False, last_s=NOW_S + 5)
    assert closed is not None
    assert (closed.kind, closed.incident.closed_s) == (Kind.OVER, NOW_S + 5)
    assert aged(closed.incident, NOW_S + 604, 600.0, drifting=False, last_s=NOW_S + 5) is None
    back = aged(closed.incident, NOW_S + 604, 600.0, drifting=True, last_s=NOW_S + 604)
    assert back is not None
    assert (back.kind, back.incident.closed_s) == (None, None)
    over = aged(closed.incident, NOW_S + 605, 600.0, drifting=False, last_s=NOW_S + 5)
    assert over is not None
    assert (over.kind, over.incident.over) == (None, True)


@given(st.lists(st.tuples(ATTRIBUTIONS, st.booleans()), max_size=20), st.sampled_from(Act))
def test_at_most_one_action_goes_out(looks: list[tuple[Attribution, bool]], act: Act) -> None:
    """Whatever it is put down to, and whoever is silent when: and of nothing is anybody told less than before."""
    about, kinds, told = ONE, [], 0
    for said, held in looks:
        found = judged(about, said, act, held=held)
        if found is None:
            continue
        about = found.incident
        kinds.append(found.kind)
        assert not (held and found.kind in TOLD)
        if found.kind in TOLD:
            assert about.told.rank > told
        told = about.told.rank
    actions = [one for one in kinds if one in {Kind.RETRAIN, Kind.ROLLBACK}]
    assert len(actions) <= (1 if act is Act.ACT else 0)
    assert len(kinds) <= len(looks)


@given(st.lists(st.tuples(ATTRIBUTIONS, st.booleans()), max_size=6), st.sampled_from(Act))
def test_it_is_read_as_it_was_written(looks: list[tuple[Attribution, bool]], act: Act) -> None:
    """As JSON, with all that was said of it."""
    about = incident(
        finding(CANDIDATE, Layer.LABELS), finding(STABLE, Layer.UNIVARIATE, segment=Segment("a", "b", 0.2, 0.5, 0.1))
    )
    for said, held in looks:
        found = judged(about, said, act, held=held)
        about = about if found is None else found.incident
    word = Word("ada", "seen", NOW_S, NOW_S + 60)
    for one in (about, replace(about, acknowledged=word, silenced=word, closed_s=NOW_S, paused="ro_1", over=True)):
        assert read(json.loads(json.dumps(one.plain()))) == one


@pytest.mark.parametrize("damage", [{"told": "much"}, {"raised": {"1/x": {}}}, {"windows": {"a": 1}}, {"findings": 3}])
def test_what_is_no_incident_is_refused(damage: dict[str, object]) -> None:
    """Whole, and not half read."""
    with pytest.raises(Damaged):
        read({**ONE.plain(), **damage})
