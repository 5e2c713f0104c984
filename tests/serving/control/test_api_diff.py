"""What was found in the answers to copies, over HTTP and at a terminal: how often, where, and whether it is enough."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from serving.control.api.differences import DiffOut
from serving.control.diff_client import DiffAnswer
from serving.control.rolling.differences import by_rate, is_representative, rate_of, shown_share, words_of
from serving.diff_tables import show_diff
from serving.diffs import OTHER, Diff, KeptPair, OutputDiff, SegmentDiff
from serving.pair_totals import PairTotals, Signs
from tests.serving.control.test_api_rollouts import Api, api

__all__ = ["api"]

SHADOWED = {"candidate": 2, "shadow": {"version": 2, "sample": "100%", "for": "1h"}}
TENSOR = {"datatype": "BYTES", "shape": [1], "values": ["cat\x1b[2J"], "cut": False}
PAIR = KeptPair(
    "req-1", 1_000.0, 7, "http", 2.0, {"x-country": "nl"}, {"label": {"kind": "values", "size": 1.0}},
    {"ssn": {"datatype": "BYTES", "shape": [1], "redacted": True}}, {"label": TENSOR}, {"label": TENSOR},
)  # fmt: skip
PLANTED = Diff(
    PairTotals(
        "digits", "shadow", 1, 2, 7, 1_000, 50, Signs(3, 0, 997), Signs(1, 2, 997), offered=1_000, sent=1_000
    ),
    1_000.0,
    1_060.0,
    {"label": OutputDiff(1_000, 50, {"values": 50}, 1.0, {("cat", "dog"): 50}), "score": OutputDiff(1_000)},
    {"x-country": {"nl": SegmentDiff(50, 50), "de": SegmentDiff(949, 0), "xx": SegmentDiff(1, 0)}},
    (PAIR,),
    20,
    {"queue": 1},
)  # fmt: skip


async def started(api: Api, *diffs: Diff) -> str:
    """A rollout of copies, and what keepers left of it."""
    rollout = await api.start(SHADOWED)
    (shadow_of_it,) = rollout["plan"]["stages"][0]["shadows"]
    for nth, diff in enumerate(diffs):
        totals = replace(diff.totals, salt=shadow_of_it["salt"])
        await api.room.store.keeper_leaves(f"gw-{nth}", replace(diff, totals=totals))
    return str(rollout["id"])


async def told(api: Api, rollout: str, **params: int) -> dict[str, Any]:
    """The answer."""
    answer = await api.http.get(f"/api/v1/rollouts/{rollout}/diff", params=params)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


async def test_a_planted_disagreement_is_pointed_at(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """The output, what is taken for what, the segment, and the worst pair with what was asked and answered."""
    said = await told(api, await started(api, PLANTED))
    (one,) = said["candidates"]
    assert (one["disagreement"]["events"], one["disagreement"]["total"], one["disagreement"]["rate"]) == (
        50,
        1_000,
        0.05,
    )
    assert one["disagreement"]["lower"] < 0.05 < one["disagreement"]["upper"]
    assert [of["output"] for of in one["outputs"]] == ["label", "score"]
    assert one["outputs"][0]["confused"] == [{"stable": "cat", "candidate": "dog", "count": 50}]
    assert [by["value"] for by in one["segments"][0]["values"]] == ["nl", "de", "xx"]
    assert (one["representative"], one["shown"], one["noise"]) == (True, 1.0, None)
    assert any("where x-country is 'nl' it is 100 %" in words and "elsewhere 0 %" in words for words in one["words"])
    assert any("'dog' in place of 'cat' 50 times" in words for words in one["words"])
    assert DiffOut.model_validate(said)
    show_diff(cast("DiffAnswer", said))
    shown = capsys.readouterr().out
    for words in ("version 2 against version 1", "5 %", "cat > dog (50)", "x-country: nl", "redacted", "queue 1"):
        assert words in shown
    assert "\x1b" not in shown, "what a model said does not move the cursor"


async def test_what_several_keepers_found_is_added_up(api: Api) -> None:
    """Each gateway's keeper leaves its own; so many of the worst as are asked for."""
    rollout = await started(api, PLANTED, PLANTED)
    (one,) = (await told(api, rollout, worst=0))["candidates"]
    assert (one["disagreement"]["total"], one["dropped"], one["worst"]) == (2_000, {"queue": 2}, [])
    assert (await api.http.get(f"/api/v1/rollouts/{rollout}/diff", params={"worst": 101})).status_code == 422


async def test_nothing_is_found_before_anything_is_compared(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    """No candidate, a sentence at the terminal; and a rollout that there is not is a 404."""
    said = await told(api, await started(api))
    assert said["candidates"] == []
    show_diff(cast("DiffAnswer", said))
    assert "no pair of answers was compared so far" in capsys.readouterr().out
    assert (await api.http.get("/api/v1/rollouts/ro_000000000000/diff")).status_code == 404


async def test_damaged_findings_are_left_out(api: Api) -> None:
    """One keeper's nonsense does not take the others' away."""
    rollout = await started(api, PLANTED)
    for diffs in api.room.store._diffs.values():
        diffs["gw-9"] = b'{"reader":1,"worst":NaN}'
    assert (await told(api, rollout))["candidates"][0]["disagreement"]["total"] == 1_000


def test_the_noise_of_stable_is_what_a_candidate_is_held_against() -> None:
    """Where stable's two answers differ as often as the candidate's nothing is held against it."""
    totals = replace(PLANTED.totals, noise_compared=1_000, noise_disagreed=50)
    alike, more = (replace(totals, noise=Signs(*signs)) for signs in ((20, 20, 960), (60, 5, 935)))
    assert any("nothing shows" in words for words in words_of(replace(PLANTED, totals=alike)))
    assert any("differs more often" in words for words in words_of(replace(PLANTED, totals=more)))


@pytest.mark.parametrize(("shed", "unread", "lost", "shown"), [
    (0, 0, 0, 1.0), (380, 0, 0, 0.62), (0, 200, 0, 0.8), (0, 0, 150, 0.85), (50, 25, 25, 0.9),
])  # fmt: skip
def test_what_was_left_out_is_said(shed: int, unread: int, lost: int, shown: float) -> None:
    """Beyond a tenth of the sample, what was compared does not stand for it."""
    pairs = Signs(0, 0, 1_000 - shed - lost)
    totals = replace(PLANTED.totals, errors=pairs, sent=1_000 - shed, shed={"queue": shed}, unread=unread)
    diff = replace(PLANTED, totals=totals)
    assert shown_share(diff) == pytest.approx(shown)
    assert is_representative(diff) is (shown >= 0.9)
    assert any("not representative" in words for words in words_of(diff)) is (shown < 0.9)


def test_where_nobody_told_of_the_sample_nothing_is_claimed() -> None:
    """Neither that it stands for all, nor that it does not."""
    diff = replace(PLANTED, totals=replace(PLANTED.totals, offered=0, sent=0))
    assert (shown_share(diff), is_representative(diff)) == (None, None)


def test_a_segment_of_one_request_does_not_come_first() -> None:
    """By how often it surely differs; what is not told apart comes last."""
    by = {"one": SegmentDiff(1, 1), "many": SegmentDiff(1_000, 500), OTHER: SegmentDiff(9, 9)}
    assert [value for value, _ in by_rate(by)] == ["many", "one", OTHER]
    assert rate_of(0, 0).words() == "none of 0"
