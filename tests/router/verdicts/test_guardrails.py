"""Guardrails that no test could be made of are refused with a sentence that says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from router.errors import PlanError
from router.evidence.errors import EvidenceError
from router.verdicts.guardrails import DEFAULTS, OUTCOMES, PAIRED, USUAL, Guardrail, Terms, Watches


def test_the_usual_terms() -> None:
    """Errors and latencies, with nothing spelled out: what is watched, and what a promotion asks for."""
    assert [one.name for one in USUAL.guardrails] == ["errors", "latency"]
    assert (USUAL.harm, USUAL.promotion, USUAL.rule) == (0.01, 0.05, None)
    assert DEFAULTS[0].margin == 2.0
    assert DEFAULTS[0].ceiling == 0.01


def test_everything_that_is_watched_has_outcomes() -> None:
    """But what has counts of its own: latencies, predictions, pairs, feedback; every 503 is a 5xx and an error."""
    assert OUTCOMES.keys() == set(Watches) - {Watches.LATENCY, Watches.PREDICTIONS, Watches.FEEDBACK} - PAIRED
    assert OUTCOMES[Watches.STATUS_503] < OUTCOMES[Watches.STATUS_5XX] < OUTCOMES[Watches.ERRORS]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "a\nb"}, "needs a name"),
        ({"tolerated": 0.9}, "tolerates an odds ratio of 1 or more"),
        ({"tolerated": float("inf")}, "tolerates an odds ratio of 1 or more"),
        ({"weight": -1.0}, "weight of 0 or more"),
        ({"margin": 1.0}, "margin above what it tolerates"),
        ({"ceiling": 1.0}, "rates lie between 0 and 1"),
        ({"limit": 0.0}, "rates lie between 0 and 1"),
        ({"watches": Watches.LATENCY, "limit": 0.1}, "no rate of their own"),
        ({"quantiles": ()}, "quantiles between 0 and 1"),
        ({"quantiles": (1.0,)}, "quantiles between 0 and 1"),
        ({"watches": Watches.PREDICTIONS}, "say of which output"),
        ({"watches": Watches.PREDICTIONS, "output": "label", "ceiling": 0.1}, "no rate of their own"),
        ({"watches": Watches.PREDICTIONS, "output": "label", "margin": 2.0}, "not certified"),
        ({"output": "label"}, "of no output"),
    ],
    ids=range(15),
)
def test_what_no_test_could_be_made_of(given: Mapping[str, Any], said: str) -> None:
    """Each in a sentence."""
    with pytest.raises(PlanError, match=said):
        Guardrail(**{"name": "errors", "watches": Watches.ERRORS, **given})


def test_terms_by_which_nothing_could_be_judged() -> None:
    """Two of one name, none that decides, levels that are none, no time."""
    with pytest.raises(PlanError, match="names of their own"):
        Terms((DEFAULTS[0], DEFAULTS[0]))
    with pytest.raises(PlanError, match="one guardrail at least"):
        Terms((Guardrail("errors", Watches.ERRORS, weight=0.0),))
    with pytest.raises(PlanError, match="warms up"):
        Terms(warm_up_s=-1.0)
    with pytest.raises(EvidenceError, match="level"):
        Terms(harm=0.0)
    with pytest.raises(EvidenceError, match="level"):
        Terms(promotion=1.0)
