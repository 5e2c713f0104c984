"""What people are told a rollout is judged by, and how its verdict is told: words, a row for each guardrail, budget."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from router.evidence.judge import Rule
from router.verdicts.guardrails import DEFAULTS, USUAL, Guardrail, Terms, Watches
from router.verdicts.shown import Arm, Bounds, Certified, CopiesShown
from router.verdicts.terms_form import terms_from
from serving.rollout_terms import guardrail_of, guardrails_of, number_of, terms_lines
from serving.rollout_verdicts import budget_words, certificate_words, copies_words, odds, verdict_lines, verdict_rows
from tests.serving.fake_rollouts import VERDICT


def test_a_verdict_is_a_sentence_rows_and_a_budget() -> None:
    """Every number that it rests on: events of both arms, the odds ratio with its bounds, evidence, certificate."""
    words, head, errors, latency, budget = verdict_lines(2, VERDICT)
    assert words == f"verdict: version 2: {VERDICT.words}"
    assert head.split()[:3] == ["guardrail", "candidate", "stable"]
    for cell in ("  errors ", "12 of 2,700", "60 of 24,300", "1.8 (0.9-3.4)", "4.0:1", "3.0:1 of 20:1"):
        assert cell in errors
    assert [word in latency for word in ("unknown", "nothing", "not asked for")] == [True] * 3
    assert budget == "budget: against it together 3.2 to 1 of 100 to 1, 75 % of the budget is left, rule fast"
    assert max(map(len, (head, errors, latency))) <= 80, "the rows fit a small terminal"


def test_copies_have_a_line_of_their_own() -> None:
    """What part of the sample was compared, whether that represents it, and how often stable differs from itself."""
    copies = CopiesShown(pairs=40, offered=100, sent=62, shed=38, unread=0, shown=0.62, noise=Arm(3, 40))
    pairs = replace(VERDICT.guardrails[0], name="disagreements", counted="pairs", stable=Arm(0, 0), odds_ratio=None)
    *_, row, _, said = verdict_lines(2, replace(VERDICT, guardrails=(pairs,), copies=copies))
    assert "12 of 2,700 pairs" in row
    assert row.split()[5] == "-", "where stable is asked once there is no other arm"
    assert said == (
        "copies: 40 pairs, 62 % of the 100 requests in the sample (38 shed, 0 not to be read): not representative; "
        "stable differs from itself in 3 of 40"
    )
    assert copies_words(CopiesShown(9, 9, 9, 0, 0, 1.0, None)) == "9 pairs, 100 % of the 9 requests in the sample"


def test_units_are_called_units() -> None:
    """Where people are counted and not requests, nobody should take the one for the other."""
    people = replace(VERDICT, guardrails=tuple(replace(one, counted="units") for one in VERDICT.guardrails))
    assert verdict_rows(people)[0][1:3] == ("12 of 2,700 units", "60 of 24,300 units")
    unbounded = replace(VERDICT.guardrails[0], odds_ratio=Bounds(0.5, 2.0, None))
    assert verdict_rows(replace(VERDICT, guardrails=(unbounded,)))[0][3] == "2 (0.5-any)"


@pytest.mark.parametrize(
    ("log10_e", "said"),
    [(-3.0, "nothing"), (0.0, "nothing"), (0.3, "2.0 to 1"), (2.0, "100 to 1"), (9.5, "over a billion to 1")],
)
def test_evidence_is_told_as_odds(log10_e: float, said: str) -> None:
    """With no more figures than matter; less than even is nothing."""
    assert odds(log10_e) == said


def test_a_certificate_is_there_or_on_its_way() -> None:
    """Of two ways to it the one that is further is shown."""
    assert certificate_words(None) == "not asked for"
    assert certificate_words(Certified(holds=True, not_inferior=1.5, under_ceiling=0.0, threshold=1.3)) == "there"
    assert (
        certificate_words(Certified(holds=False, not_inferior=0.1, under_ceiling=1.0, threshold=1.3)) == "10:1 of 20:1"
    )
    assert "0 %" in budget_words(replace(VERDICT, spent=1.0))


def test_what_is_typed_changes_the_usual_guardrails_or_adds_to_them() -> None:
    """By their names; what nobody speaks of stays usual."""
    assert guardrails_of((), ()) is None
    beside = guardrails_of(("disagreements:limit=5%",), (), copies=True)
    assert beside is not None
    assert [(one["watches"], one.get("limit")) for one in beside] == [
        ("errors", None), ("latency", None), ("disagreements", 0.05), ("shadow_errors", None), ("shadow_latency", None),
    ]  # fmt: skip
    said = next(iter(terms_lines(terms_from({"guardrails": beside}), [])))
    assert "disagreements of copies, up to 5 %, or up to stable's own noise" in said
    assert "shadow_latency (shown only) of copies, no more often than the other way round" in said
    assert _terms(tolerances=("latency=1.5x",)).guardrails == (DEFAULTS[0], replace(DEFAULTS[1], tolerated=1.5))
    assert _terms(tolerances=("errors=3",)).guardrails[0].margin == 6.0
    more = _terms(("timeouts:weight=2", "errors:margin=3,ceiling=none,limit=10%", "latency:quantiles=p50+0.99"))
    assert [one.name for one in more.guardrails] == ["errors", "latency", "timeouts"]
    errors, latency, timeouts = more.guardrails
    assert (errors.margin, errors.ceiling, errors.limit, errors.weight) == (3.0, None, 0.1, 3.0)
    assert latency.quantiles == (0.5, 0.99)
    assert timeouts == Guardrail("timeouts", Watches.TIMEOUTS, weight=2.0)
    named = _terms(("predictions:output=label,kind=score,name=scores",), ("scores=2",)).guardrails[-1]
    assert (named.name, named.output, named.kind, named.tolerated) == ("scores", "label", "score", 2.0)


def _terms(typed: tuple[str, ...] = (), tolerances: tuple[str, ...] = ()) -> Terms:
    return terms_from({"guardrails": guardrails_of(typed, tolerances)})


@pytest.mark.parametrize(
    ("call", "text", "why"),
    [
        (guardrail_of, "mood", "there are errors, timeouts"),
        (guardrail_of, "errors:margin", "form KEY=VALUE"),
        (guardrail_of, "errors:patience=3", "one of the keys .*ceiling"),
        (guardrail_of, "errors:margin=big", "no number"),
        (number_of, "", "no number"),
        (lambda text: guardrails_of((), (text,)), "latency", "GUARDRAIL=RATIO"),
        (lambda text: guardrails_of((), (text,)), "mood=2", "there are errors, latency"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can(call: Any, text: str, why: str) -> None:  # noqa: ANN401 - one of three
    """A sentence, whatever was typed."""
    with pytest.raises(ValueError, match=why):
        call(text)


def test_whoever_starts_a_rollout_is_told_what_it_is_judged_by() -> None:
    """Each guardrail, the level of harm, the rule, and which stage has to be earned."""
    guardrails, harm, passed = terms_lines(USUAL, ["50 %"])
    errors, latency = guardrails.removeprefix("judged by: ").split("; ")
    assert (
        errors == "errors up to 1x stable's odds, certified under 2x or a rate of 1 %, paused where both are over 5 %"
    )
    assert latency == "latency up to 1.2x stable's odds"
    assert "100 to 1 speaks against it" in harm
    assert "1 % at most" in harm
    assert harm.endswith("rule burst_proof where both versions have two replicas, else fast")
    assert passed.startswith("passed by a verdict: stage '50 %'")
    others = Terms((replace(DEFAULTS[0], weight=0.0), DEFAULTS[1]), rule=Rule.FAST)
    shown, level, nothing = terms_lines(others, [])
    assert "errors (shown only)" in shown
    assert level.endswith("rule fast")
    assert nothing.startswith("no stage needs a verdict")
