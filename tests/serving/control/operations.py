"""Every operation of the control API, read from the application itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from serving.control.api import create_app
from serving.control.fake_store import FakeStore
from serving.control.keys import KeyService
from serving.control.service import ControlService

EXAMPLES = {
    "model": "digits",
    "version": "1",
    "alias": "next",
    "key_id": "0123456789ab",
    "operation_id": "none",
    "request_id": "none",
    "rollout": "none",
}
"""Values for what a template leaves open; whatever is not here gets 'x'."""
ENDLESS = frozenset({"GET /api/v1/events"})
"""Operations whose answers have no end."""


def whole_app() -> FastAPI:
    """The application with all of its paths; good for looking at it, not for asking it anything."""
    store = FakeStore()
    nothing: Any = object()
    return create_app(ControlService(store, {}), nothing, key_service=KeyService(store), desk=nothing)


def operations_of(app: FastAPI) -> set[str]:
    """What it serves, as 'METHOD /path/{template}', hidden paths among them."""
    found = set()
    for context in iter_route_contexts(app.routes):
        route: Any = context if context.methods else context.starlette_route or context
        path = getattr(route, "path_format", None) or route.path
        found |= {f"{method} {path}" for method in route.methods}
    return found


def path_of(operation: str) -> tuple[str, str]:
    """Its method, and a path that it serves."""
    method, _, template = operation.partition(" ")
    return method, re.sub(r"\{(\w+)\}", lambda found: EXAMPLES.get(found[1], "x"), template)


async def status_of(app: FastAPI, operation: str, headers: Mapping[str, str]) -> int:
    """The status of an answer that is not waited for to its end."""
    method, path = path_of(operation)
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI's
        if message["type"] == "http.response.start":
            status.set_result(message["status"])

    said = [(b"host", b"localhost"), *((name.lower().encode(), value.encode()) for name, value in headers.items())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": said,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 1),
    }  # fmt: skip
    asking = asyncio.create_task(app(scope, receive, send))
    async with asyncio.timeout(20):
        found = await status
        gone.set()
        await asking
    return found
