"""The control API in front of whatever a test puts behind it: making the application takes longer than asking it."""

from __future__ import annotations

from typing import Any

import httpx

from serving.control.api import create_app
from serving.control.api.app import ControlApi
from serving.control.api.desk import Desk
from serving.control.api.gate import Door
from serving.control.fake_store import FakeStore
from serving.control.rolling.feed import Feed
from serving.control.service import ControlService
from tests.serving.control.rolling.rooms import Room


def front(door: Door | None = None) -> ControlApi:
    """An application with nothing behind it yet."""
    nothing: Any = object()
    return create_app(ControlService(FakeStore(), {}), door=door, desk=nothing)


def asking(app: ControlApi, room: Room, **desk: Any) -> httpx.AsyncClient:  # noqa: ANN401 - what a desk may have
    """A client of it, with that room behind it from now on."""
    app.state.service = room.service
    app.state.desk = Desk(room.rollouts, Feed(room.store), room.store, room.store, **desk)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")
