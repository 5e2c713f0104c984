"""Equal states have equal bytes, bytes give the state back, and what is not understood is refused as a whole."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from router.evidence.codec import KINDS, READER, as_plain, decode, encode, from_plain
from router.evidence.counts import Block
from router.evidence.errors import EvidenceError
from router.evidence.means import Means, MeanTest
from router.evidence.one_arm import OneArm, RateTest
from router.evidence.pairs import Pairs
from router.evidence.restarts import Restarts
from router.evidence.sequential import Peak
from router.evidence.two_arm import OddsTest, Side, TwoArm
from tests.router.evidence import states

STATE = OneArm(RateTest(0.01, Side.NOT_WORSE), 3, 400)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(states.same(count=1))
def test_a_state_comes_back_from_its_bytes(one: tuple[Any]) -> None:
    """To the last digit, and encodes to the same bytes again."""
    blob = encode(one[0])
    assert decode(blob) == one[0]
    assert encode(decode(blob)) == blob
    assert from_plain(json.loads(json.dumps(as_plain(one[0])))) == one[0]


def test_the_bytes_are_these() -> None:
    """A change of the form must change `READER`: evidence of yesterday is read by the code of today."""
    assert READER == 1
    assert encode(STATE) == (
        b'{"evidence":{"events":3,"kind":"one_arm","test":{"kind":"rate_test","limit":0.01,"side":"not_worse"},'
        b'"total":400},"reader":1}'
    )


def test_equal_states_have_equal_bytes() -> None:
    """Though a whole number and a float, or a zero and its negative, are written differently."""
    assert encode(MeanTest(1, 0)) == encode(MeanTest(1.0, -0.0))
    assert encode(Means(MeanTest(1.0), -0.0)) == encode(Means(MeanTest(1.0)))


def test_every_kind_is_small() -> None:
    """T1's state, the largest of the tests that decide, is about a kilobyte."""
    state = TwoArm(OddsTest()).add([Block(2, 5, 100, 900)])
    assert len(encode(state)) < 1_500
    assert encode(Peak(1.5)) == b'{"evidence":{"kind":"peak","log_e":1.5},"reader":1}'
    assert len(KINDS) == len(set(KINDS.values()))


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"[]",
        b"{}",
        b'{"reader":1}',
        b'{"reader":2,"evidence":{"kind":"peak","log_e":1.5}}',
        b'{"reader":true,"evidence":{"kind":"peak","log_e":1.5}}',
        b'{"reader":1,"evidence":{"kind":"peak","log_e":1.5},"more":1}',
        b'{"reader":1,"evidence":{"kind":"peak"}}',
        b'{"reader":1,"evidence":{"kind":"peak","log_e":1.5,"more":1}}',
        b'{"reader":1,"evidence":{"kind":"peak","log_e":"1.5"}}',
        b'{"reader":1,"evidence":{"kind":"peak","log_e":NaN}}',
        b'{"reader":1,"evidence":{"kind":"peak","log_e":-1.0}}',
        b'{"reader":1,"evidence":{"kind":"unheard of"}}',
        b'{"reader":1,"evidence":{"kind":["peak"],"log_e":1.5}}',
        b'{"reader":1,"evidence":{"kind":"pairs","worse":1.5,"better":0,"ties":0}}',
        b'{"reader":1,"evidence":{"kind":"pairs","worse":true,"better":0,"ties":0}}',
        b'{"reader":1,"evidence":{"kind":"odds_curve","logs":[1.0]}}',
        b'{"reader":1,"evidence":{"kind":"odds_curve","logs":7}}',
        b'{"reader":1,"evidence":{"kind":"rate_test","limit":0.5,"side":"sideways"}}',
        b'{"reader":1,"evidence":{"kind":"means","difference":0.0,"variance":0.0,"weight":0.0,"blocks":0,"test":1}}',
        json.dumps({"reader": 1, "evidence": {**as_plain(STATE), "test": as_plain(OddsTest())}}).encode(),
        b'{"reader":1,"evidence":' + b'{"kind":"restarts","planned":0,"copies":[' * 20_000,
    ],
    ids=lambda blob: blob[:60].decode(),
)
def test_what_is_not_evidence_is_refused(blob: bytes) -> None:
    """Cut short, of another form, of another type, or not what its kind says."""
    with pytest.raises(EvidenceError):
        decode(blob)


def test_what_has_no_form_is_refused() -> None:
    """A value of another room, and a count that is no whole number."""
    with pytest.raises(EvidenceError):
        encode(object())
    with pytest.raises(EvidenceError):
        encode(Pairs(1.5))  # type: ignore[arg-type]


def test_copies_come_back_with_their_kind() -> None:
    """A state within a state within a state."""
    nested = Restarts((STATE, STATE.add(1, 50)), 4)
    assert decode(encode(nested)) == nested
