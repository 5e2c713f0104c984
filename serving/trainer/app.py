"""What the trainer answers: webhooks are verified, written down and answered at once; what becomes of them is shown."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from drift.webhooks import LONGEST_BODY, Event, Kind, Malformed, Part, Unverified, verify
from serving.errors import SluiceError
from serving.trainer.diary import Episode
from serving.trainer.worker import Worker

HOOK: Final = "/hooks/retrain"

_GRACE_S: Final = 5.0
_SHOWN: Final = 100
"""Episodes, the newest."""

_log = structlog.get_logger(__name__)

Secrets = Callable[[], Sequence[str]]
"""The secrets of the webhook, the newest first; asked for each delivery, so that a file may change."""


def create_app(worker: Worker, model: str, secrets: Secrets, clock: Callable[[], float] = time.time) -> FastAPI:
    """The application; while it runs, so does the worker.

    Args:
        worker: does the work.
        model: whose episodes are heard.
        secrets: of the webhook.
        clock: seconds since 1970.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # A daemon: a step may take minutes, and whatever was under way is done again with the next start.
        thread = threading.Thread(target=worker.run, name="episodes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            worker.end()
            await run_in_threadpool(thread.join, _GRACE_S)

    app = FastAPI(title="Sluice example trainer", lifespan=lifespan, docs_url=None, redoc_url=None)

    @app.post(HOOK)
    async def hear(request: Request) -> JSONResponse:
        body = await _body(request)
        if body is None:
            return _said(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the body is too long for a message of drift")
        try:
            event = verify(await run_in_threadpool(secrets), request.headers, body, clock())
        except Malformed as error:
            return _refused(HTTPStatus.BAD_REQUEST, error)
        except Unverified as error:
            return _refused(HTTPStatus.UNAUTHORIZED, error)
        except SluiceError as error:
            return _refused(HTTPStatus.SERVICE_UNAVAILABLE, error)
        episode = _episode_in(event, clock())
        if episode is None or episode.model != model:
            return _said(HTTPStatus.OK, "nothing is done about it here")
        new = await run_in_threadpool(worker.hear, episode)
        return _said(HTTPStatus.ACCEPTED if new else HTTPStatus.OK, "heard" if new else "heard before")

    @app.get("/status")
    async def status() -> dict[str, Any]:
        return {"model": model, "episodes": [asdict(one) for one in worker.episodes[-_SHOWN:]]}

    @app.get("/healthz")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    return app


def _episode_in(event: Event, now_s: float) -> Episode | None:
    """The episode that asks for retraining; None where nothing does."""
    action = event.action
    if event.kind is not Kind.RETRAIN or action is None:
        return None
    stable = next((one.version for one in action.versions if one.role is Part.STABLE), None)
    return Episode(
        action.episode, action.model, action.cause.value, stable, action.window.parquet, now_s, moved_s=now_s
    )


async def _body(request: Request) -> bytes | None:
    """At most so many bytes; None where there are more."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > LONGEST_BODY:
            return None
    return body


def _refused(status: HTTPStatus, error: Unverified | SluiceError) -> JSONResponse:
    _log.warning("a delivery is refused", status=int(status), why=error.sentence)
    return _said(status, " ".join(filter(None, (error.sentence, error.hint))))


def _said(status: HTTPStatus, words: str) -> JSONResponse:
    return JSONResponse({"words": words}, status)
