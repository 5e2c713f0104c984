"""What the proof of access is judged by: endings by their slowest gateway, and every figure from both sides."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import httpx
import jwt
import pytest

from loadtests.access.__main__ import Showing, _sizes
from loadtests.access.found import Asked, Ending, Found, Heard, judge
from loadtests.access.issuer import ALGORITHM, AUDIENCE, NAME, SigningKey, issuer
from loadtests.installation import Installation
from loadtests.steady import Answer

KEY = SigningKey("first")
ENDS = Ending(10.0, {1: [Asked(10.0, 10.1, let_in=True), Asked(10.2, 10.3, let_in=False)]}, 10.5)


def _good() -> Found:
    """A run that shows what it should."""
    heard = Heard(count=1_000)
    return Found(3, [ENDS] * 50, in_vain=2, known_while_away=3, unknown_while_away=3, new_s=2.0, old=ENDS, heard=heard)


def test_an_ending_takes_until_the_slowest_gateway_refuses() -> None:
    """From its beginning to that one's first refusal."""
    quick, slow = [Asked(1.0, 1.1, let_in=False)], [Asked(1.0, 1.2, let_in=True), Asked(1.3, 1.4, let_in=False)]
    assert Ending(1.0, {1: quick, 2: slow}).took_s == pytest.approx(0.4)


def test_an_ending_that_one_gateway_never_heard_of_never_ends() -> None:
    """However soon the others refuse; and nobody asked is nobody who refused."""
    deaf = [Asked(1.0, 1.1, let_in=True), Asked(9.0, 9.1, let_in=True)]
    assert math.isinf(Ending(1.0, {1: [Asked(1.0, 1.1, let_in=False)], 2: deaf}).took_s)
    assert math.isinf(Ending(1.0, {}).took_s)


def test_a_refusal_before_the_end_began_is_not_its_end() -> None:
    """Such as one of a key that had not been good at all."""
    assert math.isinf(Ending(5.0, {1: [Asked(1.0, 1.1, let_in=False)]}).took_s)


def test_what_was_sent_after_the_revocation_was_answered_and_let_in_is_late() -> None:
    """What was under way before that is not."""
    said = [Asked(1.0, 2.5, let_in=True), Asked(2.1, 2.2, let_in=True), Asked(2.3, 2.4, let_in=False)]
    assert Ending(0.5, {1: said}, told_s=2.0).late == 1
    assert Ending(0.5, {1: said}).late == 0


def test_a_good_run_has_nothing_that_falls_short() -> None:
    """Each figure's line says so."""
    lines = [figure.line for figure in judge(_good())]
    assert [line for line in lines if not line.startswith("ok   ")] == []
    assert "ok   the same, p99 (at most 1,000 ms): 300 ms" in lines


@pytest.mark.parametrize(
    "bad",
    [
        {"revoked": []},
        {"revoked": [*[ENDS] * 49, replace(ENDS, asked={1: [Asked(11.0, 11.1, let_in=False)]})]},
        {"revoked": [replace(ENDS, told_s=9.9)]},
        {"in_vain": 0},
        {"known_while_away": 2},
        {"unknown_while_away": 2},
        {"new_s": 5.1},
        {"old": Ending(10.0, {})},
        {"heard": Heard()},
        {"heard": Heard(count=1_000, failed=1)},
    ],
)
def test_each_thing_that_goes_wrong_makes_a_figure_fall_short(bad: dict[str, object]) -> None:
    """Even if it did so once, on one gateway; and what was not measured is not good."""
    found = _good()
    for name, value in bad.items():
        setattr(found, name, value)
    assert any(not figure.good for figure in judge(found))


def test_whoever_is_turned_away_from_the_load_is_counted_and_told() -> None:
    """With the gateway's words, or with why there was no answer; a few of them."""
    heard = Heard()
    heard.hear(Answer(0, 0.0, 0.001, 200))
    for number in range(1, 10):
        heard.hear(Answer(number, 0.0, 0.001, 401, body=b"no"))
    heard.hear(Answer(10, 0.0, 0.001, 0, error="lost"))
    assert (heard.count, heard.failed, len(heard.told)) == (11, 10, 5)
    assert heard.told[0] == "request 1: 401 no"


def test_the_load_shows_a_key_and_a_token_in_turn() -> None:
    """What is shown may be replaced while it goes on."""
    showing = Showing("the-key", "the-token")
    assert b"authorization: Bearer the-key\r\n" in showing.request(0)
    assert b"authorization: Bearer the-token\r\n" in showing.request(1)
    showing.token = "the-next"
    assert b"authorization: Bearer the-next\r\n" in showing.request(3)
    assert showing.request(0) != showing.request(2)


def test_a_token_can_be_checked_with_what_its_issuer_publishes() -> None:
    """And with no other key of theirs."""
    token = KEY.token("somebody")
    claims = jwt.decode(token, jwt.PyJWK(KEY.published), algorithms=[ALGORITHM], audience=AUDIENCE, issuer=NAME)
    assert claims["sub"] == "somebody"
    assert "d" not in KEY.published
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(token, jwt.PyJWK(SigningKey("other").published), algorithms=[ALGORITHM], audience=AUDIENCE)


def test_an_issuer_that_is_away_answers_nobody_and_counts_them() -> None:
    """Back again, it says when it first showed a set without a key."""
    with issuer([KEY]) as tokens:
        assert [key["kid"] for key in json.loads(httpx.get(tokens.url).content)["keys"]] == ["first"]
        tokens.away = True
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(tokens.url)
        assert tokens.in_vain == 1
        tokens.away = False
        assert tokens.fetched_without("first", 0.0) is None
        tokens.publish()
        assert httpx.get(tokens.url).json() == {"keys": []}
        at_s = tokens.fetched_without("first", 0.0)
        assert at_s is not None
        assert tokens.fetched_without("first", at_s + 1.0) is None


async def test_a_key_is_shown_to_the_control_api_where_there_is_one() -> None:
    """An installation that asks nobody is shown nothing."""
    running = Installation("http://127.0.0.1:1", "http://127.0.0.1:2", None, 0)  # type: ignore[arg-type]
    async with running.client("the-key") as guarded, running.client() as open_to_all:
        assert guarded.headers["authorization"] == "Bearer the-key"
        assert "authorization" not in open_to_all.headers


def test_a_run_without_anything_to_see_is_wrong_usage() -> None:
    """Zero keys prove nothing, and would pass."""
    with pytest.raises(SystemExit) as ended:
        _sizes(["--keys", "0"])
    assert ended.value.code == 2
