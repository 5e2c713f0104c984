"""What is known of an incident: nobody is blamed before all were looked at, and what is not known is no calm."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drift.attribution import Action, Arms, Blame, Cause, Inputs, attribute
from drift.circumstances import Roles
from drift.explaining import Segment
from drift.incidents import Incident, Kind
from drift.reading import Layer
from drift.schema import Break, Broken
from drift.status import Status
from tests.drift.incidents import CANDIDATE, MODEL, NOW_S, ROLES, STABLE, finding, incident, known, status

SEGMENT = Segment("country", "nl", 0.25, 0.6, 0.02)


def blamed() -> Incident:
    """The candidate's answers moved, when each version had had ten windows."""
    return incident(finding(CANDIDATE, Layer.PREDICTION), before=[status(STABLE, 10), status(CANDIDATE, 10)])


def test_nobody_is_blamed_before_every_version_was_looked_at() -> None:
    """A window that closes next may have begun before; the one after that has not."""
    for stable, candidate, settled in ((10, 12, False), (11, 12, False), (12, 11, False), (12, 12, True)):
        now = known(blamed(), status(STABLE, stable), status(CANDIDATE, candidate, Layer.PREDICTION))
        assert now.settled is settled
        assert (now.step(held=False) is not None) is settled


def test_waiting_has_an_end() -> None:
    """A version that has no windows is not waited for longer than declared, and is unknown then, not calm."""
    now = known(blamed(), status(STABLE, 10), status(CANDIDATE, 12, Layer.PREDICTION), after_s=100.0)
    assert now.settled
    assert now.evidence().outputs is Blame.DOUBT
    assert attribute(now.evidence()).action is Action.RECOMMEND
    later = known(blamed(), status(STABLE, 12), status(CANDIDATE, 12, Layer.PREDICTION), after_s=150.0)
    assert attribute(later.evidence()).action is Action.ROLLBACK


def test_a_version_that_gets_no_requests_is_not_waited_for() -> None:
    """Nor one without a baseline; but a watch that was begun anew was looked at."""
    gone = status(3, 5, last_s=NOW_S - 1_000)
    bare = replace(status(4, 0), baseline="")
    now = known(blamed(), status(STABLE, 2), status(CANDIDATE, 12, Layer.PREDICTION), gone, bare)
    assert now.settled


def test_only_the_candidates_answers_moved() -> None:
    """Stable was looked at and is calm, and so are inputs: the candidate goes back."""
    now = known(blamed(), status(STABLE, 12), status(CANDIDATE, 12, Layer.PREDICTION))
    evidence = now.evidence()
    assert (evidence.inputs, evidence.outputs) == (Inputs.CALM, Blame.CANDIDATE)
    assert attribute(evidence).action is Action.ROLLBACK


@pytest.mark.parametrize(
    ("stable", "inputs", "outputs"),
    [
        (status(STABLE, 12, rising=[Layer.PREDICTION]), Inputs.CALM, Blame.DOUBT),
        (status(STABLE, 12, rising=[Layer.MULTIVARIATE]), Inputs.RISING, Blame.CANDIDATE),
        (status(STABLE, 12, layers=[Layer.UNIVARIATE]), Inputs.CALM, Blame.DOUBT),
        (status(STABLE, 11), Inputs.UNSEEN, Blame.DOUBT),
    ],
)
def test_half_the_evidence_against_stable_is_a_doubt(stable: object, inputs: Inputs, outputs: Blame) -> None:
    """As is that nobody looks at its answers, or has looked since."""
    now = known(blamed(), stable, status(CANDIDATE, 12, Layer.PREDICTION))  # type: ignore[arg-type]
    assert (now.evidence().inputs, now.evidence().outputs) == (inputs, outputs)
    assert attribute(now.evidence()).action is Action.RECOMMEND


def test_without_a_rollout_there_is_no_candidate() -> None:
    """Answers of the only version moved: that is nobody's alone."""
    now = known(blamed(), status(CANDIDATE, 12, Layer.PREDICTION), roles=Roles(CANDIDATE))
    assert now.evidence().outputs is Blame.OTHERS
    assert (now.roles.of(CANDIDATE), now.roles.of(STABLE)) == ("stable", "other")


