"""What was found in the answers to a rollout's copies, over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from router.agreement import MOST_KEPT
from serving.control.api.desk import TheRollouts
from serving.control.rolling.differences import Rate, by_rate, is_representative, rate_of, shown_share, words_of
from serving.diffs import Diff, KeptPair, OutputDiff
from serving.pair_totals import Signs

routes = APIRouter(tags=["rollouts"])


class RateOut(BaseModel):
    """How often it happened, and what its rate may be: right at every look at level 5 %."""

    events: int
    total: int
    rate: Annotated[float | None, Field(description="null where there was none", examples=[0.021])]
    lower: float
    upper: float


class SignsOut(BaseModel):
    """Pairs by who did worse: only the candidate, only stable, both or neither."""

    worse: int
    better: int
    ties: int


class ConfusedOut(BaseModel):
    """What the candidate said where stable said something else, and how often."""

    stable: str
    candidate: str
    count: int


class OutputDiffOut(BaseModel):
    """One output."""

    output: Annotated[str, Field(examples=["label"])]
    disagreement: RateOut
    kinds: Annotated[dict[str, int], Field(description="values, shape, datatype, missing or extra")]
    largest: Annotated[float, Field(description="how far values were apart at most; 1.8e308 is infinitely")]
    confused: list[ConfusedOut]


class SegmentValueOut(BaseModel):
    """Requests that said one value in a header."""

    value: str
    disagreement: RateOut


class SegmentOut(BaseModel):
    """One header, and its values, the most disagreement first."""

    header: Annotated[str, Field(examples=["x-country"])]
    values: list[SegmentValueOut]


class PairOut(BaseModel):
    """One pair whose answers differ, with its inputs and both answers: values cut short, redacted ones left out."""

    request_id: str
    at: datetime
    epoch: int
    protocol: str
    badness: Annotated[float, Field(description="how many times what is tolerated; 1e9: shape, type or missing")]
    segment: dict[str, str]
    outputs: Annotated[dict[str, dict[str, Any]], Field(description="how each output differs")]
    inputs: dict[str, dict[str, Any]]
    stable: dict[str, dict[str, Any]]
    candidate: dict[str, dict[str, Any]]


class CandidateDiffOut(BaseModel):
    """What was found of one candidate's copies."""

    candidate: int
    stable: int
    epoch: Annotated[int, Field(description="the newest that a pair was answered under")]
    since: datetime
    at: datetime
    words: Annotated[list[str], Field(description="what stands out")]
    disagreement: RateOut
    noise: Annotated[RateOut | None, Field(description="stable against itself; null where it was not asked twice")]
    against_noise: Annotated[SignsOut, Field(description="whose answer differs from the client's")]
    errors: SignsOut
    slower: Annotated[SignsOut, Field(description="by 1.1 times")]
    unread: Annotated[int, Field(description="pairs of which an answer could not be read, or was too long")]
    offered: Annotated[int, Field(description="requests in the sample")]
    sent: int
    shed: Annotated[dict[str, int], Field(description="of which no copy was sent, by the reason")]
    dropped: Annotated[dict[str, int], Field(description="what was captured and not looked at, of all models")]
    shown: Annotated[float | None, Field(description="the part of the sample that was compared; null where unknown")]
    representative: bool | None
    outputs: list[OutputDiffOut]
    segments: list[SegmentOut]
    worst: list[PairOut]


class DiffOut(BaseModel):
    """What was found in the answers to a rollout's copies; no candidate where nothing was compared yet."""

    id: str
    model: str
    candidates: list[CandidateDiffOut]


@routes.get("/rollouts/{rollout}/diff", summary="How the answers to its copies differ from those that clients got")
async def _diff(
    rollouts: TheRollouts,
    rollout: str,
    worst: Annotated[int, Query(ge=0, le=MOST_KEPT, description="how many of the worst pairs of each")] = 20,
) -> DiffOut:
    record, diffs = await rollouts.differences(rollout)
    return DiffOut(id=record.id, model=record.model, candidates=[_candidate(one, worst) for one in diffs])


def _candidate(diff: Diff, worst: int) -> CandidateDiffOut:
    totals = diff.totals
    outputs = sorted(diff.outputs.items(), key=lambda one: (-one[1].disagreed, one[0]))
    noise = rate_of(totals.noise_disagreed, totals.noise_compared) if totals.noise_compared else None
    return CandidateDiffOut(
        candidate=totals.candidate,
        stable=totals.stable,
        epoch=totals.epoch,
        since=datetime.fromtimestamp(diff.since_s, UTC),
        at=datetime.fromtimestamp(diff.at_s, UTC),
        words=list(words_of(diff)),
        disagreement=_rate(rate_of(totals.disagreed, totals.compared)),
        noise=None if noise is None else _rate(noise),
        against_noise=_signs(totals.noise),
        errors=_signs(totals.errors),
        slower=_signs(totals.slower),
        unread=totals.unread,
        offered=totals.offered,
        sent=totals.sent,
        shed=dict(totals.shed),
        dropped=dict(diff.dropped),
        shown=shown_share(diff),
        representative=is_representative(diff),
        outputs=[_output(name, one) for name, one in outputs],
        segments=[_segment(header, by_rate(by)) for header, by in diff.segments.items()],
        worst=[_pair(one) for one in diff.worst[:worst]],
    )


def _rate(one: Rate) -> RateOut:
    return RateOut(events=one.events, total=one.total, rate=one.rate, lower=one.lower, upper=one.upper)


def _signs(one: Signs) -> SignsOut:
    return SignsOut(worse=one.worse, better=one.better, ties=one.ties)


def _output(name: str, one: OutputDiff) -> OutputDiffOut:
    confused = [ConfusedOut(stable=ours, candidate=its, count=n) for (ours, its), n in one.confused.items()]
    rate = _rate(rate_of(one.disagreed, one.compared))
    return OutputDiffOut(
        output=name, disagreement=rate, kinds=dict(one.kinds), largest=one.largest, confused=confused
    )  # fmt: skip


def _segment(header: str, rates: list[tuple[str, Rate]]) -> SegmentOut:
    return SegmentOut(
        header=header, values=[SegmentValueOut(value=value, disagreement=_rate(rate)) for value, rate in rates]
    )


def _pair(one: KeptPair) -> PairOut:
    return PairOut(
        request_id=one.request_id,
        at=datetime.fromtimestamp(one.at_s, UTC),
        epoch=one.epoch,
        protocol=one.protocol,
        badness=one.badness,
        segment=dict(one.segment),
        outputs={name: dict(how) for name, how in one.outputs.items()},
        inputs={name: dict(tensor) for name, tensor in one.inputs.items()},
        stable={name: dict(tensor) for name, tensor in one.first.items()},
        candidate={name: dict(tensor) for name, tensor in one.other.items()},
    )
