"""Whether an answer is the right one, and whether a share is what it should be. All pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadtests.gpu_check.client import Answer
from loadtests.gpu_check.models import TOLERANCE, Rows
from loadtests.gpu_check.wire import Form, scores
from router.choose import Choice, Facts, choose
from router.policy import WHOLE, Policy

_SIGMAS = 5.0
"""Chance alone goes past this once in two million runs (the normal approximation to the binomial)."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request whose answer is known beforehand.

    Attributes:
        batch: which batch it is about.
        form: how its tensors travel.
        unit: whom it is for; "" for nobody.
        pinned: the version that its path names.
    """

    batch: int
    form: Form
    unit: str = ""
    pinned: int | None = None

    def choice(self, policy: Policy) -> Choice:
        """Who must answer it through a gateway, and why."""
        return choose(policy, Facts(self.unit.encode(), self.pinned))


def fault(
    question: Question, answer: Answer, choice: Choice, right: Mapping[int, Sequence[Rows]], *, gateway: bool
) -> str | None:
    """What is wrong with the answer, in a line; None where nothing is."""
    if answer.failure:
        return answer.failure
    try:
        said = scores(answer.headers, answer.body)
    except ValueError as error:
        return str(error)
    told = (answer.headers.get(b"sluice-version", b"").decode(), answer.headers.get(b"sluice-reason", b"").decode())
    if gateway and told != (str(choice.version), choice.reason):
        return f"the gateway says version and reason {told}, router.choose {choice.version} and {choice.reason}"
    if said.version != choice.version:
        return f"version {said.version} answered in place of {choice.version}"
    return _difference(said.values, right[choice.version][question.batch])


def _difference(values: Rows, right: Rows) -> str | None:
    if values.shape != right.shape:
        return f"the answer has the shape {values.shape} in place of {right.shape}"
    off = float(np.abs(values - right).max())
    # Written so that a NaN is a fault, too.
    return None if off <= TOLERANCE else f"the answer is off by {off:g}, and {TOLERANCE:g} is allowed"


def share_fault(count: int, total: int, share_ppm: int) -> str | None:
    """What is wrong with a share that was drawn at random; None where chance explains it."""
    share = share_ppm / WHOLE
    allowed = _SIGMAS * math.sqrt(total * share * (1.0 - share))
    if abs(count - total * share) <= allowed:
        return None
    return f"{count} of {total} answers came from version 2: {total * share:.0f} ± {allowed:.0f} are {share:.0%}"
