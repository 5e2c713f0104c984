"""Break glass over HTTP: stable alone is served and no share grows, until that is taken back."""

from __future__ import annotations

from collections.abc import Collection
from time import monotonic

from fastapi import APIRouter

from serving.control.api.asked import JSON_ONLY, ModelName, Who
from serving.control.api.desk import TheRollouts
from serving.control.api.idempotent import IdempotencyKey, IdempotentRoute
from serving.control.api.policies import acknowledged_out
from serving.control.api.rollout_bodies import AskIn, StoppedOut, UnstoppedOut
from serving.control.api.rollout_shapes import Wait
from serving.control.rolling.service import Rollouts

routes = APIRouter(tags=["rollouts"], route_class=IdempotentRoute)


@routes.post("/models/{model}/stop", summary="Break glass for one model", dependencies=[JSON_ONLY])
async def _stop(
    *, rollouts: TheRollouts, model: ModelName, asked: AskIn, who: Who, wait_s: Wait = 2.0,
    idempotency_key: IdempotencyKey = None,
) -> StoppedOut:  # fmt: skip
    del idempotency_key
    return await _stopped(rollouts, [model], who, asked.why, wait_s)


@routes.post("/stop", summary="Break glass for everything", dependencies=[JSON_ONLY])
async def _stop_all(
    *, rollouts: TheRollouts, asked: AskIn, who: Who, wait_s: Wait = 2.0, idempotency_key: IdempotencyKey = None
) -> StoppedOut:
    del idempotency_key
    return await _stopped(rollouts, None, who, asked.why, wait_s)


@routes.post("/models/{model}/unstop", summary="Take a model's stop back", dependencies=[JSON_ONLY])
async def _unstop(
    *, rollouts: TheRollouts, model: ModelName, asked: AskIn, who: Who, idempotency_key: IdempotencyKey = None
) -> UnstoppedOut:
    del idempotency_key
    return UnstoppedOut(unstopped=list(await rollouts.unstop(model, who=who, why=asked.why)))


@routes.post("/unstop", summary="Take every stop back", dependencies=[JSON_ONLY])
async def _unstop_all(
    *, rollouts: TheRollouts, asked: AskIn, who: Who, idempotency_key: IdempotencyKey = None
) -> UnstoppedOut:
    del idempotency_key
    return UnstoppedOut(unstopped=list(await rollouts.unstop(None, who=who, why=asked.why)))


async def _stopped(rollouts: Rollouts, models: Collection[str] | None, who: str, why: str, wait_s: float) -> StoppedOut:
    began = monotonic()
    done, seen = await rollouts.stop(models, who=who, why=why, wait_s=wait_s)
    return StoppedOut(
        stopped=list(done.models),
        rolled_back=list(done.rolled_back),
        unread=list(done.unread),
        epoch=done.answer.head.epoch if done.published else None,
        acknowledged=None if seen is None else acknowledged_out(seen),
        took_ms=round((monotonic() - began) * 1000, 1),
    )
