"""Shapes of what the API says of drift, and how they are made of what is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BaseModel, Field

from drift.explaining import Change
from drift.status import LayerStatus, Status, WindowSeen
from registry.baselines import BaselineRecord
from serving.control.watched import Seen, ToldFinding

_LAST_S: Final = 253_402_300_799  # of the year 9999


class LayerOut(BaseModel):
    """What one layer said of the last window, and the evidence that it has added up."""

    layer: Annotated[str, Field(examples=["univariate"])]
    statistic: str
    value: float
    threshold: Annotated[float, Field(description="the value that one calm window in twenty exceeds")]
    p_value: Annotated[float, Field(description="of the last window alone")]
    log_sum: Annotated[float, Field(description="the log of the evidence that was added up; 0 where there is none")]
    log_alarm: Annotated[float, Field(description="the log of what it takes to alarm")]
    since: Annotated[datetime | None, Field(description="when that evidence began to rise")]
    waiting: Annotated[str, Field(description="why nothing was measured; empty where it was")]
    features: Annotated[list[str], Field(description="those that moved in the last window, the farthest first")]


class EpisodeOut(BaseModel):
    """The drift that is under way, or the last one; findings of it have the same id."""

    id: str
    since: datetime
    raised: datetime
    closed: datetime | None
    layers: list[str]


class SamplesOut(BaseModel):
    """What became of a model's samples, running totals over all of its gateways."""

    offered: int
    dropped: Annotated[int, Field(description="by gateways, which keep to what they may send")]
    lost: Annotated[int, Field(description="fell off the stream before anybody read them")]
    unreadable: int
    pending: Annotated[int, Field(description="in the stream, and not counted yet")]


class StatusOut(BaseModel):
    """How one version is watched."""

    model: str
    version: int
    sentence: Annotated[str, Field(description="how it stands, such as why nothing is measured")]
    drifting: bool
    sidecar: str
    told: Annotated[datetime, Field(description="when the sidecar said so")]
    baseline: Annotated[str, Field(description="its digest; empty where there is none")]
    learned: bool
    learning: Annotated[int | None, Field(description="rows so far, where a baseline is being learned")]
    learn_rows: int
    backend: str
    rows: int
    windows: int
    heard: Annotated[datetime | None, Field(description="when the last window ended")]
    rows_under_way: Annotated[int, Field(description="in the window that is being filled")]
    rows_wanted: Annotated[int, Field(description="at which it may close")]
    layers: list[LayerOut]
    strata: Annotated[str, Field(description="the hours that the last window was compared with; empty for all alike")]
    episode: EpisodeOut | None
    samples: SamplesOut
    encoders: Annotated[list[str], Field(description="which model makes an embedding of which input, in words")]


class StatusesOut(BaseModel):
    """How each version is watched, by model and version."""

    versions: list[StatusOut]


class LayerSeenOut(BaseModel):
    """What one layer said of a window."""

    value: float
    threshold: float
    log_e: float
    log_sum: float


class WindowOut(BaseModel):
    """One window of the past."""

    first: datetime
    last: datetime
    rows: int
    baseline: str
    log_alarm: float
    alarmed: bool
    episode: str
    layers: dict[str, LayerSeenOut]
    strata: Annotated[str, Field(description="the hours that it was compared with; empty where all are alike")]


class BarOut(BaseModel):
    """One bar of two histograms: shares of rows."""

    name: Annotated[str, Field(description="the interval or the level; empty for the rarest levels together")]
    before: float
    after: float


class FeatureOut(BaseModel):
    """One feature, before and after."""

    name: str
    score: Annotated[float, Field(description="standard deviations of calm windows")]
    variation: Annotated[float, Field(description="total variation from the reference, 0 to 1")]
    stability: Annotated[float, Field(description="population stability index")]
    share: Annotated[float, Field(description="its part of all that moved")]
    bars: list[BarOut]


class SegmentOut(BaseModel):
    """Rows alike in one feature in which alone another one moved."""

    feature: str
    name: str
    share: float
    inside: Annotated[float, Field(description="how far it moved within, total variation")]
    outside: float


class BreakOut(BaseModel):
    """A column that is not what it was."""

    how: str
    column: str
    sentence: str


class FindingOut(BaseModel):
    """One layer's alarm."""

    id: str
    at: datetime
    words: Annotated[str, Field(examples=["digits version 3, univariate: x[2] moved by 0.31 (total variation)"])]
    model: str
    version: int
    baseline: str
    layer: str
    statistic: str
    value: float
    threshold: float
    p_value: float
    log_sum: float
    log_alarm: float
    first: datetime
    last: datetime
    rows: int
    since: datetime
    episode: str
    features: Annotated[list[FeatureOut], Field(description="ranked by what they contributed")]
    segment: SegmentOut | None
    breaks: list[BreakOut]


class FindingsOut(BaseModel):
    """Findings: newest first, or oldest first where those after one were asked for."""

    findings: list[FindingOut]


