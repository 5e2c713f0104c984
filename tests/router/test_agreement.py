"""Rules of comparison survive being written, and what means nothing is refused in a sentence."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.agreement import (
    COMPARISON_SCHEMA,
    Agree,
    Comparison,
    OutputRule,
    comparison_as_dict,
    comparison_from,
    rule_typed,
)
from router.errors import PolicyError
from router.schema import mistakes
from tests.examples import examples
from tests.router.cases import comparisons


@settings(max_examples=examples(200))
@given(comparisons)
def test_a_comparison_comes_back_from_json_as_it_was(comparison: Comparison) -> None:
    """Through JSON and back, and what is written is what the schema allows."""
    written = comparison_as_dict(comparison)
    assert not list(mistakes(COMPARISON_SCHEMA, written))
    assert comparison_from(json.loads(json.dumps(written))) == comparison
    assert hash(comparison_from(written)) == hash(comparison)


def test_nothing_said_is_the_usual_comparison() -> None:
    """An empty document is the defaults: no rules, no segments, twenty pairs, nothing redacted."""
    assert comparison_from({}) == Comparison() == Comparison(keep=20)


@settings(max_examples=examples(200))
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["outputs", "how", "segments", "keep", "redact", "top", "absolute", "x"]), inner, max_size=4
    )
), max_leaves=8))  # fmt: skip
def test_whatever_else_is_refused_in_a_sentence(document: object) -> None:
    """Any JSON value is a comparison or a PolicyError, never another failure."""
    with contextlib.suppress(PolicyError):
        assert isinstance(comparison_from(document), Comparison)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"how": Agree.EXACT, "absolute": 0.1}, "no use for absolute"),
        ({"how": Agree.CLOSE, "top": 2}, "no use for top"),
        ({"how": Agree.CLOSE, "relative": -0.1}, "relative is -0.1"),
        ({"how": Agree.CLOSE, "absolute": float("nan")}, "absolute is nan"),
        ({"how": Agree.COSINE, "tolerated": 2.5}, "from 0 to 2"),
        ({"how": Agree.EDIT, "tolerated": 1.5}, "from 0 to 1"),
        ({"how": Agree.TOP_K, "top": 0}, "from 1 to 1,000"),
        ({"how": Agree.TOP_K, "top": True}, "from 1 to 1,000"),
        ({"how": "exact"}, "no way to compare"),
    ],
)
def test_a_rule_refuses_what_its_comparison_does_not_use(rule: dict[str, Any], said: str) -> None:
    """An amount of another comparison, or one out of its range, is a mistake and not silently nothing."""
    if said == "no way to compare":
        rule = {"how": "almost"}
    with pytest.raises(PolicyError, match=said):
        OutputRule(**rule)


@pytest.mark.parametrize(
    ("comparison", "said"),
    [
        ({"segments": ("X-Country",)}, "no header name"),
        ({"segments": ("a", "a")}, "each once"),
        ({"segments": ("a", "b", "c", "d", "e")}, "at most 4"),
        ({"segments": ["a"]}, "tuple of names"),
        ({"keep": 101}, "0 to 100"),
        ({"keep": True}, "0 to 100"),
        ({"redact": ("a\n",)}, "printable"),
        ({"outputs": {"": OutputRule(Agree.EXACT)}}, "printable"),
        ({"outputs": {"a": "exact"}}, "which is none"),
        ({"outputs": {str(n): OutputRule(Agree.EXACT) for n in range(65)}}, "at most 64"),
    ],
)
def test_a_comparison_checks_itself(comparison: dict[str, Any], said: str) -> None:
    """Names, their number and the pairs that are kept are bounded where the value is built."""
    with pytest.raises(PolicyError, match=said):
        Comparison(**comparison)


def test_a_mistake_in_a_document_names_its_place() -> None:
    """The sentence says which output, and where in the larger document."""
    with pytest.raises(PolicyError, match=r"comparison\.outputs\.label\.how"):
        comparison_from({"outputs": {"label": {"how": "nearly"}}}, at="comparison")
    with pytest.raises(PolicyError, match="output 'label': 'exact' has no use for top"):
        comparison_from({"outputs": {"label": {"how": "exact", "top": 2}}})


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("exact", OutputRule(Agree.EXACT)),
        ("close", OutputRule(Agree.CLOSE)),
        ("close:0.01", OutputRule(Agree.CLOSE, relative=0.01)),
        ("close:0.01,1e-6", OutputRule(Agree.CLOSE, relative=0.01, absolute=1e-6)),
        ("top_k:3", OutputRule(Agree.TOP_K, top=3)),
        ("cosine:0.02", OutputRule(Agree.COSINE, tolerated=0.02)),
        ("edit:0.2", OutputRule(Agree.EDIT, tolerated=0.2)),
        ("ignore", OutputRule(Agree.IGNORE)),
    ],
)
def test_a_rule_is_typed_in_one_word(text: str, rule: OutputRule) -> None:
    """The word that names the comparison, and its amounts after a colon."""
    assert rule_typed(text) == rule


@pytest.mark.parametrize(
    "text", ["", "nearly", "close:a", "close:1,2,3", "exact:1", "top_k:1.5", "edit:nan", "argmax:"]
)
def test_a_rule_mistyped_is_refused(text: str) -> None:
    """In a sentence, whatever is wrong with it."""
    with pytest.raises(PolicyError):
        rule_typed(text)


def test_what_leads_and_what_is_tolerated_have_usual_values() -> None:
    """The first place is argmax's, top-k ; cosine and edit tolerate little."""
    assert (OutputRule(Agree.ARGMAX).leading, OutputRule(Agree.TOP_K).leading) == (1, 5)
    assert (OutputRule(Agree.COSINE).at_most, OutputRule(Agree.EDIT).at_most) == (0.001, 0.1)
    assert OutputRule(Agree.EDIT, tolerated=0.0).at_most == 0.0
