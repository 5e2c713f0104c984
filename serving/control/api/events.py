"""Changes as they happen, as server-sent events: the ledger's entries, each with its epoch where it has one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from serving.control.api.desk import TheDesk
from serving.control.api.ledger import ENTRY_ID, entry_out
from serving.control.errors import Unacceptable
from serving.control.publishing import Recorded
from serving.control.rolling.feed import Feed, is_later

routes = APIRouter(tags=["records"])

HEARTBEAT_S: Final = 15.0
_AGAIN_MS: Final = 2_000
_LOOK_S: Final = 1.0
"""How often it is looked whether the client has left."""


@routes.get(
    "/events",
    summary="What changes, as it changes",
    description=(
        "Server-sent events: `event` is `rollout.<what>` or the kind, `id` the ledger's, `data` the entry. With "
        "`Last-Event-ID` it goes on after that one. Whoever reads too slowly is sent `dropped` and cut off."
    ),
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events, until the client leaves."}},
)
async def _events(
    request: Request, desk: TheDesk, last_event_id: Annotated[str | None, Header(max_length=64)] = None
) -> StreamingResponse:
    if last_event_id and not ENTRY_ID.fullmatch(last_event_id):
        raise Unacceptable(f"Last-Event-ID: {last_event_id!r} is no id of ours.", "Send one that an event had.")
    newest = await desk.feed.newest()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = told(desk.feed, newest, last_event_id or "", request.is_disconnected)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def told(feed: Feed, newest: str, last: str, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
    """Events: what came after that id, and then what comes, until whoever reads is gone or too slow.

    Args:
        feed: what is told.
        newest: the id after which it listens.
        last: the id that was heard last; empty for none.
        gone: whether the client has left; the server says nothing of that to whoever only sends.
    """
    yield f"retry: {_AGAIN_MS}\n\n"
    with feed.listener(newest) as listener:  # before what was missed is read, so that nothing falls in between
        if last:
            async for entry in feed.since(last):
                last = entry.id
                yield event_of(entry)
        silent_s = 0.0
        while not listener.over:
            heard = await listener.next(_LOOK_S)
            if await gone():
                return
            silent_s += _LOOK_S
            if heard is not None and is_later(heard, last):
                last, silent_s = heard.id, 0.0
                yield event_of(heard)
            elif silent_s >= HEARTBEAT_S:
                silent_s = 0.0
                yield ": heartbeat\n\n"
    yield f"event: dropped\ndata: {json.dumps({'why': 'this reader was too slow', 'last': last})}\n\n"


def event_of(recorded: Recorded) -> str:
    """One entry as an event."""
    kind, happened = recorded.entry.kind, recorded.entry.facts.get("event")
    name = f"{kind}.{happened}" if happened else kind
    return f"id: {recorded.id}\nevent: {name}\ndata: {entry_out(recorded).model_dump_json()}\n\n"