class BaselineOut(BaseModel):
    """What a version is held against."""

    model: str
    version: int
    digest: str
    size_bytes: int
    rows: int
    learned: bool
    made: datetime
    kept_by: str
    again: Annotated[bool, Field(description="whether these very bytes were kept before they were brought")] = False


class BaselinesOut(BaseModel):
    """What versions are held against, by model and version."""

    baselines: list[BaselineOut]


class SeenOut(BaseModel):
    """One version: how it is watched, the windows that are remembered (oldest first), its newest findings."""

    model: str
    version: int
    status: StatusOut | None
    baseline: BaselineOut | None
    windows: list[WindowOut]
    findings: list[FindingOut]


def seen_out(model: str, version: int, seen: Seen) -> SeenOut:
    """One version, and what is known of it."""
    return SeenOut(
        model=model,
        version=version,
        status=None if seen.status is None else status_out(seen.status),
        baseline=None if seen.baseline is None else baseline_out(seen.baseline),
        windows=[window_out(one) for one in seen.windows],
        findings=[finding_out(one) for one in seen.findings],
    )


def _at(seconds: float) -> datetime:
    """That moment; of one that no calendar has, the nearest that it has."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LAST_S), UTC)


def _maybe_at(seconds: float | None) -> datetime | None:
    return None if seconds is None else _at(seconds)


def status_out(one: Status) -> StatusOut:
    """How one version is watched."""
    episode = one.episode
    return StatusOut(
        model=one.model,
        version=one.version,
        sentence=one.sentence,
        drifting=one.is_drifting,
        sidecar=one.sidecar,
        told=_at(one.told_s),
        baseline=one.baseline,
        learned=one.learned,
        learning=one.learning,
        learn_rows=one.learn_rows,
        backend=one.backend,
        rows=one.rows,
        windows=one.windows,
        heard=_maybe_at(one.heard_s),
        rows_under_way=one.under_way.rows,
        rows_wanted=one.under_way.wanted_rows,
        layers=[_layer(layer) for layer in one.layers],
        strata=one.strata,
        episode=None
        if episode is None
        else EpisodeOut(
            id=episode.identity,
            since=_at(episode.since_s),
            raised=_at(episode.raised_s),
            closed=_maybe_at(episode.closed_s),
            layers=list(episode.layers),
        ),
        samples=SamplesOut.model_validate(one.samples, from_attributes=True),
        encoders=list(one.encoders),
    )


def _layer(one: LayerStatus) -> LayerOut:
    return LayerOut(
        layer=one.layer,
        statistic=one.statistic,
        value=one.value,
        threshold=one.threshold,
        p_value=one.p_value,
        log_sum=one.log_sum,
        log_alarm=one.log_alarm,
        since=_maybe_at(one.since_s),
        waiting=one.waiting,
        features=list(one.features),
    )


def window_out(one: WindowSeen) -> WindowOut:
    """One window of the past."""
    return WindowOut(
        first=_at(one.first_s),
        last=_at(one.last_s),
        rows=one.rows,
        baseline=one.baseline,
        log_alarm=one.log_alarm,
        alarmed=one.alarmed,
        episode=one.episode,
        layers={name: LayerSeenOut.model_validate(of, from_attributes=True) for name, of in one.layers.items()},
        strata=one.strata,
    )


def finding_out(told: ToldFinding) -> FindingOut:
    """One layer's alarm."""
    one = told.finding
    return FindingOut(
        id=told.id,
        at=_at(int(told.id.partition("-")[0]) / 1000),
        words=str(one),
        model=one.model,
        version=one.version,
        baseline=one.baseline,
        layer=one.layer.value,
        statistic=one.statistic,
        value=one.value,
        threshold=one.threshold,
        p_value=one.p_value,
        log_sum=one.log_sum,
        log_alarm=one.log_alarm,
        first=_at(one.span.first_s),
        last=_at(one.span.last_s),
        rows=one.span.rows,
        since=_at(one.since_s),
        episode=one.episode,
        features=_features(one.changes),
        segment=None if one.segment is None else SegmentOut.model_validate(one.segment, from_attributes=True),
        breaks=[BreakOut(how=of.how.value, column=of.column, sentence=of.sentence) for of in one.breaks],
    )


def _features(changes: Sequence[Change]) -> list[FeatureOut]:
    return [
        FeatureOut(
            name=one.moved.feature,
            score=one.moved.score,
            variation=one.moved.variation,
            stability=one.moved.stability,
            share=one.share,
            bars=[BarOut.model_validate(bar, from_attributes=True) for bar in one.bars],
        )
        for one in changes
    ]


def baseline_out(one: BaselineRecord, *, again: bool = False) -> BaselineOut:
    """What a version is held against; whether it was so before somebody brought it again."""
    return BaselineOut(
        model=str(one.model),
        version=int(one.version),
        digest=one.digest,
        size_bytes=one.size_bytes,
        rows=one.rows,
        learned=one.learned,
        made=_at(one.made_at_s),
        kept_by=one.kept_by,
        again=again,
    )
