"""A case comes back from its bytes to the last digit, and goes on with the evidence that it had."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from router.evidence.errors import EvidenceError
from router.verdicts.case import Case
from router.verdicts.case_form import READER, decode_case, encode_case
from router.verdicts.guardrails import USUAL, Guardrail, Terms, Watches, predictions
from router.verdicts.tallies import Moment, Tally
from tests.router.verdicts.sticky import MILLION, RAMP, Crowd
from tests.router.verdicts.streams import Stream, ramped
from tests.router.verdicts.test_predictions import answers


def after(seconds: int, case: Case | None = None) -> Case:
    """The case after so many seconds of a candidate that fails a little more often."""
    case = ramped() if case is None else case
    for moment in Stream(replicas=(2, 2), share=0.04).moments(11, seconds):
        case = case.heard(moment)
    return case


@pytest.mark.parametrize("seconds", [0, 1, 2, 45])
def test_it_comes_back_from_its_bytes(seconds: int) -> None:
    """And encodes to the same bytes again."""
    case = after(seconds)
    blob = encode_case(case)
    assert decode_case(blob, USUAL) == case
    assert encode_case(decode_case(blob, USUAL)) == blob


def test_it_goes_on_where_it_was() -> None:
    """A restart in the middle changes nothing, not even in the middle of blocks that wait."""
    case, restarted = ramped(), ramped()
    for moment in Stream(replicas=(2, 2), share=0.04).moments(12, 40):
        case = case.heard(moment)
        restarted = decode_case(encode_case(restarted.heard(moment)), USUAL)
    assert restarted == case


def test_units_come_back_and_go_on() -> None:
    """Who is known, who has failed, whom stable had before the ramp: a restart after each block changes nothing."""
    case, restarted = Case(), Case()
    for share, moment in Crowd(users=300, differ=0.5).moments(3, 200, RAMP):
        case = case.ramped(share, MILLION - share).heard(moment)
        restarted = decode_case(encode_case(restarted.ramped(share, MILLION - share).heard(moment)), USUAL)
    assert case.people.before
    assert case.people.failed
    assert case.people.timed
    assert restarted == case


def test_what_was_predicted_and_a_watch_come_back() -> None:
    """Every kind of docket, before and after its first minute."""
    terms = Terms((*USUAL.guardrails, predictions("label")))
    case, rng = Case(terms).ramped(200_000, 800_000), np.random.default_rng(1)
    for second in range(1, 81):
        arms = {"c": answers(rng, 10, (0.5, 0.5))}, {"s": answers(rng, 40, (0.5, 0.5))}
        case = case.heard(Moment(float(second), *arms))
        if second in {1, 80}:
            assert decode_case(encode_case(case), terms) == case
    alone = case.watched().heard(Moment(81.0, {"c": Tally({"ok": 9, "late": 1})}))
    assert decode_case(encode_case(alone), terms) == alone
    with pytest.raises(EvidenceError, match="other terms"):
        decode_case(encode_case(case), Terms((*USUAL.guardrails, replace(predictions("label"), tolerated=3.0))))


def test_evidence_of_other_terms_is_refused() -> None:
    """Another margin, another number of guardrails, another kind."""
    blob = encode_case(after(10))
    others = [
        (Guardrail("errors", Watches.ERRORS, weight=3.0, margin=3.0, ceiling=0.01, limit=0.05), USUAL.guardrails[1]),
        (USUAL.guardrails[0],),
        (USUAL.guardrails[1], USUAL.guardrails[0]),
        (USUAL.guardrails[0], Guardrail("latency", Watches.LATENCY, quantiles=(0.5,))),
    ]
    for guardrails in others:
        with pytest.raises(EvidenceError):
            decode_case(blob, Terms(guardrails))


@pytest.mark.parametrize("blob", [b"", b"{}", b"[]", b"null", b'{"reader":1}', b"\xff", b"[" * 100_000], ids=range(7))
def test_what_is_no_case_is_refused(blob: bytes) -> None:
    """In a sentence, whatever it is."""
    with pytest.raises(EvidenceError):
        decode_case(blob, USUAL)


def test_what_is_not_understood_is_refused_as_a_whole() -> None:
    """A newer reader's, or one that says more."""
    plain = json.loads(encode_case(after(5)))
    for changed in (
        {**plain, "reader": READER + 1},
        {**plain, "more": 1},
        {**plain, "harm": -1.0},
        {**plain, "reader": 1},
    ):
        with pytest.raises(EvidenceError):
            decode_case(json.dumps(changed).encode(), USUAL)
