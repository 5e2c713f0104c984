"""A plan comes back from its plain form, and a document that is none is told every mistake with its place."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.agreement import Comparison
from router.errors import PlanError
from router.freeze import Dated, Weekly
from router.match import Match
from router.plan import Incident, Kind, Plan
from router.plan_form import plan_as_dict, plan_from, seconds_of
from router.plan_schema import PLAN_SCHEMA
from router.policy import Shadow
from router.schema import mistakes
from router.stage import Needs
from router.verdicts.guardrails import USUAL_WITH_COPIES, Terms
from tests.examples import examples
from tests.router.cases import plans

SCHEMA = json.loads(json.dumps(dict(PLAN_SCHEMA)))
SHORT: dict[str, Any] = {
    "form": 1,
    "end": "promote",
    "candidate": 2,
    "stages": [
        {"name": "shadow", "shadows": [{"version": 2, "sample_ppm": "10%"}], "min_s": "1h"},
        {"name": "small", "shares": {"2": "0.5%"}, "min_s": "1h30m", "min_requests": 500},
        {"name": "preview", "rules": [{"version": 2, "when": [{"name": "x", "values": ["a"]}]}], "needs": "minima"},
        {"name": "watch", "does": "watch", "min_s": 86400},
    ],
    "deadline_s": "2d",
    "freezes": [
        {"name": "weekend", "begins": "fri 16:00", "ends": "mon 08:00", "utc": "+01:00"},
        {"name": "holidays", "begins": "2026-12-20T00:00:00+01:00", "ends": "2027-01-02T00:00:00+01:00"},
    ],
}


@settings(max_examples=examples(300))
@given(plans())
def test_a_plan_comes_back_from_its_form(plan: Plan) -> None:
    """Through JSON text as well, and its form is what the schema says."""
    said = json.loads(json.dumps(plan_as_dict(plan)))
    assert plan_from(said) == plan
    assert list(mistakes(SCHEMA, said)) == []


def test_what_was_added_is_said_only_where_it_is_used() -> None:
    """An older reader goes on reading every other plan, and refuses these by their first key."""
    plain = plan_from(SHORT)
    assert (plan_as_dict(plain)["form"], {"terms", "on_incident"} & plan_as_dict(plain).keys()) == (1, set())
    for new in ({"terms": Terms(harm=0.02)}, {"on_incident": Incident.HOLD}):
        said = plan_as_dict(replace(plain, **new))
        assert (said["form"], {"terms", "on_incident"} & said.keys()) == (2, set(new))
        assert plan_from(said) == plan_from({**said, "form": 1}) == replace(plain, **new)
    compared = replace(plain, comparison=Comparison(segments=("x-country",)))
    assert (plan_as_dict(compared)["form"], plan_from(plan_as_dict(compared))) == (3, compared)
    with pytest.raises(PlanError, match="comparison: 'X' is no header name"):
        plan_from({**SHORT, "comparison": {"segments": ["X"]}})


def test_terms_are_read_with_the_rest_of_the_plan() -> None:
    """What is left out has its usual value; every mistake is named with its place."""
    terms = {"guardrails": [{"watches": "errors", "margin": 3}, {"watches": "timeouts"}], "harm": 0.05}
    found = plan_from({**SHORT, "terms": terms}).judged_by
    assert [(one.name, one.margin, one.weight) for one in found.guardrails] == [("errors", 3, 3), ("timeouts", None, 1)]
    assert (found.harm, found.promotion, plan_from(SHORT).judged_by) == (0.05, 0.05, USUAL_WITH_COPIES)
    wrong = {**SHORT, "terms": {"harm": 2, "guardrails": [{"watches": "mood"}]}}
    with pytest.raises(PlanError, match=r"terms.guardrails\[0\].watches is 'mood'.*terms.harm is 2: it is the chance"):
        plan_from(wrong)
    twice = {**SHORT, "terms": {"guardrails": [{"watches": "errors"}, {"watches": "errors"}]}}
    with pytest.raises(PlanError, match="terms: guardrails have names of their own"):
        plan_from(twice)


def test_the_plan_in_the_documents_is_one() -> None:
    """Whoever copies it begins with something that works."""
    text = (Path(__file__).parents[2] / "docs" / "rollouts.md").read_text()
    plan = plan_from(json.loads(text.split("```json\n")[1].split("```")[0]))
    assert [stage.name for stage in plan.stages] == ["shadow", "insiders", "1 %", "25 %", "all", "watch"]


def test_people_may_leave_out_and_abbreviate() -> None:
    """Times and shares as they are typed, defaults for the rest."""
    plan = plan_from(SHORT)
    assert plan.kind is Kind.CUSTOM
    assert [stage.min_s for stage in plan.stages] == [3_600, 5_400, 0, 86_400]
    assert plan.stages[0].shadows == (Shadow(2, 100_000),)
    assert (plan.stages[0].needs, plan.stages[2].needs) == (Needs.VERDICT, Needs.MINIMA)
    assert dict(plan.stages[1].shares) == {2: 5_000}
    assert plan.stages[2].rules[0].when == (Match("x", ("a",)),)
    assert (plan.deadline_s, plan.max_age_s) == (172_800, 60)
    assert [type(freeze) for freeze in plan.freezes] == [Weekly, Dated]


@pytest.mark.parametrize(
    ("wrong", "sentences"),
    [
        (None, ["the document is None"]),
        ([], ["the document is []"]),
        ({}, ["form is missing", "end is missing", "stages is missing"]),
        ({**SHORT, "form": 4}, ["form is 4: it is one of 1, 2, 3"]),
        ({**SHORT, "until": 5}, ["until is not understood: there is form, kind"]),
        ({**SHORT, "end": "promoted", "stages": []}, ["end is 'promoted': it is one of 'promote'", "stages is []"]),
        (
            {**SHORT, "stages": [{"name": "", "shares": {"02": 5, "2": "half"}, "min_s": "soon"}, {"does": "watch"}]},
            [
                "stages[0].name is ''",
                "the name '02' in stages[0].shares is '02': it is the number of a version",
                "stages[0].shares.2 is 'half': it is parts per million from 0 to 1,000,000, or a share like '12.5%'",
                "stages[0].min_s is 'soon': it is whole seconds",
                "stages[1].name is missing",
            ],
        ),
        ({**SHORT, "approve_end": 1, "candidate": True}, ["approve_end is 1", "candidate is True"]),
        (
            {
                **SHORT,
                "stages": [{"name": "a"}, {"name": "b", "shares": {"2": "0.5"}}],
                "freezes": [SHORT["freezes"][1] | {"utc": "+00:00"}],
            },
            ["stages[0]: stage 'a' shows nothing", "stages[1]: '0.5' is no share", "freezes[0]: '2026-12-20T00"],
        ),
        ({**SHORT, "stages": SHORT["stages"][3:] + SHORT["stages"][:3]}, ["only the last stage can watch"]),
        ({**SHORT, "candidate": None, "max_age_s": 0}, ["names its candidate", "max_age_s is 0"]),
    ],
)  # fmt: skip
def test_every_mistake_is_named_with_its_place(wrong: object, sentences: list[str]) -> None:
    """All of them at once, so that nobody mends a file ten times."""
    with pytest.raises(PlanError) as refused:
        plan_from(wrong)
    for sentence in sentences:
        assert sentence in str(refused.value)


words = st.none() | st.booleans() | st.integers(-5, 2_000_000) | st.sampled_from(["", "10m", "5%", "run", "x" * 300])
values = st.recursive(
    words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "2", "does"]), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def spoilt(draw: st.DrawFn) -> Any:  # noqa: ANN401 (any document)
    """The short plan with something put in somewhere."""
    document: Any = json.loads(json.dumps(SHORT))
    at = document
    while draw(st.booleans()):
        inner = [one for one in (at.values() if isinstance(at, dict) else at) if isinstance(one, dict | list) and one]
        if not inner:
            break
        at = draw(st.sampled_from(inner))
    if isinstance(at, dict):
        at[draw(st.sampled_from([*at, "more"]))] = draw(values)
    else:
        at[draw(st.integers(0, len(at) - 1))] = draw(values)
    return document


@settings(max_examples=examples(600), deadline=None)  # the first one imports the other reader
@given(spoilt())
def test_the_schema_means_to_others_what_it_means_here(document: Any) -> None:  # noqa: ANN401 (any document)
    """What our reader of it finds wrong is what a full one finds wrong; and nothing but a `PlanError` comes out."""
    validator = pytest.importorskip("jsonschema").Draft202012Validator(SCHEMA)
    right = validator.is_valid(document)
    assert (list(mistakes(PLAN_SCHEMA, document)) == []) is right
    with suppress(PlanError):  # what has the shape of a plan may still mean none
        plan_from(document)
        assert right


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5_400), ("1d", 86_400), ("2w", 1_209_600)]
)
def test_people_write_times_in_several_ways(text: str, seconds: int) -> None:
    """Numbers with units, one after the other."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "1.5h", "10 m", "10min", "-5m", "٣m"])
def test_a_time_is_never_guessed(text: str) -> None:
    """A bare number in quotes could mean anything."""
    with pytest.raises(PlanError, match="no time"):
        seconds_of(text)


def test_a_keyword_that_is_not_read_is_not_passed_over() -> None:
    """A schema that says more than is checked would be a promise that is not kept."""
    with pytest.raises(KeyError):
        list(mistakes({"type": "string", "format": "date"}, "x"))
