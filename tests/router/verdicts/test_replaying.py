"""Recorded blocks, judged again: as they were, and by other terms."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest

from router.evidence.errors import EvidenceError
from router.evidence.judge import Decision
from router.verdicts.case import Case
from router.verdicts.described import Described, Drawn, Manner, Shares
from router.verdicts.guardrails import USUAL, Guardrail, Terms, Watches
from router.verdicts.moment_form import encode_moment
from router.verdicts.replaying import Ramped, Recorded, recorded, replayed
from router.verdicts.tallies import Moment

STRICT = Terms((Guardrail("errors", Watches.ERRORS, weight=3.0), Guardrail("latency", Watches.LATENCY)), harm=0.2)


def blocks(errors: float, seconds: int = 200) -> list[Moment]:
    """Ten seconds each, from second 1,000 on."""
    drawn = Drawn(Described(50.0, candidate=Manner(errors)), np.random.default_rng(3))
    return [drawn.moment(at, at + 10, Shares(0.2, 0.8)) for at in range(1_000, 1_000 + seconds, 10)]


def lines(moments: list[Moment]) -> Iterator[str]:
    """As they are recorded."""
    yield '{"ramped":[200000,800000]}'
    for moment in moments:
        yield encode_moment(moment)


def test_a_record_is_judged_as_it_was() -> None:
    """The verdict turns in the very block in which the case itself turned."""
    moments = blocks(0.03)
    case, turned = Case().ramped(200_000, 800_000), 0.0
    for moment in moments:
        case = case.heard(moment)
        if not turned and case.verdict(minima_met=True).decision is Decision.ROLL_BACK:
            turned = moment.ended_s
    replay = replayed(recorded(lines(moments)), USUAL)
    assert replay.back is not None
    assert replay.back.at_s == turned > 0
    assert replay.back.after_s == turned - moments[0].ended_s
    assert replay.blocks == len(moments)
    assert replay.case == case


def test_stricter_terms_would_have_found_it_earlier() -> None:
    """That is what a replay is for; the shares' lines are optional."""
    moments = blocks(0.02)
    usual, strict = (replayed(moments, terms).back for terms in (USUAL, STRICT))
    assert strict is not None
    assert usual is None or strict.at_s < usual.at_s


def test_turns_are_where_the_decision_changes() -> None:
    """The first block's, and no two alike in a row; what is good enough is said to be."""
    replay = replayed(blocks(0.005, 2_000), USUAL)
    said = [(one.verdict.decision, one.verdict.freeze) for one in replay.turns]
    assert said[0][0] is Decision.NOT_YET
    assert all(one != other for one, other in pairwise(said))
    assert replay.back is None
    assert replay.last.verdict.decision is Decision.PROMOTE


def test_a_candidate_alone_is_held_against_its_limit() -> None:
    """A line with no share of stable's begins its watch."""
    drawn = Drawn(Described(50.0, candidate=Manner(0.3)), np.random.default_rng(3))
    alone = [drawn.moment(at, at + 10, Shares(1.0, 0.0)) for at in range(0, 100, 10)]
    record: list[Recorded] = [Ramped(1_000_000, 0), *alone]
    back = replayed(record, USUAL).back
    assert back is not None
    assert "It is alone" in back.verdict.words


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{", "line 2: this is no JSON"),
        ("[" * 100_000, "line 2: this is no JSON"),
        ("[]", "line 2: this is no block"),
        ('{"ramped": [0, 1]}', "line 2: 'ramped' takes"),
        ('{"ramped": "half"}', "line 2: 'ramped' takes"),
        ('{"reader": 99}', "line 2: this block is written for readers of form 99"),
        (encode_moment(Moment(5.0)), "line 2: this block closed no later"),
    ],
    ids=range(7),
)
def test_a_line_that_is_no_block_is_named(wrong: str, said: str) -> None:
    """With what is wrong with it."""
    with pytest.raises(EvidenceError, match=said.replace("'", ".")):
        replayed(recorded([encode_moment(Moment(5.0)), wrong]), USUAL)


def test_an_empty_record_is_refused() -> None:
    """Nothing was heard, so nothing can be said."""
    with pytest.raises(EvidenceError, match="no block in this record"):
        replayed(recorded(["", '{"ramped":[1,9]}']), USUAL)
