"""Pairs of answers as a keeper would have found them, for several tests."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from numpy.random import Generator, default_rng

from router.evidence.pairs import Pairs
from router.verdicts.case import Case
from router.verdicts.guardrails import USUAL_WITH_COPIES, Terms
from router.verdicts.pair_blocks import PairBlock
from router.verdicts.tallies import Moment


class Answers(NamedTuple):
    """How often answers to one request differ, and copies fail.

    Attributes:
        noise: how often stable differs from itself.
        differs: how often the candidate differs from stable beside that.
        fails: how often only the copy fails.
        slow: how often a copy takes longer than tolerated.
    """

    noise: float = 0.0
    differs: float = 0.0
    fails: float = 0.0
    slow: float = 0.5


def found(rng: Generator, count: int, answers: Answers, *, lane: bool = False) -> PairBlock:
    """What is found in so many pairs."""
    failed = rng.random(count) < answers.fails
    changes = rng.random((2, count)) < answers.noise
    candidate, second = changes[0] | (rng.random(count) < answers.differs), changes[1]
    slow = int((rng.random(count) < answers.slow).sum())
    worse, better = int((candidate & ~second & ~failed).sum()), int((second & ~candidate & ~failed).sum())
    compared = count - int(failed.sum())
    block = PairBlock(
        compared,
        int((candidate & ~failed).sum()),
        Pairs(int(failed.sum()), 0, compared),
        Pairs(slow, count - slow),
        offered=count,
        sent=count,
    )
    floor = Pairs(worse, better, compared - worse - better)
    return replace(block, noise=floor, noise_compared=compared, lane=True) if lane else block


def pairs_needed(answers: Answers, *, seed: int, lane: bool, most: int, terms: Terms = USUAL_WITH_COPIES) -> int | None:
    """How many pairs it takes until a candidate that gets copies only is taken back; None where it is not."""
    case, rng, size = Case(terms).copied(), default_rng(seed), 20
    for nth in range(1, most // size + 1):
        case = case.heard_copies(Moment(float(nth), pairs=found(rng, size, answers, lane=lane)))
        if case.verdict(minima_met=True, only_copies=True).decision == "roll_back":
            return nth * size
    return None
