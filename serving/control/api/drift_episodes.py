"""Episodes of drift over HTTP: whose fault it is, what was done about it, and what operators say to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field

from drift.attribution import Action, Cause
from drift.circumstances import Circumstances
from drift.incidents import Incident, Kind, Word
from serving.control.api.asked import JSON_ONLY, Body, ModelName, Who, Why
from serving.control.api.desk import desk_of
from serving.control.api.idempotent import IdempotencyKey, IdempotentRoute
from serving.control.errors import Unacceptable
from serving.control.rolling.drift_episodes import LONGEST_SILENCE_S, MOST_LISTED, Episodes, EpisodeView
from serving.control.rolling.drift_telling import data_of

routes = APIRouter(prefix="/drift", tags=["drift"], route_class=IdempotentRoute)

_NEXT: Final[Mapping[str, str]] = {
    "alert": "Somebody has to look.",
    "recommend": "It is recommended, and left to people.",
    "notify": "It is only told.",
    "nothing": "Nothing follows.",
}

EpisodeId = Annotated[str, Path(max_length=64, examples=["ep_5f0c5b0d6c1e77aa"])]


class SaidIn(Body):
    """A reason."""

    why: Why = ""


class AcknowledgeIn(Body):
    """Whether somebody has it in hand, and why."""

    undo: Annotated[bool, Field(strict=True, description="it is nobody's any more")] = False
    why: Why = ""


class SilenceIn(Body):
    """For how long nothing is told or done."""

    for_s: Annotated[float, Field(ge=0, le=LONGEST_SILENCE_S, allow_inf_nan=False, description="0 takes it back")]
    why: Why = ""


class WordOut(BaseModel):
    """What an operator said of it."""

    who: str
    why: str
    at: datetime
    until: Annotated[datetime | None, Field(description="null where it holds for good")]


class RaisedOut(BaseModel):
    """One layer's newest alarm of one version."""

    finding: str
    version: int
    layer: str
    since: datetime
    last: datetime
    rows: int
    words: str


class ModelEpisodeOut(BaseModel):
    """What drifts of one model at a time: all of its versions, and all that was found of them."""

    id: str
    model: str
    opened: datetime
    closed: Annotated[datetime | None, Field(description="null while any of its versions drifts")]
    over: Annotated[bool, Field(description="whether what is found from now on is another one")]
    cause: Annotated[Cause | None, Field(description="null until all versions were looked at")]
    action: Annotated[Action, Field(description="what is to be done about it")]
    words: str
    told: Annotated[Action, Field(description="the most that webhooks were told of it, as far as any hears")]
    acted: Annotated[Action, Field(description="what went out; at most one action does")]
    pending: Annotated[Action, Field(description="what waits for an approval")]
    paused: Annotated[str, Field(description="the rollout that was paused for it; empty for none")]
    acknowledged: WordOut | None
    silenced: Annotated[WordOut | None, Field(description="this one, or its model")]
    next: Annotated[str, Field(description="what happens now, in words")]
    raised: list[RaisedOut]


class ModelEpisodesOut(BaseModel):
    """Episodes, the newest first."""

    episodes: list[ModelEpisodeOut]


class ModelEpisodeDetailOut(ModelEpisodeOut):
    """One episode, with what webhooks would be told of it now."""

    revision: int
    data: Annotated[dict[str, Any], Field(description="as docs/drift-webhook.schema.json has it")]


class SilencesOut(BaseModel):
    """By model, the silences that hold."""

    silences: dict[str, WordOut]


class SilenceOut(BaseModel):
    """The model's silence; null where it was taken back."""

    model: str
    silence: WordOut | None


def _episodes(request: Request) -> Episodes:
    episodes = desk_of(request).episodes
    if episodes is None:
        raise Unacceptable("This control room keeps no episodes of drift.", "Ask one that walks rollouts.")
    return episodes


TheEpisodes = Annotated[Episodes, Depends(_episodes)]


