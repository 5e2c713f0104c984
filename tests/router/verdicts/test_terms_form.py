"""Terms as they are written: what is left out is the usual, what is wrong is named, and all comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import PlanError
from router.evidence.judge import Rule
from router.observed import Reading
from router.verdicts.guardrails import DEFAULTS, OUTCOMES, PAIRED, USUAL, Guardrail, Terms, Watches, predictions
from router.verdicts.terms_form import TERMS_SCHEMA, terms_as_dict, terms_from
from tests.examples import examples

chances = st.floats(1e-6, 0.999)
maybe_rates = st.none() | chances
weights = st.floats(0.1, 100.0)


@st.composite
def guardrails(draw: st.DrawFn) -> tuple[Guardrail, ...]:
    """Of all kinds, each with a name of its own."""
    several = []
    for nth, watches in enumerate(draw(st.lists(st.sampled_from(list(Watches)), min_size=1, max_size=4, unique=True))):
        said: dict[str, Any] = {"tolerated": draw(st.floats(1.0, 5.0)), "weight": draw(weights)}
        if watches in PAIRED:
            said = {"weight": draw(weights)}
            said |= {"limit": draw(chances)} if watches is Watches.DISAGREEMENTS else {}
        elif watches is Watches.FEEDBACK:
            said = {"weight": draw(weights), "metric": draw(st.text("abc", min_size=1))}
        elif watches is Watches.PREDICTIONS:
            said |= {"output": draw(st.text("abc", min_size=1)), "kind": draw(st.sampled_from(Reading))}
        else:
            said["margin"] = draw(st.none() | st.floats(5.5, 9.0))
        if watches in OUTCOMES:
            said |= {"ceiling": draw(maybe_rates), "limit": draw(maybe_rates)}
        if watches is Watches.LATENCY:
            said["quantiles"] = tuple(sorted(draw(st.sets(chances, min_size=1, max_size=4))))
        several.append(Guardrail(f"{watches} {nth}", watches, **said))
    return tuple(several)


terms_of_all_kinds = st.builds(
    Terms, guardrails(), chances, chances, st.none() | st.sampled_from(Rule), st.floats(0.0, 3600.0)
)


@settings(max_examples=examples(200))
@given(terms_of_all_kinds)
def test_terms_come_back(terms: Terms) -> None:
    """Through JSON, to the last digit."""
    assert terms_from(json.loads(json.dumps(terms_as_dict(terms)))) == terms


def test_what_is_left_out_is_the_usual() -> None:
    """Of the whole, and of each guardrail by what it watches."""
    assert terms_from({}) == USUAL == terms_from(terms_as_dict(USUAL))
    assert terms_from({"guardrails": [{"watches": "errors"}, {"watches": "latency"}]}) == USUAL
    (answers,) = terms_from({"guardrails": [{"watches": "predictions", "output": "label"}]}).guardrails
    assert answers == predictions("label")
    (timeouts,) = terms_from({"guardrails": [{"watches": "timeouts"}]}).guardrails
    assert timeouts == Guardrail("timeouts", Watches.TIMEOUTS)
    strict = terms_from({"guardrails": [{"watches": "errors", "ceiling": None, "name": "mine"}], "harm": 0.001})
    assert (strict.guardrails[0].ceiling, strict.guardrails[0].margin) == (None, DEFAULTS[0].margin)
    assert (strict.guardrails[0].name, strict.harm) == ("mine", 0.001)


def test_a_margin_grows_with_what_is_tolerated() -> None:
    """Unless it is said; a margin that is said below it is a mistake."""
    (errors,) = terms_from({"guardrails": [{"watches": "errors", "tolerated": 3}]}).guardrails
    assert (errors.tolerated, errors.margin) == (3.0, 6.0)
    with pytest.raises(PlanError, match=r"guardrails\[0\]: guardrail 'errors' certifies under a margin above"):
        terms_from({"guardrails": [{"watches": "errors", "tolerated": 3, "margin": 2.5}]})


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ([], "the document is"),
        ({"guardrail": []}, "guardrail is not understood"),
        ({"guardrails": []}, "guardrails is"),
        ({"guardrails": [{}]}, r"guardrails\[0\]\.watches is missing"),
        ({"guardrails": [{"watches": "mood"}]}, "one of 'errors'"),
        ({"guardrails": [{"watches": "errors", "tolerated": 0.5}]}, "an odds ratio of events"),
        ({"guardrails": [{"watches": "errors", "tolerated": True}]}, "an odds ratio of events"),
        ({"guardrails": [{"watches": "errors", "ceiling": 0}]}, "a rate between 0 and 1 under which"),
        ({"guardrails": [{"watches": "latency", "quantiles": [99]}]}, "a quantile between 0 and 1"),
        ({"guardrails": [{"watches": "latency", "limit": 0.5}]}, "no rate of their own"),
        ({"guardrails": [{"watches": "predictions"}]}, "say of which output"),
        ({"guardrails": [{"watches": "errors"}, {"watches": "errors"}]}, "names of their own"),
        ({"guardrails": [{"watches": "errors", "weight": 0}]}, "one guardrail at least"),
        ({"harm": 1}, "harm is 1"),
        ({"harm": float("nan")}, "harm is nan"),
        ({"rule": "slow"}, "rule is 'slow'"),
        ({"warm_up_s": -1}, "warm_up_s is -1"),
    ],
    ids=range(17),
)
def test_what_is_wrong_is_said(plain: object, said: str) -> None:
    """Where it is, and what is allowed there."""
    with pytest.raises(PlanError, match=said):
        terms_from(plain)


def test_every_mistake_is_named_with_its_place() -> None:
    """Those of the shape together, else those of the meaning together."""
    with pytest.raises(PlanError) as shape:
        terms_from({"harm": 2, "guardrails": [{"watches": "x"}]}, "judged_by")
    assert "judged_by.harm is 2" in str(shape.value)
    assert "judged_by.guardrails[0].watches" in str(shape.value)
    wrong = [{"watches": "latency", "limit": 0.5}, {"watches": "predictions"}]
    with pytest.raises(PlanError) as meaning:
        terms_from({"guardrails": wrong}, "judged_by")
    assert str(meaning.value).count("judged_by.guardrails[") == 2


def test_the_schema_stands_in_others() -> None:
    """It is plain JSON, and points to nothing outside itself."""
    assert "$ref" not in json.dumps(dict(TERMS_SCHEMA))
