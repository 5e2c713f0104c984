"""The rows that an episode of drift rests on, over HTTP, as Parquet: what clients sent, for whoever trains anew."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from serving.control.api.desk import desk_of
from serving.control.captured_windows import CapturedWindows
from serving.control.errors import Unacceptable

routes = APIRouter(prefix="/drift", tags=["drift"])

MEDIA_TYPE = "application/vnd.apache.parquet"

EpisodeId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def _windows(request: Request) -> CapturedWindows:
    found = desk_of(request).windows
    if found is None:
        raise Unacceptable("This control room keeps no rows.", "Ask one that serves a registry.")
    return found


@routes.get(
    "/episodes/{episode}/window.parquet",
    summary="The rows that an episode rests on, as Parquet",
    description="A row is one version's answer to one request; docs/drift.md has the columns.",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "the file"}},
)
async def _window(windows: Annotated[CapturedWindows, Depends(_windows)], episode: EpisodeId) -> Response:
    captured = await windows.parquet(episode)
    shown = {
        "Content-Disposition": f'attachment; filename="{episode}.parquet"',
        "Sluice-Rows": str(captured.rows),
    }
    return Response(captured.parquet, media_type=MEDIA_TYPE, headers=shown)
