"""`sluice rollout diff`: what it asks for, and what it shows or prints."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from serving.control.api.differences import CandidateDiffOut, DiffOut, OutputDiffOut, PairOut, RateOut, SignsOut
from serving.control.diff_client import CandidateDiffAnswer, DiffAnswer, OutputDiffAnswer, PairAnswer, RateAnswer
from tests.serving.fake_rollouts import FakeRollouts
from tests.serving.rollout_commands import ONE, api
from tests.serving.test_cli import Command, sluice

__all__ = ["api", "sluice"]

AT = datetime(2026, 11, 20, 14, 3, 1, tzinfo=UTC)
NONE = SignsOut(worse=0, better=0, ties=9)
RATE = RateOut(events=1, total=4, rate=0.25, lower=0.01, upper=0.9)
LABEL = OutputDiffOut(output="label", disagreement=RATE, kinds={"shape": 1}, largest=1.8e308, confused=[])
PAIR = PairOut(
    request_id="r1", at=AT, epoch=1, protocol="grpc", badness=1e9, segment={}, outputs={"label": {"kind": "shape"}},
    inputs={"x": {"datatype": "FP32", "shape": [2], "values": [0.5, "nan"], "cut": True}}, stable={}, candidate={},
)  # fmt: skip
FOUND = DiffOut(
    id="ro_0123456789ab", model="digits", candidates=[CandidateDiffOut(
        candidate=2, stable=1, epoch=7, since=AT, at=AT, words=["one thing stands out"], disagreement=RATE, noise=RATE,
        against_noise=NONE, errors=NONE, slower=NONE, unread=3, offered=10, sent=8, shed={"queue": 2}, dropped={},
        shown=0.5, representative=False, outputs=[LABEL], segments=[], worst=[PAIR],
    )],
).model_dump(mode="json")  # fmt: skip


def test_a_diff_is_shown_and_printed(sluice: Command, api: FakeRollouts) -> None:
    """What stands out first; with --json what the API says, and nothing else."""
    api.found = FOUND
    ran = sluice("rollout", "diff", "digits", "--worst", "7")
    assert ran.code == 0, ran.err
    assert (api.asked[-1].line, api.asked[-1].query["worst"]) == (f"GET {ONE}/diff", ["7"])
    for words in (
        "- one thing stands out", "25 % (1 to 90 %) of 4", "infinitely", "2 shed (queue 2)", "50 % compared: not repr",
        "of another form", 'FP32[2] [0.5, "nan"] …', "stable    -",
    ):  # fmt: skip
        assert words in ran.out, words
    assert json.loads(sluice("rollout", "diff", "digits", "--json").out) == FOUND


def test_client_and_api_mean_the_same_keys() -> None:
    """Every key that the client reads is one that the API answers with."""
    pairs: list[tuple[Any, Any]] = [
        (DiffAnswer, DiffOut), (CandidateDiffAnswer, CandidateDiffOut), (OutputDiffAnswer, OutputDiffOut),
        (PairAnswer, PairOut), (RateAnswer, RateOut),
    ]  # fmt: skip
    for ours, theirs in pairs:
        assert set(ours.__annotations__) == set(theirs.model_fields)
