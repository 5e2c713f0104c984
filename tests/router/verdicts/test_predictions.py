"""What a candidate answers, class by class: a shift is found in either direction, and the same answers are no shift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.random import Generator

from router.evidence.counts import Block
from router.evidence.judge import Decision
from router.evidence.sequential import threshold
from router.verdicts.case import Case
from router.verdicts.guardrails import DEFAULTS, Terms, predictions
from router.verdicts.predictions import FEWEST, MOST_CLASSES, OTHER, Predictions, exchanged, opened_predictions
from router.verdicts.tallies import Moment, Tally

LABEL = predictions("label")
TERMS = Terms((DEFAULTS[0], LABEL))
USUALLY = (0.6, 0.3, 0.1)


def answers(rng: Generator, total: int, shares: Sequence[float]) -> Tally:
    """So many answers in these classes."""
    counts = rng.multinomial(total, shares).tolist()
    return Tally({"ok": total}, predicted={f"class {nth}": count for nth, count in enumerate(counts) if count})


def case_after(seconds: int, candidate: Sequence[float], stable: Sequence[float] = USUALLY, seed: int = 1) -> Case:
    """A case that has heard so many seconds of fifty answers, ten of them the candidate's."""
    rng, case = np.random.default_rng(seed), Case(TERMS).ramped(200_000, 800_000)
    for second in range(1, seconds + 1):
        arms = {"c": answers(rng, 10, candidate)}, {"s": answers(rng, 40, stable)}
        case = case.heard(Moment(float(second), *arms))
    return case


def docket_of(case: Case) -> Predictions:
    """What is known of its answers."""
    found = case.dockets[1]
    assert isinstance(found, Predictions)
    return found


@pytest.mark.parametrize("seed", range(2))
def test_the_same_answers_are_no_shift(seed: int) -> None:
    """However long one looks."""
    case = case_after(200, USUALLY, seed=seed)
    assert docket_of(case).harm.log_e < threshold(0.01)
    assert case.verdict(minima_met=False).decision is Decision.NOT_YET


def test_a_shift_that_is_tolerated_is_none() -> None:
    """Two versions never answer quite alike."""
    assert docket_of(case_after(200, (0.55, 0.33, 0.12))).harm.log_e < threshold(0.01)


@pytest.mark.parametrize(
    ("shares", "what"),
    [((0.3, 0.6, 0.1), "class 1 more often"), ((0.02, 0.5, 0.48), "class 0 less often")], ids=range(2)
)  # fmt: skip
def test_a_shift_takes_it_back(shares: Sequence[float], what: str) -> None:
    """The sentence says which class, and in which direction."""
    case = case_after(150, shares)
    verdict = case.verdict(minima_met=False)
    assert verdict.decision is Decision.ROLL_BACK
    assert f"'predictions: {what}'" in verdict.words
    assert docket_of(case).seen.n_c < docket_of(case).seen.n_b


def test_a_class_that_nobody_knew_is_one_of_the_others() -> None:
    """A candidate that answers something of its own."""
    case = case_after(80, (0.6, 0.3, 0.1))
    rng = np.random.default_rng(5)
    for second in range(81, 120):
        arms = {"c": Tally({"ok": 10}, predicted={"banana": 9, "class 0": 1})}, {"s": answers(rng, 40, USUALLY)}
        case = case.heard(Moment(float(second), *arms))
    assert docket_of(case).foremost == f"{OTHER} more often"


def test_classes_are_fixed_by_the_first_minute_which_is_evidence_of_nothing() -> None:
    """The most frequent of both arms together; and it lasts until there was enough to read."""
    docket = opened_predictions(LABEL)
    names = {f"class {nth:02}": 100 - nth for nth in range(MOST_CLASSES + 4)}
    moment = Moment(1.0, {"c": Tally({"ok": 9}, predicted=names)}, {"s": Tally({"ok": 9}, predicted=names)})
    docket = docket.heard(LABEL, moment)
    assert docket.harm.classes == ()
    docket = docket.heard(LABEL, Moment(61.0, moment.candidate, moment.stable))
    assert docket.harm.classes == tuple(sorted(names))[:MOST_CLASSES]
    assert docket.harm.log_e == pytest.approx(0.0)
    assert docket.seen == Block()
    few = opened_predictions(LABEL)
    for minute in range(1, FEWEST - 1):
        few = few.heard(LABEL, Moment(60.0 * minute, {"c": Tally({"ok": 1}, predicted={"a": 1})}))
    assert not few.harm.classes


def test_silence_says_nothing() -> None:
    """No answer was read, or none of one version."""
    docket = opened_predictions(LABEL)
    assert docket.heard(LABEL, Moment(1.0)) is docket
    fixed = docket_of(case_after(70, USUALLY))
    alone = fixed.heard(LABEL, Moment(99.0, {"c": Tally({"ok": 9}, predicted={"class 0": 9})}))
    assert alone.harm == fixed.harm


def test_exchanged_twice_is_the_same() -> None:
    """And once, stable's events are the candidate's."""
    block = Block.of(candidate=(2, 10), stable=(5, 90))
    assert exchanged(block) == Block.of(candidate=(5, 90), stable=(2, 10))
    assert exchanged(exchanged(block)) == block