def test_inputs_of_all_moved_or_of_some() -> None:
    """Of all that were looked at; of the candidate alone; of stable, while the candidate knows such inputs."""
    both = [finding(STABLE, Layer.UNIVARIATE), finding(CANDIDATE, Layer.MULTIVARIATE)]
    before = [status(STABLE, 10), status(CANDIDATE, 10)]
    moved = status(STABLE, 12, Layer.UNIVARIATE), status(CANDIDATE, 12, Layer.MULTIVARIATE)
    assert known(incident(*both, before=before), *moved).evidence().inputs is Inputs.ALL
    ours, theirs = moved
    calm = status(STABLE, 12), status(CANDIDATE, 12)
    of_stable, of_candidate = incident(both[0], before=before), incident(both[1], before=before)
    assert known(of_candidate, calm[0], theirs).evidence().inputs is Inputs.CANDIDATE
    assert known(of_stable, ours, calm[1]).evidence().inputs is Inputs.PART
    assert known(of_stable, ours, status(CANDIDATE, 11)).evidence().inputs is Inputs.ALL


@pytest.mark.parametrize("stable", [status(STABLE, 11), status(STABLE, 12, rising=[Layer.UNIVARIATE])])
@pytest.mark.parametrize("against", [False, True])
def test_one_candidates_inputs_are_not_those_of_all(stable: Status, against: bool) -> None:  # noqa: FBT001 (both are tried)
    """Where stable was not looked at, or is half way to an alarm: nothing is trained anew on the candidate's word."""
    of_candidate = incident(
        finding(CANDIDATE, Layer.MULTIVARIATE), finding(CANDIDATE, Layer.LABELS),
        before=[status(STABLE, 10), status(CANDIDATE, 10)],
    )  # fmt: skip
    theirs = status(CANDIDATE, 12, Layer.MULTIVARIATE, Layer.LABELS)
    evidence = known(of_candidate, stable, theirs, roles=replace(ROLES, against=against)).evidence()
    assert (evidence.inputs, evidence.labels) == (Inputs.DOUBT, Blame.DOUBT)
    assert attribute(evidence).action is Action.RECOMMEND


def test_a_segment_is_one_only_where_all_say_so() -> None:
    """One finding without a segment, and it is everywhere."""
    inside = finding(STABLE, Layer.UNIVARIATE, segment=SEGMENT)
    moved = status(STABLE, 12, Layer.UNIVARIATE, Layer.MULTIVARIATE)
    assert known(incident(inside), moved, roles=Roles(STABLE)).evidence().inputs is Inputs.SEGMENT
    both = incident(inside, finding(STABLE, Layer.MULTIVARIATE))
    assert known(both, moved, roles=Roles(STABLE)).evidence().inputs is Inputs.ALL


def test_rates_are_of_inputs_or_of_answers_and_break_nothing() -> None:
    """What the gate counts is drift like any other; only a column that is gone, or another, is a broken schema."""
    before = [status(STABLE, 10), status(CANDIDATE, 10)]
    after = status(STABLE, 12), status(CANDIDATE, 12, Layer.SCHEMA)
    answers = replace(finding(CANDIDATE, Layer.SCHEMA), of_outputs=True)
    evidence = known(incident(answers, before=before), *after).evidence()
    assert (evidence.schema, evidence.inputs, evidence.outputs) == (False, Inputs.CALM, Blame.CANDIDATE)
    of_inputs = known(incident(finding(CANDIDATE, Layer.SCHEMA), before=before), *after).evidence()
    assert (of_inputs.schema, of_inputs.inputs, of_inputs.outputs) == (False, Inputs.CANDIDATE, Blame.NOWHERE)
    broken = replace(finding(CANDIDATE, Layer.SCHEMA), breaks=(Break(Broken.EXTRA, "colour", "'colour' is new."),))
    both = incident(answers, broken, before=before)
    assert len(both.raised) == 2
    assert known(both, *after).evidence().schema


def test_labels_need_no_windows() -> None:
    """Only the candidate errs where stable's labels are there and calm; without them it is a doubt."""
    erred = incident(finding(CANDIDATE, Layer.LABELS))
    theirs = status(CANDIDATE, 12, Layer.LABELS)
    judged = status(STABLE, 12, layers=[Layer.UNIVARIATE, Layer.LABELS])
    assert known(erred, judged, theirs).evidence().labels is Blame.CANDIDATE
    assert known(erred, status(STABLE, 12), theirs).evidence().labels is Blame.DOUBT
    assert known(erred, status(STABLE, 12, rising=[Layer.LABELS]), theirs).evidence().labels is Blame.DOUBT
    assert known(incident(finding(STABLE, Layer.LABELS)), judged).evidence().labels is Blame.OTHERS


