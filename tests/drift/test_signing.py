"""Signatures: what is signed is heard, and nothing else is, at no other time."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from drift.errors import Unfit
from drift.signing import ID, MOST_SECRETS, SIGNATURE, TIMESTAMP, Forged, Stale, check, secrets_in, signed

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([one]) * 32).decode()}" for one in (1, 2, 3))
NOW_S = 1_800_000_000.4
BODY = b'{"type": "drift.test"}'


def test_what_is_signed_is_as_standard_webhooks_have_it() -> None:
    """Their library finds our signature, whichever secret it has."""
    now = datetime.now(UTC)
    headers = signed([NEW, OLD], "msg_1", now.timestamp(), BODY)
    for secret in (OLD, NEW):
        assert Webhook(secret).verify(BODY, headers) == {"type": "drift.test"}


def test_what_their_library_signs_is_heard() -> None:
    """By its id and its time."""
    headers = {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(NOW_S)),
        "WEBHOOK-SIGNATURE": Webhook(OLD).sign("msg_1", datetime.fromtimestamp(int(NOW_S), UTC), BODY.decode()),
    }
    assert check([OLD], headers, BODY, NOW_S) == ("msg_1", float(int(NOW_S)))


@pytest.mark.parametrize(("ours", "theirs"), [([NEW, OLD], [OLD]), ([OLD], [NEW, OLD]), ([NEW, OLD], [NEW])])
def test_a_secret_is_replaced_without_a_delivery_that_fails(ours: list[str], theirs: list[str]) -> None:
    """One that both have will do, whatever else either has."""
    check(theirs, signed(ours, "msg_1", NOW_S, BODY), BODY, NOW_S)


@given(at=st.integers(0, len(BODY) - 1), by=st.integers(1, 255))
def test_a_body_that_was_changed_is_forged(at: int, by: int) -> None:
    """In any byte."""
    changed = bytes(one ^ (by if nth == at else 0) for nth, one in enumerate(BODY))
    with pytest.raises(Forged):
        check([NEW], signed([NEW], "msg_1", NOW_S, BODY), changed, NOW_S)


@pytest.mark.parametrize(
    "changes",
    [
        {ID: "msg_2"}, {ID: ""}, {ID: "msg 1"}, {ID: "m" * 257}, {ID: "msg_\xe9"}, {TIMESTAMP: "1800000001"},
        {TIMESTAMP: ""}, {TIMESTAMP: "1.8e9"}, {TIMESTAMP: "-5"}, {TIMESTAMP: "\u0661"}, {TIMESTAMP: "9" * 12},
        {TIMESTAMP: "nan"},
        {SIGNATURE: ""}, {SIGNATURE: "v1"}, {SIGNATURE: "v1,"}, {SIGNATURE: "v1,%%%"}, {SIGNATURE: "v1,\xe9"},
        {SIGNATURE: " ".join(["v1,AAAA"] * 1_000)},
    ],
)  # fmt: skip
def test_headers_of_any_kind_are_forged(changes: dict[str, str]) -> None:
    """Refused in a sentence, and never a crash."""
    headers = signed([NEW], "msg_1", NOW_S, BODY) | changes
    with pytest.raises(Forged):
        check([NEW], headers, BODY, NOW_S)


def test_headers_that_are_missing_are_forged() -> None:
    """Each of the three is needed."""
    for name in (ID, TIMESTAMP, SIGNATURE):
        headers = signed([NEW], "msg_1", NOW_S, BODY)
        del headers[name]
        with pytest.raises(Forged):
            check([NEW], headers, BODY, NOW_S)


def test_another_ones_secret_is_forged() -> None:
    """Also where there are several."""
    with pytest.raises(Forged):
        check([NEW, OLD], signed([OTHER], "msg_1", NOW_S, BODY), BODY, NOW_S)


def test_no_secret_at_all_lets_nobody_in() -> None:
    """Not even an empty signature."""
    with pytest.raises(Forged):
        check([], signed([NEW], "msg_1", NOW_S, BODY), BODY, NOW_S)


@given(late_s=st.floats(-1e6, 1e6), tolerance_s=st.floats(1, 1e4))
def test_what_was_signed_at_another_time_is_stale(late_s: float, tolerance_s: float) -> None:
    """Before as well as after: what was signed counts in whole seconds."""
    headers = signed([NEW], "msg_1", NOW_S, BODY)
    now_s = int(NOW_S) + late_s
    if abs(now_s - int(NOW_S)) <= tolerance_s:
        check([NEW], headers, BODY, now_s, tolerance_s)
    else:
        with pytest.raises(Stale):
            check([NEW], headers, BODY, now_s, tolerance_s)


def test_a_clock_that_is_none_hears_nothing() -> None:
    """A time that compares with nothing is no time within the tolerance."""
    with pytest.raises(Stale):
        check([NEW], signed([NEW], "msg_1", NOW_S, BODY), BODY, float("nan"))


def test_a_file_holds_secrets_the_newest_first() -> None:
    """With notes between them."""
    assert secrets_in(f"# since May\n{NEW}\r\n\n  {OLD}  \n") == (NEW, OLD)


@pytest.mark.parametrize("text", ["", "# none", "whsec_", "whsec_AAAA", NEW[6:], f"{NEW}\nsecret", f"{NEW}\n" * 5])
def test_a_file_of_anything_else_is_refused(text: str) -> None:
    """All of it, and without a word of it."""
    assert MOST_SECRETS < 5
    with pytest.raises(Unfit) as refused:
        secrets_in(text)
    assert NEW not in refused.value.sentence