@routes.get("/episodes", summary="What drifts, whose fault it is, and what was done about it")
async def _newest(
    episodes: TheEpisodes,
    model: Annotated[str | None, Query(max_length=256, description="of this model only")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 20,
) -> ModelEpisodesOut:
    return ModelEpisodesOut(episodes=[episode_out(one) for one in await episodes.newest(limit, model)])


@routes.get("/episodes/{episode}", summary="One episode, with all that it rests on")
async def _one(episodes: TheEpisodes, episode: EpisodeId) -> ModelEpisodeDetailOut:
    return detail_out(await episodes.episode(episode))


@routes.post(
    "/episodes/{episode}/approve",
    summary="Have done what waits for an approval",
    description="Webhooks hear of it as if it had gone out by itself.",
    dependencies=[JSON_ONLY],
)
async def _approve(
    *, episodes: TheEpisodes, episode: EpisodeId, asked: SaidIn, who: Who, idempotency_key: IdempotencyKey = None
) -> ModelEpisodeDetailOut:
    del idempotency_key
    return detail_out(await episodes.approve(episode, who=who, why=asked.why))


@routes.post(
    "/episodes/{episode}/acknowledge",
    summary="Say that somebody has it in hand",
    description="Nothing more is told of it then, or done, by itself; what waits for an approval may be approved.",
    dependencies=[JSON_ONLY],
)
async def _acknowledge(
    *, episodes: TheEpisodes, episode: EpisodeId, asked: AcknowledgeIn, who: Who,
    idempotency_key: IdempotencyKey = None,
) -> ModelEpisodeDetailOut:  # fmt: skip
    del idempotency_key
    return detail_out(await episodes.acknowledge(episode, who=who, why=asked.why, undo=asked.undo))


@routes.post(
    "/episodes/{episode}/silence",
    summary="Hear nothing of one episode for a time",
    description="What would have been told or done meanwhile is, once the time is over, if it still holds.",
    dependencies=[JSON_ONLY],
)
async def _silence(
    *, episodes: TheEpisodes, episode: EpisodeId, asked: SilenceIn, who: Who, idempotency_key: IdempotencyKey = None
) -> ModelEpisodeDetailOut:
    del idempotency_key
    return detail_out(await episodes.silence(episode, asked.for_s, who=who, why=asked.why))


@routes.get("/silences", summary="Of which models nobody hears that they drift")
async def _silences(episodes: TheEpisodes) -> SilencesOut:
    return SilencesOut(silences={model: word_out(word) for model, word in (await episodes.silences()).items()})


@routes.post(
    "/models/{model}/silence",
    summary="Hear nothing of one model's drift for a time",
    description="The ledger goes on saying what is found; a broken schema pauses nothing meanwhile.",
    dependencies=[JSON_ONLY],
)
async def _silence_model(
    *, episodes: TheEpisodes, model: ModelName, asked: SilenceIn, who: Who, idempotency_key: IdempotencyKey = None
) -> SilenceOut:
    del idempotency_key
    word = await episodes.silence_model(model, asked.for_s, who=who, why=asked.why)
    return SilenceOut(model=model, silence=None if word is None else word_out(word))


def episode_out(view: EpisodeView) -> ModelEpisodeOut:
    """An episode at a glance."""
    return ModelEpisodeOut(**_at_a_glance(view))


def detail_out(view: EpisodeView) -> ModelEpisodeDetailOut:
    """An episode in full."""
    incident = view.incident
    words = "" if incident.decided is None else incident.decided.words
    data = data_of(incident, view.known, Kind.OBSERVED, words)
    return ModelEpisodeDetailOut(**_at_a_glance(view), revision=incident.revision, data=data)


def word_out(word: Word) -> WordOut:
    """What an operator said."""
    return WordOut(who=word.who, why=word.why, at=_at(word.at_s), until=_at(word.until_s) if word.until_s else None)


def _at_a_glance(view: EpisodeView) -> dict[str, Any]:
    incident, decided = view.incident, view.incident.decided
    own = incident.silenced if incident.silenced and view.known.now_s < incident.silenced.until_s else None
    silence = own or view.silence
    return {
        "id": incident.identity,
        "model": incident.model,
        "opened": _at(incident.opened_s),
        "closed": None if incident.closed_s is None else _at(incident.closed_s),
        "over": incident.over,
        "cause": None if decided is None else decided.cause,
        "action": Action.NOTHING if decided is None else decided.action,
        "words": "" if decided is None else decided.words,
        "told": incident.told,
        "acted": incident.acted,
        "pending": incident.pending,
        "paused": incident.paused,
        "acknowledged": None if incident.acknowledged is None else word_out(incident.acknowledged),
        "silenced": None if silence is None else word_out(silence),
        "next": _next(incident, view.known, silence),
        "raised": [
            RaisedOut(
                finding=one.finding,
                version=one.version,
                layer=one.layer.value,
                since=_at(one.since_s),
                last=_at(one.last_s),
                rows=one.rows,
                words=one.words,
            )
            for _, one in sorted(incident.raised.items())
        ],
    }


def _next(incident: Incident, known: Circumstances, silence: Word | None) -> str:
    """What happens now, in words."""
    if incident.over or incident.closed_s is not None:
        return "Nothing drifts any more."
    if incident.acknowledged is not None:
        return f"{incident.acknowledged.who} has it in hand."
    if silence is not None:
        return f"Silent until {_at(silence.until_s):%Y-%m-%d %H:%M:%S} UTC."
    return _goes_on(incident, known)


def _goes_on(incident: Incident, known: Circumstances) -> str:
    if incident.decided is None:
        return "" if known.settled else "All versions are looked at before anybody is blamed."
    if incident.pending.acts:
        return f"It waits for an approval: sluice drift approve {incident.identity}"
    if incident.acted.acts:
        return f"The webhooks were told to {incident.acted.value}; nothing more goes out by itself."
    action = incident.decided.action
    return _NEXT.get(action.value, f"What would be done: {action.value} (drift.act is {known.settings.act.value}).")


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0.0), _LAST_S), UTC)


_LAST_S: Final = 253_402_300_799.0  # of the year 9999