@pytest.mark.parametrize(
    ("heard_s", "blame", "action"),
    [
        (None, Blame.DOUBT, Action.RECOMMEND),
        (NOW_S - 86_400, Blame.DOUBT, Action.RECOMMEND),
        (NOW_S - 60, Blame.DOUBT, Action.RECOMMEND),
        (NOW_S - 59, Blame.CANDIDATE, Action.ROLLBACK),
    ],
)
def test_stables_old_labels_are_no_calm(heard_s: float | None, blame: Blame, action: Action) -> None:
    """The errors of all may have risen since: only labels from after the candidate's began to rise clear stable."""
    erred = incident(finding(CANDIDATE, Layer.LABELS))
    stable = status(STABLE, 12, layers=[Layer.UNIVARIATE, Layer.LABELS], labelled_s=heard_s)
    evidence = known(erred, stable, status(CANDIDATE, 12, Layer.LABELS)).evidence()
    assert (evidence.labels, attribute(evidence).action) == (blame, action)


@pytest.mark.parametrize(
    ("tolerance", "arms", "action"),
    [
        (None, Arms.UNDECLARED, Action.RECOMMEND),
        (0.3, Arms.WITHIN, Action.NOTHING),
        (0.29, Arms.BEYOND, Action.ROLLBACK),
    ],
)
def test_a_declared_difference_between_arms_is_none(tolerance: float | None, arms: Arms, action: Action) -> None:
    """In total variation, as the finding has it; without a word of the rollout it is only told."""
    roles = replace(ROLES, tolerance=tolerance)
    before = [status(STABLE, 10), status(CANDIDATE, 10)]
    differs = incident(finding(CANDIDATE, Layer.ARMS, variation=0.3), before=before)
    now = known(differs, status(STABLE, 12), status(CANDIDATE, 12, Layer.ARMS), roles=roles)
    assert now.evidence().arms is arms
    assert attribute(now.evidence()).action is action


def test_what_is_over_is_no_evidence() -> None:
    """Stable's inputs are calm again while the candidate's answers drift on; where nothing does, all of it counts."""
    both = incident(
        finding(STABLE, Layer.UNIVARIATE), finding(CANDIDATE, Layer.PREDICTION),
        before=[status(STABLE, 10), status(CANDIDATE, 10)],
    )  # fmt: skip
    drifts = status(CANDIDATE, 12, Layer.PREDICTION)
    assert known(both, status(STABLE, 12), drifts).evidence().inputs is Inputs.CALM
    assert known(both, status(STABLE, 12, Layer.UNIVARIATE), drifts).evidence().inputs is Inputs.PART
    assert known(both, status(STABLE, 12), status(CANDIDATE, 12)).evidence().outputs is Blame.CANDIDATE


def test_a_verdict_against_the_candidate_trains_nothing_anew() -> None:
    """As the rollout's own evidence has it, which may be that the candidate is slow: that is for people to look at."""
    moved = incident(finding(STABLE, Layer.UNIVARIATE))
    now = known(moved, status(STABLE, 12, Layer.UNIVARIATE), roles=replace(ROLES, against=True))
    found = attribute(now.evidence())
    assert (found.cause, found.action) == (Cause.INPUTS, Action.RECOMMEND)
    assert "verdict" in found.words


def test_an_incident_ends_with_its_versions() -> None:
    """One that gets no requests any more, and has nobody to say that it is calm, is waited for until its cool-down."""
    about = incident(finding(CANDIDATE, Layer.PREDICTION))
    decided = known(about, status(CANDIDATE, 12, Layer.PREDICTION), after_s=100.0).step(held=False)
    assert decided is not None
    drifts = status(CANDIDATE, 12, Layer.PREDICTION)
    assert known(decided.incident, drifts, after_s=590.0).step(held=False) is None
    over = known(decided.incident, drifts, after_s=601.0).step(held=False)
    assert over is not None
    assert (over.kind, over.incident.closed_s) == (Kind.OVER, about.changed_s)
    calm = known(decided.incident, status(CANDIDATE, 13, last_s=NOW_S + 150), after_s=200.0).step(held=False)
    assert calm is not None
    assert (calm.kind, calm.incident.closed_s) == (Kind.OVER, NOW_S + 150)


def test_versions_of_other_models_are_not_asked() -> None:
    """A model's statuses are its own: whoever builds this leaves others out, and roles know of no other."""
    now = known(blamed(), status(STABLE, 12), status(CANDIDATE, 12, Layer.PREDICTION))
    assert {one.model for one in now.statuses} == {MODEL}
    assert now.drifting == {CANDIDATE}
