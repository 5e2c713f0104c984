"""What people are shown of a case: every guardrail, in figures that add up, through JSON and back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from router.errors import RouterError
from router.verdicts.case import Case
from router.verdicts.guardrails import DEFAULTS, Terms, predictions
from router.verdicts.shown import Shown, as_dict, shown, shown_from
from router.verdicts.tallies import Moment
from tests.router.verdicts.sticky import Crowd
from tests.router.verdicts.streams import Stream, always, ramped
from tests.router.verdicts.test_predictions import answers


def shown_of(case: Case) -> Shown:
    """With its verdict."""
    return shown(case, case.verdict(minima_met=True))


def test_a_candidate_that_is_worse() -> None:
    """Where the harm is, how sure that is, and that nothing of the budget is left."""
    _, case = Stream(candidate=always(0.05)).until(ramped(), 1, 300)
    found = shown_of(case)
    errors, latency = found.guardrails
    assert (found.decision, found.spent, found.threshold) == ("roll_back", 1.0, 2.0)
    assert found.log10_e >= found.threshold
    assert errors.odds_ratio is not None
    assert errors.odds_ratio.lower > 1
    assert errors.candidate.events * errors.stable.total > errors.stable.events * errors.candidate.total
    assert errors.part > latency.part
    assert errors.part + latency.part == pytest.approx(1.0)
    assert (latency.what, latency.certified) == ("slower than p99", None)
    assert found.words == case.verdict(minima_met=True).words


def test_a_candidate_that_is_certified() -> None:
    """By one of both ways, each with what it has to reach."""
    _, case = Stream().until(ramped(), 1, 900, minima_met=True)
    found = shown_of(case)
    certified = found.guardrails[0].certified
    assert found.decision == "promote"
    assert certified is not None
    assert certified.holds
    assert max(certified.not_inferior or 0.0, certified.under_ceiling or 0.0) >= certified.threshold
    assert 0 <= found.spent < 1


def test_nothing_yet() -> None:
    """No traffic: no bounds, no part that means anything, and a word that it is not yet."""
    found = shown_of(Case())
    assert (found.decision, found.spent, found.newest_s) == ("not_yet", 0.0, 0.0)
    assert [one.odds_ratio for one in found.guardrails] == [None, None]


def test_units_are_called_units() -> None:
    """Where they are what is compared; answers are by request."""
    terms = Terms((*DEFAULTS, predictions("label")))
    shown = shown_of(Crowd(differ=0.5).case_after(1, 100, case=Case(terms)))
    assert [one.counted for one in shown.guardrails] == ["units", "units", "requests"]


def every_kind() -> list[Case]:
    """Cases of all kinds."""
    rng, read = np.random.default_rng(1), Case(Terms((DEFAULTS[0], predictions("label"))))
    for second in range(1, 91):
        arms = {"c": answers(rng, 10, (0.2, 0.8))}, {"s": answers(rng, 40, (0.6, 0.4))}
        read = read.heard(Moment(float(second), *arms))
    rare = Case().heard(next(Stream(rps=2_000, base=always(0.0), candidate=always(0.02)).moments(1, 1)))
    return [Case(), read, rare, Crowd().case_after(1, 50)]


@pytest.mark.parametrize("nth", range(4))
def test_it_comes_back_through_json(nth: int) -> None:
    """Infinite bounds and all."""
    found = shown_of(every_kind()[nth])
    assert shown_from(json.loads(json.dumps(as_dict(found), allow_nan=False))) == found


@pytest.mark.parametrize(
    "change", [{"decision": "maybe"}, {"more": 1}, {"guardrails": [{}]}, {"rule": None}], ids=range(4)
)
def test_what_could_not_be_shown_is_refused(change: dict[str, object]) -> None:
    """In a sentence."""
    with pytest.raises(RouterError, match="no verdict that could be shown"):
        shown_from({**as_dict(shown_of(Case())), **change})
